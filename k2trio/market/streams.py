"""Names of streams, and what they stand for in the dialect of a product.

Source: Binance API docs of spot and of USD-M futures, "WebSocket Streams".
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..errors import UnknownStreamError
from .kinds import (
    BOOK_KINDS,
    KLINE_INTERVALS_MS,
    TICKER_WINDOWS,
    Kind,
    Order,
    Repair,
    Rule,
    Silence,
)
from .products import DIALECTS
from .spelling import near_streams, near_symbols
from .spot import SPOT
from .venues import dialect_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from .dialect import Dialect

__all__ = [
    "BOOK_KINDS",
    "KLINE_INTERVALS_MS",
    "MAX_STREAMS_PER_CONNECTION",
    "TABLE",
    "TICKER_WINDOWS",
    "Kind",
    "Order",
    "Repair",
    "Rule",
    "Silence",
    "Stream",
    "any_stream",
    "by_route",
    "parse_stream",
    "parse_symbol",
    "shard",
    "stream_of",
    "symbols_of",
]

MAX_STREAMS_PER_CONNECTION = max(one.streams_per_connection for one in DIALECTS.values())
"""Streams that the exchange serves on one connection."""

TABLE = SPOT.orders
"""Per kind of the spot exchange: the payload's first and last key, the rule between messages, and
the repair."""


@dataclass(frozen=True, slots=True)
class Stream:
    """One parsed stream name.

    :ivar name: the exact name to subscribe to, e.g. ``"btcusdt@kline_1m"``.
    :ivar kind: what it carries.
    :ivar symbol: upper-case symbol, or None for the all-market streams.
    :ivar interval: kline interval or ticker window, else None.
    :ivar levels: price levels of a partial depth stream, else None.
    :ivar product: in whose dialect.
    """

    name: str
    kind: Kind
    symbol: str | None
    interval: str | None = None
    levels: int | None = None
    product: str = SPOT.product

    @property
    def order(self) -> Order:
        """Order key and gap rule of this stream's kind."""
        return DIALECTS[self.product].orders[self.kind]

    @property
    def route(self) -> str:
        """The part of an endpoint's URL that brings it; empty where the exchange has none."""
        return DIALECTS[self.product].routes.get(self.kind, "")


@functools.lru_cache(maxsize=8192)
def parse_stream(name: str, product: str = SPOT.product) -> Stream:
    """Parse a stream name; the symbol's case is folded, as the exchange wants it in lower case.

    :param product: in whose dialect, as ``PRODUCT`` has it.
    :raises UnknownStreamError: if the exchange documents no such stream.
    """
    dialect = DIALECTS[product]
    stream = _parsed(name, dialect)
    if stream is not None:
        return stream
    symbol, at, _ = name.partition("@")
    if at and _is_symbol(symbol, dialect):
        what = "is not a stream of the exchange"
        cure = f"known are {dialect.known}"
    else:
        what = "is not a stream name"
        cure = "write it as symbol@stream, e.g. 'btcusdt@trade'"
    other = next((one for one in DIALECTS.values() if _parsed(name, one) is not None), None)
    plain = [suffix for suffix in dialect.suffixes if "+" not in suffix]
    if near := near_streams(name, plain, tuple(dialect.whole)):
        cure = f"did you mean {near}?"
    if other is not None:
        what = f"is not a stream of {dialect.title}"
        elsewhere = f"{other.title} has it, at PRODUCT={other.product}"
        cure = f"{elsewhere}; or {cure}" if near else elsewhere
    raise UnknownStreamError(f"{name[:80]!r} {what}; {cure}")


def _parsed(name: str, dialect: Dialect) -> Stream | None:
    carried = dialect.whole.get(name)
    if carried is not None:  # of a str that is a bit more, too
        return Stream(str(name), carried.kind, None, *carried[1:], dialect.product)
    symbol, at, suffix = name.partition("@")
    carried = dialect.suffixes.get(suffix) if at and _is_symbol(symbol, dialect) else None
    if carried is None:
        return None
    folded = f"{symbol.lower()}@{suffix}"
    return Stream(folded, carried.kind, symbol.upper(), *carried[1:], dialect.product)


def _is_symbol(text: str, dialect: Dialect) -> bool:
    # Letters whose case does not come back (as the German sharp s) are refused: the stream's name
    # must follow from the symbol.
    folded = text.lower()
    matches = bool(dialect.symbol.match(folded))
    return matches and folded.isprintable() and text.upper().lower() == folded


def stream_of(venue: str, name: str) -> Stream:
    """Parse the name of a stream of a venue, in the dialect that is spoken there.

    :raises UnknownStreamError: if there is no such stream.
    """
    return parse_stream(name, dialect_of(venue).product)


def any_stream(name: str) -> Stream:
    """Parse a name of whatever product has it: what it is called, its kind and its symbol are the
    same in all of them, but not its order.

    :raises UnknownStreamError: if no product has such a stream.
    """
    for dialect in DIALECTS.values():
        stream = _parsed(name, dialect)
        if stream is not None:
            return stream
    return parse_stream(name)  # says what is wrong with it


def parse_symbol(name: str, product: str = SPOT.product) -> str:
    """The upper-case symbol that a name in any case stands for.

    :param product: in whose dialect.
    :raises UnknownStreamError: if the exchange can have no such symbol.
    """
    if _is_symbol(name, DIALECTS[product]):
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


def by_route(streams: Iterable[str], product: str = SPOT.product) -> dict[str, list[str]]:
    """The streams of each route, order kept; where the exchange has none, all are of one."""
    routes: dict[str, list[str]] = {}
    for name in streams:
        routes.setdefault(parse_stream(name, product).route, []).append(name)
    return routes


def symbols_of(streams: Sequence[str]) -> list[str]:
    """The symbols that the streams name, in order, each once."""
    symbols = (any_stream(name).symbol for name in streams)
    return list(dict.fromkeys(symbol for symbol in symbols if symbol is not None))
