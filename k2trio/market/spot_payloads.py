"""Payloads of the spot exchange; futures share those that are the same.

Source: Binance spot API docs, "WebSocket Streams".
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, field

MAX_INTEGER = 2**63 - 1
Integer = Annotated[int, Meta(ge=-(2**63), le=MAX_INTEGER)]
"""The exchange's integers have 64 bits. A longer one is garbage, and would break arithmetic."""
Id = Annotated[int, Meta(ge=0, le=MAX_INTEGER)]
"""What orders a stream: see ``streams.TABLE``."""


class Trade(msgspec.Struct, frozen=True, gc=False, tag_field="e", tag="trade"):
    """One trade (stream ``<symbol>@trade``)."""

    event_time: Id = field(name="E")
    symbol: str = field(name="s")
    trade_id: Id = field(name="t")
    price: str = field(name="p")
    quantity: str = field(name="q")
    trade_time: Integer = field(name="T")
    buyer_is_maker: bool = field(name="m")


class AggTrade(msgspec.Struct, frozen=True, gc=False, tag_field="e", tag="aggTrade"):
    """Trades of one taker order at one price (stream ``<symbol>@aggTrade``)."""

    event_time: Id = field(name="E")
    symbol: str = field(name="s")
    agg_id: Id = field(name="a")
    price: str = field(name="p")
    quantity: str = field(name="q")
    first_trade_id: Integer = field(name="f")
    last_trade_id: Integer = field(name="l")
    trade_time: Integer = field(name="T")
    buyer_is_maker: bool = field(name="m")


class BlockTrade(msgspec.Struct, frozen=True, gc=False, tag_field="e", tag="blockTrade"):
    """One block trade (stream ``<symbol>@blockTrade``)."""

    event_time: Id = field(name="E")
    symbol: str = field(name="s")
    trade_id: Id = field(name="t")
    price: str = field(name="p")
    quantity: str = field(name="q")
    trade_time: Integer = field(name="T")
    buyer_is_maker: bool = field(name="m")


class Level(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """Price and quantity of one level of a book; quantity zero removes it (in a diff).

    The exchange sends an array of the two; what else stands in it is ignored, as further fields of
    an object are. It is no tuple here since the garbage collector watches tuples, and a busy book
    brings so many that looking through them took a fifth of all the time.
    """

    price: str
    quantity: str


class Depth(msgspec.Struct, frozen=True, gc=False, tag_field="e", tag="depthUpdate"):
    """Changes of the book (stream ``<symbol>@depth[@100ms]``).

    Levels are a list, or what the compiled core makes in its place: a sequence that is checked when
    it is decoded, compares and prints like that list, and makes its levels when it is touched.
    """

    event_time: Id = field(name="E")
    symbol: str = field(name="s")
    first_update_id: Id = field(name="U")
    last_update_id: Id = field(name="u")
    bids: Sequence[Level] = field(name="b")
    asks: Sequence[Level] = field(name="a")

    @property
    def covers_from(self) -> int:
        """The first id that it accounts for: what comes after the update before it."""
        return self.first_update_id


class PartialDepth(msgspec.Struct, frozen=True, gc=False):
    """The best levels of the book (stream ``<symbol>@depth<levels>``); carries no symbol."""

    last_update_id: Id = field(name="lastUpdateId")
    bids: Sequence[Level]
    asks: Sequence[Level]


class DepthSnapshot(PartialDepth, frozen=True, gc=False, eq=False):
    """The book as REST gives it, to be followed by diffs that join it (``origin="snapshot"``).

    :ivar asked: how many levels a side were asked for: if there are fewer, there are no more. None
        where that is not known, as in recordings. It is no part of what the exchange said, so
        snapshots that differ in it only are equal.
    """

    asked: int | None = None

    def __eq__(self, other: object) -> bool:
        """Whether both say the same."""
        if not isinstance(other, DepthSnapshot):
            return NotImplemented
        return (self.last_update_id, self.bids, self.asks) == (
            other.last_update_id,
            other.bids,
            other.asks,
        )

    def __hash__(self) -> int:
        """By the update that it goes to."""
        return hash(self.last_update_id)


class BookTicker(msgspec.Struct, frozen=True, gc=False):
    """Best bid and ask (stream ``<symbol>@bookTicker``)."""

    update_id: Id = field(name="u")
    symbol: str = field(name="s")
    bid: str = field(name="b")
    bid_quantity: str = field(name="B")
    ask: str = field(name="a")
    ask_quantity: str = field(name="A")


class Bar(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """The candlestick inside a kline message.

    :ivar taker_volume: volume that takers bought; empty where the venue does not tell.
    :ivar taker_quote_volume: the same in the quote asset.
    :ivar first_trade_id: -1 where nothing was traded; None where it is not told, as by REST.
    :ivar last_trade_id: the same of the last trade.
    """

    open_time: Integer = field(name="t")
    close_time: Integer = field(name="T")
    symbol: str = field(name="s")
    interval: str = field(name="i")
    open: str = field(name="o")
    close: str = field(name="c")
    high: str = field(name="h")
    low: str = field(name="l")
    volume: str = field(name="v")
    trades: Integer = field(name="n")
    closed: bool = field(name="x")
    quote_volume: str = field(name="q")
    taker_volume: str = field(name="V", default="")
    taker_quote_volume: str = field(name="Q", default="")
    first_trade_id: Integer | None = field(name="f", default=None)
    last_trade_id: Integer | None = field(name="L", default=None)


class Kline(msgspec.Struct, frozen=True, gc=False, tag_field="e", tag="kline"):
    """The current bar (stream ``<symbol>@kline_<interval>``)."""

    event_time: Id = field(name="E")
    symbol: str = field(name="s")
    bar: Bar = field(name="k")


class MiniTicker(msgspec.Struct, frozen=True, gc=False, tag_field="e", tag="24hrMiniTicker"):
    """Rolling 24 h summary (stream ``<symbol>@miniTicker``)."""

    event_time: Id = field(name="E")
    symbol: str = field(name="s")
    close: str = field(name="c")
    open: str = field(name="o")
    high: str = field(name="h")
    low: str = field(name="l")
    volume: str = field(name="v")
    quote_volume: str = field(name="q")


class Ticker(msgspec.Struct, frozen=True, gc=False, tag_field="e", tag="24hrTicker"):
    """Rolling 24 h statistics (stream ``<symbol>@ticker``).

    :ivar previous_close: price of the last trade before the window.
    :ivar open_time: when the window begins.
    :ivar close_time: when it ends.
    :ivar first_trade_id: first trade in the window; -1 where there is none.
    :ivar last_trade_id: the last one.
    """

    event_time: Id = field(name="E")
    symbol: str = field(name="s")
    change: str = field(name="p")
    change_percent: str = field(name="P")
    average: str = field(name="w")
    previous_close: str = field(name="x")
    last: str = field(name="c")
    last_quantity: str = field(name="Q")
    bid: str = field(name="b")
    bid_quantity: str = field(name="B")
    ask: str = field(name="a")
    ask_quantity: str = field(name="A")
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


class WindowTicker(msgspec.Struct, frozen=True, gc=False):
    """Rolling statistics of 1 h, 4 h or 1 d (stream ``<symbol>@ticker_<window>``).

    :ivar open_time: when the window begins, a whole minute: it may be wider than its name says.
    """

    event: Literal["1hTicker", "4hTicker", "1dTicker"] = field(name="e")
    event_time: Id = field(name="E")
    symbol: str = field(name="s")
    change: str = field(name="p")
    change_percent: str = field(name="P")
    average: str = field(name="w")
    last: str = field(name="c")
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


class AvgPrice(msgspec.Struct, frozen=True, gc=False, tag_field="e", tag="avgPrice"):
    """Average price over an interval (stream ``<symbol>@avgPrice``)."""

    event_time: Id = field(name="E")
    symbol: str = field(name="s")
    interval: str = field(name="i")
    price: str = field(name="w")
    last_trade_time: Integer = field(name="T")


class ReferencePrice(msgspec.Struct, frozen=True, gc=False, tag_field="e", tag="referencePrice"):
    """Reference price, None where the exchange has none (stream ``<symbol>@referencePrice``)."""

    symbol: str = field(name="s")
    price: str | None = field(name="r")
    time: Id = field(name="t")
