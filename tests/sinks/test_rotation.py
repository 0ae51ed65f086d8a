"""Files of periods and sizes: finished at their time, under names that overwrite nothing."""

from __future__ import annotations

import os
import random
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeAlias

import pytest
import trio
from recorded_lines import events, numbers

from k2trio.errors import SinkError
from k2trio.rotation import Rotation
from k2trio.sinks.jsonl import TEND_INTERVAL_S, JsonLines
from k2trio.sinks.zst import ZstdLines

if TYPE_CHECKING:
    from pathlib import Path

NOON = datetime(2026, 11, 26, 12, tzinfo=UTC).timestamp()
HOURLY = Rotation(period_s=3600)
FileSink: TypeAlias = "type[JsonLines | ZstdLines]"

both = pytest.mark.parametrize(
    ("kind", "name"), [(JsonLines, "out.jsonl"), (ZstdLines, "out.jsonl.zst")]
)


class Clock:
    """A wall clock that a test sets."""

    def __init__(self, hours: float = 0.0) -> None:
        self.set(hours)

    def set(self, hours: float) -> None:
        """So many hours after noon."""
        self.now = NOON + hours * 3600

    def __call__(self) -> float:
        return self.now


class Told(list[str]):
    """The events that a sink tells."""

    def __call__(self, event: str, **context: Any) -> None:
        self.append(event)


def finished(path: Path, mark: str) -> Path:
    stem, dot, ending = path.name.partition(".jsonl.zst")
    return path.with_name(f"{stem}.{mark}{dot}{ending}")


def names(folder: Path) -> list[str]:
    return sorted(os.listdir(folder))  # noqa: PTH208


# -- periods --------------------------------------------------------------------------------------


@both
async def test_each_hour_has_a_file_that_is_called_by_its_start(
    tmp_path: Path, kind: FileSink, name: str
) -> None:
    path, clock = tmp_path / name, Clock(0.9)
    with kind(path, HOURLY, wall_clock=clock) as sink:
        for number, hours in enumerate([0.9, 0.99, 1.0, 1.5, 3.2]):
            clock.set(hours)
            await sink.write(events([number]))
    assert numbers(finished(path, "20261126T120000Z")) == [0, 1]
    assert numbers(finished(path, "20261126T130000Z")) == [2, 3]
    assert numbers(path) == [4]
    assert len(names(tmp_path)) == 3


@both
async def test_on_a_quiet_feed_the_hours_file_is_finished_too(
    tmp_path: Path, autojump_clock: Any, kind: FileSink, name: str, disk_at_once: None
) -> None:
    path = tmp_path / name
    began = trio.current_time()
    with kind(path, HOURLY, wall_clock=lambda: NOON + trio.current_time() - began) as sink:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(sink.tend)
            await sink.write(events([1]))
            await trio.sleep(3599)
            assert names(tmp_path) == [name]
            await trio.sleep(1 + TEND_INTERVAL_S)
            assert numbers(finished(path, "20261126T120000Z")) == [1]
            assert path.stat().st_size == 0
            await trio.sleep(3 * 3600)  # nothing comes: no empty files
            assert len(names(tmp_path)) == 2
            await sink.write(events([2]))
            nursery.cancel_scope.cancel()
    assert numbers(path) == [2]


@both
async def test_a_clock_that_jumps_both_ways_loses_and_overwrites_nothing(
    tmp_path: Path, kind: FileSink, name: str
) -> None:
    path, clock, rng = tmp_path / name, Clock(), random.Random(1)
    with kind(path, HOURLY, wall_clock=clock) as sink:
        for number in range(200):
            clock.set(rng.uniform(-3, 3))
            await sink.write(events([number]))
    found = [numbers(tmp_path / one) for one in names(tmp_path)]
    assert sorted(at for one in found for at in one) == list(range(200))
    assert len(found) > 100
    twice = numbers(finished(path, "20261126T120000Z.2"))
    assert twice > numbers(finished(path, "20261126T120000Z"))


@both
async def test_a_step_back_over_the_edge_makes_a_file_more_and_no_other_harm(
    tmp_path: Path, kind: FileSink, name: str
) -> None:
    path, clock = tmp_path / name, Clock()
    with kind(path, HOURLY, wall_clock=clock) as sink:
        for number, hours in enumerate([0.999, 1.001, 0.9999, 1.002]):
            clock.set(hours)
            await sink.write(events([number]))
    marks = ["20261126T120000Z", "20261126T120000Z.2", "20261126T130000Z"]
    assert [numbers(finished(path, mark)) for mark in marks] == [[0], [2], [1]]
    assert numbers(path) == [3]


@both
async def test_a_restart_goes_on_with_the_hours_file_and_finishes_an_older_one(
    tmp_path: Path, kind: FileSink, name: str
) -> None:
    path, clock = tmp_path / name, Clock(0.2)

    async def write(number: int, hours: float) -> None:
        clock.set(hours)
        with kind(path, HOURLY, wall_clock=clock) as sink:
            await sink.write(events([number]))
        os.utime(path, (clock.now, clock.now))

    await write(1, 0.2)
    await write(2, 0.8)
    await write(3, 2.1)
    assert numbers(finished(path, "20261126T120000Z")) == [1, 2]
    assert numbers(path) == [3]


async def test_with_a_size_too_parts_of_a_period_have_numbers(tmp_path: Path) -> None:
    path, clock = tmp_path / "out.jsonl", Clock()
    with JsonLines(path, Rotation(max_bytes=1, period_s=3600), wall_clock=clock) as sink:
        for number in range(3):
            await sink.write(events([number]))
    marks = ["20261126T120000Z", "20261126T120000Z.2", "20261126T120000Z.3"]
    assert [numbers(finished(path, mark)) for mark in marks] == [[0], [1], [2]]


# -- names ----------------------------------------------------------------------------------------


@both
async def test_a_name_that_is_taken_is_left_alone(
    tmp_path: Path, kind: FileSink, name: str
) -> None:
    path = tmp_path / name
    for mark in ("1", "3"):
        finished(path, mark).write_bytes(b"precious")
    with kind(path, Rotation(max_bytes=1)) as sink:
        for number in range(2):
            await sink.write(events([number]))
            sink.sync()
    assert [finished(path, mark).read_bytes() for mark in ("1", "3")] == [b"precious"] * 2
    assert [numbers(finished(path, mark)) for mark in ("4", "5")] == [[0], [1]]


async def test_a_name_that_is_taken_in_the_last_moment_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "out.jsonl"
    finished(path, "1").write_bytes(b"precious")
    monkeypatch.setattr(os, "listdir", lambda _: [])
    with JsonLines(path, Rotation(max_bytes=1)) as sink:
        await sink.write(events([1]))
    assert finished(path, "1").read_bytes() == b"precious"
    assert numbers(finished(path, "2")) == [1]


async def test_a_crash_between_taking_a_name_and_renaming_leaves_nothing_for_good(
    tmp_path: Path,
) -> None:
    path = tmp_path / "out.jsonl"
    finished(path, "1").write_bytes(b"precious")
    finished(path, "2").touch()
    with JsonLines(path, Rotation(max_bytes=1)) as sink:
        await sink.write(events([1]))
    assert numbers(finished(path, "2")) == [1]
    assert names(tmp_path) == ["out.jsonl", "out.jsonl.1", "out.jsonl.2"]


async def test_a_rename_that_fails_leaves_no_name_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, clock = tmp_path / "out.jsonl", Clock()

    def refuse(*_: Path) -> None:
        raise PermissionError(13, "no")

    with JsonLines(path, HOURLY, wall_clock=clock) as sink:
        await sink.write(events([1]))
        clock.set(1)
        monkeypatch.setattr(os, "rename", refuse)
        with pytest.raises(SinkError, match=r"cannot rename .*: permission denied"):
            await sink.write(events([2]))
        assert sink.whole == 0
        monkeypatch.undo()
        # What it refused is missing: nothing may be written behind that.
        with pytest.raises(SinkError, match="cannot rename"):
            await sink.write(events([3]))
    assert names(tmp_path) == ["out.jsonl"]
    assert numbers(path) == [1]


@both
@pytest.mark.parametrize("deleted", [False, True], ids=["moved", "deleted"])
async def test_a_file_that_was_moved_away_at_the_edge_is_not_finished_too(
    tmp_path: Path, kind: FileSink, name: str, deleted: bool
) -> None:
    path, clock = tmp_path / name, Clock()
    with kind(path, HOURLY, wall_clock=clock) as sink:
        await sink.write(events([1]))
        sink.sync()
        path.rename(tmp_path / "moved")
        if deleted:
            (tmp_path / "moved").unlink()
        clock.set(1)
        await sink.write(events([3]))
        sink.sync()
        assert numbers(path) == [3]
        assert names(tmp_path) == sorted([name] if deleted else [name, "moved"])


async def test_where_its_folder_was_moved_the_old_file_goes_on_over_the_edge(
    tmp_path: Path,
) -> None:
    (tmp_path / "here").mkdir()
    path, clock, told = tmp_path / "here" / "out.jsonl", Clock(), Told()
    with JsonLines(path, HOURLY, told, clock) as sink:
        await sink.write(events([1]))
        (tmp_path / "here").rename(tmp_path / "there")
        clock.set(1)
        await sink.write(events([2]))
        assert told == ["output_not_reopened"]
        (tmp_path / "here").mkdir()
        await sink.write(events([3]))
    assert numbers(tmp_path / "there" / "out.jsonl") == [1, 2]
    assert numbers(path) == [3]


# -- keeping --------------------------------------------------------------------------------------


@both
async def test_the_newest_finished_files_are_kept_and_nobody_elses_is_removed(
    tmp_path: Path, kind: FileSink, name: str
) -> None:
    path, clock = tmp_path / name, Clock()
    others = [
        f"{name}.bak", "out.jsonl.20261126T12", "out.jsonl.20261126T120000Z.02", "out.1.jsonl",
        "other.jsonl.20261126T120000Z", "out.jsonl.7", "out.7.jsonl.zst",
    ]  # fmt: skip
    for other in others:
        (tmp_path / other).write_bytes(b"precious")
    with kind(path, HOURLY._replace(keep=2), wall_clock=clock) as sink:
        for number in range(6):
            clock.set(number)
            await sink.write(events([number]))
    kept = {finished(path, f"20261126T{hour}0000Z").name for hour in (15, 16)}
    assert set(names(tmp_path)) == {name, *others, *kept}
    assert all((tmp_path / other).read_bytes() == b"precious" for other in others)


async def test_numbers_go_on_where_old_files_were_removed(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    for start in (0, 12):
        with JsonLines(path, Rotation(max_bytes=1, keep=3)) as sink:
            for number in range(start, start + 12):
                await sink.write(events([number]))
    assert names(tmp_path) == ["out.jsonl", *(f"out.jsonl.{number}" for number in (22, 23, 24))]
    assert numbers(finished(path, "22")) == [21]


async def test_what_was_just_finished_is_kept_also_under_an_old_name(tmp_path: Path) -> None:
    """The clock was set back by a day, so its name is older than all that are there."""
    path, clock = tmp_path / "out.jsonl", Clock()
    with JsonLines(path, HOURLY._replace(keep=1), wall_clock=clock) as sink:
        for number, hours in enumerate([0, 1, -24, -23]):
            clock.set(hours)
            await sink.write(events([number]))
    assert names(tmp_path) == ["out.jsonl", "out.jsonl.20261125T120000Z"]
    assert numbers(tmp_path / "out.jsonl.20261125T120000Z") == [2]


async def test_an_old_file_that_cannot_be_removed_is_told_and_ends_nothing(tmp_path: Path) -> None:
    path, told = tmp_path / "out.jsonl", Told()
    finished(path, "1").mkdir()
    with JsonLines(path, Rotation(max_bytes=1, keep=1), told) as sink:
        await sink.write(events([1]))
    assert told == ["old_output_not_removed"]
    assert numbers(finished(path, "2")) == [1]
