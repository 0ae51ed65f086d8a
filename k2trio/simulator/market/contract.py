"""What a venue needs of a market, be it made up here or recorded elsewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from k2trio.market.streams import Stream

    from .bars import Bar
    from .book import Book, Side
    from .message import Message
    from .records import AggTrade, History, Ids, Trade
    from .spec import SymbolSpec


class VenueBars(Protocol):
    """The candlesticks of a symbol."""

    def between(self, interval: str, from_ms: int, until_ms: int) -> Iterator[Bar]:
        """All bars that open in ``from_ms … until_ms``, oldest first, as far as they are known."""
        ...


class BookListener(Protocol):
    """Told of changes of a symbol's book."""

    def on_level(self, symbol: VenueSymbol, side: Side, price: int) -> None:
        """A book level changed; ``symbol.update_id`` is the change's id."""
        ...

    def on_renumbered(self, symbol: VenueSymbol) -> None:
        """Ids began anew; ``symbol.update_id`` is the first of the new ones."""
        ...


class VenueSymbol(Protocol):
    """What is known of a symbol: by REST, and by whoever compares it with what clients got."""

    @property
    def name(self) -> str:
        """As the exchange writes it."""
        ...

    @property
    def spec(self) -> SymbolSpec | None:
        """What is fixed about it; None where that is not known."""
        ...

    @property
    def trades(self) -> History[Trade]: ...
    @property
    def agg_trades(self) -> History[AggTrade]: ...
    @property
    def block_trades(self) -> History[Trade]: ...
    @property
    def trade_ids(self) -> Ids: ...
    @property
    def agg_ids(self) -> Ids: ...
    @property
    def block_ids(self) -> Ids: ...
    @property
    def shared_ids(self) -> list[int]:
        """Aggregate ids that two trades have."""
        ...

    @property
    def bars(self) -> VenueBars: ...
    @property
    def book(self) -> Book: ...
    @property
    def has_book(self) -> bool:
        """Whether ``book`` is known."""
        ...

    @property
    def update_id(self) -> int: ...
    @property
    def halted_until_us(self) -> int:
        """Nothing happens before; microseconds."""
        ...

    def watch_book(self, listener: BookListener) -> None:
        """Tell a listener of changes of the book."""
        ...

    def leave_book(self, listener: BookListener) -> None:
        """Tell it no more."""
        ...


class VenueMarket(Protocol):
    """What happens at a venue, in its order."""

    @property
    def product(self) -> str:
        """What is traded: in whose dialect its streams are called."""
        ...

    @property
    def seed(self) -> int:
        """Decides what is drawn."""
        ...

    @property
    def start_us(self) -> int:
        """Simulated time at the start; microseconds."""
        ...

    @property
    def now_us(self) -> int:
        """Simulated time; microseconds."""
        ...

    @property
    def symbols(self) -> Mapping[str, VenueSymbol]:
        """Those that there are, as far as is known."""
        ...

    def symbol(self, name: str) -> VenueSymbol | None:
        """The symbol of a name; None if there is none."""
        ...

    def watch(self, name: str) -> Stream:
        """Emit the messages of a stream from now on; again is harmless.

        :raises UnknownStreamError: if the stream or its symbol does not exist.
        """
        ...

    def next_us(self) -> int:
        """When the next thing happens; microseconds, ``NEVER_US`` if nothing is known to."""
        ...

    def advance(self, until_us: int, most: int | None = None) -> list[Message]:
        """Let everything happen that is due until ``until_us`` (inclusive), in order of time.

        :param most: stop after so many events; then ``now_us`` is the time of the last one.
        """
        ...


def symbol_of(market: VenueMarket, stream: Stream) -> VenueSymbol:
    """The symbol that a stream of a market tells about."""
    symbol = market.symbol(stream.symbol or "")
    if symbol is None:
        raise LookupError(stream.name)
    return symbol
