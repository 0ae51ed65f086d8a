"""The feed: what its consumer sees, and the nursery in which everything of it runs.

Lines → arbitration → repair → one sequence of events. ``opening.py`` makes the parts and ties them
together; what the consumer reads comes out of one bounded outbox.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, overload

import msgspec
import trio

from ..continuity.books import BookTrack
from ..continuity.items import Gap
from ..continuity.positions import key_of
from ..errors import FeedClosed, GaveUp
from ..market.payloads import Event
from ..market.streams import Repair, any_stream, parse_stream, stream_of
from .again import behind
from .consumed import Consumed
from .consumer import P
from .health import FeedStatus, feed_status

if TYPE_CHECKING:
    from collections.abc import (
        Awaitable,
        Callable,
        Collection,
        Iterable,
        Mapping,
        Sequence,
    )

    from ..continuity.items import GapReason, Item
    from ..continuity.ledger import Coverage
    from ..continuity.positions import Key, Position
    from ..continuity.track import Track
    from ..market.payloads import DepthSnapshot
    from ..observe.latency import Latency
    from ..observe.metrics import Metrics
    from ..observe.transitions import Transition
    from ..policy.failover import Endpoints
    from ..settings import Settings
    from ..streams import StreamName
    from .line import Line
    from .parts import Parts

CLOSE_TIMEOUT_S = 1.0
"""Bound on closing idle REST connections at shutdown."""


class Feed(Consumed[P]):
    """An open feed; iterate it for events. Made by :func:`open_feed`.

    It has one consumer: a loop that another task begins meanwhile raises :class:`UsageError`.
    """

    # What a base declares is declared again where it is set, for ``pyright --verifytypes``.
    handed_out: list[Item[P]]

    def __init__(self, settings: Settings, metrics: Metrics, parts: Parts) -> None:
        super().__init__(parts.outbox, parts.resume, parts.latency)
        self.settings = settings
        self.metrics = metrics
        self._parts = parts
        self._arbiter = parts.arbiter
        self._shards = parts.shards
        # The clock itself, not trio.current_time: how it is may be asked when Trio has ended.
        self._now = trio.lowlevel.current_clock().current_time
        self._started_at = self._now()
        self._nursery: trio.Nursery | None = None
        self._beside: list[Callable[[], Awaitable[None]]] = []

    def __repr__(self) -> str:
        return f"<Feed of {sum(len(line.streams) for line in self.lines)} streams>"

    # -- for the consumer ---------------------------------------------------------------------

    def drain(self) -> list[Item[P]]:
        """All that can be delivered now, without waiting: for the last write at shutdown.

        What waits behind a gap is delivered too, and the gap declared; unless a restart with
        ``state`` fetches both. See :meth:`write_off` for that.
        """
        items = self._outbox.drain()
        self._parts.delivery.dismiss()
        for track in self._arbiter.gapped():
            released: list[Item[Any]] = []
            if not self._left_to_restart(track):
                while track.held:
                    if track.gap is not None:
                        self.metrics.gap("declared")
                    track.abandon("shutdown", released)
            items += self._parts.delivery.told(released)
        rest: list[Item[P]] = [*self._items, *items]
        self._items = iter(())
        self.handed_out += items
        return rest

    def write_off(self) -> list[Gap]:
        """Enter in the ledger as missing what was received and will not have been dealt with.

        For the end: what was handed out and not acknowledged, and what waits behind a gap that is
        left to a restart. Returns one range per stream and reason.
        """
        lost: dict[tuple[str, str, str], Gap] = {}

        def enter(item: Item[Any], reason: GapReason) -> None:
            if isinstance(item, Event):
                item = self._arbiter.track(item.venue, item.stream).lose(item, reason)
            if isinstance(item, Gap):
                before = lost.get((item.venue, item.stream, reason), item)
                lost[item.venue, item.stream, reason] = msgspec.structs.replace(
                    item, first=before.first, since=before.since
                )

        for item in self.handed_out:
            enter(item, "not_written")
        self.handed_out = []
        for track in self._arbiter.gapped():
            while track.held:
                items: list[Item[Any]] = []
                track.abandon("shutdown", items)
                for item in items:
                    enter(item, "shutdown")
        return list(lost.values())

    def save_state(self) -> None:
        """Write the state file now, if there is one; blocks for as long as the disk takes.

        :raises SinkError: if it cannot be written.
        """
        self._resume.save()

    async def save_at_last(self) -> None:
        """Write the state file, if there is one, within a bound, whatever was cancelled.

        :raises SinkError: if it cannot be written.
        """
        await self.backend.call(self._resume.save_at_last)

    @property
    def caught_up(self) -> bool:
        """Whether everything that is decided has been handed out."""
        return not self._outbox.size

    def coverage(self) -> list[Coverage]:
        """The ledger: per stream, which ids came live, were repaired, or are missing and why."""
        return [track.coverage() for track in self._arbiter.tracks]

    def latency(self) -> Latency:
        """How long each part of the way took of late, in seconds."""
        return self._latency.recent()

    def status(self) -> FeedStatus:
        """What the feed is doing now."""
        return feed_status(self._parts, self.settings, self._started_at, self._now())

    @property
    def endpoints(self) -> Endpoints:
        """The failover list; to look at, not to change."""
        return self._parts.endpoints

    @property
    def unshared(self) -> str:
        """Why budgets are not shared that should be; empty if they are."""
        return "" if self._parts.sharing is None else self._parts.sharing.problem

    @property
    def lines(self) -> Sequence[Line]:
        """All lines; to look at, not to change."""
        return self._shards.lines

    @property
    def streams(self) -> Sequence[str]:
        """The names of all streams that are subscribed, each once."""
        return list(self.subscribed)

    @property
    def flowing(self) -> bool:
        """Whether every line has a connection that has brought data."""
        return all(line.carries() for line in self.lines)

    @property
    def received(self) -> int:
        """Messages that came, those of streams that are gone included."""
        return sum(count for _, count in self._arbiter.received)

    @property
    def tracks(self) -> Sequence[Track]:
        """What is known of each stream that brought something; to look at, not to change."""
        return self._arbiter.tracks

    @overload
    async def subscribe(self, *streams: StreamName[P]) -> None: ...
    @overload
    async def subscribe(self: Feed, *streams: str) -> None: ...
    async def subscribe(self, *streams: str) -> None:
        """Add streams while the feed runs; they stay subscribed across reconnects.

        :raises ConfigError: for a name that is no stream.
        :raises SubscriptionRejected: if the exchange refuses one; the others stay.
        :raises ConnectionFailed: if the connection ends first; the streams are kept, and
            subscribed by the next one.
        """
        product = self.settings.dialect.product
        names = [parse_stream(name, product).name for name in streams]
        await self.backend.call(functools.partial(self._add, names))

    def resync(self, *streams: str) -> None:
        """Ask for a new snapshot of depth streams, for books that are wrong or in doubt.

        It comes in its place among the updates, as the budget allows; other streams are ignored,
        and those that are not subscribed.
        """
        names = {any_stream(name).name for name in streams} & self.subscribed.keys()
        for track in self._arbiter.tracks:
            if not isinstance(track, BookTrack) or track.stream.name not in names:
                continue
            if track.begin_again():
                self._parts.repairs.notice()

    def begin(self, positions: Collection[Position], came: Iterable[Item] = ()) -> None:
        """Let streams go on after these positions, as a restart does, whatever was known of them.

        What comes between is repaired, or declared.

        :param came: what was taken of them; with what of it is behind the positions, and what is on
            its way, they go on.
        """
        begun = {(one.venue, one.stream): one for one in positions}
        items = [*came, *self._recall(begun.keys())]
        unheard: list[Key] = []
        for key in begun:
            if (track := self._arbiter.found(*key)) is not None:
                items += [one.event for one in track.held]
                if track.unheard:
                    unheard.append(key)
        self._resume.begin(positions)
        self._parts.delivery.take_again(behind(items, begun, self.settings.unit))
        for key in unheard:  # as it was: what comes next is not behind what came
            self._arbiter.track(*key).interrupt()

    def stand_by(
        self, streams: Collection[str], began_anew: Callable[[Key, Sequence[Item]], None]
    ) -> None:
        """Leave the repair of streams to another process, until :meth:`attend`.

        One that lacks something begins anew behind that, which is not declared.

        :param began_anew: is told of each, with what was on its way, and came before that.
        """

        def begin_anew(track: Track) -> None:
            held = [one.event for one in track.held]
            self._arbiter.end(track)
            key = track.venue, track.stream.name
            began_anew(key, self._recall({key}))
            self._parts.delivery.take_again(held)

        self._parts.repairs.leave(streams, begin_anew)

    def attend(self, streams: Collection[str]) -> None:
        """Repair streams after :meth:`stand_by`; their books get a snapshot."""
        self._parts.repairs.attend(streams)
        self.resync(*streams)

    def forget(self, streams: Collection[str]) -> None:
        """Drop what is known of streams that were unsubscribed, and what is on its way of them."""
        gone = [one for one in self._arbiter.tracks if one.stream.name in streams]
        self._recall({(one.venue, one.stream.name) for one in gone})
        for track in gone:
            self._arbiter.end(track)

    async def unsubscribe(self, *streams: str) -> None:
        """Remove streams while the feed runs.

        :raises ConnectionFailed: if the connection ends first; the streams are removed anyhow.
        """
        names = {any_stream(name).name for name in streams}
        await self.backend.call(functools.partial(self._shards.unsubscribe, names))

    # -- for what is built on it ----------------------------------------------------------------

    @property
    def subscribed(self) -> Mapping[str, Sequence[Line]]:
        """Every stream that is subscribed, and its lines; after a change, another mapping."""
        return self._shards.carriers

    def track(self, venue: str, stream: str) -> Track | None:
        """What is known of a stream of a venue; None if it has brought nothing."""
        return self._arbiter.found(venue, stream)

    def tell(self, transition: Transition) -> None:
        """Tell log, metrics and observers of a transition."""
        self._parts.emit(transition)

    def beside(self, task: Callable[[], Awaitable[None]]) -> None:
        """Run a task for as long as the feed runs; it ends the feed if it raises."""
        if self._nursery is None:
            self._beside.append(task)
        else:
            self._nursery.start_soon(task)

    async def snapshot(self, venue: str, stream: str) -> Event[DepthSnapshot]:
        """A book as REST has it now, as deep as the budget allows; the stream is not touched.

        :raises BackfillError: if no host of the venue gave an answer.
        """
        fetch = self._parts.repairs.snapshot
        return await self.backend.call(functools.partial(fetch, venue, stream_of(venue, stream)))

    # -- inside -------------------------------------------------------------------------------

    def _recall(self, keys: Collection[Key]) -> list[Item]:
        """Take back what is on its way of streams."""
        items = list(self._items)
        self._items = iter([item for item in items if key_of(item) not in keys])
        return [item for item in items if key_of(item) in keys] + self._outbox.remove(keys)

    async def run(self) -> None:
        """Run the lines and all beside them; ends when a line gives up."""
        try:
            async with trio.open_nursery() as nursery:
                self._nursery = nursery
                for task in (*self._parts.tasks, *self._beside):
                    nursery.start_soon(task)
                for line in self.lines:
                    nursery.start_soon(self._run_line, line)
        finally:
            self._nursery = None
            self._shards.close()
            with trio.CancelScope(shield=True, deadline=trio.current_time() + CLOSE_TIMEOUT_S):
                await self._parts.rest.aclose()

    def close(self) -> None:
        """The feed was left: whoever asks for more is told so."""
        self._outbox.close(FeedClosed("the feed was left, or has ended; open another one"))

    async def _add(self, streams: list[str]) -> None:
        await self._shards.subscribe(streams, self._start)

    def _start(self, line: Line) -> None:
        if self._nursery is not None:
            self._nursery.start_soon(self._run_line, line)

    async def _run_line(self, line: Line) -> None:
        try:
            await line.run()
        except GaveUp as gave_up:
            self._outbox.close(gave_up)
            assert self._nursery is not None  # noqa: S101 - set by run(), which started this task
            self._nursery.cancel_scope.cancel()

    def _left_to_restart(self, track: Track) -> bool:
        """Whether a restart can fetch a track's open gap, and what is held behind it, by itself."""
        return (
            self.settings.state is not None
            and track.repair_kind not in (Repair.SNAPSHOT, Repair.NONE)
            and self._parts.rest.serves(track.venue)
            and track.held_behind <= self.settings.resume_limit
        )
