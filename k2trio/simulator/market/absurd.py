"""Absurd messages: what a stream could say, but with a key far ahead of its time. Pure."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from k2trio.market.streams import Kind, Stream, parse_stream

from . import payloads
from .bars import Bar, bar_end_ms
from .forms import FORMS
from .message import Message

if TYPE_CHECKING:
    from .market import Market
    from .trading import SymbolMarket

ABSURD_KINDS = frozenset(
    {
        Kind.TRADE,
        Kind.AGG_TRADE,
        Kind.BLOCK_TRADE,
        Kind.DEPTH,
        Kind.BOOK_TICKER,
        Kind.KLINE,
    }
)
"""Kinds that an absurd message can be made of."""


def absurd_message(market: Market, name: str, by: int) -> Message | None:
    """The last message of a stream again, as of now, with a key that is ``by`` too high.

    :returns: None if the stream has said nothing that could be told again.
    """
    stream, forms = parse_stream(name, market.product), FORMS[market.product]
    symbol, now_us = market.of(stream), market.now_us
    code = symbol.spec.symbol
    match stream.kind:
        case Kind.TRADE if symbol.trades.records:
            trade = symbol.trades.records[-1]
            trade = trade._replace(id=trade.id + by, time_us=now_us)
            render = functools.partial(forms.trade, code, trade)
            return Message(name, trade.id, trade.id, now_us, render)
        case Kind.AGG_TRADE if symbol.agg_trades.records:
            agg = symbol.agg_trades.records[-1]
            agg = agg._replace(id=agg.id + by, time_us=now_us)
            render = functools.partial(forms.agg_trade, code, agg)
            return Message(name, agg.id, agg.id, now_us, render)
        case Kind.BLOCK_TRADE if symbol.block_trades.records:
            block = symbol.block_trades.records[-1]
            block = block._replace(id=block.id + by, time_us=now_us)
            render = functools.partial(payloads.block_trade, code, block)
            return Message(name, block.id, block.id, now_us, render)
        case Kind.DEPTH:
            key = symbol.update_id + by
            render = functools.partial(forms.depth, code, key, key, [], [], now_us)
            return Message(name, key, key, now_us, render)
        case Kind.BOOK_TICKER:
            key = symbol.update_id + by
            render = functools.partial(forms.book_ticker, code, key, symbol.book.top(), now_us)
            return Message(name, key, key, now_us, render)
        case Kind.KLINE:
            return _absurd_kline(symbol, stream, now_us, by)
        case _:
            return None


def _absurd_kline(symbol: SymbolMarket, stream: Stream, now_us: int, by: int) -> Message:
    interval, now_ms = stream.interval or "1m", now_us // 1000
    open_ms = now_ms + by
    render = functools.partial(
        payloads.kline,
        symbol.spec.symbol,
        interval,
        Bar.empty(open_ms, symbol.bars.price),
        bar_end_ms(interval, open_ms),
        (now_ms + by) * 1000,
        False,
    )
    return Message(stream.name, now_ms + by, now_ms + by, now_us, render)
