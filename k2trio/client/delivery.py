"""What lines and repairs bring: decided, counted, and put where the consumer takes it.

Deciding what may be delivered and putting it into the outbox is one synchronous step, so the order
of a stream's messages is the order of the decisions, whichever connection or repair brought them.
"""

from __future__ import annotations

from itertools import groupby
from operator import attrgetter
from typing import TYPE_CHECKING

import trio

from ..continuity.books import BookTrack
from ..continuity.items import VenueChanged
from ..continuity.venues import Venues
from ..market.payloads import Event
from ..observe.losses import told_by
from .agreement import Agreement

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from ..compiled.interface import Run
    from ..continuity.arbiter import Arbiter
    from ..continuity.held import Source, Stray
    from ..continuity.items import Item, Outage
    from ..continuity.positions import Position
    from ..market.units import TimeUnit
    from ..observe.latency import Meter
    from ..observe.metrics import Metrics
    from ..observe.transitions import Observer
    from .outbox import Outbox


class Delivery:
    """The way from a line, or a repair, to the outbox.

    :param gap_opened: called when a message begins to wait behind a gap.
    :param emit: told what is declared missing, and what is repaired.
    :param unit: of the times in the messages.
    :param begun: see :class:`Venues`.
    :param compares: whether lines carry the same streams, so that they can be compared.
    :ivar last_data_at: when the last batch came; None before the first.
    """

    def __init__(
        self,
        arbiter: Arbiter,
        outbox: Outbox,
        metrics: Metrics,
        latency: Meter,
        gap_opened: Callable[[], None],
        emit: Observer,
        unit: TimeUnit,
        begun: Iterable[Position],
        *,
        compares: bool,
    ) -> None:
        self.last_data_at: float | None = None
        self._arbiter = arbiter
        self._outbox = outbox
        self._metrics = metrics
        self._latency = latency
        self._clock = latency.clock
        self._gap_opened = gap_opened
        self._emit = emit
        self._per_second = unit.per_second
        self._agreement = Agreement(unit) if compares else None
        self._venues = Venues(arbiter, begun)
        self._line_keys: dict[tuple[str, str, str], int] = {}
        """(line, venue, stream) → the id that the line has to bring next."""

    def take(
        self,
        source: Source,
        venue: str,
        events: Sequence[Event],
        arrived: float,
        began: float,
        runs: Sequence[Run] = (),
    ) -> None:
        """Take a batch of events of a connection to a venue; never waits.

        :param arrived: when it was read.
        :param began: when decoding it began: later, if it waited for the consumer.
        :param runs: see :meth:`Arbiter.offer`.
        """
        now = self._clock()
        self.last_data_at = now
        items, duplicates = self._arbiter.offer(venue, events, now, source, runs)
        last = events[-1]
        event_time = getattr(last.data, "event_time", None)
        lag_s = last.received - event_time / self._per_second if event_time else None
        self._metrics.received(last.received, lag_s, duplicates)
        self._latency.decoded(now, lag_s, now - began)
        if self._agreement is not None:
            self._compare_lines(self._agreement, source, venue, events, duplicates)
        self._note_doings()
        if self._arbiter.more_told:
            self._arbiter.more_told = False
            self.tell(item for item in items if not isinstance(item, Event))
        if items:
            self._put(items, now - began + arrived)

    def take_again(self, items: Iterable[Event | Outage]) -> None:
        """Take messages once more, in their order, for streams that have begun anew meanwhile.

        :param items: with the outages that were told between them.
        """
        now = self._clock()
        for _, of_venue in groupby(items, key=attrgetter("venue")):
            decided = self._arbiter.offer_again(of_venue, now)
            self._note_doings()
            if decided:
                self.tell(item for item in decided if not isinstance(item, Event))
                self._put(decided, now)

    def _note_doings(self) -> None:
        """Look whether the arbiter has refuted something, or opened a gap."""
        if self._arbiter.strays:
            self._refuse_strays()
        if self._arbiter.gap_opened:
            self._arbiter.gap_opened = False
            self._gap_opened()

    def dismiss(self) -> None:
        """Tell what still waits to be believed, and will not be."""
        self._arbiter.dismiss()
        self._refuse_strays()

    async def publish(self, items: list[Item]) -> None:
        """Hand over what a repair brought; returns when the consumer has room."""
        if items:
            self.tell(items)
            self._put(items, trio.current_time())
        await self.room()

    def tell(self, items: Iterable[Item]) -> None:
        """Tell the observers what is missing among these items, and what was repaired."""
        for transition in told_by(items):
            self._emit(transition)

    def _refuse_strays(self) -> None:
        strays, self._arbiter.strays = self._arbiter.strays, []
        _refuse(strays)

    def told(self, items: list[Item]) -> list[Item]:
        """Tell of items of one stream that are released at the end; returns them for delivery."""
        self.tell(items)
        return self._marked(items) if items else items

    def _marked(self, items: list[Item]) -> list[Item]:
        """The items, of one venue, with changes of venue before them."""
        marked = self._venues.marked(items)
        if len(marked) != len(items):
            changes = [item for item in marked if isinstance(item, VenueChanged)]
            self.tell(changes)
            self._begin_books(changes, items)
        return marked

    def _begin_books(self, changes: Sequence[VenueChanged], items: Sequence[Item]) -> None:
        """Let books that come from another venue have a snapshot, unless it is there already."""
        begun = {
            item.stream for item in items if isinstance(item, Event) and item.origin == "snapshot"
        }
        for change in changes:
            track = self._arbiter.track(change.venue, change.stream)
            if isinstance(track, BookTrack) and change.stream not in begun:
                track.begin_again()
                self._gap_opened()

    def _put(self, items: list[Item], since: float) -> None:
        if items[0].venue != self._venues.only:
            items = self._marked(items)
        if lost := self._outbox.put(items, since):
            self.tell(lost)

    async def room(self) -> None:
        """Return when the consumer has room for more."""
        if self._outbox.full:
            blocked_at = trio.current_time()
            await self._outbox.room()
            self._metrics.consumer_blocked(trio.current_time() - blocked_at)
        else:
            await trio.lowlevel.checkpoint()

    def _compare_lines(
        self,
        agreement: Agreement,
        source: Source,
        venue: str,
        events: Sequence[Event],
        duplicates: int,
    ) -> None:
        """Which line is ahead, what each one lost, and whether they say the same."""
        line = source.line
        self._metrics.line_delivered(line, len(events) - duplicates, duplicates)
        for event in events:
            track = self._arbiter.track(venue, event.stream)
            if track.contiguous:
                key = (line, venue, event.stream)
                first = track.first_of(event.data)
                expected = self._line_keys.get(key, first)
                if first > expected:
                    self._metrics.line_lost(line, first - expected)
                self._line_keys[key] = max(expected, track.last_of(event.data) + 1)
                stray = agreement.compare(track.stream.kind, event, source)
                if stray is not None:
                    _refuse([stray])


def _refuse(strays: Sequence[Stray]) -> None:
    """Tell each connection what it brought that belongs nowhere."""
    for stray in strays:
        if stray.source is not None:
            stray.source.refuse(stray)
