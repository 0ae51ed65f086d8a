"""Recordings for tests: what a feed delivered of a simulated market, and files of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from k2trio.continuity.items import Gap, Outage, VenueChanged
from k2trio.dataset.columns import pieces
from k2trio.dataset.layout import place_of
from k2trio.market.decoder import decode_payload
from k2trio.market.payloads import DepthSnapshot, Event, frame_of
from k2trio.market.streams import parse_stream
from k2trio.simulator import EPOCH_MS, Market
from k2trio.simulator.market import payloads
from k2trio.sinks.lines import encode_lines
from k2trio.sinks.parsing import decode_lines

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from k2trio.continuity.items import Item

VENUE = "venue.test"
START_S = EPOCH_MS / 1000
EVERY_KIND = (
    "btcusdt@trade",
    "btcusdt@aggTrade",
    "btcusdt@blockTrade",
    "btcusdt@depth@100ms",
    "btcusdt@depth5",
    "btcusdt@bookTicker",
    "btcusdt@kline_1s",
    "btcusdt@kline_1m",
    "btcusdt@miniTicker",
    "btcusdt@ticker",
    "btcusdt@ticker_1h",
    "btcusdt@avgPrice",
    "btcusdt@referencePrice",
    "!miniTicker@arr",
    "!ticker_4h@arr",
    "ethusdt@trade",
)
MS, US = 1000, 1


def event_of(stream: str, raw: bytes, received: float, venue: str = VENUE) -> Event:
    """The event that a live payload makes."""
    data = decode_payload(parse_stream(stream).kind, raw)
    return Event(data, stream, venue, received, frame_of(stream, raw))


def snapshot_of(market: Market, stream: str, received: float, levels: int = 1000) -> Event:
    """The book of now, as the feed delivers a snapshot."""
    symbol = market.of(parse_stream(stream))
    bids, asks = symbol.book.bids.top(levels), symbol.book.asks.top(levels)
    raw = payloads.partial_depth(symbol.update_id, bids, asks, MS)
    data = msgspec.json.decode(raw, type=DepthSnapshot)
    return Event(data, stream, VENUE, received, frame_of(stream, raw), "snapshot")


def session(
    seconds: float = 3,
    streams: Sequence[str] = EVERY_KIND,
    *,
    unit: int = MS,
    seed: int = 1,
    rate: float = 20,
    begin_s: float = 0,
) -> list[Item]:
    """What a feed delivered of a market in some seconds, books with the snapshots before them.

    :param begin_s: this long after the market began.
    """
    market = Market(["BTCUSDT", "ETHUSDT"], seed=seed, rate=rate)
    market.advance(market.start_us + round(begin_s * 1e6))
    for stream in streams:
        market.watch(stream)
    items: list[Item] = [
        snapshot_of(market, stream, market.now_us / 1e6)
        for stream in streams
        if "@depth@" in stream
    ]
    for message in market.advance(market.now_us + round(seconds * 1e6)):
        # Some are read together, as they are from a socket.
        received = (message.time_us // 20_000 * 20_000 + 31_250) / 1e6
        items.append(event_of(message.stream, message.render(unit), received))
    return items


def with_remarks(items: Sequence[Item]) -> list[Item]:
    """The same, with one of each remark in the midst of it."""
    middle = len(items) // 2
    since, until = (
        next(item.received for item in part if isinstance(item, Event))
        for part in (items[middle - 1 :: -1], items[middle:])
    )
    remarks: list[Item] = [
        Gap(VENUE, "ethusdt@trade", 1, 5, "not_repaired", since, until),
        Gap(VENUE, "btcusdt@kline_1m", EPOCH_MS, EPOCH_MS, "venue_missing"),
        Outage(VENUE, "btcusdt@bookTicker", since, until),
        VenueChanged(VENUE, "btcusdt@ticker", "other.test", since, until),
    ]
    return [*items[:middle], *remarks, *items[middle:]]


def seal(
    root: Path, items: Sequence[Item], batch: str, *, rows: int = 200, by_id: bool = True
) -> None:
    """Make sealed files of items, as if a journal of that id had held them.

    :param rows: of a row group.
    :param by_id: sort rows as sealing does; else they stay as they came.
    """
    files: dict[Any, list[Any]] = {}
    for piece in pieces(decode_lines(encode_lines(items))):
        table = pa.Table.from_batches([piece.batch])
        days = pc.strftime(table.column("time"), "%Y-%m-%d")
        for day in days.unique().to_pylist():
            place = place_of(piece.table, piece.venue, piece.stream, day, batch)
            files.setdefault(place, []).append(table.filter(pc.equal(days, day)))
    for place, parts in files.items():
        path = root / place.path
        path.parent.mkdir(parents=True, exist_ok=True)
        table = pa.concat_tables(parts)
        if by_id:
            table = table.take(
                pc.sort_indices(table, [(place.table.last or "sequence", "ascending")])
            )
        pq.write_table(table, path, row_group_size=rows, compression="zstd")
    seal_path = root / "_sealed" / f"{batch}.json"
    seal_path.parent.mkdir(exist_ok=True)
    seal_path.write_text("{}")


def write_lines(path: Path, items: Iterable[Item]) -> Path:
    """A file of JSON lines, as a program writes it."""
    path.write_bytes(encode_lines(items))
    return path
