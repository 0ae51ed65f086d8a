"""The end of a run: what was received is written, named, or fetched by the next start."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
import trio
from disk import Disk
from program import (
    AGGREGATES,
    BOOK,
    COVERAGE,
    KEYS,
    OUTPUT,
    TRADES,
    Place,
    gaps,
    ids,
    missing,
    positions,
    rows,
)
from world import fault

from k2trio.errors import SinkError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from k2trio.simulator import Fault

NO_ROWS = fault(0, "rest_status", "venue.rest", status=503, duration=60)
"""REST is known, and of no use."""
A_HOLE = fault(5, "dropped", share=1, duration=0.5)


@asynccontextmanager
async def opened(monkeypatch: pytest.MonkeyPatch, *faults: Fault) -> AsyncGenerator[Place]:
    place = Place(monkeypatch, faults)
    async with trio.open_nursery() as nursery:
        await nursery.start(place.network.run)
        yield place
        nursery.cancel_scope.cancel()


def assert_all_told(disk: Disk, stream: str = TRADES) -> int:
    """Ids and gaps of the output follow each other without a hole; returns the last id."""
    first_key, last_key = KEYS[stream]
    due = None
    for row in rows(disk.files()):
        if row["stream"] == stream:
            told = row.get("gap") or {
                "first": row["data"][first_key],
                "last": row["data"][last_key],
            }
            assert due in (None, told["first"])
            due = told["last"] + 1
    assert due is not None
    return int(due) - 1


async def test_what_is_held_behind_a_gap_at_the_end_is_written_and_the_gap_declared(
    autojump_clock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = Disk()
    async with opened(monkeypatch, NO_ROWS, A_HOLE) as place:
        await place.run(disk, 9, state=None)
    for stream in (TRADES, AGGREGATES):
        ((first, last, reason),) = gaps(disk.files(), stream)
        assert reason == "shutdown"
        assert assert_all_told(disk, stream) > last + 10
        assert missing(disk.files(), stream) == [(first, last, "shutdown")]


async def test_with_a_state_file_the_next_start_fetches_the_gap_and_what_was_held_behind_it(
    autojump_clock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = Disk()
    async with opened(monkeypatch, NO_ROWS, A_HOLE) as place:
        await place.run(disk, 9)
        before = ids(disk.files())
        for stream in (TRADES, AGGREGATES):
            # The ledger names the gap and all behind it; the position lies before both.
            ((first, last, reason),) = missing(disk.files(), stream)
            assert (first, reason) == (before[stream][-1] + 1, "shutdown")
            assert last > first + 20
            assert positions(disk.files())[stream] == before[stream][-1]
        await trio.sleep(60)
        await place.run(disk, 5)
    for stream, after in ids(disk.files()).items():
        assert after == list(range(before[stream][0], after[-1] + 1))
        assert len(after) > len(before[stream]) + 100
    assert gaps(disk.files()) == []


@pytest.mark.parametrize(
    ("stream", "values"),
    [(BOOK, {}), (TRADES, {"resume_limit": 5})],
    ids=["the past of a book", "longer than a start may go back"],
)
async def test_what_no_start_could_fetch_is_written_with_a_state_file_too(
    autojump_clock: Any, monkeypatch: pytest.MonkeyPatch, stream: str, values: dict[str, int]
) -> None:
    disk = Disk()
    async with opened(monkeypatch, NO_ROWS, A_HOLE) as place:
        await place.run(disk, 9, streams=[stream], **values)
    ((_, last, reason),) = gaps(disk.files(), stream)
    assert reason == "shutdown"
    assert assert_all_told(disk, stream) > last + 10
    assert positions(disk.files())[stream] == assert_all_told(disk, stream)


async def test_after_a_failed_write_nothing_later_is_written_or_remembered(
    autojump_clock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk is full in one batch; what is queued behind it would fit again."""
    disk = Disk()
    async with opened(monkeypatch) as place:
        for room in (3_000, 3_217, 5_001):
            disk.room = room

            def make_room() -> None:
                disk.room = None

            disk.full = make_room
            with pytest.raises(SinkError, match="the disk is full"):
                await place.run(disk, 60)
            # What is remembered is what is whole in the output, to the id.
            written = ids(disk.files())
            assert positions(disk.files()) == {stream: got[-1] for stream, got in written.items()}
            assert assert_all_told(disk) == written[TRADES][-1]
            # The ledger does not claim what was received and not written.
            unwritten = {stream: missing(disk.files(), stream) for stream in written}
            assert any(unwritten.values())
            for stream, ranges in unwritten.items():
                for first, _, reason in ranges:
                    assert (first, reason) == (written[stream][-1] + 1, "not_written")
        await place.run(disk, 5)
    for got in ids(disk.files()).values():
        assert got == list(range(got[0], got[-1] + 1))


async def test_the_ledger_says_what_the_output_holds(
    autojump_clock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = Disk()
    async with opened(monkeypatch) as place:
        await place.run(disk, 9)
    assert missing(disk.files()) == []
    assert {COVERAGE, OUTPUT} <= set(disk.files())
