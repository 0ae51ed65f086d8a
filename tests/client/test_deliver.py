"""A feed into a sink: acknowledged, finished within a bound, and a sink of a user's own."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest
import trio
from pages import DOCS, blocks
from processes import PATIENCE_S, environment, simulator
from world import fault, open_world

from k2trio import Event, GaveUp, SinkError, deliver
from k2trio.rotation import Rotation
from k2trio.sinks.jsonl import JsonLines

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from k2trio import Item

STREAM = "btcusdt@trade"


class Kept:
    """A sink that keeps ids, and takes its time.

    :ivar pause_s: how long each item takes.
    :ivar fail_at: how many items it has room for.
    """

    def __init__(self, pause_s: float = 0.0, room: int = 1_000_000) -> None:
        self.whole = 0
        self.ids: list[int] = []
        self.flushed = 0
        self.pause_s = pause_s
        self.room = room

    async def write(self, items: Sequence[Item]) -> None:
        self.whole = 0
        for item in items:
            self.check()
            await trio.sleep(self.pause_s)
            if len(self.ids) == self.room:
                self.room = -1
                self.check()
            assert isinstance(item, Event)
            self.ids.append(item.data.trade_id)  # type: ignore[union-attr]
            self.whole += 1

    def check(self) -> None:
        if self.room < 0:
            raise SinkError("there is no more room")

    def sync(self) -> None:
        pass

    async def flush(self) -> None:
        self.flushed += 1


def assert_without_a_hole(ids: Sequence[int]) -> None:
    assert len(ids) > 10
    assert list(ids) == list(range(ids[0], ids[-1] + 1))


SETTINGS = {"streams": [STREAM], "state": None}


async def test_a_feed_is_written_until_it_is_cancelled_and_then_what_is_left(
    autojump_clock: Any,
) -> None:
    sink = Kept()
    async with open_world(rate=50, consume=False, settings=SETTINGS) as world:
        with trio.move_on_after(5):
            await deliver(world.feed, sink)
        assert_without_a_hole(sink.ids)
        (row,) = world.feed.coverage()
        assert row.live == len(sink.ids)
        assert world.feed.write_off() == []
    assert sink.flushed == 1


@pytest.mark.slow
async def test_a_write_that_is_cancelled_goes_on_where_it_was(autojump_clock: Any) -> None:
    """In the midst of a batch, of which a part is whole; nothing comes twice, nothing is lost."""
    cut = 0
    for tenths in range(20, 60):
        sink = Kept(pause_s=0.003)
        async with open_world(rate=100, consume=False, settings=SETTINGS) as world:
            with trio.move_on_after(tenths / 10):
                await deliver(world.feed, sink)
            cut += sink.whole > 0
            assert_without_a_hole(sink.ids)
            assert world.feed.write_off() == []
    assert cut > 10


async def test_what_a_failed_sink_has_whole_is_acknowledged_and_no_more(
    autojump_clock: Any,
) -> None:
    sink = Kept(room=100)
    async with open_world(rate=300, consume=False, settings=SETTINGS) as world:
        with pytest.raises(SinkError, match="there is no more room"):
            await deliver(world.feed, sink)
        (gap,) = world.feed.write_off()
        assert (len(sink.ids), gap.first, gap.reason) == (100, sink.ids[-1] + 1, "not_written")
    assert sink.flushed == 1


async def test_a_slow_sink_delays_the_end_by_its_bound_only(autojump_clock: Any) -> None:
    sink = Kept(pause_s=1)
    async with open_world(rate=50, consume=False, settings=SETTINGS) as world:
        with trio.move_on_after(5):
            with pytest.raises(SinkError, match=r"\d+ messages were not written"):
                await deliver(world.feed, sink)
        assert trio.current_time() < 5 + 1.5


async def test_a_feed_that_gives_up_is_written_to_its_end(autojump_clock: Any) -> None:
    sink = Kept(pause_s=0.001)
    settings = SETTINGS | {"max_reconnect_attempts": 1, "enable_circuit_breaker": False}
    faults = [fault(5, "rst", "*"), fault(5, "refused", "*", duration=1e6)]
    async with open_world(faults, rate=50, consume=False, settings=settings) as world:
        with pytest.raises(GaveUp):
            await deliver(world.feed, sink)
        assert_without_a_hole(sink.ids)
        assert world.feed.write_off() == []


@pytest.mark.slow
def test_the_sink_of_the_documents_has_every_trade_once_after_kills(tmp_path: Path) -> None:
    """The example as it stands there, killed twice."""
    (example,) = (block.text for block in blocks(DOCS / "howto/sink.md", "python"))
    table, state = tmp_path / "trades.db", tmp_path / "state.json"

    def ids() -> list[int]:
        with sqlite3.connect(table) as database:
            return [row[0] for row in database.execute("SELECT id FROM trades ORDER BY id")]

    with simulator("--rate", "100", "--seed", "1") as exchange:
        for count in (200, 400, 600):
            with subprocess.Popen(  # noqa: S603 - our own text
                [sys.executable, "-X", "dev", "-W", "error", "-c", example],
                env=environment(**exchange.variables()),
                cwd=tmp_path,
            ) as process:
                deadline = time.monotonic() + PATIENCE_S
                while not state.exists() or len(ids()) < count:
                    assert process.poll() is None
                    assert time.monotonic() < deadline
                    time.sleep(0.1)
                process.kill()
                process.wait(PATIENCE_S)
            found = ids()
            assert_without_a_hole(found)
            (row,) = json.loads(state.read_text())["positions"]
            assert row["position"] <= found[-1]


# -- a sink that need not be waited for ---------------------------------------------------------


class Prompt(Kept):
    """One that mostly takes items at once.

    :ivar waited: where the batches begin that had to be waited for.
    """

    prompt = True

    def __init__(self, every: int, room: int = 1_000_000) -> None:
        super().__init__(room=room)
        self.every = every
        self.waited: list[int] = []
        self.asked = 0

    def write_now(self, items: Sequence[Item]) -> bool:
        self.whole = 0
        self.asked += 1
        if not self.asked % self.every:
            return False
        for item in items:
            if len(self.ids) == self.room:
                raise SinkError("there is no more room")
            assert isinstance(item, Event)
            self.ids.append(item.data.trade_id)  # type: ignore[union-attr]
            self.whole += 1
        return True

    async def write(self, items: Sequence[Item]) -> None:
        self.waited.append(len(self.ids))
        await super().write(items)


async def test_a_prompt_sink_is_waited_for_only_where_it_says_so(autojump_clock: Any) -> None:
    sink = Prompt(every=7)
    async with open_world(rate=20, consume=False, settings=SETTINGS) as world:
        with trio.move_on_after(30):
            await deliver(world.feed, sink)
        assert world.feed.drain() == []
    ((first, _),) = world.exchange.truth.ranges(STREAM)
    assert sink.ids == list(range(first, sink.ids[-1] + 1))
    assert len(sink.ids) > 500
    assert sink.asked // 7 <= len(sink.waited) <= sink.asked // 7 + 1
    assert sink.flushed == 1


async def test_what_a_prompt_sink_did_not_take_is_accounted_for(autojump_clock: Any) -> None:
    sink = Prompt(every=1_000_000, room=100)
    async with open_world(rate=300, consume=False, settings=SETTINGS) as world:
        with pytest.raises(SinkError, match="there is no more room"):
            await deliver(world.feed, sink)
        (gap,) = world.feed.write_off()
        assert (len(sink.ids), gap.first, gap.reason) == (100, sink.ids[-1] + 1, "not_written")


async def test_a_file_is_written_where_the_feed_reads_and_rotated_in_between(
    tmp_path: Path, autojump_clock: Any, disk_at_once: None
) -> None:
    path = tmp_path / "trades.jsonl"
    async with open_world(rate=50, consume=False, settings=SETTINGS) as world:
        with JsonLines(path, Rotation(max_bytes=20_000)) as sink, trio.move_on_after(60):
            await deliver(world.feed, sink)
    files = [file for file in tmp_path.iterdir() if "jsonl" in file.name]  # noqa: ASYNC240
    assert len(files) > 5
    lines = [json.loads(line) for file in files for line in file.read_text().splitlines()]
    ids = [line["data"]["t"] for line in lines]
    assert sorted(ids) == list(range(min(ids), max(ids) + 1))
