"""Reads a WebSocket: takes its text messages in batches, and leaves the rest to trio-websocket.

:class:`FrameTap` is a :class:`trio.abc.Stream` that is handed to
:func:`trio_websocket.wrap_client_stream`. That library does the upgrade, answers pings and matches
pongs. From then on :meth:`FrameTap.read`, a task of its own, reads the socket and takes every text
message; what is left, pings and pongs, verbatim and in order, is what the library's reader gets
from :meth:`FrameTap.receive_some`. So data never waits in trio-websocket's per-message queue, no
message passes through its tasks, and pings are answered even while the consumer is slow. A close
frame ends the stream; ``connection.py`` answers it, since the library's own answer would be
cancelled together with its reader.
"""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING, NamedTuple

import trio

from ..errors import ConnectionFailed, Dropped, ProtocolViolation, Reset
from .answer import AnswerHead, refusal
from .control import ControlFrames
from .pings import PingThinner
from .ready import HOST
from .scanner import FrameScanner
from .tcp import TcpStream
from .tls import TlsStream

if TYPE_CHECKING:
    from collections.abc import Callable

    from .ready import Host, Ready

READ_BYTES = 128 * 1024
"""One socket read. Smaller ones share the cost of a read, some 40 µs, among fewer messages; of
larger ones the messages do not stay in the caches until they are consumed."""
SEND_TIMEOUT_S = 10.0
"""A peer that takes no bytes for this long has failed (zero window)."""
MESSAGE_OVERHEAD_BYTES = 48
"""What a message costs in memory beside its bytes. A flood of empty ones must count as well."""
NORMAL_CLOSURE, PROTOCOL_ERROR = 1000, 1002
"""Close codes (RFC 6455, section 7.4.1)."""


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
    :ivar stalls: how often reading waited for a slow consumer.
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
        self._clock = trio.lowlevel.current_clock().current_time  # looked up once, for all reads
        self._early = b""
        self._upgraded = False
        self._half_sent = False
        self._reading_over = False
        self._batches: deque[Batch] = deque()
        self._sizes: deque[int] = deque()
        self._buffered_bytes = 0
        self._arrival: trio.Event | None = None
        self._room: trio.Event | None = None
        self._pings = PingThinner()
        self._control = ControlFrames()
        self._stop_hosted: Callable[[], None] | None = None
        """While another loop waits for the socket: what ends that."""
        self.stalls: int = 0
        self.failure: ConnectionFailed | None = None
        self.hand_over: Callable[[Batch], bool] | None = None
        self.down: trio.Event = trio.Event()
        self.last_bytes_at: float = trio.current_time()
        self.last_text_at: float = self.last_bytes_at

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
        self._control.end()
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
            self.last_bytes_at = trio.current_time()
        self.last_text_at = self.last_bytes_at
        return self._batches.popleft()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """For trio-websocket's reader: the handshake response, then control frames only."""
        return await (self._control.take() if self._upgraded else self._receive_answer())

    async def read(self) -> None:
        """After the upgrade, read until nothing more can come; :attr:`failure` says why."""
        pings, ready, host = self._pings, ready_of(self._stream), HOST.get()
        while not self._reading_over:
            if self._buffered_bytes >= self._max_buffered:
                self._room = trio.Event()
                self.stalls += 1
                await self._room.wait()
            if ready is None or pings.pending or self._early:
                await self._read_in_time(pings.pending_due())
            elif host is not None and ready.hosted:
                await self._read_hosted(ready, host)
            else:
                # Nearly always; with no layers between.
                try:
                    await ready.readable()
                except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
                    self._broke(error)
                else:
                    self._read_now(ready)

    async def _read_in_time(self, deadline: float) -> None:
        """Read, unless a ping that was kept may be answered before something comes."""
        data: bytes | None = None
        try:
            with trio.move_on_at(deadline):
                data = await self._read()
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return
        if data is None:
            self._control.put(self._pings.due(b""))
        else:
            self._take_in(data)

    async def _read_hosted(self, ready: Ready, host: Host) -> None:
        """Let the loop around Trio wait, and take what comes there, while that is all there is."""
        fd, error = ready.fileno(), None
        if fd < 0:
            self._broke(trio.ClosedResourceError("this socket was already closed"))
            return
        over = trio.Event()

        @trio.lowlevel.enable_ki_protection
        def take() -> None:
            nonlocal error
            try:
                self._read_now(ready)
            except BaseException as raised:  # noqa: BLE001 - it is raised by the task that reads
                error = raised
            if error is not None or self._wants_more_than_reading or not ready.hosted:
                stop()

        def stop() -> None:
            if self._stop_hosted is not None:
                self._stop_hosted = None
                host.remove_reader(fd)
                over.set()

        self._stop_hosted = stop
        host.add_reader(fd, take)
        try:
            await over.wait()
        finally:
            stop()
            if error is not None:
                raise error

    @property
    def _wants_more_than_reading(self) -> bool:
        return (
            self._reading_over
            or bool(self._pings.pending)
            or self._buffered_bytes >= self._max_buffered
        )

    def _read_now(self, ready: Ready) -> None:
        try:
            data = ready.read_now()
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            self._broke(error)
        else:
            if data is not None:
                self._take_in(data)

    def _broke(self, error: BaseException) -> None:
        self._end(Reset(f"transport broke: {_cause(error)}"))

    def _take_in(self, data: bytes) -> None:
        """Take what one read brought."""
        self.last_bytes_at = now = self._clock()
        if texts := self._scanner.few(data):
            self._keep(texts, now)
            return
        if not data:
            self._end(Dropped("the peer closed TCP without a close frame"))
            return
        scan = self._scanner.feed(data)
        if scan.texts:
            self._keep(scan.texts, now)
        if self._scanner.violation is not None:
            self._end(self._scanner.violation)
        elif self._scanner.closed:
            self._end(self._dropped())
        elif (scan.ping or scan.pongs) and (control := scan.pongs + self._pings.due(scan.ping)):
            self._control.put(control)

    def _keep(self, texts: list[bytes], now: float) -> None:
        self.last_text_at = now
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

    async def _receive_answer(self) -> bytes:
        head = AnswerHead()
        found: tuple[bytes, bytes] | None = None
        while found is None:
            data = await self._read()
            if not data:
                self.fail(Reset("the peer closed TCP during the upgrade"))
                return b""
            try:
                found = head.feed(data)
            except ProtocolViolation as violation:
                self.fail(violation)
                raise trio.BrokenResourceError from violation
        answer, self._early = found
        if not answer.startswith(b"HTTP/1.1 101"):
            self.fail(refusal(answer, self._wall_clock()))
            raise trio.BrokenResourceError
        self._upgraded = True
        self.last_bytes_at = trio.current_time()
        return answer

    async def _read(self) -> bytes:
        if self._early:
            data, self._early = self._early, b""
            return data
        try:
            data = bytes(await self._stream.receive_some(READ_BYTES))
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            self._broke(error)
            raise
        return data

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
        if self._stop_hosted is not None:
            self._stop_hosted()
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


def ready_of(stream: trio.abc.Stream) -> Ready | None:
    """The stream as one that can be read without waiting, if it can."""
    if isinstance(stream, TlsStream):
        return stream.ready
    return stream if isinstance(stream, TcpStream) else None


def _cause(error: BaseException) -> str:
    return str(error.__cause__ or error) or type(error).__name__
