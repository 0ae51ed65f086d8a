"""Rows of REST, and the stream's own payloads made of them.

REST has no event time of its own, and less to tell of a message than the stream: of a bar not which
trades are in it, unless there are none. What else it tells follows from the rest, or means nothing
(``quoteQty``, ``isBestMatch``, ``M``, and the last column of a bar). Times come in the feed's unit,
as far as a host tells them so finely.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from ..market.payloads import AggTrade, Bar, BlockTrade, Kline, Trade
from ..market.spot import SPOT

if TYPE_CHECKING:
    from ..market.streams import Stream
    from ..market.units import TimeUnit

NO_TRADE = -1
"""The exchange's word for the first and the last trade of a bar that has none."""


class TradeRow(msgspec.Struct):
    id: int
    price: str
    qty: str
    time: int
    isBuyerMaker: bool  # noqa: N815 - wire name


class BlockTradeRow(msgspec.Struct):
    id: int
    price: str
    qty: str
    time: int
    isBuyerMaker: bool  # noqa: N815 - wire name


class AggRow(msgspec.Struct):
    a: int
    p: str
    q: str
    f: int
    l: int  # noqa: E741 - wire name
    T: int
    m: bool


class KlineRow(msgspec.Struct, array_like=True):
    open_time: int
    open: str
    high: str
    low: str
    close: str
    volume: str
    close_time: int
    quote_volume: str
    trades: int
    taker_volume: str = ""
    taker_quote_volume: str = ""


def _encoded(payload: Any, **more: Any) -> tuple[Any, bytes]:
    """A payload and its JSON in the stream's own shape."""
    return payload, msgspec.json.encode(msgspec.to_builtins(payload) | more)


def trade_of(symbol: str, row: TradeRow, unit: TimeUnit) -> tuple[Trade, bytes]:
    time = unit.of(row.time)
    trade = Trade(time, symbol, row.id, row.price, row.qty, time, row.isBuyerMaker)
    return _encoded(trade, M=True)


def block_trade_of(symbol: str, row: BlockTradeRow, unit: TimeUnit) -> tuple[BlockTrade, bytes]:
    time = unit.of(row.time)
    return _encoded(BlockTrade(time, symbol, row.id, row.price, row.qty, time, row.isBuyerMaker))


def agg_of(stream: Stream, row: AggRow, unit: TimeUnit) -> tuple[AggTrade, bytes]:
    time = unit.of(row.T)
    agg = AggTrade(time, stream.symbol or "", row.a, row.p, row.q, row.f, row.l, time, row.m)
    # That mark is of spot only.
    return _encoded(agg, M=True) if stream.product == SPOT.product else _encoded(agg)


def kline_of(symbol: str, interval: str, row: KlineRow, unit: TimeUnit) -> tuple[Kline, bytes]:
    end = unit.of(row.close_time + 1)  # what follows the bar begins on a whole millisecond
    bar = Bar(
        open_time=unit.of(row.open_time),
        close_time=end - 1,
        symbol=symbol,
        interval=interval,
        open=row.open,
        close=row.close,
        high=row.high,
        low=row.low,
        volume=row.volume,
        trades=row.trades,
        closed=True,
        quote_volume=row.quote_volume,
        taker_volume=row.taker_volume,
        taker_quote_volume=row.taker_quote_volume,
        first_trade_id=None if row.trades else NO_TRADE,
        last_trade_id=None if row.trades else NO_TRADE,
    )
    return _encoded(Kline(end, symbol, bar))
