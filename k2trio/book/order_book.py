"""The order book of one symbol, kept from what a feed delivers.

=============  ===================================================================================
what comes     what the book does with it
=============  ===================================================================================
depth update   it goes on if ``U`` (of futures ``pu`` + 1) ≤ own id + 1 ≤ ``u``; an older one is
               ignored; a later one leaves the book unproven
snapshot       replaces everything, at once: nobody sees an empty book between
partial depth  the same, at each message
book ticker    the same, with one level a side
gap            the book is unproven until a snapshot comes
change of      the same: the levels are another exchange's
venue
=============  ===================================================================================

While updates are missing the last good levels stay as they were; later updates would make neither
the book of then nor that of now of them.

Items tell whether a book is right as of its last update, and nothing else: a stream that has fallen
silent, and one that nobody brings any more, look the same from here. Whoever knows more than items
gives the book ``doubts`` to ask; :func:`k2trio.books` does.

Source: Binance spot API docs, "How to manage a local order book correctly", "WebSocket Streams".
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Any, TypeAlias

from ..continuity.items import Gap, Outage
from ..errors import BookFault, ConfigError
from ..market.payloads import BookTicker, Depth, DepthSnapshot, Event, Level, PartialDepth
from ..market.streams import BOOK_KINDS, any_stream
from . import measures
from .ladder import UnusualLevel, cross, purely, side_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from decimal import Decimal

    from ..continuity.items import Item
    from .measures import Fill

BookData: TypeAlias = Depth | PartialDepth | BookTicker
"""The payloads that a book is made of."""


class BookState(enum.StrEnum):
    """Whether a book can be relied on."""

    EMPTY = "empty"
    """Nothing has come that it could begin with."""
    LIVE = "live"
    """It is the exchange's own book, as of ``last_update_id`` and as deep as it is known; and
    nothing says that there may be later updates which it cannot get."""
    UNPROVEN = "unproven"
    """Something is missing, or may be; the levels are the last good ones."""


class OrderBook:
    """The book of one symbol, made of one stream: diff depth, partial depth or book ticker.

    Pure: it waits for nothing, and asks nobody. Feed it :meth:`apply` with the items of a feed, in
    their order; those of other streams are ignored.

    Levels are :class:`~k2trio.Level` as the exchange wrote them. What is computed is exact
    :class:`~decimal.Decimal`; only quotients (``microprice``, ``imbalance``, averages) have no more
    digits than the current decimal context, 28 by default.

    :param stream: e.g. ``"btcusdt@depth@100ms"``, ``"btcusdt@depth20"``, ``"btcusdt@bookTicker"``.
    :param doubts: asked whenever the state is looked at, unless something is missing anyway: why
        there may be updates that the book does not get, or None.
    :raises ConfigError: for a stream that no book can be made of.

    :ivar stream: its name.
    :ivar symbol: in upper case.
    :ivar venue: the exchange whose book it is; None as long as nothing has come.
    :ivar last_update_id: up to which of the exchange's updates it is complete.
    :ivar event_time: when the exchange made the last message that it took, in the feed's time unit;
        None where the message carries no time.
    :ivar received: Unix time in seconds at which that was received.
    :ivar faults: how often what came was crossed, negative or no number.
    """

    def __init__(
        self, stream: str, doubts: Callable[[OrderBook], str | None] = lambda _: None
    ) -> None:
        parsed = any_stream(stream)
        if parsed.kind not in BOOK_KINDS or parsed.symbol is None:
            raise ConfigError(f"{stream} carries no book; depth, depth5/10/20 and bookTicker do")
        self.stream: str = parsed.name
        self.symbol: str = parsed.symbol
        self._levels = parsed.levels
        self.venue: str | None = None
        self.last_update_id: int | None = None
        self.event_time: int | None = None
        self.received: float | None = None
        self.faults: int = 0
        self._bids, self._asks = side_of(+1), side_of(-1)
        self._doubts = doubts
        self._fault: str | None = None
        """What is missing; None if nothing is."""

    def __repr__(self) -> str:
        return (
            f"<OrderBook {self.stream} {self.state} at {self.last_update_id}, "
            f"{len(self._bids)} bids, {len(self._asks)} asks>"
        )

    # -- what it is made of ---------------------------------------------------------------------

    def apply(self, item: Item) -> bool:
        """Take what a feed delivered.

        :returns: whether the levels or the state may have changed.
        """
        if item.stream != self.stream:
            return False
        if isinstance(item, Event):
            return self._take(item)
        if isinstance(item, Outage):
            # Ids prove an update to be the next one; full images need none before them.
            return False
        if isinstance(item, Gap):
            if self.venue not in (None, item.venue):
                return False  # of a book that was left
            return self.doubt(f"updates {item.first} to {item.last} are missing: {item.reason}")
        return self.doubt(f"the stream goes on from {item.venue}")

    def _take(self, event: Event[Any]) -> bool:
        data = event.data
        try:
            if isinstance(data, Depth):
                if not self._update(data):
                    return False
                self.event_time = data.event_time
            elif isinstance(data, PartialDepth):
                if self._is_behind(event, data):
                    return False
                asked = data.asked if isinstance(data, DepthSnapshot) else self._levels
                self._replace(data.bids, data.asks, data.last_update_id, asked)
                self.event_time = getattr(data, "event_time", None)  # those of futures tell one
            elif isinstance(data, BookTicker):
                bid, ask = Level(data.bid, data.bid_quantity), Level(data.ask, data.ask_quantity)
                self._replace([bid], [ask], data.update_id, 1)
                self.event_time = getattr(data, "event_time", None)  # those of futures tell one
            else:
                return False
        except BookFault as fault:
            self.faults += 1
            self.doubt(str(fault))
            return True
        self.venue, self.received = event.venue, event.received
        return True

    def _update(self, data: Depth) -> bool:
        """Go on with an update, if it is the next one."""
        last = self.last_update_id
        if last is None or self._fault is not None or data.last_update_id <= last:
            return False
        if data.covers_from > last + 1:
            return self.doubt(f"updates {last + 1} to {data.covers_from - 1} are missing")
        bids, asks = self._bids, self._asks
        try:
            bids.update(data.bids)
            asks.update(data.asks)
        except UnusualLevel:
            bids, asks = self._bids, self._asks = purely(bids), purely(asks)
            bids.update(data.bids)  # what was made of it already is made again
            asks.update(data.asks)
        if cross(bids, asks):
            raise BookFault(f"crossed by update {data.last_update_id}")
        self.last_update_id = data.last_update_id
        if bids.exhausted or asks.exhausted:
            self.doubt("the price has left the depth that is known")
        return True

    def _is_behind(self, event: Event[Any], data: PartialDepth) -> bool:
        """Whether a snapshot is older than the book. Where ids begin anew, a gap says so first."""
        if not isinstance(data, DepthSnapshot) or not self.intact:
            return False
        last = -1 if self.last_update_id is None else self.last_update_id
        return event.venue == self.venue and data.last_update_id < last

    def _replace(
        self,
        bids: Sequence[Level],
        asks: Sequence[Level],
        last_update_id: int,
        asked: int | None,
    ) -> None:
        """Become another book at once; ``asked`` is where its sides are cut, if that is known."""
        new_bids, new_asks = side_of(+1), side_of(-1)
        try:
            new_bids.update(bids)
            new_asks.update(asks)
        except UnusualLevel:
            new_bids, new_asks = purely(new_bids), purely(new_asks)
            new_bids.update(bids)
            new_asks.update(asks)
        if cross(new_bids, new_asks):
            raise BookFault(f"crossed at {last_update_id}")
        # Both sides are cut at the same number of levels: one that has fewer is whole.
        cut = max(len(bids), len(asks)) if asked is None else asked
        if len(bids) >= cut:
            new_bids.limit()
        if len(asks) >= cut:
            new_asks.limit()
        self._bids, self._asks = new_bids, new_asks
        self.last_update_id = last_update_id
        self._fault = None

    def doubt(self, problem: str) -> bool:
        """Be unproven until it begins anew, unless nothing is there that could be doubted."""
        if self.last_update_id is None:
            return False
        if self._fault is None:
            self._fault = problem
        return True

    # -- what it says ---------------------------------------------------------------------------

    @property
    def state(self) -> BookState:
        """Whether it can be relied on, now."""
        if self.last_update_id is None:
            return BookState.EMPTY
        return BookState.LIVE if self.problem is None else BookState.UNPROVEN

    @property
    def problem(self) -> str | None:
        """Why it is unproven, now; None while it is not."""
        if self._fault is not None or self.last_update_id is None:
            return self._fault
        return self._doubts(self)

    @property
    def intact(self) -> bool:
        """Whether it is the exchange's own book as of ``last_update_id``, whatever came since.

        Then the next update continues it, though it may be unproven until that has come.
        """
        return self.last_update_id is not None and self._fault is None

    @property
    def best_bid(self) -> Level | None:
        """The highest bid."""
        return self._bids.best

    @property
    def best_ask(self) -> Level | None:
        """The lowest ask."""
        return self._asks.best

    def bids(self, levels: int | None = None) -> list[Level]:
        """The best bids, the best first; all that are held if no number is given."""
        return list(self._bids) if levels is None else self._bids.top(levels)

    def asks(self, levels: int | None = None) -> list[Level]:
        """The best asks, the best first; all that are held if no number is given."""
        return list(self._asks) if levels is None else self._asks.top(levels)

    @property
    def known_bids(self) -> int:
        """How many of the best bids are all that there are down to the last of them.

        What lies beyond the depth of the snapshot is unknown until it changes; so behind these
        there may be others than the book has.
        """
        return self._bids.known

    @property
    def known_asks(self) -> int:
        """The same of the asks."""
        return self._asks.known

    @property
    def whole(self) -> bool:
        """Whether the book has every level that the exchange has."""
        return self._bids.whole and self._asks.whole

    def quantity_at(self, price: str) -> Decimal:
        """What is bid or asked at a price; zero where the book has no such level.

        :raises ValueError: for what is no price.
        """
        try:
            level = self._bids.at(price) or self._asks.at(price)
        except BookFault:
            raise ValueError(f"{price!r} is no price; write it like '65000.10'") from None
        return measures.quantity_of([] if level is None else [level])

    @property
    def spread(self) -> Decimal | None:
        """Best ask less best bid; None while one of them is missing."""
        bid, ask = self.best_bid, self.best_ask
        return None if bid is None or ask is None else measures.spread(bid, ask)

    @property
    def mid(self) -> Decimal | None:
        """Halfway between best bid and best ask; None while one of them is missing."""
        bid, ask = self.best_bid, self.best_ask
        return None if bid is None or ask is None else measures.mid(bid, ask)

    @property
    def microprice(self) -> Decimal | None:
        """The mid weighted by the quantity on the other side; None while a side is empty."""
        bid, ask = self.best_bid, self.best_ask
        return None if bid is None or ask is None else measures.microprice(bid, ask)

    def imbalance(self, levels: int = 1) -> Decimal | None:
        """(bids - asks) / (bids + asks) by the quantity of the best levels, from -1 to 1.

        Of a side that is known less deep, by what is known of it; see :attr:`known_bids`.
        """
        return measures.imbalance(
            self.bids(min(levels, self.known_bids)), self.asks(min(levels, self.known_asks))
        )

    def depth_within(self, distance: Decimal) -> tuple[Decimal, Decimal] | None:
        """What is bid and what is asked within a distance from the mid, that included.

        :param distance: in the quote asset, e.g. ``book.mid * Decimal("0.001")`` for 10 basis
            points.
        :returns: quantities in the base asset; None while there is no mid. Levels that are not
            known for certain are left out; see :meth:`covers`.
        """
        mid = self.mid
        if mid is None:
            return None
        bids = self._bids.reaching(measures.EXACT.subtract(mid, distance))
        asks = self._asks.reaching(measures.EXACT.add(mid, distance))
        return (
            measures.quantity_of(bids[: self.known_bids]),
            measures.quantity_of(asks[: self.known_asks]),
        )

    def covers(self, distance: Decimal) -> bool:
        """Whether all levels are known within a distance from the mid; False while there is none.

        :param distance: in the quote asset.
        """
        mid = self.mid
        if mid is None:
            return False
        return self._bids.covers(measures.EXACT.subtract(mid, distance)) and self._asks.covers(
            measures.EXACT.add(mid, distance)
        )

    def buy(self, quantity: Decimal) -> Fill:
        """What buying that much at once would take from the asks that are known."""
        return measures.fill(self.asks(self.known_asks), quantity)

    def sell(self, quantity: Decimal) -> Fill:
        """What selling that much at once would take from the bids that are known."""
        return measures.fill(self.bids(self.known_bids), quantity)
