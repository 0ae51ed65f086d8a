"""What a message looks like as one JSON line, the exchange's own payload untouched inside it.

A line is ``{"venue","stream","received","origin","data"}``; a gap is ``{"venue","stream","gap":
{"first","last","reason","since","until"}}``, an outage ``{"venue","stream","outage":
{"since","until"}}``, and where a stream goes on from another venue ``{"venue","stream",
"venue_changed":{"previous","since","until"}}``.
"""

from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING

import msgspec

from ..compiled import core
from ..continuity.items import Gap, VenueChanged
from ..market.compiled_decoder import EVENT_FIELDS
from ..market.payloads import Event

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from ..continuity.items import Item, Outage

FIRST_BYTES = b'{"venue":'
"""How every line begins; what a crash left of one does so too, as far as it goes."""

_DATA = b',"data":'
_encode = msgspec.json.Encoder().encode


@functools.lru_cache(maxsize=4096)
def _head(venue: str, stream: str) -> bytes:
    """How the lines of a stream begin."""
    return _encode({"venue": venue, "stream": stream})[:-1]


def encode_lines_purely(items: Iterable[Item]) -> bytes:
    """Each item as one line, newline included; without the compiled core.

    A line is glued together from bytes that are made once: its head per stream, what stands before
    the payload once for all messages of a socket read.
    """
    parts: list[bytes] = []
    received, origin, middle = math.nan, "", b""
    for item in items:
        if isinstance(item, Event):
            if item.received != received or item.origin != origin:
                received, origin = item.received, item.origin
                middle = _middle(received, origin)
            data = item.raw
            # A payload may be pretty-printed; a line may not hold a line break (JSON strings
            # never do).
            if b"\n" in data or b"\r" in data:
                data = data.replace(b"\n", b" ").replace(b"\r", b" ")
            parts += (_head(item.venue, item.stream), middle, data, b"}\n")
        else:
            parts += (_head(item.venue, item.stream), _remark(item), b"}\n")
    return b"".join(parts)


def _middle(received: float, origin: str) -> bytes:
    """What stands before a payload; the same for all messages of a socket read."""
    return b"".join((b',"received":', _encode(received), b',"origin":', _encode(origin), _DATA))


def _line(item: Item) -> bytes:
    return encode_lines_purely((item,))


def _remark(item: Gap | Outage | VenueChanged) -> bytes:
    if isinstance(item, Gap):
        gap = {"first": item.first, "last": item.last, "reason": item.reason}
        times = {"since": item.since, "until": item.until}
        return b',"gap":' + _encode({**gap, **times})
    if isinstance(item, VenueChanged):
        change = {"previous": item.previous, "since": item.since, "until": item.until}
        return b',"venue_changed":' + _encode(change)
    return b',"outage":' + _encode({"since": item.since, "until": item.until})


def _encoder() -> Callable[[Iterable[Item]], bytes]:
    if core is None:
        return encode_lines_purely
    made: Callable[[Iterable[Item]], bytes] = core.Lines(Event, EVENT_FIELDS, _head, _middle, _line)
    return made


encode_lines: Callable[[Iterable[Item]], bytes] = _encoder()
"""Makes each item one line, newline included."""
