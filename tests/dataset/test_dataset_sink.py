"""The sink of a dataset: journals that turn with the clock, and their sealing beside the feed."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
import trio
from journaled import NOON, Row, everything, journal, journaled, leftovers, trade
from processes import PATIENCE_S, k2trio

from k2trio.continuity.items import Gap
from k2trio.continuity.positions import Position
from k2trio.dataset import sink as module
from k2trio.dataset.healing import Healing
from k2trio.dataset.layout import JournalId
from k2trio.dataset.owners import refuse_others
from k2trio.dataset.sealing import seal_all
from k2trio.dataset.sink import ParquetSink
from k2trio.errors import ConfigError, SinkError
from k2trio.market.units import MS
from k2trio.sinks.parsing import decode_lines, items_of

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable
    from pathlib import Path

    from k2trio.continuity.items import Item

pytestmark = pytest.mark.slow

HOUR = 3600.0


def items(*numbers: int) -> list[Item]:
    return items_of(decode_lines("".join(trade(number) for number in numbers).encode()))


def ids(rows: list[Row]) -> list[int]:
    """Of trades, in order."""
    found = [int(row[3].partition("'trade_id': ")[2].partition(",")[0]) for row in rows]
    return sorted(found)


async def until(condition: Callable[[], Any]) -> None:
    """Look at what another process does until it has done it."""
    with trio.fail_after(PATIENCE_S):
        while not condition():  # noqa: ASYNC110 - nobody sets an event there
            await trio.sleep(0.02)


class Told(list[tuple[str, dict[str, object]]]):
    """What a sink tells."""

    def __call__(self, event: str, **context: object) -> None:
        self.append((event, context))


class Clock:
    """A wall clock that can be set."""

    def __init__(self) -> None:
        self.time = NOON + 1800.0

    def __call__(self) -> float:
        return self.time


class World:
    """A sink that is tended, with what is around it."""

    def __init__(self, root: Path, clock: Clock, told: Told, sink: ParquetSink) -> None:
        self.root, self.clock, self.told, self.sink = root, clock, told, sink

    def journals(self) -> list[str]:
        return sorted(path.name for path in (self.root / "_journal").glob("*.jsonl"))

    async def turn(self, time: float) -> None:
        """Set the clock, and wait for another journal."""
        before = self.sink._begun
        self.clock.time = time
        await until(lambda: self.sink._begun != before)

    async def sealed(self) -> None:
        """Wait until all but the current journal is."""
        await until(lambda: self.journals() == [f"{self.sink._begun}.jsonl"])


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LOOK_S", 0.01)
    monkeypatch.setattr(module, "RETRY_S", 0.2)


@asynccontextmanager
async def tended(root: Path, journals: Path | None = None) -> AsyncGenerator[World]:
    clock, told = Clock(), Told()
    with ParquetSink(str(root), journals, told, clock) as sink:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(sink.tend)
            yield World(root, clock, told, sink)
            nursery.cancel_scope.cancel()


# -- hours ----------------------------------------------------------------------------------------


async def test_an_hour_that_is_over_is_sealed_and_the_next_one_goes_on(
    tmp_path: Path, quick: None
) -> None:
    async with tended(tmp_path) as world:
        await world.sink.write(items(1, 2))
        assert world.sink.whole == 2
        (first,) = world.journals()
        assert first.startswith("20251126T12-")
        await world.turn(NOON + HOUR)
        await world.sink.write(items(3))
        await world.sealed()
        (second,) = world.journals()
        assert second.startswith("20251126T13-")
        assert ids(everything(tmp_path)) == [1, 2, 3]
        assert world.told == []
        assert world.sink.problem is None
    assert world.journals() == [second]
    assert k2trio("seal", str(tmp_path)).returncode == 0
    assert ids(everything(tmp_path)) == [1, 2, 3]
    assert leftovers(tmp_path) == []
    assert len(list((tmp_path / "_sealed").iterdir())) == 2


async def test_a_clock_that_is_set_over_an_edge_and_back_loses_and_overwrites_nothing(
    tmp_path: Path, quick: None
) -> None:
    times = [HOUR + 1, -5.0, HOUR - 1, 48 * HOUR, HOUR + 1, -1e9, 2 * HOUR]
    async with tended(tmp_path) as world:
        for number, seconds in enumerate(times):
            await world.sink.write(items(number))
            await world.turn(NOON + seconds)
        await world.sink.write(items(len(times)))
        await world.sealed()
    assert ids(everything(tmp_path)) == list(range(len(times) + 1))
    assert len(list((tmp_path / "_sealed").iterdir())) == len(times)


async def test_what_an_earlier_run_left_is_sealed_at_the_start(tmp_path: Path, quick: None) -> None:
    path = journal(tmp_path, [trade(1), trade(2)[:30]])
    async with tended(tmp_path) as world:
        await world.sealed()
        await world.sink.write(items(2))
        assert ids(everything(tmp_path)) == [1, 2]
    assert not path.exists()


async def test_remarks_and_messages_are_journaled_as_they_come(tmp_path: Path) -> None:
    gap = Gap("binance.com", "btcusdt@trade", 2, 3, "venue_missing", NOON + 1.0, NOON + 2.0)
    with ParquetSink(str(tmp_path)) as sink:
        await sink.write([*items(1), gap, *items(4)])
        assert sink.whole == 3
        sink.sync()
        await sink.flush()
        sink.check()
        sink.reopen()
    (path,) = (tmp_path / "_journal").iterdir()
    assert items_of(decode_lines(path.read_bytes())) == [*items(1), gap, *items(4)]


async def test_what_is_not_taken_at_once_is_as_if_it_had_not_come(tmp_path: Path) -> None:
    """A journal that is done has to be synced first; what is there already is left out once."""
    with ParquetSink(str(tmp_path)) as sink:
        there = Position("binance.com", "btcusdt@trade", 10)
        sink.leave_out({(there.venue, there.stream): there}, MS)
        assert sink.write_now(items(8))
        assert sink.whole == 1
        sink._lines.begin(sink._path(JournalId.new(NOON + HOUR)))
        batch = items(*range(9, 14))
        assert not sink.write_now(batch)
        assert sink.whole == 0
        await sink.write(batch)
        assert sink.whole == 5
        assert sink.write_now(items(14))
    assert ids(everything(tmp_path)) == [11, 12, 13, 14]


def test_no_two_journals_have_one_name() -> None:
    made = [JournalId.new(NOON + 1800.0004) for _ in range(1000)]
    assert len(set(made)) == 1000
    assert all(JournalId.parse(str(one)) == one for one in made)
    assert JournalId.new(NOON + 1800.1) < JournalId.new(NOON + 1800.2) < JournalId.new(NOON + 3600)


# -- what cannot work -----------------------------------------------------------------------------


def test_journals_beside_a_bucket_are_of_one_dataset(tmp_path: Path) -> None:
    one, other = "s3://bucket/one", "s3://bucket/other"
    for _ in range(2):
        ParquetSink(one, tmp_path).close()
    whose = f"the journals in {tmp_path} are of {one}; name another folder"
    with pytest.raises(ConfigError, match=whose):
        ParquetSink(other, tmp_path)
    with pytest.raises(ConfigError, match=whose):
        list(seal_all(other, tmp_path, "a test"))
    with pytest.raises(ConfigError, match=whose):
        Healing(other, tmp_path, "a test")
    refuse_others(tmp_path, f"{one}/?region=eu-west-1")


@pytest.mark.parametrize(
    ("target", "complaint"),
    [
        ("s3://bucket/set", "s3://bucket/set takes no journals; name a folder for them in JOURNAL"),
        ("ftp://x/y", "ftp://x/y can be no dataset; name a folder, or s3://bucket/prefix"),
    ],
)
def test_what_can_be_no_dataset_is_refused(target: str, complaint: str) -> None:
    with pytest.raises(ConfigError) as caught:
        ParquetSink(target)
    assert str(caught.value) == complaint


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SinkError, match=f"cannot make {tmp_path}/file/set/_journal: "):
        ParquetSink(str(tmp_path / "file" / "set"))


# -- trouble --------------------------------------------------------------------------------------


async def test_a_sealing_that_fails_is_told_and_tried_again_and_ends_nothing(
    tmp_path: Path, quick: None
) -> None:
    target, journals = tmp_path / "set", tmp_path / "journals"
    target.touch()  # so there can be no folder
    async with tended(target, journals) as world:
        await world.sink.write(items(1))
        await world.turn(NOON + HOUR)
        await until(lambda: len(world.told) >= 2)
        event, context = world.told[0]
        assert event == "not_sealed"
        assert str(context["detail"]).startswith("cannot write venue=binance.com/")
        assert [context["next_try_s"] for _, context in world.told[:2]] == [0.2, 0.4]
        assert world.sink.problem is not None
        assert world.sink.problem.startswith("journals are not sealed: cannot write ")
        await world.sink.write(items(2))
        assert ids([row for path in journals.glob("*.jsonl") for row in journaled(path)]) == [1, 2]
        target.unlink()
        await until(lambda: world.sink.problem is None)
    assert ids(everything(target, journals)) == [1, 2]
    assert len(list(journals.glob("*.jsonl"))) == 1


async def test_a_sealing_that_cannot_be_started_is_told(
    tmp_path: Path, quick: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "none"))
    journal(tmp_path, [trade(1)])
    async with tended(tmp_path) as world:
        await until(lambda: world.told)
    assert str(world.told[0][1]["detail"]).startswith("sealing cannot be started: ")


async def test_a_sealing_that_hangs_is_ended_and_told(
    tmp_path: Path, quick: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", str(sleeper(tmp_path)))
    monkeypatch.setattr(module, "SEALING_TIMEOUT_S", 0.5)
    journal(tmp_path, [trade(1)])
    async with tended(tmp_path) as world:
        await until(lambda: world.told)
    assert world.told[0][1]["detail"] == "sealing has not ended within 0.5 s"
    assert not running(tmp_path)


async def test_leaving_ends_a_sealing_at_once(
    tmp_path: Path, quick: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", str(sleeper(tmp_path)))
    journal(tmp_path, [trade(1)])
    async with tended(tmp_path):
        await until(lambda: running(tmp_path))
        left_at = time.monotonic()
    assert time.monotonic() - left_at < 1
    assert not running(tmp_path)


def sleeper(folder: Path) -> Path:
    """A program that tells its number and does nothing."""
    script = folder / "sleeper"
    script.write_text(f'#!/bin/sh\necho $$ > "{folder}/pid"\nexec sleep 1000\n')
    script.chmod(0o700)
    return script


def running(folder: Path) -> bool:
    try:
        os.kill(int((folder / "pid").read_text()), 0)
    except (FileNotFoundError, ProcessLookupError, ValueError):
        return False
    return True


async def test_a_new_journal_that_cannot_be_begun_lets_the_old_one_go_on(
    tmp_path: Path, quick: None
) -> None:
    async with tended(tmp_path) as world:
        await world.sink.write(items(1))
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        with open(os.devnull) as lowest:  # noqa: ASYNC230, PTH123 - the next number is not to be had
            number = lowest.fileno()
        resource.setrlimit(resource.RLIMIT_NOFILE, (number, hard))
        try:
            world.clock.time = NOON + HOUR
            await until(lambda: world.told)
            await world.sink.write(items(2))
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        context = dict(world.told)["journal_not_begun"]
        assert str(context["detail"]).endswith("too many files open; raise its limit (ulimit -n); "
                                               "the old one goes on")  # fmt: skip
        await until(lambda: world.sink._begun.hour.hour == 13)
        await world.sink.write(items(3))
        await world.sealed()
        assert ids(everything(tmp_path)) == [1, 2, 3]


async def test_what_was_whole_when_the_journal_could_not_grow_is_in_the_dataset(
    tmp_path: Path,
) -> None:
    """The limit of a file's size stands in for a full disk; it is told in the same way."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    whole = 0
    with ParquetSink(str(tmp_path)) as sink:
        resource.setrlimit(resource.RLIMIT_FSIZE, (5000, hard))
        try:
            problem = ""
            while not problem:
                try:
                    await sink.write(items(*range(whole, whole + 7)))
                except SinkError as error:
                    problem = str(error)
                whole += sink.whole
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        with pytest.raises(SinkError):
            sink.check()
        with pytest.raises(SinkError):
            await sink.write(items(whole))
    assert problem.endswith("it ends with a whole line")
    assert 10 < whole < 30
    assert ids(everything(tmp_path)) == list(range(whole))
    assert k2trio("seal", str(tmp_path)).returncode == 0
    assert ids(everything(tmp_path)) == list(range(whole))


WRITER = """
import sys, trio
from k2trio.sinks.parsing import decode_lines, items_of
from k2trio.dataset.healing import Healing
from k2trio.dataset.owners import refuse_others
from k2trio.dataset.sealing import seal_all
from k2trio.dataset.sink import ParquetSink

async def main():
    with ParquetSink(sys.argv[1]) as sink:
        for text in sys.stdin.buffer:
            await sink.write(items_of(decode_lines(text)))
            print(sink.whole, flush=True)

trio.run(main)
"""


def test_a_collector_that_is_killed_leaves_a_journal_that_the_next_sealing_takes(
    tmp_path: Path,
) -> None:
    with subprocess.Popen(  # noqa: S603 - our own script
        [sys.executable, "-c", WRITER, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for number in range(5):
            process.stdin.write(trade(number).encode())
            process.stdin.flush()
            assert process.stdout.readline() == b"1\n"
        assert "in use" in k2trio("seal", str(tmp_path)).stdout
        process.send_signal(signal.SIGKILL)
    with next((tmp_path / "_journal").glob("*.jsonl")).open("a") as file:
        file.write(trade(5)[:70])  # what it was writing
    assert ids(everything(tmp_path)) == [0, 1, 2, 3, 4]
    assert k2trio("seal", str(tmp_path)).returncode == 0
    assert ids(everything(tmp_path)) == [0, 1, 2, 3, 4]
    assert list((tmp_path / "_journal").iterdir()) == []
