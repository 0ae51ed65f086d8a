"""Several sinks as one: each has every line, and what all have is what counts."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING

import pytest
import trio
from recorded_lines import event, events, numbers

from k2trio.errors import SinkError
from k2trio.sinks import jsonl
from k2trio.sinks.fan_out import FanOut
from k2trio.sinks.jsonl import JsonLines
from k2trio.sinks.lines import encode_lines
from k2trio.sinks.zst import ZstdLines

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from k2trio.sinks.line_sink import LineSink


@pytest.fixture
def paths(tmp_path: Path) -> list[Path]:
    return [tmp_path / name for name in ("a.jsonl", "b.jsonl", "c.jsonl.zst")]


@pytest.fixture
def sinks(paths: list[Path]) -> list[LineSink]:
    return [JsonLines(paths[0]), JsonLines(paths[1]), ZstdLines(paths[2])]


@pytest.fixture
def full(paths: list[Path], monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, int]]:
    """How many bytes more a file takes, by its name; files that are not in it take any."""
    room: dict[str, int] = {}
    write = os.write

    def scarce(fd: int, data: bytes) -> int:
        name = os.path.basename(os.readlink(f"/proc/self/fd/{fd}"))  # noqa: PTH115, PTH119
        if name not in room:
            return write(fd, data)
        if not room[name]:
            raise OSError(28, "No space left on device")
        taken = write(fd, bytes(data)[: room[name]])
        room[name] -= taken
        return taken

    monkeypatch.setattr(os, "write", scarce)
    return room


async def test_each_has_every_line(paths: list[Path], sinks: list[LineSink]) -> None:
    with FanOut(sinks) as sink:
        await sink.write(events([1, 2]))
        assert sink.whole == 2
        await sink.append(encode_lines(events([3])), 1)
        assert sink.whole == 1
        sink.sync()
        assert [numbers(path) for path in paths] == [[1, 2, 3]] * 3


async def test_when_one_fails_the_others_have_the_batch_and_all_stop(
    paths: list[Path], sinks: list[LineSink], full: dict[str, int]
) -> None:
    with FanOut(sinks) as sink:
        await sink.write(events([1]))
        sink.sync()
        full["b.jsonl"] = len(encode_lines(events([2]))) + 20
        with pytest.raises(SinkError, match=r"^cannot write to \S+b\.jsonl: the disk is full"):
            await sink.write(events([2, 3]))
        assert sink.whole == 1
        del full["b.jsonl"]
        with pytest.raises(SinkError, match=r"b\.jsonl"):
            await sink.write(events([4]))
        assert sink.whole == 0
        with pytest.raises(SinkError, match=r"b\.jsonl"):
            sink.check()
        sink.sync()  # what is whole in each can be made durable
    assert [numbers(path) for path in paths] == [[1, 2, 3], [1, 2], [1, 2, 3]]


async def test_when_two_fail_each_is_told_in_a_line(
    sinks: list[LineSink], full: dict[str, int]
) -> None:
    with FanOut(sinks) as sink:
        full |= {"a.jsonl": 0, "b.jsonl": 0}
        with pytest.raises(SinkError) as raised:
            await sink.write(events([1]))
    first, second = str(raised.value).splitlines()
    assert "a.jsonl: the disk is full" in first
    assert "b.jsonl: the disk is full" in second


async def test_a_failed_sync_of_one_keeps_the_state_from_speaking(
    paths: list[Path], sinks: list[LineSink], full: dict[str, int]
) -> None:
    with FanOut(sinks) as sink:
        await sink.write(events([1]))
        full["c.jsonl.zst"] = 0
        with pytest.raises(SinkError, match=r"c\.jsonl\.zst: the disk is full"):
            sink.sync()
    assert [numbers(path) for path in paths] == [[1], [1], []]


async def test_a_cancelled_write_is_finished_in_each(
    paths: list[Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A pipe holds the write up, and comes first."""
    monkeypatch.setattr(jsonl, "FLUSH_TIMEOUT_S", 0.2)
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    batch = [event(number, 1000) for number in range(200)]
    with FanOut([JsonLines(pipe), JsonLines(paths[0])]) as sink, trio.fail_after(10):
        with trio.move_on_after(0.1), pytest.raises(SinkError, match="its reader was too slow"):
            await sink.write(batch)
        assert 0 < sink.whole < 200
        assert numbers(paths[0]) == list(range(200))
    os.close(reader)


async def test_the_end_takes_as_long_as_the_slowest_disk_and_not_all_together(
    sinks: list[LineSink], monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = threading.Event()
    monkeypatch.setattr(os, "fsync", lambda fd: answer.wait(20))
    started = trio.current_time()
    with FanOut(sinks) as sink:
        await sink.write(events([1]))
        with trio.CancelScope() as cancelled:
            cancelled.cancel()
            with pytest.raises(SinkError) as raised:
                await sink.flush()
    assert str(raised.value).count("the disk does not answer") == 3
    assert trio.current_time() - started < jsonl.SYNC_TIMEOUT_S + 1
    answer.set()


async def test_each_is_tended_and_reopened(paths: list[Path], tmp_path: Path) -> None:
    with FanOut([JsonLines(paths[0]), ZstdLines(paths[2])]) as sink:
        await sink.write(events([1]))
        for path in (paths[0], paths[2]):
            path.rename(path.with_name(f"moved-{path.name}"))
        sink.reopen()
        await sink.write(events([2]))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(sink.tend)
            with trio.fail_after(10):
                while not paths[2].stat().st_size:  # noqa: ASYNC110 - the file tells of nothing
                    await trio.sleep(0.01)
            nursery.cancel_scope.cancel()
    for name in ("a.jsonl", "c.jsonl.zst"):
        assert (numbers(tmp_path / f"moved-{name}"), numbers(tmp_path / name)) == ([1], [2])


async def test_one_that_cannot_be_closed_leaves_none_open(
    paths: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: int) -> None:
        raise OSError(5, "Input/output error")

    sink = FanOut([JsonLines(path) for path in paths[:2]])
    await sink.write(events([1]))
    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(SinkError) as raised:
        sink.close()
    assert str(raised.value).count("cannot flush") == 2
    monkeypatch.undo()
    for path in paths[:2]:
        with JsonLines(path):  # nobody holds it any more
            pass
