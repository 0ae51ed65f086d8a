"""A recording of JSON lines, iterated as the feed was."""

from __future__ import annotations

import datetime as dt
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
import trio
import zstandard
from msgspec import structs
from processes import PATIENCE_S, environment
from recordings import START_S, VENUE, session, with_remarks, write_lines

import k2trio
from k2trio.dataset import courses
from k2trio.market.payloads import Event

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from trio.testing import MockClock

    from k2trio.continuity.items import Item


async def read(*paths: Path, **options: Any) -> list[Item]:
    async with k2trio.open_recording(paths, **options) as recording:
        return [item async for item in recording]


def is_live(item: Item) -> bool:
    return isinstance(item, Event) and item.origin == "live"


def at(seconds: float) -> dt.datetime:
    return dt.datetime.fromtimestamp(START_S + seconds, dt.UTC)


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(courses, "READ_BYTES", 2000)


ITEMS = with_remarks(session())


@pytest.mark.usefixtures("small_chunks")
async def test_items_come_out_as_the_feed_delivered_them(tmp_path: Path) -> None:
    assert len({type(item.data) for item in ITEMS if isinstance(item, Event)}) > 12
    found = await read(write_lines(tmp_path / "out.jsonl", ITEMS))
    assert found == ITEMS  # frames and stamps too


async def test_batches_and_single_items_are_the_same(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "out.jsonl", ITEMS)
    async with k2trio.open_recording(path) as recording:
        first = await anext(recording)
        batches = [batch async for batch in recording.batches()]
    assert [first, *(item for batch in batches for item in batch)] == ITEMS


async def test_a_compressed_recording_is_the_same(tmp_path: Path) -> None:
    plain = write_lines(tmp_path / "out.jsonl", ITEMS)
    path = tmp_path / "out.jsonl.zst"
    path.write_bytes(zstandard.compress(plain.read_bytes()))
    plain.unlink()
    assert await read(path) == ITEMS


async def test_rotated_files_are_told_from_the_oldest_on(tmp_path: Path) -> None:
    third = len(ITEMS) // 3
    parts = ITEMS[:third], ITEMS[third : 2 * third], ITEMS[2 * third :]
    names = "out.jsonl.1", "out.jsonl.2", "out.jsonl"
    paths = [write_lines(tmp_path / n, part) for n, part in zip(names, parts, strict=True)]
    assert await read(*reversed(paths)) == ITEMS
    assert await read(tmp_path) == ITEMS


async def test_what_two_programs_recorded_is_told_by_its_time(tmp_path: Path) -> None:
    ours = session(streams=["btcusdt@trade"])
    theirs = session(streams=["ethusdt@trade", "ethusdt@depth@100ms"])
    found = await read(
        write_lines(tmp_path / "a.jsonl", ours), write_lines(tmp_path / "b.jsonl", theirs)
    )
    assert [item for item in found if item in ours] == ours
    assert [item for item in found if item in theirs] == theirs
    times = [item.received for item in found if is_live(item)]
    assert times == sorted(times)


async def test_some_streams_and_a_part_of_the_time(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "out.jsonl", ITEMS)
    trades = [i for i in ITEMS if i.stream == "ethusdt@trade"]
    assert await read(path, streams=["ethusdt@trade"]) == trades
    found = await read(path, start=at(1), end=at(2))
    assert [item for item in found if isinstance(item, Event)] == [
        item
        for item in ITEMS
        if isinstance(item, Event) and START_S + 1 <= item.received < START_S + 2
    ]
    said = {"start": "2026-01-01T00:00:01", "end": "2026-01-01T01:00:02+01:00"}
    assert await read(path, **said) == found
    assert [item for item in found if not isinstance(item, Event)] == [
        item for item in ITEMS if not isinstance(item, Event)
    ]  # they were told in that time


@pytest.mark.usefixtures("small_chunks")
async def test_a_long_file_is_not_read_beyond_what_can_be_wanted(tmp_path: Path) -> None:
    early = session(1, ["btcusdt@trade"])
    late = [structs.replace(item, received=item.received + 10_000) for item in early]
    path = write_lines(tmp_path / "out.jsonl", [*early, *late])
    with path.open("ab") as file:
        file.write(b"no line of ours\n" * 100_000)
    assert await read(path, end=at(5)) == early
    with pytest.raises(k2trio.Unreadable, match="no line of ours"):
        await read(path)


@pytest.mark.usefixtures("disk_at_once", "small_chunks")
@pytest.mark.parametrize("speed", [1, 10, 0.5])
async def test_items_come_at_the_distances_at_which_they_were_received(
    tmp_path: Path, speed: float, autojump_clock: MockClock
) -> None:
    path = write_lines(tmp_path / "out.jsonl", ITEMS)
    found: list[Item] = []
    first = next(filter(is_live, ITEMS))
    async with k2trio.open_recording(path, speed=speed) as recording:
        await trio.sleep(100)  # it begins when it is asked
        began = trio.current_time()
        async for batch in recording.batches():
            elapsed = (trio.current_time() - began) * speed
            for item in filter(is_live, batch):
                assert elapsed == pytest.approx(item.received - first.received, abs=1e-6)
            found += batch
    assert found == ITEMS
    assert sum(isinstance(item, Event) for item in found) > 100


@pytest.mark.usefixtures("disk_at_once")
async def test_whoever_is_late_gets_what_is_due_at_once(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    path = write_lines(tmp_path / "out.jsonl", ITEMS)
    async with k2trio.open_recording(path, speed=1) as recording:
        batches = recording.batches()
        await anext(batches)
        await trio.sleep(1)
        late = await anext(batches)
    times = [item.received for item in late if isinstance(item, Event)]
    assert times[-1] - START_S == pytest.approx(1, abs=0.05)
    assert len(times) > 20


async def test_the_callers_own_exception_comes_out_as_it_went_in(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "out.jsonl", ITEMS)
    with pytest.raises(LookupError, match="mine"):
        async with k2trio.open_recording(path):
            raise LookupError("mine")


async def test_misuse_is_told(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "out.jsonl", ITEMS)
    async with k2trio.open_recording(path) as recording:
        pass
    with pytest.raises(k2trio.FeedClosed, match="left"):
        await anext(recording)
    options: Sequence[tuple[dict[str, Any], str]] = (
        ({"speed": 0}, "speed"),
        ({"time_unit": "s"}, "time_unit"),
        ({"start": "tomorrow"}, "no time"),
        ({"streams": "btcusdt@trade"}, "list"),
    )
    for wrong, word in options:
        with pytest.raises(k2trio.ConfigError, match=word):
            await read(path, **wrong)
    with pytest.raises(k2trio.ConfigError, match="there is no"):
        await read(tmp_path / "none.jsonl")


async def test_a_second_reader_is_told(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "out.jsonl", ITEMS)
    async with k2trio.open_recording(path, speed=1e-6) as recording, trio.open_nursery() as both:
        batches = recording.batches()
        await anext(batches)
        both.start_soon(anext, batches)
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(k2trio.UsageError, match="another task"):
            await anext(batches)
        both.cancel_scope.cancel()


async def test_a_torn_end_is_no_error_and_garbage_is_one_after_what_was_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_lines(tmp_path / "out.jsonl", ITEMS)
    whole = path.read_bytes()
    path.write_bytes(whole[:-20])
    assert await read(path) == ITEMS[:-1]
    path.write_bytes(whole + b"[]\n" * 1000)
    monkeypatch.setattr(courses, "READ_BYTES", 2000)
    async with k2trio.open_recording(path) as recording:
        got = [await anext(recording) for _ in range(len(ITEMS) * 3 // 4)]
        assert got == ITEMS[: len(got)]
        with pytest.raises(k2trio.Unreadable):
            async for _ in recording:
                pass
        with pytest.raises(k2trio.Unreadable):
            await anext(recording)  # it does not seem to have ended


def test_plain_lines_need_no_extra(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "out.jsonl", ITEMS)
    script = f"""
import sys
for name in ("pyarrow", "numpy", "zstandard"): sys.modules[name] = None
import k2trio, trio
async def main():
    async with k2trio.open_recording({str(path)!r}) as recording:
        print(len([item async for item in recording]))
    async with k2trio.open_recording({str(tmp_path)!r}) as recording:
        print((await anext(recording)).venue)
trio.run(main)
"""
    done = subprocess.run(  # noqa: S603 - our own program
        [sys.executable, "-c", script],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert (done.stderr, done.stdout.split()) == ("", [str(len(ITEMS)), VENUE])
