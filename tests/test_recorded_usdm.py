"""Real traffic of USD-M futures, decoded and replayed; needs ``K2TRIO_RECORDED``.

The folder holds ``usdm.frames.jsonl`` and ``usdm.depth.jsonl``; see ``test_recorded.py``.
"""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx2
import msgspec
import pytest
import trio
import wsproto
from kept import lost_of
from wsproto.events import AcceptConnection, Ping, Request, TextMessage

from k2trio.book.books import Books
from k2trio.book.order_book import BookState
from k2trio.client.opening import open_feed
from k2trio.commands.replay.entries import entry_of
from k2trio.continuity.items import Gap
from k2trio.market.decoder import Decoder
from k2trio.market.payloads import AggTrade, DepthSnapshot, Event, FuturesDepth, frame_of
from k2trio.market.streams import Kind, by_route, stream_of
from k2trio.settings import Settings
from k2trio.simulator import memory_pair
from k2trio.simulator.recorded.market import RecordedMarket

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trio.testing import MockClock

    from k2trio.book.audit import Verdict
    from k2trio.continuity.items import Item
    from k2trio.policy.failover import Endpoint

FOLDER = os.environ.get("K2TRIO_RECORDED")
pytestmark = pytest.mark.skipif(
    not FOLDER, reason="K2TRIO_RECORDED does not name the folder of recorded exchange traffic"
)
VENUE = "binance.com-usdm"
PLAYED_S = 30
"""All has been played by then, and no silence is too long yet (s)."""
CHAINED = 760
"""Updates that have one of their symbol before them."""


class _Line(msgspec.Struct):
    received: float
    frame: msgspec.Raw


class _Snapshot(msgspec.Struct):
    symbol: str
    snapshot: msgspec.Raw


@pytest.fixture(scope="module")
def frames() -> list[bytes]:
    lines = (Path(FOLDER or "") / "usdm.frames.jsonl").read_bytes().splitlines()
    return [bytes(msgspec.json.decode(line, type=_Line).frame) for line in lines]


@pytest.fixture(scope="module")
def snapshots() -> dict[str, bytes]:
    lines = (Path(FOLDER or "") / "usdm.depth.jsonl").read_bytes().splitlines()
    rows = [msgspec.json.decode(line, type=_Snapshot) for line in lines]
    return {row.symbol: bytes(row.snapshot) for row in rows}


@pytest.fixture(scope="module")
def events(frames: list[bytes]) -> list[Event[Any]]:
    found, control = Decoder(VENUE).decode(frames, 1.0)
    assert control == []
    return found


def test_every_frame_decodes_in_one_batch_and_alone(
    frames: list[bytes], events: list[Event[Any]]
) -> None:
    assert len(events) == len(frames) > 1000
    kinds = {stream_of(VENUE, event.stream).kind for event in events}
    assert kinds == {Kind.DEPTH, Kind.BOOK_TICKER, Kind.AGG_TRADE, Kind.KLINE}
    for frame, event in zip(frames, events, strict=True):
        assert Decoder(VENUE).decode([frame], 1.0) == ([event], [])


def test_every_value_of_every_frame_lands_in_a_field(events: list[Event[Any]]) -> None:
    assert [lost for event in events if (lost := lost_of(event))] == []


def test_every_update_names_the_one_before(events: list[Event[Any]]) -> None:
    last: dict[str, int] = {}
    joined: Counter[bool] = Counter()
    for event in events:
        if isinstance(event.data, FuturesDepth):
            if event.stream in last:
                joined[event.data.covers_from == last[event.stream] + 1] += 1
            last[event.stream] = event.data.last_update_id
    assert joined == {True: CHAINED}


def test_aggregates_are_consecutive(events: list[Event[Any]]) -> None:
    last: dict[str, int] = {}
    for event in events:
        if isinstance(event.data, AggTrade):
            assert last.get(event.stream, event.data.agg_id - 1) + 1 == event.data.agg_id
            last[event.stream] = event.data.agg_id


def test_the_ticker_says_what_the_books_say_wherever_it_speaks_of_the_same_update(
    events: list[Event[Any]], snapshots: dict[str, bytes]
) -> None:
    verdicts: list[Verdict] = []
    books = Books(dict.fromkeys(event.stream for event in events), verdicts.append)
    for symbol, raw in snapshots.items():
        data = msgspec.json.decode(raw, type=DepthSnapshot)
        books.apply(Event(data, books[symbol].stream, VENUE, 1.0, raw, "snapshot"))
    for event in events:
        books.apply(event)
    assert all(verdict.equal for verdict in verdicts)
    assert len(verdicts) >= 50
    assert {book.state for book in books.all} == {BookState.LIVE}
    assert {book.faults for book in books.all} == {0}


# -- replay ---------------------------------------------------------------------------------------


class Player:
    """An exchange of two routes that plays each one's frames once; and its REST of books.

    It stays silent on streams of the other route, as the exchange does.
    """

    def __init__(self, frames: Sequence[bytes], snapshots: dict[str, bytes]) -> None:
        self.frames: dict[str, list[bytes]] = {"public": [], "market": []}
        for event in Decoder(VENUE).decode(frames, 1.0)[0]:
            self.frames[stream_of(VENUE, event.stream).route].append(event.frame)
        self.snapshots = snapshots
        self.targets: list[str] = []
        self.asked: list[httpx2.URL] = []
        self.nursery: trio.Nursery | None = None

    async def dial(self, _endpoint: Endpoint) -> trio.abc.Stream:
        await trio.lowlevel.checkpoint()
        assert self.nursery is not None
        ours, theirs = memory_pair()
        self.nursery.start_soon(self.serve, theirs)
        return ours

    async def serve(self, stream: trio.abc.Stream) -> None:
        connection = wsproto.WSConnection(wsproto.ConnectionType.SERVER)
        target = ""
        while not target:
            connection.receive_data(bytes(await stream.receive_some()))
            for event in connection.events():
                if isinstance(event, Request):
                    target = event.target
                    await stream.send_all(connection.send(AcceptConnection()))
        self.targets.append(target)
        route = target.partition("/stream")[0].strip("/")
        asked = target.partition("streams=")[2].split("/")
        frames = [
            frame
            for frame in self.frames.get(route, [])
            if msgspec.json.decode(frame)["stream"] in asked
        ]
        await trio.sleep(1)  # for REST to lag no more
        for number, frame in enumerate(frames):
            await stream.send_all(connection.send(TextMessage(frame.decode())))
            if number % 10 == 0:
                await stream.send_all(connection.send(Ping(b"%d" % number)))
                await trio.sleep(0.1)

    def answer(self, request: httpx2.Request) -> httpx2.Response:
        self.asked.append(request.url)
        if request.url.path == "/fapi/v1/depth":
            return httpx2.Response(200, content=self.snapshots[request.url.params["symbol"]])
        raise AssertionError(f"nothing else is missing, yet {request.url} was asked for")


async def test_a_replay_comes_over_both_routes_complete_and_its_books_are_right(
    frames: list[bytes],
    events: list[Event[Any]],
    snapshots: dict[str, bytes],
    autojump_clock: MockClock,
) -> None:
    names = list(dict.fromkeys(event.stream for event in events))
    chosen = Settings(
        websocket_url="wss://fstream.binance.com/stream",
        streams=names,
        shared_budget="off",
        health_check_timeout=0,
    )
    items: list[Item] = []
    player = Player(frames, snapshots)
    verdicts: list[Verdict] = []
    books = Books(names, verdicts.append)
    async with (
        trio.open_nursery() as player.nursery,
        open_feed(
            settings=chosen,
            dial=player.dial,
            backfill_transport=httpx2.MockTransport(player.answer),
            suspended=lambda: 0.0,
        ) as feed,
    ):
        with trio.move_on_after(PLAYED_S):
            async for item in feed:
                items.append(item)
                books.apply(item)
        player.nursery.cancel_scope.cancel()
    routes = by_route(names, "usdm")
    assert sorted(player.targets) == sorted(
        f"/{route}/stream?streams={'/'.join(of_route)}" for route, of_route in routes.items()
    )
    assert {url.params["limit"] for url in player.asked} == {"1000"}
    got = [item for item in items if isinstance(item, Event) and item.origin == "live"]
    snapshot_ids = {
        item.stream: item.data.last_update_id
        for item in items
        if isinstance(item, Event) and item.origin == "snapshot"
    }
    assert len(snapshot_ids) == 4
    assert [item for item in items if isinstance(item, Gap) and item.reason != "snapshot"] == []
    assert Counter(event.frame for event in got) == Counter(event.frame for event in events)
    assert {event.venue for event in got} == {VENUE}
    assert all(verdict.equal for verdict in verdicts)
    assert len(verdicts) >= 50
    assert {book.state for book in books.all} == {BookState.LIVE}


@pytest.mark.parametrize("later_ms", [0, 60_000])
async def test_a_recording_is_played_again_by_an_exchange_of_futures(
    events: list[Event[Any]], snapshots: dict[str, bytes], later_ms: int
) -> None:
    market = RecordedMarket(round(events[0].received * 1e6), product="usdm")
    told: list[Any] = []
    for number, event in enumerate(events):
        market.add([entry_of(event, round(event.received * 1e6) + number, later_ms)])
        told += market.advance(round(event.received * 1e6) + number)
    rendered = [frame_of(message.stream, message.render(1000)) for message in told]
    if not later_ms:
        assert rendered == [event.frame for event in events]
    again, control = Decoder(VENUE).decode(rendered, events[0].received)
    assert control == []
    times = [event.data.event_time for event in (*again, *events)]
    half = len(events)
    assert [time - later_ms for time in times[:half]] == times[half:]
    symbol = market.symbol("SUSHIUSDT")
    assert symbol is not None
    assert symbol.agg_ids.last == max(
        event.data.agg_id
        for event in events
        if isinstance(event.data, AggTrade) and event.data.symbol == "SUSHIUSDT"
    )
