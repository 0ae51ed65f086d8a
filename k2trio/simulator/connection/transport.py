"""What the exchange does with a byte stream beside sending: above all, ends it, by FIN or RST."""

from __future__ import annotations

import socket
import struct
from typing import Protocol, cast, runtime_checkable

import trio

RECEIVE_BYTES = 65_536
LINGER_ZERO = struct.pack("ii", 1, 0)


@runtime_checkable
class Resettable(Protocol):
    """A stream that can be reset, as those of the in-memory network can."""

    def reset(self) -> None:
        """Break the connection for both sides, at once."""
        ...


def bottom(stream: trio.abc.Stream) -> trio.abc.Stream:
    """The transport under TLS, or the stream itself."""
    if isinstance(stream, trio.SSLStream):
        return cast("trio.SSLStream[trio.abc.Stream]", stream).transport_stream
    return stream


def abort(stream: trio.abc.Stream) -> None:
    """Send RST and close: unsent data is lost, the peer's next read or write fails."""
    under = bottom(stream)
    if isinstance(under, Resettable):
        under.reset()
    elif isinstance(under, trio.SocketStream):
        if under.socket.fileno() >= 0:
            under.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_ZERO)
            under.socket.close()
    else:
        raise TypeError(f"{under!r} cannot be reset")


async def send_fin(stream: trio.abc.Stream) -> None:
    """End our direction without closing TLS first, as a server that goes away does.

    :raises trio.BrokenResourceError: if the connection is broken.
    """
    under = bottom(stream)
    if isinstance(under, trio.abc.HalfCloseableStream):
        await under.send_eof()
    else:
        await under.aclose()


async def end_in_order(stream: trio.abc.Stream) -> None:
    """End our direction politely: TLS first, then FIN.

    :raises trio.BrokenResourceError: if the connection is broken.
    """
    if isinstance(stream, trio.SSLStream):
        await stream.aclose()
    else:
        await send_fin(stream)
