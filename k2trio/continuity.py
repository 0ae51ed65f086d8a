"""Decides what each message is: the next one, a duplicate, or the far side of a gap.

Pure: no I/O, and time comes in as an argument. There is one :class:`Track` per (venue, stream), so
ids of two venues are never compared. Any number of connections offer their messages; whichever
offers a message first delivers it, and the order that comes out is the venue's own.

A message beyond a gap is *held*, and with it every later one of that stream, while other streams
flow on. The gap is then closed in one of three ways: another connection brings what is missing,
a repair does, or what is missing is declared as a :class:`Gap` in its place. So a consumer sees
every id once, in order, or is told which ids it will not see.

Streams whose keys only grow can prove no gap. What may be missing there is declared as a time
range, an :class:`Outage`, whenever no connection carried the stream for a while. Klines stand
between the two: updates of a bar may be lost, but that every bar closes is provable, because bars
step by the interval (:class:`KlineTrack`).
"""

from __future__ import annotations

import datetime as dt
import functools
import operator
from bisect import bisect_left
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias

import msgspec

from .messages import PAYLOADS, Event
from .streams import KLINE_INTERVALS_MS, TABLE, Kind, Rule, Stream, parse_stream

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

GapReason: TypeAlias = Literal[
    "not_repaired",
    "not_repairable",
    "venue_missing",
    "snapshot",
    "hold_overflow",
    "jump",
    "reset",
    "overflow",
    "resume_limit",
]
"""Why ids are missing.

``not_repaired``: REST did not bring them in time. ``not_repairable``: no REST host is known for
the venue, or the kind has no history. ``venue_missing``: the venue itself does not have them.
``snapshot``: they are contained in the depth snapshot that follows. ``hold_overflow``: too many
messages waited behind them. ``jump`` and ``reset``: the venue's ids leapt forward or started anew.
``overflow``: the consumer was too slow and the policy is to drop. ``resume_limit``: longer ago than
a restart may go back.
"""

MAX_GAP_IDS = 1_000_000
"""A wider gap (in ids, or in bars) is a jump of the venue's, not messages that were sent: it is
declared at once."""
RESET_IDS = 1_000_000
"""An id that lies further behind, on a message that is newer, means that ids started anew."""
_DAY_MS = 86_400_000
_MONTH_MS = 31 * _DAY_MS
_EPOCH_DAY = dt.date(1970, 1, 1).toordinal()
_LAST_MONTH = 9999 * 12 + 11
MAX_RANGES = 10_000
"""Ranges that a ledger keeps per stream; older ones are counted, but forgotten one by one."""

_ID_KEYED = frozenset(
    {
        Kind.TRADE,
        Kind.AGG_TRADE,
        Kind.BLOCK_TRADE,
        Kind.DEPTH,
        Kind.PARTIAL_DEPTH,
        Kind.BOOK_TICKER,
    }
)
"""Kinds whose key is a number that the venue gives out. The others' is a time, and never resets."""


class Gap(msgspec.Struct, frozen=True):
    """Ids ``first`` to ``last`` of a stream, both inclusive, that the feed will not deliver.

    For klines the ids are the open times of the missing bars in milliseconds.
    """

    venue: str
    stream: str
    first: int
    last: int
    reason: GapReason


class Outage(msgspec.Struct, frozen=True):
    """A time in which messages of a stream without provable ids may be missing.

    :ivar since: Unix time in seconds of the last message before.
    :ivar until: Unix time in seconds of the first message after.
    """

    venue: str
    stream: str
    since: float
    until: float


Item: TypeAlias = Event | Gap | Outage


class Held(NamedTuple):
    """A message beyond a gap, since when it waits, and the ids it covers.

    For klines ``first`` is the open time of its bar, and ``last`` its event time.
    """

    first: int
    last: int
    since: float
    event: Event


class Missing(NamedTuple):
    """A declared range of ids."""

    first: int
    last: int
    reason: GapReason


class Coverage(msgspec.Struct, frozen=True):
    """What is known of one stream's ids between the first and the last one seen.

    ``live + repaired + missing`` is the number of ids in between; after a reset, of ids since then.
    Kinds without provable ids count messages instead, and klines missing and repaired bars.
    ``ranges_forgotten`` counts ranges that are in the sums but no longer in the lists.
    """

    venue: str
    stream: str
    first: int | None
    last: int | None
    live: int
    repaired: int
    missing: int
    duplicates: int
    repaired_ranges: list[tuple[int, int]]
    missing_ranges: list[Missing]
    ranges_forgotten: int
    outages: int


class Track:
    """What has been delivered of one stream of one venue, and what is held.

    :ivar next: the id that comes next; None before the first message.
    :ivar duplicates: messages dropped because they were delivered before.
    :ivar received: messages offered; with ``seen_at`` it gives the stream's rhythm.
    """

    # With thousands of streams, a track has to come back into the caches for each message of its.
    __slots__ = (
        "_forgotten",
        "_max_gap",
        "_max_held",
        "_missing_ranges",
        "_repaired_ranges",
        "_resume_limit",
        "began_at",
        "contiguous",
        "delivered_at",
        "delivered_time",
        "duplicates",
        "first",
        "first_of",
        "grows",
        "held",
        "interrupted",
        "last_of",
        "missing",
        "next",
        "one_id",
        "outages",
        "received",
        "repair_kind",
        "repaired",
        "seen_at",
        "stream",
        "time_of",
        "venue",
    )

    def __init__(self, venue: str, stream: Stream, max_held: int) -> None:
        self.venue = venue
        self.stream = stream
        self.next: int | None = None
        self.first: int | None = None
        self.duplicates = 0
        self.received = 0
        self.seen_at = self.began_at = float("-inf")
        self.repaired = 0
        self.missing = 0
        self.outages = 0
        self.contiguous = stream.order.rule is Rule.CONTIGUOUS
        self.repair_kind = stream.order.repair
        self.first_of, self.last_of = _key_getters(stream.kind)
        self.time_of = _time_getter(stream.kind)
        self.one_id = stream.order.first == stream.order.last
        self.grows = not self.contiguous and stream.kind is not Kind.KLINE
        self.held: list[Held] = []
        """Messages that wait for a gap to close, by id."""
        self._max_held = max_held
        # Of the last live message that was delivered. The message itself is not kept: with many
        # streams, that much memory would no longer be in the caches when its turn comes.
        self.delivered_at: float | None = None
        self.delivered_time: int | None = None
        self.interrupted = False
        self._resume_limit: int | None = None
        self._max_gap = MAX_GAP_IDS
        self._repaired_ranges: list[tuple[int, int]] = []
        self._missing_ranges: list[Missing] = []
        self._forgotten = 0

    def __repr__(self) -> str:
        return f"<Track {self.venue} {self.stream.name} next={self.next} held={len(self.held)}>"

    @property
    def gap(self) -> tuple[int, int] | None:
        """First and last missing id before the held messages, or None."""
        if not self.held or self.next is None:
            return None
        return self.next, self.held[0].first - 1

    @property
    def position(self) -> int | None:
        """The last id that was delivered or declared; what :meth:`resume` takes."""
        return None if self.next is None else self.next - 1

    @property
    def gaps(self) -> Sequence[Missing]:
        """The declared ranges, oldest first; :data:`MAX_RANGES` of them at most."""
        return self._missing_ranges

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
        if first < due or (first > due and self.contiguous):
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
            return firsts[-1] + 1 if _grow(firsts) else None
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
        self.repaired += last - first + 1
        self._note_repaired(first, last)
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

    def lose(self, event: Event) -> Gap | Outage:
        """An event that had been decided on is dropped before it reaches the consumer."""
        if not self.contiguous or event.origin == "snapshot":
            # What a snapshot contains has been declared already.
            self.outages += 1
            return Outage(self.venue, self.stream.name, event.received, event.received)
        first, last = self.first_of(event.data), self.last_of(event.data)
        return self._lose_ids(event, first, last, last - first + 1)

    def _lose_ids(self, event: Event, first: int, last: int, count: int) -> Gap:
        if event.origin == "backfill":
            self.repaired -= count
        self.missing += count
        self._note_missing(first, last, "overflow")
        return Gap(self.venue, self.stream.name, first, last, "overflow")

    def snapshot(self, event: Event, out: list[Item]) -> bool:
        """Take a depth snapshot for the open gap; False if it is too old to be joined.

        Source: Binance spot API docs, "How to manage a local order book correctly".
        """
        gap = self.gap
        last = int(event.data.last_update_id)
        if gap is None or last < gap[1]:
            return False
        self.declare(max(gap[1], last), "snapshot", out, then=event)
        return True

    def declare(
        self, last: int, reason: GapReason, out: list[Item], *, then: Event | None = None
    ) -> None:
        """Declare the ids from ``next`` to ``last`` as missing; ``then`` is delivered after it."""
        if self.next is None or last < self.next:
            return
        self.missing += last - self.next + 1
        self._note_missing(self.next, last, reason)
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
            repaired=self.repaired,
            missing=self.missing,
            duplicates=self.duplicates,
            repaired_ranges=list(self._repaired_ranges),
            missing_ranges=list(self._missing_ranges),
            ranges_forgotten=self._forgotten,
            outages=self.outages,
        )

    @property
    def live(self) -> int:
        """Ids that came over a connection, as :class:`Coverage` counts them."""
        if not self.contiguous:
            return self.received - self.duplicates - len(self.held)
        if self.next is None or self.first is None:
            return 0
        return self.next - self.first - self.repaired - self.missing

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
        if behind <= RESET_IDS or self.stream.kind not in _ID_KEYED or not self._is_newer(event):
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
        self.repaired = self.missing = 0
        self._repaired_ranges.clear()
        self._missing_ranges.clear()
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
        assert gap is not None  # noqa: S101 - it is what the message is held for
        limit, self._resume_limit = self._resume_limit, None
        if limit is not None and self.delivered_at is None:
            self.declare(self._back_from(gap[1], limit), "resume_limit", out)
        elif self._width(gap) > self._max_gap:
            self.abandon("jump", out)
        elif len(self.held) > self._max_held:
            self.abandon("hold_overflow", out)

    def _insert(self, held: Held) -> bool:
        """Put a message where it belongs, unless what is held has all of it."""
        at = bisect_left(self.held, held[:2], key=operator.itemgetter(0, 1))
        if any(self._covers(near, held) for near in self.held[max(0, at - 1) : at + 1]):
            return False
        if at and self._covers(held, self.held[at - 1]):
            # Two connections may cut the same book updates differently; the longer one has all.
            self.held[at - 1] = held
            self.duplicates += 1
        else:
            self.held.insert(at, held)
        return True

    def _covers(self, one: Held, other: Held) -> bool:
        return one.first <= other.first and one.last >= other.last

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
        del self.held[:released]

    def _note_repaired(self, first: int, last: int) -> None:
        ranges = self._repaired_ranges
        if ranges and ranges[-1][1] + 1 == first:
            ranges[-1] = ranges[-1][0], last
        else:
            ranges.append((first, last))
            self._forget(ranges)

    def _note_missing(self, first: int, last: int, reason: GapReason) -> None:
        ranges = self._missing_ranges
        if ranges and ranges[-1].reason == reason and ranges[-1].last + 1 == first:
            ranges[-1] = Missing(ranges[-1].first, last, reason)
        else:
            ranges.append(Missing(first, last, reason))
            self._forget(ranges)

    def _forget(self, ranges: list[Any]) -> None:
        if len(ranges) > MAX_RANGES:
            del ranges[0]
            self._forgotten += 1


def _grow(keys: list[int]) -> bool:
    """Whether each key is higher than the one before."""
    return all(map(operator.lt, keys, keys[1:]))


class KlineTrack(Track):
    """Klines: updates only grow, but every bar's close is accounted for.

    A gap here is in bars: its ids are the open times (ms) of bars whose close did not come.
    """

    __slots__ = ("_latest", "_open_bar", "_step")

    def __init__(self, venue: str, stream: Stream, max_held: int) -> None:
        super().__init__(venue, stream, max_held)
        self._open_bar: int | None = None
        """The earliest bar whose close has not been delivered."""
        self._latest = (-1, -1)
        """Open time and event time of the last update delivered."""
        self._step = KLINE_INTERVALS_MS[stream.interval or ""]

    @property
    def gap(self) -> tuple[int, int] | None:
        """Open times of the first and last bar whose close is missing, or None."""
        if not self.held or self._open_bar is None:
            return None
        return self._open_bar, self.held[0].first - 1

    @property
    def position(self) -> int | None:
        """The open time of the bar that is not closed yet."""
        return self._open_bar

    def resume(self, position: int, limit: int) -> None:
        """Begin with the bar that was open; see :meth:`Track.resume`."""
        self._open_bar = position
        self._resume_by(limit)

    def offer(self, event: Event, now: float, out: list[Item]) -> None:
        """Take a message; append to ``out`` what may be delivered because of it."""
        bar, key = event.data.bar.open_time, self.last_of(event.data)
        if self._open_bar is None or (bar == self._open_bar and (bar, key) > self._latest):
            self._deliver(event, key, key, out)
            self._release(out)
        elif bar > self._open_bar:
            self._hold(Held(bar, key, now, event), out)
        else:
            self.duplicates += 1

    def _after_run(self, due: int, payloads: list[Any]) -> int | None:
        """Updates of the open bar alone are a plain run."""
        open_bar = self._open_bar
        if any(kline.bar.closed or kline.bar.open_time != open_bar for kline in payloads):
            return None
        keys = list(map(self.last_of, payloads))
        if open_bar is None or not _grow(keys):
            return None
        self._latest = open_bar, keys[-1]
        return keys[-1] + 1

    def repair_key(self, event: Event) -> int:
        """Where in a gap a message belongs: the open time of its bar."""
        return int(event.data.bar.open_time)

    def position_after(self, item: Event | Gap) -> int:
        """What :meth:`resume` takes to go on after this message or gap."""
        if isinstance(item, Gap):
            return self._after(item.last)
        bar = item.data.bar
        return self._after(bar.open_time) if bar.closed else int(bar.open_time)

    def repair(self, event: Event, out: list[Item]) -> None:
        """Take a closed bar that a repair brought; one that is not of this series is ignored."""
        gap = self.gap
        bar = event.data.bar
        if gap is None or not bar.closed or not gap[0] <= bar.open_time <= gap[1]:
            return
        bars = self._bars(gap[0], bar.open_time - 1)
        if self._at(gap[0], bars) != bar.open_time:
            return
        if bars:
            self.declare(bar.open_time - 1, "venue_missing", out)
        self.repaired += 1
        self._note_repaired(bar.open_time, bar.open_time)
        out.append(event)
        self._open_bar = self._after(bar.open_time)
        self._release(out)

    def lose(self, event: Event) -> Gap | Outage:
        """An event that had been decided on is dropped before it reaches the consumer."""
        bar = event.data.bar
        if not bar.closed:
            return super().lose(event)
        return self._lose_ids(event, bar.open_time, bar.open_time, 1)

    def declare(
        self, last: int, reason: GapReason, out: list[Item], *, then: Event | None = None
    ) -> None:
        """Declare the bars up to the open time ``last`` as missing."""
        first = self._open_bar
        if first is None or last < first:
            return
        bars = self._bars(first, last)
        final = self._at(first, bars - 1)
        self.missing += bars
        self._note_missing(first, final, reason)
        out.append(Gap(self.venue, self.stream.name, first, final, reason))
        self._open_bar = max(self._after(final), last + 1)
        self._release(out)

    def _deliver(self, event: Event, first: int, last: int, out: list[Item]) -> None:
        due = self.next
        super()._deliver(event, first, last, out)
        if due is not None:
            self.next = max(due, last + 1)  # the close of a bar may come late
        bar = event.data.bar
        self._latest = bar.open_time, last
        self._open_bar = self._after(bar.open_time) if bar.closed else bar.open_time

    def _release(self, out: list[Item]) -> None:
        released = 0
        for held in self.held:
            assert self._open_bar is not None  # noqa: S101 - it is what was waited for
            if held.first > self._open_bar:
                break
            released += 1
            if held.first == self._open_bar:
                self._deliver(held.event, held.last, held.last, out)
            else:
                self.duplicates += 1
        del self.held[:released]

    def _covers(self, one: Held, other: Held) -> bool:
        return one[:2] == other[:2]

    def _width(self, gap: tuple[int, int]) -> int:
        return self._bars(*gap)

    def _back_from(self, last: int, limit: int) -> int:
        return last - limit * (self._step or _MONTH_MS)

    def _after(self, open_time: int) -> int:
        """The open time of the next bar."""
        return self._at(open_time, 1)

    def _at(self, open_time: int, bars: int) -> int:
        """The open time so many bars later."""
        if self._step is not None:
            return open_time + bars * self._step
        # Months of a zone begin at its midnight, which the open time itself tells.
        zone_ms = _midnight_offset(open_time)
        month = min(_month(open_time - zone_ms) + bars, _LAST_MONTH)
        first_day = dt.date(month // 12, month % 12 + 1, 1)
        return (first_day.toordinal() - _EPOCH_DAY) * _DAY_MS + zone_ms

    def _bars(self, first: int, last: int) -> int:
        """How many bars open from ``first`` on, until ``last``; ``first`` is such a time."""
        if last < first:
            return 0
        if self._step is not None:
            return (last - first) // self._step + 1
        zone_ms = _midnight_offset(first)
        return _month(last - zone_ms) - _month(first - zone_ms) + 1


def _midnight_offset(time_ms: int) -> int:
    """Milliseconds from the nearest midnight, UTC, to a time."""
    return (time_ms + _DAY_MS // 2) % _DAY_MS - _DAY_MS // 2


def _month(time_ms: int) -> int:
    """Months from year 0 to a time, as far as dates can be told."""
    day = min(max(time_ms // _DAY_MS + _EPOCH_DAY, 1), dt.date.max.toordinal())
    date = dt.date.fromordinal(day)
    return date.year * 12 + date.month - 1


class Decision(NamedTuple):
    """What became of a batch.

    :ivar items: what may be delivered now, in order.
    :ivar duplicates: how many messages were duplicates.
    """

    items: list[Item]
    duplicates: int


class Arbiter:
    """All tracks of a feed.

    :param max_held: messages held per stream behind a gap before it is declared.
    :ivar gap_opened: set when a message is held; for the one who closes gaps to reset.
    :ivar outage_noted: set when an outage is delivered; for the one who counts them to reset.
    """

    def __init__(self, max_held: int) -> None:
        self._max_held = max_held
        self._tracks: dict[str, dict[str, Track]] = {}
        self.gap_opened = False
        self.outage_noted = False

    @property
    def tracks(self) -> Sequence[Track]:
        """Every track, in the order in which they began."""
        return [track for of_venue in self._tracks.values() for track in of_venue.values()]

    def gapped(self) -> Sequence[Track]:
        """The tracks that hold messages behind a gap."""
        return [track for track in self.tracks if track.held]

    def settled(self, streams: Collection[str]) -> bool:
        """Whether none of the streams has an open gap, at any venue."""
        names = frozenset(streams)
        return not any(track.stream.name in names for track in self.gapped())

    def interrupt(self, venue: str, streams: Collection[str]) -> None:
        """No connection carries these streams of the venue any more."""
        for name, track in self._tracks.get(venue, {}).items():
            if name in streams:
                track.interrupt()

    def track(self, venue: str, stream: str) -> Track:
        """The track of a stream, begun if it is new."""
        tracks = self._tracks.setdefault(venue, {})
        track = tracks.get(stream)
        if track is None:
            parsed = parse_stream(stream)
            kind = KlineTrack if parsed.kind is Kind.KLINE else Track
            track = tracks[stream] = kind(venue, parsed, self._max_held)
        return track

    def offer(self, venue: str, events: Sequence[Event], now: float) -> Decision:
        """Take a batch of one venue and one read, so that all of it has the same ``received``.

        Where a batch has many messages of each stream, those of a stream are looked at together:
        mostly they are simply the next ones. What is left is decided one by one.
        """
        tracks = self._tracks.setdefault(venue, {})
        streams = [event.stream for event in events]
        followed: Collection[str] = ()
        if len(streams) >= RUN_MESSAGES:
            one = streams.count(streams[0]) == len(streams)
            names = {streams[0]} if one else set(streams)
            if len(names) * RUN_MESSAGES <= len(streams):
                followed = self._follow(tracks, names, events, now)
                if len(followed) == len(names):
                    return Decision(list(events), 0)
        out: list[Item] = []
        add = out.append
        duplicates = 0
        for stream, event in zip(streams, events, strict=True):
            if stream in followed:
                add(event)
                continue
            track = tracks.get(stream) or self.track(venue, stream)
            if not track.received:
                track.began_at = now
            track.received += 1
            track.seen_at = now
            data = event.data
            first = track.first_of(data)
            # The common cases, spelled out: the message begins with the next id, or its key grows.
            if first == track.next and track.contiguous and not track.held:
                track.next = (first if track.one_id else track.last_of(data)) + 1
            elif (
                track.grows
                and track.next is not None
                and first >= track.next
                and not track.interrupted
            ):
                track.next = first + 1
            else:
                before, outages = track.duplicates, track.outages
                track.offer(event, now, out)
                duplicates += track.duplicates - before
                if track.outages != outages:
                    self.outage_noted = True
                if track.held:
                    self.gap_opened = True
                continue
            track.delivered_at = event.received
            track.delivered_time = track.time_of(data)
            add(event)
        return Decision(out, duplicates)

    def _follow(
        self, tracks: dict[str, Track], names: Collection[str], events: Sequence[Event], now: float
    ) -> Collection[str]:
        """The streams of which all messages were taken, each being simply the next one."""
        runs: dict[str, list[Any]] = {name: [] for name in names}
        if len(names) == 1:
            runs[events[0].stream] += [event.data for event in events]
        else:
            for event in events:
                runs[event.stream].append(event.data)
        received = events[-1].received
        return {
            name
            for name, run in runs.items()
            if (track := tracks.get(name)) is not None and track.follow(run, received, now)
        }


RUN_MESSAGES = 4
"""From so many messages a stream on, on the average of a batch, it pays to look at them together.
"""


@functools.cache
def _key_getters(kind: Kind) -> tuple[Callable[[Any], int], Callable[[Any], int]]:
    """Functions from a payload of the kind to its first and last key (see ``streams.TABLE``)."""
    order = TABLE[kind]
    payload = PAYLOADS[kind]
    if kind in (Kind.ALL_MINI_TICKERS, Kind.ALL_WINDOW_TICKERS):
        return _array_event_time, _array_event_time
    names = {item.encode_name: item.name for item in msgspec.structs.fields(payload)}
    return operator.attrgetter(names[order.first]), operator.attrgetter(names[order.last])


@functools.cache
def _time_getter(kind: Kind) -> Callable[[Any], int | None]:
    """A function from a payload of the kind to its event time, or None where it has none."""
    if "event_time" in getattr(PAYLOADS[kind], "__struct_fields__", ()):
        return operator.attrgetter("event_time")
    return _no_time


def _no_time(_data: object) -> None:
    return None


def _array_event_time(rows: list[Any]) -> int:
    # An empty array carries no time; it is older than anything, so it is dropped as a duplicate.
    return max((int(row.event_time) for row in rows), default=-1)
