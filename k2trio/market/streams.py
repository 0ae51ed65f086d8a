"""Stream names, what they carry, and what makes each kind continuous.

A market-data stream is *continuous* when every message that the venue sent can be accounted for.
What the exchange offers to prove it differs by kind, so it is written down once, in ``TABLE``:

``contiguous``
    Every message covers the ids ``first … last`` and the next one starts at ``last + 1``. A
    higher start is a gap of known size; a lower or equal end is a duplicate. Trades and
    aggregate trades cover one id; a diff-depth message covers ``U … u``.
``increasing``
    The key only grows. A lower or equal key is a duplicate or out of date; a higher one proves
    nothing about what lies between, so an outage is declared as a time range.

Klines are increasing by event time, and contiguous by bar: closed bars step by the interval. Of
block trades the exchange does not say that their ids are consecutive; an id that was skipped is
asked for all the same, and what REST then leaves out never was (``continuity/blocks.py``).

The ids belong to one venue. Two venues' ids are never compared, whatever the symbol is called.

Source: Binance spot API docs, "WebSocket Streams", and "How to manage a local order book".
"""

from __future__ import annotations

import enum
import functools
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..errors import UnknownStreamError
from .spelling import near_streams, near_symbols

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

MAX_STREAMS_PER_CONNECTION = 1024
"""Streams that the exchange serves on one connection."""

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
    """What a stream carries."""

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


BOOK_KINDS = frozenset({Kind.DEPTH, Kind.PARTIAL_DEPTH, Kind.BOOK_TICKER})
"""What an order book can be made of."""


class Rule(enum.Enum):
    """How the next key follows from the last one; see the module's theory."""

    CONTIGUOUS = "contiguous"
    INCREASING = "increasing"


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


@dataclass(frozen=True, slots=True)
class Order:
    """Order key and gap rule of a kind; keys are the wire names in the payload."""

    first: str
    last: str
    rule: Rule
    repair: Repair


TABLE: dict[Kind, Order] = {
    #                        first           last            rule             repair
    Kind.TRADE:              Order("t", "t", Rule.CONTIGUOUS, Repair.HISTORICAL_TRADES),
    Kind.AGG_TRADE:          Order("a", "a", Rule.CONTIGUOUS, Repair.AGG_TRADES),
    Kind.BLOCK_TRADE:        Order("t", "t", Rule.CONTIGUOUS, Repair.HISTORICAL_BLOCK_TRADES),
    Kind.DEPTH:              Order("U", "u", Rule.CONTIGUOUS, Repair.SNAPSHOT),
    Kind.PARTIAL_DEPTH:      Order("lastUpdateId", "lastUpdateId", Rule.INCREASING, Repair.NONE),
    Kind.BOOK_TICKER:        Order("u", "u", Rule.INCREASING, Repair.NONE),
    Kind.KLINE:              Order("E", "E", Rule.INCREASING, Repair.KLINES),
    Kind.MINI_TICKER:        Order("E", "E", Rule.INCREASING, Repair.NONE),
    Kind.ALL_MINI_TICKERS:   Order("E", "E", Rule.INCREASING, Repair.NONE),
    Kind.TICKER:             Order("E", "E", Rule.INCREASING, Repair.NONE),
    Kind.WINDOW_TICKER:      Order("E", "E", Rule.INCREASING, Repair.NONE),
    Kind.ALL_WINDOW_TICKERS: Order("E", "E", Rule.INCREASING, Repair.NONE),
    Kind.AVG_PRICE:          Order("E", "E", Rule.INCREASING, Repair.NONE),
    Kind.REFERENCE_PRICE:    Order("t", "t", Rule.INCREASING, Repair.NONE),
}  # fmt: skip
"""Per kind: the payload's first and last key, the rule between messages, and the repair."""


@dataclass(frozen=True, slots=True)
class Stream:
    """One parsed stream name.

    :ivar name: the exact name to subscribe to, e.g. ``"btcusdt@kline_1m"``.
    :ivar kind: what it carries.
    :ivar symbol: upper-case symbol, or None for the all-market streams.
    :ivar interval: kline interval or ticker window, else None.
    :ivar levels: price levels of a partial depth stream, else None.
    """

    name: str
    kind: Kind
    symbol: str | None
    interval: str | None = None
    levels: int | None = None

    @property
    def order(self) -> Order:
        """Order key and gap rule of this stream's kind."""
        return TABLE[self.kind]


_PLAIN = {
    "trade": Kind.TRADE,
    "aggTrade": Kind.AGG_TRADE,
    "blockTrade": Kind.BLOCK_TRADE,
    "depth": Kind.DEPTH,
    "depth@100ms": Kind.DEPTH,
    "depth@1000ms": Kind.DEPTH,
    "bookTicker": Kind.BOOK_TICKER,
    "miniTicker": Kind.MINI_TICKER,
    "ticker": Kind.TICKER,
    "avgPrice": Kind.AVG_PRICE,
    "referencePrice": Kind.REFERENCE_PRICE,
}
_INTERVALS = "|".join(KLINE_INTERVALS_MS)
_WINDOWS = "|".join(TICKER_WINDOWS)
_KLINE = re.compile(rf"kline_({_INTERVALS})(@\+08:00)?\Z")
_WINDOW = re.compile(rf"ticker_({_WINDOWS})\Z")
_PARTIAL = re.compile(r"depth(5|10|20)(@1000?ms)?\Z")
_ALL_WINDOWS = re.compile(rf"!ticker_({_WINDOWS})@arr\Z")
_SUFFIXES = (
    *_PLAIN,
    *(f"kline_{interval}" for interval in KLINE_INTERVALS_MS),
    *(f"ticker_{window}" for window in TICKER_WINDOWS),
    *(f"depth{levels}{speed}" for levels in (5, 10, 20) for speed in ("", "@100ms", "@1000ms")),
)
_WHOLE = ("!miniTicker@arr", *(f"!ticker_{window}@arr" for window in TICKER_WINDOWS))
"""What is proposed for a name that is none."""
# Symbols may be non-ASCII; what they may not hold would change the URL or the control message.
# What separates assets elsewhere, or names from each other, is a slip.
_SYMBOL = re.compile(r"[^\s!,@/?&=#%\"\\;|+\-_.:]{1,40}\Z")


def _is_symbol(text: str) -> bool:
    # Letters whose case does not come back (as the German sharp s) are refused: the stream's name
    # must follow from the symbol.
    folded = text.lower()
    return bool(_SYMBOL.match(folded)) and folded.isprintable() and text.upper().lower() == folded


@functools.lru_cache(maxsize=8192)
def parse_stream(name: str) -> Stream:
    """Parse a stream name; the symbol's case is folded, as the exchange wants it in lower case.

    :raises UnknownStreamError: if the exchange documents no such stream.

    Source: Binance spot API docs, "WebSocket Streams".
    """
    if name == "!miniTicker@arr":
        return Stream(str(name), Kind.ALL_MINI_TICKERS, None)  # of a str that is a bit more, too
    if match := _ALL_WINDOWS.match(name):
        return Stream(str(name), Kind.ALL_WINDOW_TICKERS, None, interval=match[1])
    symbol, at, suffix = name.partition("@")
    if at and _is_symbol(symbol):
        folded, upper = f"{symbol.lower()}@{suffix}", symbol.upper()
        if kind := _PLAIN.get(suffix):
            return Stream(folded, kind, upper)
        if match := _KLINE.match(suffix):
            return Stream(folded, Kind.KLINE, upper, interval=match[1])
        if match := _WINDOW.match(suffix):
            return Stream(folded, Kind.WINDOW_TICKER, upper, interval=match[1])
        if match := _PARTIAL.match(suffix):
            return Stream(folded, Kind.PARTIAL_DEPTH, upper, levels=int(match[1]))
        what = "is not a stream of the exchange"
        cure = (
            f"known are {', '.join(_PLAIN)}, depth5/10/20, kline_<interval>, "
            "ticker_<1h|4h|1d>, !miniTicker@arr, !ticker_<window>@arr"
        )
    else:
        what = "is not a stream name"
        cure = "write it as symbol@stream, e.g. 'btcusdt@trade'"
    if near := near_streams(name, _SUFFIXES, _WHOLE):
        cure = f"did you mean {near}?"
    raise UnknownStreamError(f"{name[:80]!r} {what}; {cure}")


def parse_symbol(name: str) -> str:
    """The upper-case symbol that a name in any case stands for.

    :raises UnknownStreamError: if the exchange can have no such symbol.
    """
    if _is_symbol(name):
        return name.upper()
    if "@" in name:
        raise UnknownStreamError(f"{name[:80]!r} is not a symbol; name streams in STREAMS")
    near = near_symbols(name)
    cure = f"did you mean {near}?" if near else "write it like 'BTCUSDT'"
    raise UnknownStreamError(f"{name[:80]!r} is not a symbol; {cure}")


def shard(streams: Iterable[str], size: int = MAX_STREAMS_PER_CONNECTION) -> Sequence[list[str]]:
    """Split streams into the lists that one connection each can carry, order kept."""
    names = list(dict.fromkeys(streams))
    return [names[start : start + size] for start in range(0, len(names), size)]


def symbols_of(streams: Sequence[str]) -> list[str]:
    """The symbols that the streams name, in order, each once."""
    symbols = (parse_stream(name).symbol for name in streams)
    return list(dict.fromkeys(symbol for symbol in symbols if symbol is not None))
