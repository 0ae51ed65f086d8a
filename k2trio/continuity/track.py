"""The order of one stream of one venue: what has been delivered, and what is held behind a gap.

Pure: no I/O, and time comes in as an argument. A message beyond a gap is *held*, and with it every
later one of that stream. The gap is then closed in one of three ways: another connection brings
what is missing, a repair does, or what is missing is declared as a :class:`Gap` in its place.

Streams whose keys only grow can prove no gap. What may be missing there is declared as a time
range, an :class:`Outage`, whenever no connection carried the stream for a while.
"""

from __future__ import annotations

import operator
from bisect import bisect_left
from typing import TYPE_CHECKING, Any

from ..market.keys import ID_KEYED, grow, key_getters, time_getter
from ..market.streams import Kind, Rule, Stream
from .held import Held, Memory, Waiting
from .items import Gap, GapReason, Item, Outage
from .ledger import Coverage, Ledger

if TYPE_CHECKING:
    from ..market.payloads import Event

MAX_GAP_IDS = 1_000_000
"""A wider gap (in ids, or in bars) is a jump of the venue's, not messages that were sent: it is
declared at once."""
RESET_IDS = 1_000_000
"""An id that lies further behind, on a message that is newer, means that ids started anew."""


class Track:
    """What has been delivered of one stream of one venue, and what is held.

    :ivar next: the id that comes next; None before the first message.
    :ivar duplicates: messages dropped because they were delivered before.
    :ivar flows: whether a message that is simply the next one is delivered at once.
    :ivar wants_snapshot: a gap of a book was declared, and no snapshot has followed yet.
    :ivar received: messages offered; with ``seen_at`` it gives the stream's rhythm.
    """

    # With thousands of streams, a track has to come back into the caches for each message of its.
    __slots__ = (
        "_max_gap",
        "_resume_limit",
        "began_at",
        "contiguous",
        "delivered_at",
        "delivered_time",
        "duplicates",
        "first",
        "first_of",
        "flows",
        "grows",
        "held",
        "interrupted",
        "last_of",
        "ledger",
        "next",
        "one_id",
        "outages",
        "received",
        "repair_kind",
        "seen_at",
        "stream",
        "time_of",
        "venue",
        "wants_snapshot",
    )

    def __init__(
        self, venue: str, stream: Stream, max_held: int, memory: Memory | None = None
    ) -> None:
        self.venue = venue
        self.stream = stream
        self.next: int | None = None
        self.first: int | None = None
        self.duplicates = 0
        self.received = 0
        self.seen_at = self.began_at = float("-inf")
        self.ledger = Ledger()
        self.outages = 0
        self.contiguous = self.flows = stream.order.rule is Rule.CONTIGUOUS
        self.wants_snapshot = False
        self.repair_kind = stream.order.repair
        self.first_of, self.last_of = key_getters(stream.kind)
        self.time_of = time_getter(stream.kind)
        self.one_id = stream.order.first == stream.order.last
        self.grows = not self.contiguous and stream.kind is not Kind.KLINE
        self.held = Waiting(max_held, memory or Memory())
        """Messages that wait for a gap to close, by id."""
        # Of the last live message that was delivered. The message itself is not kept: with many
        # streams, that much memory would no longer be in the caches when its turn comes.
        self.delivered_at: float | None = None
        self.delivered_time: int | None = None
        self.interrupted = False
        self._resume_limit: int | None = None
        self._max_gap = MAX_GAP_IDS

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

    def resume(self, position: int, limit: int) -> None:
        """Begin after what an earlier run delivered, going back ``limit`` ids at most."""
        self.next = self.first = position + 1
        self._resume_by(limit)

    def _resume_by(self, limit: int) -> None:
        self._resume_limit = limit
        self._max_gap = max(MAX_GAP_IDS, limit)  # what a restart may go back is no jump

    def follow(self, payloads: list[Any], received: float, now: float) -> bool:
        """Take what a batch has of this stream, if every message of it is simply the next one.

        :returns: False if that is not so; then nothing was taken.
        """
        due = self.next
        if due is None or self.held or self.interrupted or not self.received:
            return False
        first = self.first_of(payloads[0])
        if first < due or (self.contiguous and (first > due or not self.flows)):
            return False  # mostly the later one of two lines: no need to look at the rest
        after = self._after_run(due, payloads)
        if after is None:
            return False
        self.next = after
        self.delivered_at = received
        self.delivered_time = self.time_of(payloads[-1])
        self.received += len(payloads)
        self.seen_at = now
        return True

    def _after_run(self, due: int, payloads: list[Any]) -> int | None:
        """What comes next after these payloads, of which the first is as due; None if they are no
        plain run.
        """
        firsts = list(map(self.first_of, payloads))
        if self.grows:
            return firsts[-1] + 1 if grow(firsts) else None
        if self.one_id:
            after = due + len(firsts)
            return after if firsts == list(range(due, after)) else None
        *nexts, after = [last + 1 for last in map(self.last_of, payloads)]
        return after if firsts == [due, *nexts] else None

    def offer(self, event: Event, now: float, out: list[Item]) -> None:
        """Take a message; append to ``out`` what may be delivered because of it."""
        first, last = self.first_of(event.data), self.last_of(event.data)
        if self.next is None:
            self._deliver(event, first, last, out)
        elif last < self.next:
            self._offer_old(event, first, last, out)
        elif first <= self.next or not self.contiguous:
            self._deliver(event, first, last, out)
            if self.held:
                self._release(out)
        else:
            self._hold(Held(first, last, now, event), out)

    def repair(self, event: Event, out: list[Item]) -> None:
        """Take a message that a repair brought for the open gap; others are ignored.

        Ids before it that did not come are declared missing at the venue.
        """
        gap = self.gap
        first, last = self.first_of(event.data), self.last_of(event.data)
        if gap is None or last < gap[0] or first > gap[1]:
            return
        if first > gap[0]:
            self.declare(first - 1, "venue_missing", out)
        first = max(first, gap[0])
        self.ledger.note_repaired(first, last, last - first + 1)
        self._deliver(event, first, last, out)
        self._release(out)

    def repair_key(self, event: Event) -> int:
        """Where in a gap a message belongs."""
        return self.first_of(event.data)

    def position_after(self, item: Event | Gap) -> int:
        """What :meth:`resume` takes to go on after this message or gap."""
        if isinstance(item, Gap):
            return item.last
        if item.origin == "snapshot":
            return int(item.data.last_update_id)
        return self.last_of(item.data)

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
        return Gap(self.venue, self.stream.name, first, last, reason)

    def declare(
        self, last: int, reason: GapReason, out: list[Item], *, then: Event | None = None
    ) -> None:
        """Declare the ids from ``next`` to ``last`` as missing; ``then`` is delivered after it."""
        if self.next is None or last < self.next:
            return
        self.ledger.note_missing(self.next, last, last - self.next + 1, reason)
        out.append(Gap(self.venue, self.stream.name, self.next, last, reason))
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
        self.interrupted = self.delivered_at is not None and not self.contiguous

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
            return self.received - self.duplicates - len(self.held)
        if self.next is None or self.first is None:
            return 0
        return self.next - self.first - self.ledger.repaired - self.ledger.missing

    def _deliver(self, event: Event, first: int, last: int, out: list[Item]) -> None:
        if self.interrupted and self.delivered_at is not None:
            self.interrupted = False
            self.outages += 1
            since = self.delivered_at
            out.append(Outage(self.venue, self.stream.name, since, event.received))
        if self.first is None:
            self.first = first
        self.delivered_at = event.received
        self.delivered_time = self.time_of(event.data)
        self.next = last + 1
        out.append(event)

    def _offer_old(self, event: Event, first: int, last: int, out: list[Item]) -> None:
        assert self.next is not None  # noqa: S101 - the caller compared with it
        behind = self.next - last
        if behind <= RESET_IDS or self.stream.kind not in ID_KEYED or not self._is_newer(event):
            self.duplicates += 1
            return
        # The venue numbers anew. Nothing between can be named, so the change itself is.
        while self.held:
            self.abandon("reset", out)
        if self.contiguous:
            out.append(Gap(self.venue, self.stream.name, self.next, self.next, "reset"))
        else:
            self.interrupted = self.delivered_at is not None
        self.first = first
        self.ledger.clear()
        self._deliver(event, first, last, out)

    def _is_newer(self, event: Event) -> bool:
        """Whether a message with a lower key was made after the last one delivered.

        Where nothing tells, it is believed to be: an old one would come within seconds, and its key
        would not be far behind.
        """
        before = self.time_of(self.held[-1].event.data) if self.held else self.delivered_time
        after = self.time_of(event.data)
        return before is None or after is None or after > before

    def _hold(self, held: Held, out: list[Item]) -> None:
        if not self._insert(held):
            self.duplicates += 1
            return
        gap = self.gap
        if gap is None:
            return  # nothing is missing before it, but the stream is held back
        limit, self._resume_limit = self._resume_limit, None
        if limit is not None and self.delivered_at is None:
            self.declare(self._back_from(gap[1], limit), "resume_limit", out)
        elif self._width(gap) > self._max_gap:
            self.abandon("jump", out)
        elif self.held.too_many:
            self.abandon("hold_overflow", out)

    def _insert(self, held: Held) -> bool:
        """Put a message where it belongs, unless what is held has all of it."""
        at = bisect_left(self.held, held[:2], key=operator.itemgetter(0, 1))
        if any(self._covers(near, held) for near in self.held[max(0, at - 1) : at + 1]):
            return False
        if at and self._covers(held, self.held[at - 1]):
            # Two connections may cut the same book updates differently; the longer one has all.
            self.held.replace(at - 1, held._replace(since=self.held[at - 1].since))
            self.duplicates += 1
        else:
            if at < len(self.held):  # it fills a gap in part, that a later message has revealed
                held = held._replace(since=self.held[at].since)
            self.held.put(at, held)
        return True

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
            if held.last >= self.next:
                self._deliver(held.event, held.first, held.last, out)
            else:
                self.duplicates += 1
        self.held.drop(released)
