"""Decides what each message is: the next one, a duplicate, or the far side of a gap.

Pure: no I/O, and time comes in as an argument. There is one :class:`Track` per (venue, stream), so
ids of two venues are never compared. Any number of connections offer their messages; whichever
offers a message first delivers it, and the order that comes out is the venue's own.

A message beyond a gap is *held*, and with it every later one of that stream, while other streams
flow on. The gap is then closed in one of three ways: another connection brings what is missing,
a repair does, or it is abandoned and a :class:`Gap` is delivered in its place. So a consumer sees
every id once, in order, or is told which ids it will not see.
"""

from __future__ import annotations

import operator
from bisect import bisect_left
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias

import msgspec

from .messages import PAYLOADS, Event
from .streams import TABLE, Kind, Rule, Stream, parse_stream

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

GapReason: TypeAlias = Literal["not_repaired", "venue_missing", "hold_overflow", "jump"]

MAX_GAP_IDS = 1_000_000
"""A wider gap is a jump of the venue's ids, not messages that were sent: it is declared at once."""


class Gap(msgspec.Struct, frozen=True):
    """Ids ``first`` to ``last`` of a stream, both inclusive, that the feed will not deliver."""

    venue: str
    stream: str
    first: int
    last: int
    reason: GapReason


Item: TypeAlias = Event | Gap


class Held(NamedTuple):
    """A message beyond a gap, since when it waits, and the ids it covers."""

    first: int
    last: int
    since: float
    event: Event


class Track:
    """What has been delivered of one stream of one venue, and what is held.

    :ivar next: the id that comes next; None before the first message.
    :ivar duplicates: messages dropped because they were delivered before.
    """

    def __init__(self, venue: str, stream: Stream, max_held: int) -> None:
        self.venue = venue
        self.stream = stream
        self.next: int | None = None
        self.duplicates = 0
        self.missing = 0
        self.contiguous = stream.order.rule is Rule.CONTIGUOUS
        self.first_of, self.last_of = _key_getters(stream.kind)
        self._max_held = max_held
        self._held: list[Held] = []

    def __repr__(self) -> str:
        return f"<Track {self.venue} {self.stream.name} next={self.next} held={len(self._held)}>"

    @property
    def held(self) -> Sequence[Held]:
        """Messages that wait for a gap to close, by id."""
        return self._held

    @property
    def gap(self) -> tuple[int, int] | None:
        """First and last missing id before the held messages, or None."""
        if not self._held or self.next is None:
            return None
        return self.next, self._held[0].first - 1

    def offer(self, event: Event, now: float, out: list[Item]) -> None:
        """Take a message; append to ``out`` what may be delivered because of it."""
        first, last = self.first_of(event.data), self.last_of(event.data)
        if self.next is None:
            self.next = last + 1
            out.append(event)
        elif last < self.next:
            self.duplicates += 1
        elif first <= self.next or not self.contiguous:
            self.next = last + 1
            out.append(event)
            if self._held:
                self._release(out)
        else:
            self._hold(Held(first, last, now, event), out)

    def abandon(self, reason: GapReason, out: list[Item]) -> None:
        """Give up the first gap: deliver it as a :class:`Gap`, and what was held behind it."""
        if self.gap is None:
            return
        first, last = self.gap
        self.missing += last - first + 1
        out.append(Gap(self.venue, self.stream.name, first, last, reason))
        self.next = last + 1
        self._release(out)

    def _hold(self, held: Held, out: list[Item]) -> None:
        at = bisect_left(self._held, held.first, key=operator.itemgetter(0))
        if at < len(self._held) and self._held[at].first == held.first:
            self.duplicates += 1
            return
        self._held.insert(at, held)
        assert self.next is not None  # noqa: S101 - nothing is held before the first message
        if self._held[0].first - self.next > MAX_GAP_IDS:
            self.abandon("jump", out)
        elif len(self._held) > self._max_held:
            self.abandon("hold_overflow", out)

    def _release(self, out: list[Item]) -> None:
        assert self.next is not None  # noqa: S101 - nothing is held before the first message
        released = 0
        for held in self._held:
            if held.first > self.next:
                break
            released += 1
            if held.last >= self.next:
                self.next = held.last + 1
                out.append(held.event)
            else:
                self.duplicates += 1
        del self._held[:released]


class Arbiter:
    """All tracks of a feed.

    :param max_held: messages held per stream behind a gap before it is abandoned.
    """

    def __init__(self, max_held: int) -> None:
        self._max_held = max_held
        self._tracks: dict[str, dict[str, Track]] = {}
        self.gap_opened = False
        """Set when a message is held; for the one who closes gaps to reset."""

    @property
    def tracks(self) -> Iterable[Track]:
        """Every track, in the order in which they began."""
        return [track for of_venue in self._tracks.values() for track in of_venue.values()]

    def gapped(self) -> Sequence[Track]:
        """The tracks that hold messages behind a gap."""
        return [track for track in self.tracks if track.held]

    def settled(self, streams: Sequence[str]) -> bool:
        """Whether none of the streams has an open gap, at any venue."""
        names = frozenset(streams)
        return not any(track.stream.name in names for track in self.gapped())

    def track(self, venue: str, stream: str) -> Track:
        """The track of a stream, begun if it is new."""
        tracks = self._tracks.setdefault(venue, {})
        track = tracks.get(stream)
        if track is None:
            track = tracks[stream] = Track(venue, parse_stream(stream), self._max_held)
        return track

    def offer(self, venue: str, events: Sequence[Event], now: float) -> tuple[list[Item], int]:
        """Take a batch of one venue.

        :returns: what may be delivered now, in order, and how many were duplicates.
        """
        tracks = self._tracks.setdefault(venue, {})
        out: list[Item] = []
        duplicates = 0
        for event in events:
            track = tracks.get(event.stream) or self.track(venue, event.stream)
            # The common case, spelled out: one id, and it is the next one.
            key = track.first_of(event.data)
            if key == track.next and not track._held:  # noqa: SLF001 - same concept, hot path
                track.next = track.last_of(event.data) + 1
                out.append(event)
            else:
                before = track.duplicates
                track.offer(event, now, out)
                duplicates += track.duplicates - before
                if track.held:
                    self.gap_opened = True
        return out, duplicates


def _key_getters(kind: Kind) -> tuple[Callable[[Any], int], Callable[[Any], int]]:
    """Functions from a payload of the kind to its first and last key (see ``streams.TABLE``)."""
    order = TABLE[kind]
    payload = PAYLOADS[kind]
    if kind in (Kind.ALL_MINI_TICKERS, Kind.ALL_WINDOW_TICKERS):
        return _array_event_time, _array_event_time
    names = {item.encode_name: item.name for item in msgspec.structs.fields(payload)}
    return operator.attrgetter(names[order.first]), operator.attrgetter(names[order.last])


def _array_event_time(rows: list[Any]) -> int:
    # An empty array carries no time; it is older than anything, so it is dropped as a duplicate.
    return max((int(row.event_time) for row in rows), default=-1)
