"""A line: one supervised succession of connections that carries a set of streams.

The line decides *that* something must be done (a session failed, grew old, was told to leave, could
return to the first endpoint); ``failover.py`` decides who is dialled and when; a session does the
work. Each runs as a task of its own, so that a replacement comes up beside the one it replaces.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NoReturn

import trio

from ..errors import (
    CircuitOpen,
    ConnectionFailed,
    GaveUp,
    HandshakeRefused,
    Refused,
    SubscriptionRejected,
)
from ..observe import transitions as on
from ..observe.transitions import RotationReason
from ..policy.failover import DEFAULT_FREEZE_S, RECHECK_S, Dial, Endpoint, Endpoints, Retries
from .overlap import arrive, join
from .session import Session

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from .runtime import Runtime

ROTATION_JITTER = 0.02
"""Share by which the planned age of a connection varies, so that lines do not rotate in step."""


class Line:
    """Keeps one connection in service, whatever happens to the ones before it.

    :param name: label in logs and metrics.
    :param streams: what it carries; see :meth:`subscribe`.
    :param place: its place among the lines that carry the same streams.
    :param route: the exchange's name for the way on which these come, where it has such.
    """

    def __init__(
        self,
        name: str,
        streams: Sequence[str],
        endpoints: Endpoints,
        runtime: Runtime,
        place: int = 0,
        route: str = "",
    ) -> None:
        self.name = name
        self.route = route
        self.streams: list[str] = list(streams)
        self.companions: list[Line] = []
        """Other lines that carry the same streams."""
        self.current: Session | None = None
        self._sessions: set[Session] = set()
        self.last_message_at: float | None = None
        self._endpoints = endpoints
        self._runtime = runtime
        self._settings = runtime.settings
        self._retries = Retries(
            endpoints, runtime.settings, runtime.rng, endpoints.order(place), self._rank
        )
        self._rotation_failures = 0
        self._scope = trio.CancelScope()

    def __repr__(self) -> str:
        return f"<Line {self.name} on {self.current}>"

    @property
    def connected(self) -> bool:
        """Whether data can flow on this line."""
        return self.current is not None and self.current.connected

    def connections(self, venue: str) -> int:
        """On how many connections data of a venue can flow: two during a rotation."""
        return sum(
            session.connected and session.endpoint.venue == venue for session in self._sessions
        )

    def carries(self, venue: str | None = None) -> bool:
        """Whether data flows, of one venue: what has never brought anything may be dead."""
        return any(
            one.connected and one.first_data_at is not None and venue in (None, one.endpoint.venue)
            for one in self._sessions
        )

    def _rank(self, endpoint: Endpoint) -> int | None:
        """Companions run on one venue, never on two, and on different endpoints if they can."""
        carrying = (line.current for line in self.companions if line.connected)
        taken = [session.endpoint for session in carrying if session is not None]
        if any(other.venue != endpoint.venue for other in taken):
            return None
        return 1 if endpoint in taken else 0

    def end(self) -> None:
        """Nothing is left to be carried: :meth:`run` returns, and the connection is closed."""
        self.streams = []
        self._scope.cancel()

    async def run(self) -> None:
        """Supervise until cancelled, or ended.

        :raises GaveUp: after ``max_reconnect_attempts`` failed retries in a row.
        """
        outcome: GaveUp | None = None
        with self._scope:
            async with trio.open_nursery() as nursery:
                try:
                    await self._supervise(nursery)
                except GaveUp as error:
                    outcome, last = error, error.last_failure
                    why = last.error_type, str(last)
                    self._runtime.emit(on.GivingUp(self.name, error.attempts, *why))
                    nursery.cancel_scope.cancel()
        if outcome is not None:
            raise outcome

    async def _supervise(self, nursery: trio.Nursery) -> NoReturn:
        session = await self._start(nursery, self._retries.first(trio.current_time()))
        while True:
            reason = await self._until_attention(session)
            if reason is not None:
                session = await self._replace(nursery, session, reason)
            else:
                session = await self._reconnect(nursery, session)

    async def subscribe(self, streams: Sequence[str]) -> None:
        """Add streams, now and for every later connection.

        :raises SubscriptionRejected: if the exchange refuses some; those are not kept.
        :raises ConnectionFailed: if the connection ends first.
        """
        self.streams += [name for name in streams if name not in self.streams]
        try:
            await self._ask_all(lambda session: session.subscribe(streams))
        except SubscriptionRejected as rejected:
            self.streams = [name for name in self.streams if name not in rejected.streams]
            for session in self._sessions:
                session.streams = self.streams
            raise

    async def unsubscribe(self, streams: Sequence[str]) -> None:
        """Remove streams, now and for every later connection.

        :raises ConnectionFailed: if the connection ends first.
        """
        self.streams = [name for name in self.streams if name not in streams]
        await self._ask_all(lambda session: session.unsubscribe(streams))

    async def _ask_all(self, ask: Callable[[Session], Awaitable[None]]) -> None:
        """Have every session carry the streams; one that is being opened asks when it is open."""
        for session in self._sessions:
            session.streams = self.streams
        for session in sorted(self._sessions, key=lambda one: one is self.current):
            try:
                if session.connected:
                    await ask(session)
            except (ConnectionFailed, SubscriptionRejected):
                if session is self.current:
                    raise

    # -- reconnect ----------------------------------------------------------------------------

    async def _start(self, nursery: trio.Nursery, dial: Dial) -> Session:
        """Start a session as planned; it becomes the current one."""
        while True:
            await trio.sleep_until(dial.at)
            if await self._runtime.take_dial(dial.endpoint):
                break
            dial = self._retries.refused(trio.current_time(), dial)
        self.current = session = self._launch(nursery, dial.endpoint, dial.attempt)
        return session

    def _launch(self, nursery: trio.Nursery, endpoint: Endpoint, attempt: int) -> Session:
        self._runtime.emit(
            on.Dialing(self.name, endpoint.name, endpoint.index, endpoint.venue, attempt)
        )
        session = Session(self.name, endpoint, self.streams, self._runtime)
        session.route = self.route
        self._sessions.add(session)
        nursery.start_soon(self._live, session)
        nursery.start_soon(self._note_flow, session)
        return session

    async def _live(self, session: Session) -> None:
        """One session's life: the attempt, guarded by the breaker, and what follows it.

        The connection runs in a nursery outside the guard's cancel scope: the guard ends when the
        connection has proven itself, the connection lives on.
        """
        breaker = session.endpoint.breaker
        async with trio.open_nursery() as nursery:
            try:
                async with breaker.attempt():
                    nursery.start_soon(session.serve)
                    await session.stabilise()
                if session.stable:
                    session.proven = True
                    self._retries.stable()
                    self._rotation_failures = 0
                    self._runtime.emit(on.BecameStable(self.name, session.endpoint.name))
                    session.notify()
                if failure := await session.outcome():
                    breaker.record_failure(failure)
            except CircuitOpen as refusal:
                session.fail(Refused(str(refusal)))
            except ConnectionFailed as failure:
                session.fail(failure)
            finally:
                # The line plans its next step only when the breaker knows what happened.
                session.accounted.set()
                self._sessions.discard(session)

    async def _note_flow(self, session: Session) -> None:
        """Tell when the first message of a session came, and how long the line was without."""
        while session.first_data_at is None:
            if session.failure is not None or session.retired:
                return
            await session.change.wait()
        where, silent_since = session.endpoint, self.last_message_at
        if self.current is not session and self.current is not None:
            silent_since = self.current.last_data_at or silent_since
        outage = None if silent_since is None else max(0.0, session.first_data_at - silent_since)
        self._runtime.emit(on.Flowing(self.name, where.name, where.index, where.venue, outage))

    async def _reconnect(self, nursery: trio.Nursery, failed: Session) -> Session:
        failure = failed.failure
        assert failure is not None  # noqa: S101 - only failed sessions come here
        await failed.accounted.wait()
        now = trio.current_time()
        if isinstance(failure, Refused):
            # Another line's failures opened the breaker while we dialled: not our failure.
            again = Dial(failed.endpoint, now, 0, 0)
            return await self._start(nursery, self._retries.refused(now, again))
        self._tell_failure(failed, failure, carrying=True)
        self._interrupted(failed.endpoint.venue)
        self._retries.failed(failed.endpoint, failure, stable=failed.stable)
        dial = self._retries.next(now)
        self._runtime.emit(
            on.Reconnecting(
                self.name,
                dial.endpoint.name,
                dial.endpoint.index,
                failure.reason.value,
                dial.attempt,
                dial.delay_s,
                dial.at - now,
            )
        )
        return await self._start(nursery, dial)

    def _interrupted(self, venue: str) -> None:
        """The connection to a venue is lost: what no companion carries is interrupted."""
        if not any(other.carries(venue) for other in self.companions):
            self._runtime.interrupted(venue, self.streams)

    def _tell_failure(self, session: Session, failure: ConnectionFailed, *, carrying: bool) -> None:
        now = trio.current_time()
        where = session.endpoint
        if session.last_data_at is not None:
            self.last_message_at = max(session.last_data_at, self.last_message_at or 0)
        self._endpoints.failed(where, now)
        match failure:
            case HandshakeRefused(status=(418 | 429) as status, retry_after=asked):
                seconds = DEFAULT_FREEZE_S if asked is None else asked
                self._runtime.freeze(where.venue, now + seconds)
                self._runtime.emit(on.VenueFrozen(where.venue, seconds, status))
            case _:
                pass
        labels = (self.name, where.name, where.index, where.venue, failure.reason.value)
        if session.connection is None:
            took = now - session.started_at
            self._runtime.emit(on.DialFailed(*labels, failure.error_type, str(failure), took))
            return
        lived = now - session.connection.opened_at
        silence = now - (session.last_data_at or session.connection.opened_at)
        self._runtime.emit(
            on.ConnectionLost(*labels, failure.error_type, str(failure), lived, silence, carrying)
        )

    # -- rotate -------------------------------------------------------------------------------

    async def _until_attention(self, session: Session) -> RotationReason | None:
        """Wait for the session to fail (None), or for a reason to replace it."""
        rotate_at = math.inf
        calm_until = trio.current_time() + self._retries.nominal_delay(self._rotation_failures)
        while True:
            if session.failure is not None:
                return None
            now = trio.current_time()
            if session.connection is not None and rotate_at == math.inf:
                jitter = 1 - ROTATION_JITTER * self._runtime.rng.random()
                rotate_at = session.connection.opened_at + self._settings.rotate_after * jitter
            fail_back_at = math.inf
            if session.proven:
                fail_back_at = self._endpoints.fail_back_from(
                    session.endpoint, now, self._retries.order[0]
                )
            shutdown_at = now if session.shutdown_announced else math.inf
            due, reason = min(
                (max(shutdown_at, calm_until), RotationReason.SERVER_SHUTDOWN),
                (max(rotate_at, calm_until), RotationReason.LIFETIME),
                (max(fail_back_at, calm_until), RotationReason.FAIL_BACK),
                key=lambda item: item[0],
            )
            if due <= now:
                return reason
            with trio.move_on_at(due):
                await session.change.wait()

    def _replacement_endpoint(self, session: Session, reason: RotationReason) -> Endpoint | None:
        """Where to go: back to the first endpoint, or the same one, or the next that admits."""
        now = trio.current_time()
        if reason is RotationReason.FAIL_BACK:
            candidates = self._retries.order[:1]
        else:
            candidates = [session.endpoint, *self._retries.after(session.endpoint)]
        for endpoint in candidates:
            if self._endpoints.admitted_from(endpoint, now) <= now:
                return endpoint
        return None

    async def _replace(
        self, nursery: trio.Nursery, old: Session, reason: RotationReason
    ) -> Session:
        """Bring up a replacement beside the old session; returns whichever is then current."""
        endpoint = self._replacement_endpoint(old, reason)
        if endpoint is None or not await self._runtime.take_dial(endpoint):
            with trio.move_on_after(RECHECK_S):
                await old.change.wait()
            return old
        self._runtime.emit(on.Rotating(self.name, old.endpoint.name, endpoint.name, reason))
        new = self._launch(nursery, endpoint, 0)
        if new.heard is None:
            new.heard = {}
        await arrive(old, new, self._settings.rotation_overlap)
        if new.first_data_at is None and new.failure is not None:
            await self._rotation_failed(old, new, reason)
            return old
        joined_at = trio.current_time()
        await join(old, new, self._runtime.settled, self._settings.rotation_overlap)
        if self._settings.redundancy == 1:
            new.heard = None  # only needed while two connections carry the same
        self.current = new
        if new.failure is not None:
            # It came up and failed while it was joined; the old one may still be good.
            if old.failure is None:
                self.current = old
                await self._rotation_failed(old, new, reason)
                return old
            self._tell_failure(old, old.failure, carrying=False)
            return new  # the line reconnects because of its failure
        if old.failure is not None:
            self._tell_failure(old, old.failure, carrying=False)
            self._interrupted(old.endpoint.venue)
        else:
            old.retire()
            if old.endpoint.venue != endpoint.venue:
                await old.accounted.wait()  # its last batch is of the time before
                self._interrupted(old.endpoint.venue)
        self._rotation_failures = 0
        self._runtime.emit(
            on.Rotated(
                self.name,
                old.endpoint.name,
                old.endpoint.venue,
                endpoint.name,
                reason,
                trio.current_time() - joined_at,
            )
        )
        return new

    async def _rotation_failed(self, old: Session, new: Session, reason: RotationReason) -> None:
        failure = new.failure
        assert failure is not None  # noqa: S101 - only failed replacements come here
        await new.accounted.wait()
        self._rotation_failures += 1
        if not isinstance(failure, Refused):
            self._tell_failure(new, failure, carrying=False)
        self._runtime.emit(
            on.RotationFailed(
                self.name,
                old.endpoint.name,
                new.endpoint.name,
                reason,
                failure.error_type,
                str(failure),
            )
        )
