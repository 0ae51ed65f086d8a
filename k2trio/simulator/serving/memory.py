"""A connection in memory: two byte pipes with latency, backpressure, FIN and RST."""

from __future__ import annotations

import math
import operator
from collections import deque

import trio

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
        self.readable: trio.lowlevel.ParkingLot = trio.lowlevel.ParkingLot()
        self.writable: trio.lowlevel.ParkingLot = trio.lowlevel.ParkingLot()
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
        return math.inf if self._in.ended_at is None else self._in.ended_at

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
