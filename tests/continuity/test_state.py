"""The state file: what it survives, what it refuses, and that it never runs ahead."""

from __future__ import annotations

import errno
import math
import os
import random
import stat
from typing import TYPE_CHECKING, Any

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from world import START_MS, SUBJECT, World, fault, make_settings, open_world

from k2trio.client.opening import open_feed
from k2trio.client.resume import SAVE_ATTEMPTS
from k2trio.continuity.items import Gap
from k2trio.continuity.positions import Position
from k2trio.continuity.state import MAX_STATE_BYTES, load_state, locked, save_state
from k2trio.errors import ConfigError, SinkError
from k2trio.market.payloads import Event
from k2trio.market.units import MS, UNITS, US, TimeUnit
from k2trio.observe import transitions as on
from k2trio.simulator import Exchange, FaultBoard, Market, MemoryNetwork, RestServer

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("disk_at_once")

POSITIONS = [
    Position("binance.com", "btcusdt@trade", 123_456),
    Position("binance.com", "btcusdt@depth@100ms", 0),
    Position("binance.us", "btcusdt@kline_1M@+08:00", START_MS),
    Position("binance.com", "币安人生usdt@aggTrade", -1),
]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state.json"


# -- the file -----------------------------------------------------------------------------------


def test_what_is_written_is_read(path: Path) -> None:
    save_state(path, POSITIONS)
    assert list(load_state(path)) == POSITIONS


@pytest.mark.parametrize(("wrote", "reads"), [(MS, US), (US, MS)], ids=["ms-us", "us-ms"])
def test_a_run_in_another_unit_finds_the_times_in_its_own(
    path: Path, wrote: TimeUnit, reads: TimeUnit
) -> None:
    def told(unit: TimeUnit) -> list[Position]:
        time, bar = START_MS * unit.per_ms, START_MS // 60_000 * 60_000 * unit.per_ms
        return [
            Position("v", "btcusdt@aggTrade", 7, time, START_MS / 1000, 99),
            Position("w", "btcusdt@kline_1m", bar, time, START_MS / 1000 + 1),
            Position("w", "btcusdt@trade", 10**15),
            Position("w", "btcusdt@kline_1h", 0),
            Position("w", "ethusdt@kline_1h", -1),
        ]

    save_state(path, told(wrote), wrote)
    assert list(load_state(path, reads)) == told(reads)
    assert list(load_state(path, wrote)) == told(wrote)


def test_a_missing_file_is_an_empty_state(path: Path) -> None:
    assert load_state(path) == ()


def test_every_truncation_is_refused_in_one_clear_line(path: Path) -> None:
    save_state(path, POSITIONS)
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(ConfigError) as refused:
            load_state(path)
        message = str(refused.value)
        assert str(path) in message
        assert "is not a whole k2trio state file" in message
        assert "move it away" in message
        assert message.isprintable()


@pytest.mark.parametrize(
    "content",
    [
        b"\0" * 4096,
        b"hello",
        b"{}",
        b"[]",
        b"null",
        b'{"format":"k2trio-state-2","positions":[]}',
        b'{"format":"k2trio-state-1","positions":[],"more":1}',
        b'{"format":"k2trio-state-1","positions":[{"venue":"v","stream":"btcusdt@trade"}]}',
        b'{"format":"k2trio-state-1","positions":[{"venue":"v","stream":"no\\nsuch","position":1}]}',
        b'{"format":"k2trio-state-1","positions":[{"venue":"v","stream":"a@ticker","position":1}]}',
        b'{"format":"k2trio-state-1","positions":[{"venue":"v","stream":"a@trade","position":1.5}]}',
        b'{"format":"k2trio-state-1","positions":[{"venue":"v","stream":"a@trade","position":-2}]}',
        b'{"format":"k2trio-state-1","positions":[{"venue":"v","stream":"a@trade","position":'
        + b"9" * 30
        + b"}]}",
        b'{"format":"k2trio-state-1","positions":[{"venue":"\xff","stream":"a@trade","position":1}]}',
        b'{"format":' + b"[" * 100_000,
        b"\x80\x04\x95pickle",
    ],
)
def test_foreign_content_is_refused_in_one_clear_line(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(ConfigError, match="is not a whole k2trio state file") as refused:
        load_state(path)
    assert str(refused.value).isprintable()
    assert len(str(refused.value)) < 600


def test_a_stream_that_no_run_goes_on_with_is_named_and_so_is_what_to_do(path: Path) -> None:
    save_state(path, [Position("v", "a@ticker", 1)])
    told = r"\(a@ticker has no position to go on from\); move it away .*, or choose another file$"
    with pytest.raises(ConfigError, match=told):
        load_state(path)


@given(at=st.integers(0, 10_000), byte=st.integers(0, 255))
def test_a_flipped_byte_is_refused_or_harmless(
    tmp_path_factory: pytest.TempPathFactory, at: int, byte: int
) -> None:
    path = tmp_path_factory.mktemp("state") / "state.json"
    save_state(path, POSITIONS)
    content = bytearray(path.read_bytes())
    content[at % len(content)] = byte
    path.write_bytes(content)
    try:
        positions = load_state(path)
    except ConfigError:
        return
    assert len(positions) == len(POSITIONS)


def test_a_huge_file_is_not_read(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(MAX_STATE_BYTES + 1)
    with pytest.raises(ConfigError, match="too large"):
        load_state(path)


def test_a_file_that_cannot_be_read_is_named(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_state(path, POSITIONS)

    def refuse(*_: Any) -> bytes:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr("os.read", refuse)
    with pytest.raises(ConfigError, match=r"cannot read the state file .*: Permission denied"):
        load_state(path)


def test_what_is_no_file_is_not_read(tmp_path: Path) -> None:
    """Reading a pipe would wait for ever, a device would never end."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for place in (tmp_path, pipe):
        with pytest.raises(ConfigError, match="is not a regular file"):
            load_state(place)


@pytest.mark.parametrize("step", ["open", "write", "fsync", "replace"])
def test_a_failure_at_any_step_leaves_the_old_file(
    path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    save_state(path, POSITIONS)

    def fail(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(f"os.{step}", fail)
        with pytest.raises(OSError, match="No space left"):
            save_state(path, [Position("v", SUBJECT, 1)])
    assert list(load_state(path)) == POSITIONS
    assert [file.name for file in path.parent.iterdir()] == ["state.json"]


def test_a_crash_between_write_and_rename_leaves_the_old_file(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the crashed process left beside it is gone when the next one has the file."""

    class Crash(BaseException):
        pass

    def crash(*_: Any) -> None:
        raise Crash

    save_state(path, POSITIONS)
    with monkeypatch.context() as patch:
        patch.setattr("os.replace", crash)
        with pytest.raises(Crash):
            save_state(path, [Position("v", SUBJECT, 1)])
    assert list(load_state(path)) == POSITIONS
    assert len(list(path.parent.iterdir())) == 2
    with locked(path):
        save_state(path, [Position("v", SUBJECT, 2)])
        assert [row.position for row in load_state(path)] == [2]
    assert {file.name for file in path.parent.iterdir()} == {"state.json", ".state.json.lock"}


def test_new_files_are_private_and_follow_no_link(path: Path, tmp_path: Path) -> None:
    """A link that somebody planted where a file of ours is to be leads nobody's file astray."""
    victim = tmp_path / "victim"
    victim.write_text("precious")
    path.symlink_to(victim)
    save_state(path, POSITIONS)
    assert (victim.read_text(), path.is_symlink()) == ("precious", False)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    (tmp_path / ".other.json.lock").symlink_to(victim)
    with pytest.raises(ConfigError, match="it is a link"), locked(tmp_path / "other.json"):
        pass
    assert victim.read_text() == "precious"


def test_without_a_file_there_is_nothing_to_keep(
    monkeypatch: pytest.MonkeyPatch, path: Path
) -> None:
    monkeypatch.chdir(path.parent)
    with locked(None), locked(None):
        assert list(path.parent.iterdir()) == []


def test_one_program_at_a_time_has_the_file(path: Path) -> None:
    with locked(path):
        save_state(path, POSITIONS)  # the lock survives that the file is replaced
        with pytest.raises(ConfigError, match="in use by another program"), locked(path):
            pass
    with locked(path):
        pass


# -- the feed that keeps it ---------------------------------------------------------------------


class Place:
    """One simulated venue that outlives the feeds that are opened on it."""

    def __init__(self, path: Path, *, rate: float = 10, faults: Any = ()) -> None:
        board = FaultBoard(faults)
        self.network = MemoryNetwork(board)
        self.exchange = Exchange(
            "venue", Market(["BTCUSDT", "ETHUSDT"], seed=1, rate=rate), faults=board
        )
        self.network.add("venue.test", 1, self.exchange, "a")
        self.network.add_rest("venue.test", RestServer(self.exchange))
        self.path = path

    async def dial(self, endpoint: Any) -> trio.abc.Stream:
        return await self.network.dial(endpoint.host, endpoint.port)

    def open(self, *, sync: Any = None, observers: Any = (), **values: Any) -> Any:
        chosen = {"rest_urls": ["https://venue.test"], "state": self.path, **values}
        return open_feed(
            settings=make_settings(["wss://venue.test:1/stream"], **chosen),
            dial=self.dial,
            rng=random.Random(1),
            wall_clock=lambda: START_MS / 1000 + trio.current_time(),
            backfill_transport=self.network.rest_transport(),
            suspended=lambda: 0.0,
            sync=sync,
            observers=observers,
        )

    def stored(self) -> dict[str, int]:
        return {row.stream: row.position for row in load_state(self.path)}


@pytest.fixture
async def place(path: Path, autojump_clock: Any) -> AsyncGenerator[Place]:
    made = Place(path)
    async with trio.open_nursery() as nursery:
        await nursery.start(made.network.run)
        yield made
        nursery.cancel_scope.cancel()


def numbers(items: list[Any], stream: str = SUBJECT) -> list[int]:
    return [item.data.trade_id for item in items if item.stream == stream]


async def take(feed: Any, count: int) -> list[Any]:
    """Single events until there are enough; the rest of their batch is taken too."""
    items: list[Any] = []
    while len(items) < count:
        items += await feed.next_batch()
    return items


async def test_a_restart_goes_on_where_the_consumer_was(autojump_clock: Any, place: Place) -> None:
    async with place.open() as feed:
        first = await take(feed, 50)
        feed.acknowledge()
    await trio.sleep(60)
    async with place.open() as feed:
        second = await take(feed, 700)
    ids = numbers(first) + numbers(second)
    assert ids == list(range(ids[0], ids[0] + len(ids)))
    assert {item.origin for item in second} == {"backfill", "live"}
    assert place.stored()[SUBJECT] < ids[-1], "the last batch was not acknowledged"


async def test_what_was_handed_out_but_not_dealt_with_is_delivered_again(
    autojump_clock: Any, place: Place
) -> None:
    async with place.open() as feed:
        batches = [await feed.next_batch() for _ in range(20)]
        feed.save_state()
        assert place.stored()[SUBJECT] == batches[-2][-1].data.trade_id
    async with place.open() as feed:
        again = await take(feed, 1)
    assert again[0].data.trade_id == batches[-1][0].data.trade_id


async def test_the_position_never_runs_ahead_of_the_consumer(
    autojump_clock: Any, place: Place
) -> None:
    """A slow one: at every look the file is behind or at what was dealt with."""
    dealt_with = 0
    async with place.open() as feed:
        async for batch in feed.batches():
            stored = place.stored().get(SUBJECT, 0) if place.path.exists() else 0
            assert stored <= dealt_with
            await trio.sleep(0.7)
            dealt_with = numbers(batch)[-1]
            if trio.current_time() > 20:
                break
        feed.save_state()
        assert place.stored()[SUBJECT] < dealt_with


async def test_single_events_are_dealt_with_by_whole_batches_only(
    autojump_clock: Any, place: Place
) -> None:
    async with place.open() as feed:
        await trio.sleep(30)
        seen = [await anext(feed) for _ in range(5)]
        feed.save_state()
        assert not place.path.exists() or place.stored()[SUBJECT] <= seen[-1].data.trade_id


async def test_streams_without_new_messages_keep_their_position(
    autojump_clock: Any, place: Place
) -> None:
    quiet = Position("venue.test", "ethusdt@aggTrade", 17)
    abroad = Position("elsewhere.test", SUBJECT, 4)
    save_state(place.path, [quiet, abroad])
    async with place.open() as feed:
        await take(feed, 20)
        feed.acknowledge()
    rows = {(row.venue, row.stream): row.position for row in load_state(place.path)}
    assert rows["venue.test", "ethusdt@aggTrade"] == 17
    assert rows["elsewhere.test", SUBJECT] == 4
    assert rows["venue.test", SUBJECT] > 0


async def test_a_feed_that_got_nothing_leaves_the_file_as_it_was(
    autojump_clock: Any, place: Place
) -> None:
    save_state(place.path, [Position("venue.test", SUBJECT, 17)])
    async with place.open():
        await trio.lowlevel.checkpoint()
    assert place.stored() == {SUBJECT: 17}


async def test_kinds_that_cannot_go_on_are_not_in_the_file(
    autojump_clock: Any, place: Place
) -> None:
    streams = ["btcusdt@bookTicker", "btcusdt@kline_1s", "btcusdt@depth@100ms", SUBJECT]
    async with place.open(streams=streams) as feed:
        await take(feed, 100)
        feed.acknowledge()
    assert set(place.stored()) == set(streams[1:])


async def test_bars_and_book_go_on_after_a_restart(autojump_clock: Any, place: Place) -> None:
    streams = ["btcusdt@kline_1s", "btcusdt@depth@100ms"]
    items: list[Any] = []
    for _ in range(3):
        async with place.open(streams=streams) as feed:
            with trio.move_on_after(30):
                async for batch in feed.batches():
                    items += batch
            items += feed.drain()
            feed.acknowledge()
        await trio.sleep(20)
    closed = [
        item.data.bar.open_time
        for item in items
        if isinstance(item, Event) and "kline" in item.stream and item.data.bar.closed
    ]
    assert closed == list(range(closed[0], closed[0] + 1000 * len(closed), 1000))
    assert len(closed) > 100
    due = None
    snapshots = 0
    for item in items:
        if "depth" not in item.stream:
            continue
        if isinstance(item, Gap):
            assert (item.reason, item.first) == ("snapshot", due)
            due = item.last + 1
        elif isinstance(item, Event) and item.origin == "snapshot":
            assert due is None or item.data.last_update_id + 1 >= due
            due = item.data.last_update_id + 1
            snapshots += 1
        elif isinstance(item, Event):
            assert due is None or item.data.first_update_id <= due <= item.data.last_update_id
            due = item.data.last_update_id + 1
    assert snapshots == 3


@pytest.mark.parametrize("units", [("ms", "us", "ms"), ("us", "us", "ms")], ids="-".join)
async def test_a_restart_in_another_unit_goes_on_where_the_run_before_ended(
    autojump_clock: Any, place: Place, units: Sequence[str]
) -> None:
    bars, ids = list[float](), list[int]()
    for unit in units:
        per_ms = UNITS[unit].per_ms
        async with place.open(streams=[SUBJECT, "btcusdt@kline_1s"], time_unit=unit) as feed:
            items: list[Any] = []
            with trio.move_on_after(30):
                async for batch in feed.batches():
                    items += batch
            items += feed.drain()
            feed.acknowledge()
        assert all(isinstance(item, Event) for item in items)
        ids += numbers(items)
        klines = [item.data.bar for item in items if "kline" in item.stream]
        bars += [bar.open_time / per_ms for bar in klines if bar.closed]
        await trio.sleep(20)
    assert ids == list(range(ids[0], ids[0] + len(ids)))
    assert bars == [bars[0] + 1000 * n for n in range(len(bars))]
    assert len(bars) > 100


def test_a_state_file_of_before_there_was_a_unit_is_in_milliseconds(path: Path) -> None:
    path.write_bytes(
        b'{"format":"k2trio-state-1","positions":['
        b'{"venue":"v","stream":"a@trade","position":7,"time":1800000000001},'
        b'{"venue":"v","stream":"a@kline_1m","position":1800000000000}]}'
    )
    trade, bar = load_state(path, US)
    assert (trade.position, trade.time) == (7, 1_800_000_000_001_000)
    assert (bar.position, bar.time) == (1_800_000_000_000_000, None)


async def test_a_restart_goes_back_no_further_than_it_may(
    autojump_clock: Any, place: Place
) -> None:
    async with place.open() as feed:
        first = await take(feed, 20)
        feed.acknowledge()
    await trio.sleep(100)
    async with place.open(resume_limit=50) as feed:
        gap, *rest = await take(feed, 60)
    assert isinstance(gap, Gap)
    assert (gap.reason, gap.first) == ("resume_limit", numbers(first)[-1] + 1)
    assert numbers(rest)[0] == gap.last + 1
    backfilled = [item for item in rest if item.origin == "backfill"]
    assert 40 <= len(backfilled) <= 50


def refuse_renames(monkeypatch: pytest.MonkeyPatch, times: float) -> None:
    """The disk is full for so many attempts."""
    replace, left = os.replace, times

    def scarce(*paths: Any) -> None:
        nonlocal left
        left -= 1
        if left >= 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        replace(*paths)

    monkeypatch.setattr("os.replace", scarce)


async def test_a_state_file_that_cannot_be_written_for_long_ends_the_feed_with_a_clear_error(
    autojump_clock: Any, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse_renames(monkeypatch, math.inf)
    diary: list[tuple[float, on.StateNotSaved]] = []

    def observe(what: on.Transition) -> None:
        if isinstance(what, on.StateNotSaved):
            diary.append((trio.current_time(), what))

    with pytest.RaisesGroup(pytest.RaisesExc(SinkError, match="cannot write the state file"),
                            pytest.RaisesExc(SinkError), flatten_subgroups=True):  # fmt: skip
        async with place.open(observers=[observe], state_interval=5) as feed:
            async for _ in feed:
                pass
    assert [at for at, _ in diary] == [5, 6, 7, 8, 9]
    assert [what.attempt for _, what in diary] == [1, 2, 3, 4, 5]


async def test_a_save_that_fails_is_told_and_tried_again(
    autojump_clock: Any, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse_renames(monkeypatch, SAVE_ATTEMPTS - 1)
    async with place.open(state_interval=5) as feed:
        with trio.move_on_after(8.5):
            async for _ in feed.batches():
                pass
        assert "the state file is not written: No space left on device" in feed.status().problems
        with trio.move_on_after(1):
            async for _ in feed.batches():
                pass
        assert feed.status().problems == ()
        assert place.stored()[SUBJECT] > 0


async def test_what_the_positions_speak_of_is_made_durable_before_them(
    autojump_clock: Any, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At every sync the file still says less than what was dealt with."""
    done: list[str] = []
    replace = os.replace
    monkeypatch.setattr("os.replace", lambda *paths: (done.append("state"), replace(*paths)))
    async with place.open(sync=lambda: done.append("output")) as feed:
        with trio.move_on_after(10.5):
            async for _ in feed.batches():
                pass
    assert done == ["output", "state"] * 11


async def test_a_state_that_would_speak_of_what_was_not_synced_is_not_written(
    autojump_clock: Any, place: Place
) -> None:
    def refuse() -> None:
        raise SinkError("the disk refuses")

    with pytest.RaisesGroup(pytest.RaisesExc(SinkError), pytest.RaisesExc(SinkError),
                            flatten_subgroups=True):  # fmt: skip
        async with place.open(sync=refuse) as feed:
            async for _ in feed.batches():
                pass
    assert not place.path.exists()


async def test_two_feeds_do_not_share_a_state_file(autojump_clock: Any, place: Place) -> None:
    async with place.open() as feed:
        await take(feed, 5)
        with pytest.raises(ConfigError, match=r"the state file .* is in use by another program"):
            async with place.open():
                pass


async def test_a_torn_file_stops_the_start_and_stays_as_it_is(
    autojump_clock: Any, place: Place
) -> None:
    place.path.write_bytes(b'{"format":"k2tri')
    with pytest.raises(ConfigError, match="not a whole k2trio state file"):
        async with place.open():
            pass
    assert place.path.read_bytes() == b'{"format":"k2tri'


async def test_ids_that_started_anew_meanwhile_are_followed(
    autojump_clock: Any, path: Path
) -> None:
    """The testnet numbers anew every month; what is then lower is new all the same."""
    save_state(path, [Position("venue.test", SUBJECT, 10**15)])
    async with open_world(rate=10, settings={"state": path}) as world:
        await trio.sleep(10)
    reset, *events = [item for _, item in world.items]
    first = events[0]
    assert isinstance(first, Event)
    assert reset == Gap(
        "venue.test", SUBJECT, 10**15 + 1, 10**15 + 1, "reset", None, first.received
    )
    assert len(events) > 50


async def test_the_file_is_written_every_interval(autojump_clock: Any, path: Path) -> None:
    seen: set[int] = set()

    async def look(world: World) -> None:
        for _ in range(100):
            await trio.sleep(0.5)
            seen.update(row.position for row in load_state(path))

    settings = {"state": path, "state_interval": 5}
    async with open_world([fault(0, "segmented")], rate=10, settings=settings) as world:
        await look(world)
    assert 8 <= len(seen) <= 10
