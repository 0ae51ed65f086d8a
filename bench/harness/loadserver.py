"""The load server: an exchange that sends what was written in advance, as fast as it is read.

A process of its own, made of plain sockets. What it sends next is told by lines of JSON on standard
input (:class:`Plan`), each answered by a line, so that one server with its prepared frames serves
all clients in turn:

    python -m harness.loadserver [--tls CA_FILE]     (in the folder bench/)

A client that names its streams in the URL gets them at once, others after SUBSCRIBE. ``/stream``
wraps payloads in the combined envelope, ``/ws`` does not, as at the exchange.
"""

from __future__ import annotations

import argparse
import base64
import bisect
import hashlib
import json
import select
import socket
import ssl
import sys
import threading
import time
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, urlsplit

import trustme

from harness.market import Pool, TradeTemplate, interleaved_pool, make_pool

BLOCK_BYTES = 256 * 1024
"""What one send takes of the prepared frames in coalesced mode, about."""
SEND_TIMEOUT_S = 900.0
"""A client that reads nothing for so long is gone; the memory benchmark pauses for minutes."""
HANDSHAKE_BYTES = 64 * 1024
POLL_EVERY = 64
"""Frames between two looks at what the client sent, where frames are sent one by one."""
SETTLE_S = 3.0
"""Between the first message of every stream and the rest, in ``subscribed`` mode."""
NANOSECOND = 1_000_000_000

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_TEXT, _CLOSE, _PING = 0x1, 0x8, 0x9


@dataclass(frozen=True)
class Plan:
    """What the next clients get.

    :ivar mode: of ``market.MODES``; or ``subscribed``: trades of whatever the client asks for,
        first one of each stream, then, a while later, the rest.
    :ivar count: messages per connection.
    :ivar segments: ``coalesced`` (large sends), or ``frames`` (one send per frame, TCP_NODELAY).
    :ivar rate: messages a second, each at its own scheduled time, which it carries as trade time
        in nanoseconds of the monotonic clock; 0: as fast as they are taken.
    :ivar streams: how many a connection must have subscribed to before anything is sent.
    :ivar connections: how many of them start together.
    """

    mode: str = "trade"
    count: int = 100_000
    segments: str = "coalesced"
    rate: float = 0.0
    streams: int = 1
    connections: int = 1


class Server:
    """Accepts clients and serves each one in a thread."""

    def __init__(self, tls: ssl.SSLContext | None) -> None:
        self._tls = tls
        self._pools: dict[tuple[str, bool], Pool] = {}
        self.plan = Plan()
        self.start_together = threading.Barrier(1)
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=256)

    def prepare(self, plan: Plan) -> None:
        """Get ready for the next clients."""
        if not plan.rate and plan.mode != "subscribed":
            self.pool(plan.mode, plan.count, combined=True)
        self.plan = plan
        self.start_together = threading.Barrier(plan.connections)

    def pool(self, mode: str, count: int, *, combined: bool) -> Pool:
        """At least so many frames of a mode, prepared once."""
        pool = self._pools.get((mode, combined))
        if pool is None or len(pool.ends) < count:
            pool = self._pools[mode, combined] = make_pool(mode, count, combined=combined)
        return pool

    def serve(self) -> None:
        """Accept until the process ends."""
        while True:
            accepted, _ = self.listener.accept()
            threading.Thread(target=self._serve_one, args=(accepted,), daemon=True).start()

    def _serve_one(self, accepted: socket.socket) -> None:
        with accepted:
            accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            accepted.settimeout(SEND_TIMEOUT_S)
            try:
                sock = accepted
                if self._tls is not None:
                    sock = self._tls.wrap_socket(accepted, server_side=True)
                _Client(sock, self).serve()
            except (OSError, _GoneError):
                pass  # clients end when they have what they came for


class _GoneError(Exception):
    """The client has said goodbye."""


class _Client:
    """One connection of a client."""

    def __init__(self, sock: socket.socket, server: Server) -> None:
        self._sock = sock
        self._server = server
        self._plan = server.plan
        self._unread = bytearray()
        self._streams: list[str] = []

    def serve(self) -> None:
        """Upgrade, wait for the subscription, send, and stay until the client leaves."""
        plan = self._plan
        target = self._upgrade()
        combined = not target.path.startswith("/ws")
        self._poll()
        while len(self._streams) < plan.streams:
            self._poll(wait=True)
        if plan.rate:
            self._server.start_together.wait()
            self._send_paced(plan)
        else:
            if plan.mode == "subscribed":
                pool = interleaved_pool(self._streams, plan.count)
                self._begin_each(pool)
                pool = pool.after(len(self._streams))
            else:
                pool = self._server.pool(plan.mode, plan.count, combined=combined)
            self._server.start_together.wait()
            if plan.segments == "frames":
                self._send_frames(pool, min(plan.count, len(pool.ends)))
            else:
                self._send_blocks(pool, min(plan.count, len(pool.ends)))
        while True:
            self._poll(wait=True)

    def _begin_each(self, pool: Pool) -> None:
        """Send the first message of every stream, and give all clients time to take theirs."""
        self._server.start_together.wait()
        self._sock.sendall(memoryview(pool.data)[: pool.size(len(self._streams))])
        time.sleep(SETTLE_S)

    def _upgrade(self) -> Any:
        head = b""
        while b"\r\n\r\n" not in head:
            data = self._sock.recv(HANDSHAKE_BYTES)
            if not data or len(head) > HANDSHAKE_BYTES:
                raise _GoneError
            head += data
        head, _, rest = head.partition(b"\r\n\r\n")
        self._unread += rest
        request, *lines = head.decode("latin-1").split("\r\n")
        fields = {name.strip().lower(): value.strip()
                  for name, _, value in (line.partition(":") for line in lines)}  # fmt: skip
        target = urlsplit(request.split()[1])
        if "sec-websocket-key" not in fields:  # somebody asks REST, which there is none of
            self._sock.sendall(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
            raise _GoneError
        key = fields["sec-websocket-key"].encode()
        accept = base64.b64encode(hashlib.sha1(key + _GUID).digest())  # noqa: S324 - RFC 6455
        size = b""
        if not self._plan.rate and self._plan.mode != "subscribed":
            pool = self._server.pool(self._plan.mode, self._plan.count, combined=True)
            size = b"X-Load-Bytes: %d\r\n" % pool.size(self._plan.count)
        self._sock.sendall(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: " + accept + b"\r\n" + size + b"\r\n"
        )
        named = target.query.removeprefix("streams=") or target.path.removeprefix("/ws/")
        self._streams = [name for name in unquote(named).split("/") if "@" in name]
        return target

    def _send_blocks(self, pool: Pool, count: int) -> None:
        # Blocks end where frames end: between them an answer may go out.
        data, ends = memoryview(pool.data), pool.ends
        sent = start = 0
        while sent < count:
            sent = min(count, bisect.bisect_right(ends, start + BLOCK_BYTES, sent + 1))
            self._sock.sendall(data[start : ends[sent - 1]])
            start = ends[sent - 1]
            self._poll()

    def _send_frames(self, pool: Pool, count: int) -> None:
        data, start, send = memoryview(pool.data), 0, self._sock.sendall
        for number, end in enumerate(pool.ends[:count]):
            send(data[start:end])
            start = end
            if number % POLL_EVERY == 0:
                self._poll()

    def _send_paced(self, plan: Plan) -> None:
        # Spins between messages: a core of its own, and no sleep that wakes late.
        frame, clock = TradeTemplate().frame, time.monotonic_ns
        interval = NANOSECOND / plan.rate
        start = clock() + NANOSECOND // 10
        sent = 0
        while sent < plan.count:
            due = 1 + int((clock() - start) // interval)
            if due <= sent:
                continue
            until = min(due, plan.count)
            late = [frame(start + int(number * interval)) for number in range(sent, until)]
            self._sock.sendall(b"".join(late))
            if sent // POLL_EVERY != until // POLL_EVERY:
                self._poll()
            sent = until

    def _poll(self, *, wait: bool = False) -> None:
        """Answer what the client sent; do not wait for it unless told to."""
        if wait or self._readable():
            data = self._sock.recv(65536)
            if not data:
                raise _GoneError
            self._unread += data
        while (message := self._cut_message()) is not None:
            self._answer(*message)

    def _readable(self) -> bool:
        if isinstance(self._sock, ssl.SSLSocket) and self._sock.pending():
            return True
        return bool(select.select([self._sock], (), (), 0)[0])

    def _cut_message(self) -> tuple[int, bytes] | None:
        """The next masked frame of what was read; None if it is not complete yet."""
        data = self._unread
        if len(data) < 6:
            return None
        length, start = data[1] & 0x7F, 6
        if length == 126:
            length, start = int.from_bytes(data[2:4], "big"), 8
        elif length == 127:
            length, start = int.from_bytes(data[2:10], "big"), 14
        if len(data) < start + length:
            return None
        opcode, mask, body = data[0] & 0x0F, data[start - 4 : start], data[start : start + length]
        del data[: start + length]
        return opcode, bytes(byte ^ mask[index % 4] for index, byte in enumerate(body))

    def _answer(self, opcode: int, body: bytes) -> None:
        if opcode == _CLOSE:
            self._sock.sendall(b"\x88" + bytes((len(body),)) + body)
            raise _GoneError
        if opcode == _PING:
            self._sock.sendall(b"\x8a" + bytes((len(body),)) + body)
        if opcode == _TEXT:
            request = json.loads(body)
            if request.get("method") == "SUBSCRIBE":
                self._streams += request["params"]
            reply = json.dumps({"result": None, "id": request.get("id")}).encode()
            self._sock.sendall(bytes((0x81, len(reply))) + reply)


def main() -> None:
    """Serve until standard input ends."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tls", metavar="CA_FILE", help="serve TLS, write the authority here")
    options = parser.parse_args()
    context = None
    if options.tls:
        authority = trustme.CA()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("127.0.0.1", "localhost").configure_cert(context)
        authority.cert_pem.write_to_path(options.tls)
    server = Server(context)
    threading.Thread(target=server.serve, daemon=True).start()
    print(json.dumps({"port": server.listener.getsockname()[1]}), flush=True)
    for line in sys.stdin:
        server.prepare(Plan(**json.loads(line)))
        print("{}", flush=True)


if __name__ == "__main__":
    main()
