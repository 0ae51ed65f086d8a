"""The tables of a dataset: their columns, types, and where in a payload each value stands.

Prices and quantities are decimals of 8 places, exact; ids are integers of 64 bits; times are
microseconds of UTC. A payload that a table cannot hold exactly goes to the table ``other`` as it
came, so nothing is dropped or rounded for the sake of a column.

Every table begins with ``time``: when the exchange made the message (of a trade, when it was
traded), or when it was received where the exchange tells no time. By it rows are told apart in
queries, and put into the folder of their day. The last columns are the same for all messages:

``received_ns``
    Unix time in nanoseconds at which the bytes were read.
``origin``
    ``live``, ``backfill`` (REST) or ``snapshot``.
``stream``
    The exact name of the stream.
``sequence``
    The place of the message among all of its journal, in the order in which the feed delivered.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa

from ..market.products import DIALECTS
from ..market.streams import Kind

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ..market.streams import Stream

VERSION = 1
"""Of the schemas, written into each file; it changes where a reader of the old one would err."""
VERSION_KEY = b"k2trio-dataset"
"""Under which the footer has the version."""

SCALE = 8
"""Decimal places of prices and quantities: the most that the exchange has on any market."""
DECIMAL = pa.decimal128(38, SCALE)
TIME = pa.timestamp("us", tz="UTC")
LEVELS = pa.list_(pa.struct([pa.field("price", DECIMAL), pa.field("quantity", DECIMAL)]))
"""One side of a book, best first."""

ALL_SYMBOLS = "ALL"
"""In place of the symbol, of streams that are of all of them. No symbol is called so."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table of messages.

    :ivar of: the attribute of the payload, with dots; empty where it is not in the payload.
    :ivar nullable: whether the exchange may leave it out.
    :ivar rows: of a list of rows, what one of them has.
    """

    name: str
    type: pa.DataType
    of: str = ""
    nullable: bool = False
    rows: tuple[Column, ...] = ()


@dataclass(frozen=True, slots=True)
class Table:
    """A table.

    :ivar name: of the table: the ``kind=`` folder.
    :ivar columns: those of the payload; see the module for those that all have.
    :ivar first: the column of the first key of a message; of closed bars the open time.
    :ivar last: the column of the last one.
    :ivar chained: whether the first key is the last one of the message before.
    """

    name: str
    columns: tuple[Column, ...]
    first: str = ""
    last: str = ""
    chained: bool = False

    @property
    def schema(self) -> pa.Schema:
        """As it is in a sealed file."""
        return _SCHEMAS[self.name]


def _integer(name: str, of: str = "", *, nullable: bool = False) -> Column:
    return Column(name, pa.int64(), of or name, nullable)


def _decimal(name: str, of: str = "", *, nullable: bool = False) -> Column:
    return Column(name, DECIMAL, of or name, nullable)


def _time(name: str, of: str = "", *, nullable: bool = False) -> Column:
    return Column(name, TIME, of or name, nullable)


def _text(name: str, of: str = "") -> Column:
    return Column(name, pa.string(), of or name)


def _decimals(*names: str) -> tuple[Column, ...]:
    return tuple(_decimal(name) for name in names)


RECEIPT = "received"
"""Stands in ``of`` for when a message was received: the exchange tells no time of it."""

_TRADE = (
    _time("time", "trade_time"),
    _time("event_time"),
    _integer("trade_id"),
    *_decimals("price", "quantity"),
    Column("buyer_is_maker", pa.bool_(), "buyer_is_maker"),
)
_MINI = ("open", "high", "low", "close", "volume", "quote_volume")
_WINDOW = (
    *_decimals("change", "change_percent", "average", "last"),
    *_decimals("open", "high", "low", "volume", "quote_volume"),
    _time("open_time"),
    _time("close_time"),
    _integer("first_trade_id"),
    _integer("last_trade_id"),
    _integer("trades"),
)


def _rows_of(columns: Iterable[Column]) -> Column:
    """What an array of all symbols is: a list of rows."""
    rows = (_time("event_time"), Column("symbol", pa.string(), "symbol"), *columns)
    type_ = pa.list_(pa.struct([pa.field(c.name, c.type) for c in rows]))
    return Column("tickers", type_, rows=rows)


_BAR = (
    _time("time", "event_time"),
    _time("open_time", "bar.open_time"),
    _time("close_time", "bar.close_time"),
    _text("interval", "bar.interval"),
    *(_decimal(name, f"bar.{name}") for name in ("open", "high", "low", "close", "volume")),
    _integer("trades", "bar.trades"),
    Column("closed", pa.bool_(), "bar.closed"),
    _decimal("quote_volume", "bar.quote_volume"),
    _decimal("taker_volume", "bar.taker_volume", nullable=True),
    _decimal("taker_quote_volume", "bar.taker_quote_volume", nullable=True),
    _integer("first_trade_id", "bar.first_trade_id", nullable=True),
    _integer("last_trade_id", "bar.last_trade_id", nullable=True),
)
_MESSAGE_TABLES = (
    Table("trade", _TRADE, "trade_id", "trade_id"),
    Table("blockTrade", _TRADE, "trade_id", "trade_id"),
    Table(
        "aggTrade",
        (
            _time("time", "trade_time"),
            _time("event_time"),
            _integer("agg_id"),
            *_decimals("price", "quantity"),
            _integer("first_trade_id"),
            _integer("last_trade_id"),
            Column("buyer_is_maker", pa.bool_(), "buyer_is_maker"),
        ),
        "agg_id",
        "agg_id",
    ),
    Table(
        "depth",
        (
            _time("time", "event_time"),
            _integer("first_update_id", nullable=True),
            _integer("last_update_id"),
            Column("bids", LEVELS, "bids"),
            Column("asks", LEVELS, "asks"),
        ),
        "first_update_id",
        "last_update_id",
    ),
    Table(
        "partialDepth",
        (
            _time("time", RECEIPT),
            _integer("last_update_id"),
            Column("bids", LEVELS, "bids"),
            Column("asks", LEVELS, "asks"),
        ),
        "last_update_id",
        "last_update_id",
    ),
    Table(
        "bookTicker",
        (
            _time("time", RECEIPT),
            _integer("update_id"),
            *_decimals("bid", "bid_quantity", "ask", "ask_quantity"),
        ),
        "update_id",
        "update_id",
    ),
    Table("kline", _BAR, "time", "time"),
    Table("miniTicker", (_time("time", "event_time"), *_decimals(*_MINI)), "time", "time"),
    Table(
        "ticker",
        (
            _time("time", "event_time"),
            *_decimals("previous_close", "last_quantity"),
            *_decimals("bid", "bid_quantity", "ask", "ask_quantity"),
            *_WINDOW,
        ),
        "time",
        "time",
    ),
    Table("windowTicker", (_time("time", "event_time"), *_WINDOW), "time", "time"),
    Table(
        "avgPrice",
        (
            _time("time", "event_time"),
            _text("interval"),
            _decimal("price"),
            _time("last_trade_time"),
        ),
        "time",
        "time",
    ),
    Table("referencePrice", (_time("time"), _decimal("price", nullable=True)), "time", "time"),
    Table(
        "allMiniTickers",
        (_time("time", "event_time"), _rows_of(_decimals(*_MINI))),
        "time",
        "time",
    ),
    Table(
        "allWindowTickers",
        (_time("time", "event_time"), _rows_of(_WINDOW)),
        "time",
        "time",
    ),
)
MESSAGES: dict[Kind, Table] = {Kind(table.name): table for table in _MESSAGE_TABLES}
"""The table of each kind of stream of the spot exchange."""

_BOOK_CHANGES = (
    _time("time", "event_time"),
    _time("transaction_time", nullable=True),
    _integer("first_update_id", nullable=True),
    _integer("last_update_id"),
    _integer("previous_update_id", nullable=True),
    Column("bids", LEVELS, "bids"),
    Column("asks", LEVELS, "asks"),
)
_BEST = (
    _time("time", "event_time"),
    _time("transaction_time"),
    _integer("update_id"),
    *_decimals("bid", "bid_quantity", "ask", "ask_quantity"),
)
_LIQUIDATION = (
    _time("time", "event_time"),
    *(_text(name, f"order.{name}") for name in ("side", "type", "time_in_force", "status")),
    *(
        _decimal(name, f"order.{name}")
        for name in ("quantity", "price", "average_price", "last_quantity", "filled_quantity")
    ),
    _time("trade_time", "order.trade_time"),
)
_SYMBOL = _text("symbol")
_MARK = (
    *_decimals("price", "index_price", "settle_price"),
    _decimal("funding_rate", nullable=True),
    _time("next_funding_time"),
)
_TICKER = (_decimal("last_quantity"), *_WINDOW)
_ASSET = _decimals(
    "price", "bid_buffer", "ask_buffer", "bid_rate", "ask_rate",
    "auto_bid_buffer", "auto_ask_buffer", "auto_bid_rate", "auto_ask_rate",
)  # fmt: skip
_EVENT_TIME = _time("time", "event_time")

_FUTURES_TABLES = {
    Kind.DEPTH: Table(
        "futuresDepth", _BOOK_CHANGES, "previous_update_id", "last_update_id", chained=True
    ),
    Kind.RPI_DEPTH: Table(
        "rpiDepth", _BOOK_CHANGES, "previous_update_id", "last_update_id", chained=True
    ),
    Kind.PARTIAL_DEPTH: Table(
        "futuresPartialDepth",
        (
            _EVENT_TIME,
            _time("transaction_time"),
            _integer("last_update_id"),
            Column("bids", LEVELS, "bids"),
            Column("asks", LEVELS, "asks"),
        ),
        "last_update_id",
        "last_update_id",
    ),
    Kind.BOOK_TICKER: Table("futuresBookTicker", _BEST, "update_id", "update_id"),
    Kind.ALL_BOOK_TICKERS: Table("allBookTickers", (*_BEST, _SYMBOL), "time", "time"),
    Kind.CONTINUOUS_KLINE: Table("continuousKline", _BAR, "time", "time"),
    Kind.TICKER: Table("futuresTicker", (_EVENT_TIME, *_TICKER), "time", "time"),
    Kind.ALL_TICKERS: Table("allTickers", (_EVENT_TIME, _rows_of(_TICKER)), "time", "time"),
    Kind.MARK_PRICE: Table("markPrice", (_EVENT_TIME, *_MARK), "time", "time"),
    Kind.ALL_MARK_PRICES: Table("allMarkPrices", (_EVENT_TIME, _rows_of(_MARK)), "time", "time"),
    Kind.FORCED_ORDER: Table("forceOrder", _LIQUIDATION, "time", "time"),
    Kind.ALL_FORCED_ORDERS: Table(
        "allForceOrders", (*_LIQUIDATION, _text("symbol", "order.symbol")), "time", "time"
    ),
    Kind.ASSET_INDEX: Table("assetIndex", (_EVENT_TIME, *_ASSET), "time", "time"),
    Kind.ALL_ASSET_INDEXES: Table(
        "allAssetIndexes", (_EVENT_TIME, _rows_of(_ASSET)), "time", "time"
    ),
}
"""Of futures, where they say something else than spot."""
KEYED: tuple[Table, ...] = (*_MESSAGE_TABLES, *_FUTURES_TABLES.values())
"""All tables of messages whose keys are columns."""


def table_of(stream: Stream) -> Table:
    """The table of the messages of a stream."""
    kind = stream.kind
    if DIALECTS[stream.product].family == "futures":
        return _FUTURES_TABLES.get(kind) or MESSAGES.get(kind, OTHER)
    return MESSAGES[kind]


TAIL = (
    Column("received_ns", pa.int64()),
    Column("origin", pa.string()),
    Column("stream", pa.string()),
    Column("sequence", pa.int64()),
)
"""The last columns of every table of messages."""

_PLACE = (Column("stream", pa.string()), Column("sequence", pa.int64()))
GAP = Table(
    "gap",
    (
        Column("time", TIME),
        Column("first", pa.int64()),
        Column("last", pa.int64()),
        Column("reason", pa.string()),
        Column("since", TIME, nullable=True),
        Column("until", TIME, nullable=True),
    ),
)
"""Ids that are declared missing, both inclusive; of bars their open times, in microseconds."""
OUTAGE = Table("outage", (Column("time", TIME), Column("since", TIME), Column("until", TIME)))
"""Times in which messages of a stream without provable ids may be missing."""
VENUE_CHANGED = Table(
    "venueChanged",
    (
        Column("time", TIME),
        Column("previous", pa.string()),
        Column("since", TIME),
        Column("until", TIME),
    ),
)
"""Where a stream went on from another venue."""
OTHER = Table(
    "other",
    (Column("time", TIME), Column("payload", pa.string())),
)
"""Messages that their own table cannot hold exactly, as the exchange sent them."""
REMARKS = (GAP, OUTAGE, VENUE_CHANGED)
"""Tables of what is no message."""
TABLES: dict[str, Table] = {table.name: table for table in (*KEYED, OTHER, *REMARKS)}
"""All of them, by name."""


def _schema(table: Table) -> pa.Schema:
    tail = _PLACE if table in REMARKS else TAIL
    return pa.schema(
        [pa.field(c.name, c.type, nullable=c.nullable) for c in (*table.columns, *tail)],
        metadata={VERSION_KEY: str(VERSION).encode()},
    )


_SCHEMAS = {name: _schema(table) for name, table in TABLES.items()}
