"""The simulated exchange on real sockets: TCP and TLS endpoints, and REST.

DNS faults cannot be made here, since the client asks its own resolver; all others can.
"""

from __future__ import annotations

import contextlib
import functools
import random
import ssl
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import trio

from ...loopback import is_loopback
from ...web.guard import Guard
from ...web.httpserver import Bounds, serve_http
from ..exchange import Exchange
from ..faults.board import FaultBoard
from ..faults.fault import refuse_unknown
from ..market.market import Market
from ..rest.server import RestServer
from .gate import BACKLOG, Gate, listen

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterable, Sequence

    import trustme

    from ..faults.fault import Fault
    from .configuration import ServeConfig


REST_BOUNDS = Bounds(connections=BACKLOG)


REFUSAL = "this simulated exchange answers to localhost and loopback addresses only; see --host"


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


def _tls_context(authority: trustme.CA, host: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    certificate = authority.issue_cert("localhost", host)
    certificate.configure_cert(context)  # pyright: ignore[reportUnknownMemberType]
    return context


def generated(config: ServeConfig, board: FaultBoard) -> dict[str, Exchange]:
    """The venues of a configuration, each with a market that is made up."""
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
                product=config.product,
            ),
            faults=board,
            limits=config.limits,
            strict_symbols=config.strict_symbols,
            tick_s=config.tick_s,
            record=config.record,
        )
        for venue in venues
    }


async def _break(board: FaultBoard, exchanges: Iterable[Exchange]) -> None:
    """Run the faults; their times count from when the markets' time has begun."""
    for exchange in exchanges:
        await exchange.started()
    await board.run()


async def serve(
    config: ServeConfig,
    exchanges_of: Callable[[ServeConfig, FaultBoard], dict[str, Exchange]] = generated,
    *,
    refuse: Callable[[Sequence[Fault]], None] | None = None,
    task_status: trio.TaskStatus[Running] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve venues on real sockets until cancelled; reports a :class:`Running`.

    :param exchanges_of: makes the venues.
    :param refuse: raises ValueError for faults that cannot be meant; by default for those that
        could hit nothing.
    :raises OSError: if a port is taken, before anything is served.
    :raises ValueError: for a fault that could hit nothing.
    """
    if refuse is None:
        refuse = functools.partial(refuse_unknown, names=config.names, symbols=config.symbol_names)
    board = FaultBoard(config.faults, refuse)
    exchanges = exchanges_of(config, board)
    tls: ssl.SSLContext | None = None
    if any(endpoint.tls for endpoint in config.endpoints):
        import trustme  # it comes with an extra

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

        # Whoever can post here decides what the exchange does: no web page may.
        local_only = is_loopback(config.host)
        guarded = functools.partial(Guard, local_only=local_only, refusal=REFUSAL)
        async with trio.open_nursery() as nursery:
            for exchange in exchanges.values():
                exchange.now_us()
                nursery.start_soon(exchange.run)
            for server, listening in zip(rest_servers.values(), sockets, strict=True):
                nursery.start_soon(serve_http, guarded(server.app), listening, REST_BOUNDS, "REST")
            for gate in gates:
                nursery.start_soon(gate.run)
            nursery.start_soon(_break, board, list(exchanges.values()))
            urls = {gate.config.name: gate.url for gate in gates}
            task_status.started(Running(urls, rest_urls, exchanges, rest_servers, board))
