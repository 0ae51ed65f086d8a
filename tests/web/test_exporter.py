"""The exporter: what it serves, and that nobody can hold it up."""

from __future__ import annotations

import os
import resource
import socket

import pytest
import trio
import trio.testing
from exported import SYMBOLS, application, call, clients, close_later, get, serving, until_closed
from prometheus_client.parser import text_string_to_metric_families
from world import fault, open_world

from k2trio.errors import ConfigError
from k2trio.observe import transitions as on
from k2trio.observe.metrics import Metrics
from k2trio.web import exporter
from k2trio.web.httpserver import Bounds

REQUIRED = {
    ("k2_binance_connection_status", ("symbols",)),
    ("k2_binance_messages_received_total", ("symbol",)),
    ("k2_binance_message_errors_total", ("error_type",)),
    ("k2_binance_reconnects_total", ("reason",)),
    ("k2_binance_connection_errors_total", ("error_type",)),
    ("k2_binance_last_message_timestamp_seconds", ("symbols",)),
    ("k2_binance_reconnect_delay_seconds", ("symbols",)),
    ("k2_circuit_breaker_state", ("name",)),
}


async def test_metrics_have_the_required_names_and_labels_and_no_others_of_them(
    autojump_clock: trio.testing.MockClock,
) -> None:
    faults = [fault(10, "rst"), fault(20, "bad_json", "b")]
    async with open_world(faults, rate=5) as world:
        await trio.sleep(60)
        text = await call(application(world.feed.metrics), "/metrics")
    found = {
        (sample.name, tuple(sample.labels))
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    assert found >= REQUIRED
    assert {name for name, _ in REQUIRED} & {name for name, _ in found - REQUIRED} == set()


async def test_every_reconnect_reason_is_there_before_the_first_reconnect() -> None:
    async with serving() as url:
        text = (await get(f"{url}/metrics")).text
    for reason in (
        "connection_closed",
        "websocket_error",
        "unexpected_error",
        "health_check_timeout",
    ):
        assert f'k2_binance_reconnects_total{{reason="{reason}"}} 0.0' in text


async def test_a_connection_status_label_is_the_comma_list_of_symbols() -> None:
    async with serving() as url:
        text = (await get(f"{url}/metrics")).text
    assert 'k2_binance_connection_status{symbols="BTCUSDT,ETHUSDT"} 0.0' in text


async def test_readyz_is_503_with_the_reasons_until_there_are_none() -> None:
    problems = ["line 0 is not connected", "no data has arrived yet"]
    async with serving(problems=problems) as url:
        before = await get(f"{url}/readyz")
        problems.clear()
        after = await get(f"{url}/readyz")
    assert (before.status_code, before.json()) == (
        503,
        {"ready": False, "reasons": ["line 0 is not connected", "no data has arrived yet"]},
    )
    assert (after.status_code, after.json()) == (200, {"ready": True, "reasons": []})


async def test_a_feed_is_ready_from_its_first_message_until_it_loses_the_connection(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_world([fault(10, "outage", "*", duration=30)]) as world:
        assert world.feed.status().problems == (
            "line 0 is not connected",
            "no data has arrived yet",
        )
        await trio.sleep(9)
        assert world.feed.status().problems == ()
        await trio.sleep(2)
        assert world.feed.status().problems == ("line 0 is not connected",)
        assert world.times(on.ConnectionLost) == [10]


async def test_healthz_says_that_the_process_lives_ready_or_not() -> None:
    async with serving(problems=["anything"]) as url:
        answer = await get(f"{url}/healthz")
    assert (answer.status_code, answer.text) == (200, "ok\n")


async def test_head_has_no_body_and_other_paths_and_methods_are_refused() -> None:
    async with serving() as url:
        head = await get(f"{url}/metrics", "HEAD")
        healthy = await get(f"{url}/healthz", "HEAD")
        missing = await get(f"{url}/other")
        posted = await get(f"{url}/healthz", "POST")
    assert (head.status_code, head.content) == (200, b"")
    assert (healthy.status_code, healthy.content) == (200, b"")
    assert missing.status_code == 404
    assert posted.status_code == 405


async def test_a_busy_port_is_one_clear_error_that_names_port_and_setting() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(ConfigError) as caught:
            exporter.open_socket("127.0.0.1", port)
    assert str(caught.value) == (
        f"port {port} on 127.0.0.1 is in use; stop the other program, or choose another port with "
        "K2_BINANCE_METRICS_PORT / --metrics-port or K2_BINANCE_METRICS_HOST / --metrics-host"
    )


@pytest.mark.parametrize("host", ["203.0.113.1", "no-such-host.invalid"])
async def test_an_address_that_is_not_ours_is_one_clear_error(host: str) -> None:
    with pytest.raises(ConfigError, match=rf"port 1234 on {host} cannot be opened \(.+\); choose"):
        exporter.open_socket(host, 1234)


async def test_an_idle_kept_connection_does_not_delay_the_end() -> None:
    async with clients() as connect, serving() as url:
        stream = await connect(url)
        await stream.send_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        answer = b""
        with trio.fail_after(5):
            while b"\r\n\r\nok\n" not in answer:
                answer += await stream.receive_some()


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"GET /metr",
        b"POST /healthz HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\nab",
    ],
)
async def test_a_client_in_the_middle_of_a_request_does_not_delay_the_end(sent: bytes) -> None:
    async with clients() as connect, serving() as url:
        stream = await connect(url)
        await stream.send_all(sent)
        await trio.sleep(0.1)


async def test_a_client_that_never_finishes_its_request_is_cut_off(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(exporter, "BOUNDS", Bounds(idle_s=0.2))
    async with clients() as connect, serving() as url:
        stream = await connect(url)
        await stream.send_all(b"GET /metr")
        assert await until_closed(stream) == b""


async def test_a_request_head_without_end_is_refused() -> None:
    async with clients() as connect, serving() as url:
        stream = await connect(url)
        with trio.fail_after(10):
            try:
                await stream.send_all(b"GET / HTTP/1.1\r\nX: " + b"x" * 100_000)
            except trio.BrokenResourceError:
                return
            assert b" 4" in await until_closed(stream)


@pytest.mark.skipif(not hasattr(socket, "TCP_USER_TIMEOUT"), reason="needs TCP_USER_TIMEOUT")
async def test_a_client_that_does_not_read_does_not_delay_the_end() -> None:
    symbols = [f"S{number}USDT" for number in range(20_000)]  # more than the kernel buffers
    metrics = Metrics(symbols)
    async with clients() as connect, serving(metrics) as url:
        stream = await connect(url)
        trio.lowlevel.spawn_system_task(close_later, stream)  # so that this test fails, not hangs
        await stream.send_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")
        await trio.lowlevel.wait_readable(stream.socket)
        await trio.sleep(0.2)


async def test_the_descriptor_is_closed_at_the_end() -> None:
    listener = exporter.open_socket("127.0.0.1", 0)
    port = listener.getsockname()[1]
    async with trio.open_nursery() as nursery:
        app = application(Metrics(SYMBOLS))
        await nursery.start(exporter.serve_app, app, listener)
        nursery.cancel_scope.cancel()
    again = exporter.open_socket("127.0.0.1", port)
    os.close(again.detach())


async def test_a_byte_too_many_does_not_end_the_program() -> None:
    # The answer and the complaint about the rest of the bytes get into each other's way.
    request = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\nx"
    async with serving() as url, clients() as connect:
        for _ in range(50):
            await (await connect(url)).send_all(request)
        assert (await get(f"{url}/healthz")).text == "ok\n"


async def test_connections_beyond_the_bound_are_closed_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(exporter, "BOUNDS", Bounds(connections=3))
    async with serving() as url, clients() as connect:
        for _ in range(3):
            await connect(url)
        assert await until_closed(await connect(url)) == b""


async def test_a_connection_ends_after_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exporter, "BOUNDS", Bounds(life_s=0.2))
    async with clients() as connect, serving() as url:
        stream = await connect(url)
        await stream.send_all(b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert b"200" in await until_closed(stream)


@pytest.mark.parametrize(
    ("open_files", "connections"),
    [(1 << 20, 256), (resource.RLIM_INFINITY, 256), (1024, 256), (256, 96), (64, 4), (20, 4)],
)
def test_clients_may_have_what_the_feed_can_spare(open_files: int, connections: int) -> None:
    assert exporter.affordable_connections(open_files) == connections
