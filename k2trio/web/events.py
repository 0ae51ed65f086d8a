"""Server-sent events: the status each second, the trends each step, to few readers."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Generic, TypeVar

import msgspec
import trio
from starlette.responses import PlainTextResponse

from ..observe.trends import STEP_S

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.types import Receive, Scope, Send

    from ..observe.report import Status, TrendsReport

ReportT = TypeVar("ReportT")

FRESH_S = 0.5
"""How old a report may be that is given out again: any number of readers cost two a second."""
INTERVAL_S = 1.0
"""Between two events of a stream."""
RETRY_MS = 2000
"""How long a browser waits before it connects again."""
MAX_STREAMS = 16
"""Streams that may be open; further ones are refused with 503."""
STREAM_LIFE_S = 900.0
"""After this time a stream ends, and a browser that is still there opens another one."""


class Snapshots(Generic[ReportT]):
    """A report as JSON, made anew only when the last one has become old."""

    def __init__(self, report: Callable[[], ReportT]) -> None:
        self._report = report
        self._encoder = msgspec.json.Encoder()
        self._made_at = -math.inf
        self._json = b""

    def latest(self) -> bytes:
        """A report that is not older than :data:`FRESH_S`."""
        now = trio.current_time()
        if now - self._made_at >= FRESH_S:
            self._json = self._encoder.encode(self._report())
            self._made_at = now
        return self._json


class EventStreams:
    """The ASGI application behind ``/events``.

    A reader that does not keep up skips events: the next one is made when the last one is sent.
    """

    def __init__(self, status: Snapshots[Status], trends: Snapshots[TrendsReport]) -> None:
        self._status = status
        self._trends = trends
        self._open = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._open >= MAX_STREAMS:
            refusal = PlainTextResponse(
                f"{MAX_STREAMS} event streams are open, which is the most; close one\n",
                status_code=503,
                headers={"Retry-After": str(RETRY_MS // 1000)},
            )
            await refusal(scope, receive, send)
            return
        self._open += 1
        try:
            await self._serve(scope["method"], receive, send)
        finally:
            self._open -= 1

    async def _serve(self, method: str, receive: Receive, send: Send) -> None:
        headers = [(b"content-type", b"text/event-stream; charset=utf-8")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        if method != "HEAD":
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_cancel_when_gone, receive, nursery.cancel_scope)
                with trio.move_on_after(STREAM_LIFE_S):
                    await self._push(send)
                nursery.cancel_scope.cancel()
        await send({"type": "http.response.body", "body": b""})

    async def _push(self, send: Send) -> None:
        frame = f"retry: {RETRY_MS}\n".encode()
        trends_at = -math.inf
        while True:
            if trio.current_time() - trends_at >= STEP_S:
                trends_at = trio.current_time()
                frame += b"event: trends\ndata: " + self._trends.latest() + b"\n\n"
            frame += b"event: status\ndata: " + self._status.latest() + b"\n\n"
            await send({"type": "http.response.body", "body": frame, "more_body": True})
            frame = b""
            await trio.sleep(INTERVAL_S)


async def _cancel_when_gone(receive: Receive, scope: trio.CancelScope) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    scope.cancel()
