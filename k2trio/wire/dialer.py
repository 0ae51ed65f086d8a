"""Dials a server: opens the byte stream that the WebSocket is spoken on, over TCP and TLS."""

from __future__ import annotations

import errno
import functools
import socket
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import trio

from ..errors import (
    DialError,
    HandshakeTimeout,
    LocalResourceError,
    NameResolutionError,
    TLSError,
)
from .eyeballs import first_to_connect
from .resolver import Resolver
from .tcp import TcpStream
from .tls import TlsStream
from .trials import Trials

if TYPE_CHECKING:
    import ssl
    from collections.abc import Awaitable, Callable

    from ..policy.failover import Endpoint

Dialer: TypeAlias = "Callable[[Endpoint], Awaitable[trio.abc.Stream]]"
"""Opens the byte stream to an endpoint: the one seam between the client and the network."""

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
    without DNS and without the server's certificates if it has to; and which addresses failed.

    :param ssl_context: used for ``wss``; verification must be on.
    :param busy_poll: of the streams; see :class:`TcpStream`.
    """

    def __init__(self, ssl_context: ssl.SSLContext, *, busy_poll: float = 0.0) -> None:
        self._ssl_context = ssl_context
        self._busy_poll = busy_poll
        self._resolver = Resolver()
        self._sessions: dict[tuple[str, int], ssl.SSLSession] = {}
        self._trials: defaultdict[tuple[str, int], Trials] = defaultdict(Trials)

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
        found = await self._resolver.addresses(endpoint.host, endpoint.port)
        trials = self._trials[endpoint.host, endpoint.port]
        addresses = trials.order(found)
        resolved = trio.current_time()
        while True:
            connected, address = await first_to_connect(addresses)
            trials.begin(address, trio.current_time())
            stream = TcpStream(connected, busy_poll=self._busy_poll)
            stream.proven = functools.partial(trials.prove, address)
            connected_at = trio.current_time()
            if not endpoint.secure:
                return stream, DialTimes(resolved - started, connected_at - resolved, None)
            addresses.remove(address)
            tls = await self._start_tls_in_time(stream, endpoint, len(addresses))
            if tls is not None:
                took = trio.current_time() - connected_at
                return tls, DialTimes(resolved - started, connected_at - resolved, took)

    async def _start_tls_in_time(
        self, stream: TcpStream, endpoint: Endpoint, others: int
    ) -> trio.abc.Stream | None:
        """Start TLS; None if that fails, or takes too long, and other addresses are left to try."""
        if not others:
            return await self._start_tls(stream, endpoint)
        left_s = trio.current_effective_deadline() - trio.current_time()
        with trio.move_on_after(left_s / (others + 1)):
            try:
                return await self._start_tls(stream, endpoint)
            except TLSError:
                pass  # the last address tells what is wrong, if all of them are
        return None

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


async def dial_bounded(endpoint: Endpoint, dial: Dialer, deadline: float) -> trio.abc.Stream:
    """Dial by the deadline; what goes wrong on the way gets its own error.

    :raises ConnectionFailed: of the kind that fits.
    """
    try:
        with trio.fail_at(deadline):
            return await dial(endpoint)
    except trio.TooSlowError:
        raise HandshakeTimeout(
            f"{endpoint.name} did not answer in time (DNS, TCP or TLS)"
        ) from None
    except socket.gaierror as error:
        raise NameResolutionError(f"DNS gives no address of {endpoint.host}: {error}") from error
    except OSError as error:
        kind = LocalResourceError if error.errno in _LOCAL_ERRNOS else DialError
        raise kind(f"cannot connect to {endpoint.name}: {error}") from error
