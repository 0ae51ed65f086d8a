"""The streams that speak as soon as something happens."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from . import payloads
from .voice import Voice

if TYPE_CHECKING:
    from .records import AggTrade, Trade
    from .trading import SymbolMarket


class TradeVoice(Voice):
    """``<symbol>@trade``."""

    def on_trade(self, symbol: SymbolMarket, trade: Trade) -> None:
        render = functools.partial(payloads.trade, symbol.spec.symbol, trade)
        self.say(trade.id, trade.id, trade.time_us, render)


class AggTradeVoice(Voice):
    """``<symbol>@aggTrade``."""

    def on_agg_trade(self, symbol: SymbolMarket, trade: AggTrade) -> None:
        render = functools.partial(payloads.agg_trade, symbol.spec.symbol, trade)
        self.say(trade.id, trade.id, trade.time_us, render)


class BlockTradeVoice(Voice):
    """``<symbol>@blockTrade``."""

    def on_block_trade(self, symbol: SymbolMarket, trade: Trade) -> None:
        render = functools.partial(payloads.block_trade, symbol.spec.symbol, trade)
        self.say(trade.id, trade.id, trade.time_us, render)


class BookTickerVoice(Voice):
    """``<symbol>@bookTicker``."""

    def on_top(self, symbol: SymbolMarket, time_us: int) -> None:
        top, last = symbol.book.top(), symbol.update_id
        render = functools.partial(payloads.book_ticker, symbol.spec.symbol, last, top)
        self.say(last, last, time_us, render)
