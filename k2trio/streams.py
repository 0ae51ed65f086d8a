"""Names of streams that say what they carry: ``open_feed([trade("btcusdt")])`` is a feed of trades.

A plain string does as well, everywhere; these are for editors and type checkers, which cannot look
into one. The names that they make are checked as any other.
"""

from __future__ import annotations

from typing import Generic, Literal, TypeAlias

from .market.payloads import (
    AggTrade,
    AvgPrice,
    BlockTrade,
    BookTicker,
    Depth,
    DepthSnapshot,
    Kline,
    MiniTicker,
    P_co,
    PartialDepth,
    ReferencePrice,
    Ticker,
    Trade,
    WindowTicker,
)
from .market.streams import any_stream

KlineInterval: TypeAlias = Literal[
    "1s",
    "1m",
    "3m",
    "5m",
    "15m",
    "30m",
    "1h",
    "2h",
    "4h",
    "6h",
    "8h",
    "12h",
    "1d",
    "3d",
    "1w",
    "1M",
]
TickerWindow: TypeAlias = Literal["1h", "4h", "1d"]
BookLevels: TypeAlias = Literal[5, 10, 20]
BookSpeed: TypeAlias = Literal["1000ms", "100ms"]
"""How often the exchange tells of a book."""


class StreamName(str, Generic[P_co]):
    """The name of a stream, and of which type the ``data`` of its events is.

    :raises UnknownStreamError: if the exchange documents no such stream.
    """

    __slots__ = ()

    def __new__(cls, name: str) -> StreamName[P_co]:
        """Check the name, and put it as the exchange wants it."""
        return super().__new__(cls, any_stream(name).name)


def trade(symbol: str) -> StreamName[Trade]:
    """Every trade."""
    return StreamName(f"{symbol}@trade")


def agg_trade(symbol: str) -> StreamName[AggTrade]:
    """Trades, those of one taker order at one price together."""
    return StreamName(f"{symbol}@aggTrade")


def block_trade(symbol: str) -> StreamName[BlockTrade]:
    """Every block trade."""
    return StreamName(f"{symbol}@blockTrade")


def depth(symbol: str, speed: BookSpeed = "1000ms") -> StreamName[Depth | DepthSnapshot]:
    """Changes of the book, and snapshots where changes were lost."""
    return StreamName(f"{symbol}@depth" + _suffix(speed))


def partial_depth(
    symbol: str, levels: BookLevels, speed: BookSpeed = "1000ms"
) -> StreamName[PartialDepth]:
    """The best levels of the book."""
    return StreamName(f"{symbol}@depth{levels}" + _suffix(speed))


def book_ticker(symbol: str) -> StreamName[BookTicker]:
    """Best bid and ask."""
    return StreamName(f"{symbol}@bookTicker")


def kline(symbol: str, interval: KlineInterval) -> StreamName[Kline]:
    """The current bar."""
    return StreamName(f"{symbol}@kline_{interval}")


def mini_ticker(symbol: str) -> StreamName[MiniTicker]:
    """Rolling 24 h summary."""
    return StreamName(f"{symbol}@miniTicker")


def all_mini_tickers() -> StreamName[list[MiniTicker]]:
    """The same of all symbols that changed."""
    return StreamName("!miniTicker@arr")


def ticker(symbol: str) -> StreamName[Ticker]:
    """Rolling 24 h statistics."""
    return StreamName(f"{symbol}@ticker")


def window_ticker(symbol: str, window: TickerWindow) -> StreamName[WindowTicker]:
    """Rolling statistics of a shorter time."""
    return StreamName(f"{symbol}@ticker_{window}")


def all_window_tickers(window: TickerWindow) -> StreamName[list[WindowTicker]]:
    """The same of all symbols that changed."""
    return StreamName(f"!ticker_{window}@arr")


def avg_price(symbol: str) -> StreamName[AvgPrice]:
    """Average price over an interval."""
    return StreamName(f"{symbol}@avgPrice")


def reference_price(symbol: str) -> StreamName[ReferencePrice]:
    """Reference price, None where the exchange has none."""
    return StreamName(f"{symbol}@referencePrice")


def _suffix(speed: BookSpeed) -> str:
    return "" if speed == "1000ms" else f"@{speed}"
