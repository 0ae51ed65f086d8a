"""An in-memory network for virtual time: names, dialling, and byte pipes with backpressure."""

from __future__ import annotations

import operator
import socket
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

import httpx2
import trio

from .kinds import DIAL_KINDS, FaultKind

if TYPE_CHECKING:
    from .board import FaultBoard
    from .exchange import Exchange
    from .rest import RestServer

WINDOW_BYTES = 262_144
"""Bytes that a pipe holds before the sender waits, as a socket's buffers do."""


class _Pipe:
    """One direction: chunks with the time from which they can be read."""

    def __init__(self, latency_s: float, window_bytes: int) -> None:
        self.latency_s = latency_s
        self.window_bytes = window_bytes
        self.chunks: deque[tuple[float, memoryview]] = deque()
        self.size = 0
        self.ended_at: float | None = None
        self.writer_closed = False
        self.reader_closed = False
        self.reset = False
        self.readable = trio.lowlevel.ParkingLot()
        self.writable = trio.lowlevel.ParkingLot()
        self.sending = False
        self.receiving = False

    def wake(self) -> None:
        self.readable.unpark_all()
        self.writable.unpark_all()


class MemoryStream(trio.abc.HalfCloseableStream):
    """One end of a connection in memory; behaves as a :class:`trio.SocketStream` does."""

    def __init__(self, incoming: _Pipe, outgoing: _Pipe) -> None:
        self._in = incoming
        self._out = outgoing
        self._closed = False

    def _check_send(self) -> None:
        if self._closed:
            raise trio.ClosedResourceError("this stream was closed")
        if self._out.reset or self._out.reader_closed:
            raise trio.BrokenResourceError("the connection is broken")
        if self._out.writer_closed:
            raise trio.ClosedResourceError("send_eof was called")

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Send, waiting while the peer does not read."""
        pipe = self._out
        if pipe.sending:
            raise trio.BusyResourceError("another task is sending")
        pipe.sending = True
        try:
            await trio.lowlevel.checkpoint()
            rest = memoryview(bytes(data))
            self._check_send()
            while rest:
                while (room := pipe.window_bytes - pipe.size) <= 0:
                    await pipe.writable.park()
                    self._check_send()
                part, rest = rest[:room], rest[room:]
                pipe.chunks.append((trio.current_time() + pipe.latency_s, part))
                pipe.size += len(part)
                pipe.readable.unpark_all()
        finally:
            pipe.sending = False

    async def wait_send_all_might_not_block(self) -> None:
        """Wait until the peer has read enough."""
        if self._out.sending:
            raise trio.BusyResourceError("another task is sending")
        self._out.sending = True
        try:
            await trio.lowlevel.checkpoint()
            self._check_send()
            while self._out.size >= self._out.window_bytes:
                await self._out.writable.park()
                self._check_send()
        finally:
            self._out.sending = False

    async def send_eof(self) -> None:
        """FIN: the peer reads what is left, then the end."""
        if self._out.sending:
            raise trio.BusyResourceError("another task is sending")
        await trio.lowlevel.checkpoint()
        if not self._out.writer_closed:
            self._check_send()
            self._finish()

    def _finish(self) -> None:
        self._out.writer_closed = True
        if self._out.ended_at is None:
            self._out.ended_at = trio.current_time() + self._out.latency_s
        self._out.readable.unpark_all()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """Bytes that have arrived; ``b""`` at the end."""
        pipe = self._in
        if pipe.receiving:
            raise trio.BusyResourceError("another task is receiving")
        pipe.receiving = True
        try:
            await trio.lowlevel.checkpoint()
            limit = 65_536 if max_bytes is None else operator.index(max_bytes)
            if limit < 1:
                raise ValueError("max_bytes must be at least 1")
            while True:
                if self._closed:
                    raise trio.ClosedResourceError("this stream was closed")
                if data := self._take(limit):
                    return data
                if pipe.reset:
                    raise trio.BrokenResourceError("connection reset by peer")
                ended = pipe.ended_at is not None and pipe.ended_at <= trio.current_time()
                if ended and not pipe.chunks:
                    return b""
                with trio.move_on_at(self._next_arrival()):
                    await pipe.readable.park()
        finally:
            pipe.receiving = False

    def _next_arrival(self) -> float:
        if self._in.chunks:
            return self._in.chunks[0][0]
        return float("inf") if self._in.ended_at is None else self._in.ended_at

    def _take(self, limit: int) -> bytes:
        pipe, now = self._in, trio.current_time()
        parts: list[memoryview] = []
        size = 0
        while pipe.chunks and pipe.chunks[0][0] <= now and size < limit:
            arrived_at, chunk = pipe.chunks.popleft()
            part = chunk[: limit - size]
            if len(part) < len(chunk):
                pipe.chunks.appendleft((arrived_at, chunk[len(part) :]))
            parts.append(part)
            size += len(part)
        if size:
            pipe.size -= size
            pipe.writable.unpark_all()
        return b"".join(parts)

    async def aclose(self) -> None:
        """Close both directions; the peer reads what is left, its writes fail."""
        self.close()
        await trio.lowlevel.checkpoint()

    def close(self) -> None:
        """:meth:`aclose` without the checkpoint."""
        if self._closed:
            return
        self._closed = True
        self._finish()
        self._in.reader_closed = True
        self._in.chunks.clear()
        self._in.size = 0
        self._in.wake()
        self._out.wake()

    def reset(self) -> None:
        """RST: both sides fail; what has arrived can still be read, the rest is lost."""
        now = trio.current_time()
        for pipe in (self._in, self._out):
            pipe.reset = True
            while pipe.chunks and pipe.chunks[-1][0] > now:
                pipe.size -= len(pipe.chunks.pop()[1])
            pipe.wake()
        self._closed = True


def memory_pair(
    latency_s: float = 0.0, window_bytes: int = WINDOW_BYTES
) -> tuple[MemoryStream, MemoryStream]:
    """Two connected streams.

    :param latency_s: each byte arrives this much later; seconds.
    """
    there, back = _Pipe(latency_s, window_bytes), _Pipe(latency_s, window_bytes)
    return MemoryStream(back, there), MemoryStream(there, back)


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
        self._rest: dict[str, RestServer] = {}
        self._nursery: trio.Nursery | None = None

    def add(self, host: str, port: int, exchange: Exchange, endpoint: str) -> None:
        """Let ``host:port`` be an endpoint of a venue."""
        exchange.endpoints[endpoint] = None
        self._places[host, port] = _Place(exchange, endpoint)

    def add_rest(self, host: str, server: RestServer) -> None:
        """Let REST requests to ``host`` reach a venue."""
        self._rest[host] = server

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

    def rest_server(self, host: str) -> RestServer | None:
        """The REST side that ``host`` leads to."""
        return self._rest.get(host)


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
        server = network.rest_server(request.url.host)
        if server is None:
            raise httpx2.ConnectError("Name or service not known", request=request)
        timeouts = request.extensions.get("timeout", {})
        fault = network.faults.take(server.names, (*DIAL_KINDS, FaultKind.REST_REFUSED))
        if fault is not None:
            connect_s = timeouts.get("connect")
            with trio.move_on_after(float("inf") if connect_s is None else connect_s):
                try:
                    await _fail_dial(fault.kind)
                except OSError as error:
                    raise httpx2.ConnectError(str(error), request=request) from error
            raise httpx2.ConnectTimeout("timed out", request=request)
        if network.latency_s:
            await trio.sleep(4 * network.latency_s)
        inner = httpx2.ASGITransport(app=server.app, client=(network.client, 0))
        read_s = timeouts.get("read")
        with trio.move_on_after(float("inf") if read_s is None else read_s):
            return await inner.handle_async_request(request)
        raise httpx2.ReadTimeout("timed out", request=request)
