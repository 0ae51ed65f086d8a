"""How REST requests go out: directly, or by the way that a proxy opens, as the feed's dials do.

A request through a proxy is made by httpcore's own pool, on connections that :mod:`wire.tunnel` has
led to the host: so a plain request goes by CONNECT as well, a proxy's refusal is never taken for an
answer of the host, and no header of ours but CONNECT's holds the credentials.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

import httpcore2
import httpx2
import trio

from ..errors import ProxyFailed, ProxyTrouble, leaves
from ..wire.tunnel import open_tunnel
from ..wire.way import explained, on_the_way_to

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Generator, Iterable

    from ..proxies import Proxies, Proxy

MAX_CONNECTIONS = 100
MAX_IDLE_CONNECTIONS = 20
IDLE_S = 5.0
"""As httpx2 keeps them without a proxy."""


CREDENTIALS_MEMORY_S = 30.0
"""How long a proxy that did not take our credentials is not sent them again: every host would be
asked in turn, and whoever sends a wrong password a dozen times in a second gets locked out."""


class RoutedTransport(httpx2.AsyncBaseTransport):
    """The network of an HTTP client, with the proxies that lead to its hosts.

    :param verify: TLS context of the program.
    """

    def __init__(self, proxies: Proxies, verify: ssl.SSLContext | bool) -> None:
        self._proxies = proxies
        self._direct = httpx2.AsyncHTTPTransport(verify=verify, trust_env=False)
        self._verify = verify
        self._pools: dict[Proxy, httpcore2.AsyncConnectionPool] = {}

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """As httpx2 wants it.

        :raises ProxyFailed: if a proxy did not lead to the host.
        """
        proxy = self._proxies.of(str(request.url))
        if proxy is None:
            return await self._direct.handle_async_request(request)
        with _told_as_httpx2_does():
            answer = await self._pool(proxy).handle_async_request(
                httpcore2.Request(
                    method=request.method,
                    url=httpcore2.URL(
                        scheme=request.url.raw_scheme,
                        host=request.url.raw_host,
                        port=request.url.port,
                        target=request.url.raw_path,
                    ),
                    headers=request.headers.raw,
                    content=request.stream,
                    extensions=request.extensions,
                )
            )
        return httpx2.Response(
            answer.status,
            headers=answer.headers,
            stream=_Body(answer),
            extensions=cast("dict[str, Any]", answer.extensions),  # pyright: ignore[reportUnknownMemberType]
        )

    def _pool(self, proxy: Proxy) -> httpcore2.AsyncConnectionPool:
        if proxy not in self._pools:
            tls = httpx2.create_ssl_context(self._verify, trust_env=False)
            self._pools[proxy] = httpcore2.AsyncConnectionPool(
                ssl_context=tls,
                max_connections=MAX_CONNECTIONS,
                max_keepalive_connections=MAX_IDLE_CONNECTIONS,
                keepalive_expiry=IDLE_S,
                network_backend=_Led(proxy, tls),
            )
        return self._pools[proxy]

    async def aclose(self) -> None:
        """Close idle connections."""
        await self._direct.aclose()
        for pool in self._pools.values():
            await pool.aclose()


class _Led(httpcore2.AsyncNetworkBackend):
    """Connects to a server by the way that a proxy opens."""

    def __init__(self, proxy: Proxy, tls: ssl.SSLContext) -> None:
        self._proxy = proxy
        self._tls = tls
        # pyright sees the class that stands in where trio is missing.
        self._refusal: ProxyFailed | None = None
        self._refused_until = 0.0
        self._direct = cast("httpcore2.AsyncNetworkBackend", httpcore2.TrioBackend())

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - the base class has it
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        if self._refusal is not None and trio.current_time() < self._refused_until:
            raise ProxyFailed(self._refusal.trouble, str(self._refusal))
        try:
            with on_the_way_to(self._proxy):
                return await self._lead(host, port, timeout, local_address, socket_options)
        except ProxyFailed as failure:
            if failure.trouble is ProxyTrouble.CREDENTIALS:
                self._refusal = failure
                self._refused_until = trio.current_time() + CREDENTIALS_MEMORY_S
            raise

    async def _lead(self, host: str, port: int, *options: Any) -> httpcore2.AsyncNetworkStream:
        proxy = self._proxy
        try:
            stream = await self._direct.connect_tcp(proxy.host, proxy.port, *options)
        except (httpcore2.ConnectError, httpcore2.ConnectTimeout) as error:
            raise explained(proxy, ProxyTrouble.UNREACHABLE, _why(error)) from error
        try:
            if proxy.scheme == "https":
                stream = await self._start_tls(stream)
            await open_tunnel(_AsWay(stream), proxy, host, port)
        except BaseException:
            with trio.CancelScope() as at_once:
                at_once.cancel()
                await stream.aclose()
            raise
        return stream

    async def _start_tls(
        self, stream: httpcore2.AsyncNetworkStream
    ) -> httpcore2.AsyncNetworkStream:
        try:
            return await stream.start_tls(self._tls, self._proxy.host)
        except (httpcore2.ConnectError, httpcore2.ConnectTimeout) as error:
            raise explained(self._proxy, ProxyTrouble.PROTOCOL, _why(error)) from error


class _AsWay:
    """A connection of httpcore as the way to a proxy."""

    def __init__(self, stream: httpcore2.AsyncNetworkStream) -> None:
        self._stream = stream

    async def send_all(self, data: bytes) -> None:
        try:
            await self._stream.write(data)
        except httpcore2.NetworkError as error:
            raise trio.BrokenResourceError from error

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        try:
            return await self._stream.read(max_bytes or 1)
        except httpcore2.NetworkError as error:
            raise trio.BrokenResourceError from error


class _Body(httpx2.AsyncByteStream):
    """The body of an answer."""

    def __init__(self, answer: httpcore2.Response) -> None:
        self._answer = answer

    async def __aiter__(self) -> AsyncIterator[bytes]:
        parts = self._answer.aiter_stream()
        try:
            while True:
                with _told_as_httpx2_does():
                    part = await anext(parts, None)
                if part is None:
                    break
                yield part
        finally:
            await parts.aclose()

    async def aclose(self) -> None:
        await self._answer.aclose()


@contextmanager
def _told_as_httpx2_does() -> Generator[None]:
    """What httpcore raises about the network, as the error that callers of httpx2 know."""
    try:
        yield
    except (httpcore2.NetworkError, httpcore2.TimeoutException, httpcore2.ProtocolError) as error:
        raise httpx2.TransportError(_why(error)) from error


def _why(error: Exception) -> str:
    """The words of the system where there are any: those on top hide them."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.strerror:
            return cause.strerror
        inner = cause.__cause__ or cause.__context__
        if isinstance(cause, BaseExceptionGroup):
            inner = leaves(cast("BaseExceptionGroup[BaseException]", cause))[0]
        cause = inner
    return str(error) or type(error).__name__
