"""Recorded sets for tests, written as the feed's sinks write them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from k2trio.continuity.items import Gap, GapReason, Outage, VenueChanged
from k2trio.dataset.proof.proof import prove
from k2trio.dataset.sealing import seal_all
from k2trio.market.payloads import (
    AggTrade,
    Bar,
    BookTicker,
    Depth,
    DepthSnapshot,
    Event,
    Kline,
    Origin,
    Payload,
    Trade,
    frame_of,
)
from k2trio.sinks.lines import encode_lines

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from k2trio.continuity.items import Item
    from k2trio.dataset.linesfile import Source
    from k2trio.dataset.proof.account import Account
    from k2trio.dataset.proof.holes import Hole

VENUE = "binance.com"
TRADES, AGGS, DIFFS = "btcusdt@trade", "btcusdt@aggTrade", "btcusdt@depth@100ms"
QUOTES, BARS = "btcusdt@bookTicker", "btcusdt@kline_1m"
START_S = 1_795_680_000  # 2026-11-26 08:00
START_MS = START_S * 1000
MINUTE_MS = 60_000


def event(
    data: Payload | DepthSnapshot,
    stream: str,
    at: float,
    origin: Origin = "live",
    venue: str = VENUE,
) -> Event:
    """A message that was received so many seconds after the start."""
    raw = msgspec.json.encode(data)
    return Event(data, stream, venue, START_S + at, frame_of(stream, raw), origin)


def trade(
    number: int, at: float | None = None, quantity: str = "0.5", *, late: float = 0.01,
    price: str = "65000.1", origin: Origin = "live", venue: str = VENUE,
) -> Event:  # fmt: skip
    """A trade; by default one a second, by its id."""
    at = number if at is None else at
    time = START_MS + round(at * 1000)
    data = Trade(time, "BTCUSDT", number, price, quantity, time, number % 2 == 0)
    return event(data, TRADES, at + late, origin, venue)


def trades(first: int, last: int, **options: str) -> list[Event]:
    """Trades of these ids."""
    return [trade(number, **options) for number in range(first, last + 1)]


def aggregate(number: int, first: int, last: int, at: float | None = None) -> Event:
    """An aggregate trade of half a coin a trade."""
    at = number if at is None else at
    time = START_MS + round(at * 1000)
    quantity = f"{(last - first + 1) * 0.5:g}"
    data = AggTrade(time, "BTCUSDT", number, "65000.1", quantity, first, last, time, False)
    return event(data, AGGS, at + 0.01)


def diff(first: int, last: int, at: float) -> Event:
    """An update of the book."""
    return event(
        Depth(START_MS + round(at * 1000), "BTCUSDT", first, last, [], []), DIFFS, at + 0.01
    )


def snapshot(last: int, at: float) -> Event:
    """The book as REST gives it."""
    return event(DepthSnapshot(last, [], []), DIFFS, at, "snapshot")


def quote(update: int, at: float) -> Event:
    """Best bid and ask."""
    return event(BookTicker(update, "BTCUSDT", "1", "1", "2", "1"), QUOTES, at)


def bar(
    minute: int, count: int, volume: str, ids: tuple[int, int] | None = None, *, closed: bool = True
) -> Event:
    """A bar of the minute of that number, or an update of it in its midst."""
    begin = START_MS + minute * MINUTE_MS
    end = begin + MINUTE_MS
    told = end if closed else begin + 30_000
    first, last = (None, None) if ids is None else ids
    data = Kline(
        told, "BTCUSDT",
        Bar(begin, end - 1, "BTCUSDT", "1m", "1", "1", "1", "1", volume, count, closed, "1", "1",
            "1", first, last),
    )  # fmt: skip
    return event(data, BARS, (told - START_MS) / 1000 + 0.01)


def bars_of(events: Sequence[Event], *, ids: bool = True) -> list[Event]:
    """The closed bars of trades, as the exchange makes them."""
    minutes: dict[int, list[Trade]] = {}
    for one in events:
        minutes.setdefault((one.data.trade_time - START_MS) // MINUTE_MS, []).append(one.data)
    made: list[Event] = []
    for minute in range(min(minutes), max(minutes) + 1):
        rows = minutes.get(minute, [])
        volume = sum(round(float(row.quantity) * 10**8) for row in rows)
        told = (rows[0].trade_id, rows[-1].trade_id) if rows else (-1, -1)
        text = f"{volume // 10**8}.{volume % 10**8:08}"
        made.append(bar(minute, len(rows), text, told if ids else None))
    return made


def gap(
    first: int, last: int, reason: GapReason = "not_repaired", stream: str = TRADES,
    since: float | None = None, until: float | None = None,
) -> Gap:  # fmt: skip
    """Ids that are declared missing; times are seconds after the start."""
    times = [None if at is None else START_S + at for at in (since, until)]
    return Gap(VENUE, stream, first, last, reason, *times)


def reset(next_id: int, at: float, stream: str = TRADES) -> Gap:
    """Where the venue begins its ids anew."""
    return gap(next_id, next_id, "reset", stream, at - 1, at)


def outage(since: float, until: float, stream: str = QUOTES) -> Outage:
    """A time in which messages may be missing."""
    return Outage(VENUE, stream, START_S + since, START_S + until)


def changed(previous: str, venue: str, at: float, stream: str = TRADES) -> VenueChanged:
    """Where a stream goes on from another venue."""
    return VenueChanged(venue, stream, previous, START_S + at - 1, START_S + at)


def write(path: Path, items: Iterable[Item]) -> Path:
    """A file of JSON lines."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encode_lines(items))
    return path


def sealed(root: Path, *hours: Iterable[Item]) -> Path:
    """A dataset, one sealed journal for each hour."""
    for number, items in enumerate(hours):
        write(root / "_journal" / f"20261126T{8 + number:02}-1.jsonl", items)
    for outcome in seal_all(root, root / "_journal", "tests"):
        assert outcome.seal is not None, outcome
    return root


def account(sources: Sequence[Source], stream: str = TRADES, venue: str = VENUE) -> Account:
    """What a proof says of one stream."""
    proof = prove(sources)
    assert proof.unreadable == []
    (found,) = [one for one in proof.accounts if (one.venue, one.stream) == (venue, stream)]
    return found


def holes(found: Account) -> list[tuple[int, int, str | None]]:
    """First, last and reason of all holes, without the times around them."""
    every: list[Hole] = [hole for numbering in found.numberings for hole in numbering.holes]
    return [hole[:3] for hole in every]
