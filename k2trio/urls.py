"""URLs of endpoints and REST hosts, as people type and paste them: checked, with a cure."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from .errors import UnknownStreamError
from .loopback import is_loopback
from .market.products import DIALECTS
from .market.spot import SPOT
from .market.streams import any_stream
from .market.venues import product_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .market.dialect import Dialect

PATH = "/stream"
"""How an endpoint's URL ends: the exchange's path for combined streams."""
_ROUTES = frozenset(route for one in DIALECTS.values() for route in one.routes.values())
_PASTED = re.compile(
    r"(?P<base>wss?://(?:[\w.-]+|\[[0-9a-fA-F:.]+\])(?::\d{1,5})?)"
    rf"(?:/(?:{'|'.join(sorted(_ROUTES))}))?"
    r"(?:/stream/?\?streams=|/ws/)(?P<streams>[^?#&\s]+)(?:&\S*)?\Z"
)
"""A URL of the exchange's documentation, with streams in it."""


def websocket_url(url: str) -> str:
    """Check the URL of an endpoint.

    :raises ValueError: that it cannot be one, and what to write.
    """
    _refuse_streams(url)
    url = _plain_url(url, ("wss", "ws"))
    parts = urlsplit(url)
    if parts.query:
        raise ValueError(f"{url!r} must not hold a query; name streams in STREAMS")
    if parts.path == "/ws" or parts.path.startswith("/ws/"):
        raise ValueError(f"{url!r} is for raw streams; end it in {PATH}, for combined ones")
    if not parts.path.endswith(PATH):
        cure = "as endpoints do" if parts.path else f"did you mean {url}{PATH}?"
        raise ValueError(f"{url!r} does not end in {PATH}; {cure}")
    return url


def rest_url(url: str) -> str:
    """Check the URL of a REST host.

    :raises ValueError: that it cannot be one, and why.
    """
    return _plain_url(url, ("https", "http"))


def endpoint_key(url: str) -> tuple[str, int]:
    """What names an endpoint in metrics and breakers: see ``failover.Endpoint``."""
    parts = urlsplit(url)
    return parts.hostname or "", parts.port or (443 if parts.scheme == "wss" else 80)


def product_by(product: str | None, url: str) -> str:
    """The product that is meant: the one that is named, or that of an endpoint's host.

    :param url: of the endpoint.
    """
    if product is not None:
        return product
    try:
        host = urlsplit(url).hostname or ""
    except ValueError:
        host = ""
    return product_of(host) or SPOT.product


def refuse_others(urls: Iterable[str], dialect: Dialect) -> None:
    """Refuse endpoints that are of another product, or that lead to a route already.

    :raises ValueError: naming the first, and what to do.
    """
    for url in urls:
        parts = urlsplit(url)
        product = product_of(parts.hostname or "")
        if product is not None and product != dialect.product:
            raise ValueError(
                f"{url} is of {DIALECTS[product].title}, and this feed of {dialect.title}; name"
                f" endpoints of one product, and set PRODUCT={product} if that is meant"
            )
        head, _, route = parts.path.removesuffix(PATH).rpartition("/")
        if route and route in dialect.routes.values():
            plain = f"{parts.scheme}://{parts.netloc}{head}{PATH}"
            raise ValueError(
                f"{url} names the route /{route}, which follows from the streams; write {plain}"
            )


def refuse_unencrypted(urls: Iterable[str]) -> None:
    """Refuse URLs that lead off this machine without encryption.

    :raises ValueError: naming the first, and what to do.
    """
    for url in urls:
        parts = urlsplit(url)
        if parts.scheme in ("ws", "http") and not is_loopback(parts.hostname or ""):
            raise ValueError(
                f"{url} is not encrypted; use wss:// or https://, or set ALLOW_INSECURE if you must"
            )


def _refuse_streams(url: str) -> None:
    """A URL with streams in it is no secret, in spite of its ``@``; but it must be just that."""
    match = _PASTED.match(url)
    if match is None:
        return
    try:
        names = [any_stream(unquote(name)).name for name in match["streams"].split("/")]
    except UnknownStreamError:
        return
    base = f"{match['base']}{PATH}"
    raise ValueError(
        f"the URL names streams, which go into STREAMS: write {base} here, and "
        f"--streams {','.join(names)}"
    )


def _plain_url(url: str, schemes: tuple[str, ...]) -> str:
    if "@" in url:
        # First of all checks, and without parsing, so that no message can print the secret.
        host = url.rpartition("@")[2].partition("/")[0]
        cure = "; name streams in STREAMS" if "/ws/" in url or "streams=" in url else ""
        raise ValueError(f"the URL for {host[:80]!r} must not hold a user name or password{cure}")
    if not url.isprintable() or " " in url:
        raise ValueError(f"{url!r} must not hold white space or control characters")
    parts = urlsplit(url)
    if parts.scheme not in schemes:
        raise ValueError(f"{url!r} must start with {' or '.join(s + '://' for s in schemes)}")
    if not parts.hostname:
        raise ValueError(f"{url!r} names no host")
    if parts.fragment:
        raise ValueError(f"{url!r} must not hold a fragment (#…)")
    try:
        _ = parts.port
    except ValueError as error:
        raise ValueError(f"{url!r}: {error}") from error
    return url.rstrip("/")
