"""Records of Kafka topics as the lines that a file would have; see ``records`` for what they are.

Which form a value has, its first bytes say, so a topic that was written in both can be read too.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, NoReturn, get_args

import msgspec

from ..errors import UnknownStreamError, Unreadable
from ..market.payloads import NS, Origin
from ..market.streams import any_stream
from ..sinks.lines import FIRST_BYTES
from ..sinks.parsing import Line, decode_lines, item_of
from .records import MAX_STREAMS

if TYPE_CHECKING:
    from confluent_kafka import Message

    from ..continuity.items import Item

MAX_DIGITS = 19
"""Of nanoseconds; a year later than 2255 is garbage, as in a file."""
RECENT = 1024
"""Times of receipt that are kept, as many records have the same one."""

_ORIGINS: dict[bytes, Origin] = {origin.encode(): origin for origin in get_args(Origin)}
_decode_value = msgspec.json.Decoder(msgspec.Raw).decode
_DECODE_ERRORS = (msgspec.MsgspecError, RecursionError, UnicodeDecodeError)


def line_of(message: Message) -> Line:
    """The line of a record.

    :raises Unreadable: naming topic, partition and offset, if it is none of ours.
    """
    try:
        return _line(dict(message.headers() or ()), message.value())
    except Unreadable as error:
        _refuse(message, error)


def item_of_record(message: Message, line: Line) -> Item | None:
    """What the feed delivered.

    :param line: that of the record.
    :raises Unreadable: as :func:`line_of` does, if its payload is not what its stream carries.
    """
    try:
        return item_of(line)
    except Unreadable as error:
        _refuse(message, error)


def _refuse(message: Message, why: Unreadable) -> NoReturn:
    raise Unreadable(
        f"topic {message.topic()}, partition {message.partition()}, offset {message.offset()}: no "
        f"record of ours ({why})"
    )


def _line(headers: dict[str, Any], value: bytes | None) -> Line:
    try:
        venue, stream = _names(headers["venue"], headers["stream"])
    except KeyError as error:
        raise Unreadable(f"it has no header {error}") from None
    if value is None:
        raise Unreadable("it has no value")
    remark = headers.get("item")
    if remark is not None or value.startswith(FIRST_BYTES):
        return _told(value, venue, stream, remark)
    try:
        received, origin = _received(headers["received_ns"]), _ORIGINS[headers["origin"]]
    except KeyError as error:
        raise Unreadable(f"it has no header, or no value, {error}") from None
    try:
        data = _decode_value(value)
    except _DECODE_ERRORS as error:
        raise Unreadable(str(error)) from None
    return Line(venue, stream, received, origin, data)


def _told(value: bytes, venue: str, stream: str, remark: bytes | None) -> Line:
    """What a line says that is a record's value.

    :param remark: what the record's headers call it, if it is no message.
    """
    lines = decode_lines(value)
    if len(lines) != 1:
        raise Unreadable("its value is not one line")
    line = lines[0]
    if (line.venue, line.stream) != (venue, stream):
        raise Unreadable(f"its value is of {line.venue} {line.stream}, its headers of another")
    said: dict[bytes | None, object] = {
        b"gap": line.gap,
        b"outage": line.outage,
        b"venue_changed": line.venue_changed,
        None: line.is_message or None,
    }
    if said.get(remark) is None:
        raise Unreadable(f"its value is no {(remark or b'message').decode(errors='replace')[:40]}")
    return line


@functools.lru_cache(MAX_STREAMS)
def _names(venue: bytes, stream: bytes) -> tuple[str, str]:
    try:
        name = stream.decode()
        return venue.decode(), any_stream(name).name
    except (AttributeError, UnicodeDecodeError, UnknownStreamError) as error:
        raise Unreadable(str(error)) from None


@functools.lru_cache(RECENT)
def _received(text: bytes | None) -> float:
    """Unix seconds, exactly those that made the nanoseconds."""
    if text is None or not text.isdigit() or len(text) > MAX_DIGITS:
        raise Unreadable("its received_ns is no time")
    return int(text) / NS
