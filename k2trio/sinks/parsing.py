"""JSON lines read back: what ``sinks/lines.py`` writes, parsed once and kept cheap.

A payload stays the bytes that the exchange sent until somebody wants it typed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import msgspec

from ..continuity.items import Gap, GapReason, Outage, VenueChanged
from ..errors import UnknownStreamError, Unreadable
from ..market.decoder import decode_payload
from ..market.payloads import DepthSnapshot, Event, Integer, Origin, frame_of
from ..market.streams import Kind, stream_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..continuity.items import Item

NO_DATA = msgspec.Raw(b"")


Seconds = Annotated[float, msgspec.Meta(ge=0, le=9e9)]
"""Unix time; a later one than of the year 2255 is garbage, and no column of times would hold it."""


class GapBody(msgspec.Struct, gc=False):
    first: Integer
    last: Integer
    reason: GapReason
    since: Seconds | None = None
    until: Seconds | None = None


class OutageBody(msgspec.Struct, gc=False):
    since: Seconds
    until: Seconds


class ChangeBody(msgspec.Struct, gc=False):
    previous: str
    since: Seconds
    until: Seconds


class Line(msgspec.Struct, gc=False):
    """One line.

    :ivar data: the payload's bytes; ``NO_DATA`` where the line is no message.
    :ivar received: Unix time in seconds; 0 where the line is no message.
    """

    venue: str | None
    stream: str
    received: Seconds = 0.0
    origin: Origin = "live"
    data: msgspec.Raw = NO_DATA
    gap: GapBody | None = None
    outage: OutageBody | None = None
    venue_changed: ChangeBody | None = None

    @property
    def is_message(self) -> bool:
        """Whether it carries a payload. Samples of books are neither that nor a remark."""
        return self.data is not NO_DATA


_decode_lines = msgspec.json.Decoder(Line).decode_lines
_decode_line = msgspec.json.Decoder(Line).decode
_decode_snapshot = msgspec.json.Decoder(DepthSnapshot).decode
_DECODE_ERRORS = (msgspec.MsgspecError, RecursionError, UnicodeDecodeError)


def decode_lines(data: bytes | memoryview) -> list[Line]:
    """Parse whole lines.

    :raises Unreadable: if one of them is none of ours.
    """
    lines, wrong = readable_lines(data)
    if wrong is not None:
        raise Unreadable(wrong)
    return lines


def readable_lines(data: bytes | memoryview) -> tuple[list[Line], str | None]:
    """Parse whole lines up to the first that is none of ours, and say what is wrong with that."""
    try:
        return _decode_lines(data), None
    except _DECODE_ERRORS:
        pass
    lines: list[Line] = []
    for text in bytes(data).split(b"\n"):
        if not text:
            continue
        try:
            lines.append(_decode_line(text))
        except _DECODE_ERRORS as error:
            shown = text[:80].decode("utf-8", "backslashreplace")
            return lines, f"{shown!r} is no line of ours ({error})"
    return lines, None


def payload_of(line: Line) -> Any:
    """The typed payload of a message.

    :raises Unreadable: if it is not what its stream carries.
    """
    try:
        stream = stream_of(line.venue or "", line.stream)
        if stream.kind is Kind.DEPTH and line.origin == "snapshot":
            return _decode_snapshot(line.data)
        return decode_payload(stream.kind, bytes(line.data), stream.product)
    except (*_DECODE_ERRORS, UnknownStreamError) as error:
        raise Unreadable(f"a line of {line.stream} is not what it carries ({error})") from error


def item_of(line: Line) -> Item | None:
    """What the feed delivered; None for a sample of a book.

    :raises Unreadable: if the payload is not what its stream carries.
    """
    venue, stream = line.venue or "", line.stream
    if line.is_message:
        raw = bytes(line.data)
        frame = frame_of(stream, raw)
        return Event(payload_of(line), stream, venue, line.received, frame, line.origin)
    if (gap := line.gap) is not None:
        return Gap(venue, stream, gap.first, gap.last, gap.reason, gap.since, gap.until)
    if (outage := line.outage) is not None:
        return Outage(venue, stream, outage.since, outage.until)
    if (change := line.venue_changed) is not None:
        return VenueChanged(venue, stream, change.previous, change.since, change.until)
    return None


def items_of(lines: Sequence[Line]) -> list[Item]:
    """The same of many; see :func:`item_of`."""
    return [item for line in lines if (item := item_of(line)) is not None]
