"""Asks an HTTP proxy for a way to a server: CONNECT (RFC 9110, section 9.3.6).

The answer is read to its last byte and no further, as curl does, so that what the server says right
behind it is still in the stream, and the stream is what it was.
"""

from __future__ import annotations

import base64
import re
from typing import TYPE_CHECKING

import h11

from ..errors import ProxyFailed, ProxyTrouble
from .way import MAX_DETAIL, explained, named

if TYPE_CHECKING:
    from ..proxies import Proxy
    from .way import Way

MAX_ANSWER_BYTES = 16 * 1024
"""The head of a proxy's answer, interim ones included."""

_CREDENTIALS = frozenset({401, 407})
"""Wanted, or wrong: 407 by RFC 9110, and 401 by tinyproxy where they are wrong."""
_UNREACHABLE = frozenset({500, 502, 503, 504})
"""The endpoint, for the proxy. Tinyproxy says 500, squid 503, and the others are for gateways."""


async def ask(way: Way, proxy: Proxy, host: str, port: int) -> None:
    """Have the proxy connect to the server; the name is the proxy's to resolve.

    :raises ProxyFailed: if it does not.
    :raises trio.BrokenResourceError: as the way does.
    """
    target = _authority(proxy, host, port)
    headers = [("Host", target)]
    if proxy.credentials is not None:
        token = base64.b64encode(":".join(proxy.credentials).encode()).decode()
        headers.append(("Proxy-Authorization", f"Basic {token}"))
    http = h11.Connection(h11.CLIENT, max_incomplete_event_size=MAX_ANSWER_BYTES)
    request = http.send(h11.Request(method="CONNECT", target=target, headers=headers))
    await way.send_all((request or b"") + (http.send(h11.EndOfMessage()) or b""))
    left = MAX_ANSWER_BYTES
    while True:
        try:
            event = http.next_event()
        except h11.RemoteProtocolError as error:
            what = str(error).partition(":")[0]  # the rest is the peer's: it may echo a secret
            raise explained(proxy, ProxyTrouble.PROTOCOL, what, host, port) from None
        if isinstance(event, h11.Response):
            break
        if event is not h11.NEED_DATA:
            continue  # an interim answer
        byte = await way.receive_some(1)
        left -= 1
        if not byte or left < 0:
            what = f"over {MAX_ANSWER_BYTES} bytes" if byte else "it closed the connection"
            raise explained(proxy, ProxyTrouble.PROTOCOL, what, host, port)
        http.receive_data(bytes(byte))
    if not 200 <= event.status_code < 300:
        raise _refusal(event, proxy, host, port)


def _authority(proxy: Proxy, host: str, port: int) -> str:
    if ":" in host:
        return f"[{host}]:{port}"
    try:
        return f"{host if host.isascii() else host.encode('idna').decode()}:{port}"
    except UnicodeError as error:
        raise explained(proxy, ProxyTrouble.GATEWAY, str(error), host, port) from error


def _refusal(answer: h11.Response, proxy: Proxy, host: str, port: int) -> ProxyFailed:
    status = f"HTTP {answer.status_code}"
    if answer.status_code in _UNREACHABLE:
        return explained(proxy, ProxyTrouble.GATEWAY, status, host, port)
    if answer.status_code not in _CREDENTIALS:
        return explained(proxy, ProxyTrouble.REFUSED, status, host, port)
    asked = b", ".join(value for name, value in answer.headers if name == b"proxy-authenticate")
    wanted = asked.decode("latin-1")
    if wanted and not re.search(r"\bbasic\b", wanted, re.IGNORECASE):
        return ProxyFailed(
            ProxyTrouble.CREDENTIALS,
            f"{named(proxy)} wants {wanted[:MAX_DETAIL]}, which k2trio does not speak: let it take "
            "Basic from here, or put a proxy of your own before it that speaks that",
        )
    return explained(proxy, ProxyTrouble.CREDENTIALS, status, host, port)
