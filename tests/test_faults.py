"""Every fault does what its name says, seen by a raw client; faults are data."""

from __future__ import annotations

import contextlib
import json
import random
import socket
import ssl
from typing import TYPE_CHECKING, Any

import httpx2
import msgspec
import pytest
import trio
import trio.testing
import wsproto.events as ws
from raw_client import HOST, PORT, Client, World, world

from k2trio.simulator import (
    EndpointConfig,
    Fault,
    FaultKind,
    Limits,
    Market,
    ServeConfig,
    draw_schedule,
    load_faults,
    parse_faults,
    serve,
)

if TYPE_CHECKING:
    from pathlib import Path

K = FaultKind


def ids(client: Client) -> list[int]:
    return [message["data"]["t"] for message in client.json() if "data" in message]


def contiguous(numbers: list[int]) -> bool:
    return numbers == list(range(numbers[0], numbers[-1] + 1))


# Dialling


@pytest.mark.parametrize(
    ("kind", "error"),
    [
        (K.REFUSED, ConnectionRefusedError),
        (K.OUTAGE, ConnectionRefusedError),
        (K.DNS_FAILURE, socket.gaierror),
    ],
)
async def test_dials_fail_for_the_duration(
    kind: FaultKind, error: type[OSError], autojump_clock: object
) -> None:
    async with world() as w:
        await w.fault(kind, duration=10)
        for _ in range(2):
            with pytest.raises(error):
                await w.network.dial(HOST, PORT)
            await trio.sleep(4.99)
        await trio.sleep(0.02)
        assert (await w.connect()).status == 101
        assert w.exchange.truth.outcomes() == {kind.value: 2, "accepted": 1}


@pytest.mark.parametrize("kind", [K.BLACK_HOLE, K.DNS_HANG])
async def test_dials_hang(kind: FaultKind, autojump_clock: object) -> None:
    async with world() as w:
        await w.fault(kind, duration=10)
        with trio.move_on_after(1000) as scope:
            await w.network.dial(HOST, PORT)
        assert scope.cancelled_caught
        assert (await w.connect()).status == 101


async def test_without_duration_one_attempt_is_hit_and_with_count_that_many(
    autojump_clock: object,
) -> None:
    async with world() as w:
        await w.fault(K.REFUSED)
        await w.fault(K.HTTP_STATUS, status=503, count=2)
        with pytest.raises(ConnectionRefusedError):
            await w.network.dial(HOST, PORT)
        assert [(await w.connect()).status for _ in range(3)] == [503, 503, 101]


async def test_nobody_is_at_an_unknown_name_or_port(autojump_clock: object) -> None:
    async with world() as w:
        with pytest.raises(socket.gaierror):
            await w.network.dial("nowhere.test", PORT)
        with pytest.raises(ConnectionRefusedError):
            await w.network.dial(HOST, 1)


async def test_faults_of_another_endpoint_do_not_hit(autojump_clock: object) -> None:
    async with world() as w:
        w.board.add([Fault(at=0, endpoint="b", kind=K.REFUSED, duration=100)])
        await trio.sleep(1)
        assert (await w.connect()).status == 101


@pytest.mark.parametrize("endpoint", ["a", "venue", "*"])
async def test_faults_hit_endpoints_venues_or_all(endpoint: str, autojump_clock: object) -> None:
    async with world() as w:
        client = await w.connect()
        w.board.add([Fault(at=1, endpoint=endpoint, kind=K.RST)])
        await client.done.wait()
        assert client.last() == ("reset", None)


# The upgrade


async def test_the_upgrade_is_silent(autojump_clock: object) -> None:
    async with world() as w:
        await w.fault(K.UPGRADE_SILENT)
        client = await w.begin("/ws")
        await trio.sleep(10_000)
        assert (client.received, client.done.is_set()) == (b"", False)


async def test_the_upgrade_drips(autojump_clock: object) -> None:
    async with world() as w:
        start = trio.current_time()
        await w.fault(K.UPGRADE_DRIP, interval=2.0)
        client = await w.connect("/ws")
        assert client.status == 101
        assert trio.current_time() - start == 2.0 * (client.chunks - 1)
        assert client.chunks == len(client.received) > 100


@pytest.mark.parametrize(("kind", "end"), [(K.UPGRADE_FIN, "eof"), (K.UPGRADE_RST, "reset")])
async def test_the_upgrade_is_cut(kind: FaultKind, end: str, autojump_clock: object) -> None:
    async with world() as w:
        await w.fault(kind)
        client = await w.connect("/ws")
        assert client.last() == (end, None)
        assert (client.status, client.received) == (None, b"")


@pytest.mark.parametrize("status", [429, 418, 403, 451, 503])
async def test_the_upgrade_is_refused(status: int, autojump_clock: object) -> None:
    async with world() as w:
        await w.fault(K.HTTP_STATUS, status=status, retry_after=17)
        client = await w.connect("/ws")
        await client.done.wait()
        assert client.status == status
        assert client.headers["retry-after"] == "17"
        assert client.last() == ("eof", None)
        assert w.exchange.truth.outcomes() == {"http_status": 1}


async def test_a_held_refusal_has_no_length_and_no_end(autojump_clock: object) -> None:
    async with world() as w:
        await w.fault(K.HTTP_STATUS, status=429, held=True)
        client = await w.begin("/ws")
        await trio.sleep(1000)
        assert client.received.startswith(b"HTTP/1.1 429 ")
        assert b"content-length" not in client.received.lower()
        assert not client.done.is_set()


async def test_a_redirect(autojump_clock: object) -> None:
    async with world() as w:
        await w.fault(K.REDIRECT, location="wss://elsewhere.test/ws")
        client = await w.connect("/ws")
        await client.done.wait()
        assert (client.status, client.headers["location"]) == (302, "wss://elsewhere.test/ws")


@pytest.mark.parametrize("kind", [K.BAD_ACCEPT, K.NOT_HTTP])
async def test_an_answer_that_is_not_an_upgrade(kind: FaultKind, autojump_clock: object) -> None:
    async with world() as w:
        await w.fault(kind)
        client = await w.connect("/ws")
        assert client.last()[0] == "violation"
        assert client.status is None


# Ends


@pytest.mark.parametrize(("kind", "end"), [(K.FIN, "eof"), (K.RST, "reset"), (K.OUTAGE, "reset")])
async def test_a_live_connection_is_cut(kind: FaultKind, end: str, autojump_clock: object) -> None:
    async with world(rate=5) as w:
        client = await w.connect()
        start = trio.current_time()
        await w.fault(kind, at=7, duration=1 if kind is K.OUTAGE else 0)
        await client.done.wait()
        assert client.last() == (end, None)
        assert client.log[-1].time == start + 7
        assert client.of("close") == []


@pytest.mark.parametrize("code", [1000, 1001, 1008, 1012, 1013])
async def test_a_close_frame_then_fin(code: int, autojump_clock: object) -> None:
    async with world() as w:
        client = await w.connect()
        await w.fault(K.CLOSE, code=code)
        await client.done.wait()
        assert client.of("close") == [(code, "")]
        assert client.last() == ("eof", None)


async def test_a_close_frame_then_tcp_is_held(autojump_clock: object) -> None:
    async with world(rate=5) as w:
        client = await w.connect()
        await w.fault(K.CLOSE_HELD, code=1001)
        await trio.sleep(1000)
        assert client.last() == ("close", (1001, ""))
        assert not client.done.is_set()


async def test_pings_come_while_the_client_closes(autojump_clock: object) -> None:
    async with world(rate=0) as w:
        client = await w.connect()
        await w.fault(K.PING_WHILE_CLOSING)
        client.pongs = False
        await client.send(ws.CloseConnection(1000))
        await client.done.wait()
        assert [entry.kind for entry in client.log] == ["ping", "ping", "close", "eof"]


async def test_the_24_hour_cut_on_demand(autojump_clock: object) -> None:
    async with world() as w:
        client = await w.connect()
        await w.fault(K.LIFETIME)
        await client.done.wait()
        assert client.of("close") == [(1001, "")]


async def test_server_shutdown_is_told_in_the_shape_of_the_connection(
    autojump_clock: object,
) -> None:
    async with world(rate=0) as w:
        raw, combined = await w.connect("/ws"), await w.connect("/stream")
        start = trio.current_time()
        await w.fault(K.SERVER_SHUTDOWN, duration=30, code=1012)
        await raw.done.wait()
        await combined.done.wait()
        event = raw.json()[0]
        assert set(event) == {"e", "E"}
        assert event["e"] == "serverShutdown"
        assert combined.json() == [{"stream": "!serverShutdown", "data": event}]
        for client in (raw, combined):
            assert client.of("close") == [(1012, "")]
            assert client.times("close") == [start + 30]


async def test_an_endpoint_flaps(autojump_clock: object) -> None:
    async with world(rate=5) as w:
        await w.fault(K.FLAPPING, duration=60)
        for _ in range(3):
            client = await w.connect()
            await client.done.wait()
            assert len(client.of("text")) == 1
            assert client.last() == ("eof", None)
        await trio.sleep(60)
        client = await w.connect()
        await trio.sleep(10)
        assert len(client.of("text")) > 10


async def test_a_subscription_is_acknowledged_but_dead(autojump_clock: object) -> None:
    async with world(rate=5) as w:
        await w.fault(K.SUBSCRIBE_DEAD)
        client = await w.connect("/ws")
        await client.ask(method="SUBSCRIBE", params=["btcusdt@trade"], id=1)
        await client.ask(method="LIST_SUBSCRIPTIONS", id=2)
        await trio.sleep(50)
        assert client.json() == [
            {"result": None, "id": 1},
            {"result": ["btcusdt@trade"], "id": 2},
        ]
        assert len(client.of("ping")) == 2


# Silence


async def test_half_open_is_silence_both_ways_and_swallows_writes(autojump_clock: object) -> None:
    async with world(rate=5) as w:
        client = await w.connect()
        await trio.sleep(5)
        seen = len(client.log)
        await w.fault(K.HALF_OPEN)
        for _ in range(10):
            await client.send(ws.Ping(b"anyone?"))
            await trio.sleep(100)
        assert len(client.log) == seen
        assert not client.done.is_set()
        assert (await w.connect()).status == 101  # others are not concerned


async def test_a_pause_of_the_network_delivers_late_and_loses_nothing(
    autojump_clock: object,
) -> None:
    async with world(rate=5) as w:
        client = await w.connect()
        await trio.sleep(5)
        start = trio.current_time()
        await w.fault(K.HALF_OPEN, duration=15)
        await trio.sleep(14.99)
        assert [entry for entry in client.log if entry.time > start] == []
        await trio.sleep(5)
        assert contiguous(ids(client))
        assert client.times("text").count(start + 15) > 30
        assert len(w.exchange.truth.losses) == 0


async def test_data_stalls_while_pings_go_on(autojump_clock: object) -> None:
    async with world(rate=5) as w:
        client = await w.connect()
        await trio.sleep(5)
        seen = len(client.of("text"))
        await w.fault(K.STALL, duration=100)
        await trio.sleep(99.9)
        assert len(client.of("text")) == seen
        assert len(client.of("ping")) == 5
        assert {loss.deed for loss in w.exchange.truth.losses} == {"stalled"}
        await trio.sleep(5)
        assert len(client.of("text")) > seen


async def test_without_duration_data_faults_last_as_long_as_the_connection(
    autojump_clock: object,
) -> None:
    async with world(rate=5) as w:
        stalled = await w.connect()
        await w.fault(K.STALL)
        fresh = await w.connect()
        await trio.sleep(100)
        assert stalled.of("text") == []
        assert len(fresh.of("text")) > 100


async def test_one_symbol_is_silent_while_others_flow(autojump_clock: object) -> None:
    async with world(rate=5) as w:
        client = await w.connect("/stream?streams=btcusdt@trade/ethusdt@trade")
        await w.fault(K.SILENT_SYMBOL, symbol="BTCUSDT")
        await trio.sleep(20)
        assert {message["stream"] for message in client.json()} == {"ethusdt@trade"}


async def test_a_zero_window_blocks_the_clients_writes(autojump_clock: object) -> None:
    async with world(rate=0, limits=Limits(client_messages_per_s=10**6)) as w:
        client = await w.connect(pongs=False)
        await w.fault(K.ZERO_WINDOW, duration=50)
        start = trio.current_time()
        for _ in range(100):
            await client.send(ws.Ping(b"x" * 100))
            await client.send(ws.Message("x" * 8000))
        assert trio.current_time() == start + 50


# Odd bytes


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        (K.GARBAGE, "Invalid opcode"),
        (K.MASKED, "masked frame"),
        (K.RESERVED_BITS, "Reserved bit"),
        (K.BAD_UTF8, "can't decode"),
    ],
)
async def test_frames_that_break_the_protocol(
    kind: FaultKind, said: str, autojump_clock: object
) -> None:
    async with world(rate=0) as w:
        client = await w.connect()
        await w.fault(kind)
        await client.done.wait()
        what, detail = client.last()
        assert what == "violation"
        assert said in detail


async def test_a_binary_frame(autojump_clock: object) -> None:
    async with world(rate=0) as w:
        client = await w.connect()
        await w.fault(K.BINARY)
        assert client.of("binary") == [b"\x00\x01\x02\x03"]


async def test_an_oversize_message(autojump_clock: object) -> None:
    async with world(rate=0) as w:
        client = await w.connect()
        await w.fault(K.OVERSIZE, size=3_000_000)
        await trio.sleep(1)
        assert [len(text) for text in client.of("text")] == [3_000_000]


async def test_an_oversize_claim_is_sent_as_a_header_alone(autojump_clock: object) -> None:
    async with world(rate=0) as w:
        client = await w.connect()
        size = len(client.received)
        await w.fault(K.OVERSIZE, size=1 << 40)
        await trio.sleep(1)
        assert client.received[size:] == b"\x81\x7f" + (1 << 40).to_bytes(8, "big")


async def test_endless_empty_fragments(autojump_clock: object) -> None:
    async with world(rate=5) as w:
        client = await w.connect()
        await w.fault(K.EMPTY_FRAGMENTS, duration=5)
        await trio.sleep(4.9)
        assert client.of("text") == []
        assert len(client.received) > 50_000
        await trio.sleep(5)
        assert client.of("text")[0] == "{}"
        assert contiguous(ids(client))


async def test_fragmented_messages_are_the_same_messages(autojump_clock: object) -> None:
    async with world(rate=5) as w:
        whole = await w.connect("/stream?streams=btcusdt@trade")
        await w.fault(K.FRAGMENTED)
        other = await w.connect("/stream?streams=btcusdt@trade")
        await trio.sleep(10)
        assert whole.of("text") == other.of("text")
        assert len(whole.of("text")) > 20
        assert len(whole.received) > len(other.received)


async def test_every_byte_comes_by_itself(autojump_clock: object) -> None:
    async with world(rate=1, limits=Limits()) as w:
        client = await w.connect()
        chunks = client.chunks
        size = len(client.received)
        await w.fault(K.SEGMENTED)
        await trio.sleep(10)
        assert client.chunks - chunks == len(client.received) - size > 500
        assert contiguous(ids(client))


async def test_a_ping_flood_is_not_held_against_the_client(autojump_clock: object) -> None:
    async with world(rate=0) as w:
        client = await w.connect()
        await w.fault(K.PING_FLOOD, count=500)
        await trio.sleep(1)
        assert len(client.of("ping")) == 500
        assert len(set(client.of("ping"))) == 500
        pongs = [m for m in w.exchange.truth.client_messages if m.type == "pong"]
        assert len(pongs) == 500
        assert not client.done.is_set()


@pytest.mark.parametrize(
    ("kind", "check"),
    [
        (K.BAD_JSON, lambda text: text.endswith('"e":"trade",')),
        (K.DEEP_JSON, lambda text: text.startswith("[" * 10_000)),
        (K.HUGE_NUMBER, lambda text: "9" * 400 in text),
        (K.WRONG_TYPES, lambda text: json.loads(text)["data"]["t"] == "one"),
        (K.UNKNOWN_EVENT, lambda text: json.loads(text)["data"]["e"] == "somethingNew"),
    ],
)
async def test_odd_messages(kind: FaultKind, check: Any, autojump_clock: object) -> None:
    async with world(rate=0) as w:
        client = await w.connect()
        await w.fault(kind)
        (text,) = client.of("text")
        assert check(text)


# The venue's own losses


async def lossy(w: World, kind: FaultKind, **details: Any) -> tuple[list[int], list[int]]:
    """Ids seen with and without the fault."""
    client = await w.connect()
    await w.fault(kind, **details)
    control = await w.connect()
    await trio.sleep(60)
    return ids(client), ids(control)


async def test_dropped_messages_are_missing_here_and_known(autojump_clock: object) -> None:
    async with world(rate=5) as w:
        got, every = await lossy(w, K.DROPPED, share=0.2)
        missing = sorted(set(every) - set(got))
        assert got == sorted(got)
        assert 0.1 < len(missing) / len(every) < 0.3
        assert [loss.first for loss in w.exchange.truth.losses] == missing


async def test_duplicates_follow_each_other(autojump_clock: object) -> None:
    async with world(rate=5) as w:
        got, every = await lossy(w, K.DUPLICATED, share=0.2)
        twice = [loss.first for loss in w.exchange.truth.losses]
        assert got == sorted(every + twice)
        assert 0.1 < len(twice) / len(every) < 0.3


async def test_reordered_messages_come_one_later(autojump_clock: object) -> None:
    async with world(rate=5) as w:
        got, every = await lossy(w, K.REORDERED, share=0.2)
        assert got != sorted(got)
        assert set(every) - set(got) <= {every[-1]}
        assert all(abs(got.index(number) - every.index(number)) <= 1 for number in got)


async def test_faults_of_one_symbol_spare_the_others(autojump_clock: object) -> None:
    async with world(rate=5) as w:
        client = await w.connect("/stream?streams=btcusdt@trade/ethusdt@trade")
        await w.fault(K.DROPPED, symbol="ethusdt")
        await trio.sleep(10)
        assert {message["stream"] for message in client.json()} == {"btcusdt@trade"}


async def test_a_burst(autojump_clock: object) -> None:
    async with world(rate=0) as w:
        client = await w.connect("/stream?streams=btcusdt@aggTrade/ethusdt@aggTrade")
        await w.fault(K.BURST, count=500, symbol="ETHUSDT")
        await trio.sleep(1)
        assert len(client.of("text")) >= 500
        assert {message["stream"] for message in client.json()} == {"ethusdt@aggTrade"}


async def test_ids_jump_by_millions(autojump_clock: object) -> None:
    async with world(rate=5) as w:
        client = await w.connect()
        await w.fault(K.IDS_JUMP, at=5, by=3_000_000)
        await trio.sleep(10)
        (one, other) = w.exchange.truth.ranges("btcusdt@trade")
        assert other[0] - one[1] == 3_000_001
        assert ids(client) == [*range(one[0], one[1] + 1), *range(other[0], other[1] + 1)]


# REST


async def get(w: World, path: str, **options: Any) -> httpx2.Response:
    async with httpx2.AsyncClient(transport=w.network.rest_transport(), **options) as client:
        return await client.get(f"https://{HOST}/api/v3/{path}")


async def rest_fault(w: World, kind: FaultKind, **details: Any) -> None:
    w.board.add([Fault(at=0, endpoint="rest", kind=kind, **details)])
    await trio.testing.wait_all_tasks_blocked()


@pytest.mark.parametrize("status", [500, 503, 429, 418])
async def test_rest_answers_with_errors(status: int, autojump_clock: object) -> None:
    async with world() as w:
        await rest_fault(w, K.REST_STATUS, status=status, retry_after=9, count=2)
        for _ in range(2):
            answer = await get(w, "time")
            assert (answer.status_code, answer.headers["Retry-After"]) == (status, "9")
        assert (await get(w, "time")).status_code == 200


async def test_rest_hangs_until_the_client_gives_up(autojump_clock: object) -> None:
    async with world() as w:
        await rest_fault(w, K.REST_HANG)
        start = trio.current_time()
        with pytest.raises(httpx2.ReadTimeout):
            await get(w, "time", timeout=httpx2.Timeout(7.0))
        assert trio.current_time() == start + 7


async def test_rest_is_refused(autojump_clock: object) -> None:
    async with world() as w:
        await rest_fault(w, K.REST_REFUSED)
        with pytest.raises(httpx2.ConnectError):
            await get(w, "time")
        assert (await get(w, "time")).status_code == 200


async def test_rest_is_a_black_hole_until_the_client_gives_up(autojump_clock: object) -> None:
    async with world() as w:
        await rest_fault(w, K.BLACK_HOLE)
        start = trio.current_time()
        with pytest.raises(httpx2.ConnectTimeout):
            await get(w, "time", timeout=httpx2.Timeout(3.0))
        assert trio.current_time() == start + 3


@pytest.mark.parametrize("path", ["aggTrades", "historicalTrades"])
@pytest.mark.parametrize("kind", [K.REST_TRUNCATED, K.REST_HOLES, K.REST_SHORT, K.REST_UNORDERED])
async def test_rest_rows_are_incomplete(kind: FaultKind, path: str, autojump_clock: object) -> None:
    async with world(rate=5) as w:
        await trio.sleep(60)
        stream = "btcusdt@aggTrade" if path == "aggTrades" else "btcusdt@trade"
        first, last = w.exchange.truth.ranges(stream)[0]
        await rest_fault(w, kind, size=4)
        key = "a" if path == "aggTrades" else "id"
        url = f"{path}?symbol=BTCUSDT&fromId={first}&limit=1000"
        got = [row[key] for row in (await get(w, url)).json()]
        every = list(range(first, last + 1))
        match kind:
            case K.REST_TRUNCATED:
                assert got == every[-4:]
            case K.REST_SHORT:
                assert got == every[:4]
            case K.REST_UNORDERED:
                assert got == every[::-1]
            case _:
                assert got == sorted(got)
                assert 0.7 < len(got) / len(every) < 0.95
        assert [row[key] for row in (await get(w, url)).json()] == every


# Faults as data


def test_a_schedule_is_a_json_file(tmp_path: Path) -> None:
    path = tmp_path / "faults.json"
    path.write_text(
        '[{"at": 10, "endpoint": "a", "kind": "http_status", "status": 451},'
        ' {"at": 20.5, "endpoint": "*", "kind": "stall", "duration": 30}]'
    )
    assert load_faults(path) == [
        Fault(at=10, endpoint="a", kind=K.HTTP_STATUS, status=451),
        Fault(at=20.5, endpoint="*", kind=K.STALL, duration=30),
    ]


@pytest.mark.parametrize(
    "text",
    [
        '{"at": 1, "endpoint": "a", "kind": "nonsense"}',
        '{"at": 1, "endpoint": "a"}',
        '{"at": 1, "endpoint": "a", "kind": "fin", "colour": "red"}',
        '{"at": "soon", "endpoint": "a", "kind": "fin"}',
        '{"at": -1, "endpoint": "a", "kind": "fin"}',
        '{"at": 1, "endpoint": "a", "kind": "stall", "share": 2}',
        '{"at": 1, "endpoint": "a", "kind": "http_status", "status": 7}',
    ],
)
def test_a_bad_fault_is_refused(text: str) -> None:
    with pytest.raises(msgspec.ValidationError):
        parse_faults(text)


def test_drawn_schedules_are_seeded_and_inside_the_horizon() -> None:
    def draw(seed: int) -> list[Fault]:
        return draw_schedule(random.Random(seed), ["a", "b"], 36_000, rest=["rest"])

    faults = draw(1)
    assert faults == draw(1) != draw(2)
    assert len(faults) > 200
    assert all(0 <= fault.at < 36_000 for fault in faults)
    assert [fault.at for fault in faults] == sorted(fault.at for fault in faults)
    assert len({fault.kind for fault in faults}) > 30
    for fault in faults:
        assert (fault.endpoint == "rest") == fault.kind.startswith("rest_")
    without_rest = draw_schedule(random.Random(1), ["a"], 36_000)
    assert not any(fault.kind.startswith("rest_") for fault in without_rest)


async def test_the_exchange_survives_any_drawn_schedule(autojump_clock: object) -> None:
    faults = draw_schedule(
        random.Random(7), ["a"], 900, mean_interval_s=5, kinds=list(FaultKind), rest=["rest"]
    )
    async with world(rate=1, schedule=tuple(faults)) as w:
        with trio.move_on_after(900):
            while True:
                with trio.move_on_after(20), contextlib.suppress(OSError):
                    client = await w.begin("/stream?streams=btcusdt@trade/ethusdt@depth")
                    with trio.move_on_after(10):
                        await client.done.wait()
                    await trio.aclose_forcefully(client.stream)
                await trio.sleep(1)
        outcomes = w.exchange.truth.outcomes()
        assert outcomes["accepted"] > 30
        assert len(outcomes) > 10
        await trio.sleep(10)
        assert (await w.connect()).status == 101


async def test_faults_can_be_posted_and_read_over_http(autojump_clock: object) -> None:
    async with world(rate=5) as w:
        client = await w.connect()
        async with httpx2.AsyncClient(
            transport=w.network.rest_transport(), base_url=f"https://{HOST}/simulator/"
        ) as http:
            fault = {"at": 5, "endpoint": "a", "kind": "rst"}
            window = {"at": 0, "endpoint": "a", "kind": "refused", "duration": 100}
            assert (await http.post("faults", json=[fault, window])).json() == {"added": 2}
            await trio.testing.wait_all_tasks_blocked()
            listed = (await http.get("faults")).json()
            assert [item["kind"] for item in listed["pending"]] == ["rst"]
            assert [item["kind"] for item in listed["active"]] == ["refused"]
            bad = await http.post("faults", json={"kind": "nonsense"})
            assert bad.status_code == 400
            start = trio.current_time()
            await client.done.wait()
            assert client.log[-1].time == start + 5
            await trio.testing.wait_all_tasks_blocked()
            truth = (await http.get("truth")).json()
            assert truth["endings"] == {"rst": 1}
            assert truth["openConnections"] == 0


# Real sockets


async def real(nursery: trio.Nursery, *, tls: bool = False) -> tuple[Any, str, int]:
    config = ServeConfig(
        endpoints=(EndpointConfig("a", tls=tls),), rest=(), rate=100, limits=Limits()
    )
    running = await nursery.start(serve, config)
    url = running.websocket_urls["a"]
    return running, url, int(url.rpartition(":")[2])


async def begin(nursery: trio.Nursery, port: int) -> Client:
    client = Client(await trio.open_tcp_stream("127.0.0.1", port))
    nursery.start_soon(client.run, "/stream?streams=btcusdt@trade")
    await client.upgraded.wait()
    return client


@pytest.mark.parametrize(
    ("kind", "end"), [(K.RST, "reset"), (K.FIN, "eof"), (K.CLOSE, "eof"), (K.GARBAGE, "violation")]
)
async def test_a_real_connection_ends_as_the_fault_says(kind: FaultKind, end: str) -> None:
    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            running, _, port = await real(nursery)
            client = await begin(nursery, port)
            running.faults.add([Fault(at=0.2, endpoint="a", kind=kind)])
            await client.done.wait()
            assert client.log[-1].kind == end
            assert contiguous(ids(client))
            nursery.cancel_scope.cancel()


async def test_a_real_port_refuses_and_reopens() -> None:
    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            running, _, port = await real(nursery)
            running.faults.add([Fault(at=0, endpoint="a", kind=K.REFUSED, duration=0.5)])
            await trio.sleep(0.1)
            for _ in range(3):
                with pytest.raises(OSError, match=r"attempts to connect|refused"):
                    await trio.open_tcp_stream("127.0.0.1", port)
            await trio.sleep(0.6)
            assert (await begin(nursery, port)).status == 101
            nursery.cancel_scope.cancel()


async def test_a_real_port_swallows_dials_and_recovers() -> None:
    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            running, _, port = await real(nursery)
            running.faults.add([Fault(at=0, endpoint="a", kind=K.BLACK_HOLE, duration=1.0)])
            await trio.sleep(0.1)
            with trio.move_on_after(0.5) as scope:
                await trio.open_tcp_stream("127.0.0.1", port)
            assert scope.cancelled_caught
            await trio.sleep(0.6)
            assert (await begin(nursery, port)).status == 101
            nursery.cancel_scope.cancel()


async def test_a_real_half_open_connection_is_silent_and_open() -> None:
    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            running, _, port = await real(nursery)
            client = await begin(nursery, port)
            await trio.sleep(0.2)
            running.faults.add([Fault(at=0, endpoint="a", kind=K.HALF_OPEN)])
            await trio.sleep(0.2)
            seen = len(client.log)
            await client.send(ws.Ping(b""))
            await trio.sleep(0.5)
            assert len(client.log) == seen > 5
            assert not client.done.is_set()
            nursery.cancel_scope.cancel()


@pytest.mark.parametrize(("kind", "end"), [(K.RST, "reset"), (K.FIN, "reset"), (K.CLOSE, "eof")])
async def test_a_tls_connection_ends_as_the_fault_says(
    kind: FaultKind, end: str, tmp_path: Path
) -> None:
    ca_path = tmp_path / "ca.pem"
    config = ServeConfig(
        endpoints=(EndpointConfig("a", tls=True),), rest=(), rate=100, ca_path=ca_path
    )
    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            running = await nursery.start(serve, config)
            context = ssl.create_default_context(cafile=str(ca_path))
            port = int(running.websocket_urls["a"].rpartition(":")[2])
            # Strict about the end of TLS: a bare FIN is a truncation, and not an end.
            client = Client(
                await trio.open_ssl_over_tcp_stream("127.0.0.1", port, ssl_context=context)
            )
            nursery.start_soon(client.run, "/stream?streams=btcusdt@trade")
            await client.upgraded.wait()
            running.faults.add([Fault(at=0.1, endpoint="a", kind=kind)])
            await client.done.wait()
            assert client.log[-1].kind == end
            assert client.of("close") == ([(1001, "")] if kind is K.CLOSE else [])
            assert contiguous(ids(client))
            nursery.cancel_scope.cancel()


def test_jumped_ids_are_still_found_by_rest() -> None:
    market = Market(["BTCUSDT"], rate=10)
    market.advance(market.start_us + 10_000_000)
    market.jump_ids(1_000_000)
    market.advance(market.start_us + 20_000_000)
    symbol = market.symbols["BTCUSDT"]
    (_, (first, last)) = symbol.trade_ids.ranges
    assert [trade.id for trade in symbol.trades.since(first - 500_000, 10)] == list(
        range(first, first + 10)
    )
    assert last > first + 10
