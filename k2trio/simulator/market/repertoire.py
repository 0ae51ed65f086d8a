"""Which voice each kind of stream has, and how often it may speak."""

from __future__ import annotations

from typing import TYPE_CHECKING

from k2trio.errors import UnknownStreamError
from k2trio.market.streams import Kind, Stream

from .futures import (
    ChainedDepthVoice,
    ForcedOrderVoice,
    FuturesAggTradeVoice,
    FuturesBookTickerVoice,
    FuturesPartialDepthVoice,
    FuturesTickerVoice,
    FuturesTradeVoice,
    MarkPriceVoice,
)
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
PERIODS_US = {"@100ms": SECOND_US // 10, "@250ms": SECOND_US // 4, "@500ms": SECOND_US // 2}
_OTHER_PERIODS_US = {
    Kind.DEPTH: SECOND_US // 4,
    Kind.PARTIAL_DEPTH: SECOND_US // 4,
    Kind.KLINE: SECOND_US // 4,
}
"""Of streams of futures that do not name theirs."""

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
"""How each kind of stream of the spot exchange speaks."""
_OF_FUTURES: dict[Kind, Callable[[Stage, Stream, int], Voice]] = {
    Kind.TRADE: FuturesTradeVoice,
    Kind.AGG_TRADE: FuturesAggTradeVoice,
    Kind.DEPTH: ChainedDepthVoice,
    Kind.PARTIAL_DEPTH: FuturesPartialDepthVoice,
    Kind.BOOK_TICKER: FuturesBookTickerVoice,
    Kind.ALL_BOOK_TICKERS: FuturesBookTickerVoice,
    Kind.KLINE: KlineVoice,
    Kind.MINI_TICKER: TickerVoice,
    Kind.ALL_MINI_TICKERS: TickerVoice,
    Kind.TICKER: FuturesTickerVoice,
    Kind.ALL_TICKERS: FuturesTickerVoice,
    Kind.MARK_PRICE: MarkPriceVoice,
    Kind.ALL_MARK_PRICES: MarkPriceVoice,
    Kind.FORCED_ORDER: ForcedOrderVoice,
    Kind.ALL_FORCED_ORDERS: ForcedOrderVoice,
}


def voice_of(stage: Stage, stream: Stream) -> Voice:
    """What speaks for a stream.

    :raises UnknownStreamError: if none of its kind is played.
    """
    voices = VOICES if stream.product == "spot" else _OF_FUTURES
    make = voices.get(stream.kind)
    if make is None:
        raise UnknownStreamError(f"no stream of kind {stream.kind} is simulated")
    return make(stage, stream, period_us(stream))


def period_us(stream: Stream) -> int:
    """How often a periodic stream may speak; microseconds.

    Source: Binance spot API docs, "WebSocket Streams", "Update Speed".
    """
    for ending, period in PERIODS_US.items():
        if stream.name.endswith(ending):
            return period
    if stream.kind in (Kind.MARK_PRICE, Kind.ALL_MARK_PRICES):
        return SECOND_US if stream.name.endswith("@1s") else 3 * SECOND_US
    if stream.product != "spot":
        return _OTHER_PERIODS_US.get(stream.kind, SECOND_US)
    if stream.kind is Kind.KLINE and stream.interval != "1s":
        return 2 * SECOND_US
    return SECOND_US
