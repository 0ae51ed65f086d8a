"""Payloads of USD-M futures as the exchange writes them, where they are not those of spot.

Source: Binance USD-M futures docs, "Websocket Market Streams".
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .payloads import Statistics, decimal, encode, levels, window_ticker

if TYPE_CHECKING:
    from .records import AggTrade, Liquidation, Trade

TICKER_ORDER = tuple("eEspPwcQohlvqOCFLn")
"""In which the exchange sends the fields of a ticker."""


def trade(symbol: str, record: Trade, unit: int) -> bytes:
    """``<symbol>@trade``, which the exchange does not document."""
    time = record.time_us // unit
    return encode(
        {
            "e": "trade",
            "E": time,
            "T": time,
            "s": symbol,
            "t": record.id,
            "p": decimal(record.price),
            "q": decimal(record.quantity),
            "X": "MARKET",
            "m": record.buyer_is_maker,
        }
    )


def agg_trade(symbol: str, record: AggTrade, unit: int) -> bytes:
    """``<symbol>@aggTrade``."""
    time, quantity = record.time_us // unit, decimal(record.quantity)
    return encode(
        {
            "e": "aggTrade",
            "E": time,
            "s": symbol,
            "a": record.id,
            "p": decimal(record.price),
            "q": quantity,
            "nq": quantity,
            "f": record.first,
            "l": record.last,
            "T": time,
            "m": record.buyer_is_maker,
        }
    )


def chained_depth(
    symbol: str,
    ids: tuple[int, int, int],
    bids: list[tuple[int, int]],
    asks: list[tuple[int, int]],
    time_us: int,
    unit: int,
) -> bytes:
    """``<symbol>@depth``, and the best levels of ``<symbol>@depth<n>``.

    :param ids: the last update of the message before, the first and the last of this one.
    """
    previous, first, last = ids
    time = time_us // unit
    return encode(
        {
            "e": "depthUpdate",
            "E": time,
            "T": time,
            "s": symbol,
            "U": first,
            "u": last,
            "pu": previous,
            "b": levels(bids),
            "a": levels(asks),
        }
    )


def depth(
    symbol: str,
    first: int,
    last: int,
    bids: list[tuple[int, int]],
    asks: list[tuple[int, int]],
    time_us: int,
    unit: int,
) -> bytes:
    """An update that goes on right before ``first``."""
    return chained_depth(symbol, (first - 1, first, last), bids, asks, time_us, unit)


def book_ticker(
    symbol: str, update_id: int, top: tuple[int, int, int, int], time_us: int, unit: int
) -> bytes:
    """``<symbol>@bookTicker``, and ``!bookTicker``."""
    bid, bid_quantity, ask, ask_quantity = top
    time = time_us // unit
    return encode(
        {
            "e": "bookTicker",
            "u": update_id,
            "s": symbol,
            "b": decimal(bid),
            "B": decimal(bid_quantity),
            "a": decimal(ask),
            "A": decimal(ask_quantity),
            "T": time,
            "E": time,
        }
    )


def ticker(row: Statistics, time_us: int, unit: int) -> dict[str, object]:
    """``<symbol>@ticker``, not yet encoded."""
    told = window_ticker(row, "24hr", time_us, unit) | {"Q": decimal(row.last_quantity)}
    return {key: told[key] for key in TICKER_ORDER}


def mark_price(symbol: str, price: int, funding_us: int, time_us: int, unit: int) -> object:
    """``<symbol>@markPrice``, not yet encoded.

    :param funding_us: when funding is paid next.
    """
    return {
        "e": "markPriceUpdate",
        "E": time_us // unit,
        "s": symbol,
        "p": decimal(price),
        "i": decimal(price),
        "P": decimal(price),
        "r": "0.00010000",
        "T": funding_us // unit,
    }


def forced_order(symbol: str, record: Liquidation, time_us: int, unit: int) -> bytes:
    """``<symbol>@forceOrder``, and ``!forceOrder@arr``."""
    price, quantity = decimal(record.price), decimal(record.quantity)
    return encode(
        {
            "e": "forceOrder",
            "E": time_us // unit,
            "o": {
                "s": symbol,
                "S": "SELL" if record.sells else "BUY",
                "o": "LIMIT",
                "f": "IOC",
                "q": quantity,
                "p": price,
                "ap": price,
                "X": "FILLED",
                "l": quantity,
                "z": quantity,
                "T": record.time_us // unit,
            },
        }
    )
