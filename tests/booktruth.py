"""What the book of a simulated symbol was at each of its update ids."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, NamedTuple

from k2trio.market.streams import Kind
from k2trio.simulator.market.trading import Listener

if TYPE_CHECKING:
    from collections.abc import Sequence

    from k2trio.book.order_book import OrderBook
    from k2trio.market.payloads import Level
    from k2trio.simulator.market.book import Side
    from k2trio.simulator.market.trading import SymbolMarket

Levels = dict[Decimal, Decimal]


class Change(NamedTuple):
    """A level of one side after an update; in units of 10⁻⁸."""

    update_id: int
    is_bid: bool
    price: int
    quantity: int


class BookTruth(Listener):
    """Writes down every change of a symbol's book from now on.

    Ids may begin anew; each numbering is a list of its own. :meth:`agrees` goes through them in the
    order in which a feed delivers.
    """

    def __init__(self, symbol: SymbolMarket) -> None:
        self._numberings: list[list[Change]] = [[]]
        self._first_id = symbol.update_id
        self._sides: tuple[Levels, Levels] = ({}, {})
        for kept, side in zip(self._sides, (symbol.book.bids, symbol.book.asks), strict=True):
            for price, quantity in side.quantities.items():
                kept[_decimal(price)] = _decimal(quantity)
        self._at = 0
        self._id = symbol.update_id
        symbol.attach(self, Kind.DEPTH)

    def on_level(self, symbol: SymbolMarket, side: Side, price: int) -> None:
        """Write down a change."""
        quantity = side.quantities.get(price, 0)
        change = Change(symbol.update_id, side is symbol.book.bids, price, quantity)
        self._numberings[-1].append(change)

    def on_renumbered(self, symbol: SymbolMarket) -> None:
        """Begin a numbering."""
        self._numberings.append([])

    def agrees(self, book: OrderBook) -> bool:
        """Whether a book is as it was at its update id; ids only grow, from call to call."""
        assert book.last_update_id is not None
        while True:
            changes = self._numberings[0]
            while self._at < len(changes) and changes[self._at].update_id <= book.last_update_id:
                self._take(changes[self._at])
                self._at += 1
            if self._id <= book.last_update_id and self._equals(book):
                return True
            if len(self._numberings) == 1:
                return False
            for change in changes[self._at :]:
                self._take(change)
            del self._numberings[0]
            self._at, self._id = 0, 0

    def _take(self, change: Change) -> None:
        side, price = self._sides[not change.is_bid], _decimal(change.price)
        self._id = change.update_id
        if change.quantity:
            side[price] = _decimal(change.quantity)
        else:
            side.pop(price, None)

    def _equals(self, book: OrderBook) -> bool:
        bids, asks = self._sides
        return (
            _top(book.bids(book.known_bids))
            == sorted(bids.items(), reverse=True)[: book.known_bids]
            and _top(book.asks(book.known_asks)) == sorted(asks.items())[: book.known_asks]
        )


def _top(levels: Sequence[Level]) -> list[tuple[Decimal, Decimal]]:
    return [(Decimal(level.price), Decimal(level.quantity)) for level in levels]


def _decimal(units: int) -> Decimal:
    return Decimal(units).scaleb(-8)
