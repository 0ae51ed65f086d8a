"""Order books behind a feed: kept, audited, and begun anew where they are wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from ..book.books import Books
from ..book.order_book import BookState, OrderBook
from ..observe.transitions import BookDiffers
from ..repair.hosts import BackfillError

if TYPE_CHECKING:
    from ..book.audit import Verdict
    from ..continuity.items import Item
    from .feed import Feed


def books(feed: Feed) -> FeedBooks:
    """Iterate a feed together with its books.

    ::

        async with open_feed(["btcusdt@depth@100ms", "btcusdt@bookTicker"]) as feed:
            async for book, item in books(feed):
                print(book.best_bid, book.best_ask, book.state)

    Where the feed has been iterated before, books begin with the next snapshot, which is asked for.
    """
    return FeedBooks(feed)


class FeedBooks:
    """Iterates pairs: the book of the item's symbol, None if it has none, and the item.

    The book has taken the item already. It is compared with what else the feed says of it, and
    every ``book_audit_interval`` with a second snapshot. One that is wrong is *unproven* from then
    on, keeps its last levels, and is live again with the next snapshot, which is asked for.

    :ivar books: all of them, by symbol.
    """

    def __init__(self, feed: Feed) -> None:
        self._feed = feed
        self._snapshots = feed.settings.depth_snapshot_levels > 0
        self.books = Books(feed.streams, self._judge, self._broken, depth=self._snapshots)
        feed.beside(self._audit)

    def __aiter__(self) -> FeedBooks:
        return self

    async def __anext__(self) -> tuple[OrderBook | None, Item]:
        item = await anext(self._feed)
        book = self.books.apply(item)
        if book is not None and book.state is not BookState.LIVE and item.stream == book.stream:
            self._feed.resync(item.stream)  # whatever it lacks: a snapshot mends it
        return book, item

    def __getitem__(self, symbol: str) -> OrderBook:
        """The book of a symbol, in either case.

        :raises KeyError: if no stream of it carries a book.
        """
        return self.books[symbol]

    def _judge(self, verdict: Verdict) -> None:
        self._feed.metrics.book_audited(verdict.witness)
        if not verdict.equal:
            self._begin_anew(verdict.stream, verdict.witness, str(verdict))

    def _broken(self, book: OrderBook) -> None:
        self._begin_anew(book.stream, "update", book.problem or "")

    def _begin_anew(self, stream: str, witness: str, detail: str) -> None:
        self._feed.tell(BookDiffers(stream, witness, detail))
        self._feed.resync(stream)

    async def _audit(self) -> None:
        """Compare each book with a second snapshot, in turn, for ever."""
        interval_s = self._feed.settings.book_audit_interval
        while interval_s:
            began_at = trio.current_time()
            for number, book in enumerate(self.books.all, 1):
                await trio.sleep_until(began_at + interval_s * number / len(self.books))
                await self._audit_one(book)
            await trio.sleep_until(began_at + interval_s)

    async def _audit_one(self, book: OrderBook) -> None:
        audit = self.books.audit(book.symbol)
        if audit is None or book.venue is None or book.state is not BookState.LIVE:
            return
        audit.expect()
        try:
            snapshot = await self._feed.snapshot(book.venue, book.stream)
        except BackfillError:
            audit.forget()  # nothing is known to be wrong; the next turn asks again
            return
        self.books.answer(snapshot)
