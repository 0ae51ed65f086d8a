"""TCP as a byte stream, made for reading what comes in small pieces.

:class:`trio.SocketStream` tries to read before it waits, which is one failed system call and one
exception for every piece where nothing is there yet; and each of its layers costs a little. A feed
reads thousands of pieces a second and mostly has to wait for each, so here the order is turned
round: wait, then read. Only after a read that was filled to the brim, more is tried for at once.

Reads go through a buffer of the stream's own: to make ``bytes`` of 128 KiB for every read and cut
them down to the few that came costs the allocator more than the read does.

A process that sleeps takes tens of microseconds to be woken, and comes back to cold caches. Whoever
has a core to spare can have :class:`TcpStream` ask again and again instead (busy polling).
"""

from __future__ import annotations

import errno
import math
from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

RECEIVE_BYTES = 64 * 1024
"""One read where the caller does not say."""
BUFFER_BYTES = 128 * 1024
"""One read at most."""
_CLOSED_ERRNOS = {errno.EBADF, errno.ENOTSOCK}


class TcpStream(trio.abc.Stream):
    """A connected TCP socket, for one reader and one writer at a time.

    :param connected: a socket of the standard library; it belongs to this stream.
    :param busy_poll: seconds after each read for which the next one asks the socket again and
        again, with a checkpoint each time, before it waits; 0: it waits at once.
    :ivar proven: to be called when a WebSocket was opened on it.

    Methods raise :class:`trio.BrokenResourceError`, caused by the :class:`OSError`, and
    :class:`trio.ClosedResourceError`, as those of :class:`trio.SocketStream`.
    """

    def __init__(self, connected: socket.socket, *, busy_poll: float = 0.0) -> None:
        self.proven: Callable[[], None] = _nobody_asked
        self._socket = connected
        self._stream = trio.SocketStream(trio.socket.from_stdlib_socket(connected))
        self._more = False
        self._busy_poll = busy_poll
        self._poll_until = -math.inf
        self._buffer = memoryview(bytearray(BUFFER_BYTES))

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """What has arrived; empty at the end of the stream.

        :raises ValueError: if ``max_bytes`` is not at least 1.
        """
        limit = RECEIVE_BYTES if max_bytes is None else max_bytes
        if limit < 1:
            raise ValueError("max_bytes must be >= 1")
        while True:
            await self.readable()
            data = self.read_now(limit)
            if data is not None:
                return data

    @property
    def hosted(self) -> bool:
        """See :class:`~.ready.Ready`."""
        return not self._busy_poll

    def fileno(self) -> int:
        """Of the socket; -1 when it is closed."""
        return self._socket.fileno()

    async def readable(self) -> None:
        """Return when :meth:`read_now` is worth a try, after a checkpoint."""
        if self._more or (self._busy_poll and trio.current_time() < self._poll_until):
            await trio.lowlevel.checkpoint()
        elif self._socket.fileno() < 0:
            raise trio.ClosedResourceError("this socket was already closed")
        else:
            await trio.lowlevel.wait_readable(self._socket)

    def read_now(self, limit: int = BUFFER_BYTES) -> bytes | None:
        """What has arrived; empty at the end of the stream, None if nothing has."""
        buffer = self._buffer
        try:
            size = self._socket.recv_into(buffer, limit if limit < BUFFER_BYTES else 0)
        except BlockingIOError:
            self._more = False
            return None
        except OSError as error:
            if error.errno in _CLOSED_ERRNOS:
                raise trio.ClosedResourceError("this socket was already closed") from None
            raise trio.BrokenResourceError(f"socket connection broken: {error}") from error
        self._more = size >= limit or size == BUFFER_BYTES
        if self._busy_poll:
            self._poll_until = trio.current_time() + self._busy_poll
        return bytes(buffer[:size])

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """As the socket takes it."""
        await self._stream.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        """Until the socket takes more."""
        await self._stream.wait_send_all_might_not_block()

    async def aclose(self) -> None:
        """Close the socket; whoever reads or writes gets :class:`trio.ClosedResourceError`."""
        await self._stream.aclose()


def _nobody_asked() -> None:
    pass
