"""JSON lines: whole, byte-exact, and never torn, whatever happens to the output."""

from __future__ import annotations

import json
import os
import stat
import threading
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from k2trio.continuity.items import Gap, Outage
from k2trio.errors import ConfigError, SinkError
from k2trio.market.payloads import Event, frame_of
from k2trio.rotation import Rotation
from k2trio.sinks import jsonl, output_file
from k2trio.sinks.jsonl import JsonLines
from k2trio.sinks.lines import encode_lines

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

RAW = b'{"e":"trade","t":1,"p":"0.10"}'
GAP = Gap("venue", "btcusdt@trade", 5, 9, "not_repaired", 1.25, 7.5)


def event(number: int, raw: bytes | None = None, stream: str = "btcusdt@trade") -> Event:
    payload = b'{"t":%d}' % number if raw is None else raw
    return Event(None, stream, "venue", 1700000000.25 + number, frame_of(stream, payload))


def numbers(data: bytes) -> list[int]:
    """The ``t`` of every line; fails unless every line is whole and parses."""
    assert data == b"" or data.endswith(b"\n")
    return [json.loads(line)["data"]["t"] for line in data.splitlines()]


FULL = "the disk is full"


@contextmanager
def full_after(
    room: int, monkeypatch: pytest.MonkeyPatch, when_full: Callable[[], object] = lambda: None
) -> Iterator[None]:
    """The disk has room for so many bytes more."""
    write, left = os.write, room

    def scarce(fd: int, data: bytes) -> int:
        nonlocal left
        if not left:
            when_full()
            raise OSError(28, "No space left on device")
        taken = write(fd, bytes(data)[:left])
        left -= taken
        return taken

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", scarce)
        yield


# -- lines ----------------------------------------------------------------------------------------


def test_a_line_holds_the_payload_as_it_came() -> None:
    assert encode_lines([event(0, RAW)]) == (
        b'{"venue":"venue","stream":"btcusdt@trade","received":1700000000.25,"origin":"live",'
        b'"data":' + RAW + b"}\n"
    )


def test_gaps_and_outages_have_lines_of_their_own() -> None:
    outage = Outage("venue", "btcusdt@ticker", 1.5, 2.5)
    begun = Gap("venue", "btcusdt@trade", 1, 4, "resume_limit", None, 1.25)
    assert [json.loads(line) for line in encode_lines([GAP, outage, begun]).splitlines()] == [
        {
            "venue": "venue",
            "stream": "btcusdt@trade",
            "gap": {"first": 5, "last": 9, "reason": "not_repaired", "since": 1.25, "until": 7.5},
        },
        {
            "venue": "venue",
            "stream": "btcusdt@ticker",
            "outage": {"since": 1.5, "until": 2.5},
        },
        {
            "venue": "venue",
            "stream": "btcusdt@trade",
            "gap": {"first": 1, "last": 4, "reason": "resume_limit", "since": None, "until": 1.25},
        },
    ]


def test_each_message_of_a_batch_has_its_own_time_origin_and_stream() -> None:
    batch = [
        Event(None, stream, venue, received, frame_of(stream, RAW), origin)
        for received, origin in [(1.5, "live"), (1.5, "backfill"), (2.5, "backfill"), (1.5, "live")]
        for stream in ("a@trade", "币安人生usdt@trade")
        for venue in ("one", "two")
    ]
    lines = [json.loads(line) for line in encode_lines(batch).splitlines()]
    assert [
        (line["venue"], line["stream"], line["received"], line["origin"]) for line in lines
    ] == [(item.venue, item.stream, item.received, item.origin) for item in batch]


@pytest.mark.parametrize("line_break", [b"\n", b"\r\n", b"\r"])
def test_a_pretty_printed_payload_still_makes_one_line(line_break: bytes) -> None:
    raw = b"{" + line_break + b'  "t": 7' + line_break + b"}"
    line = encode_lines([event(0, raw)])
    assert line.count(b"\n") == 1
    assert b"\r" not in line
    assert json.loads(line)["data"] == {"t": 7}


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    ),
    st.sampled_from([None, 2]),
    st.booleans(),
)
def test_any_payload_makes_one_line_that_gives_it_back(
    payload: Any, indent: int | None, escape: bool
) -> None:
    text = json.dumps(payload, indent=indent, ensure_ascii=escape)
    raw = text.encode("utf-8", "surrogatepass")
    line = encode_lines([event(0, raw)])
    assert line.count(b"\n") == 1
    decoded = json.loads(line.decode("utf-8", "surrogatepass"))
    assert decoded["data"] == payload
    if indent is None:
        assert raw in line


# -- files ----------------------------------------------------------------------------------------


async def test_batches_are_appended_whole(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    for start in (0, 10):
        with JsonLines(path) as sink:
            await sink.write([])
            await sink.write([event(start), event(start + 1)])
            await sink.write([event(start + 2)])
            assert sink.cut_bytes == 0
    assert numbers(path.read_bytes()) == [0, 1, 2, 10, 11, 12]
    assert stat.S_IMODE(path.stat().st_mode) & 0o133 == 0


async def test_a_crash_at_any_byte_leaves_only_whole_lines_after_the_next_start(
    tmp_path: Path,
) -> None:
    first, second = encode_lines([event(1)]), encode_lines([event(2), GAP])
    path = tmp_path / "out.jsonl"
    whole = first + second
    for cut in range(len(whole) + 1):
        path.write_bytes(whole[:cut])
        kept = whole[:cut].rfind(b"\n") + 1
        with JsonLines(path) as sink:
            assert sink.cut_bytes == cut - kept
            assert path.read_bytes() == whole[:kept]
            await sink.write([event(3)])
        assert path.read_bytes() == whole[:kept] + encode_lines([event(3)])


def test_zeros_that_a_power_cut_left_are_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    line = encode_lines([event(1)])
    for torn in (b"", b'{"ven', line[:-1]):
        path.write_bytes(line + torn + bytes(500))
        with JsonLines(path) as sink:
            assert sink.cut_bytes == len(torn) + 500
        assert path.read_bytes() == line


@pytest.mark.parametrize(
    "content",
    [b"my diary, no line break at the end", b"first\nsecond", b'{"other":"json"', b"x" * 5_000_000],
    ids=["text", "last line", "other JSON", "large"],
)
def test_a_file_that_is_not_ours_is_refused_and_left_alone(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "diary.txt"
    path.write_bytes(content)
    with pytest.raises(SinkError, match="does not end in JSON lines"):
        JsonLines(path)
    assert path.read_bytes() == content


async def test_a_torn_line_of_the_largest_size_is_found(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    torn = encode_lines([event(2, b'{"t":"' + b"x" * (3 << 20) + b'"}')])[:-4]
    path.write_bytes(encode_lines([event(1)]) * 10_000 + torn)
    with JsonLines(path) as sink:
        assert sink.cut_bytes == len(torn)
        await sink.write([event(2)])
    assert numbers(path.read_bytes()) == [1] * 10_000 + [2]


def rotated(path: Path) -> Iterator[bytes]:
    number = 1
    while (part := path.with_name(f"{path.name}.{number}")).exists():
        yield part.read_bytes()
        number += 1
    yield path.read_bytes()


async def test_rotation_loses_and_tears_nothing(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    limit = 1000
    sent = 0
    for _ in range(3):  # restarts go on with the same numbering
        with JsonLines(path, Rotation(limit)) as sink:
            for size in range(1, 12):
                await sink.write([event(number) for number in range(sent, sent + size)])
                sent += size
    parts = list(rotated(path))
    assert [number for part in parts for number in numbers(part)] == list(range(sent))
    assert len(parts) > 5
    assert all(limit <= len(part) < 3 * limit for part in parts[:-1])
    assert len(parts[-1]) < limit


async def test_what_is_no_regular_file_is_never_rotated(tmp_path: Path) -> None:
    """A named pipe here; for root it could be /dev/null itself."""
    path = tmp_path / "pipe"
    os.mkfifo(path)
    with JsonLines(path, Rotation(1)) as sink:
        await sink.write([event(1)])
        await sink.write([event(2)])
        sink._output.waits = False  # as for a device that never makes a writer wait
        await sink.write([event(3)])
    assert os.listdir(tmp_path) == ["pipe"]  # noqa: PTH208


async def test_a_rotation_that_fails_leaves_the_file_open_and_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "out.jsonl"

    def refuse(*_: Path) -> None:
        raise PermissionError(13, "no")

    monkeypatch.setattr(os, "rename", refuse)
    with JsonLines(path, Rotation(10)) as sink:
        with pytest.raises(SinkError, match="cannot rename"):
            await sink.write([event(1)])
        with pytest.raises(SinkError, match="cannot rename"):
            await sink.write([event(2)])
    assert numbers(path.read_bytes()) == [1, 2]


async def test_a_full_disk_is_told_and_the_file_ends_with_a_whole_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every possible place at which the disk can be full."""
    lines = encode_lines([event(1), event(2), event(3)])
    for room in range(len(lines)):
        path = tmp_path / f"{room}.jsonl"
        with JsonLines(path) as sink:
            await sink.write([event(0)])
            assert sink.whole == 1
            with full_after(room, monkeypatch), pytest.raises(SinkError, match=FULL) as raised:
                await sink.write([event(1), event(2), event(3)])
            assert str(raised.value).endswith("it ends with a whole line")
            whole = lines[:room].count(b"\n")
            assert sink.whole == whole
        assert numbers(path.read_bytes()) == [0, 1, 2][: 1 + whole]


async def test_after_a_failed_write_nothing_more_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk fills up, and then a smaller batch would fit again: it would hide the loss."""
    path = tmp_path / "out.jsonl"
    with JsonLines(path) as sink:
        await sink.write([event(0)])
        with full_after(20, monkeypatch), pytest.raises(SinkError, match=FULL):
            await sink.write([event(1), event(2)])
        for batch in ([event(3)], []):
            with pytest.raises(SinkError, match=FULL):
                await sink.write(batch)
            assert sink.whole == 0
        sink.sync()  # what is whole can still be made durable
    assert numbers(path.read_bytes()) == [0]


async def test_half_a_line_that_cannot_be_taken_back_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "out.jsonl"

    def refuse(*_: int) -> None:
        raise OSError(5, "Input/output error")

    with JsonLines(path) as sink:
        with full_after(20, monkeypatch), monkeypatch.context() as patch:
            patch.setattr(os, "ftruncate", refuse)
            with pytest.raises(SinkError, match="ends in half a line, which the next start cuts"):
                await sink.write([event(1)])
        assert len(path.read_bytes()) == 20
    with JsonLines(path) as sink:
        assert sink.cut_bytes == 20


async def test_dev_full() -> None:
    with (
        pytest.raises(SinkError, match="cannot write to /dev/full: the disk is full"),
        JsonLines(Path("/dev/full")) as sink,
    ):
        await sink.write([event(1)])


class Told(list[tuple[str, str]]):
    """What a sink tells: event and, of its context, what tells cases apart."""

    def __call__(self, event: str, **context: Any) -> None:
        self.append((event, str(context.get("was", ""))))


async def test_a_file_that_was_moved_away_is_followed_by_a_new_one(tmp_path: Path) -> None:
    path, moved, told = tmp_path / "out.jsonl", tmp_path / "moved", Told()
    with JsonLines(path, tell=told) as sink:
        await sink.write([event(1)])
        path.rename(moved)
        await sink.write([event(2)])  # it looks every second
        await trio.sleep(output_file.LOOK_INTERVAL_S)
        await sink.write([event(3)])
        path.rename(tmp_path / "moved too")
        sink.reopen()  # a signal says so
        await sink.write([event(4)])
        sink.reopen()  # nothing happened
        await sink.write([event(5)])
        assert sink._output._retired == []
    contents = [file.read_bytes() for file in (moved, tmp_path / "moved too", path)]
    assert list(map(numbers, contents)) == [[1, 2], [3], [4, 5]]
    assert told == [("output_reopened", "moved")] * 2


async def test_a_file_that_was_deleted_is_told_as_such(tmp_path: Path) -> None:
    path, told = tmp_path / "out.jsonl", Told()
    with JsonLines(path, tell=told) as sink:
        await sink.write([event(1)])
        path.unlink()
        sink.reopen()
        await sink.write([event(2)])
    assert (numbers(path.read_bytes()), told) == ([2], [("output_reopened", "deleted")])


async def test_where_no_new_file_can_be_opened_the_moved_one_goes_on(tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    path, told = tmp_path / "here" / "out.jsonl", Told()
    with JsonLines(path, tell=told) as sink:
        await sink.write([event(1)])
        (tmp_path / "here").rename(tmp_path / "there")
        sink.reopen()
        await sink.write([event(2)])
        sink.reopen()
        assert told == [("output_not_reopened", "")]
        (tmp_path / "here").mkdir()
        sink.reopen()
        await sink.write([event(3)])
        path.unlink()
        (tmp_path / "here").rmdir()
        with pytest.raises(SinkError, match="its directory does not exist"):
            sink.reopen()
    assert numbers((tmp_path / "there" / "out.jsonl").read_bytes()) == [1, 2]


async def test_two_programs_do_not_write_one_file(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    torn = encode_lines([event(1)])[:-5]
    with JsonLines(path, Rotation(150)) as sink:
        for number in range(3):
            with path.open("ab") as file:
                file.write(torn)  # as if it were in the middle of a line
            with pytest.raises(ConfigError, match=r"out\.jsonl is in use by another program"):
                JsonLines(path)
            assert path.read_bytes().endswith(torn), "a file of another program's is not cut"
            os.truncate(path, path.stat().st_size - len(torn))
            await sink.write([event(number), event(number)])
    JsonLines(path).__exit__(None, None, None)


async def test_what_is_nobodys_can_have_many_writers() -> None:
    with JsonLines(Path("/dev/null")) as one, JsonLines(Path("/dev/null")) as other:
        await one.write([event(1)])
        await other.write([event(1)])


def test_a_new_file_follows_no_link(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(SinkError, match="it is a link to nothing"):
        JsonLines(path)
    assert not (tmp_path / "elsewhere").exists()
    (tmp_path / "elsewhere").touch()
    with JsonLines(path):  # one that leads to a file is what somebody wants
        pass


async def test_a_sync_that_failed_is_not_made_good_by_a_later_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The system tells of lost writes once, and has then forgotten them."""
    fsync = os.fsync

    def refuse(fd: int) -> None:
        monkeypatch.setattr(os, "fsync", fsync)
        raise OSError(5, "Input/output error")

    with JsonLines(tmp_path / "out.jsonl") as sink:
        await sink.write([event(1)])
        monkeypatch.setattr(os, "fsync", refuse)
        for _ in range(2):
            with pytest.raises(SinkError, match=r"cannot flush .*: Input/output error"):
                sink.sync()


async def test_a_disk_that_does_not_answer_delays_the_end_by_its_bound_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = threading.Event()
    monkeypatch.setattr(os, "fsync", lambda fd: answer.wait(20))
    started = trio.current_time()
    with JsonLines(tmp_path / "out.jsonl") as sink:
        await sink.write([event(1)])
        with pytest.raises(SinkError, match="the disk does not answer"):
            await sink.flush()
    assert trio.current_time() - started < jsonl.SYNC_TIMEOUT_S + 1
    answer.set()


@pytest.mark.parametrize(
    ("where", "why"),
    [("missing/out.jsonl", "its directory does not exist"), (".", "it is a directory")],
)
def test_a_file_that_cannot_be_opened_says_why(tmp_path: Path, where: str, why: str) -> None:
    with pytest.raises(SinkError, match=why) as raised:
        JsonLines(tmp_path / where)
    assert str(tmp_path) in str(raised.value)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_directory_without_permission_says_so(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(SinkError, match="permission denied"):
        JsonLines(tmp_path / "out.jsonl")


def test_permission_denied_is_explained(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refuse(*_: Any) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(SinkError, match="permission denied; choose a file"):
        JsonLines(tmp_path / "out.jsonl")


# -- standard output ------------------------------------------------------------------------------


class Pipe:
    """A pipe in the place of standard output."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.read_fd, self.write_fd = os.pipe()
        self.reader = os.fdopen(self.read_fd, "rb", buffering=0)
        self.writer = os.fdopen(self.write_fd, "w")
        # Not on sys itself: pytest sets that anew for each phase of a test.
        monkeypatch.setattr(jsonl, "sys", SimpleNamespace(stdout=self.writer))

    def close(self) -> None:
        self.reader.close()
        self.writer.close()


@pytest.fixture
def pipe(monkeypatch: pytest.MonkeyPatch) -> Iterator[Pipe]:
    made = Pipe(monkeypatch)
    yield made
    made.close()


async def read_all(pipe: Pipe, size: int, pause: float = 0.0) -> bytes:
    got = b""
    while len(got) < size:
        await trio.lowlevel.wait_readable(pipe.read_fd)
        got += os.read(pipe.read_fd, 3000)
        await trio.sleep(pause)
    return got


async def test_a_slow_reader_holds_the_writer_up_and_not_the_loop(pipe: Pipe) -> None:
    batch = [event(number, b'{"t":%d,"x":"%s"}' % (number, b"x" * 500)) for number in range(1000)]
    size = len(encode_lines(batch))
    turns = 0
    written = trio.Event()

    async def count_turns() -> None:
        nonlocal turns
        while True:
            await trio.sleep(0.001)
            turns += 1

    async def write(sink: JsonLines) -> None:
        await sink.write(batch)
        written.set()

    with trio.fail_after(20), JsonLines() as sink:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(count_turns)
            nursery.start_soon(write, sink)
            await trio.sleep(0.1)
            assert not written.is_set()
            assert turns > 5
            assert numbers(await read_all(pipe, size, 0.0005)) == list(range(1000))
            await written.wait()
            nursery.cancel_scope.cancel()


async def test_a_cancelled_write_finishes_its_lines_while_somebody_reads(pipe: Pipe) -> None:
    batch = [event(number, b'{"t":%d,"x":"%s"}' % (number, b"x" * 500)) for number in range(1000)]
    size = len(encode_lines(batch))
    with trio.fail_after(20), JsonLines() as sink:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(sink.write, batch)
            await trio.sleep(0.05)
            nursery.cancel_scope.cancel()
            with trio.CancelScope(shield=True):
                got = await read_all(pipe, size)
    assert numbers(got) == list(range(1000))


async def test_a_write_that_is_cancelled_before_it_began_is_written_too(pipe: Pipe) -> None:
    with JsonLines() as sink, trio.move_on_after(0) as scope:
        await sink.write([event(1)])
    assert scope.cancelled_caught
    assert numbers(os.read(pipe.read_fd, 1000)) == [1]


async def test_a_reader_that_never_reads_delays_the_end_by_its_bound_only(pipe: Pipe) -> None:
    batch = [event(number, b'{"t":%d,"x":"%s"}' % (number, b"x" * 500)) for number in range(1000)]
    with trio.fail_after(10), JsonLines() as sink:
        started = trio.current_time()
        with trio.move_on_after(0.05) as scope:
            await sink.write(batch)
        took = trio.current_time() - started
        assert scope.cancelled_caught
        assert jsonl.FLUSH_TIMEOUT_S <= took < jsonl.FLUSH_TIMEOUT_S + 1
        # Half a line went out: what came after it would be read as part of it.
        with pytest.raises(SinkError, match="half a line"):
            await sink.write([event(1)])


async def test_a_write_cut_short_between_two_lines_is_no_more_whole_than_one_within(
    pipe: Pipe,
) -> None:
    """Each line fills one turn of writing, so the pipe is full at the end of a line."""
    padding = jsonl.PIPE_BYTES - len(encode_lines([event(100, b'{"t":100,"x":""}')]))
    batch = [
        event(number, b'{"t":%d,"x":"%s"}' % (number, b"x" * padding)) for number in range(100, 200)
    ]
    assert len(encode_lines(batch)) == 100 * jsonl.PIPE_BYTES
    with trio.fail_after(10), JsonLines() as sink:
        with trio.move_on_after(0.05):
            await sink.write(batch)
        assert 0 < sink.whole < 100
        assert numbers(os.read(pipe.read_fd, 1 << 20)) == list(range(100, 100 + sink.whole))
        with pytest.raises(SinkError, match="standard output is not complete; its reader was too"):
            await sink.write([event(1)])
        assert sink.whole == 0


async def test_a_reader_that_left_is_told_as_such(pipe: Pipe) -> None:
    with JsonLines() as sink:
        await sink.write([event(1)])
        pipe.reader.close()
        with pytest.raises(SinkError, match="standard output: its reader has gone"):
            await sink.write([event(2)])


async def test_a_reader_that_leaves_while_we_wait_is_noticed(pipe: Pipe) -> None:
    batch = [event(number, b'{"t":%d,"x":"%s"}' % (number, b"x" * 500)) for number in range(1000)]

    async def leave() -> None:
        await trio.sleep(0.05)
        pipe.reader.close()

    with trio.fail_after(10), JsonLines() as sink:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(leave)
            with pytest.raises(SinkError, match="reader has gone"):
                await sink.write(batch)


async def test_a_pipe_that_somebody_made_non_blocking_works(pipe: Pipe) -> None:
    os.set_blocking(pipe.write_fd, False)
    batch = [event(number, b'{"t":%d,"x":"%s"}' % (number, b"x" * 500)) for number in range(1000)]
    with trio.fail_after(20), JsonLines() as sink:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(sink.write, batch)
            got = await read_all(pipe, len(encode_lines(batch)))
    assert numbers(got) == list(range(1000))


@pytest.mark.parametrize("mode", ["wb", "ab"], ids=[">", ">>"])
async def test_a_full_disk_under_standard_output_takes_half_a_line_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    path = tmp_path / "out.jsonl"
    path.write_bytes(encode_lines([event(0)]))
    lines = encode_lines([event(1), event(2)])
    for room in range(0, len(lines), 7):
        with path.open(mode) as file:
            kept = file.tell()
            monkeypatch.setattr(jsonl, "sys", SimpleNamespace(stdout=file))
            with (
                JsonLines() as sink,
                full_after(room, monkeypatch),
                pytest.raises(SinkError, match="it ends with a whole line"),
            ):
                await sink.write([event(1), event(2)])
            file.write(b"next\n")  # whoever writes there next goes on right behind
        assert path.read_bytes()[kept:] == lines[: lines[:room].rfind(b"\n") + 1] + b"next\n"
        path.write_bytes(path.read_bytes()[:kept])


async def test_half_a_line_on_standard_output_is_told_where_others_wrote_behind_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "out.jsonl"

    def somebody_writes() -> None:
        with path.open("ab") as other:
            other.write(b"theirs\n")

    with path.open("wb") as file:
        monkeypatch.setattr(jsonl, "sys", SimpleNamespace(stdout=file))
        with (
            JsonLines() as sink,
            full_after(20, monkeypatch, somebody_writes),
            pytest.raises(SinkError, match="it ends in half a line; cut that off"),
        ):
            await sink.write([event(1)])
    assert path.read_bytes() == encode_lines([event(1)])[:20] + b"theirs\n"


async def test_closed_standard_output_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jsonl, "sys", SimpleNamespace(stdout=None))
    with pytest.raises(SinkError, match="standard output is closed"):
        JsonLines()
