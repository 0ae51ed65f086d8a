"""The spot exchange.

Source: Binance spot API docs: "WebSocket Streams", "General Information", "Market Data endpoints".
"""

from __future__ import annotations

import re

from .dialect import Carried, Dialect, Request, Rest, Venue
from .kinds import KLINE_INTERVALS_MS, TICKER_WINDOWS, Kind, Order, Repair, Rule, Silence

_VENUES = (
    Venue(
        "binance.com",
        ("stream.binance.com", "data-stream.binance.vision"),
        (
            "https://api.binance.com",
            "https://api-gcp.binance.com",
            "https://api1.binance.com",
            "https://api2.binance.com",
            "https://api3.binance.com",
            "https://api4.binance.com",
        ),
        ("https://data-api.binance.vision",),
    ),
    Venue("binance.us", ("stream.binance.us",), ("https://api.binance.us",)),
    Venue("trbinance.com", ("stream-cloud.trbinance.com",), ("https://api.binance.me",)),
    Venue(
        "binance.com-testnet",
        ("stream.testnet.binance.vision",),
        ("https://testnet.binance.vision",),
    ),
    Venue("binance.com-demo", ("demo-stream.binance.com",), ("https://demo-api.binance.com",)),
)

_SPEEDS = ("", "@100ms", "@1000ms")
_PLAIN = {
    "trade": Kind.TRADE,
    "aggTrade": Kind.AGG_TRADE,
    "blockTrade": Kind.BLOCK_TRADE,
    **{f"depth{speed}": Kind.DEPTH for speed in _SPEEDS},
    "bookTicker": Kind.BOOK_TICKER,
    "miniTicker": Kind.MINI_TICKER,
    "ticker": Kind.TICKER,
    "avgPrice": Kind.AVG_PRICE,
    "referencePrice": Kind.REFERENCE_PRICE,
}

_CONTIGUOUS, _INCREASING = Rule.CONTIGUOUS, Rule.INCREASING
_TRADES, _BLOCKS = Repair.HISTORICAL_TRADES, Repair.HISTORICAL_BLOCK_TRADES
_AGGS, _SNAPSHOT, _KLINES, _NONE = Repair.AGG_TRADES, Repair.SNAPSHOT, Repair.KLINES, Repair.NONE
_BY_ID, _BY_QUOTE, _BY_TRADE = Silence.BY_ID, Silence.BY_QUOTE, Silence.BY_TRADE
_PERIODIC = Silence.PERIODIC
_TIME = True

_ORDERS = {
    #                        first           last            rule          repair
    Kind.TRADE:              Order("t", "t", _CONTIGUOUS, _TRADES, _BY_ID),
    Kind.AGG_TRADE:          Order("a", "a", _CONTIGUOUS, _AGGS, _BY_ID, inner=("f", "l")),
    Kind.BLOCK_TRADE:        Order("t", "t", _CONTIGUOUS, _BLOCKS, Silence.BY_BLOCK_ID),
    Kind.DEPTH:              Order("U", "u", _CONTIGUOUS, _SNAPSHOT, _BY_ID),
    Kind.PARTIAL_DEPTH:      Order("lastUpdateId", "lastUpdateId", _INCREASING, _NONE, _BY_QUOTE),
    Kind.BOOK_TICKER:        Order("u", "u", _INCREASING, _NONE, _BY_QUOTE),
    Kind.KLINE:              Order("E", "E", _INCREASING, _KLINES, _BY_TRADE, _TIME),
    Kind.MINI_TICKER:        Order("E", "E", _INCREASING, _NONE, _BY_TRADE, _TIME),
    Kind.ALL_MINI_TICKERS:   Order("E", "E", _INCREASING, _NONE, _PERIODIC, _TIME),
    Kind.TICKER:             Order("E", "E", _INCREASING, _NONE, _BY_TRADE, _TIME),
    Kind.WINDOW_TICKER:      Order("E", "E", _INCREASING, _NONE, _BY_TRADE, _TIME),
    Kind.ALL_WINDOW_TICKERS: Order("E", "E", _INCREASING, _NONE, _PERIODIC, _TIME),
    Kind.AVG_PRICE:          Order("E", "E", _INCREASING, _NONE, _PERIODIC, _TIME),
    Kind.REFERENCE_PRICE:    Order("t", "t", _INCREASING, _NONE, Silence.RARE, _TIME),
}  # fmt: skip

SPOT = Dialect(
    product="spot",
    title="spot",
    family="spot",
    venues=_VENUES,
    websocket_url="wss://stream.binance.com:9443/stream",
    failover_urls=(
        "wss://stream.binance.com:443/stream",
        "wss://data-stream.binance.vision/stream",
        "wss://stream.binance.us:9443/stream",
    ),
    # Symbols may be non-ASCII; what they may not hold would change the URL or the control message.
    # What separates assets elsewhere, or names from each other, is a slip.
    symbol=re.compile(r"[^\s!,@/?&=#%\"\\;|+\-_.:]{1,40}\Z"),
    suffixes={
        **{suffix: Carried(kind) for suffix, kind in _PLAIN.items()},
        **{f"kline_{name}": Carried(Kind.KLINE, name) for name in KLINE_INTERVALS_MS},
        **{f"ticker_{name}": Carried(Kind.WINDOW_TICKER, name) for name in TICKER_WINDOWS},
        **{
            f"depth{levels}{speed}": Carried(Kind.PARTIAL_DEPTH, levels=levels)
            for levels in (5, 10, 20)
            for speed in _SPEEDS
        },
        **{f"kline_{name}@+08:00": Carried(Kind.KLINE, name) for name in KLINE_INTERVALS_MS},
    },
    whole={
        "!miniTicker@arr": Carried(Kind.ALL_MINI_TICKERS),
        **{
            f"!ticker_{window}@arr": Carried(Kind.ALL_WINDOW_TICKERS, window)
            for window in TICKER_WINDOWS
        },
    },
    known=(
        f"{', '.join(_PLAIN)}, depth5/10/20, kline_<interval>, "
        "ticker_<1h|4h|1d>, !miniTicker@arr, !ticker_<window>@arr"
    ),
    orders=_ORDERS,
    rest=Rest(
        weight_per_minute=6000,
        default_limit=3000,
        history={
            _TRADES: Request("/api/v3/historicalTrades", 25),
            _BLOCKS: Request("/api/v3/historicalBlockTrades", 25),
            _AGGS: Request("/api/v3/aggTrades", 4),
            _KLINES: Request("/api/v3/klines", 2),
        },
        trades=Request("/api/v3/trades", 25),
        depth="/api/v3/depth",
        depths=((5000, 250), (1000, 50), (500, 25), (100, 5)),
        listing=Request("/api/v3/exchangeInfo", 20),
        clock=Request("/api/v3/time", 1),
    ),
    default_kinds=("trade",),
    default_book_kinds=("trade", "depth@100ms"),
)
