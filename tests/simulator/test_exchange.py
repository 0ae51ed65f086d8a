"""The simulated exchange keeps the exchange's rules: control, limits, pings, REST, truth."""

from __future__ import annotations

import json
import ssl
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

import httpx2
import pytest
import trio
import trio.testing
import trio_websocket
import wsproto.events as ws
from raw_client import HOST, World, world

from k2trio.simulator import (
    EPOCH_MS,
    EndpointConfig,
    Limits,
    RestConfig,
    RestLimits,
    ServeConfig,
    serve,
)

if TYPE_CHECKING:
    from pathlib import Path

TRADES = "/stream?streams=btcusdt@trade"


# URLs


@pytest.mark.parametrize(
    ("target", "streams", "combined"),
    [
        ("/ws/btcusdt@trade", {"btcusdt@trade"}, False),
        ("/ws/btcusdt@trade/ethusdt@trade", {"btcusdt@trade", "ethusdt@trade"}, False),
        ("/stream?streams=btcusdt@trade/ethusdt@trade", {"btcusdt@trade", "ethusdt@trade"}, True),
        ("/stream?streams=btcusdt%40trade", {"btcusdt@trade"}, True),
        ("/ws/btcusdt%40trade", {"btcusdt@trade"}, False),
        ("/stream", set(), True),
        ("/ws", set(), False),
        ("/ws/0", set(), False),
    ],
)  # fmt: skip
async def test_urls_choose_streams_and_shape(
    target: str, streams: set[str], combined: bool, autojump_clock: object
) -> None:
    async with world(rate=5) as w:
        client = await w.connect(target)
        await trio.sleep(10)
        messages = client.json()
        if combined:
            assert {message["stream"] for message in messages} == streams
        else:
            assert {f"{m['s'].lower()}@{m['e']}" for m in messages} == streams


@pytest.mark.parametrize(
    ("target", "status"),
    [
        ("/", 404),
        ("/wss/btcusdt@trade", 404),
        ("/ws/dogeusdt@trade", 400),
        ("/stream?streams=btcusdt@nonsense", 400),
    ],
)
async def test_urls_that_are_refused(target: str, status: int, autojump_clock: object) -> None:
    async with world() as w:
        client = await w.connect(target)
        await client.done.wait()
        assert client.status == status
        assert w.exchange.truth.outcomes() == {f"http_{status}": 1}


async def test_unknown_symbols_are_silent_where_the_rule_is_the_exchanges_own(
    autojump_clock: object,
) -> None:
    async with world(rate=5, strict_symbols=False) as w:
        client = await w.connect("/ws/dogeusdt@trade")
        await trio.sleep(10)
        assert client.status == 101
        assert client.of("text") == []


async def test_a_non_ascii_symbol_is_percent_encoded_in_the_url(autojump_clock: object) -> None:
    async with world(rate=0) as w:
        client = await w.connect("/stream?streams=%E5%B8%81usdt@trade")
        await client.done.wait()
        assert client.status == 400  # decoded, and unknown here


async def test_microseconds_by_url(autojump_clock: object) -> None:
    async with world(rate=5) as w:
        fine = await w.connect("/ws/btcusdt@trade?timeUnit=MICROSECOND")
        coarse = await w.connect("/ws/btcusdt@trade")
        await trio.sleep(10)
        assert len(fine.json()) > 20
        assert [m["T"] // 1000 for m in fine.json()] == [m["T"] for m in coarse.json()]
        assert all(m["T"] > EPOCH_MS * 1000 for m in fine.json())


async def test_a_quiet_markets_messages_come_at_the_exact_time_of_their_event(
    autojump_clock: object,
) -> None:
    async with world(rate=0.5) as w:
        start = trio.current_time()
        client = await w.connect("/ws/btcusdt@trade?timeUnit=MICROSECOND")
        await trio.sleep(100)
        texts = [entry for entry in client.log if entry.kind == "text"]
        assert len(texts) > 30
        lags = [
            entry.time - start - (json.loads(entry.value)["T"] - EPOCH_MS * 1000) / 1e6
            for entry in texts
        ]
        assert max(lags) <= 0.01 + 1e-6
        assert sorted(lags)[len(lags) // 2] == pytest.approx(0, abs=1e-6)


# Control messages


CONTROL = [
    ({"method": "SUBSCRIBE", "params": ["btcusdt@trade"], "id": 1}, {"result": None, "id": 1}),
    ({"method": "UNSUBSCRIBE", "params": ["btcusdt@trade"], "id": 9}, {"result": None, "id": 9}),
    ({"method": "LIST_SUBSCRIPTIONS", "id": 3}, {"result": ["ethusdt@trade"], "id": 3}),
    ({"method": "GET_PROPERTY", "params": ["combined"], "id": 2}, {"result": True, "id": 2}),
    ({"method": "SET_PROPERTY", "params": ["combined", False], "id": 5}, {"result": None, "id": 5}),
    (
        {"method": "GET_PROPERTY", "params": ["colour"], "id": 2},
        {"code": 0, "msg": "Unknown property", "id": 2},
    ),
    (
        {"method": "SET_PROPERTY", "params": ["combined", "yes"], "id": 2},
        {"code": 1, "msg": "Invalid value type: expected Boolean", "id": 2},
    ),
    (
        {"method": "SET_PROPERTY", "params": [7, True], "id": 2},
        {"code": 2, "msg": "Invalid request: property name must be a string", "id": 2},
    ),
    (
        {"method": "SET_PROPERTY", "params": ["combined", True, 1], "id": 2},
        {"code": 2, "msg": "Invalid request: too many parameters", "id": 2},
    ),
    (
        {"method": "SUBSCRIBE", "params": ["dogeusdt@trade"], "id": 2},
        {"code": 2, "msg": "Invalid request: unknown symbol DOGEUSDT", "id": 2},
    ),
    (
        {"method": "SUBSCRIBE", "params": "btcusdt@trade", "id": 2},
        {"code": 2, "msg": "Invalid request: params must be a list of strings", "id": 2},
    ),
    (
        {"method": "SUBSCRIBE", "params": ["btcusdt@trade"], "id": -2},
        {"code": 2, "msg": "Invalid request: request ID must be an unsigned integer", "id": None},
    ),
    (
        {"params": ["btcusdt@trade"], "id": 2},
        {"code": 2, "msg": "Invalid request: missing field method at line 1 column 38", "id": 2},
    ),
]  # fmt: skip


@pytest.mark.parametrize(("request_", "reply"), CONTROL)
async def test_control_messages_get_their_documented_answers(
    request_: dict[str, Any], reply: dict[str, Any], autojump_clock: object
) -> None:
    async with world(rate=0) as w:
        client = await w.connect("/stream?streams=ethusdt@trade")
        await client.ask(**request_)
        await trio.sleep(0.1)
        assert client.json() == [reply]


async def test_an_unknown_method_and_bad_json(autojump_clock: object) -> None:
    async with world(rate=0) as w:
        client = await w.connect("/ws")
        await client.ask(method="DANCE", id=1)
        await client.send(ws.Message('{"method":'))
        await client.send(ws.Message("[1]"))
        await trio.sleep(0.1)
        unknown, bad, array = client.json()
        assert unknown["msg"].startswith(
            "Invalid request: unknown variant DANCE, expected one of SUBSCRIBE, UNSUBSCRIBE, "
            "LIST_SUBSCRIPTIONS, SET_PROPERTY, GET_PROPERTY at line 1 column "
        )
        assert (unknown["code"], unknown["id"]) == (2, 1)
        assert (bad["code"], bad["id"]) == (3, None)
        assert bad["msg"].startswith("Invalid JSON: expected value at line 1 column ")
        assert array["code"] == 2
        assert w.exchange.truth.refused_controls == {2: 2, 3: 1}


async def test_errors_can_be_wrapped(autojump_clock: object) -> None:
    async with world(rate=0, wrapped_errors=True) as w:
        client = await w.connect("/ws")
        await client.ask(method="GET_PROPERTY", params=["colour"], id=9)
        await trio.sleep(0.1)
        assert client.json() == [{"error": {"code": 0, "msg": "Unknown property"}, "id": 9}]


async def test_subscriptions_change_what_flows(autojump_clock: object) -> None:
    async with world(rate=5) as w:
        client = await w.connect("/ws")
        await trio.sleep(5)
        assert client.of("text") == []
        await client.ask(method="SUBSCRIBE", params=["btcusdt@trade"], id=1)
        await trio.sleep(5)
        flowing = len(client.of("text"))
        assert flowing > 10
        await client.ask(method="UNSUBSCRIBE", params=["btcusdt@trade"], id=2)
        await trio.sleep(0.01)
        stopped = len(client.of("text"))
        await trio.sleep(5)
        assert len(client.of("text")) == stopped
        await client.ask(method="SUBSCRIBE", params=["btcusdt@trade"], id=3)
        await client.ask(method="SET_PROPERTY", params=["combined", True], id=4)
        await trio.sleep(5)
        assert client.json()[-1]["stream"] == "btcusdt@trade"


async def test_1024_streams_are_the_most_of_a_connection(autojump_clock: object) -> None:
    async with world(rate=0, limits=Limits(streams=3)) as w:
        client = await w.connect("/ws")
        three = ["btcusdt@trade", "btcusdt@depth", "ethusdt@trade"]
        await client.ask(method="SUBSCRIBE", params=three, id=1)
        await client.ask(method="SUBSCRIBE", params=["ethusdt@depth"], id=2)
        await client.ask(method="LIST_SUBSCRIPTIONS", id=3)
        await trio.sleep(0.1)
        accepted, refused, listed = client.json()
        assert accepted == {"result": None, "id": 1}
        assert (refused["code"], refused["id"]) == (4, 2)
        assert listed["result"] == three
    assert Limits().streams == 1024


# Limits and deadlines


async def test_the_sixth_client_message_in_a_second_disconnects(autojump_clock: object) -> None:
    async with world(rate=0) as w:
        client = await w.connect("/ws")
        for number in range(5):
            await client.ask(method="LIST_SUBSCRIPTIONS", id=number)
        await trio.sleep(1.0)
        for _ in range(5):
            await client.send(ws.Ping(b""))
        await trio.sleep(0.999)
        assert client.of("close") == []
        await client.send(ws.Pong(b""))
        await client.done.wait()
        assert client.of("close") == [(1008, "Too many requests")]
        types = [message.type for message in w.exchange.truth.client_messages]
        assert types == ["text"] * 5 + ["ping"] * 5 + ["pong", "close"]


async def test_300_connects_in_five_minutes_then_429_with_the_exact_wait(
    autojump_clock: object,
) -> None:
    async with world(rate=0) as w:
        start = trio.current_time()
        for _ in range(300):
            await w.connect("/ws")
        await trio.sleep(100)
        refused = await w.connect("/ws")
        assert (refused.status, refused.headers["retry-after"]) == (429, "200")
        await trio.sleep_until(start + 300)
        assert (await w.connect("/ws")).status == 101
        assert w.exchange.truth.outcomes() == {"accepted": 301, "http_429": 1}
        assert w.exchange.truth.open_connections == 301


async def test_pings_every_20_s_keep_an_answering_client(autojump_clock: object) -> None:
    async with world(rate=0) as w:
        start = trio.current_time()
        client = await w.connect("/ws")
        await trio.sleep(200.1)
        assert [time - start for time in client.times("ping")] == [20.0 * n for n in range(1, 11)]
        assert client.of("ping")[0] == str(EPOCH_MS + 20_000).encode()
        assert not client.done.is_set()


async def test_a_client_that_does_not_pong_is_dropped_60_s_after_the_first_ping(
    autojump_clock: object,
) -> None:
    async with world(rate=0) as w:
        start = trio.current_time()
        client = await w.connect("/ws", pongs=False)
        await client.send(ws.Pong(b"not an answer"))
        await client.done.wait()
        assert client.of("close") == [(1008, "Pong timeout")]
        assert client.times("close") == [start + 80.0]


async def test_a_connection_lives_24_hours(autojump_clock: object) -> None:
    async with world(rate=0) as w:
        start = trio.current_time()
        client = await w.connect("/ws")
        await client.done.wait()
        assert client.times("close") == [start + 86_400.0]
        assert client.log[-1].kind == "eof"
        await trio.testing.wait_all_tasks_blocked()
        assert [ending.cause for ending in w.exchange.truth.endings] == ["lifetime"]


async def test_a_slow_reader_is_cut_off_at_the_bound(autojump_clock: object) -> None:
    async with world(rate=50, limits=Limits(buffer_bytes=100_000)) as w:
        stream = await w.network.dial(HOST, 9443)
        request = (
            b"GET /ws/btcusdt@trade HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n"
            b"Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
            b"Sec-WebSocket-Version: 13\r\n\r\n"
        )
        await stream.send_all(request)
        await trio.sleep(60)
        assert [ending.cause for ending in w.exchange.truth.endings] == ["slow reader"]
        left = 0
        with pytest.raises(trio.BrokenResourceError):  # noqa: PT012 - reads up to the reset
            while True:
                left += len(await stream.receive_some())
        assert left > 200_000


async def test_a_client_that_says_nothing_is_dropped(autojump_clock: object) -> None:
    async with world(rate=0) as w:
        start = trio.current_time()
        stream = await w.network.dial(HOST, 9443)
        assert await stream.receive_some() == b""
        assert trio.current_time() == start + Limits().upgrade_timeout_s


async def test_a_client_close_is_answered_with_its_code(autojump_clock: object) -> None:
    async with world(rate=5) as w:
        client = await w.connect()
        await client.send(ws.CloseConnection(1000))
        await client.done.wait()
        assert client.of("close") == [(1000, "")]
        assert client.log[-1].kind == "eof"


# Truth


async def test_what_is_delivered_without_faults_is_what_was_emitted(
    autojump_clock: object,
) -> None:
    async with world(rate=20) as w:
        names = ["btcusdt@trade", "btcusdt@aggTrade", "btcusdt@depth@100ms", "btcusdt@kline_1m"]
        client = await w.connect("/stream?streams=" + "/".join(names))
        await trio.sleep(130)
        truth = w.exchange.truth
        got: dict[str, list[Any]] = {name: [] for name in names}
        for text in client.of("text"):
            got[json.loads(text)["stream"]].append(text)
        for name in names:
            assert len(got[name]) == truth.emitted[name].count > 0
        keys = {"btcusdt@trade": "t", "btcusdt@aggTrade": "a", "btcusdt@depth@100ms": "u"}
        for name, key in keys.items():
            first = json.loads(got[name][0])["data"]
            last = json.loads(got[name][-1])["data"]
            low = first["U"] if "U" in first else first[key]
            assert truth.ranges(name) == [(low, last[key])]
            payload = truth.payload(name, last[key])
            assert payload is not None
            assert got[name][-1] == f'{{"stream":"{name}","data":{payload.decode()}}}'
        closed = [
            m["data"]["k"]["t"] for m in map(json.loads, got[names[3]]) if m["data"]["k"]["x"]
        ]
        assert closed == list(truth.emitted[names[3]].closed_bars) == [EPOCH_MS, EPOCH_MS + 60_000]


async def test_trades_are_known_from_the_start_and_recorded_streams_as_well(
    autojump_clock: object,
) -> None:
    async with world(rate=5, record=["btcusdt@depth"]) as w:
        await trio.sleep(20.05)
        trades = w.exchange.market.symbols["BTCUSDT"].trades.records
        assert w.exchange.truth.ranges("btcusdt@trade") == [(trades[0].id, trades[-1].id)]
        assert w.exchange.truth.emitted["btcusdt@depth"].count == 20


async def bytes_of_a_run(seed: int) -> bytes:
    async with world(rate=5, seed=seed, latency_s=0.03) as w:
        client = await w.connect("/stream?streams=btcusdt@trade/btcusdt@depth/!miniTicker@arr")
        await trio.sleep(60)
        return client.received.partition(b"\r\n\r\n")[2]  # the head answers a random key


def test_the_same_seed_sends_the_same_bytes() -> None:
    runs = [
        trio.run(bytes_of_a_run, seed, clock=trio.testing.MockClock(autojump_threshold=0))
        for seed in (1, 1, 2)
    ]
    assert runs[0] == runs[1]
    assert runs[0] != runs[2]
    assert len(runs[0]) > 50_000


# REST


async def get(w: World, path: str, **params: Any) -> httpx2.Response:
    async with httpx2.AsyncClient(transport=w.network.rest_transport()) as client:
        return await client.get(f"https://{HOST}/api/v3/{path}", params=params)


async def test_aggregate_trades_can_be_paged_by_id(autojump_clock: object) -> None:
    async with world(rate=50) as w:
        await trio.sleep(60)
        (span,) = w.exchange.truth.ranges("btcusdt@aggTrade")
        rows: list[dict[str, Any]] = []
        while not rows or rows[-1]["a"] < span[1]:
            start = rows[-1]["a"] + 1 if rows else span[0]
            answer = await get(w, "aggTrades", symbol="BTCUSDT", fromId=start, limit=1000)
            page = answer.json()
            assert 0 < len(page) <= 1000
            rows += page
        assert [row["a"] for row in rows] == list(range(span[0], span[1] + 1))
        assert list(rows[0]) == ["a", "p", "q", "f", "l", "T", "m", "M"]
        live = json.loads(w.exchange.truth.payload("btcusdt@aggTrade", span[1]) or b"")
        assert rows[-1] == {key: live[key] for key in rows[-1]}
        assert answer.headers["X-MBX-USED-WEIGHT-1M"] == str(4 * (len(w.rest.requests)))


async def test_historical_trades_are_the_live_ones(autojump_clock: object) -> None:
    async with world(rate=10) as w:
        await trio.sleep(30)
        (span,) = w.exchange.truth.ranges("btcusdt@trade")
        rows = (await get(w, "historicalTrades", symbol="BTCUSDT", fromId=span[0] + 5)).json()
        assert [row["id"] for row in rows] == list(range(span[0] + 5, span[1] + 1))[:500]
        live = json.loads(w.exchange.truth.payload("btcusdt@trade", rows[0]["id"]) or b"")
        assert (rows[0]["price"], rows[0]["qty"], rows[0]["time"], rows[0]["isBuyerMaker"]) == (
            live["p"],
            live["q"],
            live["T"],
            live["m"],
        )
        recent = (await get(w, "trades", symbol="BTCUSDT", limit=3)).json()
        assert [row["id"] for row in recent] == [span[1] - 2, span[1] - 1, span[1]]


async def test_historical_block_trades_are_the_live_ones(autojump_clock: object) -> None:
    async with world(rate=100) as w:
        await trio.sleep(60)
        ((first, last),) = w.exchange.truth.ranges("btcusdt@blockTrade")
        answer = await get(w, "historicalBlockTrades", symbol="BTCUSDT", fromId=first + 1)
        rows = answer.json()
        assert [row["id"] for row in rows] == list(range(first + 1, last + 1))
        assert answer.headers["X-MBX-USED-WEIGHT-1M"] == "25"
        live = json.loads(w.exchange.truth.payload("btcusdt@blockTrade", last) or b"")
        assert list(rows[-1]) == ["id", "price", "qty", "quoteQty", "time", "isBuyerMaker"]
        assert [rows[-1][key] for key in ("price", "qty", "time", "isBuyerMaker")] == [
            live[key] for key in "pqTm"
        ]
        refused = await get(w, "historicalBlockTrades", symbol="BTCUSDT")
        assert (refused.status_code, refused.json()["code"]) == (400, -1102)


async def test_aggregate_trades_by_time(autojump_clock: object) -> None:
    async with world(rate=10) as w:
        await trio.sleep(30)
        bounds = {"startTime": EPOCH_MS + 5000, "endTime": EPOCH_MS + 9999}
        rows = (await get(w, "aggTrades", symbol="BTCUSDT", limit=1000, **bounds)).json()
        every = w.exchange.market.symbols["BTCUSDT"].agg_trades.records
        low, high = EPOCH_MS * 1000 + 5_000_000, EPOCH_MS * 1000 + 10_000_000
        wanted = [record.id for record in every if low <= record.time_us < high]
        assert len(wanted) > 20
        assert [row["a"] for row in rows] == wanted


async def test_klines_over_rest_equal_the_stream(autojump_clock: object) -> None:
    async with world(rate=0.05) as w:
        client = await w.connect("/ws/btcusdt@kline_1m")
        await trio.sleep(600.05)
        span = {"startTime": EPOCH_MS, "endTime": EPOCH_MS + 599_999}
        rows = (await get(w, "klines", symbol="BTCUSDT", interval="1m", **span)).json()
        closed = [m["k"] for m in client.json() if m["k"]["x"]]
        assert len(closed) == 10
        assert rows == [[bar[key] for key in "tohlcvTqnVQB"] for bar in closed]
        newest = (await get(w, "klines", symbol="BTCUSDT", interval="1m", limit=2)).json()
        assert [row[0] for row in newest] == [EPOCH_MS + 540_000, EPOCH_MS + 600_000]


async def test_a_snapshot_and_the_diffs_after_it_give_the_book(autojump_clock: object) -> None:
    async with world(rate=5) as w:
        client = await w.connect("/ws/btcusdt@depth@100ms")
        await trio.sleep(5.05)
        snapshot = (await get(w, "depth", symbol="BTCUSDT", limit=5000)).json()
        await trio.sleep(20)
        book = {side: dict(snapshot[name]) for side, name in (("b", "bids"), ("a", "asks"))}
        last = snapshot["lastUpdateId"]
        events = [event for event in client.json() if event["u"] > last]
        assert events[0]["U"] <= last + 1
        for event in events:
            for side in ("b", "a"):
                book[side] |= dict(event[side])
        now = (await get(w, "depth", symbol="BTCUSDT", limit=5000)).json()
        assert now["lastUpdateId"] == events[-1]["u"]
        for side, name in (("b", "bids"), ("a", "asks")):
            left = {price: size for price, size in book[side].items() if float(size)}
            assert left == dict(now[name])


@pytest.mark.parametrize(
    ("path", "params", "weight"),
    [
        ("aggTrades", {"symbol": "BTCUSDT"}, 4),
        ("historicalTrades", {"symbol": "BTCUSDT"}, 25),
        ("trades", {"symbol": "BTCUSDT"}, 25),
        ("klines", {"symbol": "BTCUSDT", "interval": "1m"}, 2),
        ("depth", {"symbol": "BTCUSDT"}, 5),
        ("depth", {"symbol": "BTCUSDT", "limit": 100}, 5),
        ("depth", {"symbol": "BTCUSDT", "limit": 101}, 25),
        ("depth", {"symbol": "BTCUSDT", "limit": 1000}, 50),
        ("depth", {"symbol": "BTCUSDT", "limit": 5000}, 250),
        ("exchangeInfo", {}, 20),
        ("time", {}, 1),
    ],
)
async def test_requests_weigh_what_the_exchange_says(
    path: str, params: dict[str, Any], weight: int, autojump_clock: object
) -> None:
    async with world() as w:
        answer = await get(w, path, **params)
        assert answer.status_code == 200
        assert answer.headers["X-MBX-USED-WEIGHT-1M"] == str(weight)


@pytest.mark.parametrize(
    ("path", "params", "error"),
    [
        ("aggTrades", {"symbol": "DOGEUSDT"}, {"code": -1121, "msg": "Invalid symbol."}),
        (
            "klines",
            {"symbol": "BTCUSDT", "interval": "7m"},
            {"code": -1120, "msg": "Invalid interval."},
        ),
        (
            "trades",
            {},
            {
                "code": -1102,
                "msg": "Mandatory parameter 'symbol' was not sent, was empty/null, or malformed.",
            },
        ),
        (
            "aggTrades",
            {"symbol": "BTCUSDT", "fromId": "x"},
            {"code": -1100, "msg": "Illegal characters found in parameter 'fromId'."},
        ),
        (
            "exchangeInfo",
            {"symbols": '["BTCUSDT","DOGEUSDT"]'},
            {"code": -1121, "msg": "Invalid symbol."},
        ),
        (
            "exchangeInfo",
            {"symbols": "BTCUSDT"},
            {"code": -1100, "msg": "Illegal characters found in parameter 'symbols'."},
        ),
        (
            "exchangeInfo",
            {"symbols": '["BTCUSDT"]', "symbol": "BTCUSDT"},
            {"code": -1128, "msg": "Combination of optional parameters invalid."},
        ),
    ],
)  # fmt: skip
async def test_bad_requests_get_the_exchanges_error(
    path: str, params: dict[str, Any], error: dict[str, Any], autojump_clock: object
) -> None:
    async with world() as w:
        answer = await get(w, path, **params)
        assert (answer.status_code, answer.json()) == (400, error)


async def test_too_much_weight_is_429_until_the_minute_ends_and_418_for_who_persists(
    autojump_clock: object,
) -> None:
    limits = RestLimits(weight_per_minute=50, strikes=2, ban_s=120)
    async with world(rate=0, rest_limits=limits) as w:
        start = trio.current_time()
        await trio.sleep(15)
        for _ in range(2):
            assert (await get(w, "trades", symbol="BTCUSDT")).status_code == 200
        for _ in range(2):
            refused = await get(w, "time")
            assert (refused.status_code, refused.headers["Retry-After"]) == (429, "45")
        banned = await get(w, "time")
        assert (banned.status_code, banned.headers["Retry-After"]) == (418, "120")
        await trio.sleep_until(start + 134)
        assert (await get(w, "time")).status_code == 418
        await trio.sleep_until(start + 135)
        assert (await get(w, "time")).status_code == 200


async def test_weight_is_forgotten_at_the_next_minute(autojump_clock: object) -> None:
    async with world(rate=0, rest_limits=RestLimits(weight_per_minute=25)) as w:
        start = trio.current_time()
        assert (await get(w, "trades", symbol="BTCUSDT")).status_code == 200
        assert (await get(w, "time")).status_code == 429
        await trio.sleep_until(start + 60)
        assert (await get(w, "trades", symbol="BTCUSDT")).status_code == 200


async def test_microseconds_over_rest(autojump_clock: object) -> None:
    async with world(rate=0) as w:
        await trio.sleep(1.5)
        async with httpx2.AsyncClient(transport=w.network.rest_transport()) as client:
            url = f"https://{HOST}/api/v3/time"
            answer = await client.get(url, headers={"X-MBX-TIME-UNIT": "MICROSECOND"})
            assert answer.json() == {"serverTime": EPOCH_MS * 1000 + 1_500_000}


async def test_exchange_info_names_the_symbols(autojump_clock: object) -> None:
    async with world() as w:
        info = (await get(w, "exchangeInfo")).json()
        assert [row["symbol"] for row in info["symbols"]] == ["BTCUSDT", "ETHUSDT"]
        assert (info["symbols"][0]["baseAsset"], info["symbols"][0]["quoteAsset"]) == (
            "BTC",
            "USDT",
        )
        one = (await get(w, "exchangeInfo", symbols='["ETHUSDT"]')).json()
        assert [row["symbol"] for row in one["symbols"]] == ["ETHUSDT"]


async def test_a_symbol_that_is_halted_says_so(autojump_clock: object) -> None:
    async with world() as w:
        w.exchange.market.halt(2_000_000, "ETHUSDT")

        async def statuses() -> list[str]:
            return [row["status"] for row in (await get(w, "exchangeInfo")).json()["symbols"]]

        assert await statuses() == ["TRADING", "HALT"]
        await trio.sleep(2.1)
        assert await statuses() == ["TRADING", "TRADING"]


# Real sockets


async def test_plain_and_tls_endpoints_and_rest_on_real_sockets(tmp_path: Path) -> None:
    ca_path = tmp_path / "ca.pem"
    config = ServeConfig(
        endpoints=(EndpointConfig("plain"), EndpointConfig("secure", tls=True)),
        rate=200,
        ca_path=ca_path,
    )
    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            running = await nursery.start(serve, config)
            context = ssl.create_default_context(cafile=str(ca_path))
            for url in running.websocket_urls.values():
                async with trio_websocket.open_websocket_url(
                    f"{url}/stream?streams=btcusdt@trade",
                    ssl_context=context if url.startswith("wss") else None,
                ) as connection:
                    ids = [
                        json.loads(await connection.get_message())["data"]["t"] for _ in range(50)
                    ]
                assert ids == list(range(ids[0], ids[0] + 50))
            async with httpx2.AsyncClient() as client:
                page = await client.get(
                    f"{running.rest_urls['rest']}/api/v3/historicalTrades",
                    params={"symbol": "BTCUSDT", "fromId": ids[0], "limit": 50},
                )
                assert [row["id"] for row in page.json()] == ids
                summary = await client.get(f"{running.rest_urls['rest']}/simulator/truth")
                assert summary.json()["attempts"] == {"accepted": 2}
            nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Origin": "http://localhost:8000"}, 200),
        ({"Origin": "https://attacker.example"}, 421),
        ({"Origin": "null"}, 421),
        ({"Host": "attacker.example"}, 421),
    ],
)
async def test_no_web_page_from_elsewhere_may_decide_what_goes_wrong(
    headers: dict[str, str], status: int
) -> None:
    """A browser posts a form, or text, wherever a page wants it to."""
    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            running = await nursery.start(serve, ServeConfig(rest=(RestConfig(),)))
            async with httpx2.AsyncClient() as client:
                answer = await client.post(
                    f"{running.rest_urls['rest']}/simulator/faults",
                    content='[{"at": 1000, "endpoint": "*", "kind": "rst"}]',
                    headers=headers | {"Content-Type": "text/plain"},
                )
            assert answer.status_code == status
            assert len(running.faults.pending()) == (status == 200)
            nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    ("fault", "complaint"),
    [
        ({"endpoint": "nowhere", "kind": "rst"}, "nothing is called 'nowhere'; known are *, "),
        (
            {"endpoint": "*", "kind": "ids_jump", "symbol": "DOGEUSDT"},
            "nothing is called 'DOGEUSDT'; known are BTCUSDT, ETHUSDT",
        ),
        ({"endpoint": "*", "kind": "bored"}, "'bored' is no kind of fault; known are refused, "),
    ],
)
async def test_a_fault_that_could_hit_nothing_is_refused_and_ends_nothing(
    fault: dict[str, Any], complaint: str
) -> None:
    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            running = await nursery.start(serve, ServeConfig(rest=(RestConfig(),)))
            sound = {"at": 0, "endpoint": "*", "kind": "rst"}
            async with httpx2.AsyncClient() as client:
                url = f"{running.rest_urls['rest']}/simulator/faults"
                answer = await client.post(url, json=[sound, {"at": 0} | fault])
                assert answer.status_code == 400
                assert answer.json()["error"].startswith(complaint)
                assert (await client.get(url)).json() == {"active": [], "pending": []}
            nursery.cancel_scope.cancel()


async def test_a_byte_too_many_for_rest_does_not_end_the_exchange() -> None:
    request = b"GET /api/v3/exchangeInfo HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\nx"
    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            running = await nursery.start(serve, ServeConfig(rest=(RestConfig(),)))
            base = running.rest_urls["rest"]
            port = int(base.rpartition(":")[2])
            async with AsyncExitStack() as stack:
                for _ in range(50):
                    stream = await stack.enter_async_context(
                        await trio.open_tcp_stream("127.0.0.1", port)
                    )
                    await stream.send_all(request)
                async with httpx2.AsyncClient() as client:
                    assert (await client.get(f"{base}/api/v3/exchangeInfo")).status_code == 200
            nursery.cancel_scope.cancel()


async def test_a_certificate_of_an_unknown_authority_is_not_trusted() -> None:
    config = ServeConfig(endpoints=(EndpointConfig("secure", tls=True),), rest=())
    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            running = await nursery.start(serve, config)
            port = int(running.websocket_urls["secure"].rpartition(":")[2])
            stream = await trio.open_ssl_over_tcp_stream("127.0.0.1", port)
            with pytest.raises(trio.BrokenResourceError) as caught:
                await stream.do_handshake()
            assert isinstance(caught.value.__cause__, ssl.SSLCertVerificationError)
            await trio.aclose_forcefully(stream)
            nursery.cancel_scope.cancel()


@pytest.mark.parametrize("which", ["endpoint", "rest"])
async def test_a_busy_port_is_an_os_error(which: str) -> None:
    with trio.fail_after(20):
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        async with listener:
            port = listener.socket.getsockname()[1]
            config = (
                ServeConfig(endpoints=(EndpointConfig("a", port=port),))
                if which == "endpoint"
                else ServeConfig(rest=(RestConfig(port=port),))
            )
            with pytest.raises(OSError, match="in use"):
                await serve(config)


async def test_two_venues_have_ids_of_their_own() -> None:
    config = ServeConfig(
        endpoints=(EndpointConfig("a", "one"), EndpointConfig("b", "two")), rest=(), rate=100
    )
    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            running = await nursery.start(serve, config)
            await trio.sleep(0.2)
            spans = [e.truth.ranges("btcusdt@trade")[0] for e in running.exchanges.values()]
            assert abs(spans[0][0] - spans[1][0]) > 1000
            nursery.cancel_scope.cancel()
