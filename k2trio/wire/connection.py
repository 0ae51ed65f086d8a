"""One WebSocket connection: dial, TLS, upgrade, batches of text, subscribe, ping, close.

Every step has a bound, and every way to fail becomes one :class:`ConnectionFailed`. trio-websocket
is used through its public parts and never trusted with time: its reader runs in a nursery of ours,
it reads through :class:`FrameTap`, and its closing handshake is not used, since it needs the reader
alive while the task that closes has been cancelled. We say goodbye ourselves, within a bound, and
only where it can be understood: not before the upgrade, nor after half a frame.
"""

from __future__ import annotations

import errno
import ipaddress
import json
import socket
import ssl
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias, cast
from urllib.parse import quote

import h11
import trio
import trio_websocket
import wsproto.connection
import wsproto.events
import wsproto.utilities

from ..errors import (
    ConnectionFailed,
    DialError,
    HandshakeTimeout,
    LocalResourceError,
    NameResolutionError,
    ProtocolViolation,
    Reset,
    TLSError,
    leaves,
)
from .tap import Batch, FrameTap
from .tcp import TcpStream
from .tls import TlsStream

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence

    from ..policy.failover import Endpoint
    from ..settings import Settings

Dialer: TypeAlias = "Callable[[Endpoint], Awaitable[trio.abc.Stream]]"
"""Opens the byte stream to an endpoint: the one seam between the client and the network."""

MAX_TARGET_BYTES = 4096
"""Streams go into the URL while the request target stays below this; else SUBSCRIBE is used."""
CONNECT_STAGGER_S = 0.25
"""Happy eyeballs: how long one address is tried alone before the next joins (RFC 8305)."""
RESOLVE_TIMEOUT_S = 3.0
"""A look-up that takes longer, or half of the time left, is answered with the last good addresses,
if there are any."""
MAX_RESOLVER_THREADS = 8
"""Look-ups at once. Hung ones must not use up the threads that the whole program shares."""

_PROTOCOL_ERRORS = (
    wsproto.utilities.LocalProtocolError,
    wsproto.utilities.RemoteProtocolError,
    h11.ProtocolError,
    trio_websocket.ConnectionClosed,
)
"""What leaks out of trio-websocket's reader when the peer sends nonsense."""
_SEND_ERRORS = (
    trio_websocket.ConnectionClosed,
    wsproto.utilities.LocalProtocolError,
    trio.BrokenResourceError,
)

Address: TypeAlias = "tuple[socket.AddressFamily, Any]"
"""A family and what ``connect`` takes for it."""

_LOCAL_ERRNOS = {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS, errno.EADDRNOTAVAIL}


@dataclass(frozen=True, slots=True)
class DialTimes:
    """What the parts of a dial took, in seconds; ``tls_s`` is None without TLS."""

    dns_s: float
    tcp_s: float
    tls_s: float | None


class TcpDialer:
    """Opens the real transport: DNS, TCP with happy eyeballs, TLS.

    It remembers the addresses and the last TLS session of each server, so that a reconnect gets by
    without DNS and without the server's certificates if it has to.

    :param ssl_context: used for ``wss``; verification must be on.
    :param busy_poll: of the streams; see :class:`TcpStream`.
    """

    def __init__(self, ssl_context: ssl.SSLContext, *, busy_poll: float = 0.0) -> None:
        self._ssl_context = ssl_context
        self._busy_poll = busy_poll
        self._threads = trio.CapacityLimiter(MAX_RESOLVER_THREADS)
        self._known: dict[tuple[str, int], list[Address]] = {}
        self._sessions: dict[tuple[str, int], ssl.SSLSession] = {}

    async def __call__(self, endpoint: Endpoint) -> trio.abc.Stream:
        """Dial the endpoint.

        :raises ConnectionFailed: DialError, NameResolutionError, TLSError or LocalResourceError.
        :raises OSError: as the socket reports it.
        """
        stream, _ = await self.dial_timed(endpoint)
        return stream

    async def dial_timed(self, endpoint: Endpoint) -> tuple[trio.abc.Stream, DialTimes]:
        """Dial as usual, and say what each part took."""
        started = trio.current_time()
        addresses = await self._resolve(endpoint.host, endpoint.port)
        resolved = trio.current_time()
        stream = TcpStream(await _first_to_connect(addresses), busy_poll=self._busy_poll)
        connected = trio.current_time()
        if not endpoint.secure:
            return stream, DialTimes(resolved - started, connected - resolved, None)
        tls = await self._start_tls(stream, endpoint)
        took = trio.current_time() - connected
        return tls, DialTimes(resolved - started, connected - resolved, took)

    async def _start_tls(self, stream: TcpStream, endpoint: Endpoint) -> trio.abc.Stream:
        server = endpoint.host, endpoint.port

        def remember(session: ssl.SSLSession) -> None:
            self._sessions[server] = session

        tls = TlsStream(
            stream,
            self._ssl_context,
            endpoint.host,
            session=self._sessions.get(server),
            remember=remember,
        )
        try:
            await tls.do_handshake()
        except trio.BrokenResourceError as error:
            self._sessions.pop(server, None)  # in case it is to blame
            await trio.aclose_forcefully(tls)
            cause = error.__cause__ or error
            raise TLSError(f"TLS handshake with {endpoint.name} failed: {cause}") from error
        except BaseException:
            await trio.aclose_forcefully(tls)
            raise
        return tls

    async def _resolve(self, host: str, port: int) -> list[Address]:
        if literal := _literal(host, port):
            return literal
        failure: OSError | UnicodeError | None = None
        rows: Sequence[Any] = ()
        left_s = trio.current_effective_deadline() - trio.current_time()
        patience_s = min(RESOLVE_TIMEOUT_S, left_s / 2)
        with trio.move_on_after(patience_s):
            try:
                rows = await trio.to_thread.run_sync(
                    lambda: socket.getaddrinfo(host, port, type=socket.SOCK_STREAM),
                    limiter=self._threads,
                    abandon_on_cancel=True,
                )
            except (OSError, UnicodeError) as error:  # the latter: no name that DNS could hold
                failure = error
        found = list(dict.fromkeys((row[0], row[4]) for row in rows))
        if found:
            self._known[host, port] = found
            return found
        if known := self._known.get((host, port)):
            return known
        why = failure or f"no answer within {patience_s:g} s"
        raise NameResolutionError(f"cannot resolve {host}: {why}") from failure


def _literal(host: str, port: int) -> list[Address]:
    """A host that is an address already, for which nobody has to be asked."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return []
    if isinstance(address, ipaddress.IPv4Address):
        return [(socket.AF_INET, (host, port))]
    # The system knows the number of a named scope.
    return [] if address.scope_id else [(socket.AF_INET6, (host, port, 0, 0))]


async def _first_to_connect(addresses: Sequence[Address]) -> socket.socket:
    """Try the addresses in turn, each joined by the next after a while; the first one wins."""
    connected: list[socket.socket] = []
    errors: list[OSError] = []

    async def attempt(address: Address, failed: trio.Event) -> None:
        try:
            connected.append(await _connect(address))
        except OSError as error:
            errors.append(error)
            failed.set()
        else:
            nursery.cancel_scope.cancel()

    try:
        async with trio.open_nursery() as nursery:
            for address in addresses:
                failed = trio.Event()
                nursery.start_soon(attempt, address, failed)
                with trio.move_on_after(CONNECT_STAGGER_S):
                    await failed.wait()
    except BaseException:
        # Cancelled in the very moment of success: nobody will take the sockets.
        for late in connected:
            late.close()
        raise
    for late in connected[1:]:
        late.close()
    if not connected:
        raise errors[0]
    return connected[0]


async def _connect(address: Address) -> socket.socket:
    # trio.open_tcp_stream would hide the error number, which tells whose fault it is.
    family, where = address
    plain = socket.socket(family, socket.SOCK_STREAM)
    connecting = trio.socket.from_stdlib_socket(plain)
    try:
        await connecting.connect(where)
    except BaseException:
        connecting.close()
        raise
    return plain


def make_ssl_context(settings: Settings) -> ssl.SSLContext:
    """TLS ≥ 1.2 with verification, which no setting turns off; ``ca_file`` adds authorities."""
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION  # what TlsStream relies on
    if settings.ca_file is not None:
        context.load_verify_locations(settings.ca_file)
    return context


def stream_target(path: str, streams: Sequence[str]) -> tuple[str, Sequence[str]]:
    """The request target for the streams, and those that did not fit and need SUBSCRIBE.

    Names may be non-ASCII and are percent-encoded; so is ``+`` (of a time zone), which a server
    may read as a space.
    """
    target = path + "?streams=" + "/".join(quote(name, safe="@!_:") for name in streams)
    if streams and len(target) <= MAX_TARGET_BYTES:
        return target, ()
    return path, streams


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
        self.opened_at = trio.current_time()
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
        """Send one control message; the caller keeps to five a second.

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
    *,
    wall_clock: Callable[[], float] = time.time,
) -> AsyncGenerator[Connection]:
    """Dial, upgrade and, on leaving, close: each within its bound.

    :param streams: what to subscribe to, in the URL as far as it fits.
    :raises ConnectionFailed: of the kind that fits.
    """
    started = trio.current_time()
    deadline = started + settings.handshake_timeout
    target, unsubscribed = stream_target(endpoint.path, streams)
    transport = await _dial(endpoint, dial, deadline)
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
                websocket = await _upgrade(nursery, tap, endpoint, target, deadline)
                took = trio.current_time() - started
                opened = True
                try:
                    yield Connection(endpoint, tap, websocket, took, unsubscribed)
                except BaseException as error:
                    body_error = error
                    raise
                finally:
                    nursery.cancel_scope.cancel()
        except BaseExceptionGroup as group:
            outcome = _principal(group, body_error, tap, opened=opened)
        if outcome is not None:
            raise outcome
    finally:
        await _goodbye(tap, settings.close_timeout if opened else 0)


async def _dial(
    endpoint: Endpoint,
    dial: Dialer,
    deadline: float,
) -> trio.abc.Stream:
    try:
        with trio.fail_at(deadline):
            return await dial(endpoint)
    except trio.TooSlowError:
        raise HandshakeTimeout(
            f"{endpoint.name} did not answer in time (DNS, TCP or TLS)"
        ) from None
    except socket.gaierror as error:
        raise NameResolutionError(f"cannot resolve {endpoint.host}: {error}") from error
    except OSError as error:
        kind = LocalResourceError if error.errno in _LOCAL_ERRNOS else DialError
        raise kind(f"cannot connect to {endpoint.name}: {error}") from error


async def _upgrade(
    nursery: trio.Nursery, tap: FrameTap, endpoint: Endpoint, target: str, deadline: float
) -> trio_websocket.WebSocketConnection:
    websocket: trio_websocket.WebSocketConnection | None = None
    with trio.CancelScope(deadline=deadline) as scope:

        async def give_up_when_down() -> None:
            # trio-websocket waits for its handshake event even when its reader has ended.
            await tap.down.wait()
            scope.cancel()

        nursery.start_soon(give_up_when_down)
        websocket = await trio_websocket.wrap_client_stream(
            nursery,
            cast("trio.SocketStream", tap),  # it uses no more than trio.abc.Stream has
            endpoint.name,
            target,
        )
    if websocket is not None:
        return websocket  # if it has failed already, messages may have come before that
    if tap.failure is not None:
        raise tap.failure
    raise HandshakeTimeout(f"{endpoint.name} did not answer the upgrade in time")


def _principal(
    group: BaseExceptionGroup[BaseException],
    body_error: BaseException | None,
    tap: FrameTap,
    *,
    opened: bool,
) -> BaseException | None:
    """What the end of the nursery really was.

    Protocol errors that leak out of trio-websocket's reader are the peer's fault; once the body has
    ended by itself they are late and harmless. Anything unexpected keeps its group and is raised.
    """
    protocol, rest = group.split(_PROTOCOL_ERRORS)
    if rest is None:
        if opened and (body_error is None or isinstance(body_error, ConnectionFailed)):
            return body_error
        violation = ProtocolViolation("; ".join(str(_complaint(error)) for error in leaves(group)))
        violation.__cause__ = protocol
        tap.fail(violation)
        return tap.failure
    errors = leaves(rest)
    if len(errors) == 1 and (errors[0] is body_error or isinstance(errors[0], ConnectionFailed)):
        return errors[0]
    if isinstance(body_error, BaseExceptionGroup):
        own = cast("BaseExceptionGroup[BaseException]", body_error)
        if errors == leaves(own):
            return own
    return rest


def _complaint(error: BaseException) -> BaseException:
    """What was wrong. trio-websocket tries to answer a broken upgrade, and fails at that too."""
    inner: BaseException | None = error
    while inner is not None:
        if isinstance(inner, wsproto.utilities.RemoteProtocolError):
            return inner
        inner = inner.__context__
    return error


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
