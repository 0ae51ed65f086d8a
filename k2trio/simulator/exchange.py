"""One venue of the simulated exchange: a market, the connections that listen to it, its faults.

``run`` lets the market's time follow trio's clock and hands each message to the connections that
subscribed to it. ``serve_stream`` serves one connection over any byte stream.
"""

from __future__ import annotations

import contextlib
import random
from typing import TYPE_CHECKING

import trio
from msgspec import structs

from k2trio.market.streams import parse_stream

from .connection.outbox import How
from .connection.session import Session
from .connection.strikes import strike
from .connection.upgrade import Upgrade
from .faults.board import FaultBoard
from .faults.kinds import MARKET_KINDS, ONE_CONNECTION_KINDS, SCOPE, FaultKind, Scope
from .market.absurd import ABSURD_KINDS, absurd_message
from .market.market import Market
from .venue.admission import Admission
from .venue.broadcast import Broadcast
from .venue.limits import Limits, limits_of
from .venue.pace import AT_ONCE, Tempo
from .venue.truth import Ending, Truth
from .venue.venue import Venue

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from .faults.fault import Fault
    from .market.contract import VenueMarket
    from .market.message import Message


class Exchange:
    """One venue.

    :param venue: its name; faults may be addressed to it.
    :param market: what happens on it; belongs to this exchange alone.
    :param faults: shared by all venues of a run; default: a board of its own.
    :param strict_symbols: refuse unknown symbols (error 2, or HTTP 400 in the URL). The real
        exchange accepts them and stays silent: False does the same.
    :param wrapped_errors: shape of control errors, see :func:`.control.answer`.
    :param knows_time_unit: heed ``timeUnit`` in URLs. Another venue, or a proxy, may not pass the
        question on: False does the same.
    :param tick_s: messages of a busy market are sent together this often; a quiet market's go
        out at the exact time of their event.
    :param tempo: how the market's time goes.
    :param record: streams whose truth is kept from the start.
    :param moved: streams that come on another route than the documents say, and which.
    """

    def __init__(
        self,
        venue: str,
        market: VenueMarket,
        *,
        faults: FaultBoard | None = None,
        limits: Limits | None = None,
        strict_symbols: bool = True,
        wrapped_errors: bool = False,
        knows_time_unit: bool = True,
        tick_s: float = 0.01,
        tempo: Tempo = AT_ONCE,
        record: Iterable[str] = (),
        moved: Mapping[str, str] | None = None,
    ) -> None:
        self.venue = venue
        self.market = market
        self.faults: FaultBoard = FaultBoard() if faults is None else faults
        self.limits: Limits = limits_of(market.product) if limits is None else limits
        self.truth: Truth = Truth(market)
        self.sessions: dict[int, Session] = {}
        self.endpoints: dict[str, None] = {}
        self._broadcast = Broadcast(market, self.truth, tick_s, tempo)
        self._venue = Venue(
            name=venue,
            market=market,
            truth=self.truth,
            broadcast=self._broadcast,
            faults=self.faults,
            limits=self.limits,
            admission=Admission(self.limits.connects, self.limits.connects_window_s),
            rng=random.Random(f"{market.seed}/{venue}/faults"),
            strict_symbols=strict_symbols,
            wrapped_errors=wrapped_errors,
            knows_time_unit=knows_time_unit,
            moved=moved or {},
        )
        self._count = 0
        self._ended = trio.Event()
        self.faults.listen(self)
        for name in record:
            self.truth.watch(market.watch(name).name)

    # The market

    def now_us(self) -> int:
        """Simulated time: microseconds since 1970. It starts when first asked for."""
        return self._broadcast.pace.now_us()

    async def run(self) -> None:
        """Let the market live, for ever."""
        await self._broadcast.pace.run()

    def catch_up(self) -> None:
        """Bring the market to now and send what happened."""
        self._broadcast.pace.catch_up()

    def look_again(self) -> None:
        """The market knows more of what is going to happen."""
        self._broadcast.pace.look_again()

    async def started(self) -> None:
        """Wait until the market's time has begun."""
        await self._broadcast.pace.started()

    def publish(self, messages: Iterable[Message]) -> None:
        """Hand messages to those who subscribed."""
        self._broadcast.publish(messages)

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
        number, opened_at = self._count, trio.current_time()
        upgrade = Upgrade(self._venue, stream, endpoint, client)
        session: Session | None = None
        accepted = False
        try:
            # A connection that breaks during its upgrade is none yet.
            with contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError):
                address = await upgrade.address()
                if address is not None:
                    session = Session(
                        self._venue,
                        stream,
                        upgrade.ws,
                        endpoint,
                        number,
                        address.shape,
                        opened_at,
                        address.route,
                    )
                    accepted = await session.open(upgrade, address.streams)
            if session is not None and accepted:
                self.sessions[number] = session
                self.truth.open_connections = len(self.sessions)
                await session.run()
        finally:
            if session is not None:
                self._forget(session)
            with trio.CancelScope(shield=True):
                await trio.aclose_forcefully(stream)

    async def close_all(self, code: int, reason: str) -> None:
        """Close every connection in order, and wait for their ends."""
        for session in self.sessions.values():
            session.outbox.begin_close(code, reason, reason)
        closed = set(self.sessions)
        while closed & self.sessions.keys():
            self._ended = trio.Event()
            await self._ended.wait()

    def _forget(self, session: Session) -> None:
        session.subscriptions.leave()
        if self.sessions.pop(session.number, None) is not None:
            self.truth.endings.append(
                Ending(trio.current_time(), session.number, session.endpoint, session.outbox.cause)
            )
        self.truth.open_connections = len(self.sessions)
        self._ended.set()

    # Faults

    def _hit(self, fault: Fault) -> list[Session]:
        return [session for session in self.sessions.values() if fault.hits(session.names)]

    def fault_begins(self, fault: Fault) -> None:
        """A fault begins, see :class:`.board.FaultListener`."""
        hit = self._hit(fault)
        if fault.kind in MARKET_KINDS:
            if fault.hits((self.venue, *self.endpoints)) and isinstance(self.market, Market):
                self._move_market(fault, self.market)
        elif fault.kind is FaultKind.ABSURD_KEY:
            if isinstance(self.market, Market):
                self._tell_nonsense(fault, hit, self.market)
        elif fault.kind in ONE_CONNECTION_KINDS:
            live = [session for session in hit if session.subscriptions.attached()]
            if live:
                self._silence(fault, self._venue.rng.choice(live))
        elif fault.kind is FaultKind.OUTAGE:
            for session in hit:
                session.outbox.end(How.RST, fault.kind.value)
        elif SCOPE[fault.kind] is Scope.STRIKE:
            for session in hit:
                strike(session, fault, self._venue.rng, self.now_us)
        elif SCOPE[fault.kind] is Scope.DATA:
            for session in hit:
                if fault.kind is FaultKind.HALF_OPEN:
                    session.outbox.darken(fault.duration)
                elif not fault.duration:
                    session.ailments.add(fault)
                session.ailments.refresh()

    def fault_ends(self, fault: Fault) -> None:
        """A fault is over."""
        for session in self._hit(fault):
            session.ailments.refresh()

    def _move_market(self, fault: Fault, market: Market) -> None:
        self.catch_up()
        match fault.kind:
            case FaultKind.IDS_JUMP:
                market.jump_ids(fault.by, fault.symbol)
            case FaultKind.IDS_RESET:
                self.truth.renumbered.append(trio.current_time())
                market.reset_ids(fault.by, fault.symbol)
            case FaultKind.SHARED_ID:
                market.share_next_id(fault.symbol)
            case FaultKind.HALT:
                market.halt(round(fault.duration * 1e6), fault.symbol)
                self._broadcast.pace.look_again()
            case _:
                self.publish(market.burst(fault.count or 1000, fault.symbol))

    def _tell_nonsense(self, fault: Fault, hit: list[Session], market: Market) -> None:
        self.catch_up()
        streams = {name: None for session in hit for name in session.subscriptions.attached()}
        known = (parse_stream(name, self.market.product) for name in streams)
        usable = [stream.name for stream in known if stream.kind in ABSURD_KINDS]
        if fault.stream is not None:
            usable = [name for name in usable if name == fault.stream]
        message = None
        if usable:
            message = absurd_message(market, self._venue.rng.choice(usable), fault.by)
        if message is not None:
            self.truth.absurd.append(message)
            for session in hit:
                session.tell(message)

    def _silence(self, fault: Fault, session: Session) -> None:
        """Let one connection get nothing more, or nothing of one stream."""
        if fault.kind is FaultKind.DEAD_STANDBY:
            session.ailments.add(structs.replace(fault, kind=FaultKind.STALL, duration=0.0))
            session.ailments.refresh()
        else:
            streams = session.subscriptions.attached()
            session.ailments.lost.add(fault.stream or self._venue.rng.choice(streams))
