"""Payloads as the exchange writes them: one function per kind, values in, JSON bytes out.

``unit`` is the length of the wire's time unit in microseconds: 1000 for the default
milliseconds, 1 for connections opened with ``timeUnit=MICROSECOND``.

Source: Binance spot API docs, "WebSocket Streams".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable

    from .bars import Bar
    from .records import AggTrade, Trade

encode: Callable[[Any], bytes] = msgspec.json.Encoder().encode

Changes: TypeAlias = "tuple[list[tuple[int, int]], list[tuple[int, int]]]"
"""Levels of bids and of asks: price and quantity."""

MILLISECOND = 1000
"""The default time unit of the wire, in microseconds."""


def decimal(amount: int) -> str:
    """An amount in units of 10⁻⁸ as the exchange writes it: eight decimals."""
    if amount < 0:
        return "-" + decimal(-amount)
    whole, part = divmod(amount, 100_000_000)
    return f"{whole}.{part:08d}"


def trade(symbol: str, record: Trade, unit: int) -> bytes:
    """``<symbol>@trade``."""
    time = record.time_us // unit
    return encode(
        {
            "e": "trade",
            "E": time,
            "s": symbol,
            "t": record.id,
            "p": decimal(record.price),
            "q": decimal(record.quantity),
            "T": time,
            "m": record.buyer_is_maker,
            "M": True,
        }
    )


def block_trade(symbol: str, record: Trade, unit: int) -> bytes:
    """``<symbol>@blockTrade``."""
    time = record.time_us // unit
    return encode(
        {
            "e": "blockTrade",
            "E": time,
            "s": symbol,
            "t": record.id,
            "p": decimal(record.price),
            "q": decimal(record.quantity),
            "T": time,
            "m": record.buyer_is_maker,
        }
    )


def agg_trade(symbol: str, record: AggTrade, unit: int) -> bytes:
    """``<symbol>@aggTrade``."""
    time = record.time_us // unit
    return encode(
        {
            "e": "aggTrade",
            "E": time,
            "s": symbol,
            "a": record.id,
            "p": decimal(record.price),
            "q": decimal(record.quantity),
            "f": record.first,
            "l": record.last,
            "T": time,
            "m": record.buyer_is_maker,
            "M": True,
        }
    )


def levels(rows: list[tuple[int, int]]) -> list[list[str]]:
    """Price levels as pairs of decimal strings."""
    return [[decimal(price), decimal(quantity)] for price, quantity in rows]


def depth(
    symbol: str,
    first: int,
    last: int,
    bids: list[tuple[int, int]],
    asks: list[tuple[int, int]],
    time_us: int,
    unit: int,
) -> bytes:
    """``<symbol>@depth``: the levels changed by updates ``first … last``; quantity 0 removes."""
    return encode(
        {
            "e": "depthUpdate",
            "E": time_us // unit,
            "s": symbol,
            "U": first,
            "u": last,
            "b": levels(bids),
            "a": levels(asks),
        }
    )


def partial_depth(
    update_id: int, bids: list[tuple[int, int]], asks: list[tuple[int, int]], _unit: int
) -> bytes:
    """``<symbol>@depth<n>``, and the REST snapshot: the best levels; carries no symbol."""
    return encode({"lastUpdateId": update_id, "bids": levels(bids), "asks": levels(asks)})


def book_ticker(symbol: str, update_id: int, top: tuple[int, int, int, int], _unit: int) -> bytes:
    """``<symbol>@bookTicker``; has neither event type nor event time."""
    bid, bid_quantity, ask, ask_quantity = top
    return encode(
        {
            "u": update_id,
            "s": symbol,
            "b": decimal(bid),
            "B": decimal(bid_quantity),
            "a": decimal(ask),
            "A": decimal(ask_quantity),
        }
    )


def kline(
    symbol: str, interval: str, bar: Bar, end_ms: int, time_us: int, closed: bool, unit: int
) -> bytes:
    """``<symbol>@kline_<interval>``; ``x`` says that the bar is closed."""
    return encode(
        {
            "e": "kline",
            "E": time_us // unit,
            "s": symbol,
            "k": {
                "t": bar.open_ms * 1000 // unit,
                "T": end_ms * 1000 // unit - 1,
                "s": symbol,
                "i": interval,
                "f": bar.first_id,
                "L": bar.last_id,
                "o": decimal(bar.open),
                "c": decimal(bar.close),
                "h": decimal(bar.high),
                "l": decimal(bar.low),
                "v": decimal(bar.volume),
                "n": bar.count,
                "x": closed,
                "q": decimal(bar.quote),
                "V": decimal(bar.taker_volume),
                "Q": decimal(bar.taker_quote),
                "B": "0",
            },
        }
    )


class Statistics(NamedTuple):
    """What the tickers of one symbol tell, as of one moment.

    :ivar span: the sums of the window.
    :ivar before: last price before the window.
    :ivar top: best bid, its quantity, best ask, its quantity.
    :ivar last_quantity: quantity of the last trade.
    """

    symbol: str
    span: Bar
    before: int
    top: tuple[int, int, int, int]
    last_quantity: int


def mini_ticker(row: Statistics, time_us: int, unit: int) -> dict[str, object]:
    """``<symbol>@miniTicker``, not yet encoded: the all-market stream carries a list of them."""
    return {
        "e": "24hrMiniTicker",
        "E": time_us // unit,
        "s": row.symbol,
        "c": decimal(row.span.close),
        "o": decimal(row.span.open),
        "h": decimal(row.span.high),
        "l": decimal(row.span.low),
        "v": decimal(row.span.volume),
        "q": decimal(row.span.quote),
    }


TICKER_ORDER = tuple("eEspPwxcQbBaAohlvqOCFLn")
"""In which the exchange sends the fields of a ticker."""


def ticker(row: Statistics, time_us: int, unit: int) -> dict[str, object]:
    """``<symbol>@ticker``, not yet encoded."""
    bid, bid_quantity, ask, ask_quantity = row.top
    quotes: dict[str, object] = {
        "x": decimal(row.before),
        "Q": decimal(row.last_quantity),
        "b": decimal(bid),
        "B": decimal(bid_quantity),
        "a": decimal(ask),
        "A": decimal(ask_quantity),
    }
    told = window_ticker(row, "24hr", time_us, unit) | quotes
    return {key: told[key] for key in TICKER_ORDER}


def window_ticker(row: Statistics, window: str, time_us: int, unit: int) -> dict[str, object]:
    """``<symbol>@ticker_<window>``, not yet encoded."""
    span = row.span
    change = span.close - span.open
    average = span.quote * 100_000_000 // span.volume if span.volume else span.close
    return {
        "e": f"{window}Ticker",
        "E": time_us // unit,
        "s": row.symbol,
        "p": decimal(change),
        "P": f"{100 * change / span.open:z.3f}",
        "w": decimal(average),
        "o": decimal(span.open),
        "h": decimal(span.high),
        "l": decimal(span.low),
        "c": decimal(span.close),
        "v": decimal(span.volume),
        "q": decimal(span.quote),
        "O": span.open_ms * 1000 // unit,
        "C": time_us // unit,
        "F": span.first_id,
        "L": span.last_id,
        "n": span.count,
    }


def avg_price(symbol: str, price: int, last_trade_us: int, time_us: int, unit: int) -> bytes:
    """``<symbol>@avgPrice``: the mean price of five minutes."""
    return encode(
        {
            "e": "avgPrice",
            "E": time_us // unit,
            "s": symbol,
            "i": "5m",
            "w": decimal(price),
            "T": last_trade_us // unit,
        }
    )


def reference_price(symbol: str, price: int | None, time_us: int, unit: int) -> bytes:
    """``<symbol>@referencePrice``; the price may be null."""
    return encode(
        {
            "e": "referencePrice",
            "s": symbol,
            "r": None if price is None else decimal(price),
            "t": time_us // unit,
        }
    )
