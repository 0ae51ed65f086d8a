"""Names of streams of USD-M futures that say what they carry, as :mod:`k2trio.streams` does.

Aggregate trades, klines and mini tickers are as those of spot: their names are there.
"""

# ruff: noqa: TC001 - whoever asks a function for its type hints is to get them

from __future__ import annotations

from typing import Literal, TypeAlias

from .market.payloads import (
    AssetIndex,
    CompositeIndex,
    ContinuousKline,
    ContractInfo,
    DepthSnapshot,
    ForcedOrder,
    FuturesBookTicker,
    FuturesDepth,
    FuturesPartialDepth,
    FuturesTicker,
    MarkPrice,
    TradingSession,
)
from .streams import BookLevels, KlineInterval, StreamName

BookSpeed: TypeAlias = Literal["500ms", "250ms", "100ms"]
"""How often the exchange tells of a book."""
MarkSpeed: TypeAlias = Literal["3000ms", "1000ms"]
"""How often it tells of mark prices."""
Contract: TypeAlias = Literal["perpetual", "current_quarter", "next_quarter", "tradifi_perpetual"]


def depth(symbol: str, speed: BookSpeed = "250ms") -> StreamName[FuturesDepth | DepthSnapshot]:
    """Changes of the book, and snapshots where changes were lost."""
    return StreamName(f"{symbol}@depth" + _book_suffix(speed))


def rpi_depth(symbol: str) -> StreamName[FuturesDepth]:
    """The same with retail orders; without snapshots."""
    return StreamName(f"{symbol}@rpiDepth@500ms")


def partial_depth(
    symbol: str, levels: BookLevels, speed: BookSpeed = "250ms"
) -> StreamName[FuturesPartialDepth]:
    """The best levels of the book."""
    return StreamName(f"{symbol}@depth{levels}" + _book_suffix(speed))


def book_ticker(symbol: str) -> StreamName[FuturesBookTicker]:
    """Best bid and ask."""
    return StreamName(f"{symbol}@bookTicker")


def all_book_tickers() -> StreamName[FuturesBookTicker]:
    """The same of all symbols, one a message."""
    return StreamName("!bookTicker")


def mark_price(symbol: str, speed: MarkSpeed = "3000ms") -> StreamName[MarkPrice]:
    """Mark price and funding."""
    return StreamName(f"{symbol}@markPrice" + _mark_suffix(speed))


def all_mark_prices(speed: MarkSpeed = "3000ms") -> StreamName[list[MarkPrice]]:
    """The same of all symbols."""
    return StreamName("!markPrice@arr" + _mark_suffix(speed))


def forced_orders(symbol: str) -> StreamName[ForcedOrder]:
    """Liquidations, of which the exchange tells one a second at most."""
    return StreamName(f"{symbol}@forceOrder")


def all_forced_orders() -> StreamName[ForcedOrder]:
    """The same of all symbols, one a message."""
    return StreamName("!forceOrder@arr")


def ticker(symbol: str) -> StreamName[FuturesTicker]:
    """Rolling 24 h statistics."""
    return StreamName(f"{symbol}@ticker")


def all_tickers() -> StreamName[list[FuturesTicker]]:
    """The same of all symbols that changed."""
    return StreamName("!ticker@arr")


def continuous_kline(
    pair: str, contract: Contract, interval: KlineInterval
) -> StreamName[ContinuousKline]:
    """The current bar of whichever contract of a pair is meant."""
    return StreamName(f"{pair}_{contract}@continuousKline_{interval}")


def composite_index(symbol: str) -> StreamName[CompositeIndex]:
    """What an index is made of."""
    return StreamName(f"{symbol}@compositeIndex")


def asset_index(symbol: str) -> StreamName[AssetIndex]:
    """Prices of an asset as collateral."""
    return StreamName(f"{symbol}@assetIndex")


def all_asset_indexes() -> StreamName[list[AssetIndex]]:
    """The same of all assets."""
    return StreamName("!assetIndex@arr")


def contract_info() -> StreamName[ContractInfo]:
    """Contracts that are listed, settled, or get other brackets."""
    return StreamName("!contractInfo")


def trading_session() -> StreamName[TradingSession]:
    """In which session the markets of underlyings are."""
    return StreamName("tradingSession")


def _book_suffix(speed: BookSpeed) -> str:
    return "" if speed == "250ms" else f"@{speed}"


def _mark_suffix(speed: MarkSpeed) -> str:
    return "" if speed == "3000ms" else "@1s"
