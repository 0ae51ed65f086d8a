"""The numbering that a stream follows: what comes next in it, and where a message lies.

Two facts tell a copy of an old message from a new one with an old key. A copy is never newer than
the last message delivered. And copies do not lag behind by more than seconds. A time as a key is
believed only near the clock by which it came; see ``times.py``.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from typing import TYPE_CHECKING, Any, NamedTuple

from ..market.keys import grow, key_getters, time_getter
from ..market.streams import Kind, Silence, Stream
from .held import Held, Memory, Waiting
from .renumbering import Doubts, Place
from .times import AHEAD_S, Clock

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ..compiled.interface import Run
    from ..market.payloads import Event
    from ..market.units import TimeUnit

RESET_IDS = 1_000_000
"""A key without a time that lies further behind is no copy."""
COPY_LAG_S = 5.0
"""By how much copies lag at most: when for so long nothing but old keys came, they are no copies
(s)."""
BARREN_S = 10.0
"""When for so long everything that came was dropped, that is worth a word (s)."""
FORGOTTEN_S = 60.0
"""When nothing has come for longer, not even that is (s)."""
_SKEW_S = 1.0
"""By how much the clocks of a venue's servers may differ (s). Trades carry the one time of the
trade itself; a book's updates are stamped, and cut, by the server that sends them."""


class Shared(NamedTuple):
    """What the tracks of a feed have in common.

    :ivar max_held: messages that each of them may hold.
    :ivar memory: what they hold together.
    :ivar clock: by which times are judged.
    :ivar unit: of times.
    :ivar snapshots: whether books begin with a snapshot.
    """

    max_held: int
    memory: Memory
    clock: Clock
    unit: TimeUnit
    snapshots: bool = False


class Numbering:
    """Where a stream is; see the module.

    :ivar next: the id that comes next; None before the first message.
    :ivar received: messages offered; with ``seen_at`` it gives the stream's rhythm.
    :ivar ceiling: keys that only grow are believed below this without a closer look.
    :ivar doubts: messages that do not fit and wait for others to speak for or against them.
    :ivar wary: every message wants to be looked at.
    :ivar paused: held back, though nothing is missing.
    :ivar quotes: whether what the stream said last is kept, in ``said``.
    :ivar said: the payload of the last message that was delivered, where that is kept.
    :ivar leap: see :class:`~k2trio.market.kinds.Order`.
    :ivar per_ms: units of time a millisecond.
    """

    # With thousands of streams, a track has to come back into the caches for each message of its.
    __slots__ = (
        "_barren_at",
        "_barren_since",
        "_began",
        "_doubtful_at",
        "_keyed_by_time",
        "_max_gap",
        "_per_second",
        "_skew",
        "_stamped",
        "ceiling",
        "clock",
        "contiguous",
        "delivered_at",
        "delivered_time",
        "doubts",
        "first_of",
        "grows",
        "held",
        "interrupted",
        "last_of",
        "leap",
        "next",
        "one_id",
        "paused",
        "per_ms",
        "quotes",
        "received",
        "said",
        "seen_at",
        "time_of",
        "wary",
    )

    def __init__(self, stream: Stream, shared: Shared) -> None:
        self.next: int | None = None
        self.received: int = 0
        self.seen_at: float = -math.inf
        self.ceiling: int = -1
        self.contiguous: bool = stream.order.rule.proves
        self.grows: bool = not self.contiguous and stream.kind is not Kind.KLINE
        self.one_id: bool = stream.order.first == stream.order.last
        self.first_of: Callable[[Any], int]
        self.last_of: Callable[[Any], int]
        self.first_of, self.last_of = key_getters(stream.kind, stream.product)
        self.time_of: Callable[[Any], int | None]
        self.time_of = time_getter(stream.kind, stream.product)
        self.clock: Clock = shared.clock
        self.held: Waiting = Waiting(shared.max_held, shared.memory)
        """Messages that wait for a gap to close, by id."""
        self.doubts: Doubts | None = None
        self.wary: bool = False
        self.paused: bool = False
        self.interrupted: bool = False
        # Of the last live message that was delivered. The message itself is not kept: with many
        # streams, that much memory would no longer be in the caches when its turn comes. Where a
        # venue can only be asked for the same again, it has to be.
        self.delivered_at: float | None = None
        self.delivered_time: int | None = None
        self.quotes: bool = stream.order.silence is Silence.BY_QUOTE
        self.said: Any = None
        self._began: int | None = None
        """When the first message of the numbering was made; None if it is the first numbering."""
        self.leap: int = stream.order.leap
        self._max_gap = self.leap
        self._keyed_by_time = stream.order.timed
        self.per_ms: int = shared.unit.per_ms
        self._per_second = shared.unit.per_second
        self._stamped = stream.kind is Kind.DEPTH
        """Whether the time is that of the server that sends it, and not of what it tells."""
        # One message has one time, but REST, or another server, may tell it in milliseconds only.
        finer = self.per_ms - 1
        self._skew = int(_SKEW_S * self._per_second) if self._stamped else finer
        # What was dropped since the last delivery: dropping does not move ``next``.
        self._barren_at: int | None = None
        self._barren_since = 0.0
        self._doubtful_at: int | None = None

    def follow(self, payloads: list[Any], received: float, now: float) -> bool:
        """Take what a batch has of this stream, if every message of it is simply the next one.

        :returns: False if that is not so; then nothing was taken.
        """
        due = self.next
        if due is None or not self._may_follow(due, self.first_of(payloads[0])):
            return False  # mostly the later one of two lines: no need to look at the rest
        after = self._after_run(due, payloads)
        if after is None:
            return False
        self._followed(after, self.time_of(payloads[-1]), len(payloads), received, now)
        if self.quotes:
            self.said = payloads[-1]
        return True

    def follow_run(self, run: Run, events: Sequence[Event], now: float) -> bool:
        """The same of messages that are known to follow each other.

        :param events: the batch, in which they are.
        """
        due = self.next
        if due is None or not self._may_follow(due, run.first) or not self._takes_run(run):
            return False
        self._followed(run.after, run.time, run.messages, events[-1].received, now)
        if self.quotes:
            self.said = next(e.data for e in reversed(events) if e.stream == run.stream)
        return True

    def _may_follow(self, due: int, first: int) -> bool:
        if self.held or self.interrupted or self.wary or not self.received:
            return False
        return first >= due and not (self.contiguous and (first > due or self.paused))

    def _followed(
        self, after: int, time: int | None, messages: int, received: float, now: float
    ) -> None:
        self.next, self.delivered_at, self.delivered_time = after, received, time
        self.received += messages
        self.seen_at = now

    def _takes_run(self, run: Run) -> bool:
        """Whether a run of which the first is as due is plain; then what it says is taken."""
        return not self.grows or run.after <= self.ceiling

    def _after_run(self, due: int, payloads: list[Any]) -> int | None:
        """What comes next after these payloads, of which the first is as due; None if they are no
        plain run.
        """
        firsts = list(map(self.first_of, payloads))
        if self.grows:
            return firsts[-1] + 1 if grow(firsts) and firsts[-1] < self.ceiling else None
        if self.one_id:
            after = due + len(firsts)
            return after if firsts == list(range(due, after)) else None
        *nexts, after = [last + 1 for last in map(self.last_of, payloads)]
        return after if firsts == [due, *nexts] else None

    @property
    def last_time(self) -> int | None:
        """When the last live message that was delivered was made, if its time can be believed."""
        return None if self.delivered_at is None else self._delivered_time(self.delivered_at)

    def awaits_others(self, key: int, time: int | None) -> bool:
        """Whether the message with a key, made at a time, has come and waits: behind a gap, or for
        others to speak for it.
        """
        return any(
            held.first <= key <= held.last and self._is_of(held, time) for held in self.waiting
        )

    @property
    def waiting(self) -> list[Held]:
        """What has come and waits: behind a gap, or for others to speak for it."""
        return [*self.held, *(self.doubts.held if self.doubts else ())]

    def _is_of(self, held: Held, time: int | None) -> bool:
        """Whether a message was made at a time, as far as that is known."""
        own = self.time_known(held.event)
        return own is None or time is None or own // self.per_ms == time // self.per_ms

    def barren(self, now: float) -> bool:
        """Whether everything that comes has been dropped for a while."""
        if self._barren_at is None or self._barren_at != self.next:
            return False
        return self.seen_at - self._barren_since >= BARREN_S and now - self.seen_at < FORGOTTEN_S

    def _starves(self, now: float) -> bool:
        """Whether only old keys came for longer than copies lag."""
        return self._barren_at == self.next and now - self._barren_since >= COPY_LAG_S

    def _note_dropped(self, now: float) -> None:
        if self._barren_at != self.next:
            self._barren_at, self._barren_since = self.next, now
        elif not self.contiguous and self._starves(now):
            # Perhaps they were no copies. Then this time is told with the next delivery.
            self.interrupted = self.delivered_at is not None

    def time_known(self, event: Event) -> int | None:
        """When the exchange made a message, where that tells something of its key."""
        time = None if self._keyed_by_time else self.time_of(event.data)
        return None if time is None or self.clock.is_ahead(time, event.received) else time

    def _place(self, event: Event, first: int, last: int, now: float) -> Place:
        due = self.next
        if due is not None and last < due:
            return self._place_old(event, due, last, now)
        if not self.contiguous:
            return Place.NEXT if self._grows_to(first, event) else Place.FAR
        if self.wary and self._compare(event, self._began) < 0:
            return Place.COPY  # left over from the numbering before
        below = bool(self.held) and first < self.held[-1].first and last < self.held[-1].last
        if below and self._compare(event, self._time_of_held(-1)) > 0:
            # Newer than what is held beyond it: the one or the other is of no such numbering.
            return Place.LOW
        if due is None or first <= due:
            return Place.NEXT
        if self._is_out_of_order(event, first) and (self.held or not self._starves(now)):
            return Place.ODD
        frontier = self.held[-1].last if self.held else due - 1
        return Place.BEYOND if first - 1 - frontier <= self._max_gap else Place.FAR

    def _place_old(self, event: Event, due: int, last: int, now: float) -> Place:
        """Whether a key that has passed is a copy's."""
        if self._keyed_by_time:
            if last < 0 or not self.clock.is_ahead(due - 1, event.received):
                return Place.COPY
        else:
            before = self._delivered_time(event.received)
            order = self._compare(event, before)
            if order > 0:
                return Place.LOW
            if order < 0:
                # A copy of the last one delivered has its very time.
                return Place.ODD if self.one_id and last == due - 1 else Place.COPY
            if self._repeats(event, last):
                if self.said not in (None, event.data):
                    self.interrupted = True  # ids began anew by one or two: it is no copy
                return Place.COPY
            if before is None or self.time_of(event.data) is None:
                if self.delivered_at is None or due - last > RESET_IDS:
                    return Place.LOW
            elif not self._stamped:
                self._doubtful_at = due
                return Place.COPY
        # Nothing tells, but that copies do not come for ever.
        if self._starves(now):
            return Place.LOW
        self._doubtful_at = due
        return Place.COPY

    def _is_out_of_order(self, event: Event, first: int) -> bool:
        """Whether a message beyond a gap would break the order of what is held, by id and time."""
        at = 0
        if self.one_id:  # else they may overlap, cut differently by two servers
            at = bisect_left(self.held, (first,))
        before = self._time_of_held(at - 1) if at else self._delivered_time(event.received)
        if self._compare(event, before) < 0:
            return True
        if not self.one_id or at == len(self.held) or self.held[at].first == first:
            return False
        return self._compare(event, self._time_of_held(at)) > 0

    def _time_of_held(self, at: int) -> int | None:
        return self.time_known(self.held[at].event)

    def _repeats(self, event: Event, last: int) -> bool:
        """Whether a message without a time has the very key of the last one, as a quiet book has
        when it is sent again.
        """
        untimed = not self._keyed_by_time and self.time_of(event.data) is None
        return untimed and self.next == last + 1

    def _delivered_time(self, received: float) -> int | None:
        """When the last message delivered was made, if its time can be believed.

        :param received: of another message; for a time that a state file remembers.
        """
        time, at = self.delivered_time, self.delivered_at
        at = received if at is None else at
        return None if time is None or self.clock.is_ahead(time, at) else time

    def _compare(self, event: Event, before: int | None) -> int:
        """Whether a message was made before (-1) or after (1) that time; 0 where nothing tells."""
        time = self.time_known(event)
        if time is None or before is None:
            return 0
        return (time > before + self._skew) - (time < before - self._skew)

    def _grows_to(self, key: int, event: Event) -> bool:
        """Whether a key that only grows is believed; the usual ones need no closer look."""
        if key < self.ceiling:
            return True
        if not self._keyed_by_time:
            return self.next is None or key - self.next < self.leap
        if not self.clock.is_ahead(key, event.received):
            return True
        if self.next is None or self.delivered_at is None:
            return False
        # Our own clock may be wrong, but it goes as fast as the exchange's.
        most = event.received - self.delivered_at + AHEAD_S
        return key - self.next <= most * self._per_second

    def _raise_ceiling(self, last: int) -> None:
        reach = int(AHEAD_S) * self._per_second if self._keyed_by_time else self.leap
        self.ceiling = last + 1 + reach
