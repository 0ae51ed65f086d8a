"""A recording, played by a venue in memory and recorded again, in virtual time."""

from __future__ import annotations

import json
import os
import random
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx2
import msgspec
import pytest
import trio
from msgspec import structs
from recordings import EVERY_KIND, START_S, VENUE, event_of, seal, session, snapshot_of, write_lines
from world import fault, make_settings

import k2trio
from k2trio.commands.replay.entries import Entries
from k2trio.continuity.items import Gap
from k2trio.market.payloads import Event, frame_of
from k2trio.market.streams import TABLE, Kind, parse_stream
from k2trio.market.venues import dialect_of
from k2trio.simulator import (
    Exchange,
    FaultBoard,
    Market,
    MemoryNetwork,
    Player,
    RestServer,
    Tempo,
    refuse_made_up,
)

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterable, Sequence

    from trio.testing import MockClock

    from k2trio.continuity.items import Item
    from k2trio.simulator import Fault

pytestmark = pytest.mark.usefixtures("disk_at_once")

LEAD_S = 1.0
LINGER_S = 60.0


@dataclass
class Stage:
    """A venue that plays a recording.

    :ivar over: set when everything was told.
    """

    exchange: Exchange
    network: MemoryNetwork
    entries: Entries | None = None
    over: trio.Event = field(default_factory=trio.Event)

    async def get(self, path: str, **query: object) -> tuple[int, Any]:
        async with httpx2.AsyncClient(transport=self.network.rest_transport()) as client:
            answer = await client.get(f"https://venue.test/api/v3/{path}", params=query)
            return answer.status_code, answer.json()


@asynccontextmanager
async def played(
    path: Path,
    faults: Sequence[Fault] = (),
    *,
    speed: float = 1,
    shift_to_s: float | None = None,
    **options: Any,
) -> AsyncGenerator[Stage]:
    """Play a recording from the first subscription on."""
    board = FaultBoard(faults, refuse_made_up)
    network = MemoryNetwork(board)
    async with k2trio.open_recording(path, **options) as recording:
        entries = Entries(recording.batches(), None)
        venue = await entries.begin(shift_to_s)
        player = Player(entries, entries.start_us, 100_000, dialect_of(venue).product)
        exchange = Exchange(venue, player.market, faults=board, tempo=Tempo(speed, LEAD_S))
        network.add("venue.test", 1, exchange, "a")
        network.add_rest("venue.test", RestServer(exchange, "rest"))
        stage = Stage(exchange, network, entries)

        async def play() -> None:
            await player.run(exchange.look_again)
            stage.over.set()

        async with trio.open_nursery() as nursery:
            await nursery.start(network.run)
            nursery.start_soon(play)
            yield stage
            nursery.cancel_scope.cancel()


async def recorded_again(
    stage: Stage,
    streams: Sequence[str] = EVERY_KIND,
    linger_s: float = LINGER_S,
    clock_s: float = START_S,
    **values: Any,
) -> list[Item]:
    """What the client gets of it, until a while after its end."""
    items: list[Item] = []
    settings = make_settings(
        ["wss://venue.test:1/stream"],
        **{"streams": streams, "rest_urls": ["https://venue.test"], **values},
    )

    async def dial(endpoint: Any) -> trio.abc.Stream:
        return await stage.network.dial(endpoint.host, endpoint.port)

    async def read(feed: k2trio.Feed) -> None:
        async for batch in feed.batches():
            items.extend(batch)

    async with (
        k2trio.open_feed(
            settings=settings,
            dial=dial,
            rng=random.Random(1),
            wall_clock=lambda: clock_s + trio.current_time(),
            backfill_transport=stage.network.rest_transport(),
            suspended=lambda: 0.0,
            log=False,
        ) as feed,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(read, feed)
        await stage.over.wait()
        await trio.sleep(linger_s)
        nursery.cancel_scope.cancel()
    return items


def told(items: Iterable[Item]) -> list[tuple[str, str, bytes]]:
    """Stream, origin and payload of each message."""
    return [(i.stream, i.origin, i.raw) for i in items if isinstance(i, Event)]


def by_stream(items: Iterable[Item]) -> dict[str, list[tuple[str, bytes]]]:
    found: dict[str, list[tuple[str, bytes]]] = {}
    for stream, origin, raw in told(items):
        found.setdefault(stream, []).append((origin, raw))
    return found


@asynccontextmanager
async def lived() -> AsyncGenerator[Stage]:
    """A market that is made up, for some seconds."""
    board = FaultBoard()
    network = MemoryNetwork(board)
    exchange = Exchange(VENUE, Market(["BTCUSDT", "ETHUSDT"], seed=1, rate=20), faults=board)
    network.add("venue.test", 1, exchange, "a")
    network.add_rest("venue.test", RestServer(exchange, "rest"))
    stage = Stage(exchange, network)
    async with trio.open_nursery() as nursery:
        await nursery.start(network.run)
        stage.over.set()
        yield stage
        nursery.cancel_scope.cancel()


async def first_recording(**values: Any) -> list[Item]:
    """What the client got of the market itself."""
    async with lived() as stage:
        return await recorded_again(stage, linger_s=8, **values)


@pytest.mark.parametrize("sealed", [False, True])
async def test_a_recording_played_and_recorded_again_gives_the_same_messages(
    tmp_path: Path, sealed: bool, autojump_clock: MockClock
) -> None:
    items = await first_recording()
    assert {parse_stream(item.stream).kind for item in items} >= set(TABLE) - {Kind.BLOCK_TRADE}
    if sealed:
        seal(tmp_path, items, "20260101T00-1")
    else:
        write_lines(tmp_path / "out.jsonl", items)
    began = trio.current_time()
    async with played(tmp_path) as stage:
        again = await recorded_again(stage)
    assert all(isinstance(item, Event) for item in again)
    assert told(again) == told(items)  # the snapshot of the book too
    assert trio.current_time() - began == pytest.approx(LEAD_S + 8 + LINGER_S, abs=0.2)


async def test_a_sealed_recording_of_microseconds_does_so_too(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    items = await first_recording(time_unit="us")
    seal(tmp_path, items, "20260101T00-1")
    async with played(tmp_path, time_unit="us") as stage:
        assert told(await recorded_again(stage, time_unit="us")) == told(items)


def without_books(items: Iterable[Item]) -> list[Item]:
    """Those whose messages do not depend on when a snapshot is asked for."""
    return [item for item in items if parse_stream(item.stream).kind is not Kind.DEPTH]


@pytest.mark.parametrize("speed", [10, 0.5])
async def test_speed_is_that_of_time(
    tmp_path: Path, speed: float, autojump_clock: MockClock
) -> None:
    items = session(5)
    async with played(write_lines(tmp_path / "out.jsonl", items), speed=speed) as stage:
        again = await recorded_again(stage)
    assert told(without_books(again)) == told(without_books(items))
    assert trio.current_time() == pytest.approx(LEAD_S + 5 / speed + LINGER_S, abs=0.1)
    live, was = (
        [i for i in without_books(some) if isinstance(i, Event)] for some in (again, items)
    )
    for event, before in zip(live, was, strict=True):
        elapsed = (event.received - START_S - LEAD_S) * speed
        assert elapsed == pytest.approx(before.received - was[0].received, abs=0.03 * speed)


TROUBLE = [
    fault(3, "dropped", share=0.3, duration=2),
    fault(6, "rst"),
    fault(9, "duplicated", share=0.5, duration=1),
    fault(11, "stall", duration=1),
    fault(13, "fin"),
    fault(13, "rest_holes", "rest", count=1),
    fault(15, "reordered", share=0.3, duration=1),
]


async def test_with_faults_on_top_the_client_still_gets_every_message(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    streams = ["btcusdt@trade", "btcusdt@aggTrade", "ethusdt@trade", "btcusdt@kline_1s"]
    items = session(30, [*streams, "btcusdt@depth@100ms"])
    path = write_lines(tmp_path / "out.jsonl", items)
    async with played(path, TROUBLE) as stage:
        again = await recorded_again(stage, [*streams, "btcusdt@depth@100ms"], reconnect_delay=0.1)
        assert len(stage.exchange.truth.losses) > 20
        assert stage.exchange.truth.attempts[-1].outcome == "accepted"
    got, was = by_stream(again), by_stream(items)
    for stream in streams[:3]:
        assert {origin for origin, _ in got[stream]} == {"live", "backfill"}
        assert [raw for _, raw in got[stream]] == [raw for _, raw in was[stream]]
    bars = [
        [bar["t"] for _, raw in rows if (bar := json.loads(raw)["k"])["x"]]
        for rows in (got["btcusdt@kline_1s"], was["btcusdt@kline_1s"])
    ]
    assert bars[0] == bars[1]
    assert {item.reason for item in again if isinstance(item, Gap)} <= {"snapshot"}
    # The book that the client has is the one at the recording's end.
    books = k2trio.Books(["btcusdt@depth@100ms"])
    truth = k2trio.Books(["btcusdt@depth@100ms"])
    for items_of, one in ((again, books), (items, truth)):
        for item in items_of:
            one.apply(item)
    book, other = books["BTCUSDT"], truth["BTCUSDT"]
    assert (book.state, book.last_update_id) == (k2trio.BookState.LIVE, other.last_update_id)
    assert (book.bids(), book.asks()) == (other.bids(), other.asks())


async def test_what_was_missing_then_is_missing_again(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    trades = session(6, ["btcusdt@trade"])
    lost = trades[40:60]
    gap = Gap(VENUE, "btcusdt@trade", lost[0].data.trade_id, lost[-1].data.trade_id, "not_repaired")
    path = write_lines(tmp_path / "out.jsonl", [*trades[:40], gap, *trades[60:]])
    async with played(path) as stage:
        again = await recorded_again(stage, ["btcusdt@trade"])
        assert stage.entries.left_out.gaps == 1
    found = [(item.first, item.last) for item in again if isinstance(item, Gap)]
    assert found == [(gap.first, gap.last)]
    assert [raw for _, _, raw in told(again)] == [raw for _, _, raw in told(trades) if
        raw not in {raw for _, _, raw in told(lost)}]  # fmt: skip


async def test_what_rest_had_brought_is_told_live(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    trades = session(6, ["btcusdt@trade"])
    brought = [
        structs.replace(item, origin="backfill", received=item.received + 1.5)
        if 40 <= number < 60
        else item
        for number, item in enumerate(trades)
    ]
    async with played(write_lines(tmp_path / "out.jsonl", brought)) as stage:
        again = await recorded_again(stage, ["btcusdt@trade"])
    assert told(again) == told(trades)


async def test_times_can_be_those_of_now(tmp_path: Path, autojump_clock: MockClock) -> None:
    items = session(3)
    now = START_S + 10_000_000.5
    async with played(write_lines(tmp_path / "out.jsonl", items), shift_to_s=now) as stage:
        again = await recorded_again(stage, clock_s=now)
        _, server = await stage.get("time")
    moved_ms = int((now - START_S) // 60) * 60_000
    assert moved_ms == 9_999_960_000
    assert abs(server["serverTime"] / 1000 - now - 3 - LINGER_S) < 60
    assert by_stream(again)["btcusdt@bookTicker"] == by_stream(items)["btcusdt@bookTicker"]
    for kind, times in (("trade", ["E", "T"]), ("aggTrade", ["E", "T"]), ("avgPrice", ["E", "T"])):
        rows = [
            [json.loads(raw) for stream, _, raw in told(some) if stream == f"btcusdt@{kind}"]
            for some in (again, items)
        ]
        assert len(rows[0]) == len(rows[1]) > 0
        for row, before in zip(*rows, strict=True):
            assert row == before | {time: before[time] + moved_ms for time in times}
    bars = [
        [json.loads(raw)["k"] for stream, _, raw in told(some) if stream.endswith("kline_1m")]
        for some in (again, items)
    ]
    for bar, before in zip(*bars, strict=True):
        assert bar == before | {"t": before["t"] + moved_ms, "T": before["T"] + moved_ms}


@pytest.mark.parametrize("days", [1, 400])
async def test_recorded_times_may_be_far_from_the_clock(
    tmp_path: Path, days: float, autojump_clock: MockClock
) -> None:
    items = await first_recording()
    async with played(write_lines(tmp_path / "out.jsonl", items)) as stage:
        again = await recorded_again(stage, clock_s=START_S + days * 86_400)
    assert told(again) == told(items)
    assert all(isinstance(item, Event) for item in again)


@pytest.mark.skipif(
    "K2TRIO_RECORDED" not in os.environ,
    reason="K2TRIO_RECORDED does not name the folder of recorded exchange traffic",
)
async def test_real_traffic_is_replayed(tmp_path: Path, autojump_clock: MockClock) -> None:
    items = real_traffic(Path(os.environ["K2TRIO_RECORDED"]))
    streams = list(dict.fromkeys(item.stream for item in items))
    assert len(streams) >= 10
    async with played(write_lines(tmp_path / "out.jsonl", items)) as stage:
        for stream in streams:
            symbol = parse_stream(stream).symbol
            assert (await stage.get("exchangeInfo", symbol=symbol))[0] == 200
        again = await recorded_again(stage, streams)
    assert all(isinstance(item, Event) for item in again)
    # Byte for byte, stream by stream: an update that waits for a snapshot comes after what other
    # streams bring meanwhile. A book that is quiet at first begins with its snapshot, and updates
    # that it contains are dropped (the exchange's "How to manage a local order book", step 4).
    begun = {
        item.stream: item.data.last_update_id
        for item in reversed(again)
        if isinstance(item, Event) and item.origin == "snapshot"
    }
    for stream in streams:
        live, was = (
            [row for row in told(some) if row[:2] == (stream, "live")] for some in (again, items)
        )
        dropped = was[: len(was) - len(live)]
        assert live == was[len(dropped) :]
        assert all(json.loads(raw)["u"] <= begun[stream] for _, _, raw in dropped)
    books, truth = k2trio.Books(streams), k2trio.Books(streams)
    for some, kept in ((again, books), (items, truth)):
        for item in some:
            kept.apply(item)
    for book, other in zip(books.all, truth.all, strict=True):
        assert book.state is k2trio.BookState.LIVE
        assert (book.bids(20), book.asks(20)) == (other.bids(20), other.asks(20))


def real_traffic(folder: Path) -> list[Item]:
    """Frames of the exchange as a feed delivers them, each book behind its snapshot."""
    rows = [json.loads(line) for line in (folder / "spot.frames.jsonl").read_bytes().splitlines()]
    snapshots = {}
    for line in (folder / "spot.depth.jsonl").read_bytes().splitlines():
        row = json.loads(line)
        snapshots[row["symbol"]] = msgspec.json.encode(row["snapshot"])
    items: list[Item] = []
    for row in rows:
        stream, raw = row["frame"]["stream"], msgspec.json.encode(row["frame"]["data"])
        event = event_of(stream, raw, row["received"])
        if parse_stream(stream).kind is Kind.DEPTH:
            snapshot = snapshots.pop(event.data.symbol, None)
            if snapshot is not None:
                book = msgspec.json.decode(snapshot, type=k2trio.DepthSnapshot)
                frame = frame_of(stream, snapshot)
                items.append(Event(book, stream, VENUE, event.received, frame, "snapshot"))
        items.append(event)
    return items


# -- REST -----------------------------------------------------------------------------------------


async def test_rest_knows_what_the_recording_has_told(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    market = Market(["BTCUSDT", "ETHUSDT"], seed=1, rate=20)
    for stream in EVERY_KIND:
        market.watch(stream)
    truth = Exchange("truth", market)
    rest = RestServer(truth, "truth")
    items = session(5)
    questions: list[tuple[str, dict[str, object]]] = [
        ("trades", {"symbol": "BTCUSDT", "limit": 20}),
        ("historicalTrades", {"symbol": "ETHUSDT", "limit": 7}),
        ("aggTrades", {"symbol": "BTCUSDT", "limit": 1000}),
        ("klines", {"symbol": "BTCUSDT", "interval": "1s", "limit": 4}),
        ("depth", {"symbol": "BTCUSDT", "limit": 50}),
        ("ping", {}),
    ]
    async with played(write_lines(tmp_path / "out.jsonl", items)) as stage:
        assert (await stage.get("trades", symbol="BTCUSDT"))[1] == []
        status, book = await stage.get("depth", symbol="ETHUSDT")
        assert (status, book["code"]) == (503, -1000)
        status, book = await stage.get("depth", symbol="BTCUSDT", limit=1000)
        assert status == 200  # it begins with a book
        assert book == json.loads(
            snapshot_of(Market(["BTCUSDT"], seed=1, rate=0), "btcusdt@depth", 0).raw
        )
        async with trio.open_nursery() as nursery:
            nursery.start_soon(recorded_again, stage)
            await stage.over.wait()
            stage.network.add_rest("truth.test", rest)
            market.advance(market.start_us + 5_000_000)
            truth._broadcast.pace.now_us = lambda: market.now_us  # type: ignore[method-assign]
            async with httpx2.AsyncClient(transport=stage.network.rest_transport()) as client:
                for path, query in questions:
                    _, answer = await stage.get(path, **query)
                    right = await client.get(f"https://truth.test/api/v3/{path}", params=query)
                    wanted = right.json()
                    if path == "klines":
                        wanted = wanted[:-1]  # of the bar of now nothing was told
                        answer = answer[-len(wanted) :]
                    assert answer == wanted, path
            status, info = await stage.get("exchangeInfo", symbol="BTCUSDT")
            assert (status, info["symbols"][0]["status"]) == (200, "TRADING")
            assert (await stage.get("exchangeInfo", symbol="what/ever"))[0] == 400
            nursery.cancel_scope.cancel()


async def test_a_book_with_a_hole_is_not_known_until_the_next_snapshot(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    items = session(6, ["btcusdt@depth@100ms"])
    late = session(0, ["btcusdt@depth@100ms"], begin_s=4)
    parts = [*items[:20], *items[25:30]]
    async with (
        played(write_lines(tmp_path / "out.jsonl", parts)) as stage,
        trio.open_nursery() as n,
    ):
        n.start_soon(recorded_again, stage, ["btcusdt@depth@100ms"])
        await stage.over.wait()
        assert (await stage.get("depth", symbol="BTCUSDT"))[0] == 503
        n.cancel_scope.cancel()
    snapshot = structs.replace(late[0], received=items[30].received)
    tail = [i for i in items[30:] if i.data.last_update_id > snapshot.data.last_update_id]
    path = write_lines(tmp_path / "out.jsonl", [*parts, snapshot, *tail])
    async with played(path) as stage, trio.open_nursery() as n:
        n.start_soon(recorded_again, stage, ["btcusdt@depth@100ms"])
        await stage.over.wait()
        _, book = await stage.get("depth", symbol="BTCUSDT")
        assert book["lastUpdateId"] == tail[-1].data.last_update_id
        n.cancel_scope.cancel()


async def test_a_lagging_rest_side_tells_the_past(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    items = session(10, ["btcusdt@trade", "btcusdt@depth@100ms"])
    lag = fault(0.5, "rest_lag", "rest", lag=4, duration=1000)
    path = write_lines(tmp_path / "out.jsonl", items)
    async with played(path, [lag]) as stage, trio.open_nursery() as nursery:
        nursery.start_soon(recorded_again, stage, ["btcusdt@trade"])
        await trio.sleep(LEAD_S + 9)
        _, rows = await stage.get("trades", symbol="BTCUSDT")
        _, book = await stage.get("depth", symbol="BTCUSDT")
        assert 4.5 < rows[-1]["time"] / 1000 - START_S < 5.1
        updates = [i.data for i in items if isinstance(i.data, k2trio.Depth)]
        told_at = {u.last_update_id: u.event_time / 1000 - START_S for u in updates}
        assert 3.8 < told_at[book["lastUpdateId"]] < 5.2
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    "kind", ["ids_jump", "ids_reset", "burst", "halt", "shared_id", "absurd_key"]
)
def test_faults_that_would_make_things_up_are_refused(kind: str) -> None:
    with pytest.raises(ValueError, match="a recording is as it is"):
        refuse_made_up([fault(1, kind)])
