"""Decides what each message is: the next one, a duplicate, or the far side of a gap.

Pure: no I/O, and time comes in as an argument. There is one :class:`Track` per (venue, stream), so
ids of two venues are never compared. Any number of connections offer their messages; whichever
offers a message first delivers it, and the order that comes out is the venue's own. A stream that
waits behind a gap does not keep the others. So a consumer sees every id once, in order, or is told
which ids it will not see.
"""

from __future__ import annotations

import functools
import math
from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple

from ..market.streams import Kind, stream_of
from ..market.units import MS
from .aggregates import AggTrack
from .blocks import BlockTrack
from .books import BookTrack
from .held import Memory
from .items import Outage
from .klines import KlineTrack
from .medley import MedleyTrack
from .numbering import Shared
from .times import Clock
from .track import Track

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Sequence

    from ..compiled.interface import Run
    from ..market.payloads import Event
    from ..market.streams import Stream
    from ..market.units import TimeUnit
    from .held import Source, Stray
    from .items import Item

_TRACKS: dict[Kind, type[Track]] = {
    Kind.KLINE: KlineTrack,
    Kind.DEPTH: BookTrack,
    Kind.BLOCK_TRADE: BlockTrack,
}
"""Kinds with rules of their own."""
RUN_MESSAGES = 4
"""From so many messages a stream on, on the average of a batch, it pays to look at them together.
"""


def _kind_of_track(stream: Stream) -> type[Track]:
    order = stream.order
    if order.of_each:
        return MedleyTrack
    return AggTrack if order.inner else _TRACKS.get(stream.kind, Track)


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
    :param max_held_bytes: memory that those of all streams may take before the gap of the stream
        that wants more is declared.
    :param redundant: whether more than one connection carries a track's stream now.
    :param snapshots: whether books begin with a snapshot.
    :param unit: of the times in the messages.
    :ivar gap_opened: set when a message is held; for the one who closes gaps to reset.
    :ivar more_told: set when a message brings more than itself, as gaps and outages before it; for
        the one who tells of those to reset.
    :ivar strays: messages that were refuted; for the one who tells of them to take.
    """

    def __init__(
        self,
        max_held: int,
        max_held_bytes: float = math.inf,
        redundant: Callable[[Track], bool] | None = None,
        *,
        snapshots: bool = False,
        unit: TimeUnit = MS,
    ) -> None:
        self._redundant = redundant
        self._shared = Shared(max_held, Memory(max_held_bytes), Clock(unit), unit, snapshots)
        self._tracks: dict[str, dict[str, Track]] = {}
        self.gap_opened: bool = False
        self.more_told: bool = False
        self.strays: list[Stray] = []
        self._before: Counter[str | None] = Counter()
        """Symbol → messages of tracks that others have taken over from."""

    @property
    def tracks(self) -> Sequence[Track]:
        """Every track, in the order in which they began."""
        return [track for of_venue in self._tracks.values() for track in of_venue.values()]

    @property
    def received(self) -> Iterable[tuple[str | None, int]]:
        """Symbol and messages that came, several times for a symbol."""
        yield from self._before.items()
        for track in self.tracks:
            yield track.stream.symbol, track.received

    def gapped(self) -> Sequence[Track]:
        """The tracks that hold messages behind a gap."""
        return [track for track in self.tracks if track.held]

    def oldest_gap_s(self, now: float) -> float:
        """For how long the oldest open gap has been open (s); 0 if none is."""
        return max((now - track.held[0].since for track in self.gapped()), default=0.0)

    def settled(self, streams: Collection[str]) -> bool:
        """Whether none of the streams has an open gap, at any venue."""
        names = frozenset(streams)
        return not any(track.stream.name in names for track in self.gapped())

    def interrupt(self, venue: str, streams: Collection[str]) -> None:
        """No connection carries these streams of the venue any more."""
        for name, track in self._tracks.get(venue, {}).items():
            if name in streams:
                track.interrupt()

    def leave(self, streams: Collection[str]) -> None:
        """No connection carries these streams, of whichever venue."""
        for venue in self._tracks:
            self.interrupt(venue, streams)

    def found(self, venue: str, stream: str) -> Track | None:
        """The track of a stream, if it has begun."""
        return self._tracks.get(venue, {}).get(stream)

    def track(self, venue: str, stream: str) -> Track:
        """The track of a stream, begun if it is new."""
        tracks = self._tracks.setdefault(venue, {})
        track = tracks.get(stream)
        if track is None:
            parsed = stream_of(venue, stream)
            track = tracks[stream] = _kind_of_track(parsed)(venue, parsed, self._shared)
            if self._redundant is not None:
                track.contested = functools.partial(self._redundant, track)
        return track

    def begin(self, venue: str, stream: str) -> Track:
        """A new track of a stream; what the one before knew, and held, is gone."""
        before = self._tracks.get(venue, {}).get(stream)
        if before is not None:
            self.end(before)
        return self.track(venue, stream)

    def end(self, track: Track) -> None:
        """Let go of a track, and of what it holds."""
        del self._tracks[track.venue][track.stream.name]
        track.forget()
        self._before[track.stream.symbol] += track.received

    def barren(self, now: float) -> Sequence[Track]:
        """The tracks of which everything that comes has been dropped for a while."""
        return [track for track in self.tracks if track.barren(now)]

    def dismiss(self) -> None:
        """Refute what still waits for others to speak for it, at the end."""
        for track in self.tracks:
            track.dismiss()
            self._collect_strays(track)

    def _collect_strays(self, track: Track) -> None:
        self.strays += track.strays
        track.strays.clear()

    def offer(
        self,
        venue: str,
        events: Sequence[Event],
        now: float,
        source: Source | None = None,
        runs: Sequence[Run] = (),
    ) -> Decision:
        """Take a batch of one venue and one read, so that all of it has the same ``received``.

        :param runs: what it has of some streams, where that is known: of those, all.

        Where a batch has many messages of each stream, those of a stream are looked at together:
        mostly they are simply the next ones. What is left is decided one by one.
        """
        tracks = self._tracks.setdefault(venue, {})
        self._shared.clock.note(events[-1].received, now)
        followed: Collection[str] = ()
        if runs:
            plain = [
                run
                for run in runs
                if run.in_order
                and (track := tracks.get(run.stream)) is not None
                and track.follow_run(run, events, now)
            ]
            if sum([run.messages for run in plain]) == len(events):
                return Decision(list(events), 0)
            followed = {run.stream for run in plain}
        streams = [event.stream for event in events]
        if not runs and len(streams) >= RUN_MESSAGES:
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
            if first == track.next and track.flows and not track.held:
                track.next = (first if track.one_id else track.last_of(data)) + 1
            elif (
                track.rises
                and track.next is not None
                and track.next <= first < track.ceiling
                and not track.interrupted
            ):
                track.next = first + 1
                if track.quotes:
                    track.said = data
            else:
                before, told = track.duplicates, len(out)
                track.offer(event, now, out, source)
                duplicates += track.duplicates - before
                if len(out) > told and (len(out) > told + 1 or out[told] is not event):
                    self.more_told = True
                if track.held or track.wants_snapshot:
                    self.gap_opened = True
                if track.strays:
                    self._collect_strays(track)
                continue
            track.delivered_at = event.received
            track.delivered_time = track.time_of(data)
            add(event)
        return Decision(out, duplicates)

    def offer_again(self, items: Iterable[Event | Outage], now: float) -> list[Item]:
        """Take messages of one venue once more, in their order, for streams that began anew.

        :param items: with the outages that were told between them.
        """
        out: list[Item] = []
        for item in items:
            track = self.track(item.venue, item.stream)
            if isinstance(item, Outage):
                track.interrupt()
                continue
            at = min(now, self._shared.clock.at(item.received))
            if not track.received:
                track.began_at = at
            track.received += 1
            self._before[track.stream.symbol] -= 1
            track.seen_at = max(track.seen_at, at)
            track.offer(item, now, out)
            self.gap_opened |= bool(track.held) or track.wants_snapshot
            self._collect_strays(track)
        return out

    def _follow(
        self, tracks: dict[str, Track], names: Collection[str], events: Sequence[Event], now: float
    ) -> Collection[str]:
        """The streams of which all messages were taken, each being simply the next one."""
        runs: dict[str, list[Any]]
        if len(names) == 1:
            runs = {name: [event.data for event in events] for name in names}
        else:
            runs = {name: [] for name in names}
            for event in events:
                runs[event.stream].append(event.data)
        received = events[-1].received
        return {
            name
            for name, run in runs.items()
            if (track := tracks.get(name)) is not None and track.follow(run, received, now)
        }
