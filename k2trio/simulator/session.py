"""One WebSocket connection as the exchange sees it: upgrade, control messages, pings, its end.

Incoming bytes go through wsproto. Outgoing frames are built by hand, once for all connections, and
those that wait are sent together. Three tasks: the reader, the writer and the keeper of deadlines;
when the reader or the writer is done, the connection is.
"""

from __future__ import annotations

import contextlib
import enum
from collections import deque
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, unquote, urlsplit

import trio
import wsproto
import wsproto.connection
import wsproto.events
import wsproto.utilities

from k2trio.errors import UnknownStreamError
from k2trio.market.streams import parse_stream

from . import control, payloads, wire
from .kinds import DATA_KINDS, SESSION_KINDS, UPGRADE_KINDS, FaultKind
from .transport import abort, end_in_order, send_fin
from .truth import ClientMessage, Ending, Loss

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from .exchange import Exchange
    from .faults import Fault
    from .message import Message

RECEIVE_BYTES = 65_536
PING_BURST_S = 0.1
EMPTY_FRAGMENTS_PER_SEND = 64
EMPTY_FRAGMENTS_INTERVAL_S = 0.01
CHECKPOINTS_PER_BYTE = 3
"""Turns that a reader in the same program gets to take one byte before the next one comes."""


class How(enum.Enum):
    """How the exchange ends a connection, once what it has sent is out."""

    CLOSED = "closed"  # the closing handshake is done: TLS is ended in order as well
    FIN = "fin"
    RST = "rst"


class Refusal(Exception):  # noqa: N818
    """The upgrade is answered with an HTTP status."""

    def __init__(self, status: int, retry_after: float | None = None) -> None:
        super().__init__(f"HTTP {status}")
        self.status = status
        self.retry_after = retry_after


class Session:
    """One connection.

    :ivar number: of this connection, counted by the venue from 1.
    :ivar names: endpoint and venue: what faults call this connection by.
    :ivar combined: whether messages are wrapped as ``{"stream", "data"}``.
    :ivar unit: time unit of the payloads in microseconds.
    """

    def __init__(
        self, exchange: Exchange, stream: trio.abc.Stream, endpoint: str, client: str, number: int
    ) -> None:
        self._exchange = exchange
        self._limits = exchange.limits
        self.stream = stream
        self.endpoint = endpoint
        self.client = client
        self.number = number
        self.names = (endpoint, exchange.venue)
        self.combined = False
        self.unit = payloads.MILLISECOND
        self.nursery: trio.Nursery | None = None
        self.closing = False
        self.muted = False
        self._held_open = False
        self._deaf = False
        self._cause = "client"
        self._subscribed: dict[str, bool] = {}
        self._opened_at = trio.current_time()
        self._ws = wsproto.WSConnection(wsproto.ConnectionType.SERVER)
        self._out: list[bytes] = []
        self._out_bytes = 0
        self._idle = True
        self._lot = trio.lowlevel.ParkingLot()
        self._ending: How | None = None
        self._text: list[str] = []
        self._text_chars = 0
        self._recent: deque[float] = deque(maxlen=self._limits.client_messages_per_s)
        self._pings: deque[tuple[float, bytes]] = deque()
        self._keeper = trio.CancelScope()
        self._refreshed = trio.lowlevel.ParkingLot()
        self._own_faults: list[Fault] = []
        self._faults: list[Fault] = []
        self._dark_until = -1.0
        self._left: int | None = None
        self._swapped: bytes | None = None

    # The life of a connection

    async def serve(self) -> None:
        """Serve the connection until it ends; the stream is closed afterwards."""
        try:
            if await self._guarded(self._upgrade) is not True:
                return
            self._exchange.opened(self)
            async with trio.open_nursery() as nursery:
                self.nursery = nursery
                nursery.start_soon(self._until_done, self._read)
                nursery.start_soon(self._until_done, self._write)
                nursery.start_soon(self._keep)
                self.refresh_faults()
        finally:
            self._exchange.ended(
                self, Ending(trio.current_time(), self.number, self.endpoint, self._cause)
            )
            with trio.CancelScope(shield=True):
                await trio.aclose_forcefully(self.stream)

    async def _guarded(self, work: Callable[[], Awaitable[bool | None]]) -> bool | None:
        """Run ``work``; a connection that breaks or is closed meanwhile is its normal end."""
        try:
            return await work()
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            if self._cause == "client":
                self._cause = "client broke"
            return None

    async def _until_done(self, work: Callable[[], Awaitable[None]]) -> None:
        await self._guarded(work)
        if self.nursery is not None:
            self.nursery.cancel_scope.cancel()

    def spawn(self, work: Callable[..., Awaitable[None]], *arguments: object) -> None:
        """Run ``work`` for as long as the connection lives."""
        if self.nursery is not None:
            self.nursery.start_soon(work, *arguments)

    # The upgrade

    async def _upgrade(self) -> bool:
        request: wsproto.events.Request | None = None
        with trio.move_on_after(self._limits.upgrade_timeout_s) as scope:
            request = await self._request()
        if scope.cancelled_caught:
            self._cause = "upgrade timeout"
            return False
        if request is None:
            return False
        fault = self._exchange.faults.take(self.names, UPGRADE_KINDS)
        try:
            if fault is not None:
                self._note_attempt(fault.kind.value)
                return await self._break_upgrade(fault, request)
            self._exchange.admit(self.client)
            self._open(request.target)
        except Refusal as refusal:
            self._note_attempt(f"http_{refusal.status}")
            await self._refuse(refusal)
            return False
        self._note_attempt("accepted")
        self._cause = "client"
        await self.stream.send_all(self._ws.send(wsproto.events.AcceptConnection()))
        return True

    async def _request(self) -> wsproto.events.Request | None:
        while True:
            data = await self.stream.receive_some(RECEIVE_BYTES)
            if not data:
                return None
            try:
                self._ws.receive_data(bytes(data))
                for event in self._ws.events():
                    if isinstance(event, wsproto.events.Request):
                        return event
            except wsproto.utilities.RemoteProtocolError:
                self._note_attempt("http_400")
                await self._refuse(Refusal(400))
                return None

    def _note_attempt(self, outcome: str) -> None:
        self._cause = outcome
        self._exchange.note_attempt(self.endpoint, self.client, outcome)

    async def _refuse(self, refusal: Refusal) -> None:
        data = wire.http_refusal(refusal.status, refusal.retry_after, complete=True)
        await self.stream.send_all(data)
        await self._hang_up()

    async def _hang_up(self) -> None:
        """End, then wait a little for them, so that the answer is not lost to a reset."""
        await end_in_order(self.stream)
        with trio.move_on_after(self._limits.close_grace_s):
            while await self.stream.receive_some(RECEIVE_BYTES):
                pass

    async def _break_upgrade(self, fault: Fault, request: wsproto.events.Request) -> bool:
        match fault.kind:
            case FaultKind.UPGRADE_FIN:
                await send_fin(self.stream)
                await self._wait_for_client()
            case FaultKind.UPGRADE_RST:
                abort(self.stream)
            case FaultKind.HTTP_STATUS:
                data = wire.http_refusal(fault.status, fault.retry_after, complete=not fault.held)
                await self.stream.send_all(data)
                await (self._wait_for_client() if fault.held else self._hang_up())
            case FaultKind.REDIRECT:
                await self.stream.send_all(wire.redirect(fault.location))
                await self._hang_up()
            case FaultKind.BAD_ACCEPT:
                await self.stream.send_all(wire.switch("bm90IHRoZSByaWdodCBrZXkgYXQgYWxs"))
                await self._wait_for_client()
            case FaultKind.NOT_HTTP:
                await self.stream.send_all(wire.NOT_HTTP)
                await self._wait_for_client()
            case FaultKind.UPGRADE_DRIP:
                del request
                for byte in self._ws.send(wsproto.events.AcceptConnection()):
                    await self.stream.send_all(bytes((byte,)))
                    await trio.sleep(fault.interval)
                await self._wait_for_client()
            case _:
                await self._wait_for_client()
        return False

    async def _wait_for_client(self) -> None:
        """Say nothing more and keep the connection until the client gives up."""
        while await self.stream.receive_some(RECEIVE_BYTES):
            pass

    def _open(self, target: str) -> None:
        """Read the URL.

        :raises Refusal: for a path that the exchange does not serve.
        """
        url = urlsplit(target)
        query = parse_qs(url.query)
        path = unquote(url.path).rstrip("/")
        if query.get("timeUnit", [""])[0].upper() == "MICROSECOND":
            self.unit = 1
        if path == "/stream":
            self.combined = True
            names = [name for name in query.get("streams", [""])[0].split("/") if name]
        elif path == "/ws" or path.startswith("/ws/"):
            names = [name for name in path.removeprefix("/ws").split("/") if name]
        else:
            raise Refusal(404)
        # As on the exchange, a path segment that cannot be a stream is a label: some clients number
        # their connections as /ws/0, /ws/1 and subscribe afterwards.
        names = [name for name in names if "@" in name]
        session_fault = self._exchange.faults.take(self.names, SESSION_KINDS)
        if session_fault is not None and session_fault.kind is FaultKind.FLAPPING:
            self._left = 1
        elif session_fault is not None:
            self._own_faults.append(session_fault)
        try:
            self.subscribe(names)
        except (UnknownStreamError, control.TooManyStreams) as error:
            raise Refusal(400) from error

    # Subscriptions (control.Target)

    def subscribe(self, names: Sequence[str]) -> None:
        """Add streams; see :class:`.control.Target`."""
        known = self._exchange.known(names)
        total = len(self._subscribed.keys() | known.keys())
        if total > self._limits.streams:
            raise control.TooManyStreams
        dead = any(fault.kind is FaultKind.SUBSCRIBE_DEAD for fault in self._own_faults)
        for name, exists in known.items():
            if name not in self._subscribed:
                self._subscribed[name] = exists and not dead
                if exists and not dead:
                    self._exchange.attach(self, name)

    def unsubscribe(self, names: Sequence[str]) -> None:
        """Remove streams."""
        for name in names:
            with contextlib.suppress(UnknownStreamError):
                name = parse_stream(name).name
            if self._subscribed.pop(name, False):
                self._exchange.detach(self, name)

    def subscriptions(self) -> list[str]:
        """The streams in the order of subscription."""
        return list(self._subscribed)

    def attached(self) -> list[str]:
        """The streams that this connection really gets."""
        return [name for name, live in self._subscribed.items() if live]

    def set_combined(self, combined: bool) -> None:
        """Switch the shape of messages."""
        for name in self.attached():
            self._exchange.detach(self, name)
        self.combined = combined
        for name in self.attached():
            self._exchange.attach(self, name)

    # Sending

    def deliver(self, frame: bytes, content: bytes, message: Message) -> None:
        """Send one message of a stream; ``frame`` holds ``content``."""
        if self.closing:
            return
        if self._faults or self.muted or self._left is not None:
            self._deliver_badly(frame, content, message)
        else:
            self.push(frame)

    def push(self, data: bytes) -> None:
        """Send bytes as they are; the connection is dropped if the client is too slow."""
        self._out.append(data)
        self._out_bytes += len(data)
        self._wake_writer()
        if self._out_bytes > self._limits.buffer_bytes and self._ending is None:
            self.end(How.RST, "slow reader")

    def end(self, how: How, cause: str) -> None:
        """End the connection: by RST at once, by FIN when everything is sent."""
        self._cause = cause
        self.closing = True
        self._ending = how
        if self._dark_until > trio.current_time():
            return
        if how is How.RST:
            abort(self.stream)
        self._wake_writer()

    def _wake_writer(self) -> None:
        if self._idle:
            self._idle = False
            self._lot.unpark()

    def begin_close(self, code: int, reason: str, cause: str, *, held: bool = False) -> None:
        """Send a close frame, then FIN when the client has answered, or after a grace time.

        :param held: keep TCP open, whatever the client answers.
        """
        if self.closing:
            return
        self._cause = cause
        self.closing = True
        self._held_open = held
        self.push(wire.close(code, reason))
        if not held:
            self.spawn(self._end_after_grace)

    async def _end_after_grace(self) -> None:
        await trio.sleep(self._limits.close_grace_s)
        self.end(How.RST, self._cause)

    async def close_later(self, delay: float, code: int) -> None:
        """Close as :meth:`begin_close` does, in ``delay`` seconds."""
        await trio.sleep(delay)
        self.begin_close(code, "", FaultKind.SERVER_SHUTDOWN.value)

    async def _write(self) -> None:
        while True:
            if not self._out:
                if self._ending is not None and self._dark_until <= trio.current_time():
                    await self._finish(self._ending)
                    return
                self._idle = True
                await self._lot.park()
                continue
            await self._wait_for_light()
            data = b"".join(self._out)
            self._out.clear()
            self._out_bytes = 0
            if self._dark_until == float("inf"):
                continue
            if any(fault.kind is FaultKind.SEGMENTED for fault in self._faults):
                for byte in data:
                    await self.stream.send_all(bytes((byte,)))
                    for _ in range(CHECKPOINTS_PER_BYTE):
                        await trio.lowlevel.checkpoint()
            else:
                await self.stream.send_all(data)

    async def _finish(self, how: How) -> None:
        if how is How.RST:
            abort(self.stream)
        elif how is How.FIN:
            await send_fin(self.stream)
        else:
            await end_in_order(self.stream)
        # The reader sees the client's end; one that holds on is cut off.
        await trio.sleep(self._limits.close_grace_s)

    async def _wait_for_light(self) -> None:
        """While packets are lost for a time, nothing moves; afterwards TCP catches up."""
        if trio.current_time() < self._dark_until < float("inf"):
            await trio.sleep_until(self._dark_until)

    # Receiving

    async def _read(self) -> None:
        while True:
            while any(fault.kind is FaultKind.ZERO_WINDOW for fault in self._faults):
                await self._refreshed.park()
            data = await self.stream.receive_some(RECEIVE_BYTES)
            if not data:
                return
            await self._wait_for_light()
            if self._dark_until == float("inf") or self._deaf:
                continue
            self._ws.receive_data(bytes(data))
            for event in self._ws.events():
                self._on_event(event)

    def _on_event(self, event: wsproto.events.Event) -> None:
        match event:
            case wsproto.events.TextMessage(data=data, message_finished=finished):
                self._text.append(data)
                self._text_chars += len(data)
                if self._text_chars > self._limits.client_message_bytes:
                    self.begin_close(1009, "message too big", "client message too big")
                elif finished:
                    text = "".join(self._text)
                    self._text.clear()
                    self._text_chars = 0
                    self._on_text(text)
            case wsproto.events.BytesMessage(message_finished=finished):
                if finished and self._count("binary"):
                    self.begin_close(1003, "binary is not supported", "binary")
            case wsproto.events.Ping(payload=payload):
                if self._count("ping") and not self.closing:
                    self.push(wire.pong(bytes(payload)))
            case wsproto.events.Pong(payload=payload):
                self._on_pong(bytes(payload))
            case wsproto.events.CloseConnection(code=code):
                self._deaf = True
                # wsproto reports a broken frame as a close, but stays open itself.
                if self._ws.state is wsproto.connection.ConnectionState.OPEN:
                    self.begin_close(int(code), "protocol error", "client protocol error")
                else:
                    self._on_close(int(code))
            case _:
                pass

    def _count(self, kind: str, detail: str = "", *, free: bool = False) -> bool:
        """Note a client message; False if the client sends too many and is being cut off."""
        now = trio.current_time()
        self._exchange.truth.client_messages.append(ClientMessage(now, self.number, kind, detail))
        if free:
            return True
        over = len(self._recent) == self._recent.maxlen and now - self._recent[0] < 1.0
        self._recent.append(now)
        if over:
            self.begin_close(1008, "Too many requests", "too many client messages")
        return not over

    def _on_text(self, text: str) -> None:
        reply = None
        if not self.closing:
            reply = control.answer(text, self, wrapped_errors=self._exchange.wrapped_errors)
        if self._count("text", reply.method if reply else "") and reply is not None:
            if reply.code is not None:
                self._exchange.truth.refused_controls[reply.code] += 1
            self.push(wire.text(reply.data))

    def _on_pong(self, payload: bytes) -> None:
        # An answer to a flood that we made ourselves is not held against the client.
        self._count("pong", free=payload.startswith(b"flood"))
        if any(payload == sent for _, sent in self._pings):
            while self._pings.popleft()[1] != payload:
                pass
            self._keeper.cancel()

    def _on_close(self, code: int) -> None:
        self._exchange.truth.client_messages.append(
            ClientMessage(trio.current_time(), self.number, "close", str(code))
        )
        if self._held_open:
            return
        if self.closing:
            self.end(How.CLOSED, self._cause)
            return
        self._cause = "client close"
        self.closing = True
        answer = wire.close(code if code not in (1005, 1006, 1015) else 1000)
        if any(fault.kind is FaultKind.PING_WHILE_CLOSING for fault in self._faults):
            self.spawn(self._close_with_pings, answer)
        else:
            self.push(answer)
            self.end(How.CLOSED, self._cause)

    async def _close_with_pings(self, answer: bytes) -> None:
        self.push(wire.ping(b"flood while closing"))
        await trio.sleep(PING_BURST_S)
        self.push(wire.ping(b"flood while closing") + answer)
        self.end(How.CLOSED, self._cause)

    # Deadlines

    async def _keep(self) -> None:
        """Ping, cut off a client that does not pong, and end the connection's day.

        Source: Binance spot API docs, "WebSocket Streams", general information.
        """
        limits = self._limits
        next_ping = self._opened_at + limits.ping_interval_s
        end = self._opened_at + limits.lifetime_s
        while not self.closing:
            oldest = self._pings[0][0] if self._pings else float("inf")
            with trio.CancelScope() as self._keeper:
                await trio.sleep_until(min(next_ping, oldest + limits.pong_timeout_s, end))
            now = trio.current_time()
            if self.closing or self._keeper.cancelled_caught:
                continue
            if now >= oldest + limits.pong_timeout_s:
                self.begin_close(1008, "Pong timeout", "pong timeout")
            elif now >= end:
                self.begin_close(1001, "", "lifetime")
            else:
                payload = str(self._exchange.now_us() // 1000).encode()
                self._pings.append((now, payload))
                self.push(wire.ping(payload))
                next_ping += limits.ping_interval_s

    # Faults

    def add_fault(self, fault: Fault) -> None:
        """A data fault for the rest of this connection's life, or a pause of the network."""
        if fault.kind is FaultKind.HALF_OPEN:
            until = trio.current_time() + fault.duration if fault.duration else float("inf")
            self._dark_until = max(self._dark_until, until)
            if fault.duration:
                self.spawn(self._relight, until)
        else:
            self._own_faults.append(fault)
        self.refresh_faults()

    async def _relight(self, until: float) -> None:
        await trio.sleep_until(until)
        self._wake_writer()

    def refresh_faults(self) -> None:
        """Look again at what is wrong with this connection's data."""
        windows = self._exchange.faults.active(self.names, DATA_KINDS)
        self._faults = [
            fault
            for fault in (*self._own_faults, *windows)
            if fault.kind in DATA_KINDS and fault.kind is not FaultKind.HALF_OPEN
        ]
        self._refreshed.unpark_all()

    def _lose(self, message: Message, deed: str) -> None:
        self._exchange.truth.losses.append(
            Loss(
                trio.current_time(), self.number, message.stream, message.first, message.last, deed
            )
        )

    def _deliver_badly(self, frame: bytes, content: bytes, message: Message) -> None:
        symbol = message.stream.partition("@")[0].upper()
        copies = 1
        for fault in self._faults:
            if fault.symbol is not None and fault.symbol.upper() != symbol:
                continue
            match fault.kind:
                case FaultKind.STALL | FaultKind.SILENT_SYMBOL:
                    self._lose(message, "stalled")
                    return
                case FaultKind.DROPPED if self._exchange.chance(fault.share):
                    self._lose(message, "dropped")
                    return
                case FaultKind.DUPLICATED if self._exchange.chance(fault.share):
                    self._lose(message, "duplicated")
                    copies = 2
                case FaultKind.REORDERED if self._swapped is None and self._exchange.chance(
                    fault.share
                ):
                    self._lose(message, "reordered")
                    self._swapped = frame
                    return
                case FaultKind.FRAGMENTED:
                    frame = wire.fragments(content)
                case _:
                    pass
        if self.muted:
            self._lose(message, "stalled")
            return
        self.push(frame * copies)
        if self._swapped is not None:
            self.push(self._swapped)
            self._swapped = None
        if self._left is not None:
            self._left -= 1
            if self._left <= 0:
                self.end(How.FIN, FaultKind.FLAPPING.value)

    async def send_empty_fragments(self, duration: float) -> None:
        """Begin a text message and never end it; other data is lost meanwhile.

        :param duration: seconds; 0: for ever.
        """
        self.muted = True
        self.push(wire.header(wire.TEXT, 0))
        with trio.move_on_after(duration or float("inf")):
            while not self.closing:
                if self._idle:  # a client that does not read is not buried
                    self.push(wire.EMPTY_CONTINUATION * EMPTY_FRAGMENTS_PER_SEND)
                await trio.sleep(EMPTY_FRAGMENTS_INTERVAL_S)
        self.push(wire.header(wire.FIN | wire.CONTINUATION, 2) + b"{}")
        self.muted = False
