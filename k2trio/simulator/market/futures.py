"""The streams of USD-M futures, where they speak otherwise than those of spot."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from . import futures_payloads as forms
from . import payloads
from .message import Message
from .periodic import DepthVoice, PartialDepthVoice, TickerVoice
from .voice import Voice

if TYPE_CHECKING:
    from collections.abc import Callable

    from k2trio.market.streams import Stream

    from .contract import VenueSymbol
    from .records import AggTrade, Liquidation, Trade
    from .trading import SymbolMarket
    from .voice import Stage

FUNDING_US = 8 * 3_600_000_000
"""How often funding is paid; microseconds."""
LIQUIDATION_EVERY_US = 1_000_000
"""The exchange tells of one liquidation of a symbol in this time at most; microseconds."""


class FuturesTradeVoice(Voice):
    """``<symbol>@trade``."""

    def on_trade(self, symbol: SymbolMarket, trade: Trade) -> None:
        render = functools.partial(forms.trade, symbol.spec.symbol, trade)
        self.say(trade.id, trade.id, trade.time_us, render)


class FuturesAggTradeVoice(Voice):
    """``<symbol>@aggTrade``."""

    def on_agg_trade(self, symbol: SymbolMarket, trade: AggTrade) -> None:
        render = functools.partial(forms.agg_trade, symbol.spec.symbol, trade)
        self.say(trade.id, trade.id, trade.time_us, render)


class ChainedDepthVoice(DepthVoice):
    """``<symbol>@depth``: each message names the last update of the one before."""

    def __init__(self, stage: Stage, stream: Stream, period_us: int) -> None:
        super().__init__(stage, stream, period_us)
        self._previous = stage.of(stream).update_id

    def on_renumbered(self, symbol: VenueSymbol) -> None:
        super().on_renumbered(symbol)
        self._previous = symbol.update_id - 1

    def tell(self, ids: tuple[int, int], changes: payloads.Changes, now_us: int) -> None:
        (first, last), previous = ids, self._previous
        self._previous = last
        code = self.stage.of(self.stream).spec.symbol
        known = previous, first, last
        render = functools.partial(forms.chained_depth, code, known, *changes, now_us)
        self.say(previous + 1, last, now_us, render)


class FuturesPartialDepthVoice(PartialDepthVoice):
    """``<symbol>@depth<n>``."""

    def form(self, last: int, best: payloads.Changes, now_us: int) -> Callable[[int], bytes]:
        code, ids = self.stage.of(self.stream).spec.symbol, (last - 1, last, last)
        return functools.partial(forms.chained_depth, code, ids, *best, now_us)


class FuturesBookTickerVoice(Voice):
    """``<symbol>@bookTicker``, and that of all symbols."""

    def on_top(self, symbol: SymbolMarket, time_us: int) -> None:
        top, last = symbol.book.top(), symbol.update_id
        render = functools.partial(forms.book_ticker, symbol.spec.symbol, last, top, time_us)
        self.say(last, last, time_us, render)


class FuturesTickerVoice(TickerVoice):
    """``<symbol>@ticker``, and that of all symbols."""

    def _row(self, row: payloads.Statistics, now_us: int, unit: int) -> dict[str, object]:
        return forms.ticker(row, now_us, unit)


class MarkPriceVoice(Voice):
    """``<symbol>@markPrice``, and that of all symbols: every period."""

    def __init__(self, stage: Stage, stream: Stream, period_us: int) -> None:
        super().__init__(stage, stream, period_us)
        self.arm()

    def speak(self, now_us: int) -> None:
        funding_us = (now_us // FUNDING_US + 1) * FUNDING_US
        prices = [
            (symbol.spec.symbol, (symbol.book.bids.best + symbol.book.asks.best) // 2)
            for symbol in self.stage.all(self.stream)
        ]

        def render(unit: int) -> bytes:
            rows = [forms.mark_price(*row, funding_us, now_us, unit) for row in prices]
            return payloads.encode(rows[0] if self.stream.symbol else rows)

        self.say(now_us // 1000, now_us // 1000, now_us, render)
        self.arm()


class ForcedOrderVoice(Voice):
    """``<symbol>@forceOrder``, and that of all symbols: one a second of each, at most."""

    def __init__(self, stage: Stage, stream: Stream, period_us: int) -> None:
        super().__init__(stage, stream, period_us)
        self._told_us: dict[str, int] = {}

    def on_liquidation(self, symbol: SymbolMarket, record: Liquidation) -> None:
        code, now_us = symbol.spec.symbol, record.time_us
        if now_us - self._told_us.get(code, -LIQUIDATION_EVERY_US) < LIQUIDATION_EVERY_US:
            return
        self._told_us[code] = now_us
        render = functools.partial(forms.forced_order, code, record, now_us)
        key = now_us // 1000
        self.stage.emit(Message(self.name, key, key, now_us, render))
