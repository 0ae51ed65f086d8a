"""The exporter as its clients meet it, and clients that behave badly."""

from __future__ import annotations

import socket
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import httpx2
import trio

from k2trio.observe.metrics import Metrics
from k2trio.observe.report import (
    BufferReport,
    CoverageReport,
    MessagesReport,
    NotShown,
    Status,
    TrendsReport,
)
from k2trio.web import exporter
from k2trio.web.app import make_app

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence

    from starlette.applications import Starlette
    from starlette.types import Message

SYMBOLS = ["BTCUSDT", "ETHUSDT"]
SOON_S = 2.0
PATIENCE_S = 10.0
SMALL_BUFFER_BYTES = 4096
"""What the kernel takes for a client that does not read."""

QUIET = Status(
    state="ok",
    problems=[],
    warnings=[],
    at=0,
    uptime_s=0,
    version="1",
    messages=MessagesReport(0, 0, 0, 0),
    buffer=BufferReport(0, 1, 0),
    lines=[],
    endpoints=[],
    reconnects={},
    rotations={},
    outages=[],
    losses=[],
    coverage=CoverageReport(0, 0, 0, 0, 0, 0, 0, 0),
    latency=[],
    streams=[],
    not_shown=NotShown(0, 0, 0, 0, 0),
)
"""The status of a feed to which nothing has happened."""
EMPTY = TrendsReport(at=0, step_s=5, keep_s=600, rates=[], streams=[])
"""The trends of a feed that has just begun."""


def quiet() -> Status:
    """The status of a feed to which nothing has happened."""
    return QUIET


def empty() -> TrendsReport:
    """The trends of a feed that has just begun."""
    return EMPTY


def application(
    metrics: Metrics,
    problems: Sequence[str] = (),
    report: Callable[[], Status] = quiet,
    trends: Callable[[], TrendsReport] = empty,
    *,
    local_only: bool = True,
) -> Starlette:
    """The application of a feed that has these problems."""
    return make_app(
        metrics.registry, lambda: problems, report, trends, version="1", local_only=local_only
    )


@asynccontextmanager
async def serving(
    metrics: Metrics | None = None,
    problems: Sequence[str] = (),
    report: Callable[[], Status] = quiet,
    trends: Callable[[], TrendsReport] = empty,
    port: int = 0,
) -> AsyncGenerator[str]:
    """The exporter, and its URL. It must end within the bound and leak nothing."""
    chosen = Metrics(SYMBOLS, version="1") if metrics is None else metrics
    app = application(chosen, problems, report, trends)
    files = open_files()
    listener = exporter.open_socket("127.0.0.1", port)
    async with trio.open_nursery() as nursery:
        yield await nursery.start(exporter.serve_app, app, listener)
        before = trio.current_time()
        nursery.cancel_scope.cancel()
    assert trio.current_time() - before < SOON_S
    assert open_files() <= files + 1, "only the test's own end of the connection may be open"


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir())) if Path("/proc/self/fd").exists() else 0


@asynccontextmanager
async def clients() -> AsyncGenerator[Callable[[str], Awaitable[trio.SocketStream]]]:
    """Opens connections that stay open until this block ends, after the exporter's."""
    async with AsyncExitStack() as stack:

        async def connect(url: str) -> trio.SocketStream:
            host, _, port = url.removeprefix("http://").partition(":")
            raw = trio.socket.socket()
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL_BUFFER_BYTES)
            await raw.connect((host, int(port)))
            return await stack.enter_async_context(trio.SocketStream(raw))

        yield connect


async def close_later(stream: trio.SocketStream) -> None:
    await trio.sleep(2 * SOON_S)
    await stream.aclose()


async def get(url: str, method: str = "GET", **headers: str) -> httpx2.Response:
    with trio.fail_after(PATIENCE_S):  # a stream of events would go on for ever
        async with httpx2.AsyncClient(trust_env=False) as client:
            return await client.request(method, url, headers=headers)


async def call(app: Starlette, path: str, host: str = "localhost") -> str:
    """A GET without a socket: those and a clock that jumps do not go together."""
    body = b""

    async def receive() -> Message:
        await trio.sleep_forever()
        raise AssertionError

    async def send(message: Message) -> None:
        nonlocal body
        body += message.get("body", b"")

    scope = {
        "type": "http",
        "method": "GET",
        "path": path,
        "query_string": b"",
        "headers": [(b"host", host.encode())],
    }
    await app(scope, receive, send)
    return body.decode()


async def until_closed(stream: trio.SocketStream) -> bytes:
    data = b""
    with trio.fail_after(20):
        try:
            while more := await stream.receive_some():
                data += more
        except trio.BrokenResourceError:
            pass
    return data
