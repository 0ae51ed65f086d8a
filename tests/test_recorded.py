"""Real traffic of the exchange, decoded and replayed; needs ``K2TRIO_RECORDED`` to name its folder.

The folder holds ``spot.frames.jsonl`` (``{"received", "frame"}`` a line) and ``spot.depth.jsonl``
(``{"received", "symbol", "limit", "snapshot"}`` a line).
"""

from __future__ import annotations

import os
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import httpx2
import msgspec
import pytest
import trio
import wsproto
from kept import lost_of
from wsproto.events import AcceptConnection, CloseConnection, Ping, Request, TextMessage

from k2trio.book.books import Books
from k2trio.book.order_book import BookState
from k2trio.client.opening import open_feed
from k2trio.errors import GaveUp
from k2trio.market.decoder import Decoder
from k2trio.market.payloads import Depth, DepthSnapshot, Event
from k2trio.market.streams import Kind, parse_stream
from k2trio.settings import Settings
from k2trio.simulator import memory_pair

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trio.testing import MockClock

    from k2trio.book.audit import Verdict
    from k2trio.client.feed import Feed
    from k2trio.continuity.items import Item
    from k2trio.policy.failover import Endpoint

FOLDER = os.environ.get("K2TRIO_RECORDED")
pytestmark = pytest.mark.skipif(
    not FOLDER, reason="K2TRIO_RECORDED does not name the folder of recorded exchange traffic"
)


class _Line(msgspec.Struct):
    received: float
    frame: msgspec.Raw


class _Snapshot(msgspec.Struct):
    symbol: str
    snapshot: dict[str, Any]


class _Frame(msgspec.Struct):
    stream: str
    data: msgspec.Raw


class Recording(NamedTuple):
    """Frames in order of arrival, each with its stream and payload; and the snapshots."""

    frames: list[bytes]
    parts: list[tuple[str, bytes]]
    snapshots: dict[str, dict[str, Any]]


@pytest.fixture(scope="module")
def recording() -> Recording:
    folder = Path(FOLDER or "")
    lines = (folder / "spot.frames.jsonl").read_bytes().splitlines()
    frames = [bytes(msgspec.json.decode(line, type=_Line).frame) for line in lines]
    parsed = [msgspec.json.decode(frame, type=_Frame) for frame in frames]
    depth = (folder / "spot.depth.jsonl").read_bytes().splitlines()
    rows = [msgspec.json.decode(line, type=_Snapshot) for line in depth]
    return Recording(
        frames,
        [(frame.stream, bytes(frame.data)) for frame in parsed],
        {row.symbol: row.snapshot for row in rows},
    )


def by_stream(parts: Sequence[tuple[str, bytes]]) -> dict[str, list[bytes]]:
    streams: dict[str, list[bytes]] = defaultdict(list)
    for stream, raw in parts:
        streams[stream].append(raw)
    return streams


def test_there_is_something_to_test(recording: Recording) -> None:
    kinds = {parse_stream(stream).kind for stream, _ in recording.parts}
    assert kinds >= {Kind.DEPTH, Kind.BOOK_TICKER, Kind.AGG_TRADE, Kind.KLINE}
    assert len(recording.frames) > 200


def test_every_frame_decodes_in_one_batch_and_alone(recording: Recording) -> None:
    events, control = Decoder("venue").decode(recording.frames, 1.0)
    assert control == []
    assert [(event.stream, event.raw) for event in events] == recording.parts
    for frame, event in zip(recording.frames, events, strict=True):
        assert Decoder("venue").decode([frame], 1.0) == ([event], [])


def test_every_value_of_every_frame_lands_in_a_field(recording: Recording) -> None:
    events, _ = Decoder("venue").decode(recording.frames, 1.0)
    assert [lost for event in events if (lost := lost_of(event))] == []


def test_diff_depth_is_unbroken(recording: Recording) -> None:
    last: dict[str, int] = {}
    events, _ = Decoder("venue").decode(recording.frames, 1.0)
    for event in events:
        if isinstance(event.data, Depth):
            assert last.get(event.stream, event.data.first_update_id - 1) + 1 == (
                event.data.first_update_id
            )
            last[event.stream] = event.data.last_update_id
    assert len(last) == len(recording.snapshots)


# -- replay ---------------------------------------------------------------------------------------


class Player:
    """A server that plays the frames to the first connection, and refuses any other."""

    def __init__(self, frames: Sequence[bytes], per_write: int) -> None:
        self.frames = frames
        self.per_write = per_write
        self.targets: list[str] = []
        self.nursery: trio.Nursery | None = None

    async def dial(self, endpoint: Endpoint) -> trio.abc.Stream:
        await trio.lowlevel.checkpoint()
        if self.targets:
            raise ConnectionRefusedError("played already")
        assert self.nursery is not None
        ours, theirs = memory_pair()
        self.nursery.start_soon(self.serve, theirs)
        return ours

    async def serve(self, stream: trio.abc.Stream) -> None:
        connection = wsproto.WSConnection(wsproto.ConnectionType.SERVER)
        while not self.targets:
            connection.receive_data(bytes(await stream.receive_some()))
            for event in connection.events():
                if isinstance(event, Request):
                    self.targets.append(event.target)
                    await stream.send_all(connection.send(AcceptConnection()))
        for start in range(0, len(self.frames), self.per_write):
            some = self.frames[start : start + self.per_write]
            data = b"".join(connection.send(TextMessage(frame.decode())) for frame in some)
            await stream.send_all(data + connection.send(Ping(b"%d" % start)))
            await trio.sleep(0.1)
        await stream.send_all(connection.send(CloseConnection(code=1001)))
        await stream.aclose()


async def collect(feed: Feed, items: list[Item]) -> None:
    """Append everything until the feed ends."""
    async for batch in feed.batches():
        items += batch


def no_request(request: httpx2.Request) -> httpx2.Response:
    raise AssertionError(f"nothing is missing, yet {request.url} was asked for")


@pytest.mark.parametrize("per_write", [1, 7, 1000])
async def test_a_replay_comes_out_complete_in_order_and_byte_exact(
    recording: Recording, per_write: int, autojump_clock: MockClock
) -> None:
    streams = list(by_stream(recording.parts))
    chosen = Settings(
        websocket_url="wss://venue.test/stream",
        failover_urls=(),
        streams=tuple(streams),
        depth_snapshot_levels=0,
        max_reconnect_attempts=1,
    )
    items: list[Item] = []
    player = Player(recording.frames, per_write)
    async with (
        trio.open_nursery() as player.nursery,
        open_feed(
            settings=chosen,
            dial=player.dial,
            backfill_transport=httpx2.MockTransport(no_request),
            suspended=lambda: 0.0,
        ) as feed,
    ):
        with pytest.raises(GaveUp):
            await collect(feed, items)
    assert len(player.targets) == 1
    assert all(isinstance(item, Event) for item in items)
    events = [item for item in items if isinstance(item, Event)]
    got = by_stream([(event.stream, event.raw) for event in events])
    assert got == by_stream(recording.parts)
    assert [(event.stream, event.raw) for event in events] == recording.parts
    assert {event.venue for event in events} == {"venue.test"}
    assert {event.origin for event in events} == {"live"}


# -- the book -------------------------------------------------------------------------------------


def test_the_ticker_says_what_the_books_say_wherever_it_speaks_of_the_same_update(
    recording: Recording,
) -> None:
    verdicts: list[Verdict] = []
    books = Books(by_stream(recording.parts), verdicts.append)
    for symbol, row in recording.snapshots.items():
        book, raw = books[symbol], msgspec.json.encode(row)
        data = msgspec.json.decode(raw, type=DepthSnapshot)
        books.apply(Event(data, book.stream, "venue", 1.0, raw, "snapshot"))
    events, _ = Decoder("venue").decode(recording.frames, 1.0)
    for event in events:
        books.apply(event)
    assert {verdict.witness for verdict in verdicts} == {"ticker"}
    assert all(verdict.equal for verdict in verdicts)
    assert len(verdicts) >= 10
    assert {book.state for book in books.all} == {BookState.LIVE}
    assert {book.faults for book in books.all} == {0}
