"""Books that are kept from what was delivered."""

from __future__ import annotations

from typing import TYPE_CHECKING

from k2trio.book.order_book import BookState, OrderBook
from k2trio.continuity.items import Gap
from k2trio.market.payloads import Event
from k2trio.market.streams import Kind, any_stream

from ..violation import demand

if TYPE_CHECKING:
    from ..run import Run

ALL_LEVELS_EVERY = 50
"""Every so many updates all levels of a live book are compared."""


def books_are_whole(run: Run) -> None:
    """20: once faults have stopped, a book that lost updates has got a snapshot after them."""
    broken: dict[str, Gap] = {}
    for item in run.items:
        if item.venue != run.name_of(run.last_venue) or any_stream(item.stream).kind != Kind.DEPTH:
            continue
        if isinstance(item, Gap):
            broken[item.stream] = item
        elif isinstance(item, Event) and item.origin == "snapshot":
            broken.pop(item.stream, None)
    demand(not broken, 20, f"{len(broken)} books never healed: {list(broken.values())[:2]}")


def live_books_are_right(run: Run) -> None:
    """21: a book that says that it is live is the exchange's own, at its update, level by level."""
    books: dict[str, OrderBook] = {}
    lies: set[str] = set()
    for number, item in enumerate(run.items):
        if any_stream(item.stream).kind is not Kind.DEPTH:
            continue
        book = books.get(item.stream)
        if book is None:
            book = books[item.stream] = OrderBook(item.stream)
        book.apply(item)
        if book.state is not BookState.LIVE or not isinstance(item, Event):
            continue
        last = book.last_update_id
        assert last is not None
        if item.origin == "live" and run.is_absurd(item.venue, item.stream, last):
            lies.add(item.stream)  # a false update that nothing tells from a true one
        elif item.origin == "snapshot":
            lies.discard(item.stream)
        due = item.origin == "snapshot" or number % ALL_LEVELS_EVERY == 0
        if due and item.stream not in lies:
            right = run.books[item.venue, book.symbol].agrees(book)
            demand(right, 21, f"{item.venue} {book!r} is live, and wrong")
