"""One connection in the service of a line: receive, watch, subscribe, measure.

A session ends in exactly one of two ways: it fails, or its line retires it. Its tasks never raise
a connection's failure into a nursery; they note it with :meth:`Session.fail`, which wakes the line
at once, while the close of the socket takes the time it takes. Unexpected exceptions do go through
the nursery and crash the program: they are bugs, not reasons to reconnect.
"""

from __future__ import annotations

import random
import time
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec
import trio

from ..errors import ConnectionFailed, Dropped, ProtocolViolation, Stale, SubscriptionRejected
from ..market.decoder import Decoder, Malformed, Reply, ServerShutdown
from ..observe import transitions as on
from ..repair.staleness import Verdict
from ..wire.connection import Connection, open_connection

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from ..market.payloads import Event
    from ..policy.failover import Endpoint
    from ..settings import Settings
    from ..wire.dialer import Dialer
    from ..wire.tap import Batch

CONTROL_SPACING_S = 0.4
"""At most 2.5 control messages a second: with pongs and pings that stays below the exchange's 5."""
REPLY_TIMEOUT_S = 10.0
"""How long a reply to a control message is waited for."""
STREAMS_PER_SUBSCRIBE = 100
"""Streams in one SUBSCRIBE message."""
MALFORMED_LIMIT = 100
MALFORMED_WINDOW_S = 10.0
"""So many malformed messages in so many seconds are a violation, not an accident."""
UNWIND_AFTER_S = 0.02
"""How long the tasks of a connection that is dead already stay, for the next dial to go first."""
SUSPEND_CHECK_S = 5.0
SUSPEND_JUMP_S = 10.0
"""How often to look whether the machine slept, and from how many seconds on it counts."""


def suspended_s() -> float:
    """Seconds that this machine has spent suspended since boot (0 where it cannot be told).

    The monotonic clock stops during a suspend and the boot-time clock does not.
    """
    boottime = getattr(time, "CLOCK_BOOTTIME", None)
    if boottime is None:
        return 0.0
    return time.clock_gettime(boottime) - time.clock_gettime(time.CLOCK_MONOTONIC)


@dataclass(frozen=True)
class Runtime:
    """What the sessions and lines of a feed share with it.

    :ivar deliver: takes a batch of events of a line's venue; never waits.
    :ivar full: whether the consumer has enough to do.
    :ivar room: returns when it has not.
    :ivar interrupted: told when a line no longer carries its streams from a venue.
    :ivar verify: asks the venue whether it has news on streams that are silent.
    :ivar emit: tells the observers.
    :ivar dial: the network.
    """

    settings: Settings
    deliver: Callable[[str, str, Sequence[Event]], None]
    full: Callable[[], bool]
    room: Callable[[], Awaitable[None]]
    interrupted: Callable[[str, str], None]
    verify: Callable[[str, Sequence[str]], Awaitable[Verdict]]
    emit: on.Observer
    dial: Dialer
    rng: random.Random = field(default_factory=random.Random)
    wall_clock: Callable[[], float] = time.time
    suspended_s: Callable[[], float] = suspended_s


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
        self.endpoint = endpoint
        self._decoder = Decoder(endpoint.venue, lambda name: name in self.streams)
        self.streams = streams
        self.failure: ConnectionFailed | None = None
        self.connection: Connection | None = None
        self.started_at = trio.current_time()
        self.first_data_at: float | None = None
        self.last_data_at: float | None = None
        self.stable = False
        self.proven = False
        """Stable, and its line and breaker have taken note."""
        self.shutdown_announced = False
        self.retired = False
        self.seen: set[str] | None = None
        """While set: names of the streams that delivered, for a join."""
        self.accounted = trio.Event()
        """Set when the breaker knows how the session ended, or that it never began."""
        self._runtime = runtime
        self._settings = runtime.settings
        self._scope = trio.CancelScope()
        self._delivering = False
        self._changed = trio.Event()
        self._replies: dict[int, tuple[trio.Event, list[Reply]]] = {}
        self._last_request_id = 0
        self._next_send_at = float("-inf")
        self._malformed: deque[float] = deque(maxlen=MALFORMED_LIMIT)

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
            self._give_up_replies()
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
        self._give_up_replies()
        self._scope.cancel()
        self.notify()

    def _give_up_replies(self) -> None:
        for arrived, _ in self._replies.values():
            arrived.set()

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
                async with open_connection(
                    self.endpoint,
                    self.streams,
                    self._settings,
                    self._runtime.dial,
                    wall_clock=self._runtime.wall_clock,
                ) as connection:
                    self.connection = connection
                    self._emit_connected(connection)
                    self.notify()
                    async with trio.open_nursery() as nursery:
                        nursery.start_soon(self._receive, connection)
                        nursery.start_soon(self._watch_transport, connection)
                        nursery.start_soon(self._watch_data, connection)
                        nursery.start_soon(self._watch_suspend)
                        nursery.start_soon(self._prove_health, connection)
                        nursery.start_soon(self._ping_when_quiet, connection)
                        nursery.start_soon(self._keep_subscribed, connection)
        except ConnectionFailed as failure:
            self.fail(failure)

    def _emit_connected(self, connection: Connection) -> None:
        where = self.endpoint
        self._runtime.emit(
            on.Connected(self.line, where.name, where.index, where.venue, connection.handshake_s)
        )

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
                    self._take(batch)
                    continue
                self._delivering = True
                try:
                    await self._runtime.room()
                finally:
                    self._delivering = False
                    self._take(batch)  # even if the session ends: it was received
        except ConnectionFailed as failure:
            self.fail(failure)

    def _take_at_once(self, batch: Batch) -> bool:
        if self._delivering or self._runtime.full():
            return False
        self._take(batch)
        return True

    def _take(self, batch: Batch) -> None:
        events, control = self._decoder.decode(batch.payloads, batch.received)
        if events:
            self._note_data(batch.arrived, events)
            self._runtime.deliver(self.line, self.endpoint.venue, events)
        for message in control:
            self._take_control(message, batch.arrived)

    def _note_data(self, arrived: float, events: Sequence[Event]) -> None:
        self.last_data_at = arrived
        if self.first_data_at is None:
            self.first_data_at = arrived
            self.notify()
        if not self.stable and arrived - self.first_data_at >= self._settings.stable_after:
            self.stable = True
            self.notify()
        if self.seen is not None:
            before = len(self.seen)
            self.seen.update(event.stream for event in events)
            if len(self.seen) != before:
                self.notify()

    def _take_control(self, message: ServerShutdown | Reply | Malformed, now: float) -> None:
        match message:
            case ServerShutdown():
                self.shutdown_announced = True
                self.notify()
            case Reply(id=request_id) if request_id in self._replies:
                arrived, box = self._replies[request_id]
                box.append(message)
                arrived.set()
            case Reply():
                self._skip(Malformed("unexpected_reply", message.message, f"id {message.id}"), now)
            case Malformed():
                self._skip(message, now)

    def _skip(self, message: Malformed, now: float) -> None:
        self._runtime.emit(
            on.MalformedMessage(
                self.line, self.endpoint.name, message.error_type, message.detail, message.excerpt
            )
        )
        self._malformed.append(now)
        if len(self._malformed) == MALFORMED_LIMIT and (
            now - self._malformed[0] <= MALFORMED_WINDOW_S
        ):
            self.fail(
                ProtocolViolation(
                    f"{MALFORMED_LIMIT} malformed messages within {MALFORMED_WINDOW_S:g} s"
                )
            )

    # -- watch --------------------------------------------------------------------------------

    async def _watch_transport(self, connection: Connection) -> None:
        """No bytes at all, pings included: the transport is dead."""
        await self._watch(
            "transport",
            self._settings.transport_timeout,
            connection,
            lambda: connection.tap.last_bytes_at,
        )

    async def _watch_data(self, connection: Connection) -> None:
        """Bytes, but no data message: the subscription is dead, or the market is quiet.

        A naive rule reconnects a quiet symbol again and again, so the venue is asked first.
        """
        quiet_at = connection.opened_at

        async def venue_says_quiet() -> bool:
            nonlocal quiet_at
            verdict = await self._runtime.verify(self.endpoint.venue, self.streams)
            if verdict is Verdict.NEWS:
                return False
            quiet_at = trio.current_time()
            if verdict is Verdict.QUIET and not self.stable:
                # Silent because there is nothing to say: as good as data that flows.
                self.stable = True
                self.notify()
            return True

        if self._settings.health_check_timeout:
            await self._watch(
                "data",
                self._settings.health_check_timeout,
                connection,
                lambda: max(quiet_at, self._last_data_or_unread(connection)),
                venue_says_quiet,
            )

    async def _watch(
        self,
        tier: str,
        limit: float,
        connection: Connection,
        last: Callable[[], float],
        excused: Callable[[], Awaitable[bool]] | None = None,
    ) -> None:
        """Fail the session exactly ``limit`` seconds after the last sign of life.

        The deadline is not moved at every message, which would cost the hot path; when it comes it
        is compared with the last sign of life and set anew from there. That is as exact.
        """
        while True:
            alive_at = trio.current_time() if connection.tap.blocked else last()
            # Compared as a point in time: a difference may round to a wait that never ends.
            deadline = alive_at + limit
            if trio.current_time() >= deadline:
                if excused is not None and await excused():
                    continue
                if last() > alive_at:
                    continue  # it spoke while the venue was asked
                self.fail(Stale(tier, limit))
                return
            with trio.move_on_at(deadline):
                await trio.sleep_forever()

    def _last_data_or_unread(self, connection: Connection) -> float:
        if not self.streams:
            return trio.current_time()  # everything was unsubscribed: silence is as it should be
        # Text that waits for a slow consumer has not been looked at yet. It is no silence.
        if connection.tap.buffered_bytes:
            return connection.tap.last_text_at
        return connection.opened_at if self.last_data_at is None else self.last_data_at

    async def _watch_suspend(self) -> None:
        before = self._runtime.suspended_s()
        while True:
            await trio.sleep(SUSPEND_CHECK_S)
            now = self._runtime.suspended_s()
            if now - before >= SUSPEND_JUMP_S:
                self.fail(Stale("suspend", round(now - before, 1)))
                return
            before = now

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

    async def _ping_when_quiet(self, connection: Connection) -> None:
        """Ping after each health interval without a message; the answer is a sign of life."""
        interval = self._settings.health_check_interval
        quiet_since = connection.opened_at
        while True:
            quiet_since = max(quiet_since, connection.tap.last_text_at)
            await trio.sleep_until(quiet_since + interval)
            if connection.tap.last_text_at > quiet_since:
                continue
            quiet_since = trio.current_time()
            round_trip = await connection.ping(interval)
            if round_trip is not None:
                self._runtime.emit(on.PingMeasured(self.line, self.endpoint.name, round_trip))

    # -- subscribe ----------------------------------------------------------------------------

    async def request(self, connection: Connection, method: str, params: Sequence[str]) -> Reply:
        """Send a control message, no faster than the exchange allows, and wait for its reply.

        :raises ConnectionFailed: if the connection ends first, or no reply comes.
        """
        self._last_request_id += 1
        request_id = self._last_request_id
        send_at = max(trio.current_time(), self._next_send_at)
        self._next_send_at = send_at + CONTROL_SPACING_S
        await trio.sleep_until(send_at)
        arrived = trio.Event()
        box: list[Reply] = []
        self._replies[request_id] = arrived, box
        try:
            await connection.send(method, params, request_id)
            while not box and self.connected:
                with trio.move_on_after(REPLY_TIMEOUT_S):
                    await arrived.wait()
                if not self.lagging:
                    break  # else the reply may be among what waits for the consumer
        finally:
            del self._replies[request_id]
        if not box:
            if not self.connected:
                raise self.failure or Dropped("the connection was replaced first")
            raise ProtocolViolation(f"no reply to {method} within {REPLY_TIMEOUT_S:g} s")
        return box[0]

    async def subscribe(self, connection: Connection, streams: Sequence[str]) -> None:
        """Subscribe in chunks; a refused chunk is halved until the refused stream is known.

        :raises SubscriptionRejected: naming the refused streams, after all others were subscribed.
        """
        chunks = deque(
            streams[start : start + STREAMS_PER_SUBSCRIBE]
            for start in range(0, len(streams), STREAMS_PER_SUBSCRIBE)
        )
        refused: list[str] = []
        last: Reply | None = None
        while chunks:
            chunk = chunks.popleft()
            reply = await self.request(connection, "SUBSCRIBE", chunk)
            if reply.code is None:
                continue
            last = reply
            if len(chunk) == 1:
                refused.append(chunk[0])
            else:
                half = len(chunk) // 2
                chunks.extendleft((chunk[half:], chunk[:half]))
        if last is not None and refused:
            self._runtime.emit(
                on.SubscriptionRefused(
                    self.line, self.endpoint.name, tuple(refused), last.code, last.message
                )
            )
            raise SubscriptionRejected(tuple(refused), last.code, last.message)

    async def resubscribe(self, connection: Connection, stream: str) -> None:
        """Unsubscribe and subscribe one stream that is silent while its venue is not.

        :raises SubscriptionRejected: if the exchange does not want it any more.
        :raises ConnectionFailed: if the connection ends first.
        """
        await self.request(connection, "UNSUBSCRIBE", [stream])
        await self.subscribe(connection, [stream])

    async def _keep_subscribed(self, connection: Connection) -> None:
        interval = self._settings.list_subscriptions_interval
        missing: Sequence[str] = connection.unsubscribed
        while True:
            try:
                if missing:
                    await self.subscribe(connection, missing)
            except SubscriptionRejected as rejected:
                # Told to the observers by name; the other streams go on.
                self.streams = [name for name in self.streams if name not in rejected.streams]
            except ConnectionFailed as failure:
                self.fail(failure)
                return
            if not interval:
                return
            await trio.sleep(interval)
            missing = await self._lost_subscriptions(connection)

    async def _lost_subscriptions(self, connection: Connection) -> Sequence[str]:
        """Compare what the exchange lists with what we asked for."""
        try:
            reply = await self.request(connection, "LIST_SUBSCRIPTIONS", ())
            listed = frozenset(msgspec.json.decode(reply.result, type=list[str]))
        except ConnectionFailed as failure:
            self.fail(failure)
            return ()
        except msgspec.MsgspecError as error:
            self.fail(ProtocolViolation(f"bad reply to LIST_SUBSCRIPTIONS: {error}"))
            return ()
        missing = [name for name in self.streams if name not in listed]
        if missing:
            self._runtime.emit(
                on.SubscriptionRefused(
                    self.line, self.endpoint.name, tuple(missing), None, "lost; subscribing again"
                )
            )
        return missing
