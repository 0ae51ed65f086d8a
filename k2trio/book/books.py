"""The books of all symbols of a feed, each audited by whatever else the feed says of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..market.payloads import DepthSnapshot, Event
from ..market.streams import BOOK_KINDS, Kind, parse_stream
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
    is compared with the book, wherever it speaks of the same update.

    Pure; :func:`k2trio.books` puts it behind a feed.

    :param streams: names of the streams that will come. Others may join them, and then make a new
        book where they say more of it.
    :param judge: called with what each comparison showed.
    :param broken: called with a book that a message has broken which makes none.
    :param depth: whether snapshots come; without them no book is made of diff depth.
    """

    def __init__(
        self,
        streams: Iterable[str],
        judge: Callable[[Verdict], None] = lambda _: None,
        broken: Callable[[OrderBook], None] = lambda _: None,
        *,
        depth: bool = True,
    ) -> None:
        self._depth = depth
        self._judge = judge
        self._broken = broken
        self._books: dict[str, OrderBook] = {}
        self._ranks: dict[str, tuple[int, int]] = {}
        self._audits: dict[str, Audit] = {}
        self._symbols: dict[str, str] = {}
        """Streams of symbols that have a book → symbol, as far as they are known."""
        self._coming: dict[str, OrderBook] = {}
        """Books of streams that say more than those kept; each is kept as soon as it is live."""
        self._known: set[str] = set()
        self._witnesses: set[str] = set()
        for stream in sorted(map(parse_stream, streams), key=_rank, reverse=True):
            self._add(stream)

    def _add(self, stream: Stream) -> None:
        """Get to know a stream; it makes a book if it says more than those before."""
        self._known.add(stream.name)
        symbol, rank = stream.symbol, _rank(stream)
        if symbol is None:
            return
        self._symbols[stream.name] = symbol
        if stream.kind not in BOOK_KINDS or (stream.kind is Kind.DEPTH and not self._depth):
            return
        if symbol in self._books and self._ranks[symbol] >= rank:
            if stream.kind is not Kind.DEPTH:
                self._witnesses.add(stream.name)
        elif symbol in self._books:
            self._coming[stream.name] = OrderBook(stream.name)
        else:
            self._keep(OrderBook(stream.name), stream)

    def _keep(self, book: OrderBook, stream: Stream) -> None:
        """Have this book of a symbol, and the one before as a witness."""
        before = self._books.get(book.symbol)
        if before is not None:
            self._witnesses.add(before.stream)
        self._books[book.symbol] = book
        self._ranks[book.symbol] = _rank(stream)
        if stream.kind is Kind.DEPTH:
            self._audits[book.symbol] = Audit(book)

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

    def audit(self, symbol: str) -> Audit | None:
        """The audit of a book that is made of diff depth; None for others."""
        return self._audits.get(symbol.upper())

    def apply(self, item: Item) -> OrderBook | None:
        """Take what a feed delivered.

        :returns: the book of its symbol, whether it has changed or not; None if there is none.
        """
        if item.stream not in self._known:
            self._add(parse_stream(item.stream))
        coming = self._coming.get(item.stream)
        if coming is not None:
            coming.apply(item)
            if coming.state is BookState.LIVE:
                self._keep(self._coming.pop(item.stream), parse_stream(item.stream))
            return self._books[coming.symbol]
        book = self._books.get(self._symbols.get(item.stream, ""))
        if book is None:
            return None
        audit = self._audits.get(book.symbol)
        if item.stream == book.stream:
            faults = book.faults
            changed = book.apply(item)
            if book.faults > faults:
                self._broken(book)
            if audit is not None and changed:
                self._follow(book, audit, item)
        elif audit is not None and isinstance(item, Event) and item.stream in self._witnesses:
            verdict = audit.hear(item)
            if verdict is not None:
                self._pronounce(book, verdict)
            elif audit.behind_s > BEHIND_S:
                book.doubt(f"no update for {audit.behind_s:.0f} s, and {item.stream} goes on")
        return book

    def answer(self, snapshot: Event[DepthSnapshot]) -> None:
        """Take a snapshot that the audit of a book expects."""
        symbol = self._symbols[snapshot.stream]
        verdict = self._audits[symbol].answer(snapshot)
        if verdict is not None:
            self._pronounce(self._books[symbol], verdict)

    def _follow(self, book: OrderBook, audit: Audit, item: Item) -> None:
        event: Event[Any] | None = item if isinstance(item, Event) else None
        if event is None or book.state is not BookState.LIVE or event.origin == "snapshot":
            audit.forget()
            return
        for verdict in audit.follow(event):
            self._pronounce(book, verdict)

    def _pronounce(self, book: OrderBook, verdict: Verdict) -> None:
        if not verdict.equal:
            book.doubt(str(verdict))
        self._judge(verdict)
