"""Compressed JSON lines: whole frames, whatever a crash left of the last one."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, Any

import pytest
import trio
import zstandard
from recorded_lines import event, events, numbers

from k2trio.errors import ConfigError, SinkError
from k2trio.rotation import Rotation
from k2trio.sinks import zst
from k2trio.sinks.frames import torn_bytes
from k2trio.sinks.lines import encode_lines
from k2trio.sinks.zst import ZstdLines

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


NAME = "out.jsonl.zst"


def frame(text: bytes, **options: Any) -> bytes:
    return zstandard.ZstdCompressor(**options).compress(text)


def lines(*found: int) -> bytes:
    return encode_lines(events(found))


# -- frames ---------------------------------------------------------------------------------------


async def test_what_was_written_is_there_after_a_sync_and_not_before(tmp_path: Path) -> None:
    path = tmp_path / NAME
    with ZstdLines(path) as sink:
        await sink.write(events([1, 2]))
        assert sink.whole == 2
        assert path.stat().st_size == 0
        sink.sync()
        assert numbers(path) == [1, 2]
        size = path.stat().st_size
        sink.sync()  # nothing came, so there is no frame
        assert path.stat().st_size == size
        await sink.write(events([3]))
        await sink.write([])
        assert sink.whole == 0
    assert numbers(path) == [1, 2, 3]
    with ZstdLines(path) as sink:
        assert sink.cut_bytes == 0
        await sink.write(events([4]))
        await sink.flush()
        assert numbers(path) == [1, 2, 3, 4]


async def test_a_frame_is_written_when_it_is_large(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / NAME
    monkeypatch.setattr(zst, "FRAME_BYTES", 2000)
    with ZstdLines(path) as sink:
        await sink.write([event(0, 1000)])
        assert path.stat().st_size == 0
        await sink.write([event(1, 1000)])
        assert numbers(path) == [0, 1]


async def test_a_frame_is_written_when_it_is_old_also_while_nothing_comes(
    tmp_path: Path, autojump_clock: Any
) -> None:
    path = tmp_path / NAME
    with ZstdLines(path) as sink:
        await sink.write(events([0]))
        await trio.sleep(zst.FRAME_S)
        await sink.write(events([1]))
        assert numbers(path) == [0, 1]
        await sink.write(events([2]))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(sink.tend)
            await trio.sleep(zst.FRAME_S / 2)
            assert numbers(path) == [0, 1]
            await trio.sleep(zst.FRAME_S / 2 + zst.TEND_INTERVAL_S)
            assert numbers(path) == [0, 1, 2]
            nursery.cancel_scope.cancel()


async def test_a_sync_in_a_thread_beside_the_writer_tears_no_frame(tmp_path: Path) -> None:
    path = tmp_path / NAME
    ended = threading.Event()

    def sync_on_and_on(sink: ZstdLines) -> None:
        while not ended.is_set():
            sink.sync()

    with ZstdLines(path, Rotation(20_000)) as sink:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.to_thread.run_sync, sync_on_and_on, sink)
            for number in range(2000):
                await sink.write(events([number]))
                await trio.lowlevel.checkpoint()
            ended.set()
    parts = [path.with_name(f"out.{number}.jsonl.zst") for number in range(1, 100)]
    found = [at for part in [*filter(lambda p: p.exists(), parts), path] for at in numbers(part)]
    assert found == list(range(2000))


# -- what a crash leaves --------------------------------------------------------------------------

FRAMES: list[Callable[[bytes], bytes]] = [
    lambda text: frame(text, write_checksum=True),
    lambda text: frame(text, write_content_size=False),
    lambda text: frame(text, level=-5),
]


@pytest.mark.parametrize("made", FRAMES, ids=["checksum", "no size", "fast"])
async def test_a_crash_at_any_byte_leaves_only_whole_frames_after_the_next_start(
    tmp_path: Path, made: Callable[[bytes], bytes]
) -> None:
    path = tmp_path / NAME
    first, second = made(lines(1)), made(lines(2, 3))
    whole = first + second
    ends = {0, len(first), len(whole)}
    for cut in range(len(whole) + 1):
        path.write_bytes(whole[:cut])
        kept = max(end for end in ends if end <= cut)
        with ZstdLines(path) as sink:
            assert sink.cut_bytes == cut - kept
            assert path.read_bytes() == whole[:kept]
            await sink.write(events([4]))
        assert numbers(path)[-1] == 4


def test_blocks_of_every_kind_and_size_are_walked(tmp_path: Path) -> None:
    """Raw, run-length and compressed ones, in frames of one segment and of several, and a skippable
    one that other tools write.
    """
    path = tmp_path / NAME
    texts = [os.urandom(300_000), b"\0" * 500_000, lines(*range(5000)), b"x", b""]
    whole = b"\x53\x2a\x4d\x18\x05\x00\x00\x00hello" + b"".join(
        frame(text, write_checksum=checksum, write_content_size=size)
        for text in texts
        for checksum in (True, False)
        for size in (True, False)
    )
    path.write_bytes(whole + whole[13:1013])
    with path.open("rb") as file:
        assert torn_bytes(file.fileno(), len(whole), path) == 0
        assert torn_bytes(file.fileno(), len(whole) + 1000, path) == 1000


@pytest.mark.parametrize("zeros", [1, 3, 4, 100_000])
def test_zeros_that_a_power_cut_left_are_cut_off(tmp_path: Path, zeros: int) -> None:
    path = tmp_path / NAME
    whole, torn = frame(lines(1)), frame(lines(2))[:-4]
    for rest in (b"", torn):
        path.write_bytes(whole + rest + bytes(zeros if not rest else 100_000))
        with ZstdLines(path) as sink:
            assert sink.cut_bytes
        assert path.read_bytes() == whole


def test_a_last_frame_with_a_hole_in_it_is_cut_off(tmp_path: Path) -> None:
    """Its length is there, and a page of it is not."""
    path = tmp_path / NAME
    whole, last = frame(lines(1)), frame(os.urandom(10_000), write_checksum=True)
    path.write_bytes(whole + last[:2000] + bytes(4096) + last[6096:])
    with ZstdLines(path) as sink:
        assert sink.cut_bytes == len(last)
    assert path.read_bytes() == whole


@pytest.mark.parametrize(
    "content",
    [
        b"my diary",
        b"abc",
        lines(1),
        frame(b"first") + b"my diary",
        frame(b"first") + bytes(9) + b"x",
        b"\x28\xb5\x2f\xfd\x00\x00\xff\xff\xff",
    ],
    ids=["text", "short", "lines", "behind a frame", "behind zeros", "reserved block"],
)
def test_a_file_that_is_not_ours_is_refused_and_left_alone(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / NAME
    path.write_bytes(content)
    with pytest.raises(SinkError, match="does not end in zstd frames; choose another file"):
        ZstdLines(path)
    assert path.read_bytes() == content


def test_what_is_no_regular_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / NAME
    os.mkfifo(path)
    with pytest.raises(SinkError, match="it is no regular file; name another"):
        ZstdLines(path)


async def test_two_programs_do_not_write_one_file(tmp_path: Path) -> None:
    path = tmp_path / NAME
    with ZstdLines(path) as sink:
        await sink.write(events([1]))
        sink.sync()
        with path.open("ab") as file:
            file.write(b"\x28\xb5\x2f")  # as if it were in the middle of a frame
        with pytest.raises(ConfigError, match=r"out\.jsonl\.zst is in use by another program"):
            ZstdLines(path)
        assert path.read_bytes().endswith(b"\x28\xb5\x2f")


# -- full -----------------------------------------------------------------------------------------


async def test_a_full_disk_is_told_and_the_file_ends_with_a_whole_frame(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / NAME
    write = os.write
    room = 10

    def scarce(fd: int, data: bytes) -> int:
        nonlocal room
        if not room:
            raise OSError(28, "No space left on device")
        taken = write(fd, bytes(data)[:room])
        room -= taken
        return taken

    with ZstdLines(path) as sink:
        await sink.write(events([1]))
        sink.sync()
        with monkeypatch.context() as patch:
            patch.setattr(os, "write", scarce)
            await sink.write(events([2, 3]))
            await sink.write(events([4]))
            with pytest.raises(SinkError, match="the disk is full") as raised:
                sink.sync()
        assert str(raised.value).endswith("it ends with a whole frame; 3 lines are not in it")
        # Nothing that comes later may hide that, nor be taken for durable.
        for again in (sink.check, sink.sync):
            with pytest.raises(SinkError, match="3 lines are not in it"):
                again()
        with pytest.raises(SinkError, match="3 lines are not in it"):
            await sink.write(events([5]))
        assert sink.whole == 0
        with pytest.raises(SinkError, match="3 lines are not in it"):
            await sink.flush()
    assert numbers(path) == [1]


async def test_on_a_quiet_feed_a_full_disk_is_told_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, autojump_clock: Any
) -> None:
    def refuse(*_: Any) -> int:
        raise OSError(28, "No space left on device")

    with ZstdLines(tmp_path / NAME) as sink:
        await sink.write(events([1]))
        with monkeypatch.context() as patch:
            patch.setattr(os, "write", refuse)
            with pytest.raises(SinkError, match="the disk is full"), trio.fail_after(10):
                await sink.tend()


async def test_a_file_that_was_moved_away_has_all_that_came_before(tmp_path: Path) -> None:
    path = tmp_path / NAME
    moved = path.with_name("moved.jsonl.zst")
    with ZstdLines(path) as sink:
        await sink.write(events([1]))
        path.rename(moved)
        sink.reopen()
        await sink.write(events([2]))
    assert (numbers(moved), numbers(path)) == ([1], [2])


async def test_a_disk_that_does_not_answer_delays_the_end_by_its_bound_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / NAME
    answer = threading.Event()
    monkeypatch.setattr(os, "fsync", lambda fd: answer.wait(20))
    started = trio.current_time()
    with ZstdLines(path) as sink:
        await sink.write(events([1]))
        with pytest.raises(SinkError, match="the disk does not answer"):
            await sink.flush()
    assert trio.current_time() - started < zst.SYNC_TIMEOUT_S + 1
    answer.set()
