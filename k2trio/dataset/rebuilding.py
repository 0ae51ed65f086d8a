"""Rows become what the feed delivered: typed payloads in the exchange's own JSON.

What a table holds is all that the payload said, but for the exchange's notation, which is put back:
the order of the fields, eight decimals (three of a percentage), and fields that it wants ignored
(``M`` of trades, ``B`` of bars). So live messages of the spot exchange come out byte for byte as
they were sent, and all others with the same values.
"""

from __future__ import annotations

import functools
from decimal import Decimal
from itertools import pairwise, repeat
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import numpy as np
import pyarrow as pa

from ..continuity.items import Gap, Outage, VenueChanged
from ..market.payloads import NS, Bar, Event, frame_of, type_of
from ..market.products import DIALECTS
from ..market.streams import Kind, any_stream, stream_of
from ..market.units import US, TimeUnit
from ..sinks.parsing import Line, payload_of
from .schema import (
    DECIMAL,
    GAP,
    LEVELS,
    OTHER,
    OUTAGE,
    RECEIPT,
    REMARKS,
    TIME,
    Column,
    table_of,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ..continuity.items import Item
    from ..market.streams import Stream
    from .columns import Piece

PERCENT_PLACES = 3
BAR_ORDER = tuple("tTsifLochlvnxqVQ")
WINDOW_ORDER = tuple("eEspPwohlcvqOCFLn")
"""In which the exchange sends the fields of these; of all others it is that of the payload."""
_END_OF_MS_US = 999_000
"""What the end of a bar has behind the second where it was told in milliseconds."""
_WHOLE_US = 1_000_000

_encode = msgspec.json.Encoder().encode


class Placed(NamedTuple):
    """An item, and its place in its journal."""

    sequence: int
    item: Item


def items_of(piece: Piece, unit: TimeUnit) -> list[Placed]:
    """What the rows were made of, in their order.

    :param unit: of the payloads' times; those of remarks on bars too.
    :raises Unreadable: if a row is not what its stream carries.
    """
    items = _remarks(piece, unit) if piece.table in REMARKS else _events(piece, unit)
    return list(map(Placed, piece.batch.column("sequence").to_pylist(), items))


def _events(piece: Piece, unit: TimeUnit) -> Iterable[Event]:
    batch, stream = piece.batch, piece.stream
    origins = batch.column("origin").to_pylist()
    received = [ns / NS for ns in batch.column("received_ns").to_pylist()]
    raws = _raws(piece, origins, unit)
    for raw, origin, seconds in zip(raws, origins, received, strict=True):
        line = Line(piece.venue, stream, seconds, origin, msgspec.Raw(raw))
        data, frame = payload_of(line), frame_of(stream, raw)
        yield Event(data, stream, piece.venue, seconds, frame, origin)


def _raws(piece: Piece, origins: list[str], unit: TimeUnit) -> list[bytes]:
    batch = piece.batch
    if piece.table is OTHER:
        return [text.encode() for text in batch.column("payload").to_pylist()]
    stream = stream_of(piece.venue, piece.stream)
    match stream.kind:
        case Kind.KLINE:
            return _klines(batch, stream, origins, unit)
        case Kind.DEPTH | Kind.RPI_DEPTH | Kind.PARTIAL_DEPTH:
            return _books(batch, stream, origins, unit)
        case Kind.CONTINUOUS_KLINE:
            return _nested(batch, stream, "bar", unit)
        case Kind.FORCED_ORDER | Kind.ALL_FORCED_ORDERS:
            return _nested(batch, stream, "order", unit)
        case _ if lists := [column for column in piece.table.columns if column.rows]:
            return _arrays(batch, stream, lists[0], unit)
        case _:
            return list(map(_encode, _objects(_columns(batch, stream, unit), stream, len(batch))))


def _klines(
    batch: pa.RecordBatch, stream: Stream, origins: list[str], unit: TimeUnit
) -> list[bytes]:
    values = _columns(batch, stream, unit)
    attributes = {attribute: key for key, attribute in _wire(Bar).items()}
    bars = {
        attributes[name.removeprefix("bar.")]: column
        for name, column in values.items()
        if name.startswith("bar.")
    }
    bars["s"] = [stream.symbol] * len(batch)
    found: list[bytes] = []
    for time, origin, *row in zip(values["event_time"], origins, *bars.values(), strict=True):
        bar = dict(zip(bars, row, strict=True))
        # A bar of REST has the fields that REST tells, as repair/rows.py writes them.
        order = _wire(Bar) if origin == "backfill" else BAR_ORDER
        told = {key: bar[key] for key in order if bar[key] is not None}
        if origin == "live":
            told["B"] = "0"
        found.append(_encode({"e": "kline", "E": time, "s": stream.symbol, "k": told}))
    return found


def _books(
    batch: pa.RecordBatch, stream: Stream, origins: list[str], unit: TimeUnit
) -> list[bytes]:
    bids, asks = (_levels(batch.column(side)) for side in ("bids", "asks"))
    lasts = batch.column("last_update_id").to_pylist()
    if DIALECTS[stream.product].family == "futures":
        values = {**_columns(batch, stream, unit), "bids": bids, "asks": asks}
        told = _objects(values, stream, len(batch))
        return [
            _snapshot(last, row["b"], row["a"]) if origin == "snapshot" else _encode(row)
            for origin, last, row in zip(origins, lasts, told, strict=True)
        ]
    if stream.kind is Kind.PARTIAL_DEPTH:
        return list(map(_snapshot, lasts, bids, asks))
    times = _times(batch.column("time"), unit)
    rows = zip(times, batch.column("first_update_id").to_pylist(), lasts, bids, asks, strict=True)
    return [
        _snapshot(*row[2:]) if origin == "snapshot" else _update(stream, *row)
        for origin, row in zip(origins, rows, strict=True)
    ]


def _update(stream: Stream, time: int, first: int, last: int, bids: object, asks: object) -> bytes:
    told = {"e": "depthUpdate", "E": time, "s": stream.symbol, "U": first, "u": last}
    return _encode(told | {"b": bids, "a": asks})


def _snapshot(last: int, bids: object, asks: object) -> bytes:
    return _encode({"lastUpdateId": last, "bids": bids, "asks": asks})


def _nested(batch: pa.RecordBatch, stream: Stream, part: str, unit: TimeUnit) -> list[bytes]:
    """Payloads of which most lies in an object inside."""
    values = _columns(batch, stream, unit)
    payload = type_of(stream)
    inside = next(field for field in msgspec.structs.fields(payload) if field.name == part)
    told: dict[str, Any] = {}
    for key, attribute in _wire(inside.type).items():
        column = values.get(f"{part}.{attribute}")
        told[key] = repeat(stream.symbol, len(batch)) if column is None else column
    values[part] = [dict(zip(told, row, strict=True)) for row in zip(*told.values(), strict=True)]
    if stream.kind is Kind.CONTINUOUS_KLINE:
        pair, _, contract = (stream.symbol or "").partition("_")
        values |= {"pair": [pair] * len(batch), "contract": [contract] * len(batch)}
    return list(map(_encode, _objects(values, stream, len(batch))))


def _arrays(batch: pa.RecordBatch, stream: Stream, column: Column, unit: TimeUnit) -> list[bytes]:
    lists = batch.column(column.name)
    flat = lists.flatten()
    values = {
        row.name: _typed(flat.field(index), row, unit) for index, row in enumerate(column.rows)
    }
    rows = _objects(values, stream, len(flat))
    return [_encode(rows[start:end]) for start, end in _spans(lists)]


def _objects(values: dict[str, list[Any]], stream: Stream, count: int) -> list[dict[str, Any]]:
    """Flat payloads, in the order of the exchange.

    :param values: attribute of the payload → its values.
    """
    payload = type_of(stream)
    payload = getattr(payload, "__args__", (payload,))[0]
    names = _wire(payload)
    order = WINDOW_ORDER if "event" in names.values() else tuple(names)
    tag = getattr(payload.__struct_config__, "tag", None)
    told: dict[str, Any] = {} if tag is None else {"e": repeat(tag, count)}
    for key in order:
        attribute = names[key]
        if attribute == "event":
            told[key] = repeat(f"{stream.interval}Ticker", count)
        elif attribute in values:
            told[key] = values[attribute]
            if attribute in _texts(payload):  # that may be empty, and then are null in a column
                told[key] = ["" if value is None else value for value in told[key]]
        else:
            told[key] = repeat(stream.symbol, count)
    spot = DIALECTS[stream.product].family == "spot"
    if spot and stream.kind in (Kind.TRADE, Kind.AGG_TRADE):
        told["M"] = repeat(True, count)
    return [dict(zip(told, row, strict=True)) for row in zip(*told.values(), strict=True)]


@functools.cache
def _wire(payload: Any) -> dict[str, str]:
    """Wire name → attribute, of all fields in the order of the payload."""
    return {field.encode_name: field.name for field in msgspec.structs.fields(payload)}


@functools.cache
def _texts(payload: Any) -> frozenset[str]:
    """Attributes that are texts, and never absent."""
    return frozenset(field.name for field in msgspec.structs.fields(payload) if field.type is str)


def _columns(batch: pa.RecordBatch, stream: Stream, unit: TimeUnit) -> dict[str, list[Any]]:
    """Attribute of the payload → its values, as the exchange notes them."""
    return {
        column.of: _typed(batch.column(column.name), column, unit)
        for column in table_of(stream).columns
        if column.of != RECEIPT and column.type != LEVELS and not column.rows
    }


def _typed(array: pa.Array, column: Column, unit: TimeUnit) -> list[Any]:
    if column.type == DECIMAL:
        texts = _decimals(array)
        return list(map(_percent, texts)) if column.name == "change_percent" else texts
    if column.type == TIME:
        return _times(array, unit, ends_bar=column.of == "bar.close_time")
    values: list[Any] = array.to_pylist()
    return values


def _decimals(array: pa.Array) -> list[Any]:
    texts: list[Any] = array.cast(pa.string()).to_pylist()
    # Arrow writes small ones, and zero, with an exponent.
    return [f"{Decimal(text):.8f}" if text is not None and "E" in text else text for text in texts]


def _percent(text: str) -> str:
    whole, _, part = text.partition(".")
    return f"{whole}.{part.rstrip('0').ljust(PERCENT_PLACES, '0')}"


def _times(array: pa.Array, unit: TimeUnit, *, ends_bar: bool = False) -> list[int]:
    microseconds = np.asarray(array.cast(pa.int64()).fill_null(0))  # of those that tell none
    if unit is not US:
        microseconds = microseconds // (US.per_second // unit.per_second)
    elif ends_bar:
        told_in_ms = microseconds % _WHOLE_US == _END_OF_MS_US
        microseconds = microseconds + np.where(told_in_ms, US.per_ms - 1, 0)
    times: list[int] = microseconds.tolist()
    return times


def _levels(lists: pa.Array) -> list[list[tuple[str, str]]]:
    flat = lists.flatten()
    levels = list(zip(_decimals(flat.field(0)), _decimals(flat.field(1)), strict=True))
    return [levels[start:end] for start, end in _spans(lists)]


def _spans(lists: pa.Array) -> Iterable[tuple[int, int]]:
    """Where each list begins and ends in all of them."""
    offsets = np.asarray(lists.offsets)
    return pairwise((offsets - offsets[0]).tolist())


def _remarks(piece: Piece, unit: TimeUnit) -> Iterable[Gap | Outage | VenueChanged]:
    batch, venue, stream = piece.batch, piece.venue, piece.stream
    since, until = (_stamps(batch.column(name)) for name in ("since", "until"))
    where = repeat(venue), repeat(stream)
    if piece.table is GAP:
        keys: Sequence[list[int]] = [batch.column(name).to_pylist() for name in ("first", "last")]
        if any_stream(stream).kind is Kind.KLINE:
            keys = [[unit.of(key) for key in column] for column in keys]
        return map(Gap, *where, *keys, batch.column("reason").to_pylist(), since, until)
    if piece.table is OUTAGE:
        return map(Outage, *where, since, until)  # type: ignore[arg-type] # they are never null
    previous = batch.column("previous").to_pylist()
    return map(VenueChanged, *where, previous, since, until)  # type: ignore[arg-type] # the same


def _stamps(array: pa.Array) -> list[float | None]:
    """Unix times in seconds; of them the table holds microseconds."""
    return [None if us is None else us / US.per_second for us in array.cast(pa.int64()).to_pylist()]
