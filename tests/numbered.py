"""Messages with a key and a time, an arbiter to offer them to, and what came out of it."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from k2trio.continuity.arbiter import Arbiter
from k2trio.continuity.items import Gap, Item, Outage
from k2trio.market.payloads import (
    AggTrade,
    AvgPrice,
    Bar,
    BlockTrade,
    BookTicker,
    Depth,
    Event,
    Kline,
    MiniTicker,
    PartialDepth,
    Trade,
)
from k2trio.market.units import MS

if TYPE_CHECKING:
    from k2trio.continuity.held import Source, Stray
    from k2trio.market.units import TimeUnit

TRADES, AGGS, MINUTES = "btcusdt@trade", "btcusdt@aggTrade", "btcusdt@kline_1m"
NOW_S = 1_800_000_000.0
NOW_MS = int(NOW_S * 1000)
MINUTE = 60_000
ABSURD = 2**62
YEAR_MS = 365 * 86_400_000


@dataclass(eq=False)
class Line:
    """A connection, and what it was told."""

    line: str = "0a"
    started_at: float = 0.0
    refused: list[Stray] = field(default_factory=list)

    def refuse(self, stray: Stray) -> None:
        self.refused.append(stray)


class Bench:
    """An arbiter, and everything that came out of it."""

    def __init__(
        self, *, redundant: bool = False, max_held_bytes: float = math.inf, unit: TimeUnit = MS
    ) -> None:
        self.arbiter = Arbiter(10_000, max_held_bytes, lambda _: redundant, unit=unit)
        self.items: list[Item] = []
        self.now = 0.0

    @property
    def strays(self) -> list[Stray]:
        return self.arbiter.strays

    @property
    def refuted(self) -> list[int]:
        """The keys of the strays."""
        tracks = self.arbiter.track
        return [tracks("v", stray.event.stream).first_of(stray.event.data) for stray in self.strays]

    def offer(self, *events: Event, source: Source | None = None) -> list[Item]:
        """Each event in a read of its own; what may be delivered because of them."""
        return [item for event in events for item in self.at_once(event, source=source)]

    def at_once(self, *events: Event, source: Source | None = None) -> list[Item]:
        """All events in one read."""
        items = self.arbiter.offer("v", events, self.now, source).items
        self.items += items
        return items


def stamp(at: float) -> tuple[int, float]:
    """Event time and receive time, so many seconds after the beginning."""
    return NOW_MS + round(at * 1000), NOW_S + at + 0.001


def trade(number: int, at: float, price: str = "1") -> Event:
    time, received = stamp(at)
    data = Trade(time, "BTCUSDT", number, price, "1", time, False)
    return Event(data, TRADES, "v", received, b"")


def agg(number: int, first: int, last: int, at: float = 0.0) -> Event:
    time, received = stamp(at)
    data = AggTrade(time, "BTCUSDT", number, "1", "1", first, last, time, False)
    return Event(data, AGGS, "v", received, b"")


def diff(first: int, last: int, at: float) -> Event:
    time, received = stamp(at)
    return Event(Depth(time, "BTCUSDT", first, last, [], []), "btcusdt@depth", "v", received, b"")


def block(number: int, at: float) -> Event:
    time, received = stamp(at)
    data = BlockTrade(time, "BTCUSDT", number, "1", "1", time, False)
    return Event(data, "btcusdt@blockTrade", "v", received, b"")


def quote(number: int, at: float) -> Event:
    data = BookTicker(number, "BTCUSDT", "1", "1", "2", "1")
    return Event(data, "btcusdt@bookTicker", "v", stamp(at)[1], b"")


def top(number: int, at: float) -> Event:
    return Event(PartialDepth(number, [], []), "btcusdt@depth5", "v", stamp(at)[1], b"")


def average(at: float, *, ahead_ms: int = 0) -> Event:
    time, received = stamp(at)
    data = AvgPrice(time + ahead_ms, "BTCUSDT", "5m", "1", time)
    return Event(data, "btcusdt@avgPrice", "v", received, b"")


def minis(at: float, *, ahead_ms: int = 0) -> Event:
    time, received = stamp(at)
    rows = [MiniTicker(time + ahead_ms, "BTCUSDT", *"111111")]
    return Event(rows, "!miniTicker@arr", "v", received, b"")


def bar(
    number: float, at: float, *, closed: bool = False, ahead_ms: int = 0, end: float | None = None
) -> Event:
    """An update of a minute's bar, received so many seconds after the beginning."""
    time, received = stamp(at)
    opens = NOW_MS + int(number * MINUTE)
    ends = opens + MINUTE if end is None else NOW_MS + int(end * MINUTE)
    inner = Bar(opens, ends - 1, "BTCUSDT", "1m", *"11111", 1, closed, "1")
    return Event(Kline(time + ahead_ms, "BTCUSDT", inner), MINUTES, "v", received, b"")


def told(items: list[Item]) -> list[Any]:
    """Messages by key, gaps as (first, last, reason), outages by their length; no averages."""
    out: list[Any] = []
    for item in items:
        if isinstance(item, Gap):
            out.append((item.first, item.last, item.reason))
        elif isinstance(item, Outage):
            out.append(f"outage of {item.until - item.since:.0f} s")
        else:
            names = ("trade_id", "agg_id", "last_update_id", "update_id")
            out += [getattr(item.data, name) for name in names if hasattr(item.data, name)]
    return out
