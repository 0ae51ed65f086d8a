"""The books of all symbols of a feed, each audited by whatever else the feed says of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..market.payloads import DepthSnapshot, Event
from ..market.streams import BOOK_KINDS, Kind, any_stream
from .audit import Audit
from .order_book import BookState, OrderBook

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from ..continuity.items import Item
    from ..market.streams import Stream
    from .audit import Verdict


BEHIND_S = 10.0
"""For so long (s) a book may lack updates that its witnesses have; then it is not live."""


def _rank(stream: Stream) -> tuple[int, int]:
    """The more a stream says of a book, the higher."""
    if stream.kind is Kind.DEPTH:
        return 2, 0
    return (1, stream.levels or 0) if stream.kind is Kind.PARTIAL_DEPTH else (0, 0)


class Books:
    """One book a symbol, made of the stream that says most of it.

    That is diff depth before partial depth before the book ticker. What the others of a symbol say
    is compared with the book, wherever it speaks of the same update. Where the streams change, the
    book of a symbol is made of another one as soon as that has brought all of it; until then the
    one before stays.

    Pure; :func:`k2trio.books` puts it behind a feed.

    :param streams: names of the streams that will come. Others may join them, and then make a new
        book where they say more of it.
    :param judge: called with what each comparison showed.
    :param broken: called with a book that a message has broken which makes none.
    :param depth: whether snapshots come; without them no book is made of diff depth.
    :param doubts: as of :class:`OrderBook`.
    """

    def __init__(
        self,
        streams: Iterable[str],
        judge: Callable[[Verdict], None] = lambda _: None,
        broken: Callable[[OrderBook], None] = lambda _: None,
        *,
        depth: bool = True,
        doubts: Callable[[OrderBook], str | None] = lambda _: None,
    ) -> None:
        self._depth = depth
        self._judge = judge
        self._broken = broken
        self._doubts = doubts
        self._books: dict[str, OrderBook] = {}
        self._audits: dict[str, Audit] = {}
        self._symbols: dict[str, str | None] = {}
        """Streams that came, or will → their symbol, if they are of one."""
        self._carried: dict[str, Stream] = {}
        """Those that come."""
        self._coming: dict[str, OrderBook] = {}
        """Books that take the place of those kept as soon as they are live."""
        self._witnesses: set[str] = set()
        self.carry(streams)

    def carry(self, streams: Iterable[str]) -> None:
        """From now on these streams come, and no others but for what is on its way.

        A book whose stream comes no more is unproven.
        """
        before, names = self._carried, dict.fromkeys(streams)
        self._carried = {stream.name: stream for stream in map(any_stream, names)}
        for stream in self._carried.values():
            self._learn(stream)
        choice: dict[str, list[Stream]] = {}
        for name, stream in {**self._carried, **before}.items():
            if stream.symbol is not None and (name in before) != (name in self._carried):
                choice[stream.symbol] = []
        for stream in self._carried.values():
            if stream.symbol in choice and self._makes_a_book(stream):
                choice[stream.symbol].append(stream)
        for symbol in choice:
            self._choose(symbol, choice[symbol])

    def _learn(self, stream: Stream) -> None:
        self._symbols[stream.name] = stream.symbol
        if stream.kind in BOOK_KINDS and stream.kind is not Kind.DEPTH:
            self._witnesses.add(stream.name)

    def _makes_a_book(self, stream: Stream) -> bool:
        return stream.kind in BOOK_KINDS and (stream.kind is not Kind.DEPTH or self._depth)

    def _choose(self, symbol: str, choice: Sequence[Stream]) -> None:
        """Make the book of a symbol of the stream that says most, at once or as soon as it can."""
        self._coming.pop(symbol, None)
        best = max(choice, key=_rank, default=None)
        if best is None:
            return
        book = self._books.get(symbol)
        if book is not None:
            kept = self._carried.get(book.stream)
            if kept is not None and _rank(kept) >= _rank(best):
                return
        new = OrderBook(best.name, self._why_unproven)
        if book is None:
            self._keep(new)
        else:
            self._coming[symbol] = new

    def _why_unproven(self, book: OrderBook) -> str | None:
        if book.stream not in self._carried:
            return "its stream is not subscribed any more"
        return self._doubts(book)

    def _keep(self, book: OrderBook) -> None:
        """Have this book of a symbol; whoever still holds the one before is told by its state."""
        before = self._books.get(book.symbol)
        if before is not None:
            before.doubt(f"the book goes on from {book.stream}")
        self._books[book.symbol] = book
        if any_stream(book.stream).kind is Kind.DEPTH:
            self._audits[book.symbol] = Audit(book)
        else:
            self._audits.pop(book.symbol, None)

    def __getitem__(self, symbol: str) -> OrderBook:
        """The book of a symbol, in either case.

        :raises KeyError: if no stream of it carries a book.
        """
        return self._books[symbol.upper()]

    def __contains__(self, symbol: str) -> bool:
        return symbol.upper() in self._books

    def __len__(self) -> int:
        return len(self._books)

    @property
    def all(self) -> Sequence[OrderBook]:
        """Every book."""
        return list(self._books.values())

    @property
    def coming(self) -> Sequence[OrderBook]:
        """Books that will take the place of others, once they are live."""
        return list(self._coming.values())

    def audit(self, symbol: str) -> Audit | None:
        """The audit of a book that is made of diff depth; None for others."""
        return self._audits.get(symbol.upper())

    def apply(self, item: Item) -> OrderBook | None:
        """Take what a feed delivered.

        :returns: the book of its symbol, whether it has changed or not; None if there is none.
        """
        stream = item.stream
        if stream not in self._symbols:
            self.carry([*self._carried, stream])
        symbol = self._symbols[stream]
        if symbol is None:
            return None
        coming = self._coming.get(symbol)
        if coming is not None and stream == coming.stream:
            if coming.apply(item) and coming.state is BookState.LIVE:
                self._keep(self._coming.pop(symbol))
            return self._books[symbol]
        book = self._books.get(symbol)
        if book is None:
            return None
        audit = self._audits.get(symbol)
        if stream == book.stream:
            faults = book.faults
            changed = book.apply(item)
            if book.faults > faults:
                self._broken(book)
            if audit is not None and changed:
                self._follow(book, audit, item)
        elif audit is not None and isinstance(item, Event) and stream in self._witnesses:
            verdict = audit.hear(item)
            if verdict is not None:
                self._pronounce(book, verdict)
            elif audit.behind_s > BEHIND_S:
                book.doubt(f"no update for {audit.behind_s:.0f} s, and {stream} goes on")
        return book

    def answer(self, snapshot: Event[DepthSnapshot]) -> None:
        """Take a snapshot that the audit of a book expects; one of another stream is ignored."""
        symbol = self._symbols.get(snapshot.stream)
        book = self._books.get(symbol or "")
        if book is None or book.stream != snapshot.stream:
            return  # the book is made of another stream meanwhile
        verdict = self._audits[book.symbol].answer(snapshot)
        if verdict is not None:
            self._pronounce(book, verdict)

    def _follow(self, book: OrderBook, audit: Audit, item: Item) -> None:
        event: Event[Any] | None = item if isinstance(item, Event) else None
        if event is None or not book.intact or event.origin == "snapshot":
            audit.forget()
            return
        for verdict in audit.follow(event):
            self._pronounce(book, verdict)

    def _pronounce(self, book: OrderBook, verdict: Verdict) -> None:
        if not verdict.equal:
            book.doubt(str(verdict))
        self._judge(verdict)
