"""Candlesticks of one symbol: one-second bars, and every other interval made of them.

A trade touches the current second only. When a second ends it is merged into the intervals that
somebody asked for, so a busy market pays for sixteen intervals once a second and not per trade.
Bars without trades are not stored; they are made on reading, with the close before them.

Source: Binance spot API docs, "Kline/Candlestick streams" and ``GET /api/v3/klines``.
"""

from __future__ import annotations

import datetime
from collections import deque
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from k2trio.market.streams import KLINE_INTERVALS_MS

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_SECONDS = 100_000
"""One-second bars kept; a new interval is built from them."""

MAX_BARS = 20_000
"""Bars kept of each interval that was asked for."""

MINUTE_MS = 60_000
WEEK_MS = 604_800_000
MONDAY_MS = 4 * 86_400_000
"""1970-01-05, a Monday: weekly bars open on Mondays."""


def bar_open_ms(interval: str, time_ms: int, offset_ms: int = 0) -> int:
    """Open time of the bar of ``interval`` that holds ``time_ms``, in a zone ``offset_ms`` east."""
    local = time_ms + offset_ms
    length = KLINE_INTERVALS_MS[interval]
    if length is None:
        day = datetime.datetime.fromtimestamp(local / 1000, datetime.UTC)
        month = day.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
        return int(month.timestamp()) * 1000 - offset_ms
    shift = MONDAY_MS if length == WEEK_MS else 0
    return local - (local - shift) % length - offset_ms


def bar_end_ms(interval: str, open_ms: int, offset_ms: int = 0) -> int:
    """Open time of the bar after the one that opens at ``open_ms``, late perhaps."""
    length = KLINE_INTERVALS_MS[interval]
    if length is None:
        return bar_open_ms(interval, open_ms + 32 * 86_400_000, offset_ms)
    return bar_open_ms(interval, open_ms, offset_ms) + length


@dataclass(slots=True)
class Bar:
    """Open, high, low, close and sums of a span; prices and volumes in units of 10⁻⁸."""

    open_ms: int
    open: int
    high: int
    low: int
    close: int
    first_id: int = -1
    last_id: int = -1
    count: int = 0
    volume: int = 0
    quote: int = 0
    taker_volume: int = 0
    taker_quote: int = 0

    @classmethod
    def empty(cls, open_ms: int, close: int) -> Bar:
        """A span without trades: the exchange repeats the last close, with ids -1."""
        return cls(open_ms, close, close, close, close)

    def add(self, later: Bar) -> None:
        """Merge a later span that has trades into this one."""
        if not self.count:
            self.open, self.high, self.low = later.open, later.high, later.low
            self.first_id = later.first_id
        self.high = max(self.high, later.high)
        self.low = min(self.low, later.low)
        self.close = later.close
        self.last_id = later.last_id
        self.count += later.count
        self.volume += later.volume
        self.quote += later.quote
        self.taker_volume += later.taker_volume
        self.taker_quote += later.taker_quote


class Series:
    """Bars of one interval, oldest first; only those with trades."""

    def __init__(self, interval: str, offset_ms: int) -> None:
        self.interval = interval
        self.offset_ms = offset_ms
        self.bars: dict[int, Bar] = {}

    def add(self, second: Bar) -> None:
        """Merge a finished second."""
        open_ms = bar_open_ms(self.interval, second.open_ms, self.offset_ms)
        bar = self.bars.get(open_ms)
        if bar is None:
            if len(self.bars) >= MAX_BARS:
                del self.bars[next(iter(self.bars))]
            self.bars[open_ms] = replace(second, open_ms=open_ms)
        else:
            bar.add(second)


class Bars:
    """All candlesticks of one symbol.

    :param start_ms: there are no bars before this time.
    :param price: the close before the first trade, in units of 10⁻⁸.
    """

    def __init__(self, start_ms: int, price: int) -> None:
        self.start_ms = start_ms
        self.price: int = price
        self.first_price = price
        self.second: Bar | None = None
        self._halts: list[tuple[int, int]] = []
        self._seconds: deque[Bar] = deque(maxlen=MAX_SECONDS)
        self._series: dict[tuple[str, int], Series] = {}

    def trade(
        self, time_ms: int, trade_id: int, price: int, quantity: int, *, buyer_is_maker: bool
    ) -> None:
        """Count one trade; times never go back."""
        open_ms = time_ms - time_ms % 1000
        bar = self.second
        if bar is None or bar.open_ms != open_ms:
            if bar is not None:
                self._finish(bar)
            bar = self.second = Bar(open_ms, price, price, price, price, trade_id)
        elif price > bar.high:
            bar.high = price
        elif price < bar.low:
            bar.low = price
        quote = price * quantity // 10**8
        bar.close = self.price = price
        bar.last_id = trade_id
        bar.count += 1
        bar.volume += quantity
        bar.quote += quote
        if not buyer_is_maker:
            bar.taker_volume += quantity
            bar.taker_quote += quote

    def halt(self, from_ms: int, until_ms: int) -> None:
        """Note a time without trading."""
        self._halts.append((from_ms, until_ms))

    def opens_ms(self, open_ms: int, end_ms: int) -> int | None:
        """When the bar really opens that has this place on the grid; None if there is none.

        A bar that was open when a halt began lasts until its regular end. One that would open in a
        halt opens after it, if there is some of it left.
        """
        for from_ms, until_ms in self._halts:
            if from_ms < open_ms < until_ms:
                return self.opens_ms(until_ms, end_ms) if until_ms < end_ms else None
        return open_ms

    def _finish(self, second: Bar) -> None:
        self._seconds.append(second)
        for series in self._series.values():
            series.add(second)

    def series(self, interval: str, offset_ms: int = 0) -> Series:
        """The series of an interval, built from the kept seconds when first asked for."""
        found = self._series.get((interval, offset_ms))
        if found is None:
            found = self._series[interval, offset_ms] = Series(interval, offset_ms)
            for second in self._seconds:
                found.add(second)
        return found

    def bar(self, interval: str, open_ms: int, offset_ms: int = 0) -> Bar:
        """The bar that opens at ``open_ms``, with all trades until now; for the newest bar."""
        stored = self.series(interval, offset_ms).bars.get(open_ms)
        bar = Bar.empty(open_ms, self.price) if stored is None else replace(stored)
        end_ms = bar_end_ms(interval, open_ms, offset_ms)
        if self.second is not None and open_ms <= self.second.open_ms < end_ms:
            bar.add(self.second)
        return bar

    def between(
        self, interval: str, from_ms: int, until_ms: int, offset_ms: int = 0
    ) -> Iterator[Bar]:
        """All bars that open in ``from_ms … until_ms``, oldest first, empty ones included."""
        series = self.series(interval, offset_ms)
        open_ms = bar_open_ms(interval, max(from_ms, self.start_ms), offset_ms)
        close = next(
            (bar.close for bar in reversed(series.bars.values()) if bar.open_ms < open_ms),
            self.first_price,
        )
        while open_ms <= until_ms:
            bar = self.bar(interval, open_ms, offset_ms)
            if not bar.count:
                bar = Bar.empty(open_ms, close)
            close = bar.close
            end_ms = bar_end_ms(interval, open_ms, offset_ms)
            really_ms = self.opens_ms(open_ms, end_ms)
            if really_ms is not None and from_ms <= really_ms <= until_ms:
                bar.open_ms = really_ms
                yield bar
            open_ms = end_ms

    def window(self, now_ms: int, length_ms: int) -> tuple[Bar, int]:
        """Everything in the last ``length_ms``, and the close before it.

        As on the exchange it begins on a minute, and so may be wider by up to one.
        """
        from_ms = (now_ms - length_ms) // MINUTE_MS * MINUTE_MS
        bars: list[Bar] = []
        before = self.first_price
        for bar in reversed(self.series("1m").bars.values()):
            if bar.open_ms < from_ms:
                before = bar.close
                break
            bars.append(bar)
        total = Bar.empty(from_ms, before)
        for bar in reversed(bars):
            total.add(bar)
        if self.second is not None and self.second.open_ms >= from_ms:
            total.add(self.second)
        return total, before
