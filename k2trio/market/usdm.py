"""USD-M futures.

The exchange parts its streams by *routes*, each a path of its own: a stream that is asked for on
the route of another is acknowledged, and stays silent. So the route is part of what a kind is.

Facts that differ from spot: ids of a book's updates are not consecutive, as those of all symbols
are drawn from one number; each update names the one before. Aggregates have consecutive ids, but
trades of the insurance fund and of liquidations are in none, so the trades in them are not. The
stream of raw trades is not documented, and its ids have holes. Of forced orders the exchange tells
one a second of a symbol at most. Times are milliseconds, whatever is asked for.

Source: Binance USD-M futures docs: "Websocket Market Streams" and "Important WebSocket Change
Notice" (the routes), "How to manage a local order book correctly", "Market Data" (REST).
"""

from __future__ import annotations

import re

from .dialect import Carried, Dialect, Request, Rest, Venue
from .kinds import KLINE_INTERVALS_MS, Kind, Order, Repair, Rule, Silence

_VENUES = (
    Venue("binance.com-usdm", ("fstream.binance.com",), ("https://fapi.binance.com",)),
    Venue(
        "binance.com-testnet-usdm",
        ("fstream.binancefuture.com", "stream.binancefuture.com"),
        ("https://testnet.binancefuture.com",),
    ),
    Venue(
        "binance.com-demo-usdm", ("demo-fstream.binance.com",), ("https://demo-fapi.binance.com",)
    ),
)

_INTERVALS = tuple(interval for interval in KLINE_INTERVALS_MS if interval != "1s")
_CONTRACTS = ("perpetual", "current_quarter", "next_quarter", "tradifi_perpetual")
_SPEEDS = ("", "@100ms", "@250ms", "@500ms")

_PLAIN = {
    "aggTrade": Kind.AGG_TRADE,
    "trade": Kind.TRADE,
    **{f"depth{speed}": Kind.DEPTH for speed in _SPEEDS},
    "rpiDepth@500ms": Kind.RPI_DEPTH,
    "bookTicker": Kind.BOOK_TICKER,
    "markPrice": Kind.MARK_PRICE,
    "markPrice@1s": Kind.MARK_PRICE,
    "forceOrder": Kind.FORCED_ORDER,
    "miniTicker": Kind.MINI_TICKER,
    "ticker": Kind.TICKER,
    "compositeIndex": Kind.COMPOSITE_INDEX,
    "assetIndex": Kind.ASSET_INDEX,
}
_WHOLE = {
    "!bookTicker": Kind.ALL_BOOK_TICKERS,
    "!markPrice@arr": Kind.ALL_MARK_PRICES,
    "!markPrice@arr@1s": Kind.ALL_MARK_PRICES,
    "!forceOrder@arr": Kind.ALL_FORCED_ORDERS,
    "!miniTicker@arr": Kind.ALL_MINI_TICKERS,
    "!ticker@arr": Kind.ALL_TICKERS,
    "!assetIndex@arr": Kind.ALL_ASSET_INDEXES,
    "!contractInfo": Kind.CONTRACT_INFO,
    "tradingSession": Kind.TRADING_SESSION,
}

_CONTIGUOUS, _CHAINED, _INCREASING = Rule.CONTIGUOUS, Rule.CHAINED, Rule.INCREASING
_AGGS, _SNAPSHOT, _KLINES, _NONE = Repair.AGG_TRADES, Repair.SNAPSHOT, Repair.KLINES, Repair.NONE
_BY_ID, _BY_QUOTE, _BY_TRADE = Silence.BY_ID, Silence.BY_QUOTE, Silence.BY_TRADE
_PERIODIC, _IRREGULAR, _RARE = Silence.PERIODIC, Silence.IRREGULAR, Silence.RARE
_TIME = True
_LEAP = 10**11
"""Ids of updates are drawn for all symbols together, some 100,000 a second: so many are ten days,
for which no stream is silent."""

_ORDERS = {
    #                       first last  rule         repair
    Kind.AGG_TRADE:         Order("a", "a", _CONTIGUOUS, _AGGS, _BY_ID),
    Kind.TRADE:             Order("t", "t", _INCREASING, _NONE, _BY_ID),
    Kind.DEPTH:             Order("pu", "u", _CHAINED, _SNAPSHOT, _BY_ID, leap=_LEAP),
    Kind.RPI_DEPTH:         Order("pu", "u", _CHAINED, _NONE, _IRREGULAR, leap=_LEAP),
    Kind.PARTIAL_DEPTH:     Order("u", "u", _INCREASING, _NONE, _BY_QUOTE, leap=_LEAP),
    Kind.BOOK_TICKER:       Order("u", "u", _INCREASING, _NONE, _BY_QUOTE, leap=_LEAP),
    Kind.ALL_BOOK_TICKERS:  Order("u", "u", _INCREASING, _NONE, _PERIODIC, of_each=True),
    Kind.KLINE:             Order("E", "E", _INCREASING, _KLINES, _BY_TRADE, _TIME),
    Kind.CONTINUOUS_KLINE:  Order("E", "E", _INCREASING, _NONE, _IRREGULAR, _TIME, listed=False),
    Kind.MINI_TICKER:       Order("E", "E", _INCREASING, _NONE, _BY_TRADE, _TIME),
    Kind.ALL_MINI_TICKERS:  Order("E", "E", _INCREASING, _NONE, _PERIODIC, _TIME),
    Kind.TICKER:            Order("E", "E", _INCREASING, _NONE, _BY_TRADE, _TIME),
    Kind.ALL_TICKERS:       Order("E", "E", _INCREASING, _NONE, _PERIODIC, _TIME),
    Kind.MARK_PRICE:        Order("E", "E", _INCREASING, _NONE, _PERIODIC, _TIME),
    Kind.ALL_MARK_PRICES:   Order("E", "E", _INCREASING, _NONE, _PERIODIC, _TIME),
    Kind.FORCED_ORDER:      Order("E", "E", _INCREASING, _NONE, _RARE, _TIME),
    Kind.ALL_FORCED_ORDERS: Order("E", "E", _INCREASING, _NONE, _RARE, _TIME, of_each=True),
    Kind.COMPOSITE_INDEX:   Order("E", "E", _INCREASING, _NONE, _PERIODIC, _TIME, listed=False),
    Kind.ASSET_INDEX:       Order("E", "E", _INCREASING, _NONE, _PERIODIC, _TIME, listed=False),
    Kind.ALL_ASSET_INDEXES: Order("E", "E", _INCREASING, _NONE, _PERIODIC, _TIME),
    Kind.CONTRACT_INFO:     Order("E", "E", _INCREASING, _NONE, _RARE, _TIME, of_each=True),
    Kind.TRADING_SESSION:   Order("E", "E", _INCREASING, _NONE, _PERIODIC, _TIME, of_each=True),
}  # fmt: skip

_PUBLIC = (
    Kind.TRADE,
    Kind.DEPTH,
    Kind.RPI_DEPTH,
    Kind.PARTIAL_DEPTH,
    Kind.BOOK_TICKER,
    Kind.ALL_BOOK_TICKERS,
)
"""What comes on the route of books; all else comes on the other one."""

USDM = Dialect(
    product="usdm",
    title="USD-M futures",
    family="futures",
    venues=_VENUES,
    websocket_url="wss://fstream.binance.com/stream",
    failover_urls=(),
    # As of spot; contracts that are delivered have their date behind an underscore.
    symbol=re.compile(r"[^\s!,@/?&=#%\"\\;|+\-.:]{1,60}\Z"),
    suffixes={
        **{suffix: Carried(kind) for suffix, kind in _PLAIN.items()},
        **{f"kline_{name}": Carried(Kind.KLINE, name) for name in _INTERVALS},
        **{
            f"depth{levels}{speed}": Carried(Kind.PARTIAL_DEPTH, levels=levels)
            for levels in (5, 10, 20)
            for speed in _SPEEDS
        },
        **{f"continuousKline_{name}": Carried(Kind.CONTINUOUS_KLINE, name) for name in _INTERVALS},
    },
    whole={name: Carried(kind) for name, kind in _WHOLE.items()},
    known=(
        f"{', '.join(_PLAIN)}, depth5/10/20, kline_<interval>, "
        f"<pair>_<{'|'.join(_CONTRACTS)}>@continuousKline_<interval>, {', '.join(_WHOLE)}"
    ),
    orders=_ORDERS,
    rest=Rest(
        weight_per_minute=2400,
        default_limit=1200,
        history={
            _AGGS: Request("/fapi/v1/aggTrades", 20),
            _KLINES: Request("/fapi/v1/klines", 5),
        },
        trades=Request("/fapi/v1/trades", 5),
        depth="/fapi/v1/depth",
        depths=((1000, 20), (500, 10), (100, 5), (50, 2), (20, 2), (10, 2), (5, 2)),
        any_depth=False,
        listing=Request("/fapi/v1/exchangeInfo", 1),
        clock=Request("/fapi/v1/time", 1),
        narrows=False,
    ),
    default_kinds=("aggTrade",),
    default_book_kinds=("aggTrade", "depth@100ms"),
    routes={kind: "public" if kind in _PUBLIC else "market" for kind in _ORDERS},
    client_messages_per_s=10,
    tells_units=False,
)
