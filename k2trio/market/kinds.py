"""What streams carry, and what makes each kind continuous.

A market-data stream is *continuous* when every message that the venue sent can be accounted for.
What the exchange offers to prove it differs by kind and product, so each dialect writes it down
once, as one :class:`Order` a kind:

``contiguous``
    Every message covers the ids ``first … last`` and the next one starts at ``last + 1``. A
    higher start is a gap of known size; a lower or equal end is a duplicate. Trades and
    aggregate trades cover one id; a diff-depth message of spot covers ``U … u``.
``chained``
    Every message names the last id of the one before (``pu``), and continues it if and only if
    that is so. Ids may be left out between the two, as they are of other symbols. So a message
    covers ``pu + 1 … u``, and then it is as with contiguous ones: if the message before is
    missing, what it changed lies in a range of ids that is known.
``increasing``
    The key only grows. A lower or equal key is a duplicate or out of date; a higher one proves
    nothing about what lies between, so an outage is declared as a time range.

Klines are increasing by event time, and contiguous by bar: closed bars step by the interval. Of
block trades the exchange does not say that their ids are consecutive; an id that was skipped is
asked for all the same, and what REST then leaves out never was (``continuity/blocks.py``).

The ids belong to one venue. Two venues' ids are never compared, whatever the symbol is called.

Source: Binance API docs of spot and of USD-M futures: "WebSocket Streams", and "How to manage a
local order book".
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

KLINE_INTERVALS_MS: dict[str, int | None] = {
    "1s": 1_000,
    "1m": 60_000,
    "3m": 180_000,
    "5m": 300_000,
    "15m": 900_000,
    "30m": 1_800_000,
    "1h": 3_600_000,
    "2h": 7_200_000,
    "4h": 14_400_000,
    "6h": 21_600_000,
    "8h": 28_800_000,
    "12h": 43_200_000,
    "1d": 86_400_000,
    "3d": 259_200_000,
    "1w": 604_800_000,
    "1M": None,  # a calendar month has no fixed length
}
"""Kline interval → its length in milliseconds, or None for the calendar month."""

TICKER_WINDOWS = ("1h", "4h", "1d")


class Kind(enum.StrEnum):
    """What a stream carries; which of them there are is for each product to say."""

    TRADE = "trade"
    AGG_TRADE = "aggTrade"
    BLOCK_TRADE = "blockTrade"
    DEPTH = "depth"
    PARTIAL_DEPTH = "partialDepth"
    BOOK_TICKER = "bookTicker"
    KLINE = "kline"
    MINI_TICKER = "miniTicker"
    ALL_MINI_TICKERS = "allMiniTickers"
    TICKER = "ticker"
    WINDOW_TICKER = "windowTicker"
    ALL_WINDOW_TICKERS = "allWindowTickers"
    AVG_PRICE = "avgPrice"
    REFERENCE_PRICE = "referencePrice"
    RPI_DEPTH = "rpiDepth"
    ALL_BOOK_TICKERS = "allBookTickers"
    CONTINUOUS_KLINE = "continuousKline"
    ALL_TICKERS = "allTickers"
    MARK_PRICE = "markPrice"
    ALL_MARK_PRICES = "allMarkPrices"
    FORCED_ORDER = "forceOrder"
    ALL_FORCED_ORDERS = "allForceOrders"
    COMPOSITE_INDEX = "compositeIndex"
    ASSET_INDEX = "assetIndex"
    ALL_ASSET_INDEXES = "allAssetIndexes"
    CONTRACT_INFO = "contractInfo"
    TRADING_SESSION = "tradingSession"


BOOK_KINDS = frozenset({Kind.DEPTH, Kind.PARTIAL_DEPTH, Kind.BOOK_TICKER})
"""What an order book can be made of."""


class Rule(enum.Enum):
    """How the next key follows from the last one; see the module's theory."""

    CONTIGUOUS = "contiguous"
    CHAINED = "chained"
    INCREASING = "increasing"

    @property
    def proves(self) -> bool:
        """Whether a missing message shows, by the ids of those around it."""
        return self is not Rule.INCREASING


class Repair(enum.Enum):
    """What REST can give back after a gap."""

    HISTORICAL_TRADES = "historicalTrades"
    HISTORICAL_BLOCK_TRADES = "historicalBlockTrades"
    AGG_TRADES = "aggTrades"
    KLINES = "klines"
    SNAPSHOT = "depth"
    NONE = "none"

    @property
    def has_history(self) -> bool:
        """Whether REST tells the missing messages themselves, however old they are."""
        return self not in (Repair.SNAPSHOT, Repair.NONE)


class Silence(enum.Enum):
    """What it may mean that a stream is silent, and how that can be found out."""

    BY_ID = "by id"
    """REST knows the newest id."""
    BY_QUOTE = "by quote"
    """REST knows the best levels. The newest id of the book says little of them, as it grows with
    what changes below them, too, of which the stream says nothing. Of partial books the exchange's
    documents do not tell whether that is so."""
    BY_BLOCK_ID = "by block id"
    """The same, once a first one is known; there may be none for hours."""
    BY_TRADE = "by trade"
    """It speaks of trades: a trade after its last message is news."""
    PERIODIC = "periodic"
    """Nobody can be asked, but it speaks every few seconds whatever happens."""
    IRREGULAR = "irregular"
    """Nobody can be asked, and it speaks when it has something to say."""
    RARE = "rare"
    """The same, and that may be for hours not."""


LEAP_IDS = 1_000_000
"""A wider gap (in ids, or in bars) is a jump of the venue's, not messages that were sent."""


@dataclass(frozen=True, slots=True)
class Order:
    """Order key and gap rule of a kind; keys are the wire names in the payload.

    :ivar last: the last key of a message.
    :ivar first: the first one; of chained messages the last of the message before.
    :ivar silence: what its silence may mean.
    :ivar timed: whether the key is a time; else it is a number that the venue gives out.
    :ivar inner: keys of what lies inside a message, where those are contiguous as well.
    :ivar of_each: whether a stream brings many symbols, of which each has an order of its own.
    :ivar leap: how far ahead a key may be, to be believed at once.
    :ivar listed: whether its symbols are those that the exchange lists.
    """

    first: str
    last: str
    rule: Rule
    repair: Repair
    silence: Silence
    timed: bool = False
    inner: tuple[str, str] | None = None
    of_each: bool = False
    leap: int = LEAP_IDS
    listed: bool = True
