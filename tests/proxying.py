"""Proxies for tests: real ones, as Debian has them, and one in memory that can be killed.

Debian's packages are ``tinyproxy`` (HTTP) and ``microsocks`` (SOCKS5); nothing here installs them.
"""

from __future__ import annotations

import contextlib
import functools
import shutil
import socket
import ssl
import subprocess
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
import trio
from peer import Peer

from k2trio.simulator import memory_pair

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Sequence
    from pathlib import Path

    import trustme

    from k2trio.simulator import MemoryNetwork

USER, SECRET = "user", "s3cret"
OUTSIDE = "127.0.0.3"
"""The address from which the real proxies go out: who comes from there came through them."""
PATIENCE_S = 10.0
TEST_BOUND_S = 20.0
LED = b"HTTP/1.1 200 OK\r\n\r\n"
"""The answer of an HTTP proxy that leads to the server."""

GONE = (trio.BrokenResourceError, trio.ClosedResourceError, trio.EndOfChannel)
"""What a server meets whose client is gone."""

SCHEMES = {"http": "tinyproxy", "socks5": "microsocks"}


def needs(scheme: str) -> pytest.MarkDecorator:
    program = SCHEMES[scheme]
    return pytest.mark.skipif(
        shutil.which(program) is None, reason=f"needs {program}: apt-get install {program}"
    )


BOTH = [pytest.param(scheme, marks=needs(scheme)) for scheme in SCHEMES]
"""Both kinds, as parameters."""


@dataclass
class RealProxy:
    """A proxy that runs."""

    scheme: str
    port: int

    def url(self, password: str | None = SECRET) -> str:
        """Its URL; with None, without credentials."""
        who = "" if password is None else f"{USER}:{password}@"
        return f"{self.scheme}://{who}127.0.0.1:{self.port}"


def free_port() -> int:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        return int(unused.getsockname()[1])


@contextlib.contextmanager
def real_proxy(scheme: str, folder: Path, *rules: str) -> Generator[RealProxy]:
    """Start a proxy that wants :data:`USER` and :data:`SECRET`.

    :param rules: further lines of tinyproxy's configuration.
    """
    proxy = RealProxy(scheme, free_port())
    if scheme == "http":
        lines = [
            f"Port {proxy.port}", "Listen 127.0.0.1", "Allow 127.0.0.1", f"Bind {OUTSIDE}",
            f"BasicAuth {USER} {SECRET}", f"LogFile \"{folder / 'proxy.log'}\"", *rules,
        ]  # fmt: skip
        path = folder / "tinyproxy.conf"
        path.write_text("\n".join(lines) + "\n")
        command = ["tinyproxy", "-d", "-c", str(path)]
    else:
        command = ["microsocks", "-i", "127.0.0.1", "-p", str(proxy.port), "-b", OUTSIDE,
                   "-u", USER, "-P", SECRET]  # fmt: skip
    with run(command):
        deadline = time.monotonic() + PATIENCE_S
        while True:
            try:
                socket.create_connection(("127.0.0.1", proxy.port), PATIENCE_S).close()
            except ConnectionRefusedError:
                assert time.monotonic() < deadline, f"{command[0]} does not listen"
                time.sleep(0.02)
            else:
                break
        yield proxy


@contextlib.contextmanager
def run(command: Sequence[str]) -> Generator[None]:
    with subprocess.Popen(  # noqa: S603 - a program of ours
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        try:
            yield
        finally:
            process.kill()


class MemoryProxy:
    """An HTTP proxy in memory, before a network in memory.

    :ivar led: the servers that it led to.
    """

    def __init__(self, network: MemoryNetwork, nursery: trio.Nursery) -> None:
        self.led: list[str] = []
        self._network = network
        self._nursery = nursery
        self._end: trio.Event | None = None

    def start(self) -> None:
        self._end = trio.Event()

    def die(self) -> None:
        """End every connection, and refuse further ones."""
        assert self._end is not None
        self._end.set()
        self._end = None

    async def connect(self) -> trio.abc.Stream:
        await trio.lowlevel.checkpoint()
        if self._end is None:
            raise ConnectionRefusedError(111, "Connection refused")
        ours, theirs = memory_pair()
        self._nursery.start_soon(self._serve, theirs, self._end)
        return ours

    async def _serve(self, client: trio.abc.Stream, end: trio.Event) -> None:
        async with trio.open_nursery() as nursery:

            async def end_in_time() -> None:
                await end.wait()
                nursery.cancel_scope.cancel()

            nursery.start_soon(end_in_time)
            await self._lead(client, nursery)
            nursery.cancel_scope.cancel()
        await trio.aclose_forcefully(client)

    async def _lead(self, client: trio.abc.Stream, nursery: trio.Nursery) -> None:
        host, port = await target_of(client)
        self.led.append(f"{host}:{port}")
        async with await self._network.dial(host, port) as server:
            await client.send_all(LED)
            nursery.start_soon(pump, client, server)
            await pump(server, client)


async def target_of(client: trio.abc.Stream) -> tuple[str, int]:
    """Host and port that a client of an HTTP proxy asks for."""
    method, target, *_ = (await Peer(client).request()).decode().split(" ")
    assert method == "CONNECT"
    host, _, port = target.rpartition(":")
    return host, int(port)


async def pump(source: trio.abc.ReceiveStream, sink: trio.abc.SendStream) -> None:
    """Carry bytes on until either end is over."""
    with contextlib.suppress(*GONE):
        while data := await source.receive_some(65536):
            await sink.send_all(data)


def server_tls(authority: trustme.CA, *names: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*names).configure_cert(context)
    return context


@contextlib.asynccontextmanager
async def listening(
    handle: Callable[[trio.abc.Stream], Awaitable[None]], tls: ssl.SSLContext | None = None
) -> AsyncGenerator[int]:
    """A server on a free port; the whole test is bounded."""

    async def guarded(stream: trio.SocketStream) -> None:
        served: trio.abc.Stream = stream
        if tls is not None:
            served = trio.SSLStream(stream, tls, server_side=True, https_compatible=True)
        with contextlib.suppress(
            trio.BrokenResourceError, trio.ClosedResourceError, trio.EndOfChannel
        ):
            await handle(served)

    with trio.fail_after(TEST_BOUND_S):
        async with trio.open_nursery() as nursery:
            serve_tcp = functools.partial(trio.serve_tcp, host="127.0.0.1")
            (listener,) = await nursery.start(serve_tcp, guarded, 0)
            yield listener.socket.getsockname()[1]
            nursery.cancel_scope.cancel()


async def lead(client: trio.abc.Stream) -> None:
    """A proxy that gives its answer and what the server says at once in one piece."""
    async with await trio.open_tcp_stream(*await target_of(client)) as server:
        early = b""
        with trio.move_on_after(0.1):
            early = bytes(await server.receive_some(65536))
        await client.send_all(LED + early)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(pump, client, server)
            await pump(server, client)
            nursery.cancel_scope.cancel()
