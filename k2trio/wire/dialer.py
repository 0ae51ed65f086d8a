"""Dials a server: opens the byte stream that the WebSocket is spoken on, over TCP and TLS."""

from __future__ import annotations

import errno
import functools
import socket
from collections import defaultdict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeAlias

import trio

from ..errors import (
    DialError,
    HandshakeTimeout,
    LocalResourceError,
    NameResolutionError,
    ProxyFailed,
    ProxyTrouble,
    TLSError,
)
from ..proxies import Proxies
from .eyeballs import first_to_connect
from .resolver import Resolver
from .tcp import TcpStream
from .tls import TlsStream
from .trials import Trials
from .tunnel import open_tunnel
from .way import explained, on_the_way_to

if TYPE_CHECKING:
    import ssl
    from collections.abc import Awaitable, Callable

    from ..policy.failover import Endpoint
    from ..proxies import Proxy

Dialer: TypeAlias = "Callable[[Endpoint], Awaitable[trio.abc.Stream]]"
"""Opens the byte stream to an endpoint: the one seam between the client and the network."""

_LOCAL_ERRNOS = {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS, errno.EADDRNOTAVAIL}


@dataclass(frozen=True, slots=True)
class DialTimes:
    """What the parts of a dial took, in seconds; None for those that it did not have.

    With a proxy, DNS and TCP are those to the proxy.
    """

    dns_s: float
    tcp_s: float
    proxy_s: float | None = None
    tls_s: float | None = None


class TcpDialer:
    """Opens the real transport: DNS, TCP with happy eyeballs, a proxy if there is one, TLS.

    It remembers the addresses and the last TLS session of each server, so that a reconnect gets by
    without DNS and without the server's certificates if it has to; and which addresses failed.

    :param ssl_context: used for ``wss``; verification must be on.
    :param busy_poll: of the streams; see :class:`TcpStream`.
    :param proxies: which proxy leads where; by default none.
    """

    def __init__(
        self,
        ssl_context: ssl.SSLContext,
        *,
        busy_poll: float = 0.0,
        proxies: Proxies | None = None,
    ) -> None:
        self._ssl_context = ssl_context
        self._busy_poll = busy_poll
        self._proxies = Proxies() if proxies is None else proxies
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
        server = endpoint.host, endpoint.port
        proxy = self._proxies.of(endpoint.url)
        if proxy is not None:
            stream, times = await self._through(proxy, server)
            if not endpoint.secure:
                return stream, times
            led_at = trio.current_time()
            tls = await self._start_tls(stream, server, f"{endpoint.name} through {proxy}")
            return tls, replace(times, tls_s=trio.current_time() - led_at)
        if not endpoint.secure:
            stream, dns_s, tcp_s, _ = await self._reach(server, _as_it_is)
            return stream, DialTimes(dns_s, tcp_s)
        secured = functools.partial(self._start_tls, server=server, name=endpoint.name)
        stream, dns_s, tcp_s, tls_s = await self._reach(server, secured)
        return stream, DialTimes(dns_s, tcp_s, tls_s=tls_s)

    async def _through(
        self, proxy: Proxy, server: tuple[str, int]
    ) -> tuple[trio.abc.Stream, DialTimes]:
        """A way through a proxy to a server."""

        async def lead(connected: TcpStream) -> trio.abc.Stream:
            stream: trio.abc.Stream = connected
            try:
                if proxy.scheme == "https":
                    there = proxy.host, proxy.port
                    stream = await self._start_tls(connected, there, str(proxy))
                await open_tunnel(stream, proxy, *server)
            except BaseException:
                await trio.aclose_forcefully(stream)
                raise
            connected.proven()
            return stream

        with on_the_way_to(proxy):
            try:
                there = proxy.host, proxy.port
                stream, dns_s, tcp_s, proxy_s = await self._reach(there, lead)
            except OSError as error:
                if error.errno in _LOCAL_ERRNOS:
                    raise
                why = error.strerror or str(error)
                raise explained(proxy, ProxyTrouble.UNREACHABLE, why) from error
        return stream, DialTimes(dns_s, tcp_s, proxy_s)

    async def _reach(
        self,
        server: tuple[str, int],
        finish: Callable[[TcpStream], Awaitable[trio.abc.Stream]],
    ) -> tuple[trio.abc.Stream, float, float, float]:
        """Connect to a server's addresses until one finishes what follows on TCP.

        :returns: the stream, and what DNS, TCP and the rest took.
        """
        started = trio.current_time()
        found = await self._resolver.addresses(*server)
        trials = self._trials[server]
        addresses = trials.order(found)
        resolved = trio.current_time()
        while True:
            connected, address = await first_to_connect(addresses)
            trials.begin(address, trio.current_time())
            stream = TcpStream(connected, busy_poll=self._busy_poll)
            stream.proven = functools.partial(trials.prove, address)
            connected_at = trio.current_time()
            addresses.remove(address)
            finished = await _in_time(finish, stream, len(addresses))
            if finished is not None:
                took = trio.current_time() - connected_at
                return finished, resolved - started, connected_at - resolved, took

    async def _start_tls(
        self, stream: trio.abc.Stream, server: tuple[str, int], name: str
    ) -> TlsStream:
        def remember(session: ssl.SSLSession) -> None:
            self._sessions[server] = session

        tls = TlsStream(
            stream,
            self._ssl_context,
            server[0],
            session=self._sessions.get(server),
            remember=remember,
        )
        try:
            await tls.do_handshake()
        except trio.BrokenResourceError as error:
            self._sessions.pop(server, None)  # in case it is to blame
            await trio.aclose_forcefully(tls)
            cause = error.__cause__ or error
            raise TLSError(f"TLS handshake with {name} failed: {cause}") from error
        except BaseException:
            await trio.aclose_forcefully(tls)
            raise
        return tls


async def _as_it_is(stream: TcpStream) -> trio.abc.Stream:
    return stream


async def _in_time(
    finish: Callable[[TcpStream], Awaitable[trio.abc.Stream]], stream: TcpStream, others: int
) -> trio.abc.Stream | None:
    """Finish; None if that fails, or takes too long, and other addresses are left to try."""
    if not others:
        return await finish(stream)
    left_s = trio.current_effective_deadline() - trio.current_time()
    with trio.move_on_after(left_s / (others + 1)):
        try:
            return await finish(stream)
        except TLSError:
            pass  # the last address tells what is wrong, if all of them are
        except ProxyFailed as failure:
            if failure.trips:
                raise  # it has spoken for all of its addresses
    return None


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
