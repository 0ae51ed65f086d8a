"""Kinds of faults that are not broken bytes: odd numberings, half-dead connections, odd REST."""

from __future__ import annotations

from typing import Any

import httpx2
import pytest
import trio
import trio.testing
from raw_client import world
from test_exchange import get

from k2trio.simulator import EPOCH_MS, Fault, FaultBoard, FaultKind, RestServer

TRADES, AGGREGATES = "btcusdt@trade", "btcusdt@aggTrade"
STREAMS = f"/stream?streams={TRADES}/{AGGREGATES}/btcusdt@depth@100ms/btcusdt@bookTicker"


def keys(messages: list[Any], stream: str, key: str) -> list[int]:
    return [message["data"][key] for message in messages if message["stream"] == stream]


# Numberings


@pytest.mark.parametrize("by", [3, 5000, 999_999, 10**12])
async def test_ids_begin_anew_at_any_distance_with_newer_times(
    by: int, autojump_clock: object
) -> None:
    async with world(rate=5) as w:
        client = await w.connect(STREAMS)
        await trio.sleep(20)
        w.exchange.catch_up()
        await trio.testing.wait_all_tasks_blocked()
        before = len(client.json())
        await w.fault(FaultKind.IDS_RESET, by=by)
        await trio.sleep(20)
        old, new = client.json()[:before], client.json()[before:]
        for stream, key in ((TRADES, "t"), (AGGREGATES, "a"), ("btcusdt@bookTicker", "u")):
            last, first = keys(old, stream, key)[-1], keys(new, stream, key)[0]
            assert first <= max(last - by + 20, 20)
        ends, begins = keys(new, "btcusdt@depth@100ms", "u"), keys(new, "btcusdt@depth@100ms", "U")
        assert [end + 1 for end in ends[:-1]] == begins[1:]
        assert min(keys(new, TRADES, "T")) > max(keys(old, TRADES, "T"))
        (one, other) = w.exchange.truth.ranges(TRADES)
        assert other == (max(1, one[1] + 1 - by), keys(new, TRADES, "t")[-1])
        rows = (await get(w, "historicalTrades", symbol="BTCUSDT", fromId=1)).json()
        assert rows[0]["id"] == other[0]


async def test_one_absurd_key_and_then_the_numbering_goes_on(autojump_clock: object) -> None:
    async with world(rate=5) as w:
        client = await w.connect(STREAMS)
        await trio.sleep(10)
        await w.fault(FaultKind.ABSURD_KEY, stream=TRADES, by=10**9)
        await trio.sleep(10)
        ids = keys(client.json(), TRADES, "t")
        (absurd,) = w.exchange.truth.absurd
        assert ids.count(absurd.first) == 1
        assert absurd.first > ids[0] + 10**9
        ids.remove(absurd.first)
        assert ids == list(range(ids[0], ids[-1] + 1))
        assert w.exchange.truth.ranges(TRADES) == [(ids[0], ids[-1])]


async def test_two_aggregates_share_an_id_and_differ(autojump_clock: object) -> None:
    async with world(rate=5) as w:
        client = await w.connect(f"/ws/{AGGREGATES}")
        await trio.sleep(10)
        await w.fault(FaultKind.SHARED_ID)
        await trio.sleep(10)
        messages = client.json()
        ids = [message["a"] for message in messages]
        (shared,) = w.exchange.truth.shared_ids(AGGREGATES)
        one, other = (message for message in messages if message["a"] == shared)
        assert other["f"] == one["l"] + 1
        assert sorted(set(ids)) == list(range(ids[0], ids[-1] + 1))
        assert len(ids) == len(set(ids)) + 1
        rows = (await get(w, "aggTrades", symbol="BTCUSDT", fromId=shared)).json()
        assert [row["f"] for row in rows[:2]] == [one["f"], other["f"]]


async def test_a_bar_opens_off_the_grid_after_a_halt(autojump_clock: object) -> None:
    async with world(rate=0.5) as w:
        client = await w.connect("/ws/btcusdt@kline_1m/btcusdt@trade")
        await w.fault(FaultKind.HALT, at=90.0, duration=137.0)  # until 3:47
        await trio.sleep(360.05)
        bars = [message["k"] for message in client.json() if message["e"] == "kline"]
        closed = [((bar["t"] - EPOCH_MS) / 1000, bar["T"]) for bar in bars if bar["x"]]
        assert [opened for opened, _ in closed] == [0, 60, 227, 240, 300]
        assert closed[2][1] == EPOCH_MS + 239_999
        rows = (
            await get(
                w,
                "klines",
                symbol="BTCUSDT",
                interval="1m",
                startTime=EPOCH_MS,
                endTime=EPOCH_MS + 359_999,
            )
        ).json()
        assert [row[0] for row in rows] == [bar["t"] for bar in bars if bar["x"]]
        trades = [message["T"] - EPOCH_MS for message in client.json() if message["e"] == "trade"]
        assert not [time for time in trades if 90_000 < time < 227_000]
        assert max(trades) > 300_000


# Connections


async def test_a_dead_standby_gets_nothing_but_answers_to_its_pings(
    autojump_clock: object,
) -> None:
    async with world(rate=5) as w:
        both = [await w.connect(), await w.connect()]
        await trio.sleep(10)
        await w.fault(FaultKind.DEAD_STANDBY)
        before = [len(client.of("text")) for client in both]
        await trio.sleep(60)
        more = sorted(len(c.of("text")) - n for c, n in zip(both, before, strict=True))
        assert more[0] == 0
        assert more[1] > 100
        assert [len(client.of("ping")) for client in both] == [3, 3]
        told = sorted(len(told.times) for told in w.exchange.truth.told.values())
        assert told == sorted(len(client.of("text")) for client in both)


async def test_a_lost_stream_is_listed_and_silent_until_it_is_subscribed_anew(
    autojump_clock: object,
) -> None:
    async with world(rate=5) as w:
        client = await w.connect(f"/stream?streams={TRADES}/{AGGREGATES}")
        await w.fault(FaultKind.LOST_STREAM, stream=TRADES)
        await trio.sleep(10)
        assert keys(client.json(), TRADES, "t") == []
        assert len(keys(client.json(), AGGREGATES, "a")) > 10
        await client.ask(method="LIST_SUBSCRIPTIONS", id=1)
        await trio.sleep(1)
        assert {"result": [TRADES, AGGREGATES], "id": 1} in client.json()
        await client.ask(method="UNSUBSCRIBE", params=[TRADES], id=2)
        await client.ask(method="SUBSCRIBE", params=[TRADES], id=3)
        await trio.sleep(10)
        assert len([m for m in client.json() if m.get("stream") == TRADES]) > 10


async def test_only_a_connection_beside_another_is_dead_on_arrival(autojump_clock: object) -> None:
    async with world(rate=5) as w:
        await w.fault(FaultKind.REPLACEMENT_DEAD)
        first = await w.connect()
        second = await w.connect()
        third = await w.connect()
        await trio.sleep(30)
        assert [bool(client.of("text")) for client in (first, second, third)] == [True, False, True]
        assert second.of("ping")


async def test_faults_that_wait_for_an_attempt_can_be_withdrawn(autojump_clock: object) -> None:
    board = FaultBoard()
    once = Fault(at=0, endpoint="a", kind=FaultKind.UPGRADE_FIN)
    thrice = Fault(at=0, endpoint="a", kind=FaultKind.HTTP_STATUS, count=3)
    lasting = Fault(at=0, endpoint="a", kind=FaultKind.NOT_HTTP, duration=100)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(board.run)
        board.add([once, thrice, lasting])
        await trio.sleep(1)
        assert board.active() == [once, thrice, lasting]
        board.withdraw()
        assert board.active() == [lasting]
        await trio.sleep(100)
        assert board.active() == []
        nursery.cancel_scope.cancel()


# REST


async def test_a_key_is_wanted_for_historical_trades_alone(autojump_clock: object) -> None:
    async with world(rate=5) as w:
        await trio.sleep(10)
        w.board.add([Fault(at=0, endpoint="rest", kind=FaultKind.REST_KEY, duration=60)])
        await trio.sleep(1)
        refused = await get(w, "historicalTrades", symbol="BTCUSDT")
        assert (refused.status_code, refused.json()["code"]) == (401, -2014)
        assert (await get(w, "trades", symbol="BTCUSDT")).status_code == 200
        await trio.sleep(60)
        assert (await get(w, "historicalTrades", symbol="BTCUSDT")).status_code == 200


async def test_answers_lag_behind_the_stream(autojump_clock: object) -> None:
    async with world(rate=5) as w:
        client = await w.connect(f"/stream?streams={TRADES}/btcusdt@depth@100ms")
        await trio.sleep(10)
        w.board.add([Fault(at=0, endpoint="rest", kind=FaultKind.REST_LAG, duration=60, lag=20)])
        await trio.sleep(50)
        now_ms = EPOCH_MS + 60_000
        rows = (await get(w, "historicalTrades", symbol="BTCUSDT", limit=1000)).json()
        aggregates = (await get(w, "aggTrades", symbol="BTCUSDT", limit=5)).json()
        bars = (await get(w, "klines", symbol="BTCUSDT", interval="1s", limit=3)).json()
        assert now_ms - 22_000 < rows[-1]["time"] <= now_ms - 20_000
        assert now_ms - 22_000 < aggregates[-1]["T"] <= now_ms - 20_000
        assert bars[-1][0] == now_ms - 20_000
        book = (await get(w, "depth", symbol="BTCUSDT")).json()
        depth = [m["data"] for m in client.json() if m["stream"] == "btcusdt@depth@100ms"]
        before = max(diff["u"] for diff in depth if diff["E"] <= now_ms - 21_500)
        after = min(diff["u"] for diff in depth if diff["E"] >= now_ms - 19_900)
        assert before <= book["lastUpdateId"] <= after
        await trio.sleep(20)
        fresh = (await get(w, "depth", symbol="BTCUSDT")).json()
        assert fresh["lastUpdateId"] == w.exchange.market.symbols["BTCUSDT"].update_id


async def test_hosts_of_a_venue_can_share_a_quota(autojump_clock: object) -> None:
    async with world() as w:
        w.network.add_rest("other.test", RestServer(w.exchange, "other", quota=w.rest.quota))
        await get(w, "exchangeInfo")
        async with httpx2.AsyncClient(transport=w.network.rest_transport()) as client:
            answer = await client.get("https://other.test/api/v3/ping")
        assert answer.headers["X-MBX-USED-WEIGHT-1M"] == "21"
