"""Samples of books in the output of a run: at exact times, honest, and no messages."""

from __future__ import annotations

import fcntl
import os
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
import trio
from booktruth import BookTruth
from disk import FOLDER, Disk
from program import BOOK, COVERAGE, OUTPUT, TRADES, Place, gaps, ids, rows
from world import START_MS, fault, open_world

from k2trio.book.order_book import OrderBook
from k2trio.client.books import FeedBooks
from k2trio.commands.run import deliver_and_account
from k2trio.commands.sampling import Sampler
from k2trio.errors import SinkError
from k2trio.market.payloads import Event, PartialDepth, frame_of
from k2trio.sinks.jsonl import JsonLines

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

    from k2trio.simulator import Fault

START = START_MS / 1000
BOTH = {"streams": [TRADES, BOOK], "book_levels": 20}


@asynccontextmanager
async def opened(
    monkeypatch: pytest.MonkeyPatch, *faults: Fault
) -> AsyncGenerator[tuple[Place, Disk]]:
    """A venue, and a disk for the program that reads it."""
    place = Place(monkeypatch, faults)
    async with trio.open_nursery() as nursery:
        await nursery.start(place.network.run)
        yield place, Disk()
        nursery.cancel_scope.cancel()


def samples(disk: Disk) -> list[dict[str, Any]]:
    return [row["book"] for row in rows(disk.files()) if "book" in row]


def times(taken: list[dict[str, Any]]) -> list[float]:
    return [round(sample["time"] - START, 3) for sample in taken]


def as_book(sample: dict[str, Any]) -> OrderBook:
    """A sample as the image of a book that it is."""
    book = OrderBook("btcusdt@depth20")
    image = {"lastUpdateId": sample["update_id"], "bids": sample["bids"], "asks": sample["asks"]}
    data = msgspec.convert(image, PartialDepth)
    book.apply(Event(data, book.stream, "venue", 0.0, b""))
    return book


async def test_samples_come_at_multiples_and_are_the_exchanges_own_book(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: Any
) -> None:
    async with opened(monkeypatch) as (place, disk):
        truth = BookTruth(place.exchange.market.symbols["BTCUSDT"])
        await trio.sleep(0.123)
        await place.run(disk, 30, **BOTH, book_interval=0.25)
        taken = samples(disk)
        assert times(taken) == [n / 4 for n in range(1, 121)]
        assert max(sample["late"] for sample in taken) < 1e-5
        live = [sample for sample in taken if sample["state"] == "live"]
        assert len(live) > 100
        assert all(sample["problem"] is None and sample["age"] < 1 for sample in live)
        assert all(truth.agrees(as_book(sample)) for sample in live)
        assert {len(sample[side]) for sample in live for side in ("bids", "asks")} == {20}


async def test_levels_behind_which_there_may_be_others_are_left_out(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: Any
) -> None:
    async with opened(monkeypatch) as (place, disk):
        truth = BookTruth(place.exchange.market.symbols["BTCUSDT"])
        await place.run(disk, 60, **BOTH, depth_snapshot_levels=20)
        live = [sample for sample in samples(disk) if sample["state"] == "live"]
    assert len(live) > 50
    assert min(len(sample["bids"]) + len(sample["asks"]) for sample in live) < 38
    assert all(truth.agrees(as_book(sample)) for sample in live)


async def test_messages_without_a_line_count_as_dealt_with_up_to_one_that_has_none_yet(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: Any
) -> None:
    disk = Disk()
    disk.install(monkeypatch)
    async with open_world(consume=False) as world:
        with JsonLines(FOLDER / OUTPUT) as sink:
            sampler = Sampler(sink, FeedBooks(world.feed), 20, 1, lambda *_, **__: None)
            batch = [message(BOOK), message(TRADES), *[message(BOOK)] * 2, message(TRADES)]
            await sampler.write(batch)
            assert sampler.whole == 5
            await sampler.write([message(BOOK)] * 3)
            assert sampler.whole == 3
            disk.room = len(disk.read(OUTPUT)) * 3 // 4  # for one line, and half of another
            with pytest.raises(SinkError):
                await sampler.write(batch)
            assert sampler.whole == 4
            with pytest.raises(SinkError):
                await sampler.write([message(BOOK)] * 3)
            assert sampler.whole == 0
    assert len(rows(disk.files())) == 3


def message(stream: str) -> Event[Any]:
    """A message, of which only the stream counts."""
    return Event(None, stream, "venue.test", 0.0, frame_of(stream, b"{}"))  # type: ignore[arg-type, type-var]


async def test_messages_that_make_books_have_no_line_and_all_others_do(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: Any
) -> None:
    async with opened(monkeypatch, fault(10, "dropped", "a", duration=1)) as (place, disk):
        streams = [TRADES, BOOK, "btcusdt@bookTicker", "btcusdt@depth5"]
        await place.run(disk, 30, **{**BOTH, "streams": streams})
        lines = rows(disk.files())
        assert {row["stream"] for row in lines if "data" in row} == {TRADES}
        assert {row["stream"] for row in lines if "book" in row} == {BOOK}
        assert [reason for _, _, reason in gaps(disk.files(), BOOK)]
        (found,) = ids(disk.files()).values()
        assert found == list(range(found[0], found[0] + len(found)))


async def test_a_book_that_has_not_begun_is_empty_in_its_samples(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: Any
) -> None:
    async with opened(monkeypatch, fault(0, "outage", "*", duration=3)) as (place, disk):
        await place.run(disk, 20, **BOTH)
        first, *_, last = (row for row in rows(disk.files()) if "book" in row)
    assert (first["venue"], first["stream"]) == (None, BOOK)
    assert first["book"] == {
        "symbol": "BTCUSDT", "time": START + 1, "late": 0.0, "state": "empty",
        "problem": "nothing has come that it could begin with", "update_id": None, "age": None,
        "bids": [], "asks": [],
    }  # fmt: skip
    assert (last["venue"], last["book"]["state"]) == ("venue.test", "live")


async def test_a_book_that_is_unproven_or_not_connected_says_so_in_its_samples(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: Any
) -> None:
    faults = [
        fault(10, "outage", "*", duration=5),
        fault(40, "dropped", "a", duration=2),
        fault(40, "rest_refused", "venue.rest", duration=20),
    ]
    async with opened(monkeypatch, *faults) as (place, disk):
        await place.run(disk, 90, **BOTH)
        taken = dict(zip(times(samples(disk)), samples(disk), strict=True))
        assert [(taken[at]["state"], taken[at]["problem"]) for at in (12, 14)] == [
            ("unproven", "its stream is not connected")
        ] * 2
        assert taken[14]["age"] > 3.8
        assert taken[14]["bids"] == taken[12]["bids"] != []
        assert taken[55]["state"] == "unproven"
        assert "are missing" in taken[55]["problem"]
        assert taken[88]["state"] == "live"


async def test_a_machine_that_slept_leaves_a_line_for_what_was_not_taken(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: Any
) -> None:
    async with opened(monkeypatch) as (place, disk):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lambda: place.run(disk, 20, **BOTH))
            await trio.sleep(10.5)
            place.clock_ahead_s = 7200.0
        (missed,) = [row for row in rows(disk.files()) if "book_missed" in row]
        assert (missed["venue"], missed["stream"]) == ("venue.test", BOOK)
        assert missed["book_missed"] == {
            "symbol": "BTCUSDT", "first": START + 11, "last": START + 7209, "count": 7199,
        }  # fmt: skip
        assert place.told == [("book_samples_missed", {"times": 7199})]
        taken = samples(disk)
        assert times(taken) == [*range(1, 11), *range(7210, 7220)]
        at_once = taken[10]
        assert (at_once["state"], at_once["late"]) == ("unproven", pytest.approx(0.5, abs=0.1))
        assert "the machine slept, or its clock went on 7200 s" in at_once["problem"]
        assert at_once["age"] > 7200
        assert {sample["state"] for sample in taken[11:]} == {"live"}


async def test_a_clock_that_is_set_back_repeats_no_time_or_says_that_it_does(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: Any
) -> None:
    async with opened(monkeypatch, fault(19.5, "stall", "a", duration=3)) as (place, disk):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lambda: place.run(disk, 40, **BOTH))
            await trio.sleep(10.5)
            place.clock_ahead_s = -5.0
            await trio.sleep(10)
            place.clock_ahead_s = -3600.0
        expected = [*range(1, 16), *range(-3578, -3559)]
        assert times(samples(disk)) == expected
        ((event, context),) = place.told
        assert event == "clock_set_back"
        assert 3590 < context["by_s"] < 3600
        assert all(0 <= sample["age"] < 4 for sample in samples(disk))


async def test_a_restart_repeats_and_loses_no_message_for_the_sake_of_samples(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: Any
) -> None:
    async with opened(monkeypatch) as (place, disk):
        for seconds in (7.3, 0.9, 12.7, 3.1):
            await place.run(disk, seconds, **BOTH, book_interval=0.1)
            await trio.sleep(1.7)
        (found,) = ids(disk.files()).values()
        assert len(found) > 300
        assert found == list(range(found[0], found[0] + len(found)))
        assert gaps(disk.files()) == []
        assert {sample["state"] for sample in samples(disk)[-20:]} == {"live"}
        (ledger,) = (
            entry
            for entry in msgspec.json.decode(disk.files()[COVERAGE])
            if entry["stream"] == TRADES
        )
        assert ledger["missing"] == 0


async def test_a_reader_that_holds_up_the_lines_makes_samples_late_or_missed(
    tmp_path: Path, autojump_clock: Any
) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    fcntl.fcntl(reader, fcntl.F_SETPIPE_SZ, 4096)
    told: list[str] = []
    content = b""

    async def read_from(start: float, end: float) -> None:
        nonlocal content
        await trio.sleep_until(start)
        while trio.current_time() < end:
            try:
                content += os.read(reader, 1 << 20)
            except BlockingIOError:
                await trio.sleep(0.01)
            await trio.lowlevel.checkpoint()

    async with open_world(rate=20, consume=False, settings=BOTH) as world:
        with JsonLines(pipe) as sink:
            sampler = Sampler(
                sink,
                FeedBooks(world.feed, clock),
                1,
                1,
                lambda event, **_: told.append(event),
                clock,
            )
            async with trio.open_nursery() as nursery:
                nursery.start_soon(read_from, 0, 10.5)
                nursery.start_soon(read_from, 15.3, 25.5)
                nursery.start_soon(read_from, 26.4, 40)
                with trio.move_on_after(35):
                    await deliver_and_account(world.feed, sink, None, sampler)
                nursery.cancel_scope.cancel()
    os.close(reader)
    lines = [msgspec.json.decode(line) for line in content.splitlines()]
    late = {line["book"]["time"] - START: line["book"]["late"] for line in lines if "book" in line}
    (missed,) = (line["book_missed"] for line in lines if "book_missed" in line)
    assert told == ["book_samples_missed"]
    first, last = missed["first"] - START, missed["last"] - START
    assert (last, missed["count"]) == (14, last - first + 1)
    assert late[15] == pytest.approx(0.3, abs=0.05)
    assert late[26] == pytest.approx(0.4, abs=0.05)
    assert [at for at in late if at <= 34] == [*range(1, int(first)), *range(15, 35)]
    trades = [line["data"]["t"] for line in lines if "data" in line]
    assert trades == list(range(trades[0], trades[0] + len(trades)))


def clock() -> float:
    return START + trio.current_time()
