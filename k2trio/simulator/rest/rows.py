"""The rows of REST answers as the exchange writes them: values in, JSON values out.

``unit`` is the length of the answer's time unit in microseconds.

Source: Binance spot API docs, "REST API", market data endpoints.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..market import payloads
from ..market.bars import bar_end_ms

if TYPE_CHECKING:
    from ..market.bars import Bar
    from ..market.records import AggTrade, Trade
    from ..market.spec import SymbolSpec


def agg_trade(record: AggTrade, unit: int) -> dict[str, object]:
    """A row of ``GET /api/v3/aggTrades``."""
    return {
        "a": record.id,
        "p": payloads.decimal(record.price),
        "q": payloads.decimal(record.quantity),
        "f": record.first,
        "l": record.last,
        "T": record.time_us // unit,
        "m": record.buyer_is_maker,
        "M": True,
    }


def trade(record: Trade, unit: int) -> dict[str, object]:
    """A row of ``GET /api/v3/trades`` and ``historicalTrades``."""
    return {
        "id": record.id,
        "price": payloads.decimal(record.price),
        "qty": payloads.decimal(record.quantity),
        "quoteQty": payloads.decimal(record.price * record.quantity // 10**8),
        "time": record.time_us // unit,
        "isBuyerMaker": record.buyer_is_maker,
        "isBestMatch": True,
    }


def block_trade(record: Trade, unit: int) -> dict[str, object]:
    """A row of ``GET /api/v3/historicalBlockTrades``."""
    row = trade(record, unit)
    del row["isBestMatch"]
    return row


def kline(bar: Bar, interval: str, unit: int) -> list[object]:
    """A row of ``GET /api/v3/klines``."""
    return [
        bar.open_ms * 1000 // unit,
        payloads.decimal(bar.open),
        payloads.decimal(bar.high),
        payloads.decimal(bar.low),
        payloads.decimal(bar.close),
        payloads.decimal(bar.volume),
        bar_end_ms(interval, bar.open_ms) * 1000 // unit - 1,
        payloads.decimal(bar.quote),
        bar.count,
        payloads.decimal(bar.taker_volume),
        payloads.decimal(bar.taker_quote),
        "0",
    ]


def symbol_info(symbol: str, spec: SymbolSpec | None, status: str) -> dict[str, object]:
    """A symbol of ``GET /api/v3/exchangeInfo``; without filters, where they are not known."""
    base, quote = symbol, ""
    for ending in ("USDT", "USDC", "USD", "BTC", "ETH", "EUR"):
        if symbol.endswith(ending) and symbol != ending:
            base, quote = symbol.removesuffix(ending), ending
            break
    return {
        "symbol": symbol,
        "status": status,
        "baseAsset": base,
        "baseAssetPrecision": 8,
        "quoteAsset": quote,
        "quotePrecision": 8,
        "quoteAssetPrecision": 8,
        "orderTypes": ["LIMIT", "MARKET"],
        "isSpotTradingAllowed": True,
        "isMarginTradingAllowed": False,
        "permissions": [],
        "permissionSets": [["SPOT"]],
        "filters": [] if spec is None else _filters(spec),
    }


def _filters(spec: SymbolSpec) -> list[dict[str, object]]:
    return [
        {
            "filterType": "PRICE_FILTER",
            "minPrice": payloads.decimal(spec.tick),
            "maxPrice": payloads.decimal(10**15),
            "tickSize": payloads.decimal(spec.tick),
        },
        {
            "filterType": "LOT_SIZE",
            "minQty": payloads.decimal(spec.step),
            "maxQty": payloads.decimal(10**15),
            "stepSize": payloads.decimal(spec.step),
        },
    ]
