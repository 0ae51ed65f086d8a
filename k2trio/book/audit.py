"""Whether a book is what the exchange says that it is, wherever both speak of the same update.

Three witnesses: the book ticker, whose best bid and ask hold at its update id; partial depth, whose
levels do; and a second snapshot, which with the updates after it must give the very same book.

Pure: a witness is heard when the caller has one.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from ..market.payloads import BookTicker, DepthSnapshot, Event, Level, PartialDepth
from .order_book import OrderBook

if TYPE_CHECKING:
    from collections.abc import Sequence

Witness: TypeAlias = Literal["ticker", "partial", "snapshot"]

MAX_WAITING = 256
"""Book tickers and partial depths that wait for the book to reach their update; the oldest go."""
MAX_REPLAYED = 1_000
"""Updates that are kept for a snapshot that is under way; if more come, it is not compared."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a comparison at one update showed.

    :ivar equal: whether the book is right, as far as the witness knows.
    :ivar ours: where they differ first, the level of the book; None where it has none.
    :ivar theirs: the level of the witness there.
    """

    stream: str
    witness: Witness
    update_id: int
    equal: bool
    ours: Level | None = None
    theirs: Level | None = None

    def __str__(self) -> str:
        where = f"{self.stream} at update {self.update_id}"
        if self.equal:
            return f"{where}: as the {self.witness} says"
        return f"{where}: the book has {_text(self.ours)}, the {self.witness} {_text(self.theirs)}"


def _text(level: Level | None) -> str:
    return "nothing" if level is None else f"{level.quantity} at {level.price}"


class Audit:
    """Compares one book with what else is heard of it.

    :param book: made of diff depth.
    """

    def __init__(self, book: OrderBook) -> None:
        self._book = book
        self._waiting: deque[Event[Any]] = deque(maxlen=MAX_WAITING)
        self._expected_from: int | None = None
        self._updates: list[Event[Any]] = []
        self._shadow: OrderBook | None = None
        self._ahead_since = 0.0

    @property
    def behind_s(self) -> float:
        """For how long (s, by receive times) others have spoken of updates that the book lacks."""
        return self._waiting[-1].received - self._ahead_since if self._waiting else 0.0

    def hear(self, event: Event[Any]) -> Verdict | None:
        """Take a book ticker or a partial depth of the symbol.

        :returns: what the comparison showed; None if the book is not there, or not any more.
        """
        last = self._book.last_update_id
        if not self._book.intact or last is None:
            return None
        if event.venue != self._book.venue or _id_of(event) < last:
            return None
        if _id_of(event) > last:
            if not self._waiting:
                self._ahead_since = event.received
            self._waiting.append(event)
            return None
        return self._compare(event)

    def expect(self) -> None:
        """A snapshot is going to be asked for; what comes until it is there is kept."""
        self._expected_from, self._shadow = self._book.last_update_id, None
        self._updates.clear()

    def answer(self, snapshot: Event[DepthSnapshot]) -> Verdict | None:
        """Take the snapshot that was expected.

        :returns: what the comparison showed; None if that will be known only when the book is
            there, or never, because the snapshot is too old or came too late.
        """
        since, self._expected_from = self._expected_from, None
        if since is None or snapshot.data.last_update_id < since:
            return None
        shadow = OrderBook(self._book.stream)
        for event in (snapshot, *self._updates):
            shadow.apply(event)
        self._updates.clear()
        self._shadow = shadow
        return self._compare_shadow()

    def follow(self, update: Event[Any]) -> list[Verdict]:
        """Take an update that the book has taken; what waited for it is compared."""
        book, verdicts = self._book, list[Verdict]()
        last = book.last_update_id
        if not book.intact or last is None:
            self.forget()
            return verdicts
        if self._expected_from is not None:
            if len(self._updates) < MAX_REPLAYED:
                self._updates.append(update)
            else:
                self.forget()
        while self._waiting and _id_of(self._waiting[0]) <= last:
            event = self._waiting.popleft()
            if _id_of(event) == last:
                verdicts.append(self._compare(event))
        if self._waiting:
            self._ahead_since = self._waiting[0].received
        if self._shadow is not None:
            self._shadow.apply(update)
            verdict = self._compare_shadow()
            verdicts += [] if verdict is None else [verdict]
        return verdicts

    def forget(self) -> None:
        """The book has begun anew, or is in doubt: nothing that was said of it before counts."""
        self._waiting.clear()
        self._updates.clear()
        self._expected_from = self._shadow = None

    def _compare(self, event: Event[Any]) -> Verdict:
        data, book = event.data, self._book
        if isinstance(data, BookTicker):
            bids, asks = _side(data.bid, data.bid_quantity), _side(data.ask, data.ask_quantity)
            return self._verdict("ticker", book.bids(1), book.asks(1), bids, asks)
        depth = max(len(data.bids), len(data.asks))
        of_bids, of_asks = min(depth, book.known_bids), min(depth, book.known_asks)
        return self._verdict(
            "partial",
            book.bids(of_bids),
            book.asks(of_asks),
            data.bids[:of_bids],
            data.asks[:of_asks],
        )

    def _compare_shadow(self) -> Verdict | None:
        shadow, book = self._shadow, self._book
        if shadow is None or shadow.last_update_id != book.last_update_id:
            return None
        self._shadow = None
        if not shadow.intact:
            return None
        bids = min(shadow.known_bids, book.known_bids)
        asks = min(shadow.known_asks, book.known_asks)
        return self._verdict(
            "snapshot", book.bids(bids), book.asks(asks), shadow.bids(bids), shadow.asks(asks)
        )

    def _verdict(
        self,
        witness: Witness,
        bids: Sequence[Level],
        asks: Sequence[Level],
        their_bids: Sequence[Level],
        their_asks: Sequence[Level],
    ) -> Verdict:
        stream, update_id = self._book.stream, self._book.last_update_id or 0
        for ours, theirs in ((bids, their_bids), (asks, their_asks)):
            if ours != theirs:
                for n in range(max(len(ours), len(theirs))):
                    our, their = (side[n] if n < len(side) else None for side in (ours, theirs))
                    if not _same(our, their):
                        return Verdict(stream, witness, update_id, False, our, their)
        return Verdict(stream, witness, update_id, True)


def _id_of(event: Event[Any]) -> int:
    data: BookTicker | PartialDepth = event.data
    return data.update_id if isinstance(data, BookTicker) else data.last_update_id


def _side(price: str, quantity: str) -> list[Level]:
    """One side of a book ticker; an empty one has quantity zero."""
    return [Level(price, quantity)] if Decimal(quantity) else []


def _same(one: Level | None, other: Level | None) -> bool:
    """Whether two levels are the same, however they are written."""
    if one is None or other is None:
        return one is other
    return Decimal(one.price) == Decimal(other.price) and Decimal(one.quantity) == Decimal(
        other.quantity
    )
