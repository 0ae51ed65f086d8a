"""TCP as a byte stream, made for reading what comes in small pieces.

:class:`trio.SocketStream` tries to read before it waits, which is one failed system call and one
exception for every piece where nothing is there yet; and each of its layers costs a little. A feed
reads thousands of pieces a second and mostly has to wait for each, so here the order is turned
round: wait, then read. Only after a read that was filled to the brim, more is tried for at once.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    import socket

RECEIVE_BYTES = 64 * 1024
"""One read where the caller does not say."""
_CLOSED_ERRNOS = {errno.EBADF, errno.ENOTSOCK}


class TcpStream(trio.abc.Stream):
    """A connected TCP socket, for one reader and one writer at a time.

    :param connected: a socket of the standard library; it belongs to this stream.

    Methods raise :class:`trio.BrokenResourceError`, caused by the :class:`OSError`, and
    :class:`trio.ClosedResourceError`, as those of :class:`trio.SocketStream`.
    """

    def __init__(self, connected: socket.socket) -> None:
        self._socket = connected
        self._stream = trio.SocketStream(trio.socket.from_stdlib_socket(connected))
        self._more = False

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """What has arrived; empty at the end of the stream.

        :raises ValueError: if ``max_bytes`` is not at least 1.
        """
        limit = RECEIVE_BYTES if max_bytes is None else max_bytes
        if limit < 1:
            raise ValueError("max_bytes must be >= 1")
        try:
            if self._more:
                await trio.lowlevel.checkpoint()
            else:
                await self._readable()
            while True:
                try:
                    data = self._socket.recv(limit)
                except BlockingIOError:
                    await self._readable()
                else:
                    break
        except OSError as error:
            if error.errno in _CLOSED_ERRNOS:
                raise trio.ClosedResourceError("this socket was already closed") from None
            raise trio.BrokenResourceError(f"socket connection broken: {error}") from error
        self._more = len(data) == limit
        return data

    async def _readable(self) -> None:
        if self._socket.fileno() < 0:
            raise trio.ClosedResourceError("this socket was already closed")
        await trio.lowlevel.wait_readable(self._socket)

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """As the socket takes it."""
        await self._stream.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        """Until the socket takes more."""
        await self._stream.wait_send_all_might_not_block()

    async def aclose(self) -> None:
        """Close the socket; whoever reads or writes gets :class:`trio.ClosedResourceError`."""
        await self._stream.aclose()

    def close(self) -> None:
        """The same at once, without a checkpoint."""
        self._stream.socket.close()
