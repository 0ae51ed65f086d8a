"""Holds one WebSocket connection, from its opening to the goodbye.

Every step has a bound, and every way to fail becomes one :class:`ConnectionFailed`. trio-websocket
is used through its public parts and never trusted with time: its reader runs in a nursery of ours
and gets only what :class:`FrameTap` leaves to it. Its closing handshake is not used, since it needs
the reader alive while the task that closes has been cancelled. We say goodbye ourselves, within a
bound, and only where it can be understood: not before the upgrade, nor after half a frame.
"""

from __future__ import annotations

import json
import time
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING

import trio
import trio_websocket
import wsproto.connection
import wsproto.events
import wsproto.utilities

from ..errors import HandshakeRefused, Reset
from .dialer import dial_bounded
from .outcome import principal
from .tap import Batch, FrameTap
from .tcp import TcpStream
from .tls import TlsStream
from .upgrade import is_refusal_of_length, stream_target, upgrade

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Sequence

    from ..policy.failover import Endpoint
    from ..settings import Settings
    from .dialer import Dialer

_SEND_ERRORS = (
    trio_websocket.ConnectionClosed,
    wsproto.utilities.LocalProtocolError,
    trio.BrokenResourceError,
)


class Connection:
    """An open connection; made by :func:`open_connection`.

    :ivar opened_at: when the upgrade was done, in :func:`trio.current_time` seconds.
    :ivar handshake_s: what DNS, TCP, TLS and the upgrade took together.
    :ivar unsubscribed: streams that the URL did not hold; see :meth:`send`.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        tap: FrameTap,
        websocket: trio_websocket.WebSocketConnection,
        handshake_s: float,
        unsubscribed: Sequence[str],
    ) -> None:
        self.endpoint = endpoint
        self.tap = tap
        self.opened_at: float = trio.current_time()
        self.handshake_s = handshake_s
        self.unsubscribed = unsubscribed
        self._websocket = websocket

    def __repr__(self) -> str:
        return f"<Connection {self.endpoint.name} {self.tap.failure or 'open'}>"

    async def next_batch(self) -> Batch:
        """The text messages of the next socket read.

        :raises ConnectionFailed: when the connection has ended.
        """
        return await self.tap.next_batch()

    async def send(self, method: str, params: Sequence[str], request_id: int) -> None:
        """Send one control message; the caller keeps to as many as are admitted.

        :raises ConnectionFailed: when the connection has ended.
        """
        message = {"method": method, "params": list(params), "id": request_id}
        try:
            await self._websocket.send_message(json.dumps(message, ensure_ascii=False))
        except _SEND_ERRORS as error:
            self.tap.fail(Reset("the connection ended while sending"))
            raise self.tap.failure or error from error

    async def ping(self, within_s: float) -> float | None:
        """Ping the peer; the round trip in seconds, or None without an answer in time."""
        started = trio.current_time()
        with trio.move_on_after(within_s):
            try:
                await self._websocket.ping()
            except _SEND_ERRORS:
                return None
            return trio.current_time() - started
        return None


@asynccontextmanager
async def open_connection(
    endpoint: Endpoint,
    streams: Sequence[str],
    settings: Settings,
    dial: Dialer,
    route: str = "",
    *,
    wall_clock: Callable[[], float] = time.time,
) -> AsyncGenerator[Connection]:
    """Dial, upgrade and, on leaving, close: each within its bound.

    Where a long URL is refused, the endpoint is asked again without streams in it, once and for
    all: they are then subscribed by messages.

    :param streams: what to subscribe to, in the URL as far as it fits.
    :param route: on which these come, where the exchange has such.
    :raises ConnectionFailed: of the kind that fits.
    """
    deadline = trio.current_time() + settings.handshake_timeout
    path = endpoint.path_of(route)
    async with AsyncExitStack() as stack:
        target, unsubscribed = stream_target(
            path, streams, settings.unit, long=endpoint.takes_long_urls
        )
        try:
            connection = await stack.enter_async_context(
                _open(endpoint, target, unsubscribed, settings, dial, deadline, wall_clock)
            )
        except HandshakeRefused as refused:
            if not is_refusal_of_length(refused.status, target):
                raise
            endpoint.takes_long_urls = False
            target, unsubscribed = stream_target(path, streams, settings.unit, long=False)
            connection = await stack.enter_async_context(
                _open(endpoint, target, unsubscribed, settings, dial, deadline, wall_clock)
            )
        yield connection


@asynccontextmanager
async def _open(
    endpoint: Endpoint,
    target: str,
    unsubscribed: Sequence[str],
    settings: Settings,
    dial: Dialer,
    deadline: float,
    wall_clock: Callable[[], float],
) -> AsyncGenerator[Connection]:
    started = trio.current_time()
    transport = await dial_bounded(endpoint, dial, deadline)
    tap = FrameTap(
        transport,
        max_message_bytes=settings.max_message_bytes,
        max_buffered_bytes=settings.max_buffered_bytes,
        wall_clock=wall_clock,
    )
    opened = False
    body_error: BaseException | None = None
    outcome: BaseException | None = None
    try:
        try:
            async with trio.open_nursery() as nursery:
                websocket = await upgrade(nursery, tap, endpoint, target, deadline)
                took = trio.current_time() - started
                opened = True
                nursery.start_soon(tap.read)
                if isinstance(transport, TcpStream | TlsStream):
                    transport.proven()
                try:
                    yield Connection(endpoint, tap, websocket, took, unsubscribed)
                except BaseException as error:
                    body_error = error
                    raise
                finally:
                    nursery.cancel_scope.cancel()
        except BaseExceptionGroup as group:
            outcome = principal(group, body_error, tap, opened=opened)
        if outcome is not None:
            raise outcome
    finally:
        await _goodbye(tap, settings.close_timeout if opened else 0)


async def _goodbye(tap: FrameTap, within_s: float) -> None:
    """Send a close frame if that makes sense, and wait for the peer's if it did not come before.

    All within the bound, then close by force; with a bound of 0, at once.
    """
    if within_s and (code := tap.farewell) is not None:
        frame = wsproto.connection.Connection(wsproto.connection.ConnectionType.CLIENT).send(
            wsproto.events.CloseConnection(code=code)
        )
        with trio.CancelScope(shield=True, deadline=trio.current_time() + within_s):
            try:
                await tap.send_all(frame)
                await tap.drain_until_close()
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                pass  # the peer is gone: nothing is left to agree on
    tap.fail(Reset("closed here"))
    await trio.aclose_forcefully(tap)
