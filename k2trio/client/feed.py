"""The feed: what its consumer sees, and the nursery in which everything of it runs.

Lines → arbitration → repair → one sequence of events. ``opening.py`` makes the parts and ties them
together; what the consumer reads comes out of one bounded outbox.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import trio

from ..errors import GaveUp
from ..market.streams import parse_stream
from .health import FeedStatus, line_status

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Sequence

    from ..continuity.arbiter import Arbiter
    from ..continuity.items import Item
    from ..continuity.ledger import Coverage
    from ..continuity.track import Track
    from ..observe.metrics import Metrics
    from ..policy.failover import Endpoints
    from ..repair.gaps import Repairs
    from ..repair.rest import Backfill
    from ..settings import Settings
    from .delivery import Delivery
    from .line import Line
    from .outbox import Outbox
    from .resume import Resume
    from .shards import Shards

CLOSE_TIMEOUT_S = 1.0
"""Bound on closing idle REST connections at shutdown."""


@dataclass(frozen=True)
class Parts:
    """What a feed is made of.

    :ivar tasks: what runs beside the lines for as long as the feed does.
    """

    arbiter: Arbiter
    outbox: Outbox
    delivery: Delivery
    endpoints: Endpoints
    shards: Shards
    resume: Resume
    rest: Backfill
    repairs: Repairs
    tasks: Sequence[Callable[[], Awaitable[None]]]


class Batches:
    """Iterates a feed batch by batch. Not a generator: it needs no closing when it is left."""

    def __init__(self, feed: Feed) -> None:
        self._feed = feed

    def __aiter__(self) -> Batches:
        return self

    async def __anext__(self) -> list[Item]:
        return await self._feed.next_batch()


class Feed:
    """An open feed; iterate it for events. Made by :func:`open_feed`."""

    def __init__(self, settings: Settings, metrics: Metrics, parts: Parts) -> None:
        self.settings = settings
        self.metrics = metrics
        self._parts = parts
        self._arbiter = parts.arbiter
        self._outbox = parts.outbox
        self._shards = parts.shards
        self._items: Iterator[Item] = iter(())
        self._handed_out: list[Item] = []
        self._started_at = trio.current_time()
        self._nursery: trio.Nursery | None = None

    def __repr__(self) -> str:
        return f"<Feed of {sum(len(line.streams) for line in self.lines)} streams>"

    # -- for the consumer ---------------------------------------------------------------------

    def __aiter__(self) -> Feed:
        return self

    async def __anext__(self) -> Item:
        # No checkpoint inside a batch: iteration costs next to nothing per event.
        for item in self._items:
            return item
        self._items = iter(await self._next_batch())
        return next(self._items)

    def batches(self) -> Batches:
        """Whole batches: everything that one socket read made deliverable, in order.

        Iteration raises :class:`GaveUp` when the feed has ended, after the last batch.
        """
        return Batches(self)

    async def next_batch(self) -> list[Item]:
        """The next batch, or what is left of the one that single events were taken from.

        :raises GaveUp: when the feed has ended, after the last batch.
        """
        return list(self._items) or await self._next_batch()

    def drain(self) -> list[Item]:
        """What is ready to be delivered now, without waiting: for the last write at shutdown."""
        items = self._outbox.drain()
        rest = [*self._items, *items]
        self._handed_out += items
        return rest

    def acknowledge(self) -> None:
        """Say that everything handed out so far has been dealt with.

        Asking for the next batch says so by itself; this is for the last one, before the feed is
        left. What is not acknowledged is delivered again after a restart with ``state``.
        """
        self._parts.resume.note(self._handed_out)
        self._handed_out = []

    def save_state(self) -> None:
        """Write the state file now, if there is one; blocks for as long as the disk takes.

        :raises SinkError: if it cannot be written.
        """
        self._parts.resume.save()

    def coverage(self) -> list[Coverage]:
        """The ledger: per stream, which ids came live, were repaired, or are missing and why."""
        return [track.coverage() for track in self._arbiter.tracks]

    def status(self) -> FeedStatus:
        """What the feed is doing now."""
        last_data_at = self._parts.delivery.last_data_at
        silence = trio.current_time() - (self._started_at if last_data_at is None else last_data_at)
        disconnected = self._shards.disconnected()
        problems = [f"line {name} is not connected" for name in disconnected]
        limit = self.settings.health_check_timeout
        if last_data_at is None:
            problems.append("no data has arrived yet")
        elif limit and silence >= limit:
            problems.append(f"no data for {silence:.1f} s")
        problems += self._parts.repairs.problems(trio.current_time())
        return FeedStatus(
            connected=not disconnected,
            silence_s=silence,
            lines=tuple(map(line_status, self.lines)),
            breakers={
                endpoint.name: endpoint.breaker.state.name.lower()
                for endpoint in self.endpoints.all
            },
            buffered=self._outbox.size,
            duplicates=sum(track.duplicates for track in self.tracks),
            missing=sum(track.ledger.missing for track in self.tracks),
            problems=tuple(problems),
        )

    @property
    def endpoints(self) -> Endpoints:
        """The failover list; to look at, not to change."""
        return self._parts.endpoints

    @property
    def lines(self) -> Sequence[Line]:
        """All lines; to look at, not to change."""
        return self._shards.lines

    @property
    def tracks(self) -> Sequence[Track]:
        """What is known of each stream that brought something; to look at, not to change."""
        return self._arbiter.tracks

    async def subscribe(self, *streams: str) -> None:
        """Add streams while the feed runs; they stay subscribed across reconnects.

        :raises ConfigError: for a name that is no stream.
        :raises SubscriptionRejected: if the exchange refuses one; the others stay.
        :raises ConnectionFailed: if the connection ends first; the streams are kept, and
            subscribed by the next one.
        """
        new = await self._shards.subscribe([parse_stream(name).name for name in streams])
        if self._nursery is not None:
            for line in new:
                self._nursery.start_soon(self._run_line, line)

    async def unsubscribe(self, *streams: str) -> None:
        """Remove streams while the feed runs.

        :raises ConnectionFailed: if the connection ends first; the streams are removed anyhow.
        """
        await self._shards.unsubscribe({parse_stream(name).name for name in streams})

    # -- inside -------------------------------------------------------------------------------

    async def run(self) -> None:
        """Run the lines and all beside them; ends when a line gives up."""
        try:
            async with trio.open_nursery() as nursery:
                self._nursery = nursery
                for task in self._parts.tasks:
                    nursery.start_soon(task)
                for line in self.lines:
                    nursery.start_soon(self._run_line, line)
        finally:
            with trio.CancelScope(shield=True, deadline=trio.current_time() + CLOSE_TIMEOUT_S):
                await self._parts.rest.aclose()

    async def _run_line(self, line: Line) -> None:
        try:
            await line.run()
        except GaveUp as gave_up:
            self._outbox.close(gave_up)
            assert self._nursery is not None  # noqa: S101 - set by run(), which started this task
            self._nursery.cancel_scope.cancel()

    async def _next_batch(self) -> list[Item]:
        self.acknowledge()
        self._handed_out = await self._outbox.get()
        return self._handed_out
