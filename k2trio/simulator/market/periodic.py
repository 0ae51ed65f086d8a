"""The streams that speak at multiples of their period.

They do so (save for average and reference price) only if something changed since; a closed bar is
always told.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from k2trio.market.streams import Kind, Stream

from . import payloads
from .bars import bar_end_ms, bar_open_ms
from .message import Message
from .trading import NEVER_US
from .voice import Voice

if TYPE_CHECKING:
    from collections.abc import Callable

    from .book import Side
    from .contract import VenueSymbol
    from .records import Trade
    from .trading import SymbolMarket
    from .voice import Stage

DAY_MS = 86_400_000
WINDOW_MS = {"1h": 3_600_000, "4h": 14_400_000, "1d": DAY_MS}
AVERAGE_MS = 300_000


class DepthVoice(Voice):
    """``<symbol>@depth``: every update id since the last message, as the levels they changed."""

    def __init__(self, stage: Stage, stream: Stream, period_us: int) -> None:
        super().__init__(stage, stream, period_us)
        self._first = 0
        self._bids: dict[int, None] = {}
        self._asks: dict[int, None] = {}

    def on_level(self, symbol: VenueSymbol, side: Side, price: int) -> None:
        if not self._bids and not self._asks:
            self._first = symbol.update_id
            self.arm()
        (self._bids if side.sign > 0 else self._asks)[price] = None

    def on_renumbered(self, symbol: VenueSymbol) -> None:
        self._first = symbol.update_id

    def speak(self, now_us: int) -> None:
        symbol = self.stage.of(self.stream)
        book, first, last = symbol.book, self._first, symbol.update_id
        bids = [(price, book.bids.quantities.get(price, 0)) for price in sorted(self._bids)[::-1]]
        asks = [(price, book.asks.quantities.get(price, 0)) for price in sorted(self._asks)]
        self._bids, self._asks = {}, {}
        self.tell((first, last), (bids, asks), now_us)

    def tell(self, ids: tuple[int, int], changes: payloads.Changes, now_us: int) -> None:
        """Say what the updates ``ids`` changed."""
        code = self.stage.of(self.stream).spec.symbol
        self.say(*ids, now_us, functools.partial(payloads.depth, code, *ids, *changes, now_us))


class PartialDepthVoice(Voice):
    """``<symbol>@depth<n>``: the best levels, if the book changed.

    If only deeper ones did, the documents do not say whether they are told; see
    :attr:`Stage.retells`.
    """

    def __init__(self, stage: Stage, stream: Stream, period_us: int) -> None:
        super().__init__(stage, stream, period_us)
        self._told: payloads.Changes | None = None

    def on_level(self, symbol: VenueSymbol, side: Side, price: int) -> None:
        del symbol, side, price
        if self.due_us == NEVER_US:
            self.arm()

    def speak(self, now_us: int) -> None:
        symbol, levels = self.stage.of(self.stream), self.stream.levels or 20
        best = symbol.book.bids.top(levels), symbol.book.asks.top(levels)
        retold = best == self._told
        if retold and not self.stage.retells:
            return
        self._told, last = best, symbol.update_id
        render = self.form(last, best, now_us)
        self.stage.emit(Message(self.name, last, last, now_us, render, retold=retold))

    def form(self, last: int, best: payloads.Changes, now_us: int) -> Callable[[int], bytes]:
        """What makes the message that tells the best levels as of an update."""
        del now_us
        return functools.partial(payloads.partial_depth, last, *best)


class KlineVoice(Voice):
    """``<symbol>@kline_<interval>``: changes every period, and each close."""

    def __init__(self, stage: Stage, stream: Stream, period_us: int) -> None:
        super().__init__(stage, stream, period_us)
        self._interval = stream.interval or "1m"
        _, _, zone = stream.name.partition("@")[2].partition("@")
        self._offset_ms = zone_offset_ms(zone)
        self._open_ms = bar_open_ms(self._interval, stage.now_us // 1000, self._offset_ms)
        self._end_ms = bar_end_ms(self._interval, self._open_ms, self._offset_ms)
        self.arm(self._end_ms * 1000)

    def on_trade(self, symbol: SymbolMarket, trade: Trade) -> None:
        del symbol, trade
        self.arm()

    def speak(self, now_us: int) -> None:
        symbol = self.stage.of(self.stream)
        open_ms, end_ms = self._open_ms, self._end_ms
        closed = now_us == end_ms * 1000
        really_ms = symbol.bars.opens_ms(open_ms, end_ms)
        if really_ms is not None:
            bar = symbol.bars.bar(self._interval, open_ms, self._offset_ms)
            bar.open_ms = really_ms
            render = functools.partial(
                payloads.kline, symbol.spec.symbol, self._interval, bar, end_ms, now_us, closed
            )
            key = now_us // 1000
            closes = really_ms if closed else None
            self.stage.emit(Message(self.name, key, key, now_us, render, closes))
        if closed:
            self._open_ms = end_ms
            self._end_ms = bar_end_ms(self._interval, end_ms, self._offset_ms)
        self.arm(self._end_ms * 1000)


class TickerVoice(Voice):
    """The rolling statistics, of one symbol or of all: those that traded since."""

    def __init__(self, stage: Stage, stream: Stream, period_us: int) -> None:
        super().__init__(stage, stream, period_us)
        self._traded: dict[str, SymbolMarket] = {}
        self._window_ms = WINDOW_MS[stream.interval] if stream.interval else DAY_MS

    def on_trade(self, symbol: SymbolMarket, trade: Trade) -> None:
        del trade
        if not self._traded:
            self.arm()
        self._traded[symbol.spec.symbol] = symbol

    def speak(self, now_us: int) -> None:
        rows = [self._statistics(symbol, now_us) for symbol in self._traded.values()]
        self._traded = {}
        key = now_us // 1000
        self.say(key, key, now_us, functools.partial(self._render, rows, now_us))

    def _statistics(self, symbol: SymbolMarket, now_us: int) -> payloads.Statistics:
        span, before = symbol.bars.window(now_us // 1000, self._window_ms)
        last = symbol.last_quantity
        return payloads.Statistics(symbol.spec.symbol, span, before, symbol.book.top(), last)

    def _render(self, rows: list[payloads.Statistics], now_us: int, unit: int) -> bytes:
        wire = [self._row(row, now_us, unit) for row in rows]
        return payloads.encode(wire[0] if self.stream.symbol else wire)

    def _row(self, row: payloads.Statistics, now_us: int, unit: int) -> dict[str, object]:
        if self.stream.kind in {Kind.MINI_TICKER, Kind.ALL_MINI_TICKERS}:
            return payloads.mini_ticker(row, now_us, unit)
        if self.stream.interval is None:
            return payloads.ticker(row, now_us, unit)
        return payloads.window_ticker(row, self.stream.interval, now_us, unit)


class AvgPriceVoice(Voice):
    """``<symbol>@avgPrice``: every second."""

    def __init__(self, stage: Stage, stream: Stream, period_us: int) -> None:
        super().__init__(stage, stream, period_us)
        self.arm()

    def speak(self, now_us: int) -> None:
        symbol = self.stage.of(self.stream)
        span, _ = symbol.bars.window(now_us // 1000, AVERAGE_MS)
        price = span.quote * 100_000_000 // span.volume if span.volume else span.close
        render = functools.partial(
            payloads.avg_price, symbol.spec.symbol, price, symbol.last_trade_us, now_us
        )
        self.say(now_us // 1000, now_us // 1000, now_us, render)
        self.arm()


class ReferencePriceVoice(Voice):
    """``<symbol>@referencePrice``: the middle of the book, every second."""

    def __init__(self, stage: Stage, stream: Stream, period_us: int) -> None:
        super().__init__(stage, stream, period_us)
        self.arm()

    def speak(self, now_us: int) -> None:
        symbol = self.stage.of(self.stream)
        price = (symbol.book.bids.best + symbol.book.asks.best) // 2
        render = functools.partial(payloads.reference_price, symbol.spec.symbol, price, now_us)
        self.say(now_us // 1000, now_us // 1000, now_us, render)
        self.arm()


def zone_offset_ms(zone: str) -> int:
    """``"+08:00"`` as milliseconds east of UTC; ``""`` is UTC."""
    if not zone:
        return 0
    hours, minutes = int(zone[1:3]), int(zone[4:6])
    return (-1 if zone[0] == "-" else 1) * (hours * 60 + minutes) * 60_000
