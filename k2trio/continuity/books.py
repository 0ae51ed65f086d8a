"""Books: depth updates cannot be fetched again, but a snapshot can stand for lost ones.

A book begins with a snapshot, if the feed asks for such; and where updates are lost, one stands for
them. It goes between two updates, of which the later one joins it.

Source: Binance spot API docs, "How to manage a local order book correctly".
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .renumbering import Place
from .track import Track

if TYPE_CHECKING:
    from ..market.payloads import DepthSnapshot, Event
    from ..market.streams import Stream
    from .held import Held
    from .items import Gap, GapReason, Item, Outage
    from .numbering import Shared


class BookTrack(Track):
    """The updates of a book.

    A gap that is declared without a snapshot leaves whoever keeps the book without one. So a
    snapshot is *wanted*, and put in later, as it is at the beginning. For that the stream is
    *paused*, that is, held back though nothing is missing: those that the snapshot contains go
    before it, and the others after. If it is ahead of what has come, it waits for them.

    While the stream is *quiet* there is nothing to wait for: then a snapshot goes where it is, with
    what it contains declared if something had come before; and what comes goes on from it.

    :ivar quiet_since: when the stream was last found to be quiet; None if it was not since it was
        interrupted.
    """

    # What a base declares is declared again where it is set, for ``pyright --verifytypes``.
    next: int | None
    first: int | None
    paused: bool
    wants_snapshot: bool
    unheard_at: int | None
    delivered_at: float | None

    __slots__ = ("_ahead", "_begins", "_contained", "_quiet_at", "quiet_since")

    def __init__(self, venue: str, stream: Stream, shared: Shared) -> None:
        super().__init__(venue, stream, shared)
        self._ahead: Event[DepthSnapshot] | None = None
        """A snapshot that waits for the updates which it contains."""
        self._begins = shared.snapshots
        self._contained = (0, -1, 0.0)
        """The ids that the last snapshot stands for, of updates that had not come; and when it was
        received."""
        self.quiet_since: float | None = None
        self._quiet_at = 0
        """How many messages had come by then."""
        if self._begins:
            self.wants_snapshot = True
            self.pause()

    def begin_again(self) -> bool:
        """Want a snapshot: whoever keeps a book has none of this venue, or a wrong one.

        :returns: False if one is wanted already, or none are.
        """
        if self.wants_snapshot or not self._begins:
            return False
        self.wants_snapshot = True
        return True

    @property
    def quiet(self) -> bool:
        """Whether nothing has come since the stream was found to be quiet."""
        return self.quiet_since is not None and self._quiet_at == self.received

    def fall_quiet(self, now: float, quiet_s: float) -> bool:
        """Be quiet, if nothing has come for a while and only a snapshot can tell what is missing.

        To be called while a connection carries the stream, and has for so long.

        :returns: whether that is news.
        """
        told = self.quiet or self.held or now - self.seen_at < quiet_s
        if told or not self._begins or not (self.wants_snapshot or self.unheard):
            return False
        self.quiet_since, self._quiet_at = now, self.received
        return True

    def interrupt(self) -> None:
        """No connection carries the stream any more."""
        super().interrupt()
        self.quiet_since = None

    @property
    def wanting(self) -> bool:
        """Whether something is missing, or may be and a snapshot tells."""
        return super().wanting or (self.unheard and self.quiet)

    @property
    def asks(self) -> bool:
        """Whether a snapshot is wanted that nobody has brought yet."""
        return self.wanting and self._ahead is None

    @property
    def newest(self) -> int:
        """The last update that came, be it held or delivered."""
        if self.held:
            return self.held[-1].last
        return -1 if self.next is None else self.next - 1

    def _take(self, held: Held, out: list[Item]) -> None:
        if self.paused and self.next is None:
            self.next = held.first
        if self.paused and self.next is not None and held.first <= self.next <= held.last:
            self._hold(held, out)
        else:
            super()._take(held, out)

    def pause(self) -> None:
        """Hold what comes from here on, until a snapshot or :meth:`proceed`."""
        self.paused = True
        self._set_flow()

    def proceed(self, out: list[Item]) -> None:
        """Go on after :meth:`pause`."""
        self._ahead = None
        if self.paused:
            self.paused = False
            self._set_flow()
            if self.held:
                self._release(out)

    def joins(self, last: int) -> bool:
        """Whether a snapshot with updates up to ``last`` has what is missing, and what comes next
        continues it.
        """
        if self.next is None:
            return self.quiet
        if not self.wanting:
            return False
        gap = self.gap
        return last >= (self.next - 1 if gap is None else gap[1])

    def snapshot(self, event: Event[DepthSnapshot], out: list[Item]) -> bool:
        """Take a snapshot for what is missing; False if it is too old to be joined."""
        last = event.data.last_update_id
        if not self.joins(last):
            return False
        if self.gap is None and self.paused and not self.quiet:
            self._ahead = event
            self._put_in(event, out)
            return True
        if self.next is None:
            self.next = self.first = last + 1
            self._contained = 0, last, event.received
            out.append(event)
        elif last < self.next:
            out.append(event)
        else:
            self._contained = self.next, last, event.received
            self.declare(last, "snapshot", out, then=event)
        if self.quiet:
            self.quiet_since = None
            if self.unheard:
                self.unheard_at = None  # nothing was missed
            self.delivered_at = self.delivered_at or event.received
        self.wants_snapshot = False
        self.proceed(out)
        return True

    def _place_old(self, event: Event, due: int, last: int, now: float) -> Place:
        """Whether a key that has passed is a copy's; or it was on its way when the snapshot was
        made that is the last thing delivered, and came too late.
        """
        first, end, received = self._contained
        if first <= last <= end == due - 1 and not self._was_made_after(received, event, now):
            self._doubtful_at = due
            return Place.COPY
        return super()._place_old(event, due, last, now)

    def _was_made_after(self, received: float, event: Event, now: float) -> bool:
        """Whether an update is newer than a snapshot that was received then: no snapshot contains
        such. The exchange's clock and ours may differ, so one alone does not tell.
        """
        time = self.time_known(event)
        newer = time is None or time > received * self._per_second + self._skew
        return newer and self._starves(now)

    def _put_in(self, event: Event[DepthSnapshot], out: list[Item]) -> None:
        """Deliver the updates that a snapshot contains; then itself, once all of them have come."""
        last, contained = event.data.last_update_id, 0
        for held in self.held:
            if held.last > last or held.first > (self.next or 0):
                break
            contained += 1
            if self._is_new(held):
                self._deliver(held.event, held.first, held.last, out)
            else:
                self._drop(held)
        self.held.drop(contained)
        gap = self.gap
        if gap is not None:
            self._ahead = None  # updates are missing, and are asked for as ever
        elif self.held or self.next == last + 1:
            self.wants_snapshot = False
            out.append(event)
            self.proceed(out)

    def declare(
        self, last: int, reason: GapReason, out: list[Item], *, then: Event | None = None
    ) -> None:
        """Declare the ids from ``next`` to ``last`` as missing; ``then`` is delivered after it."""
        if self.next is not None and last >= self.next:
            self.paused, self.wants_snapshot, self._ahead = False, True, None
            self._set_flow()
        super().declare(last, reason, out, then=then)

    def abandon(self, reason: GapReason, out: list[Item]) -> None:
        """Give up the open gap, or the wait for a snapshot, and deliver what was held."""
        if self.gap is None:
            self.proceed(out)
        else:
            super().abandon(reason, out)

    def lose(self, event: Event, reason: GapReason = "overflow") -> Gap | Outage:
        """An event that had been decided on does not reach the consumer after all."""
        self.wants_snapshot = True
        return super().lose(event, reason)

    def _begin_anew(self, held: Held, out: list[Item]) -> None:
        super()._begin_anew(held, out)
        self.wants_snapshot = True

    def _hold(self, held: Held, out: list[Item]) -> None:
        super()._hold(held, out)
        if self._ahead is not None:
            self._put_in(self._ahead, out)
        if self.paused and self.held.too_many:
            self.proceed(out)
