"""Order books behind a feed: kept, audited, and begun anew where they are wrong."""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING

import trio

from ..book.books import Books
from ..book.order_book import BookState, OrderBook
from ..book.standing import Standing, standing
from ..observe.transitions import BookDiffers
from ..repair.hosts import BackfillError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from ..book.audit import Verdict
    from ..continuity.items import Item
    from ..continuity.track import Track
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

    :param wall_clock: Unix time, to which messages were stamped when they were received.

    :ivar books: all of them, by symbol.
    :ivar judged: how many comparisons showed that a book was right, or was not.
    """

    def __init__(self, feed: Feed, wall_clock: Callable[[], float] = time.time) -> None:
        self._feed = feed
        self._wall_clock = wall_clock
        self._updated: dict[str, tuple[float, float]] = {}
        """Stream → the stamp of the book's last update, and when that was."""
        self.judged: Counter[bool] = Counter()
        self._verdicts: dict[str, tuple[float, Verdict]] = {}
        snapshots = feed.settings.depth_snapshot_levels > 0
        self.books: Books = Books(feed.streams, self._judge, self._broken, depth=snapshots)
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
        books = [self.books.apply(item) for item in items]
        now, wall = trio.current_time(), self._wall_clock()
        for book in dict.fromkeys(books):
            if book is not None and book.state is not BookState.LIVE:
                self._feed.resync(book.stream)  # whatever it lacks: a snapshot mends it
            if book is None or book.received is None:
                continue
            stamp, _ = self._updated.get(book.stream, (None, now))
            if stamp != book.received:
                waited_s = max(0.0, wall - book.received)
                self._updated[book.stream] = book.received, now - waited_s
        return books

    def standings(self) -> list[tuple[OrderBook, Standing]]:
        """Every book, and how far it can be believed now."""
        now, wall = trio.current_time(), self._wall_clock()
        lines = [line for line in self._feed.lines if line.connected]
        connected = {stream for line in lines for stream in line.streams}
        tracks = {(track.venue, track.stream.name): track for track in self._feed.tracks}
        rows: list[tuple[OrderBook, Standing]] = []
        for book in self.books.all:
            stamp, updated_at = self._updated.get(book.stream, (None, None))
            judged_at, verdict = self._verdicts.get(book.stream, (None, None))
            row = standing(
                book,
                doubt=_doubt(book.stream in connected, tracks.get((book.venue or "", book.stream))),
                passed_s=None if updated_at is None else now - updated_at,
                by_clock_s=None if stamp is None else wall - stamp,
                verdict=verdict,
                judged_s=None if judged_at is None else now - judged_at,
            )
            rows.append((book, row))
        return rows

    def _judge(self, verdict: Verdict) -> None:
        self.judged[verdict.equal] += 1
        self._verdicts[verdict.stream] = trio.current_time(), verdict
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


def _doubt(connected: bool, track: Track | None) -> str | None:
    """Why a book that is live with its last update may lack later ones."""
    if not connected:
        return "its stream is not connected"
    if track is not None and track.unheard:
        return "its stream was not connected for a while, and has brought nothing since"
    if track is not None and track.gap is not None:
        return "updates are missing, and asked for"
    return None
