"""Which voice each kind of stream has, and how often it may speak."""

from __future__ import annotations

from typing import TYPE_CHECKING

from k2trio.market.streams import Kind, Stream

from .periodic import (
    AvgPriceVoice,
    DepthVoice,
    KlineVoice,
    PartialDepthVoice,
    ReferencePriceVoice,
    TickerVoice,
)
from .realtime import AggTradeVoice, BlockTradeVoice, BookTickerVoice, TradeVoice

if TYPE_CHECKING:
    from collections.abc import Callable

    from .voice import Stage, Voice

SECOND_US = 1_000_000

VOICES: dict[Kind, Callable[[Stage, Stream, int], Voice]] = {
    Kind.TRADE: TradeVoice,
    Kind.AGG_TRADE: AggTradeVoice,
    Kind.BLOCK_TRADE: BlockTradeVoice,
    Kind.DEPTH: DepthVoice,
    Kind.PARTIAL_DEPTH: PartialDepthVoice,
    Kind.BOOK_TICKER: BookTickerVoice,
    Kind.KLINE: KlineVoice,
    Kind.MINI_TICKER: TickerVoice,
    Kind.ALL_MINI_TICKERS: TickerVoice,
    Kind.TICKER: TickerVoice,
    Kind.WINDOW_TICKER: TickerVoice,
    Kind.ALL_WINDOW_TICKERS: TickerVoice,
    Kind.AVG_PRICE: AvgPriceVoice,
    Kind.REFERENCE_PRICE: ReferencePriceVoice,
}
"""How each kind of stream speaks."""


def period_us(stream: Stream) -> int:
    """How often a periodic stream may speak; microseconds.

    Source: Binance spot API docs, "WebSocket Streams", "Update Speed".
    """
    if stream.name.endswith("@100ms"):
        return SECOND_US // 10
    if stream.kind is Kind.KLINE and stream.interval != "1s":
        return 2 * SECOND_US
    return SECOND_US
