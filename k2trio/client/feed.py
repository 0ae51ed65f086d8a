"""The feed: lines → arbitration → repair → one sequence of events.

``open_feed`` holds the nursery in which everything of a feed runs; leaving it is the shutdown. What
the consumer reads comes out of one bounded outbox. Deciding what may be delivered and putting it
there is one synchronous step, so the order of a stream's messages is the order of the decisions,
whichever connection or repair they came from.
"""

from __future__ import annotations

import functools
import random
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import trio

from ..continuity.arbiter import Arbiter
from ..continuity.klines import KlineTrack
from ..continuity.state import Position, load_state, save_state
from ..continuity.track import Coverage, Gap, Item, Outage, Track
from ..errors import ConfigError, GaveUp, SinkError, leaves
from ..market.streams import parse_stream, shard
from ..observe.metrics import Metrics
from ..observe.transitions import BreakerChanged
from ..policy.breaker import CircuitBreaker, Signal, State
from ..policy.failover import Endpoint, Endpoints
from ..repair.gaps import Repairs
from ..repair.rest import Backfill
from ..repair.staleness import StalenessCheck
from ..settings import Settings, load_settings
from ..wire.dialer import Dialer, TcpDialer
from ..wire.tls import make_ssl_context
from .line import Line
from .outbox import Outbox
from .session import Runtime, suspended_s

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncGenerator, Callable, Iterator, Sequence

    import httpx2

    from ..continuity.track import Track
    from ..market.payloads import Event
    from ..observe.transitions import Observer, Transition

CLOSE_TIMEOUT_S = 1.0
"""Bound on closing idle REST connections at shutdown."""
UNKNOWN_PROBE_TIMEOUT_S = 60.0
"""Stands in for ``health_check_timeout`` in a probe's deadline where that is switched off."""


@dataclass(frozen=True)
class LineStatus:
    """What one line is doing."""

    name: str
    endpoint: str | None
    venue: str | None
    connected: bool
    stable: bool
    streams: int


@dataclass(frozen=True)
class FeedStatus:
    """What a feed is doing.

    :ivar connected: data can flow on every line.
    :ivar silence_s: seconds since the last data message, or since the start if there was none.
    :ivar breakers: state name per endpoint.
    :ivar buffered: messages that wait for the consumer.
    :ivar problems: what is not as it should be, one sentence each; empty when all is well.
    """

    connected: bool
    silence_s: float
    lines: tuple[LineStatus, ...]
    breakers: dict[str, str]
    buffered: int
    duplicates: int
    missing: int
    problems: tuple[str, ...]


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

    def __init__(
        self,
        streams: Sequence[str],
        settings: Settings,
        dial: Dialer,
        metrics: Metrics,
        observers: Sequence[Observer],
        rng: random.Random,
        wall_clock: Callable[[], float],
        suspended: Callable[[], float],
        backfill_transport: httpx2.AsyncBaseTransport | None,
        ssl_context: ssl.SSLContext,
    ) -> None:
        self.settings = settings
        self.metrics = metrics
        self._observers = [metrics.observe, *observers]
        self._arbiter = Arbiter(settings.max_held_messages)
        self._outbox = Outbox(
            settings.max_buffered_messages, self._lose if settings.overflow == "drop" else None
        )
        self._items: Iterator[Item] = iter(())
        self._handed_out: list[Item] = []
        self._dealt_with: dict[tuple[str, str], Event | Gap] = {}
        self._line_keys: dict[tuple[str, str, str], int] = {}
        self._started_at = trio.current_time()
        self._last_data_at: float | None = None
        self._endpoints = Endpoints(
            [
                Endpoint.from_url(url, index, self._make_breaker)
                for index, url in enumerate(settings.endpoint_urls)
            ],
            settings.recovery_timeout,
        )
        for endpoint in self._endpoints.all:
            venue = endpoint.venue
            metrics.add_breaker(endpoint.name)
            metrics.add_endpoint(endpoint.name, venue, endpoint.index)
            metrics.watch_budget(venue, functools.partial(self._budget_left, venue))
        metrics.watch_received(
            lambda: ((track.stream.symbol, track.received) for track in self._arbiter.tracks)
        )
        metrics.watch_buffer(lambda: self._outbox.size)
        metrics.watch_held(lambda: sum(len(track.held) for track in self._arbiter.tracks))
        metrics.watch_oldest_gap(self._oldest_gap_s)
        metrics.set_limits(settings.max_reconnect_attempts, settings.max_buffered_messages)
        self._backfill = Backfill(
            [endpoint.venue for endpoint in self._endpoints.all],
            settings,
            verify=ssl_context,
            transport=backfill_transport,
            wall_clock=wall_clock,
        )
        self._repairs = Repairs(
            self._arbiter, self._backfill, settings, self._publish, metrics, self._redundant
        )
        self._staleness = StalenessCheck(self._arbiter, self._backfill, settings, self._emit)
        self._runtime = Runtime(
            settings,
            self._deliver,
            lambda: self._outbox.full,
            self._room,
            self._interrupted,
            self._staleness.verify,
            self._emit,
            dial,
            rng,
            wall_clock,
            suspended,
        )
        self._resumed: dict[tuple[str, str], Position] = {}
        self._resume()
        self._shards: list[list[Line]] = []
        self._nursery: trio.Nursery | None = None
        for names in shard(streams, settings.streams_per_connection):
            self._add_shard(names)

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
        if self.settings.state is not None:
            for item in self._handed_out:
                if not isinstance(item, Outage):
                    self._dealt_with[item.venue, item.stream] = item
        self._handed_out = []

    def coverage(self) -> list[Coverage]:
        """The ledger: per stream, which ids came live, were repaired, or are missing and why."""
        return [track.coverage() for track in self._arbiter.tracks]

    def status(self) -> FeedStatus:
        """What the feed is doing now."""
        lines = tuple(self._line_status(line) for line in self.lines)
        now = trio.current_time()
        silence = now - (self._started_at if self._last_data_at is None else self._last_data_at)
        problems = [
            f"line {group[0].name} is not connected"
            for group in self._shards
            if not any(line.connected for line in group)
        ]
        limit = self.settings.health_check_timeout
        if self._last_data_at is None:
            problems.append("no data has arrived yet")
        elif limit and silence >= limit:
            problems.append(f"no data for {silence:.1f} s")
        return FeedStatus(
            connected=self._connected(),
            silence_s=silence,
            lines=lines,
            breakers={
                endpoint.name: endpoint.breaker.state.name.lower()
                for endpoint in self._endpoints.all
            },
            buffered=self._outbox.size,
            duplicates=sum(track.duplicates for track in self._arbiter.tracks),
            missing=sum(track.missing for track in self._arbiter.tracks),
            problems=tuple(problems),
        )

    @property
    def endpoints(self) -> Endpoints:
        """The failover list; to look at, not to change."""
        return self._endpoints

    @property
    def lines(self) -> Sequence[Line]:
        """All lines; to look at, not to change."""
        return [line for lines in self._shards for line in lines]

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
        known = {name for line in self.lines for name in line.streams}
        names = [parse_stream(name).name for name in streams]
        new = [name for name in dict.fromkeys(names) if name not in known]
        per_line = self.settings.streams_per_connection
        for lines in self._shards:
            room = per_line - len(lines[0].streams)
            take, new = new[:room], new[room:]
            if take:
                for line in lines:
                    await line.subscribe(take)
        for rest in shard(new, per_line):
            lines = self._add_shard(rest)
            if self._nursery is not None:
                for line in lines:
                    self._nursery.start_soon(self._run_line, line)

    async def unsubscribe(self, *streams: str) -> None:
        """Remove streams while the feed runs.

        :raises ConnectionFailed: if the connection ends first; the streams are removed anyhow.
        """
        names = {parse_stream(name).name for name in streams}
        for line in self.lines:
            if going := [name for name in line.streams if name in names]:
                await line.unsubscribe(going)

    # -- inside -------------------------------------------------------------------------------

    async def run(self) -> None:
        """Run the lines and the release of gaps; ends when a line gives up."""
        try:
            async with trio.open_nursery() as nursery:
                self._nursery = nursery
                nursery.start_soon(self._repairs.run)
                nursery.start_soon(self._staleness.watch, lambda: self.lines)
                if self.settings.state is not None:
                    nursery.start_soon(self._save_state_regularly)
                for line in self.lines:
                    nursery.start_soon(self._run_line, line)
        finally:
            with trio.CancelScope(shield=True, deadline=trio.current_time() + CLOSE_TIMEOUT_S):
                await self._backfill.aclose()

    async def _run_line(self, line: Line) -> None:
        try:
            await line.run()
        except GaveUp as gave_up:
            self._outbox.close(gave_up)
            assert self._nursery is not None  # noqa: S101 - set by run(), which started this task
            self._nursery.cancel_scope.cancel()

    def _add_shard(self, streams: Sequence[str]) -> list[Line]:
        """One line for the streams, or two for hot standby."""
        number = len(self._shards)
        names = [str(number)]
        if self.settings.redundancy > 1:
            names = [f"{number}{letter}" for letter in "ab"[: self.settings.redundancy]]
        lines = [
            Line(name, streams, self._endpoints, self._runtime, self._arbiter.settled, place)
            for place, name in enumerate(names)
        ]
        for line in lines:
            line.companions = [other for other in lines if other is not line]
        self._shards.append(lines)
        return lines

    def _make_breaker(self, name: str) -> CircuitBreaker:
        settings = self.settings
        quiet = settings.health_check_timeout or UNKNOWN_PROBE_TIMEOUT_S
        return CircuitBreaker(
            name,
            failure_threshold=settings.failure_threshold,
            success_threshold=settings.success_threshold,
            recovery_timeout=settings.recovery_timeout,
            probe_timeout=settings.handshake_timeout + quiet + settings.stable_after,
            enabled=settings.enable_circuit_breaker,
            on_change=self._breaker_changed,
        )

    def _breaker_changed(self, breaker: CircuitBreaker, old: State, cause: Signal) -> None:
        self._emit(
            BreakerChanged(breaker.name, old.name.lower(), breaker.state.name.lower(), cause.value)
        )

    def _emit(self, transition: Transition) -> None:
        for observe in self._observers:
            observe(transition)
        self.metrics.set_connected(self._connected())

    def _connected(self) -> bool:
        # One line of a shard is enough: the other one is the standby.
        return all(any(line.connected for line in lines) for lines in self._shards)

    def _budget_left(self, venue: str) -> int:
        return self._endpoints.budget_left(venue, trio.current_time())

    def _oldest_gap_s(self) -> float:
        now = trio.current_time()
        return max((now - track.held[0].since for track in self._arbiter.gapped()), default=0.0)

    def _line_status(self, line: Line) -> LineStatus:
        session = line.current
        if session is None:
            return LineStatus(line.name, None, None, False, False, len(line.streams))
        where = session.endpoint
        return LineStatus(
            line.name,
            where.name,
            where.venue,
            line.connected,
            line.connected and session.stable,
            len(line.streams),
        )

    async def _next_batch(self) -> list[Item]:
        self.acknowledge()
        self._handed_out = await self._outbox.get()
        return self._handed_out

    def _deliver(self, line: str, venue: str, events: Sequence[Event]) -> None:
        now = trio.current_time()
        self._last_data_at = now
        items, duplicates = self._arbiter.offer(venue, events, now)
        self.metrics.received(events[-1], duplicates)
        if self.settings.redundancy > 1:
            self._compare_lines(line, venue, events, duplicates)
        if self._arbiter.gap_opened:
            self._arbiter.gap_opened = False
            self._repairs.notice()
        if self._arbiter.outage_noted:
            self._arbiter.outage_noted = False
            for item in items:
                if isinstance(item, Outage):
                    self.metrics.unproven(item.until - item.since)
        if items:
            self._outbox.put(items)

    async def _publish(self, items: list[Item]) -> None:
        """Hand over what a repair brought; returns when the consumer has room."""
        if items:
            self._outbox.put(items)
        await self._room()

    async def _room(self) -> None:
        if self._outbox.full:
            blocked_at = trio.current_time()
            await self._outbox.room()
            self.metrics.consumer_blocked(trio.current_time() - blocked_at)
        else:
            await trio.lowlevel.checkpoint()

    def _compare_lines(
        self, line: str, venue: str, events: Sequence[Event], duplicates: int
    ) -> None:
        """Which line is ahead, and what each one lost."""
        self.metrics.line_delivered(line, len(events) - duplicates, duplicates)
        for event in events:
            track = self._arbiter.track(venue, event.stream)
            if track.contiguous:
                key = (line, venue, event.stream)
                first = track.first_of(event.data)
                expected = self._line_keys.get(key, first)
                if first > expected:
                    self.metrics.line_lost(line, first - expected)
                self._line_keys[key] = max(expected, track.last_of(event.data) + 1)

    def _redundant(self, track: Track) -> bool:
        """Whether more than one connection carries a stream of a venue."""
        carriers = (line for line in self.lines if track.stream.name in line.streams)
        return sum(line.connections(track.venue) for line in carriers) > 1

    def _interrupted(self, name: str, venue: str) -> None:
        """A line has lost its connection: what no other line carries is interrupted."""
        for lines in self._shards:
            for line in lines:
                if line.name == name and not any(other.connected for other in line.companions):
                    self._arbiter.interrupt(venue, line.streams)

    def _lose(self, event: Event) -> Gap | Outage:
        self.metrics.dropped(1)
        return self._arbiter.track(event.venue, event.stream).lose(event)

    # -- resume -------------------------------------------------------------------------------

    def _resume(self) -> None:
        if self.settings.state is not None:
            for position in load_state(self.settings.state):
                self._resumed[position.venue, position.stream] = position
                track = self._arbiter.track(position.venue, position.stream)
                track.resume(position.position, self.settings.resume_limit)

    def _positions(self) -> list[Position]:
        positions = dict(self._resumed)
        for (venue, stream), item in self._dealt_with.items():
            track = self._arbiter.track(venue, stream)
            if track.contiguous or isinstance(track, KlineTrack):
                after = track.position_after(item)
                positions[venue, stream] = Position(venue, stream, after)
        return list(positions.values())

    async def _save_state_regularly(self) -> None:
        while True:
            await trio.sleep(self.settings.state_interval)
            await trio.to_thread.run_sync(self.save_state)

    def save_state(self) -> None:
        """Write the state file now, if there is one; blocks for as long as the disk takes.

        :raises SinkError: if it cannot be written.
        """
        path = self.settings.state
        positions = self._positions()
        if path is None or not positions:
            return
        try:
            save_state(path, positions)
        except OSError as error:
            raise SinkError(f"cannot write the state file {path}: {error.strerror}") from error


@asynccontextmanager
async def open_feed(
    streams: Sequence[str] | None = None,
    settings: Settings | None = None,
    *,
    dial: Dialer | None = None,
    metrics: Metrics | None = None,
    observers: Sequence[Observer] = (),
    rng: random.Random | None = None,
    wall_clock: Callable[[], float] = time.time,
    suspended: Callable[[], float] = suspended_s,
    backfill_transport: httpx2.AsyncBaseTransport | None = None,
) -> AsyncGenerator[Feed]:
    """Open a feed of market data; leaving the block closes every connection, within a bound.

    Iterate the feed for :class:`Event` and :class:`Gap` values in the venue's own order per stream.
    When the feed gives up, iteration raises :class:`GaveUp` after the last event.

    :param streams: exact stream names, e.g. ``["btcusdt@trade"]``; by default the settings'.
    :param settings: by default read from ``K2_BINANCE_*`` variables.
    :param dial: opens the byte stream to an endpoint; by default DNS, TCP and TLS.
    :param metrics: by default in a registry of its own.
    :param observers: called synchronously with every transition.
    :param rng: source of jitter.
    :param wall_clock: Unix time, for the stamps that people read.
    :param suspended: seconds that this machine has spent suspended.
    :param backfill_transport: stands in for the REST network.
    :raises ConfigError: for settings or stream names that cannot work.
    """
    settings = load_settings() if settings is None else settings
    names = [parse_stream(name).name for name in streams or settings.stream_names]
    if not names:
        raise ConfigError("no streams to open; name some, e.g. 'btcusdt@trade'")
    ssl_context = make_ssl_context(settings)
    feed = Feed(
        names,
        settings,
        TcpDialer(ssl_context, busy_poll=settings.busy_poll) if dial is None else dial,
        Metrics(symbols_of(names)) if metrics is None else metrics,
        observers,
        random.Random() if rng is None else rng,
        wall_clock,
        suspended,
        backfill_transport,
        ssl_context,
    )
    body_error: BaseException | None = None
    group: BaseExceptionGroup[BaseException] | None = None
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(feed.run)
            try:
                yield feed
            except BaseException as error:
                body_error = error
                raise
            finally:
                nursery.cancel_scope.cancel()
    except BaseExceptionGroup as raised:
        group = raised
    if settings.state is not None:
        feed.save_state()
    if group is not None:
        # The caller's own exception comes out as it went in; anything more keeps its group.
        if body_error is not None and leaves(group) == [body_error]:
            raise body_error
        raise group


def symbols_of(streams: Sequence[str]) -> list[str]:
    """The symbols that the streams name, in order, each once."""
    symbols = (parse_stream(name).symbol for name in streams)
    return list(dict.fromkeys(symbol for symbol in symbols if symbol is not None))
