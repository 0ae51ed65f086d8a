"""Lines become columns: one record batch for the messages of each stream, in their order.

Work is per stream and chunk: payloads of a stream are parsed in one call, and each of their fields
becomes an array in one more.
"""

from __future__ import annotations

import functools
import itertools
import operator
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import numpy as np
import pyarrow as pa

from ..errors import UnknownStreamError, Unreadable
from ..market.payloads import NS, type_of
from ..market.streams import Kind, any_stream, stream_of
from ..market.units import MS, US, US_FROM
from ..sinks.parsing import NO_DATA, Line, payload_of
from .schema import (
    DECIMAL,
    GAP,
    LEVELS,
    OTHER,
    OUTAGE,
    RECEIPT,
    TAIL,
    TIME,
    VENUE_CHANGED,
    Column,
    Table,
    table_of,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Sequence

    from ..market.streams import Stream

_PER_MS = US.per_second // MS.per_second
_NS_PER_US = NS // US.per_second
_NOT_HELD = (pa.ArrowInvalid, OverflowError, ValueError)
"""What Arrow says of a value that a column cannot hold exactly."""
_DECODE_ERRORS = (msgspec.MsgspecError, RecursionError, UnicodeDecodeError)


class Piece(NamedTuple):
    """Rows of one table and one stream, in the order in which they were delivered.

    :ivar batch: in the schema of the table, or those of its columns that were asked for.
    """

    table: Table
    venue: str
    stream: str
    batch: pa.RecordBatch


class _Group(NamedTuple):
    """Lines of one stream and one table, and where each stood.

    :ivar near: of gaps that tell no time, when the message beside each was received; else 0.
    """

    lines: list[Line]
    places: list[int]
    near: list[float]


def pieces(
    lines: Sequence[Line], sequence: int = 0, columns: Collection[str] | None = None
) -> Iterator[Piece]:
    """Make columns of lines, stream by stream; remarks before messages.

    :param sequence: the place of the first line in its journal.
    :param columns: those that are wanted; what is in no other need not fit its type.
    """
    messages: dict[tuple[str | None, str], _Group] = {}
    remarks: dict[tuple[str, str, str], _Group] = {}
    for place, line in enumerate(lines, sequence):
        if line.data is not NO_DATA:
            key = line.venue, line.stream
            group = messages.get(key)
            if group is None:
                group = messages[key] = _Group([], [], [])
        else:
            remark = line.venue or "", line.stream, _remark_table(line)
            group = remarks.setdefault(remark, _Group([], [], []))
            timeless = line.gap is not None and line.gap.since is line.gap.until is None
            group.near.append(_received_near(lines, place - sequence) if timeless else 0.0)
        group.lines.append(line)
        group.places.append(place)
    for (venue, stream, name), group in remarks.items():
        if name in _REMARKS:
            table, batch_of = _REMARKS[name]
            yield _selected(Piece(table, venue, stream, batch_of(stream, group)), columns)
    for (host, stream), group in messages.items():
        for piece in _messages(host or "", stream, group, columns):
            yield _selected(piece, columns)


def _selected(piece: Piece, columns: Collection[str] | None) -> Piece:
    if columns is None:
        return piece
    batch = piece.batch
    return piece._replace(batch=batch.select([n for n in batch.schema.names if n in columns]))


def _received_near(lines: Sequence[Line], at: int) -> float:
    """When the message before a line was received; that after it where there is none before."""
    for place in itertools.chain(range(at - 1, -1, -1), range(at + 1, len(lines))):
        if lines[place].is_message:
            return lines[place].received
    return 0.0


def _remark_table(line: Line) -> str:
    if line.gap is not None:
        return GAP.name
    if line.outage is not None:
        return OUTAGE.name
    return VENUE_CHANGED.name if line.venue_changed is not None else "book"


def _messages(
    venue: str, stream: str, group: _Group, wanted: Collection[str] | None
) -> Iterator[Piece]:
    try:
        parsed = stream_of(venue, stream)
    except UnknownStreamError:
        yield Piece(OTHER, venue, stream, _others(stream, group))
        return
    table = table_of(parsed)
    if table is OTHER:
        yield Piece(OTHER, venue, stream, _others(stream, group))
        return
    try:
        yield Piece(table, venue, stream, _rows(table, parsed, group, wanted))
    except (*_NOT_HELD, Unreadable):
        # Some of them do not fit: each by itself.
        fitting, odd = _Group([], [], []), _Group([], [], [])
        for line, place in zip(group.lines, group.places, strict=True):
            single = _Group([line], [place], [])
            try:
                _rows(table, parsed, single, wanted)
            except (*_NOT_HELD, Unreadable):
                target = odd
            else:
                target = fitting
            target.lines.append(line)
            target.places.append(place)
        if fitting.lines:
            yield Piece(table, venue, stream, _rows(table, parsed, fitting, wanted))
        yield Piece(OTHER, venue, stream, _others(stream, odd))


def _rows(
    table: Table, stream: Stream, group: _Group, wanted: Collection[str] | None
) -> pa.RecordBatch:
    mixed = stream.kind is Kind.DEPTH and any(line.origin == "snapshot" for line in group.lines)
    payloads = list(map(payload_of, group.lines)) if mixed else _payloads(stream, group.lines)
    received_ns = _nanoseconds([line.received for line in group.lines])
    array = _of_depth if mixed else _array
    columns = [column for column in table.columns if wanted is None or column.name in wanted]
    arrays = [array(column, payloads, received_ns) for column in columns]
    names = [*(column.name for column in columns), *(column.name for column in TAIL)]
    schema = pa.schema([table.schema.field(name) for name in names], table.schema.metadata)
    tail = _tail(group.lines[0].stream, group, received_ns)
    return pa.RecordBatch.from_arrays([*arrays, *tail], schema=schema)


def _others(stream: str, group: _Group) -> pa.RecordBatch:
    received_ns = _nanoseconds([line.received for line in group.lines])
    texts = [bytes(line.data).decode("utf-8", "backslashreplace") for line in group.lines]
    arrays = [_times(received_ns // _NS_PER_US), pa.array(texts, pa.string())]
    return _batch(OTHER, [*arrays, *_tail(stream, group, received_ns)])


def _batch(table: Table, arrays: list[pa.Array]) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays(arrays, schema=table.schema)


def _tail(stream: str, group: _Group, received_ns: Any) -> list[pa.Array]:
    """The columns that all tables of messages have last."""
    return [
        pa.array(received_ns, pa.int64()),
        pa.array([line.origin for line in group.lines], pa.string()),
        *_place(stream, group),
    ]


def _place(stream: str, group: _Group) -> list[pa.Array]:
    names = pa.repeat(pa.scalar(stream, pa.string()), len(group.lines))
    return [names, pa.array(group.places, pa.int64())]


def _payloads(stream: Stream, lines: list[Line]) -> list[Any]:
    """The typed payloads of a stream's lines.

    :raises Unreadable: if one of them is not what the stream carries.
    """
    text = b"".join((b"[", b",".join([line.data for line in lines]), b"]"))
    try:
        decoded: list[Any] = _decode_all(type_of(stream))(text)
    except _DECODE_ERRORS as error:
        raise Unreadable(str(error)) from error
    return decoded


@functools.cache
def _decode_all(payload: Any) -> Callable[[bytes], list[Any]]:
    return msgspec.json.Decoder(list[payload]).decode


def _array(column: Column, payloads: list[Any], received_ns: Any) -> pa.Array:
    """The values of a column.

    :raises ArrowInvalid: if it cannot hold one of them exactly.
    """
    if column.of == RECEIPT:
        return _times(received_ns // _NS_PER_US)
    if column.type == LEVELS:
        return _levels([_sides(payload, column.of) for payload in payloads])
    if column.rows:
        return _tickers(column, payloads)
    if payloads and isinstance(payloads[0], list):
        told = [max((row.event_time for row in rows), default=None) for rows in payloads]
        return _times_or_received(told, received_ns)
    values = list(map(operator.attrgetter(column.of), payloads))
    return _typed(column, values)


def _of_depth(column: Column, payloads: list[Any], received_ns: Any) -> pa.Array:
    """A column of updates among which there are snapshots, which tell no time and no first id."""
    if column.type == LEVELS:
        return _array(column, payloads, received_ns)
    values = [getattr(payload, column.of, None) for payload in payloads]
    if column.type != TIME:
        return pa.array(values, column.type)
    if column.nullable:
        told = _microseconds([0 if value is None else value for value in values])
        return pa.array(told, pa.int64(), mask=np.array([v is None for v in values])).view(TIME)
    return _times_or_received(values, received_ns)


def _times_or_received(times: list[int | None], received_ns: Any) -> pa.Array:
    """Times of the exchange; where it tells none, when the message was received."""
    told = _microseconds([0 if time is None else time for time in times])
    absent = np.array([time is None for time in times])
    return _times(np.where(absent, received_ns // _NS_PER_US, told))


def _typed(column: Column, values: list[Any]) -> pa.Array:
    if column.type == DECIMAL:
        if column.nullable:
            values = [value or None for value in values]
        return pa.array(values, pa.string()).cast(DECIMAL)
    if column.type == TIME:
        return _times(_microseconds(values))
    return pa.array(values, column.type)


def _sides(payload: Any, side: str) -> list[Any]:
    levels: list[Any] = getattr(payload, side)
    return levels


def _levels(sides: list[list[Any]]) -> pa.Array:
    flat = [level for levels in sides for level in levels]
    prices = pa.array([level.price for level in flat], pa.string()).cast(DECIMAL)
    quantities = pa.array([level.quantity for level in flat], pa.string()).cast(DECIMAL)
    rows = pa.StructArray.from_arrays([prices, quantities], fields=list(LEVELS.value_type))
    return pa.ListArray.from_arrays(_offsets(sides), rows, type=LEVELS)


def _tickers(column: Column, payloads: list[list[Any]]) -> pa.Array:
    flat = [row for rows in payloads for row in rows]
    arrays = [_typed(part, [getattr(row, part.of) for row in flat]) for part in column.rows]
    rows = pa.StructArray.from_arrays(arrays, fields=list(column.type.value_type))
    return pa.ListArray.from_arrays(_offsets(payloads), rows, type=column.type)


def _offsets(lists: Iterable[Sequence[Any]]) -> pa.Array:
    lengths = np.fromiter((len(one) for one in lists), np.int32)
    return pa.array(np.concatenate(([0], np.cumsum(lengths))).astype(np.int32), pa.int32())


def _times(microseconds: Any) -> pa.Array:
    return pa.array(microseconds, pa.int64()).view(TIME)


def _microseconds(times: list[int]) -> Any:
    """Times of the exchange, in whatever unit they are told.

    :raises ValueError: if one is before all that a column holds.
    """
    array = np.array(times, np.int64)
    if array.min(initial=0) < -US_FROM:
        raise ValueError("a time that is none")
    return np.where(array < US_FROM, array * _PER_MS, array)


def _nanoseconds(seconds: list[float]) -> Any:
    """As ``Event.received_ns``: exactly what the float says."""
    fraction, whole = np.modf(np.array(seconds, np.float64))
    return whole.astype(np.int64) * NS + np.round(fraction * NS).astype(np.int64)


def _stamps(seconds: list[float | None]) -> pa.Array:
    """Times of receipt as a column; None where there is none."""
    values = [None if s is None else round(s * US.per_second) for s in seconds]
    return pa.array(values, pa.int64()).cast(TIME)


def _gaps(stream: str, group: _Group) -> pa.RecordBatch:
    gaps = [line.gap for line in group.lines if line.gap is not None]
    times = [
        next((s for s in (gap.until, gap.since) if s is not None), near)
        for gap, near in zip(gaps, group.near, strict=True)
    ]
    bars = _are_bars(stream)
    keys = [(US.of(g.first), US.of(g.last)) if bars else (g.first, g.last) for g in gaps]
    return _batch(
        GAP,
        [
            _stamps([*times]),
            pa.array([first for first, _ in keys], pa.int64()),
            pa.array([last for _, last in keys], pa.int64()),
            pa.array([g.reason for g in gaps], pa.string()),
            _stamps([g.since for g in gaps]),
            _stamps([g.until for g in gaps]),
            *_place(stream, group),
        ],
    )


def _are_bars(stream: str) -> bool:
    try:
        return any_stream(stream).kind is Kind.KLINE
    except UnknownStreamError:
        return False


def _outages(stream: str, group: _Group) -> pa.RecordBatch:
    outages = [line.outage for line in group.lines if line.outage is not None]
    since, until = _stamps([o.since for o in outages]), _stamps([o.until for o in outages])
    return _batch(OUTAGE, [until, since, until, *_place(stream, group)])


def _changes(stream: str, group: _Group) -> pa.RecordBatch:
    changes = [line.venue_changed for line in group.lines if line.venue_changed is not None]
    since, until = _stamps([c.since for c in changes]), _stamps([c.until for c in changes])
    previous = pa.array([c.previous for c in changes], pa.string())
    return _batch(VENUE_CHANGED, [until, previous, since, until, *_place(stream, group)])


_REMARKS: dict[str, tuple[Table, Callable[[str, _Group], pa.RecordBatch]]] = {
    GAP.name: (GAP, _gaps),
    OUTAGE.name: (OUTAGE, _outages),
    VENUE_CHANGED.name: (VENUE_CHANGED, _changes),
}
"""Samples of books are none of them: they are made of what is not in the file."""
