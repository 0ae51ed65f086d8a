"""REST hosts for tests: answers as a function of the request, and a record of what was asked."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

import httpx2
import msgspec
import trio

from k2trio.repair.hosts import rest_venue_of
from k2trio.repair.rest import Backfill
from k2trio.settings import Settings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

VENUE = "v.test"
HOSTS = ("https://v.test:1", "https://v.test:2", "https://v.test:3")
"""Three hosts of one venue."""


class Rest(httpx2.AsyncBaseTransport):
    """A transport that answers as told.

    :param answer: takes the request, returns a response, the JSON value of a 200, or an exception
        to raise; may be a coroutine function.
    :ivar requests: (virtual time, port, path, parameters).
    """

    def __init__(self, answer: Callable[[httpx2.Request], Any]) -> None:
        self.answer = answer
        self.requests: list[tuple[float, int, str, dict[str, str]]] = []
        self.running = self.most_running = 0

    @property
    def times(self) -> list[float]:
        return [at for at, *_ in self.requests]

    @property
    def ports(self) -> list[int]:
        return [port for _, port, *_ in self.requests]

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        try:
            await trio.lowlevel.checkpoint()
            url = request.url
            self.requests.append(
                (round(trio.current_time(), 6), url.port or 0, url.path, dict(url.params))
            )
            answer = self.answer(request)
            if inspect.isawaitable(answer):
                answer = await answer
            if isinstance(answer, Exception):
                raise answer
            return answer if isinstance(answer, httpx2.Response) else ok(answer)
        finally:
            self.running -= 1


def ok(value: Any, **headers: str) -> httpx2.Response:
    return httpx2.Response(200, content=msgspec.json.encode(value), headers=headers)


def status(code: int, error: int = -1, **headers: str) -> httpx2.Response:
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx2.Response(code, content=b'{"code":%d,"msg":"no"}' % error, headers=names)


class Drip(httpx2.AsyncByteStream):
    """A body that comes chunk by chunk, with a pause before each."""

    def __init__(self, chunk: bytes, count: int, pause_s: float = 0.0) -> None:
        self.chunk, self.count, self.pause_s = chunk, count, pause_s
        self.sent = 0

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for _ in range(self.count):
            await trio.sleep(self.pause_s)
            self.sent += 1
            yield self.chunk


def agg_rows(ids: Sequence[int] | range) -> list[dict[str, Any]]:
    return [
        {"a": n, "p": "1.0", "q": "2.0", "f": n, "l": n, "T": n, "m": True, "M": True} for n in ids
    ]


def trade_rows(ids: Sequence[int] | range) -> list[dict[str, Any]]:
    return [
        {"id": n, "price": "1.0", "qty": "2.0", "quoteQty": "2.0", "time": n,
         "isBuyerMaker": False, "isBestMatch": True}
        for n in ids
    ]  # fmt: skip


def kline_rows(opens: Sequence[int] | range, length: int = 60_000) -> list[list[Any]]:
    return [
        [n, "1", "2", "0.5", "1.5", "10", n + length - 1, "15", 7, "5", "7", "0"] for n in opens
    ]


def asked(request: httpx2.Request) -> tuple[int, int]:
    """First id and number of rows that a page was asked for."""
    return int(request.url.params["fromId"]), int(request.url.params["limit"])


def make_backfill(
    rest: httpx2.AsyncBaseTransport, hosts: Sequence[str] = HOSTS, **values: Any
) -> Backfill:
    """A backfill that knows the given hosts only."""
    chosen = Settings(websocket_url="wss://v.test:9/stream", rest_urls=hosts, **values)
    venues = list(dict.fromkeys(rest_venue_of(url) for url in hosts))
    return Backfill(venues, chosen, transport=rest, wall_clock=lambda: 1000.0)
