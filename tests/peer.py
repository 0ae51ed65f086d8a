"""The other end of a connection, byte by byte: a server that does exactly what a test tells it."""

from __future__ import annotations

import base64
import hashlib
import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import trio

from k2trio.policy.breaker import CircuitBreaker
from k2trio.policy.failover import Endpoint

if TYPE_CHECKING:
    from collections.abc import Sequence

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA
FIN = 0x80


def frame(opcode: int, payload: bytes = b"", *, fin: bool = True, form: int | None = None) -> bytes:
    """A frame of a server; ``form`` 7, 16 or 64 forces how many bits hold the length."""
    size = len(payload)
    first = opcode | (FIN if fin else 0)
    if form is None:
        form = 7 if size < 126 else 16 if size < 65536 else 64
    head = {
        7: lambda: bytes((first, size)),
        16: lambda: struct.pack("!BBH", first, 126, size),
        64: lambda: struct.pack("!BBQ", first, 127, size),
    }[form]()
    return head + payload


def text(payload: str | bytes) -> bytes:
    """One text message in one frame."""
    return frame(TEXT, payload.encode() if isinstance(payload, str) else payload)


def close(code: int = 1000, reason: str = "") -> bytes:
    """A close frame."""
    return frame(CLOSE, struct.pack("!H", code) + reason.encode())


def endpoint(url: str = "ws://localhost:1/stream", index: int = 0) -> Endpoint:
    """An endpoint with a breaker of its own."""
    return Endpoint.from_url(url, index, CircuitBreaker)


def switching(request: bytes, *headers: str) -> bytes:
    """The 101 answer to an upgrade request, with the right accept key."""
    key = next(
        line.partition(b":")[2].strip()
        for line in request.split(b"\r\n")
        if line.lower().startswith(b"sec-websocket-key:")
    )
    digest = hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest()  # noqa: S324 - RFC 6455
    lines = [
        "HTTP/1.1 101 Switching Protocols",
        "Upgrade: websocket",
        "Connection: Upgrade",
        f"Sec-WebSocket-Accept: {base64.b64encode(digest).decode()}",
        *headers,
    ]
    return "\r\n".join(lines).encode() + b"\r\n\r\n"


class Seen(NamedTuple):
    """A frame that the client sent, unmasked."""

    time: float
    opcode: int
    payload: bytes


@dataclass
class Peer:
    """The server's end.

    :ivar seen: the client's frames, as :meth:`next_frame` read them.
    """

    stream: trio.abc.Stream
    seen: list[Seen] = field(default_factory=list)
    _unread: bytes = b""

    async def request(self) -> bytes:
        """Read the upgrade request."""
        while b"\r\n\r\n" not in self._unread:
            self._unread += await self._more()
        head, _, self._unread = self._unread.partition(b"\r\n\r\n")
        return head

    async def accept(self, *headers: str, more: bytes = b"") -> None:
        """Answer the upgrade, and send ``more`` in the same packet."""
        await self.stream.send_all(switching(await self.request(), *headers) + more)

    async def send(self, data: bytes) -> None:
        """Send bytes as they are."""
        await self.stream.send_all(data)

    async def _more(self) -> bytes:
        data = await self.stream.receive_some(65536)
        if not data:
            raise trio.EndOfChannel
        return bytes(data)

    async def next_frame(self) -> Seen:
        """The client's next frame.

        :raises trio.EndOfChannel: when it has closed the connection.
        """
        while (found := self._cut()) is None:
            self._unread += await self._more()
        self.seen.append(found)
        return found

    async def frames(self, until: Sequence[int] = ()) -> list[Seen]:
        """Read until a frame of one of these opcodes, or the end of the connection."""
        while True:
            try:
                if (await self.next_frame()).opcode in until:
                    return self.seen
            except (trio.EndOfChannel, trio.BrokenResourceError):
                return self.seen

    def _cut(self) -> Seen | None:
        data = self._unread
        if len(data) < 6:
            return None
        assert data[1] & 0x80, "clients must mask"
        size, at = data[1] & 0x7F, 2
        if size == 126:
            size, at = struct.unpack_from("!H", data, 2)[0], 4
        if len(data) < at + 4 + size:
            return None
        key, body = data[at : at + 4], data[at + 4 : at + 4 + size]
        self._unread = data[at + 4 + size :]
        payload = bytes(byte ^ key[place % 4] for place, byte in enumerate(body))
        return Seen(trio.current_time(), data[0] & 0x0F, payload)
