"""Payloads of futures, where they differ from those of the spot exchange.

A type that says more than its like of spot is derived from it, so that whoever keeps a book need
not know which of the two it has. What a product says beyond these is in ``Event.raw``.

Source: Binance USD-M futures docs, "Websocket Market Streams".
"""

from __future__ import annotations

from collections.abc import Sequence  # noqa: TC003 - msgspec wants it at run time

import msgspec
from msgspec import field

from .spot_payloads import BookTicker, Depth, Id, Integer, Level, PartialDepth


class FuturesDepth(Depth, frozen=True, gc=False, tag_field="e", tag="depthUpdate"):
    """Changes of the book (streams ``<symbol>@depth`` and ``<symbol>@rpiDepth``).

    :ivar transaction_time: when the last of the changes was made.
    :ivar previous_update_id: ``last_update_id`` of the update before it; nothing changed between.
    """

    transaction_time: Integer = field(name="T")
    previous_update_id: Id = field(name="pu")

    @property
    def covers_from(self) -> int:
        """See :attr:`Depth.covers_from`; ids of a symbol's updates are not consecutive."""
        return self.previous_update_id + 1


class FuturesPartialDepth(PartialDepth, frozen=True, gc=False, tag_field="e", tag="depthUpdate"):
    """The best levels of the book (stream ``<symbol>@depth<levels>``)."""

    last_update_id: Id = field(name="u")
    bids: Sequence[Level] = field(name="b")
    asks: Sequence[Level] = field(name="a")
    event_time: Id = field(name="E")
    transaction_time: Integer = field(name="T")
    symbol: str = field(name="s")


class FuturesBookTicker(BookTicker, frozen=True, gc=False, tag_field="e", tag="bookTicker"):
    """Best bid and ask (streams ``<symbol>@bookTicker`` and ``!bookTicker``)."""

    transaction_time: Integer = field(name="T")
    event_time: Id = field(name="E")


class FuturesTicker(msgspec.Struct, frozen=True, gc=False, tag_field="e", tag="24hrTicker"):
    """Rolling 24 h statistics (stream ``<symbol>@ticker``); the fields are those of ``Ticker``."""

    event_time: Id = field(name="E")
    symbol: str = field(name="s")
    change: str = field(name="p")
    change_percent: str = field(name="P")
    average: str = field(name="w")
    last: str = field(name="c")
    last_quantity: str = field(name="Q")
    open: str = field(name="o")
    high: str = field(name="h")
    low: str = field(name="l")
    volume: str = field(name="v")
    quote_volume: str = field(name="q")
    open_time: Integer = field(name="O")
    close_time: Integer = field(name="C")
    first_trade_id: Integer = field(name="F")
    last_trade_id: Integer = field(name="L")
    trades: Integer = field(name="n")


class ContinuousBar(msgspec.Struct, frozen=True, gc=False):
    """The candlestick inside a continuous kline; the fields are those of ``Bar``."""

    open_time: Integer = field(name="t")
    close_time: Integer = field(name="T")
    interval: str = field(name="i")
    open: str = field(name="o")
    close: str = field(name="c")
    high: str = field(name="h")
    low: str = field(name="l")
    volume: str = field(name="v")
    trades: Integer = field(name="n")
    closed: bool = field(name="x")
    quote_volume: str = field(name="q")
    taker_volume: str = field(name="V")
    taker_quote_volume: str = field(name="Q")
    first_trade_id: Integer = field(name="f")
    last_trade_id: Integer = field(name="L")


class ContinuousKline(msgspec.Struct, frozen=True, gc=False, tag_field="e", tag="continuous_kline"):
    """The current bar of whichever contract of a pair is meant
    (stream ``<pair>_<contract>@continuousKline_<interval>``).

    :ivar contract: as the exchange writes it: ``PERPETUAL``, ``CURRENT_QUARTER`` and the like.
    """

    event_time: Id = field(name="E")
    pair: str = field(name="ps")
    contract: str = field(name="ct")
    bar: ContinuousBar = field(name="k")

    @property
    def symbol(self) -> str:
        """Pair and contract, as in the name of the stream."""
        return f"{self.pair}_{self.contract}"


class MarkPrice(msgspec.Struct, frozen=True, gc=False, tag_field="e", tag="markPriceUpdate"):
    """Mark price and funding (streams ``<symbol>@markPrice[@1s]``, ``!markPrice@arr[@1s]``).

    :ivar settle_price: as estimated; it means something in the last hour before a settlement.
    :ivar funding_rate: empty for contracts that have none.
    :ivar next_funding_time: 0 for contracts that have none.
    """

    event_time: Id = field(name="E")
    symbol: str = field(name="s")
    price: str = field(name="p")
    index_price: str = field(name="i")
    settle_price: str = field(name="P")
    funding_rate: str = field(name="r")
    next_funding_time: Integer = field(name="T")


class Liquidation(msgspec.Struct, frozen=True, gc=False):
    """The order of a liquidation."""

    symbol: str = field(name="s")
    side: str = field(name="S")
    type: str = field(name="o")
    time_in_force: str = field(name="f")
    quantity: str = field(name="q")
    price: str = field(name="p")
    average_price: str = field(name="ap")
    status: str = field(name="X")
    last_quantity: str = field(name="l")
    filled_quantity: str = field(name="z")
    trade_time: Integer = field(name="T")


class ForcedOrder(msgspec.Struct, frozen=True, gc=False, tag_field="e", tag="forceOrder"):
    """A liquidation (streams ``<symbol>@forceOrder`` and ``!forceOrder@arr``).

    The exchange tells one a second of a symbol at most, so these are never all.
    """

    event_time: Id = field(name="E")
    order: Liquidation = field(name="o")

    @property
    def symbol(self) -> str:
        """Which was liquidated."""
        return self.order.symbol


class IndexPart(msgspec.Struct, frozen=True, gc=False):
    """One asset of a composite index."""

    base_asset: str = field(name="b")
    quote_asset: str = field(name="q")
    weight: str = field(name="w")
    weight_percent: str = field(name="W")
    price: str = field(name="i")


class CompositeIndex(msgspec.Struct, frozen=True, gc=False, tag_field="e", tag="compositeIndex"):
    """What an index is made of (stream ``<symbol>@compositeIndex``)."""

    event_time: Id = field(name="E")
    symbol: str = field(name="s")
    price: str = field(name="p")
    base: str = field(name="C")
    composition: list[IndexPart] = field(name="c")


class AssetIndex(msgspec.Struct, frozen=True, gc=False, tag_field="e", tag="assetIndexUpdate"):
    """Prices of an asset as collateral (``<symbol>@assetIndex``, ``!assetIndex@arr``)."""

    event_time: Id = field(name="E")
    symbol: str = field(name="s")
    price: str = field(name="i")
    bid_buffer: str = field(name="b")
    ask_buffer: str = field(name="a")
    bid_rate: str = field(name="B")
    ask_rate: str = field(name="A")
    auto_bid_buffer: str = field(name="q")
    auto_ask_buffer: str = field(name="g")
    auto_bid_rate: str = field(name="Q")
    auto_ask_rate: str = field(name="G")


class Bracket(msgspec.Struct, frozen=True, gc=False):
    """A notional bracket of a contract."""

    number: Integer = field(name="bs")
    floor: float = field(name="bnf")
    cap: float = field(name="bnc")
    maintenance_ratio: float = field(name="mmr")
    auxiliary: float = field(name="cf")
    min_leverage: float = field(name="mi")
    max_leverage: float = field(name="ma")


class ContractInfo(msgspec.Struct, frozen=True, gc=False, tag_field="e", tag="contractInfo"):
    """A contract was listed, settled, or got other brackets (stream ``!contractInfo``).

    :ivar brackets: None where they have not changed.
    """

    event_time: Id = field(name="E")
    symbol: str = field(name="s")
    type: str = field(name="ct")
    delivery_time: Integer = field(name="dt")
    onboard_time: Integer = field(name="ot")
    status: str = field(name="cs")
    brackets: list[Bracket] | None = field(name="bks", default=None)


class TradingSession(msgspec.Struct, frozen=True, gc=False):
    """In which session the market of an underlying is (stream ``tradingSession``).

    :ivar event: which market: ``EquityUpdate``, ``CommodityUpdate`` and the like.
    """

    event: str = field(name="e")
    event_time: Id = field(name="E")
    start_time: Integer = field(name="t")
    end_time: Integer = field(name="T")
    session: str = field(name="S")

    @property
    def symbol(self) -> str:
        """What tells the messages of the stream apart."""
        return self.event
