"""One connection in the service of a line: receive, watch, subscribe, measure.

A session ends in exactly one of two ways: it fails, or its line retires it. Its tasks never raise
a connection's failure into a nursery; they note it with :meth:`Session.fail`, which wakes the line
at once, while the close of the socket takes the time it takes. Unexpected exceptions do go through
the nursery and crash the program: they are bugs, not reasons to reconnect.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from ..errors import ConnectionFailed, Stale, SubscriptionRejected
from ..market.control import Malformed, Reply, ServerShutdown, excerpt
from ..market.decoder import Decoder
from ..observe import transitions as on
from ..repair.staleness import ASK_AHEAD_S, Verdict
from ..wire.connection import Connection, open_connection
from .remarks import Remarks
from .requests import Requests
from .suspend import sleep_until_suspended
from .watchdog import ping_now_and_then, until_silent

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..continuity.held import Stray
    from ..market.control import Control
    from ..market.payloads import Event
    from ..policy.failover import Endpoint
    from ..wire.tap import Batch
    from .runtime import Runtime

UNWIND_AFTER_S = 0.02
"""How long the tasks of a connection that is dead already stay, for the next dial to go first."""


class Session:
    """See the module.

    :param streams: what to subscribe to.
    :ivar failure: why it failed, once it has.
    :ivar connection: set when the upgrade is done.
    :ivar shutdown_announced: the exchange said that it will close this connection.
    """

    def __init__(
        self, line: str, endpoint: Endpoint, streams: Sequence[str], runtime: Runtime
    ) -> None:
        self.line = line
        self.route: str = ""  # its line's, if that has one
        self.endpoint = endpoint
        self._decoder = Decoder(
            endpoint.venue, lambda name: name in self.streams, runtime.settings.unit
        )
        self.streams = streams
        self.failure: ConnectionFailed | None = None
        self.connection: Connection | None = None
        self.started_at: float = trio.current_time()
        self.first_data_at: float | None = None
        self.last_data_at: float | None = None
        self.awaited: bool = True
        """Whether the next message is a change."""
        self.stable: bool = False
        self.proven = False
        """Stable, and its line and breaker have taken note."""
        self.shutdown_announced: bool = False
        self.retired: bool = False
        self.heard: dict[str, float] | None = {} if runtime.settings.redundancy > 1 else None
        """While set: when each stream last delivered here, whatever other connections bring."""
        self.accounted: trio.Event = trio.Event()
        """Set when the breaker knows how the session ended, or that it never began."""
        self._runtime = runtime
        self._settings = runtime.settings
        self._scope = trio.CancelScope()
        self._delivering = False
        self._changed = trio.Event()
        self._requests: Requests | None = None
        self._remarks = Remarks(line, endpoint.name, runtime.emit, self.fail)

    def __repr__(self) -> str:
        return f"<Session {self.line} on {self.endpoint.name}>"

    @property
    def streams(self) -> Sequence[str]:
        """What is subscribed, or shall be."""
        return self._streams

    @streams.setter
    def streams(self, names: Sequence[str]) -> None:
        self._streams = list(names)
        self._decoder.expect(names)

    @property
    def connected(self) -> bool:
        """Whether data can flow."""
        return self.connection is not None and self.failure is None and not self.retired

    @property
    def lagging(self) -> bool:
        """Whether messages that arrived wait for the consumer; silence then proves nothing."""
        unread = self.connection is not None and self.connection.tap.buffered_bytes > 0
        return self._delivering or unread

    @property
    def judgeable(self) -> bool:
        """Whether a stream that is silent on it is silent indeed."""
        return self.proven and self.connected and not self.lagging

    def heard_at(self, stream: str) -> float | None:
        """When the stream last delivered here; None if that is not noted per connection."""
        return None if self.heard is None else self.heard.get(stream, self.started_at)

    @property
    def change(self) -> trio.Event:
        """Set at the next change of anything that the line looks at."""
        return self._changed

    def notify(self) -> None:
        """Wake whoever waits for a change."""
        self._changed.set()
        self._changed = trio.Event()

    def fail(self, failure: ConnectionFailed) -> None:
        """End the session because of a failure; only the first one counts."""
        if self.failure is None and not self.retired:
            self.failure = failure
            if self._requests is not None:
                self._requests.end(failure)
            if self.connection is not None and self.connection.tap.exhausted:
                # Nothing can come of it any more. Its seven tasks would unwind before the next dial
                # begins; so they may while that one waits for the network.
                self._scope.deadline = trio.current_time() + UNWIND_AFTER_S
            else:
                self._scope.cancel()
            self.notify()

    def retire(self) -> None:
        """End the session because another one has taken over."""
        self.retired = True
        if self._requests is not None:
            self._requests.end(None)
        self._scope.cancel()
        self.notify()

    async def stabilise(self) -> None:
        """Return when data has flowed for long enough.

        :raises ConnectionFailed: if the session failed before.
        """
        while not self.stable and not self.retired:
            if self.failure is not None:
                raise self.failure
            await self.change.wait()

    async def outcome(self) -> ConnectionFailed | None:
        """Wait for the end of the session: its failure, or None if it was retired."""
        while self.failure is None and not self.retired:
            await self.change.wait()
        return self.failure

    async def serve(self) -> None:
        """Open the connection and do everything it takes until the session ends."""
        try:
            with self._scope:
                asked, run, ours = self.streams, self._runtime, self._settings
                async with open_connection(
                    self.endpoint, asked, ours, run.dial, self.route, wall_clock=run.wall_clock
                ) as connection:
                    self.connection = connection
                    self._requests = Requests(connection.send, ours.dialect, lambda: self.lagging)
                    self._emit_connected(connection)
                    self.notify()
                    async with trio.open_nursery() as nursery:
                        nursery.start_soon(self._receive, connection)
                        nursery.start_soon(self._watch_transport, connection)
                        nursery.start_soon(self._watch_data, connection)
                        nursery.start_soon(self._watch_suspend)
                        nursery.start_soon(self._prove_health, connection)
                        nursery.start_soon(
                            ping_now_and_then,
                            connection,
                            self._settings.health_check_interval,
                            self._emit_round_trip,
                        )
                        nursery.start_soon(self._keep_subscribed, connection.unsubscribed, asked)
        except ConnectionFailed as failure:
            self.fail(failure)

    def _emit_connected(self, connection: Connection) -> None:
        at, emit = self.endpoint, self._runtime.emit
        emit(on.Connected(self.line, at.name, at.index, at.venue, connection.handshake_s))

    def _emit_round_trip(self, seconds: float) -> None:
        self._runtime.emit(on.PingMeasured(self.line, self.endpoint.name, seconds))

    # -- receive ------------------------------------------------------------------------------

    async def _receive(self, connection: Connection) -> None:
        """Take what cannot be taken at once, because it came early or the consumer is slow."""
        connection.tap.hand_over = self._take_at_once
        try:
            while True:
                batch = await connection.next_batch()
                # With room there is no pause between two batches: the reader would add one
                # meanwhile, and none would ever be taken at once again.
                if not self._runtime.full():
                    self._take(batch, trio.current_time())
                    continue
                self._delivering = True
                try:
                    await self._runtime.room()
                finally:
                    self._delivering = False
                    # Even if the session ends: it was received.
                    self._take(batch, trio.current_time())
        except ConnectionFailed as failure:
            self.fail(failure)

    def _take_at_once(self, batch: Batch) -> bool:
        if self._delivering or self._runtime.full():
            return False
        self._take(batch, batch.arrived)
        return True

    def _take(self, batch: Batch, began: float) -> None:
        events, control = self._decoder.decode(batch.payloads, batch.received)
        if events:
            self._note_data(batch.arrived, events)
            where, runs = self.endpoint.venue, self._decoder.runs
            self._runtime.deliver(self, where, events, batch.arrived, began, runs)
        for message in control:
            self._take_control(message, batch.arrived)

    def _note_data(self, arrived: float, events: Sequence[Event]) -> None:
        self.last_data_at = arrived
        if self.first_data_at is None:
            self.first_data_at = arrived
        if self.awaited:
            self.awaited = False
            self.notify()
        if not self.stable and arrived - self.first_data_at >= self._settings.stable_after:
            self.stable = True
            self.notify()
        if self.heard is not None:
            before = len(self.heard)
            self.heard.update(dict.fromkeys([event.stream for event in events], arrived))
            if len(self.heard) != before:
                self.notify()

    def _take_control(self, message: Control, now: float) -> None:
        match message:
            case ServerShutdown():
                self.shutdown_announced = True
                self.notify()
            case Reply():
                if self._requests is None or not self._requests.take(message):
                    stray = Malformed("unexpected_reply", message.message, f"id {message.id}")
                    self._remarks.take(stray, now)
            case _:
                self._remarks.take(message, now)

    def refuse(self, stray: Stray) -> None:
        """Be told of a message of its that is whole, but belongs nowhere."""
        message = Malformed(stray.error_type, stray.why, excerpt(stray.event.frame))
        self._remarks.take(message, trio.current_time(), disputed=stray.disputed)

    # -- watch --------------------------------------------------------------------------------

    async def _watch_transport(self, connection: Connection) -> None:
        """No bytes at all, pings included: the transport is dead."""
        limit = self._settings.transport_timeout
        tap = connection.tap
        await until_silent(limit, lambda: tap.last_bytes_at, lambda: tap.blocked)
        self.fail(Stale("transport", limit))

    async def _watch_data(self, connection: Connection) -> None:
        """Bytes, but no data message: the subscription is dead, or the market is quiet.

        A naive rule reconnects a quiet symbol again and again, so the venue is asked first.
        """
        quiet_at = connection.opened_at

        async def venue_says_quiet() -> bool:
            nonlocal quiet_at
            asked_at = trio.current_time()
            where, since = self.endpoint.venue, self._last_data_or_unread(connection)
            verdict = await self._runtime.verify(where, self.streams, since, connection.opened_at)
            if verdict is Verdict.NEWS:
                return False
            quiet_at = asked_at
            if verdict is Verdict.QUIET and not self.stable:
                # Silent because there is nothing to say: as good as data that flows.
                self.stable = True
                self.notify()
            return True

        limit = self._settings.health_check_timeout
        if limit:
            await until_silent(
                limit,
                lambda: max(quiet_at, self._last_data_or_unread(connection)),
                lambda: connection.tap.blocked,
                venue_says_quiet,
                ASK_AHEAD_S,
            )
            self.fail(Stale("data", limit, self.route, self.streams))

    def _last_data_or_unread(self, connection: Connection) -> float:
        if not self.streams:
            return trio.current_time()  # everything was unsubscribed: silence is as it should be
        if connection.tap.buffered_bytes:  # text that waits for a slow consumer is no silence
            return connection.tap.last_text_at
        return connection.opened_at if self.last_data_at is None else self.last_data_at

    async def _watch_suspend(self) -> None:
        slept_s = await sleep_until_suspended(self._runtime.suspended_s)
        self.fail(Stale("suspend", round(slept_s, 1)))

    async def _prove_health(self, connection: Connection) -> None:
        """One success for the breaker for each further health interval in which data flowed."""
        checked_at = connection.opened_at
        while True:
            await trio.sleep(self._settings.health_check_interval)
            if self.failure is not None:
                return
            if self.stable and self.last_data_at is not None and self.last_data_at > checked_at:
                self.endpoint.breaker.record_success()
            checked_at = trio.current_time()

    # -- subscribe ----------------------------------------------------------------------------

    async def subscribe(self, streams: Sequence[str]) -> None:
        """Subscribe further streams; the refused ones are told to the observers as well.

        :raises SubscriptionRejected: naming the refused streams, after all others were subscribed.
        :raises ConnectionFailed: if the connection ends first.
        """
        try:
            await self._asking().subscribe(streams)
        except SubscriptionRejected as rejected:
            self._emit_refused(rejected.streams, rejected.code, rejected.message)
            raise

    async def unsubscribe(self, streams: Sequence[str]) -> None:
        """End the subscription of some streams.

        :raises ConnectionFailed: if the connection ends first.
        """
        await self._asking().request("UNSUBSCRIBE", streams)

    async def resubscribe(self, stream: str) -> None:
        """Unsubscribe and subscribe one stream that is silent while its venue is not.

        :raises SubscriptionRejected: if the exchange does not want it any more.
        :raises ConnectionFailed: if the connection ends first.
        """
        await self.unsubscribe([stream])
        await self.subscribe([stream])

    def _asking(self) -> Requests:
        assert self._requests is not None  # noqa: S101 - only connected sessions are asked to
        return self._requests

    async def _keep_subscribed(self, left_out: Sequence[str], asked: Sequence[str]) -> None:
        """Ask for what the URL had no room for, what changed since, what the exchange lost."""
        missing = [name for name in self.streams if name in left_out or name not in asked]
        extra = [name for name in asked if name not in self.streams and name not in left_out]
        interval = self._settings.list_subscriptions_interval
        while True:
            try:
                if extra:
                    await self.unsubscribe(extra)
                    extra = []
                if missing:
                    await self.subscribe(missing)
            except SubscriptionRejected as rejected:
                # Told to the observers by name; the other streams go on.
                self.streams = [name for name in self.streams if name not in rejected.streams]
            except ConnectionFailed as failure:
                self.fail(failure)
                return
            if not interval:
                return
            await trio.sleep(interval)
            try:
                listed = await self._asking().subscriptions()
            except ConnectionFailed as failure:
                self.fail(failure)
                return
            missing = [name for name in self.streams if name not in listed]
            if missing:
                self._emit_refused(missing, None, "lost; subscribing again")

    def _emit_refused(self, streams: Sequence[str], code: int | None, why: str) -> None:
        self._runtime.emit(
            on.SubscriptionRefused(self.line, self.endpoint.name, tuple(streams), code, why)
        )
