"""The address that a client connects to, and what it asks for by it."""

from __future__ import annotations

from typing import NamedTuple
from urllib.parse import parse_qs, unquote, urlsplit

from ..market import payloads
from ..refusals import Refusal
from ..venue.broadcast import Shape

ROUTES = ("public", "market", "private")
"""Of futures. On the last one there is nothing of the market, but the exchange's own SDK opens it
whatever it is asked for."""


class Address(NamedTuple):
    """What the target of an upgrade asks for.

    :ivar shape: of the messages.
    :ivar streams: names, as the client wrote them.
    :ivar route: on which it came, where the venue has such.
    """

    shape: Shape
    streams: list[str]
    route: str = ""


def read_address(target: str, *, knows_time_unit: bool = True, product: str = "spot") -> Address:
    """Read the target of a request.

    :param knows_time_unit: whether the venue heeds ``timeUnit``.
    :param product: of the venue.
    :raises Refusal: for a path that the exchange does not serve.
    """
    url = urlsplit(target)
    query = parse_qs(url.query)
    path = unquote(url.path).rstrip("/")
    route = ""
    if product != "spot":
        # Without a route a connection gets what is public, as the exchange says.
        route, path = _parted(path)
        knows_time_unit = False
    wanted = query.get("timeUnit", [""])[0].upper()
    microseconds = knows_time_unit and wanted == "MICROSECOND"
    combined = path == "/stream"
    if combined:
        names = query.get("streams", [""])[0].split("/")
    elif path == "/ws" or path.startswith("/ws/"):
        names = path.removeprefix("/ws").split("/")
    else:
        raise Refusal(404)
    # As on the exchange, a path segment that cannot be a stream is a label: some clients number
    # their connections as /ws/0, /ws/1 and subscribe afterwards.
    streams = [name for name in names if "@" in name or name.startswith("!")]
    return Address(Shape(combined, 1 if microseconds else payloads.MILLISECOND), streams, route)


def _parted(path: str) -> tuple[str, str]:
    """The route of a path, and the rest of it."""
    for route in ROUTES:
        if path.startswith(f"/{route}/"):
            return route, path.removeprefix(f"/{route}")
    return ROUTES[0], path
