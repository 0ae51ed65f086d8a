"""What the exporter serves: to whom, how much, and for how long."""

from __future__ import annotations

import contextlib
import itertools
import json
from typing import TYPE_CHECKING, Any

import httpx2
import msgspec
import pytest
import trio
import trio.testing
from exported import (
    EMPTY,
    QUIET,
    SYMBOLS,
    application,
    call,
    clients,
    close_later,
    get,
    serving,
)

from k2trio.observe.metrics import Metrics
from k2trio.observe.report import Status, TrendsReport
from k2trio.web import events
from k2trio.web.guard import HEADERS

if TYPE_CHECKING:
    from collections.abc import Callable

PATHS = ["/", "/page.css", "/page.js", "/icon.svg", "/status", "/trends", "/events",
         "/openapi.json", "/metrics", "/healthz", "/readyz"]  # fmt: skip
PATIENCE_S = 20.0


def counting() -> tuple[Callable[[], Status], list[float]]:
    """A report that counts how often it was made."""
    made: list[float] = []

    def report() -> Status:
        made.append(trio.current_time())
        return msgspec.structs.replace(QUIET, uptime_s=len(made))

    return report, made


def read_events(url: str, count: int) -> list[tuple[str, Any]]:
    """The events that a stream brings first, by name."""
    with (
        httpx2.stream("GET", f"{url}/events", trust_env=False, timeout=PATIENCE_S) as answer,
        contextlib.closing(answer.iter_lines()) as lines,
    ):
        assert answer.headers["content-type"].startswith("text/event-stream")
        fields = (line.split(": ", 1) for line in lines if line.startswith(("event", "data")))
        pairs = itertools.islice(zip(fields, fields, strict=True), count)
        return [(name, json.loads(data)) for (_, name), (_, data) in pairs]


# -- for whom --------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", [*PATHS, "/no-such-page"])
async def test_every_answer_tells_browsers_what_they_may_do(path: str) -> None:
    async with serving() as url:
        answers = [
            await get(f"{url}{path}", "HEAD"),
            await get(f"{url}{path}", "POST"),
            await get(f"{url}{path}", host="elsewhere.example"),
        ]
    for answer in answers:
        assert HEADERS.items() <= {name: answer.headers.get(name) for name in HEADERS}.items()


@pytest.mark.parametrize(
    "host",
    ["localhost", "LOCALHOST:9090", "127.0.0.1", "127.0.0.1:1", "127.9.9.9", "[::1]", "[::1]:80"],
)
async def test_requests_for_this_machine_are_answered(host: str) -> None:
    async with serving() as url:
        assert (await get(f"{url}/status", host=host)).status_code == 200


@pytest.mark.parametrize(
    "host",
    ["attacker.example", "127.0.0.1.attacker.example", "localhost.attacker.example:9090",
     "192.168.1.7", "[::2]", "[::1", "", "attacker.example@localhost.example"],
)  # fmt: skip
async def test_a_name_that_was_made_to_resolve_to_this_machine_is_refused(host: str) -> None:
    async with serving() as url:
        answers = [await get(f"{url}{path}", host=host) for path in PATHS]
    assert {answer.status_code for answer in answers} == {421}
    assert "K2_BINANCE_METRICS_HOST" in answers[0].text


@pytest.mark.parametrize("origin", ["https://attacker.example", "null", "http://127.0.0.1.example"])
async def test_a_page_from_elsewhere_is_refused(origin: str) -> None:
    async with serving() as url:
        answer = await get(f"{url}/status", host="localhost", origin=origin)
    assert answer.status_code == 421


async def test_a_page_of_this_machine_is_answered() -> None:
    async with serving() as url:
        answer = await get(f"{url}/status", host="localhost", origin="http://localhost:3000")
    assert answer.status_code == 200


async def test_an_exporter_that_is_open_to_others_answers_to_any_name(
    autojump_clock: trio.testing.MockClock,
) -> None:
    app = application(Metrics(SYMBOLS), local_only=False)
    assert await call(app, "/healthz", host="prometheus.example") == "ok\n"


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "BREW"])
async def test_nothing_but_get_and_head_is_allowed(path: str, method: str) -> None:
    async with serving() as url:
        answer = await get(f"{url}{path}", method)
    assert answer.status_code == 405
    assert set(answer.headers["allow"].split(", ")) == {"GET", "HEAD"}


@pytest.mark.parametrize("path", PATHS)
async def test_head_is_get_without_the_body(path: str) -> None:
    async with serving() as url:
        answer = await get(f"{url}{path}", "HEAD")
    assert (answer.status_code, answer.content) == (200, b"")


async def test_nothing_is_redirected() -> None:
    async with serving() as url:
        answers = [
            await get(f"{url}{path}") for path in ("/status/", "//", "/%2e%2e/pyproject.toml")
        ]
    assert [answer.status_code for answer in answers] == [404] * 3


async def test_a_websocket_is_refused() -> None:
    async with serving() as url:
        answer = await get(
            f"{url}/events",
            connection="Upgrade",
            upgrade="websocket",
            **{"sec-websocket-version": "13", "sec-websocket-key": "AAAAAAAAAAAAAAAAAAAAAA=="},
        )
    assert answer.status_code in (400, 403)


@pytest.mark.parametrize(
    "accept", ["application/openmetrics-text;version=x", "text/plain;version=;escaping=no", "\xff"]
)
async def test_an_accept_header_of_any_kind_gets_the_metrics(accept: str) -> None:
    async with serving() as url, httpx2.AsyncClient(trust_env=False) as client:
        answer = await client.get(f"{url}/metrics", headers={"accept": accept.encode("latin-1")})
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert "k2_binance_connection_status" in answer.text


@pytest.mark.parametrize(
    "name",
    [
        "k2_binance_connection_status",
        "k2_binance_messages_received_total",
        "k2_binance_log_lines_dropped_total",
        "k2_binance_reconnects_total",
        "k2_binance_handshake_seconds_count",
    ],
)
async def test_single_metrics_can_be_asked_for(name: str) -> None:
    async with serving() as url:
        text = (await get(f"{url}/metrics?name[]={name}")).text
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    assert {line.partition("{")[0].partition(" ")[0] for line in lines} == {name}


# -- how much, and for how long --------------------------------------------------------------------


async def test_any_number_of_readers_cost_two_reports_a_second(
    autojump_clock: trio.testing.MockClock,
) -> None:
    report, made = counting()
    app = application(Metrics(SYMBOLS), report=report)
    for _ in range(80):
        await call(app, "/status")
        await trio.sleep(0.125)
    assert len(made) == 20


async def test_events_bring_the_status_at_once_and_every_second(
    autojump_clock: trio.testing.MockClock,
) -> None:
    report, made = counting()
    app = application(Metrics(SYMBOLS), report=report)
    with trio.move_on_after(10.5):
        await call(app, "/events")
    assert made == [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10]


async def test_events_are_what_status_says() -> None:
    report, _ = counting()
    async with serving(report=report) as url:
        trends, first, second = await trio.to_thread.run_sync(read_events, url, 3)
        shown = (await get(f"{url}/trends")).json()
    assert trends == ("trends", shown)
    assert [name for name, _ in (first, second)] == ["status", "status"]
    assert msgspec.convert(first[1], Status) == msgspec.structs.replace(QUIET, uptime_s=1)
    assert second[1]["uptime_s"] > first[1]["uptime_s"]


async def test_events_bring_the_trends_at_once_and_at_every_step(
    autojump_clock: trio.testing.MockClock,
) -> None:
    made: list[float] = []

    def trends() -> TrendsReport:
        made.append(trio.current_time())
        return EMPTY

    app = application(Metrics(SYMBOLS), trends=trends)
    with trio.move_on_after(20.5):
        await call(app, "/events")
    assert made == [0, 5, 10, 15, 20]


async def test_event_streams_beyond_the_bound_are_refused_until_one_ends(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(events, "MAX_STREAMS", 2)
    async with serving() as url:
        async with clients() as connect:
            for _ in range(2):
                stream = await connect(url)
                await stream.send_all(b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n")
                assert b"200" in await stream.receive_some()
            refused = await get(f"{url}/events")
            other = await get(f"{url}/status")
        with trio.fail_after(PATIENCE_S):
            while (again := await get(f"{url}/events", "HEAD")).status_code == 503:
                pass
    assert refused.status_code == 503
    assert refused.headers["retry-after"] == "2"
    assert refused.text == "2 event streams are open, which is the most; close one\n"
    assert other.status_code == 200
    assert again.status_code == 200


async def test_an_event_stream_ends_after_its_time(autojump_clock: trio.testing.MockClock) -> None:
    app = application(Metrics(SYMBOLS))
    await call(app, "/events")
    assert trio.current_time() == events.STREAM_LIFE_S


async def test_an_open_event_stream_does_not_delay_the_end() -> None:
    async with clients() as connect, serving() as url:
        stream = await connect(url)
        await stream.send_all(b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert b"200" in await stream.receive_some()


async def test_a_reader_that_does_not_read_delays_neither_others_nor_the_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(events, "INTERVAL_S", 0.0)
    large = msgspec.structs.replace(QUIET, problems=["x" * 1_000_000])
    async with clients() as connect, serving(report=lambda: large) as url:
        stream = await connect(url)
        trio.lowlevel.spawn_system_task(close_later, stream)  # so that this test fails, not hangs
        await stream.send_all(b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n")
        await trio.lowlevel.wait_readable(stream.socket)
        await trio.sleep(0.2)
        assert (await get(f"{url}/healthz")).text == "ok\n"
