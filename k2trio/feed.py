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
from collections import deque
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import trio

from .breaker import CircuitBreaker, Signal, State
from .connection import Dialer, TcpDialer, make_ssl_context
from .continuity import Arbiter, Item
from .errors import ConfigError, GaveUp, K2Error, leaves
from .failover import Endpoint, Endpoints
from .line import Line
from .metrics import Metrics
from .session import Runtime, suspended_s
from .settings import Settings, load_settings
from .streams import parse_stream, shard
from .transitions import BreakerChanged

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Sequence

    from .messages import Event
    from .transitions import Observer, Transition

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


class Outbox:
    """Decided items on their way to the consumer, bounded in messages.

    :meth:`put` never waits, so that it can be one step with the decision; the producers wait
    afterwards, in :meth:`room`. The bound is exceeded by one batch per producer at most.
    """

    def __init__(self, limit: int) -> None:
        self.size = 0
        self._limit = limit
        self._batches: deque[list[Item]] = deque()
        self._closed: K2Error | None = None
        self._filled = trio.Event()
        self._drained = trio.Event()

    @property
    def full(self) -> bool:
        """Whether producers should wait."""
        return self.size >= self._limit

    def put(self, items: list[Item]) -> None:
        """Append a batch."""
        self._batches.append(items)
        self.size += len(items)
        self._filled.set()

    def close(self, error: K2Error) -> None:
        """No more will come; the consumer gets the error after the last batch."""
        self._closed = error
        self._filled.set()

    async def room(self) -> None:
        """Wait until the outbox is below its bound."""
        while self.full:
            self._drained = trio.Event()
            await self._drained.wait()

    async def get(self) -> list[Item]:
        """The next batch.

        :raises K2Error: what ended the feed, after everything before it was taken.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        while not self._batches:
            if self._closed is not None:
                raise self._closed
            self._filled = trio.Event()
            await self._filled.wait()
        items = self._batches.popleft()
        self.size -= len(items)
        if not self.full:
            self._drained.set()
        return items

    def drain(self) -> list[Item]:
        """Everything that is ready, without waiting."""
        items = [item for batch in self._batches for item in batch]
        self._batches.clear()
        self.size = 0
        return items


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
    ) -> None:
        self.settings = settings
        self.metrics = metrics
        self._observers = [metrics.observe, *observers]
        self._arbiter = Arbiter(settings.max_held_messages)
        self._outbox = Outbox(settings.max_buffered_messages)
        self._items: Iterator[Item] = iter(())
        self._gap_opened = trio.Event()
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
            metrics.watch_budget(venue, functools.partial(self._budget_left, venue))
        metrics.watch_buffer(lambda: self._outbox.size)
        self._runtime = Runtime(
            settings, self._deliver, self._emit, dial, rng, wall_clock, suspended
        )
        self._lines: list[Line] = []
        self._nursery: trio.Nursery | None = None
        for names in shard(streams, settings.streams_per_connection):
            self._add_line(names)

    def __repr__(self) -> str:
        return f"<Feed of {sum(len(line.streams) for line in self._lines)} streams>"

    # -- for the consumer ---------------------------------------------------------------------

    def __aiter__(self) -> Feed:
        return self

    async def __anext__(self) -> Item:
        # No checkpoint inside a batch: iteration costs next to nothing per event.
        for item in self._items:
            return item
        self._items = iter(await self._outbox.get())
        return next(self._items)

    async def batches(self) -> AsyncIterator[list[Item]]:
        """Whole batches: everything that one socket read made deliverable, in order.

        :raises GaveUp: when the feed has ended, after the last batch.
        """
        if rest := list(self._items):
            yield rest
        while True:
            yield await self._outbox.get()

    def drain(self) -> list[Item]:
        """What is ready to be delivered now, without waiting: for the last write at shutdown."""
        return [*self._items, *self._outbox.drain()]

    def status(self) -> FeedStatus:
        """What the feed is doing now."""
        lines = tuple(self._line_status(line) for line in self._lines)
        now = trio.current_time()
        silence = now - (self._started_at if self._last_data_at is None else self._last_data_at)
        problems = [f"line {line.name} is not connected" for line in lines if not line.connected]
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

    async def subscribe(self, *streams: str) -> None:
        """Add streams while the feed runs; they stay subscribed across reconnects.

        :raises ConfigError: for a name that is no stream.
        :raises SubscriptionRejected: if the exchange refuses one; the others stay.
        :raises ConnectionFailed: if the connection ends first; the streams are kept, and
            subscribed by the next one.
        """
        known = {name for line in self._lines for name in line.streams}
        names = [parse_stream(name).name for name in streams]
        new = [name for name in dict.fromkeys(names) if name not in known]
        per_line = self.settings.streams_per_connection
        for line in self._lines:
            take, new = new[: per_line - len(line.streams)], new[per_line - len(line.streams) :]
            if take:
                await line.subscribe(take)
        for rest in shard(new, per_line):
            line = self._add_line(rest)
            if self._nursery is not None:
                self._nursery.start_soon(self._run_line, line)

    async def unsubscribe(self, *streams: str) -> None:
        """Remove streams while the feed runs.

        :raises ConnectionFailed: if the connection ends first; the streams are removed anyhow.
        """
        names = {parse_stream(name).name for name in streams}
        for line in self._lines:
            if going := [name for name in line.streams if name in names]:
                await line.unsubscribe(going)

    # -- inside -------------------------------------------------------------------------------

    async def run(self) -> None:
        """Run the lines and the release of gaps; ends when a line gives up."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            nursery.start_soon(self._close_gaps)
            for line in self._lines:
                nursery.start_soon(self._run_line, line)

    async def _run_line(self, line: Line) -> None:
        try:
            await line.run()
        except GaveUp as gave_up:
            self._outbox.close(gave_up)
            assert self._nursery is not None  # noqa: S101 - set by run(), which started this task
            self._nursery.cancel_scope.cancel()

    def _add_line(self, streams: Sequence[str]) -> Line:
        line = Line(
            str(len(self._lines)), streams, self._endpoints, self._runtime, self._arbiter.settled
        )
        self._lines.append(line)
        return line

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
        return bool(self._lines) and all(line.connected for line in self._lines)

    def _budget_left(self, venue: str) -> int:
        return self._endpoints.budget_left(venue, trio.current_time())

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

    async def _deliver(self, venue: str, events: Sequence[Event]) -> None:
        now = trio.current_time()
        self._last_data_at = now
        items, duplicates = self._arbiter.offer(venue, events, now)
        self.metrics.received(events, duplicates)
        if items:
            self._outbox.put(items)
        if self._arbiter.gap_opened:
            self._arbiter.gap_opened = False
            self._gap_opened.set()
        if self._outbox.full:
            await self._outbox.room()
            self.metrics.consumer_blocked(trio.current_time() - now)
        else:
            await trio.lowlevel.checkpoint()

    async def _close_gaps(self) -> None:
        """Declare the gaps that no other connection filled in time."""
        hold = self.settings.arbitration_hold
        while True:
            await self._gap_opened.wait()
            self._gap_opened = trio.Event()
            while gapped := self._arbiter.gapped():
                await trio.sleep_until(min(track.held[0].since for track in gapped) + hold)
                due = trio.current_time() - hold
                items: list[Item] = []
                for track in self._arbiter.gapped():
                    if track.held[0].since <= due:
                        track.abandon("not_repaired", items)
                        self.metrics.gap("declared")
                if items:
                    self._outbox.put(items)


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
    :raises ConfigError: for settings or stream names that cannot work.
    """
    settings = load_settings() if settings is None else settings
    names = [parse_stream(name).name for name in streams or settings.stream_names]
    if not names:
        raise ConfigError("no streams to open; name some, e.g. 'btcusdt@trade'")
    feed = Feed(
        names,
        settings,
        TcpDialer(make_ssl_context(settings)) if dial is None else dial,
        Metrics(symbols_of(names)) if metrics is None else metrics,
        observers,
        random.Random() if rng is None else rng,
        wall_clock,
        suspended,
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
    if group is not None:
        # The caller's own exception comes out as it went in; anything more keeps its group.
        if body_error is not None and leaves(group) == [body_error]:
            raise body_error
        raise group


def symbols_of(streams: Sequence[str]) -> list[str]:
    """The symbols that the streams name, in order, each once."""
    symbols = (parse_stream(name).symbol for name in streams)
    return list(dict.fromkeys(symbol for symbol in symbols if symbol is not None))
