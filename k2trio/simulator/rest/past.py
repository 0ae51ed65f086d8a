"""The past of the books, for a REST side that lags.

Books are kept only while somebody lags: a copy a second, if something changed.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, NamedTuple

from ..faults.kinds import FaultKind

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..faults.board import FaultBoard
    from ..faults.fault import Fault
    from ..market.book import Side
    from ..market.contract import VenueMarket, VenueSymbol

COPY_EVERY_US = 1_000_000
MAX_COPIES = 300
"""Books kept of a symbol; a lag of more seconds gets the oldest of them."""


class PastBook(NamedTuple):
    """A book as it was; levels as (price, quantity), best first.

    :ivar time_us: when it was so; microseconds.
    """

    time_us: int
    update_id: int
    bids: list[tuple[int, int]]
    asks: list[tuple[int, int]]


def book_now(symbol: VenueSymbol, now_us: int) -> PastBook:
    """The book as it is."""
    book = symbol.book
    bids, asks = book.bids.top(len(book.bids)), book.asks.top(len(book.asks))
    return PastBook(now_us, symbol.update_id, bids, asks)


class BookMemory:
    """Remembers what the book of one symbol was (:class:`.contract.BookListener`).

    What is there now is the first that is remembered.
    """

    def __init__(self, market: VenueMarket, symbol: VenueSymbol) -> None:
        self._market = market
        self._symbol = symbol
        self._copies = deque([book_now(symbol, market.now_us)], maxlen=MAX_COPIES)
        symbol.watch_book(self)

    def on_level(self, symbol: VenueSymbol, side: Side, price: int) -> None:
        """Remember, once in a while."""
        del side, price
        now_us = self._market.now_us
        if now_us - self._copies[-1].time_us >= COPY_EVERY_US:
            self._copies.append(book_now(symbol, now_us))

    def on_renumbered(self, symbol: VenueSymbol) -> None:
        """Forget what was before."""
        self._copies = deque([book_now(symbol, self._market.now_us)], maxlen=MAX_COPIES)

    def at(self, time_us: int) -> PastBook:
        """The book as it was then, as far as is known."""
        past = [copy for copy in self._copies if copy.time_us <= time_us]
        return past[-1] if past else self._copies[0]

    def forget(self) -> None:
        """Remember no more."""
        self._symbol.leave_book(self)


class Lag:
    """How far the answers lie behind, and the books of then (:class:`.board.FaultListener`).

    :param names: what faults call the REST side by.
    """

    def __init__(self, market: VenueMarket, faults: FaultBoard, names: Sequence[str]) -> None:
        self._market = market
        self._faults = faults
        self._names = names
        self._memories: dict[str, BookMemory] = {}
        faults.listen(self)

    def fault_begins(self, fault: Fault) -> None:
        """Remember the books from now on."""
        if fault.kind is FaultKind.REST_LAG and fault.hits(self._names):
            for name, symbol in self._market.symbols.items():
                if name not in self._memories:
                    self._memories[name] = BookMemory(self._market, symbol)

    def fault_ends(self, fault: Fault) -> None:
        """Remember no more, when the last such fault is over."""
        del fault
        if not self._faults.active(self._names, (FaultKind.REST_LAG,)):
            for memory in self._memories.values():
                memory.forget()
            self._memories = {}

    def take_us(self) -> int:
        """How old this answer is; microseconds."""
        fault = self._faults.take(self._names, (FaultKind.REST_LAG,))
        return 0 if fault is None else round(fault.lag * 1e6)

    def book(self, symbol: VenueSymbol, time_us: int) -> PastBook:
        """The book of then, as far as it is remembered."""
        memory = self._memories.get(symbol.name)
        return book_now(symbol, self._market.now_us) if memory is None else memory.at(time_us)
