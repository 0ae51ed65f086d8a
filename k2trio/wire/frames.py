"""Cuts text frames out of the WebSocket byte stream, in batches; all else goes to trio-websocket.

:class:`FrameTap` is a :class:`trio.abc.Stream` that is handed to
:func:`trio_websocket.wrap_client_stream`. That library does the upgrade, answers pings and matches
pongs. Its reader task calls :meth:`FrameTap.receive_some`, which reads the socket, takes every
text message for itself, and returns only what is left: pings and pongs, verbatim and in order. So
data never waits in trio-websocket's per-message queue, and pings are answered even while the
consumer is slow. A close frame ends the stream; ``connection.py`` answers it, since the library's
own answer would be cancelled together with its reader.

What by-passes trio-websocket must be checked here. A violation of RFC 6455 is one of: a masked
frame, a reserved bit, an unknown opcode, a fragmented or long control frame, a continuation without
a start, a length that is not in its shortest form (section 5.2 to 5.5), or bad UTF-8 (8.1). Our own
bounds: bytes of a message, parts of a message, bytes of the handshake, bytes buffered. What came
before a violation is delivered before it, however the bytes were split.
"""

from __future__ import annotations

import email.utils
import re
import time
from collections import deque
from datetime import UTC
from struct import Struct
from typing import TYPE_CHECKING, NamedTuple

import trio

from ..errors import (
    ConnectionFailed,
    Dropped,
    HandshakeRefused,
    MessageTooBig,
    ProtocolViolation,
    Reset,
)

if TYPE_CHECKING:
    from collections.abc import Callable

MAX_HANDSHAKE_BYTES = 64 * 1024
MAX_PARTS = 4096
"""Fragments of one message."""
READ_BYTES = 128 * 1024
"""One socket read. Smaller ones share the cost of a read, some 40 µs, among fewer messages; of
larger ones the messages do not stay in the caches until they are consumed."""
SEND_TIMEOUT_S = 10.0
"""A peer that takes no bytes for this long has failed (zero window)."""
PINGS_PER_S = 2
"""Pings answered per second. Pongs count against the exchange's five client messages a second."""
MAX_RETRY_AFTER_S = 3 * 86400.0
"""The longest ban the exchange documents is three days."""
MESSAGE_OVERHEAD_BYTES = 48
"""What a message costs in memory beside its bytes. A flood of empty ones must count as well."""
NORMAL_CLOSURE, PROTOCOL_ERROR = 1000, 1002
"""Close codes (RFC 6455, section 7.4.1)."""

_TEXT, _CONTINUATION, _BINARY, _CLOSE, _PING, _PONG = 0x1, 0x0, 0x2, 0x8, 0x9, 0xA
_FIN = 0x80
_FIN_TEXT_16BIT = 0x817E
_two_shorts = Struct(">HH").unpack_from


class Scan(NamedTuple):
    """What one read held.

    :ivar texts: complete text messages.
    :ivar pongs: pong frames, verbatim.
    :ivar ping: the last ping frame, verbatim; only the latest needs an answer (RFC 6455, 5.5.3).
    """

    texts: list[bytes]
    pongs: bytes
    ping: bytes


class FrameScanner:
    """Sans-I/O: bytes in, messages out. After a close frame or a violation it ignores the rest.

    :ivar violation: why the stream cannot be read on, once that is so.
    """

    def __init__(self, max_message_bytes: int) -> None:
        self._max = max_message_bytes
        self._rest = bytearray()
        self._wanted = 0
        self._parts: list[bytes] | None = None
        self._parts_bytes = 0
        self.violation: ProtocolViolation | None = None
        self.close_code: int | None = None
        self.close_reason = ""
        self.closed = False

    def feed(self, data: bytes) -> Scan:
        """Scan the next bytes of the stream; look at :attr:`violation` afterwards."""
        if self.closed or self.violation is not None:
            return Scan([], b"", b"")
        if self._rest:
            if len(self._rest) + len(data) < self._wanted:
                self._rest += data
                return Scan([], b"", b"")
            data = b"".join((self._rest, data))
        texts: list[bytes] = []
        try:
            return self._scan(data, texts)
        except ProtocolViolation as violation:
            self.violation = violation
            self._rest.clear()
            self._parts = None
            return Scan(texts, b"", b"")

    def _scan(self, data: bytes, texts: list[bytes]) -> Scan:
        pongs = ping = b""
        at, size, longest = 0, len(data), self._max
        self._wanted = 0
        while True:
            if self._parts is None:
                at = _cut_run(data, at, longest, texts)
            if size - at < 2:
                break
            head = data[at] << 8 | data[at + 1]
            length = head & 0xFF
            start = at + 2
            if length >= 126:
                self._check_head(head, 0)
                start = at + (4 if length == 126 else 10)
                if size < start:
                    break
                shortest = 126 if length == 126 else 65536
                length = int.from_bytes(data[at + 2 : start])
                if length < shortest:
                    raise ProtocolViolation("frame length is not in its shortest form")
            if length > longest:
                self._check_head(head, 0)
                raise MessageTooBig(f"message of {length} bytes; the bound is {longest}")
            end = start + length
            if size < end:
                self._check_head(head, length)
                self._wanted = end - at
                break
            self._check_head(head, length)
            opcode = head >> 8 & 0x0F
            if opcode == _PING:
                ping = data[at:end]
            elif opcode == _PONG:
                pongs += data[at:end]
            elif opcode == _CLOSE:
                self._closing(data[start:end])
                return Scan(texts, pongs, b"")
            else:
                self._add_part(opcode, data[start:end], texts, final=head >> 15 != 0)
            at = end
        self._rest = bytearray(data[at:])
        return Scan(texts, pongs, ping)

    def _check_head(self, head: int, length: int) -> None:
        """Check the first two bytes of a frame, and its length as far as it is known."""
        first, second = head >> 8, head & 0xFF
        opcode = first & 0x0F
        if second & 0x80:
            raise ProtocolViolation("masked frame from the server")
        if first & 0x70:
            raise ProtocolViolation("reserved bits are set, though no extension was agreed on")
        if opcode in (_CLOSE, _PING, _PONG):
            if not first & _FIN or second & 0x7F > 125:
                raise ProtocolViolation("fragmented or oversized control frame")
        elif opcode == _CONTINUATION:
            if self._parts is None:
                raise ProtocolViolation("continuation frame without a message to continue")
            if self._parts_bytes + length > self._max:
                raise MessageTooBig(f"fragmented message of more than {self._max} bytes")
        elif opcode == _TEXT:
            if self._parts is not None:
                raise ProtocolViolation("new message inside a fragmented one")
        elif opcode == _BINARY:
            raise ProtocolViolation("binary frame; the exchange sends text")
        else:
            raise ProtocolViolation(f"unknown opcode {opcode}")

    def _add_part(self, opcode: int, payload: bytes, texts: list[bytes], *, final: bool) -> None:
        if opcode == _TEXT:
            self._parts, self._parts_bytes = [], 0
        assert self._parts is not None  # noqa: S101 - _check_head refused the other case
        self._parts.append(payload)
        self._parts_bytes += len(payload)
        if len(self._parts) > MAX_PARTS:
            raise ProtocolViolation(f"message of more than {MAX_PARTS} fragments")
        if final:
            message = b"".join(self._parts)
            self._parts = None
            _check_utf8(message)
            texts.append(message)

    def _closing(self, payload: bytes) -> None:
        self.closed = True
        self._rest.clear()
        self._parts = None
        if len(payload) >= 2:
            self.close_code = payload[0] << 8 | payload[1]
            self.close_reason = payload[2:].decode("utf-8", "replace")[:123]


def _cut_run(data: bytes, at: int, longest: int, texts: list[bytes]) -> int:
    """Cut the run of complete, unfragmented text frames with a 16-bit length that begins here.

    That is nearly all of the traffic, so this loop does the least that decides it: what it does not
    take, for whatever reason, is looked at by the caller.

    :returns: where the run ends.
    """
    already = len(texts)
    size, add, heads = len(data), texts.append, _two_shorts
    last = size - 4
    while at <= last:
        head, length = heads(data, at)
        if head != _FIN_TEXT_16BIT or not 126 <= length <= longest:
            break
        start = at + 4
        end = start + length
        if end > size:
            break
        add(data[start:end])
        at = end
    run = texts[already:] if already else texts
    # One look at all of them is cheaper than one at each; few messages are anything but ASCII.
    if not b"".join(run).isascii():
        for index, text in enumerate(run, already):
            try:
                _check_utf8(text)
            except ProtocolViolation:
                del texts[index:]
                raise
    return at


def _check_utf8(payload: bytes) -> None:
    try:
        payload.decode()
    except UnicodeDecodeError as error:
        raise ProtocolViolation(f"text frame is not UTF-8: {error.reason}") from error


class Batch(NamedTuple):
    """The text messages of one socket read.

    :ivar received: Unix time in seconds of the read.
    :ivar arrived: the same in :func:`trio.current_time` seconds.
    """

    payloads: list[bytes]
    received: float
    arrived: float


class FrameTap(trio.abc.Stream):
    """The byte stream of one connection, as trio-websocket sees it.

    :param stream: the transport: TCP or TLS.
    :param max_message_bytes: bound of one message.
    :param max_buffered_bytes: unread bytes kept before the socket is left alone, so that TCP
        pushes back on the sender.
    :param wall_clock: Unix time, for the ``received`` stamps that people read.

    :ivar failure: why the connection ended, once it has.
    :ivar down: set when it has.
    :ivar hand_over: takes a batch as soon as it is there, and says whether it did; what it does not
        take, and what comes before that is taken, waits for :meth:`next_batch`. That saves a task
        switch for every read.
    """

    def __init__(
        self,
        stream: trio.abc.Stream,
        *,
        max_message_bytes: int,
        max_buffered_bytes: int,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._stream = stream
        self._scanner = FrameScanner(max_message_bytes)
        self._max_buffered = max_buffered_bytes
        self._wall_clock = wall_clock
        self._early = b""
        self._upgraded = False
        self._half_sent = False
        self._reading_over = False
        self._batches: deque[Batch] = deque()
        self._sizes: deque[int] = deque()
        self._buffered_bytes = 0
        self._arrival: trio.Event | None = None
        self._room: trio.Event | None = None
        self._pending_ping = b""
        self._pings: deque[float] = deque(maxlen=PINGS_PER_S)
        self.failure: ConnectionFailed | None = None
        self.hand_over: Callable[[Batch], bool] | None = None
        self.down = trio.Event()
        self.last_bytes_at = self.last_text_at = trio.current_time()

    @property
    def blocked(self) -> bool:
        """Whether reading waits for a slow consumer; silence is then not the peer's."""
        return self._room is not None

    @property
    def exhausted(self) -> bool:
        """Whether nothing can come any more: reading has ended, and every batch was taken.

        A failure alone does not say so: it may be that of a send.
        """
        return self._reading_over and not self._batches

    @property
    def buffered_bytes(self) -> int:
        """Memory of the messages that were received and not yet taken."""
        return self._buffered_bytes

    @property
    def farewell(self) -> int | None:
        """The code of the close frame that the peer should get; None if none would arrive."""
        if self.failure is None or self._scanner.closed:
            return NORMAL_CLOSURE
        return PROTOCOL_ERROR if isinstance(self.failure, ProtocolViolation) else None

    def fail(self, failure: ConnectionFailed) -> None:
        """Mark the connection as ended; only the first reason counts."""
        if self.failure is None:
            self.failure = failure
            self.down.set()
            self._wake()

    def _end(self, failure: ConnectionFailed) -> None:
        """The same, where nothing will be read any more."""
        self._reading_over = True
        self.fail(failure)

    async def next_batch(self) -> Batch:
        """The next batch, in order; what arrived before a failure comes before it.

        :raises ConnectionFailed: when the connection has ended and every batch was taken.
        """
        while not self._batches:
            if self.failure is not None:
                raise self.failure
            self._arrival = trio.Event()
            await self._arrival.wait()
        self._buffered_bytes -= self._sizes.popleft()
        if self._room is not None and self._buffered_bytes < self._max_buffered:
            self._room.set()
            self._room = None
            # The silence while we did not read was ours.
            self.last_bytes_at = self.last_text_at = trio.current_time()
        return self._batches.popleft()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """For trio-websocket's reader: the handshake response, then control frames only."""
        if not self._upgraded:
            return await self._receive_handshake()
        while True:
            if self._buffered_bytes >= self._max_buffered:
                self._room = trio.Event()
                await self._room.wait()
            data: bytes | None = None
            if self._pending_ping:
                with trio.move_on_at(self._pending_ping_due()):
                    data = await self._read()
            else:
                data = await self._read()
            if data is None:
                return self._due_ping(b"")
            if not data:
                self._end(Dropped("the peer closed TCP without a close frame"))
                return b""
            scan = self._scanner.feed(data)
            if scan.texts:
                self._keep(scan.texts)
            if self._scanner.violation is not None:
                self._end(self._scanner.violation)
                raise trio.BrokenResourceError from self._scanner.violation
            if self._scanner.closed:
                self._end(self._dropped())
                return b""
            if control := scan.pongs + self._due_ping(scan.ping):
                return control

    def _keep(self, texts: list[bytes]) -> None:
        self.last_text_at = now = self.last_bytes_at
        batch = Batch(texts, self._wall_clock(), now)
        if not self._batches and self.hand_over is not None and self.hand_over(batch):
            return
        size = sum(map(len, texts)) + MESSAGE_OVERHEAD_BYTES * len(texts)
        self._batches.append(batch)
        self._sizes.append(size)
        self._buffered_bytes += size
        self._wake()

    def _dropped(self) -> Dropped:
        code, reason = self._scanner.close_code, self._scanner.close_reason
        detail = "close frame" + (f" {code}" if code else "") + (f" {reason!r}" if reason else "")
        return Dropped(detail, code)

    async def _receive_handshake(self) -> bytes:
        head = bytearray()
        end = -1
        while end < 0:
            data = await self._read()
            if not data:
                self.fail(Reset("the peer closed TCP during the upgrade"))
                return b""
            look_from = max(0, len(head) - 3)
            head += data
            if not head.startswith(b"HTTP/1."[: len(head)]):
                self.fail(ProtocolViolation("the answer to the upgrade is not HTTP/1.1"))
                raise trio.BrokenResourceError
            end = head.find(b"\r\n\r\n", look_from)
            if (len(head) if end < 0 else end + 4) > MAX_HANDSHAKE_BYTES:
                self.fail(ProtocolViolation(f"handshake of more than {MAX_HANDSHAKE_BYTES} bytes"))
                raise trio.BrokenResourceError
        answer, self._early = bytes(head[: end + 4]), bytes(head[end + 4 :])
        if not answer.startswith(b"HTTP/1.1 101"):
            self.fail(_refusal(answer, self._wall_clock()))
            raise trio.BrokenResourceError
        self._upgraded = True
        return answer

    async def _read(self) -> bytes:
        if self._early:
            data, self._early = self._early, b""
            return data
        try:
            data = bytes(await self._stream.receive_some(READ_BYTES))
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            self._end(Reset(f"transport broke: {_cause(error)}"))
            raise
        self.last_bytes_at = trio.current_time()
        return data

    def _due_ping(self, ping: bytes) -> bytes:
        """The ping to answer now, if any; a flood is thinned out, its latest kept for later."""
        self._pending_ping = ping = ping or self._pending_ping
        if not ping or trio.current_time() < self._pending_ping_due():
            return b""
        self._pings.append(trio.current_time())
        self._pending_ping = b""
        return ping

    def _pending_ping_due(self) -> float:
        """When the ping that was kept may be answered; infinite if there is none."""
        if not self._pending_ping:
            return float("inf")
        return self._pings[0] + 1 if len(self._pings) == PINGS_PER_S else float("-inf")

    def _wake(self) -> None:
        if self._arrival is not None:
            self._arrival.set()
            self._arrival = None

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Send one frame. A send that does not finish leaves half of it: the connection is over."""
        if self._half_sent:
            raise trio.BrokenResourceError("an earlier frame was sent in part")
        await trio.lowlevel.checkpoint_if_cancelled()  # before the first byte it does no harm
        self._half_sent = True
        try:
            with trio.fail_after(SEND_TIMEOUT_S):
                await self._stream.send_all(data)
        except trio.TooSlowError:
            self.fail(Reset(f"the peer took no bytes for {SEND_TIMEOUT_S:g} s"))
            raise trio.BrokenResourceError from None
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            self.fail(Reset(f"transport broke: {_cause(error)}"))
            raise
        except trio.Cancelled:
            self.fail(Reset("a send was cancelled"))
            raise
        self._half_sent = False

    async def wait_send_all_might_not_block(self) -> None:
        """As the transport does."""
        await self._stream.wait_send_all_might_not_block()

    async def aclose(self) -> None:
        """Close the transport. If trio-websocket does so, it has refused what the peer sent."""
        self.fail(ProtocolViolation("the answer to the upgrade breaks RFC 6455"))
        await self._stream.aclose()

    async def drain_until_close(self) -> None:
        """After our close frame, read on until the peer's, or the end of the stream.

        For when trio-websocket's reader is gone; the caller bounds the time.
        """
        while not self._scanner.closed and self._scanner.violation is None:
            data = await self._read()
            if not data:
                return
            self._scanner.feed(data)


def _cause(error: BaseException) -> str:
    return str(error.__cause__ or error) or type(error).__name__


_status_line = re.compile(r"HTTP/1\.\d (\d{3})(?: .*)?", re.ASCII).fullmatch


def _refusal(head: bytes, wall_time: float) -> ConnectionFailed:
    """What a response other than 101 means: status and ``Retry-After`` (RFC 9110, 10.2.3)."""
    first, *lines = head.decode("latin-1").split("\r\n")
    found = _status_line(first)
    if found is None or int(found[1]) < 200:
        return ProtocolViolation(f"bad status line {first[:80]!r}")
    retry_after = None
    for line in lines:
        name, _, value = line.partition(":")
        if name.strip().lower() == "retry-after":
            retry_after = _retry_after(value.strip(), wall_time)
    return HandshakeRefused(int(found[1]), retry_after)


def _retry_after(value: str, wall_time: float) -> float | None:
    if value.isascii() and value.isdigit():
        return min(float(value[:10]), MAX_RETRY_AFTER_S)
    try:
        date = email.utils.parsedate_to_datetime(value)
        at = (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp()
    except (ValueError, TypeError, IndexError, OverflowError):  # it is no date (docs: ValueError)
        return None
    return min(max(0.0, at - wall_time), MAX_RETRY_AFTER_S)
