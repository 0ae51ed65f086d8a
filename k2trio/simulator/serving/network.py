"""An in-memory network for virtual time: names that lead to venues, dialling, and REST."""

from __future__ import annotations

import math
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING

import httpx2
import trio

from ..faults.kinds import DIAL_KINDS, FaultKind
from .memory import WINDOW_BYTES, memory_pair

if TYPE_CHECKING:
    from ..exchange import Exchange
    from ..faults.board import FaultBoard
    from ..rest.server import RestServer


@dataclass(frozen=True, slots=True)
class _Place:
    exchange: Exchange
    endpoint: str


class MemoryNetwork:
    """Host names and ports that lead to simulated venues.

    :param faults: the board shared by all venues of the run.
    :param latency_s: one-way latency of connections; seconds.
    """

    def __init__(
        self,
        faults: FaultBoard,
        *,
        latency_s: float = 0.0,
        window_bytes: int = WINDOW_BYTES,
        client: str = "memory",
    ) -> None:
        self.faults = faults
        self.latency_s = latency_s
        self.window_bytes = window_bytes
        self.client = client
        self._places: dict[tuple[str, int], _Place] = {}
        self._rest: dict[tuple[str, int | None], RestServer] = {}
        self._nursery: trio.Nursery | None = None

    def add(self, host: str, port: int, exchange: Exchange, endpoint: str) -> None:
        """Let ``host:port`` be an endpoint of a venue."""
        exchange.endpoints[endpoint] = None
        self._places[host, port] = _Place(exchange, endpoint)

    def add_rest(self, host: str, server: RestServer, port: int | None = None) -> None:
        """Let REST requests to ``host`` reach a venue; without ``port``, by every port."""
        self._rest[host, port] = server

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Run the venues and their faults, for ever; cancel to end every connection."""
        exchanges = {id(place.exchange): place.exchange for place in self._places.values()}
        exchanges |= {id(server.exchange): server.exchange for server in self._rest.values()}
        async with trio.open_nursery() as self._nursery:
            for exchange in exchanges.values():
                exchange.now_us()
                self._nursery.start_soon(exchange.run)
            self._nursery.start_soon(self.faults.run)
            task_status.started()
            await trio.sleep_forever()

    async def dial(self, host: str, port: int) -> trio.abc.Stream:
        """Connect as TCP would.

        :raises socket.gaierror: if the name is not known.
        :raises ConnectionRefusedError: if nobody listens.
        """
        await trio.lowlevel.checkpoint()
        if self._nursery is None:
            raise RuntimeError("MemoryNetwork.run is not running")
        place = self._places.get((host, port))
        if place is None:
            if not any(host == known for known, _ in self._places):
                raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
            raise ConnectionRefusedError(f"nobody listens on {host}:{port}")
        fault = self.faults.take((place.endpoint, place.exchange.venue), DIAL_KINDS)
        if fault is not None:
            place.exchange.truth.note_attempt(place.endpoint, self.client, fault.kind.value)
            await _fail_dial(fault.kind)
        if self.latency_s:
            await trio.sleep(2 * self.latency_s)
        ours, theirs = memory_pair(self.latency_s, self.window_bytes)
        self._nursery.start_soon(place.exchange.serve_stream, theirs, place.endpoint, self.client)
        return ours

    def rest_transport(self) -> httpx2.AsyncBaseTransport:
        """A transport for :class:`httpx2.AsyncClient` that reaches the venues' REST sides."""
        return _RestTransport(self)

    def rest_server(self, host: str, port: int | None = None) -> RestServer | None:
        """The REST side that ``host`` leads to, by ``port`` (None: the scheme's own)."""
        return self._rest.get((host, port)) or self._rest.get((host, None))


async def _fail_dial(kind: FaultKind) -> None:
    match kind:
        case FaultKind.DNS_FAILURE:
            raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
        case FaultKind.DNS_HANG | FaultKind.BLACK_HOLE:
            await trio.sleep_forever()
        case _:
            raise ConnectionRefusedError("connection refused")


class _RestTransport(httpx2.AsyncBaseTransport):
    """Routes requests by host; keeps the request's timeouts as a real connection would."""

    def __init__(self, network: MemoryNetwork) -> None:
        self._network = network

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        await trio.lowlevel.checkpoint()
        network = self._network
        server = network.rest_server(request.url.host, request.url.port)
        if server is None:
            raise httpx2.ConnectError("Name or service not known", request=request)
        timeouts = request.extensions.get("timeout", {})
        fault = network.faults.take(server.names, (*DIAL_KINDS, FaultKind.REST_REFUSED))
        if fault is not None:
            connect_s = timeouts.get("connect")
            with trio.move_on_after(math.inf if connect_s is None else connect_s):
                try:
                    await _fail_dial(fault.kind)
                except OSError as error:
                    raise httpx2.ConnectError(str(error), request=request) from error
            raise httpx2.ConnectTimeout("timed out", request=request)
        if network.latency_s:
            await trio.sleep(4 * network.latency_s)
        inner = httpx2.ASGITransport(app=server.app, client=(network.client, 0))
        read_s = timeouts.get("read")
        with trio.move_on_after(math.inf if read_s is None else read_s):
            return await inner.handle_async_request(request)
        raise httpx2.ReadTimeout("timed out", request=request)
