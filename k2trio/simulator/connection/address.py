"""The address that a client connects to, and what it asks for by it."""

from __future__ import annotations

from typing import NamedTuple
from urllib.parse import parse_qs, unquote, urlsplit

from ..market import payloads
from ..refusals import Refusal
from ..venue.broadcast import Shape


class Address(NamedTuple):
    """What the target of an upgrade asks for.

    :ivar shape: of the messages.
    :ivar streams: names, as the client wrote them.
    """

    shape: Shape
    streams: list[str]


def read_address(target: str, *, knows_time_unit: bool = True) -> Address:
    """Read the target of a request.

    :param knows_time_unit: whether the venue heeds ``timeUnit``.
    :raises Refusal: for a path that the exchange does not serve.
    """
    url = urlsplit(target)
    query = parse_qs(url.query)
    path = unquote(url.path).rstrip("/")
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
    streams = [name for name in names if "@" in name]
    return Address(Shape(combined, 1 if microseconds else payloads.MILLISECOND), streams)
