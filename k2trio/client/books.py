"""Order books behind a feed: kept, audited, and begun anew where they are wrong."""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import trio

from ..book.books import Books
from ..book.standing import Standing, slept, standing
from ..observe.transitions import BookDiffers
from ..repair.hosts import BackfillError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from ..book.audit import Verdict
    from ..book.order_book import OrderBook
    from ..continuity.items import Item
    from .feed import Feed


def books(feed: Feed[Any]) -> FeedBooks:
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

    A book is unproven, too, while its stream is not subscribed or not connected, or has brought
    nothing since it was; then the next update proves it. What makes a book follows the streams that
    are subscribed: without depth updates it goes on from partial depth, or from the book ticker.

    :param wall_clock: Unix time, to which messages were stamped when they were received.

    :ivar books: all of them, by symbol.
    :ivar judged: how many comparisons showed that a book was right, or was not.
    """

    def __init__(self, feed: Feed[Any], wall_clock: Callable[[], float] = time.time) -> None:
        self._feed = feed
        self._wall_clock = wall_clock
        # The clock itself, not trio.current_time: books may be looked at when Trio has ended.
        self._now = trio.lowlevel.current_clock().current_time
        self._updated: dict[str, tuple[float, float]] = {}
        """Stream → the stamp of the book's last update, and when that was."""
        self.judged: Counter[bool] = Counter()
        self._verdicts: dict[str, tuple[float, Verdict]] = {}
        snapshots = feed.settings.depth_snapshot_levels > 0
        self._subscribed = feed.subscribed
        self.books: Books = Books(
            self._subscribed, self._judge, self._broken, depth=snapshots, doubts=self._doubt
        )
        feed.beside(self._audit)

    def __aiter__(self) -> FeedBooks:
        return self

    async def __anext__(self) -> tuple[OrderBook | None, Item]:
        item = await anext(self._feed)
        (book,) = self.take([item])
        return book, item

    def __getitem__(self, symbol: str) -> OrderBook:
        """The book of a symbol, in either case.

        :raises KeyError: if no stream of it carries a book.
        """
        return self.books[symbol]

    def take(self, items: Iterable[Item]) -> list[OrderBook | None]:
        """Let the books take a batch of the feed, for whoever iterates those; see the iteration.

        :returns: per item the book of its symbol.
        """
        if self._feed.subscribed is not self._subscribed:
            self._subscribed = self._feed.subscribed
            self.books.carry(self._subscribed)
        books = [self.books.apply(item) for item in items]
        now, wall = self._now(), self._wall_clock()
        for coming in self.books.coming:
            self._mend(coming)
        for book in dict.fromkeys(books):
            if book is None:
                continue
            self._mend(book)
            if book.received is None:
                continue
            stamp, _ = self._updated.get(book.stream, (None, now))
            if stamp != book.received:
                waited_s = max(0.0, wall - book.received)
                self._updated[book.stream] = book.received, now - waited_s
        return books

    def standings(self) -> list[tuple[OrderBook, Standing]]:
        """Every book, and how far it can be believed now."""
        now = self._now()
        rows: list[tuple[OrderBook, Standing]] = []
        for book in self.books.all:
            judged_at, verdict = self._verdicts.get(book.stream, (None, None))
            row = standing(
                book,
                age_s=max(self._ages(book), default=None),
                verdict=verdict,
                judged_s=None if judged_at is None else now - judged_at,
            )
            rows.append((book, row))
        return rows

    def _ages(self, book: OrderBook) -> tuple[float, float] | tuple[()]:
        """Since when a book was updated last (s): by the time that passed, and by the clock."""
        if book.stream not in self._updated:
            return ()
        stamp, updated_at = self._updated[book.stream]
        return self._now() - updated_at, self._wall_clock() - stamp

    def _doubt(self, book: OrderBook) -> str | None:
        """Why a book that is right as of its last update may lack later ones."""
        if not any(line.connected for line in self._feed.subscribed.get(book.stream, ())):
            return "its stream is not connected"
        track = self._feed.track(book.venue or "", book.stream)
        if track is not None:
            # What it brought may still be on its way to the book.
            if track.unheard or track.unheard_at == 1 + (book.last_update_id or 0):
                return "its stream was not connected for a while, and has brought nothing since"
            if track.gap is not None:
                return "updates are missing, and asked for"
        ages = self._ages(book)
        return slept(*ages) if ages else None

    def _mend(self, book: OrderBook) -> None:
        if not book.intact:
            self._feed.resync(book.stream)  # whatever it lacks: a snapshot mends it

    def _judge(self, verdict: Verdict) -> None:
        self.judged[verdict.equal] += 1
        self._verdicts[verdict.stream] = self._now(), verdict
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
        if audit is None or book.venue is None or book.problem is not None:
            return
        audit.expect()
        try:
            snapshot = await self._feed.snapshot(book.venue, book.stream)
        except BackfillError:
            audit.forget()  # nothing is known to be wrong; the next turn asks again
            return
        self.books.answer(snapshot)
