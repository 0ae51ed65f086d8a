"""The simulated exchange on real sockets: TCP and TLS endpoints, and REST.

DNS faults cannot be made here, since the client asks its own resolver; all others can.
"""

from __future__ import annotations

import contextlib
import random
import socket
import ssl
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import trio
import trustme

from ..web.httpserver import Bounds, serve_http
from .board import FaultBoard
from .exchange import Exchange
from .kinds import DIAL_KINDS, FaultKind
from .limits import Limits
from .market import HISTORY, Market
from .quota import RestLimits
from .rest import RestServer
from .transport import abort

if TYPE_CHECKING:
    from pathlib import Path

    from .faults import Fault
    from .spec import SymbolSpec

BACKLOG = 1024
REST_BOUNDS = Bounds(connections=BACKLOG)
TLS_HANDSHAKE_S = 10.0
ACCEPT_PAUSE_S = 0.1
BLACK_HOLE_FILLERS = 4
"""Connections that fill the accept queue, so that the kernel drops every further SYN."""

VENUE = "binance.com"


@dataclass(frozen=True, slots=True)
class EndpointConfig:
    """One WebSocket endpoint.

    :param name: what faults call it by.
    :param port: 0: any free one.
    :param tls: serve ``wss://`` with a certificate of the run's own authority.
    """

    name: str
    venue: str = VENUE
    port: int = 0
    tls: bool = False


@dataclass(frozen=True, slots=True)
class RestConfig:
    """The REST side of one venue, plain HTTP; see :class:`EndpointConfig`."""

    name: str = "rest"
    venue: str = VENUE
    port: int = 0


@dataclass(frozen=True, slots=True)
class ServeConfig:
    """What :func:`serve` serves.

    :param rate: taker orders per second and symbol, see :class:`.market.Market`.
    :param faults: with ``at`` relative to the start.
    :param ca_path: where to write the certificate authority (PEM) that clients must trust.
    :param start_ms: simulated time at the start; None: the wall clock's.
    """

    endpoints: tuple[EndpointConfig, ...] = (EndpointConfig("primary"),)
    rest: tuple[RestConfig, ...] = (RestConfig(),)
    symbols: tuple[str | SymbolSpec, ...] = ("BTCUSDT", "ETHUSDT")
    seed: int = 0
    rate: float = 10.0
    quotes: float = 1.0
    history: int = HISTORY
    faults: tuple[Fault, ...] = ()
    limits: Limits = field(default_factory=Limits)
    rest_limits: RestLimits = field(default_factory=RestLimits)
    strict_symbols: bool = True
    tick_s: float = 0.01
    record: tuple[str, ...] = ()
    host: str = "127.0.0.1"
    ca_path: Path | None = None
    start_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Running:
    """What :func:`serve` reports when it listens.

    :ivar websocket_urls: endpoint name → base URL, e.g. ``ws://127.0.0.1:40001``; add
        ``/stream`` or ``/ws``.
    :ivar rest_urls: REST name → base URL.
    :ivar exchanges: venue → exchange, with its truth.
    """

    websocket_urls: dict[str, str]
    rest_urls: dict[str, str]
    exchanges: dict[str, Exchange]
    rest_servers: dict[str, RestServer]
    faults: FaultBoard


class Gate:
    """One listening port, which faults can close, reopen, or make a black hole.

    :raises OSError: if the port is taken.
    """

    def __init__(
        self, config: EndpointConfig, exchange: Exchange, host: str, tls: ssl.SSLContext | None
    ) -> None:
        self.config = config
        self._exchange = exchange
        self._host = host
        self._tls = tls
        self._names = (config.name, config.venue)
        self._fillers: list[socket.socket] = []
        self._accepting = trio.CancelScope()
        self._opened = trio.Event()
        self._socket: trio.socket.SocketType | None = None
        self._port = config.port
        self._open()

    @property
    def url(self) -> str:
        """Base URL."""
        return f"{'wss' if self._tls else 'ws'}://{self._host}:{self._port}"

    def _open(self) -> None:
        listening = listen(self._host, self._port)
        self._port = listening.getsockname()[1]
        self._socket = trio.socket.from_stdlib_socket(listening)
        self._opened.set()

    def close(self) -> None:
        """Stop listening: further dials are refused."""
        for filler in self._fillers:
            filler.close()
        self._fillers.clear()
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        self._stop_accepting()

    def _stop_accepting(self) -> None:
        if self._opened.is_set():
            self._opened = trio.Event()
        self._accepting.cancel()

    def fault_begins(self, fault: Fault) -> None:
        """Refuse, or swallow, dials for the fault's duration."""
        if not fault.duration or fault.count is not None or not fault.hits(self._names):
            return
        if fault.kind in {FaultKind.REFUSED, FaultKind.OUTAGE}:
            self.close()
        elif fault.kind is FaultKind.BLACK_HOLE and self._socket is not None:
            self._stop_accepting()
            self._socket.listen(0)
            for _ in range(BLACK_HOLE_FILLERS):
                filler = socket.socket()
                filler.setblocking(False)
                filler.connect_ex((self._host, self._port))
                self._fillers.append(filler)

    def fault_ends(self, fault: Fault) -> None:
        """Listen again, on the same port, once nothing forbids it."""
        kinds = (FaultKind.REFUSED, FaultKind.OUTAGE, FaultKind.BLACK_HOLE)
        if fault.kind not in kinds or not fault.hits(self._names):
            return
        if any(other.duration for other in self._exchange.faults.active(self._names, kinds)):
            return
        self.close()
        self._open()

    async def run(self) -> None:
        """Accept connections, for ever."""
        try:
            async with trio.open_nursery() as nursery:
                while True:
                    while not self._opened.is_set():  # a fault may close it before we run again
                        await self._opened.wait()
                    with trio.CancelScope() as self._accepting:
                        await self._accept(nursery)
        finally:
            self.close()

    async def _accept(self, nursery: trio.Nursery) -> None:
        while self._socket is not None:
            try:
                accepted, address = await self._socket.accept()
            except trio.ClosedResourceError:
                return
            except OSError:  # no descriptors left, or the peer was gone before we took it
                await trio.sleep(ACCEPT_PAUSE_S)
                continue
            nursery.start_soon(self._serve, trio.SocketStream(accepted), str(address[0]))

    async def _serve(self, stream: trio.SocketStream, client: str) -> None:
        fault = self._exchange.faults.take(self._names, DIAL_KINDS)
        if fault is not None:
            self._exchange.truth.note_attempt(self.config.name, client, fault.kind.value)
            if fault.kind is FaultKind.BLACK_HOLE:
                with contextlib.suppress(trio.BrokenResourceError):
                    while await stream.receive_some(1024):
                        pass
            abort(stream)
            return
        served: trio.abc.Stream = stream
        if self._tls is not None:
            secure = trio.SSLStream(stream, self._tls, server_side=True)
            try:
                with trio.fail_after(TLS_HANDSHAKE_S):
                    await secure.do_handshake()
            except (trio.BrokenResourceError, trio.TooSlowError):
                await trio.aclose_forcefully(stream)
                return
            served = secure
        await self._exchange.serve_stream(served, self.config.name, client)


def listen(host: str, port: int) -> socket.socket:
    """A listening socket.

    :raises OSError: if the port is taken.
    """
    listening = socket.socket()
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
        listening.listen(BACKLOG)
        listening.setblocking(False)
    except OSError:
        listening.close()
        raise
    return listening


def _tls_context(authority: trustme.CA, host: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    certificate = authority.issue_cert("localhost", host)
    certificate.configure_cert(context)  # pyright: ignore[reportUnknownMemberType]
    return context


def _exchanges(config: ServeConfig, board: FaultBoard) -> dict[str, Exchange]:
    start_ms = time.time_ns() // 1_000_000 if config.start_ms is None else config.start_ms
    venues = dict.fromkeys(
        [item.venue for item in config.endpoints] + [item.venue for item in config.rest]
    )
    return {
        venue: Exchange(
            venue,
            Market(
                config.symbols,
                seed=random.Random(f"{config.seed}/{venue}").getrandbits(32),
                start_ms=start_ms,
                rate=config.rate,
                quotes=config.quotes,
                history=config.history,
            ),
            faults=board,
            limits=config.limits,
            strict_symbols=config.strict_symbols,
            tick_s=config.tick_s,
            record=config.record,
        )
        for venue in venues
    }


async def serve(
    config: ServeConfig,
    *,
    task_status: trio.TaskStatus[Running] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve venues on real sockets until cancelled; reports a :class:`Running`.

    :raises OSError: if a port is taken, before anything is served.
    """
    board = FaultBoard(config.faults)
    exchanges = _exchanges(config, board)
    tls: ssl.SSLContext | None = None
    if any(endpoint.tls for endpoint in config.endpoints):
        authority = trustme.CA()
        tls = _tls_context(authority, config.host)
        if config.ca_path is not None:
            await trio.Path(config.ca_path).write_bytes(authority.cert_pem.bytes())
    with contextlib.ExitStack() as stack:
        gates: list[Gate] = []
        for endpoint in config.endpoints:
            exchange = exchanges[endpoint.venue]
            exchange.endpoints[endpoint.name] = None
            gate = Gate(endpoint, exchange, config.host, tls if endpoint.tls else None)
            stack.callback(gate.close)
            board.listen(gate)
            gates.append(gate)
        rest_servers: dict[str, RestServer] = {}
        rest_urls: dict[str, str] = {}
        sockets: list[socket.socket] = []
        for item in config.rest:
            server = RestServer(exchanges[item.venue], item.name, config.rest_limits)
            listening = listen(config.host, item.port)
            stack.callback(listening.close)
            sockets.append(listening)
            rest_servers[item.name] = server
            rest_urls[item.name] = f"http://{config.host}:{listening.getsockname()[1]}"
        async with trio.open_nursery() as nursery:
            for exchange in exchanges.values():
                exchange.now_us()
                nursery.start_soon(exchange.run)
            for server, listening in zip(rest_servers.values(), sockets, strict=True):
                nursery.start_soon(serve_http, server.app, listening, REST_BOUNDS, "REST")
            for gate in gates:
                nursery.start_soon(gate.run)
            nursery.start_soon(board.run)
            urls = {gate.config.name: gate.url for gate in gates}
            task_status.started(Running(urls, rest_urls, exchanges, rest_servers, board))
