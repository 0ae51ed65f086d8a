"""The order of one stream of one venue: what has been delivered, and what is held behind a gap.

Pure: no I/O, and time comes in as an argument. A message beyond a gap is *held*, and with it every
later one of that stream. The gap is then closed in one of three ways: another connection brings
what is missing, a repair does, or what is missing is declared as a :class:`Gap` in its place.

Streams whose keys only grow can prove no gap. What may be missing there is declared as a time
range, an :class:`Outage`, whenever no connection carried the stream for a while.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from typing import TYPE_CHECKING, Any

from .held import Held, refuted
from .items import Gap, GapReason, Item, Outage
from .judging import Judging
from .ledger import Coverage, Ledger

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..market.payloads import Event
    from ..market.streams import Repair, Stream
    from .numbering import Shared


class Track(Judging):
    """What has been delivered of one stream of one venue, and what is held.

    :ivar wants_snapshot: a gap of a book was declared, and no snapshot has followed yet.
    :ivar unheard_at: what was to come next when the last connection that carried it ended, or None.
    """

    __slots__ = (
        "_away_since",
        "_cut",
        "_resume_limit",
        "began_at",
        "first",
        "ledger",
        "outages",
        "repair_kind",
        "stream",
        "unheard_at",
        "venue",
        "wants_snapshot",
    )

    # What a base declares is declared again where it is set, for ``pyright --verifytypes``.
    next: int | None
    duplicates: int
    interrupted: bool
    delivered_at: float | None
    delivered_time: int | None
    said: Any

    def __init__(self, venue: str, stream: Stream, shared: Shared) -> None:
        super().__init__(stream, shared)
        self.venue: str = venue
        self.stream: Stream = stream
        self.first: int | None = None
        self.began_at: float = -math.inf
        self.ledger: Ledger = Ledger()
        self.outages: int = 0
        self.wants_snapshot: bool = False
        self.repair_kind: Repair = stream.order.repair
        self._resume_limit: int | None = None
        self._cut: Sequence[Event] = ()
        """Of what waited when no connection carried the stream any more, the last messages."""
        self._away_since: float | None = None
        """Since when ids may have come and gone: when what it goes on after was received."""
        self.unheard_at: int | None = None

    def __repr__(self) -> str:
        return f"<Track {self.venue} {self.stream.name} next={self.next} held={len(self.held)}>"

    @property
    def due(self) -> int | None:
        """What a gap begins with: the id that comes next."""
        return self.next

    @property
    def gap(self) -> tuple[int, int] | None:
        """First and last of what is missing before the held messages, or None."""
        due = self.due
        if not self.held or due is None or self.held[0].first <= due:
            return None
        return due, self.held[0].first - 1

    @property
    def held_behind(self) -> int:
        """How many ids, or bars, lie from the open gap to the last message held; 0 if none is."""
        due = self.due
        return 0 if not self.held or due is None else self._width((due, self.held[-1].first))

    @property
    def opened_at(self) -> float:
        """Since when messages are held."""
        return self.held[0].since

    @property
    def wanting(self) -> bool:
        """Whether something is missing: messages, or a snapshot in their place."""
        return self.wants_snapshot or self.gap is not None

    @property
    def unheard(self) -> bool:
        """Whether no connection carried the stream for a while since what came last."""
        if not self.contiguous:
            return self.interrupted
        return self.next is not None and self.unheard_at == self.next

    def missing_until(self, until: int) -> int:
        """The end of the last gap that begins at ``until`` or before; held messages part gaps."""
        end, due = -1, self.due
        if due is None:
            return end
        for held in self.held:
            if due > until:
                break
            if held.first > due:
                end = held.first - 1
            due = max(due, self._due_after(held))
        return end

    @property
    def position(self) -> int | None:
        """The last id that was delivered or declared; what :meth:`resume` takes."""
        return None if self.next is None else self.next - 1

    def resume(
        self,
        position: int,
        limit: int,
        time: int | None = None,
        received: float | None = None,
        trade: int | None = None,
    ) -> None:
        """Begin after what an earlier run delivered, going back ``limit`` ids at most.

        For the other arguments see :class:`Position`.
        """
        self.next = self.first = position + 1
        self.delivered_time = time
        self._was_away(received)
        self._resume_by(limit)

    def _was_away(self, received: float | None) -> None:
        """What came since then of a kind that proves nothing is an outage; of one with ids it may
        have been of a new numbering.
        """
        if self.contiguous:
            self._away_since, self._doubtful_at = received, self.next
        elif received is not None:
            self.delivered_at, self.interrupted = received, True

    def forget(self) -> None:
        """Let go of all that waits: from now on another track is of the stream."""
        self.dismiss()
        self.strays.clear()
        self.held.drop(len(self.held))
        self.wants_snapshot = False

    def _resume_by(self, limit: int) -> None:
        self._resume_limit = limit
        self._max_gap = max(self.leap, limit)  # what a restart may go back is no jump

    def _take(self, held: Held, out: list[Item]) -> None:
        """Deliver a message if it is the next one; hold it if it lies beyond a gap."""
        if self.next is not None and not self._is_new(held):
            self._drop(held)
        elif self.next is None or held.first <= self.next or not self.contiguous:
            self._deliver(held.event, held.first, held.last, out)
            if self.held:
                self._release(out)
        else:
            self._hold(held, out)

    def _is_new(self, held: Held) -> bool:
        """Whether some of the message has not been delivered yet."""
        return self.next is None or held.last >= self.next

    def _begin_anew(self, held: Held, out: list[Item]) -> None:
        """The venue numbers anew. Nothing between can be named, so the change itself is."""
        assert self.next is not None  # noqa: S101 - there was a numbering before
        while self.held:
            self.abandon("reset", out)
        if not self.contiguous:
            self.interrupted = self.delivered_at is not None
        else:
            until = held.event.received
            since = self._away_since if self.delivered_at is None else self.delivered_at
            out.append(self._gap(self.next, self.next, "reset", since, until))
            if since is not None and self._doubtful_at == self.next:
                # What looked like a copy, or was not heard, may have been of the new numbering.
                self._declare_outage(since, until, out)
        self.first = self.next = held.first
        self.ledger.clear()

    def repair(self, event: Event, out: list[Item]) -> None:
        """Take a message that a repair brought for the open gap; others are ignored.

        Ids before it that did not come are declared missing at the venue.
        """
        first, last = self.first_of(event.data), self.last_of(event.data)
        if (gap := self.gap) is None or last < gap[0] or first > gap[1]:
            return
        self.declare(first - 1, "venue_missing", out)
        first = max(first, gap[0])
        self.ledger.note_repaired(first, last, last - first + 1)
        self._deliver(event, first, last, out)
        self._release(out)

    def repair_key(self, event: Event) -> int:
        """Where in a gap a message belongs."""
        return self.first_of(event.data)

    def lose(self, event: Event, reason: GapReason = "overflow") -> Gap | Outage:
        """An event that had been decided on does not reach the consumer after all."""
        if not self.contiguous or event.origin == "snapshot":
            # What a snapshot contains has been declared already.
            self.outages += 1
            return Outage(self.venue, self.stream.name, event.received, event.received)
        first, last = self.first_of(event.data), self.last_of(event.data)
        return self._lose_ids(event, first, last, last - first + 1, reason)

    def _lose_ids(self, event: Event, first: int, last: int, count: int, reason: GapReason) -> Gap:
        if event.origin == "backfill":
            self.ledger.repaired -= count
        self.ledger.note_missing(first, last, count, reason)
        return self._gap(first, last, reason, event.received, event.received)

    def declare(
        self, last: int, reason: GapReason, out: list[Item], *, then: Event | None = None
    ) -> None:
        """Declare the ids from ``next`` to ``last`` as missing; ``then`` is delivered after it."""
        if self.next is None or last < self.next:
            return
        self.ledger.note_missing(self.next, last, last - self.next + 1, reason)
        since, until = self.delivered_at, self._reached_at(last, then)
        out.append(self._gap(self.next, last, reason, since, until))
        if then is not None:
            out.append(then)
        self.next = last + 1
        self._release(out)

    def abandon(self, reason: GapReason, out: list[Item]) -> None:
        """Give up the open gap: declare it, and deliver what was held behind it."""
        if (gap := self.gap) is not None:
            self.declare(gap[1], reason, out)

    def interrupt(self) -> None:
        """No connection carries the stream any more."""
        self.unheard_at = self.next
        if self.contiguous:
            self._doubtful_at = self.next  # should ids begin anew now, more may be missing
        else:
            self.interrupted = self.delivered_at is not None
            waiting = [*self.held[-1:], *(self.doubts.newest if self.doubts else ())]
            self._cut = [held.event for held in waiting]

    def coverage(self) -> Coverage:
        """The ledger of this stream."""
        return Coverage(
            venue=self.venue,
            stream=self.stream.name,
            first=self.first,
            last=None if self.next is None else self.next - 1,
            live=self.live,
            repaired=self.ledger.repaired,
            missing=self.ledger.missing,
            duplicates=self.duplicates,
            repaired_ranges=list(self.ledger.repaired_ranges),
            missing_ranges=list(self.ledger.missing_ranges),
            ranges_forgotten=self.ledger.forgotten,
            outages=self.outages,
        )

    @property
    def live(self) -> int:
        """Ids that came over a connection, as :class:`Coverage` counts them."""
        if not self.contiguous:
            doubted = self.refused + (len(self.doubts) if self.doubts else 0)
            return self.received - self.duplicates - doubted - len(self.held)
        if self.next is None or self.first is None:
            return 0
        return self.next - self.first - self.ledger.repaired - self.ledger.missing

    def _deliver(self, event: Event, first: int, last: int, out: list[Item]) -> None:
        if self.interrupted and self.delivered_at is not None:
            self.interrupted = False
            self._declare_outage(self.delivered_at, event.received, out)
        if self.first is None:
            self.first = first
        if event.origin == "live":
            self.delivered_at, self.said = event.received, event.data if self.quotes else None
        time, before = self.time_of(event.data), self._delivered_time(event.received)
        if time is None or before is None or time > before:
            self.delivered_time = time  # an absurd one does not turn back the clock
        self.next = last + 1
        if not self.contiguous:
            self._raise_ceiling(last)
            if self._cut and any(one is event for one in self._cut):
                self.interrupted, self._cut = True, ()
        out.append(event)

    def _gap(
        self, first: int, last: int, reason: GapReason, since: float | None, until: float | None
    ) -> Gap:
        return Gap(self.venue, self.stream.name, first, last, reason, since, until)

    def _reached_at(self, last: int, then: Event | None = None) -> float | None:
        """When the first message that goes beyond an id was received, or ``then``, if any was."""
        beyond = (held.event.received for held in self.held if held.last > last)
        return next(beyond, None if then is None else then.received)

    def _declare_outage(self, since: float, until: float, out: list[Item]) -> None:
        self.outages += 1
        out.append(Outage(self.venue, self.stream.name, since, until))

    def _hold(self, held: Held, out: list[Item]) -> None:
        if not self._insert(held):
            at = bisect_left(self.held, held[:1])
            self._drop(held, self.held[at] if self.one_id else None)
            return
        if (gap := self.gap) is None:
            return  # nothing is missing before it, but the stream is held back
        limit, self._resume_limit = self._resume_limit, None
        if limit is not None and (self.delivered_at is None or self.interrupted):
            if self._away_since is not None and self._width(gap) > self._max_gap:
                self._declare_outage(self._away_since, held.event.received, out)
            self.declare(self._back_from(gap[1], limit), "resume_limit", out)
        elif self._width(gap) > self._max_gap:
            self.abandon("jump", out)
        elif self.held.too_many:
            self.abandon("hold_overflow", out)

    def _insert(self, held: Held) -> bool:
        """Put a message where it belongs, unless what is held has all of it."""
        at = bisect_left(self.held, held[:2])
        if any(self._covers(near, held) for near in self.held[max(0, at - 1) : at + 1]):
            return False
        if at and self._covers(held, self.held[at - 1]):
            # Two connections may cut the same book updates differently; the longer one has all.
            self.held.replace(at - 1, held._replace(since=self.held[at - 1].since))
            self.duplicates += 1
            return True
        if at < len(self.held):  # it fills a gap in part, that a later message has revealed
            held = held._replace(since=self.held[at].since)
        self.held.put(at, held)
        return True

    def _drop(self, held: Held, other: Held | None = None) -> None:
        """Drop a message whose id another one has: a copy, if it has the time as well.

        :param other: the other one; None if it was delivered.
        """
        time: int | None = None
        if other is not None:
            time = self.time_known(other.event)
        elif self.one_id and self.next == held.last + 1:
            time = self.last_time
        own = self.time_known(held.event)
        if time is None or own is None or abs(time - own) < self.per_ms:
            self.duplicates += 1
        else:
            self._refuse([refuted(held, held.source if other is None else other.source)])

    def _covers(self, one: Held, other: Held) -> bool:
        return one.first <= other.first and one.last >= other.last

    def _due_after(self, held: Held) -> int:
        """What comes after a held message."""
        return held.last + 1

    def _width(self, gap: tuple[int, int]) -> int:
        """How many ids, or bars, a gap spans."""
        return gap[1] - gap[0] + 1

    def _back_from(self, last: int, limit: int) -> int:
        """The last id of a gap that ends at ``last`` which is too old to go back to."""
        return last - limit

    def _release(self, out: list[Item]) -> None:
        assert self.next is not None  # noqa: S101 - nothing is held before the first message
        released = 0
        for held in self.held:
            if held.first > self.next:
                break
            released += 1
            if self._is_new(held):
                self._deliver(held.event, held.first, held.last, out)
            else:
                self._drop(held)
        self.held.drop(released)
        if released and (gap := self.gap) is not None and self._width(gap) > self._max_gap:
            self.abandon("jump", out)  # it lay behind another gap
