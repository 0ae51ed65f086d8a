"""One venue: a market, the connections that listen to it, and what the exchange enforces.

``run`` lets the market's time follow trio's clock and hands each message to the connections that
subscribed to it. ``serve_stream`` serves one connection over any byte stream.
"""

from __future__ import annotations

import random
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import trio

from k2trio.errors import UnknownStreamError
from k2trio.market.streams import MAX_STREAMS_PER_CONNECTION, parse_stream

from . import wire
from .board import FaultBoard
from .kinds import SCOPE, FaultKind, Scope
from .session import How, Refusal, Session
from .strikes import strike
from .trading import NEVER_US
from .truth import Attempt, Truth

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from .faults import Fault
    from .market import Market
    from .message import Message
    from .truth import Ending

MAX_CLIENTS = 10_000
"""Client addresses whose connects are counted; the longest known is forgotten first."""

MAX_EVENTS_PER_STEP = 200
"""Trades and quotes between two turns of the connections, about 5 ms of work."""

MAX_LAG_S = 0.1
"""How far a market that is too fast for this machine may lag before its clock is put back."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What the exchange enforces; the defaults are its own rules, scale them for short runs.

    :ivar client_messages_per_s: messages a client may send on a connection in any second.
    :ivar streams: streams of one connection.
    :ivar connects: connection attempts of one client in ``connects_window_s`` seconds.
    :ivar ping_interval_s: the exchange pings this often.
    :ivar pong_timeout_s: a ping must be answered within this time.
    :ivar lifetime_s: a connection ends after this time.
    :ivar buffer_bytes: bytes that wait for a slow client before it is cut off.
    :ivar close_grace_s: how long a close frame waits for its answer.
    :ivar upgrade_timeout_s: how long a client may take for its request.
    :ivar client_message_bytes: longest message of a client.

    Source: Binance spot API docs, "WebSocket Streams", general information and limits.
    """

    client_messages_per_s: int = 5
    streams: int = MAX_STREAMS_PER_CONNECTION
    connects: int = 300
    connects_window_s: float = 300.0
    ping_interval_s: float = 20.0
    pong_timeout_s: float = 60.0
    lifetime_s: float = 86_400.0
    buffer_bytes: int = 8 << 20
    close_grace_s: float = 5.0
    upgrade_timeout_s: float = 10.0
    client_message_bytes: int = 1 << 20


class _Shape(NamedTuple):
    """How a connection wants its messages."""

    combined: bool
    unit: int


class Exchange:
    """One venue.

    :param venue: its name; faults may be addressed to it.
    :param market: what happens on it; belongs to this exchange alone.
    :param faults: shared by all venues of a run; default: a board of its own.
    :param strict_symbols: refuse unknown symbols (error 2, or HTTP 400 in the URL). The real
        exchange accepts them and stays silent: False does the same.
    :param wrapped_errors: shape of control errors, see :func:`.control.answer`.
    :param tick_s: messages of a busy market are sent together this often; a quiet market's go
        out at the exact time of their event.
    :param record: streams whose truth is kept from the start.
    """

    def __init__(
        self,
        venue: str,
        market: Market,
        *,
        faults: FaultBoard | None = None,
        limits: Limits | None = None,
        strict_symbols: bool = True,
        wrapped_errors: bool = False,
        tick_s: float = 0.01,
        record: Iterable[str] = (),
    ) -> None:
        self.venue = venue
        self.market = market
        self.faults = FaultBoard() if faults is None else faults
        self.limits = Limits() if limits is None else limits
        self.strict_symbols = strict_symbols
        self.wrapped_errors = wrapped_errors
        self.tick_s = tick_s
        self.truth = Truth(market)
        self.sessions: dict[int, Session] = {}
        self.endpoints: dict[str, None] = {}
        self._random = random.Random(f"{market.seed}/{venue}/faults")
        self._listeners: dict[str, dict[_Shape, dict[int, Session]]] = {}
        self._connects: dict[str, deque[float]] = {}
        self._count = 0
        self._started_at: float | None = None
        self._changed = trio.Event()
        self.faults.listen(self)
        for name in record:
            self.truth.watch(market.watch(name).name)

    # Time

    def now_us(self) -> int:
        """Simulated time: microseconds since 1970. It starts when first asked for."""
        now = trio.current_time()
        if self._started_at is None:
            self._started_at = now
        return self.market.start_us + round((now - self._started_at) * 1e6)

    async def run(self) -> None:
        """Let the market live, for ever."""
        last_tick = float("-inf")
        while True:
            while self._step():
                await trio.lowlevel.checkpoint()  # connections get their turn in between
            self._changed = trio.Event()
            due_us = self.market.next_us()
            until = float("inf")
            if due_us < NEVER_US and self._started_at is not None:
                until = self._started_at + (due_us - self.market.start_us) / 1e6
            with trio.move_on_at(max(until, last_tick + self.tick_s)):
                await self._changed.wait()
            last_tick = trio.current_time()

    def _step(self) -> bool:
        """Do some of what is due; whether there is more.

        A market that is faster than this machine slows down: its clock is put back, so that it
        does not pile up more and more to do.
        """
        now_us = self.now_us()
        self.publish(self.market.advance(now_us, MAX_EVENTS_PER_STEP))
        lag_s = (now_us - self.market.now_us) / 1e6
        if lag_s > MAX_LAG_S and self._started_at is not None and self.market.next_us() <= now_us:
            self._started_at += lag_s
        return self.market.next_us() <= self.now_us()

    def catch_up(self) -> None:
        """Bring the market to now and send what happened."""
        self.publish(self.market.advance(self.now_us()))

    def publish(self, messages: Iterable[Message]) -> None:
        """Hand messages to those who subscribed."""
        for message in messages:
            if message.stream in self.truth.emitted:
                self.truth.note(message)
            shapes = self._listeners.get(message.stream)
            if not shapes:
                continue
            for shape, sessions in shapes.items():
                content = message.render(shape.unit)
                if shape.combined:
                    content = b'{"stream":"%b","data":%b}' % (message.stream.encode(), content)
                frame = wire.text(content)
                for session in sessions.values():
                    session.deliver(frame, content, message)

    # Connections

    async def serve_stream(
        self, stream: trio.abc.Stream, endpoint: str, client: str = "memory"
    ) -> None:
        """Serve one WebSocket connection until it ends; closes the stream.

        :param endpoint: name of the endpoint it came in by; faults are addressed to it.
        :param client: who it is, for the limit of connects.
        """
        self.endpoints[endpoint] = None
        self._count += 1
        await Session(self, stream, endpoint, client, self._count).serve()

    def opened(self, session: Session) -> None:
        """The upgrade of a connection is done."""
        self.sessions[session.number] = session
        self.truth.open_connections = len(self.sessions)

    def ended(self, session: Session, ending: Ending) -> None:
        """A connection ended, or its upgrade failed."""
        for name in session.attached():
            self.detach(session, name)
        if self.sessions.pop(session.number, None) is not None:
            self.truth.endings.append(ending)
        self.truth.open_connections = len(self.sessions)

    def note_attempt(self, endpoint: str, client: str, outcome: str) -> None:
        """Record a connection attempt, see :class:`.truth.Attempt`."""
        self.truth.attempts.append(Attempt(trio.current_time(), endpoint, client, outcome))

    def admit(self, client: str) -> None:
        """Count a connection attempt.

        :raises Refusal: 429, if the client made too many.
        """
        now, limits = trio.current_time(), self.limits
        if client not in self._connects and len(self._connects) >= MAX_CLIENTS:
            del self._connects[next(iter(self._connects))]
        times = self._connects.setdefault(client, deque(maxlen=limits.connects))
        if len(times) == limits.connects and now - times[0] < limits.connects_window_s:
            raise Refusal(429, retry_after=times[0] + limits.connects_window_s - now)
        times.append(now)

    def known(self, names: Sequence[str]) -> dict[str, bool]:
        """Canonical stream names, and whether each exists.

        :raises UnknownStreamError: for one that does not, if ``strict_symbols``.
        """
        found: dict[str, bool] = {}
        for name in names:
            try:
                stream = parse_stream(name)
                if stream.symbol is not None and stream.symbol not in self.market.symbols:
                    raise UnknownStreamError(f"unknown symbol {stream.symbol[:40]}")
                found[stream.name] = True
            except UnknownStreamError:
                if self.strict_symbols:
                    raise
                found[name] = False
        return found

    def attach(self, session: Session, name: str) -> None:
        """Give a connection the messages of a stream from now on."""
        if name not in self.truth.emitted:
            self.catch_up()
            self.truth.watch(name)
            self.market.watch(name)
            self._changed.set()
        shape = _Shape(session.combined, session.unit)
        self._listeners.setdefault(name, {}).setdefault(shape, {})[session.number] = session

    def detach(self, session: Session, name: str) -> None:
        """The opposite of :meth:`attach`."""
        shape = _Shape(session.combined, session.unit)
        self._listeners.get(name, {}).get(shape, {}).pop(session.number, None)

    # Faults

    def chance(self, share: float) -> bool:
        """True with probability ``share``; seeded."""
        return self._random.random() < share

    def garbage(self, size: int) -> bytes:
        """Random bytes; seeded."""
        return self._random.randbytes(size)

    def _hit(self, fault: Fault) -> list[Session]:
        return [session for session in self.sessions.values() if fault.hits(session.names)]

    def fault_begins(self, fault: Fault) -> None:
        """A fault begins, see :class:`.board.FaultListener`."""
        hit = self._hit(fault)
        if fault.kind in {FaultKind.BURST, FaultKind.IDS_JUMP}:
            if fault.hits((self.venue, *self.endpoints)):
                self._move_market(fault)
        elif fault.kind is FaultKind.OUTAGE:
            for session in hit:
                session.end(How.RST, fault.kind.value)
        elif SCOPE[fault.kind] is Scope.STRIKE:
            for session in hit:
                strike(self, session, fault)
        elif SCOPE[fault.kind] is Scope.DATA:
            for session in hit:
                if not fault.duration or fault.kind is FaultKind.HALF_OPEN:
                    session.add_fault(fault)
                session.refresh_faults()

    def fault_ends(self, fault: Fault) -> None:
        """A fault is over."""
        for session in self._hit(fault):
            session.refresh_faults()

    def _move_market(self, fault: Fault) -> None:
        self.catch_up()
        if fault.kind is FaultKind.IDS_JUMP:
            self.market.jump_ids(fault.by, fault.symbol)
        else:
            self.publish(self.market.burst(fault.count or 1000, fault.symbol))
