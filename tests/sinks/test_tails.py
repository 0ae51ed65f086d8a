"""The ends of outputs, read back from where a state file says that streams were."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest
import zstandard
from recorded_lines import content
from recording import AGGS, START_MS, TRADES, VENUE, aggregate, gap, trade, trades, write

from k2trio.continuity.positions import Position
from k2trio.errors import Unreadable
from k2trio.market.units import MS
from k2trio.rotation import Rotation
from k2trio.sinks import tails as module
from k2trio.sinks.fan_out import FanOut
from k2trio.sinks.frames import last_frames
from k2trio.sinks.jsonl import JsonLines, say_nothing
from k2trio.sinks.lines import encode_lines
from k2trio.sinks.parsing import decode_lines, item_of
from k2trio.sinks.tails import FramesTail, LinesTail, found_beyond
from k2trio.sinks.zst import ZstdLines

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from k2trio.continuity.items import Item
    from k2trio.continuity.positions import Key
    from k2trio.sinks.line_sink import LineSink


def begin(trade: int = 9, **others: int) -> dict[Key, Position]:
    """Where streams were."""
    positions = {TRADES: trade, **({AGGS: others["aggregate"]} if others else {})}
    return {
        (VENUE, stream): Position(VENUE, stream, at, START_MS + 1000 * at)
        for stream, at in positions.items()
    }


def ids(found: Any) -> dict[str, int]:
    return {stream: position.position for (_, stream), position in found.items()}


def beyond(*paths: Path, **others: int) -> dict[str, int]:
    tails = (FramesTail(path) if path.suffix == ".zst" else LinesTail(path) for path in paths)
    return ids(found_beyond(tails, begin(**others), MS))


def packed(path: Path, *frames: Sequence[Item]) -> Path:
    compressor = zstandard.ZstdCompressor()
    path.write_bytes(b"".join(compressor.compress(encode_lines(items)) for items in frames))
    return path


@pytest.fixture
def blocks(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Sets how many bytes a block has, and some of them in which nothing is new."""

    def choose(size: int) -> None:
        monkeypatch.setattr(module, "BLOCK_BYTES", size)
        monkeypatch.setattr(module, "SETTLED_BYTES", 3 * size)

    return choose


@pytest.fixture
def texts(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many bytes each block had that was read."""
    seen: list[int] = []
    text = LinesTail.text

    def read(tail: LinesTail, span: module.Span) -> bytes:
        data = text(tail, span)
        seen.append(len(data))
        return data

    monkeypatch.setattr(LinesTail, "text", read)
    return seen


@pytest.mark.parametrize("size", [50, 300, 1000, 1 << 20])
def test_blocks_are_whole_lines_of_any_length(
    tmp_path: Path, size: int, blocks: Callable[[int], None]
) -> None:
    blocks(size)
    items = [*trades(1, 9), trade(10, price="1" * 700), *trades(11, 12)]
    path = write(tmp_path / "out.jsonl", items)
    with path.open("ab") as file:
        file.write(encode_lines([trade(13)])[:-20])  # somebody is writing it
    with LinesTail(path) as tail:
        found = [tail.text(span) for span in tail.spans()]
    assert b"".join(reversed(found)) == encode_lines(items)
    assert all(text.endswith(b"\n") for text in found)
    assert len(found) > 5 or size > 300
    assert beyond(path) == {TRADES: 12}


@pytest.mark.parametrize("size", [0, 30])
def test_a_file_without_a_line_holds_nothing(tmp_path: Path, size: int) -> None:
    path = tmp_path / "out.jsonl"
    path.write_bytes(encode_lines([trade(10)])[:size])
    assert beyond(path) == {TRADES: 9}


def test_no_more_is_read_than_is_needed(
    tmp_path: Path, blocks: Callable[[int], None], texts: list[int]
) -> None:
    blocks(2000)
    path = write(tmp_path / "out.jsonl", trades(1, 2000))
    assert beyond(path, trade=1980) == {TRADES: 2000}
    assert 5 * 2000 < sum(texts) < 12 * 2000 + 2 * 20 * 250
    texts.clear()
    assert beyond(path, trade=2000) == {TRADES: 2000}
    assert sum(texts) < 5 * 2000, "once, where nothing is new"


def test_so_much_and_no_more_is_read_back(
    tmp_path: Path, blocks: Callable[[int], None], texts: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    blocks(2000)
    monkeypatch.setattr(module, "TAIL_BYTES", 20_000)
    path = write(tmp_path / "out.jsonl", trades(1, 2000))
    assert beyond(path, trade=9) == {TRADES: 9}, "what is beyond that is not known"
    assert sum(texts) <= 2 * (20_000 + 2000)
    assert beyond(path, trade=1990) == {TRADES: 2000}


def test_a_stream_that_went_on_elsewhere_is_found_behind_what_is_known(
    tmp_path: Path, blocks: Callable[[int], None]
) -> None:
    """One of two outputs may have more of one stream than of another, from a run before."""
    blocks(1000)
    path = write(
        tmp_path / "out.jsonl",
        [*trades(1, 5), aggregate(8, 1, 1), aggregate(9, 2, 2), aggregate(10, 3, 3),
         *trades(6, 12), *trades(13, 14)],
    )  # fmt: skip
    assert beyond(path, trade=12, aggregate=8) == {TRADES: 14, AGGS: 10}


def test_an_older_file_is_looked_into_until_one_is_known(tmp_path: Path) -> None:
    first = write(tmp_path / "1.jsonl", trades(1, 5))
    second = write(tmp_path / "2.jsonl", trades(6, 11))
    third = write(tmp_path / "3.jsonl", trades(12, 13))
    fourth = write(tmp_path / "4.jsonl", [])
    (tmp_path / "0.jsonl").write_text("it is not read\n")
    names = [fourth, third, second, first, tmp_path / "0.jsonl"]
    assert beyond(*names) == {TRADES: 13}
    assert beyond(fourth, third) == {TRADES: 9}, "it may be that something is missing"


def test_what_is_none_of_ours_is_unreadable(tmp_path: Path) -> None:
    path = write(tmp_path / "out.jsonl", trades(1, 12))
    path.write_bytes(b"something else\n" + path.read_bytes())
    with pytest.raises(Unreadable, match="no line of ours"):
        beyond(path)
    zst = packed(tmp_path / "out.jsonl.zst", trades(1, 12))
    zst.write_bytes(zst.read_bytes()[:-8] + b"12345678")
    with pytest.raises(Unreadable, match="its compression is broken"):
        beyond(zst)


def test_frames_are_read_from_the_last_one(tmp_path: Path) -> None:
    path = packed(tmp_path / "out.jsonl.zst", *([one] for one in trades(1, 12)))
    assert beyond(path) == {TRADES: 12}
    fd = os.open(path, os.O_RDONLY)
    try:
        spans = last_frames(fd, path.stat().st_size, 3)
    finally:
        os.close(fd)
    data = path.read_bytes()
    texts = [zstandard.ZstdDecompressor().decompressobj().decompress(data[a:b]) for a, b in spans]
    assert b"".join(texts) == encode_lines(trades(10, 12))


# -- sinks ----------------------------------------------------------------------------------------


def opened(path: Path, tell: Callable[..., object] = say_nothing, **options: int) -> LineSink:
    kind = ZstdLines if path.suffix == ".zst" else JsonLines
    return kind(path, Rotation(**options), tell)


def told(path: Path) -> list[int]:
    items: list[Any] = [item_of(line) for line in decode_lines(content(path))]
    return [item.data.trade_id for item in items]


@pytest.mark.parametrize("name", ["out.jsonl", "out.jsonl.zst"])
async def test_a_sink_tells_what_it_has_and_has_made_that_durable(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / name
    with opened(path) as sink:
        assert await sink.beyond(begin(), MS) == begin()
        await sink.write(trades(1, 12))
    synced: list[str] = []
    fsync = os.fsync

    def note(fd: int) -> None:
        synced.append(os.path.basename(os.readlink(f"/proc/self/fd/{fd}")))  # noqa: PTH115, PTH119
        fsync(fd)

    monkeypatch.setattr(os, "fsync", note)
    with opened(path) as sink:
        assert ids(await sink.beyond(begin(), MS)) == {TRADES: 12}
    assert synced[:2] == [name, tmp_path.name]


@pytest.mark.parametrize("name", ["out.jsonl", "out.jsonl.zst"])
async def test_what_was_finished_meanwhile_is_looked_into(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    with opened(path, max_bytes=300) as sink:
        for one in trades(1, 12):
            await sink.write([one])
            sink.sync()
    assert len(os.listdir(tmp_path)) > 4  # noqa: PTH208
    with opened(path, max_bytes=300) as sink:
        assert ids(await sink.beyond(begin(5), MS)) == {TRADES: 12}


async def test_a_file_that_cannot_be_read_back_is_told_and_written_on(tmp_path: Path) -> None:
    path = write(tmp_path / "out.jsonl", trades(1, 12))
    path.write_bytes(b'{"venue":3}\n' + path.read_bytes())
    events: list[tuple[str, dict[str, object]]] = []
    with opened(path, lambda event, **context: events.append((event, context))) as sink:
        assert await sink.beyond(begin(), MS) == begin()
        await sink.write(trades(10, 10))
    ((event, context),) = events
    assert event == "output_not_read_back"
    assert str(context["detail"]).endswith("; what the state lacks is written again")


async def test_what_is_no_file_has_nothing(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    try:
        with opened(tmp_path / "pipe") as sink:
            assert await sink.beyond(begin(), MS) == begin()
    finally:
        os.close(reader)


async def test_of_several_the_least_counts_and_each_gets_what_it_lacks(tmp_path: Path) -> None:
    paths = [tmp_path / name for name in ("a.jsonl", "b.jsonl.zst", "c.jsonl")]
    for path, last in zip(paths, (15, 12, 20), strict=True):
        with opened(path) as sink:
            await sink.write(trades(1, last))
    sinks = [opened(path) for path in paths]
    with FanOut(sinks) as sink:
        assert ids(await sink.beyond(begin(), MS)) == {TRADES: 12}
        for batch in (trades(13, 14), [*trades(15, 16), gap(17, 22)], trades(23, 25)):
            await sink.write(batch)
            assert sink.whole == len(batch)
        assert not any(one.ahead for one in sinks)
    found = [[item_of(line) for line in decode_lines(content(path))] for path in paths]
    rest = [trade(16), gap(17, 22), *trades(23, 25)]
    assert found[0] == [*trades(1, 15), *rest]
    assert found[1] == [*trades(1, 15), *rest]
    assert found[2] == [*trades(1, 20), gap(21, 22), *trades(23, 25)]


async def test_a_new_one_gets_all_and_the_others_no_more_than_they_lack(tmp_path: Path) -> None:
    paths = [tmp_path / "old.jsonl", tmp_path / "new.jsonl"]
    with opened(paths[0]) as sink:
        await sink.write(trades(1, 12))
    with FanOut([opened(path) for path in paths]) as sink:
        assert await sink.beyond(begin(), MS) == begin()
        await sink.write(trades(10, 13))
    assert told(paths[0]) == list(range(1, 14))
    assert told(paths[1]) == list(range(10, 14))
