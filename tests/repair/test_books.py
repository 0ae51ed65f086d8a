"""How books are healed: snapshots in the place of lost updates, now or later, as deep as can be."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import trio
from repairs import AGGS, DEPTH, Bench, agg, diff, having, open_bench
from rest import VENUE, Rest, status
from world import START_MS, fault, open_world

from k2trio.continuity.books import BookTrack
from k2trio.continuity.items import Gap, Outage
from k2trio.market.payloads import Depth, DepthSnapshot, Event

if TYPE_CHECKING:
    from collections.abc import Callable

    import httpx2


def book(last: int) -> dict[str, Any]:
    return {"lastUpdateId": last, "bids": [["1", "1"]], "asks": []}


def limits(rest: Rest) -> list[int]:
    """How many levels each request wanted."""
    return [int(query["limit"]) for *_, query in rest.requests]


def weight(rest: Rest) -> int:
    """What the requests weighed together."""
    return sum(
        5 if n <= 100 else 25 if n <= 500 else 50 if n <= 1000 else 250 for n in limits(rest)
    )


def follow(bench: Bench, stream: str = DEPTH) -> None:
    """Check that whoever keeps a book of the stream can: each update continues the one before, or
    what is named as missing, and after a gap nothing is applied before a snapshot.
    """
    due: int | None = None
    for _, item in bench.told:
        match item:
            case Gap(stream=name) if name == stream:
                assert due == item.first
                due = item.last + 1
            case Event(stream=name, data=DepthSnapshot() as data) if name == stream:
                assert due is not None
                assert data.last_update_id >= due - 1
                due = data.last_update_id + 1
            case Event(stream=name, data=data) if name == stream:
                assert due is None or data.first_update_id <= due <= data.last_update_id
                due = data.last_update_id + 1
            case _:
                pass


def healed_at(bench: Bench, stream: str = DEPTH) -> list[float]:
    return [
        at
        for at, item in bench.told
        if isinstance(item, Event) and item.origin == "snapshot" and item.stream == stream
    ]


async def flow(bench: Bench, until: float, lost: Callable[[float], bool], every_s: float) -> None:
    """A depth stream with an update a tick, ids following the clock: 10 a second."""
    last = int(trio.current_time() * 10)
    while trio.current_time() < until:
        await trio.sleep(every_s)
        now = trio.current_time()
        first, last = last + 1, int(now * 10 + 0.5)
        if not lost(now):
            bench.offer(diff(first, last))


def clock_book(lag_s: float = 0.0) -> dict[str, Any]:
    """REST's book, as the stream of ``flow`` was so long ago."""
    return book(int((trio.current_time() - lag_s) * 10 + 0.5))


# -- a gap is open ------------------------------------------------------------------------------


async def test_a_snapshot_joins_what_is_held(autojump_clock: Any) -> None:
    async with open_bench(lambda _: book(11)) as (bench, rest):
        bench.offer(diff(1, 2), diff(10, 12), diff(13, 14))
        await trio.sleep(20)
    assert rest.times == [0.2]
    assert bench.lines() == [2, (3, 11, "snapshot"), 11, 12, 14]
    assert bench.ended() == {"repaired": 1}


async def test_one_snapshot_stands_for_all_gaps_that_it_is_newer_than(autojump_clock: Any) -> None:
    async with open_bench(lambda _: book(25)) as (bench, rest):
        bench.offer(diff(1, 2), diff(10, 12), diff(20, 22), diff(25, 30))
        await trio.sleep(20)
    assert len(rest.requests) == 1
    assert bench.lines() == [2, (3, 25, "snapshot"), 25, 30]


async def test_a_book_that_lags_is_looked_at_cheaply_until_it_has_caught_up(
    autojump_clock: Any,
) -> None:
    """Only the first request and the last are for all levels."""
    books = [book(6), book(8), book(9), book(11)]
    async with open_bench(lambda _: books.pop(0)) as (bench, rest):
        bench.offer(diff(1, 2), diff(10, 12))
        await trio.sleep(20)
    assert rest.times == [0.2, 0.7, 1.7, 1.7]
    assert limits(rest) == [1000, 1, 1, 1000]
    assert bench.lines() == [2, (3, 11, "snapshot"), 11, 12]


async def test_a_book_that_never_catches_up_is_declared_when_the_hold_ends(
    autojump_clock: Any,
) -> None:
    async with open_bench(lambda _: book(6)) as (bench, _):
        bench.offer(diff(1, 2), diff(10, 12))
        await trio.sleep(20)
    assert bench.gaps() == [(10, Gap(VENUE, DEPTH, 3, 9, "not_repaired", 0, 0))]
    assert bench.ended() == {"declared": 1}


async def test_a_book_that_lags_but_moves_is_waited_for(autojump_clock: Any) -> None:
    """It is 25 s behind: the gap is healed when REST has come to it, for little weight.

    The venue's other streams are repaired meanwhile.
    """

    def answer(request: httpx2.Request) -> Any:
        return clock_book(25) if "depth" in request.url.path else having()(request)

    async with open_bench(answer) as (bench, rest), trio.open_nursery() as nursery:
        await trio.sleep(30)
        nursery.start_soon(flow, bench, 75, lambda now: 32 <= now < 32.2, 0.1)
        await trio.sleep(10)
        bench.offer(agg(1), agg(4))
        await trio.sleep(1)
        assert bench.lines(AGGS) == [1, -2, -3, 4]
    (at,) = healed_at(bench)
    assert 57 < at < 62
    assert {gap.reason for _, gap in bench.gaps()} == {"snapshot"}
    assert weight(rest) < 600
    follow(bench)


async def test_a_book_that_moves_too_slowly_is_waited_for_one_window_longer(
    autojump_clock: Any,
) -> None:
    async with open_bench(lambda _: book(int(trio.current_time()))) as (bench, _):
        bench.offer(diff(1, 2), diff(10_000, 10_001))
        await trio.sleep(100)
    ((at, gap),) = bench.gaps()
    assert gap.reason == "not_repaired"
    assert 10 < at <= 70


async def test_diffs_that_come_while_the_snapshot_does_spare_it(autojump_clock: Any) -> None:
    async def slow(_: httpx2.Request) -> Any:
        await trio.sleep(3)
        return book(50)

    async with open_bench(slow) as (bench, _):
        bench.offer(diff(1, 2), diff(10, 12))
        await trio.sleep(1)
        bench.offer(diff(3, 9))
        await trio.sleep(20)
    assert bench.lines() == [2, 9, 12]
    assert bench.ended() == {"joined": 1}


async def test_a_consumer_that_is_slow_to_take_a_snapshot_is_waited_for(
    autojump_clock: Any,
) -> None:
    async with open_bench(lambda _: book(11)) as (bench, _):
        bench.pause_s = 100
        bench.offer(diff(1, 2), diff(10, 12))
        await trio.sleep(1000)
    assert bench.ended() == {"repaired": 1}


# -- the beginning ------------------------------------------------------------------------------


async def begin(bench: Bench, streams: list[str], until: float) -> None:
    """Depth streams with an update each half second, ids following the clock: 10 a second."""
    last = 0
    while trio.current_time() < until:
        await trio.sleep(0.5)
        first, last = last + 1, int(trio.current_time() * 10 + 0.5)
        for stream in streams:
            bench.offer(diff(first, last, stream))


@pytest.mark.parametrize(
    ("books", "levels"),
    [(1, 1000), (40, 1000), pytest.param(400, 100, marks=pytest.mark.slow)],
)
async def test_all_books_begin_as_soon_as_their_snapshots_are_there(
    autojump_clock: Any, books: int, levels: int
) -> None:
    async def answer(_: httpx2.Request) -> Any:
        await trio.sleep(0.1)
        return clock_book(0.05)

    streams = [f"sym{number}usdt@depth" for number in range(books)]
    async with open_bench(answer, redundant=False, snapshots=True) as (bench, rest):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(begin, bench, streams, 30)
            await trio.sleep(0.55)
            assert bench.repairs.problems(trio.current_time()) == [
                f"{books} {'book lacks' if books == 1 else 'books lack'} a snapshot"
            ]
        assert bench.repairs.problems(trio.current_time()) == []
    assert limits(rest) == [levels] * books
    for stream in streams:
        (at,) = healed_at(bench, stream)
        assert at <= 1.001 + 0.1 * books / 4  # four at a time, and an update to join
        follow(bench, stream)
    assert bench.gaps() == []


async def test_where_the_budget_is_short_books_begin_later_and_updates_do_not(
    autojump_clock: Any,
) -> None:
    """A snapshot of 100 levels weighs 5, and 80 of 100 are for books: 16 books a minute."""
    streams = [f"sym{number}usdt@depth" for number in range(50)]
    async with open_bench(
        lambda _: clock_book(), redundant=False, snapshots=True, rest_weight_limit=100
    ) as (bench, _):
        await begin(bench, streams, 400)
    for stream in streams:
        assert healed_at(bench, stream), stream
        first = next(at for at, item in bench.told if item.stream == stream)
        assert first <= 10 + 60 + 1  # the hold, and what a wait for a turn is excused
        follow(bench, stream)
    assert bench.gaps() == []


# -- the budget ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("books", "levels"), [(40, 1000), (400, 100)])
async def test_all_books_are_healed_at_once_however_many_there_are(
    autojump_clock: Any, books: int, levels: int
) -> None:
    async def answer(_: httpx2.Request) -> Any:
        await trio.sleep(0.1)
        return book(12)

    async with open_bench(answer, redundant=False) as (bench, rest):
        streams = [f"sym{number}usdt@depth" for number in range(books)]
        for stream in streams:
            bench.offer(diff(1, 2, stream))
        for stream in streams:
            bench.offer(diff(10, 14, stream))
        await trio.sleep(300)
    assert limits(rest) == [levels] * books
    for stream in streams:
        (at,) = healed_at(bench, stream)
        assert at <= 0.1 * books / 4 + 0.001  # four at a time
    assert bench.ended() == {"repaired": books}


async def test_books_that_want_more_than_the_budget_do_not_starve_a_page(
    autojump_clock: Any,
) -> None:
    answer = lambda request: book(12) if "depth" in request.url.path else having()(request)  # noqa: E731
    async with open_bench(answer, redundant=False, rest_weight_limit=100) as (bench, rest):
        for number in range(60):
            stream = f"sym{number}usdt@depth"
            bench.offer(diff(1, 2, stream), diff(10, 14, stream))
        await trio.sleep(1)
        assert weight(rest) == 80
        bench.offer(agg(1), agg(4))
        await trio.sleep(0.1)
        assert bench.lines(AGGS) == [1, -2, -3, 4]


# -- later --------------------------------------------------------------------------------------


async def test_a_gap_that_was_declared_without_a_snapshot_gets_one_later(
    autojump_clock: Any,
) -> None:
    """REST is down for half a minute. The snapshot stands in its place among the updates."""

    def answer(_: httpx2.Request) -> Any:
        return status(503) if trio.current_time() < 40 else clock_book()

    async with open_bench(answer, redundant=False) as (bench, _):
        await flow(bench, 100, lambda now: 10 <= now < 10.5, 0.1)
    at, gap = bench.gaps()[0]
    assert (at, gap.reason) == (pytest.approx(20.6), "not_repaired")
    (at,) = healed_at(bench)
    assert 40 < at < 55
    follow(bench)


@pytest.mark.parametrize("lag_s", [0.0, 0.3, 3.0, 25.0])
@pytest.mark.parametrize("slow_s", [0.0, 0.25])
async def test_a_later_snapshot_joins_though_rest_is_behind_and_slow(
    autojump_clock: Any, lag_s: float, slow_s: float
) -> None:
    """The stream waits for as long as REST is behind, and no more than one pause longer."""

    async def answer(_: httpx2.Request) -> Any:
        if trio.current_time() < 30:
            return status(503)
        await trio.sleep(slow_s)
        return clock_book(lag_s)

    async with open_bench(answer, redundant=False) as (bench, _):
        await flow(bench, 100, lambda now: 10 <= now < 10.5, 0.1)
    assert len(healed_at(bench)) == 1
    follow(bench)
    held_s = [
        at - item.data.last_update_id / 10
        for at, item in bench.told
        if isinstance(item, Event) and item.origin == "live" and at > 30
    ]
    assert max(held_s) < lag_s + 2 * slow_s + 5


async def test_a_stream_is_not_held_back_for_a_book_that_is_far_behind(
    autojump_clock: Any,
) -> None:
    def answer(_: httpx2.Request) -> Any:
        return status(503) if trio.current_time() < 30 else clock_book(100)

    async with open_bench(answer, redundant=False) as (bench, rest):
        await flow(bench, 300, lambda now: 10 <= now < 10.5, 0.1)
    assert healed_at(bench) == []
    assert all(
        at == pytest.approx(item.data.last_update_id / 10)
        for at, item in bench.told
        if isinstance(item, Event) and at > 21
    )
    assert weight(rest) / 5 < 260  # and not more often than every ten seconds


async def test_a_stream_held_back_goes_on_when_no_snapshot_comes(autojump_clock: Any) -> None:
    """REST is found up to date, and then fails: the stream waits one hold at most."""

    def answer(request: httpx2.Request) -> Any:
        healthy = trio.current_time() > 30 and request.url.params["limit"] == "1"
        return clock_book() if healthy else status(503)

    async with open_bench(answer, redundant=False) as (bench, _):
        await flow(bench, 100, lambda now: 10 <= now < 10.5, 0.1)
    waits = [
        at - item.data.last_update_id / 10
        for at, item in bench.told
        if isinstance(item, Event) and at > 30
    ]
    assert max(waits) == pytest.approx(10, abs=0.2)
    follow(bench)


async def test_a_book_of_which_nothing_comes_any_more_is_not_asked_for(
    autojump_clock: Any,
) -> None:
    async with open_bench(lambda _: status(503), redundant=False) as (bench, rest):
        bench.offer(diff(1, 2), diff(10, 12))
        await trio.sleep(30)
        asked = len(rest.requests)
        await trio.sleep(3600)
        assert len(rest.requests) == asked


async def test_a_book_whose_ids_begin_anew_gets_a_snapshot(autojump_clock: Any) -> None:
    async with open_bench(lambda _: clock_book(), redundant=False) as (bench, _):
        await trio.sleep(10)
        older = Depth(1, "BTCUSDT", 5_000_000, 5_000_001, [], [])
        bench.offer(Event(older, DEPTH, VENUE, 0.0, b"{}"))
        for number in (100, 101, 102):
            # Newer than servers' clocks may differ, and what flows then is not older than that.
            newer = Depth(1_000 + number, "BTCUSDT", number, number, [], [])
            bench.offer(Event(newer, DEPTH, VENUE, 0.0, b"{}"))
        assert bench.lines() == [5_000_001, (5_000_002, 5_000_002, "reset"), 100, 101, 102]
        await flow(bench, 30, lambda _: False, 0.1)
    assert len(healed_at(bench)) == 1


async def test_a_book_that_a_slow_consumer_lost_updates_of_gets_a_snapshot(
    autojump_clock: Any,
) -> None:
    """They are dropped and declared; then the consumer reads again."""
    settings = {"streams": ["btcusdt@depth@100ms"], "overflow": "drop", "max_buffered_messages": 20}
    async with open_world(endpoints=["a"], rate=20, settings=settings, consume=False) as world:
        items: list[Any] = []
        with trio.move_on_after(10):
            async for batch in world.feed.batches():
                items += batch
        await trio.sleep(30)
        assert world.feed.status().problems == ("1 book lacks a snapshot",)
        with trio.move_on_after(60):
            async for batch in world.feed.batches():
                items += batch
        assert world.feed.status().problems == ()
    kinds = [
        item.reason if isinstance(item, Gap) else item.origin
        for item in items
        if not isinstance(item, Outage)
    ]
    assert "overflow" in kinds
    assert "snapshot" in kinds[kinds.index("overflow") :]


async def test_what_is_held_back_at_the_end_is_delivered_and_no_gap_is_counted(
    autojump_clock: Any,
) -> None:
    settings = {"streams": ["btcusdt@depth@100ms"]}
    async with open_world(endpoints=["a"], rate=20, settings=settings) as world:
        await trio.sleep(10)
        (track,) = world.feed.tracks
        assert isinstance(track, BookTrack)
        assert track.next is not None
        track.pause()
        data = Depth(1, "BTCUSDT", track.next, track.next + 3, [], [])
        event = Event(data, track.stream.name, track.venue, 10.0, b"{}")
        track.offer(event, trio.current_time(), [])
        assert world.feed.drain()[-1] is event
        assert world.metric("k2_binance_gaps_total", outcome="declared") == 0


# -- as a whole ---------------------------------------------------------------------------------


async def test_books_are_healed_after_a_reconnect_of_the_simulated_exchange(
    autojump_clock: Any,
) -> None:
    streams = ["btcusdt@depth", "ethusdt@depth@100ms", "btcusdt@depth@100ms"]
    faults = [
        fault(20, "outage", "*", duration=30),
        fault(50, "rest_refused", "venue.rest", duration=60),
    ]
    async with open_world(faults, rate=20, settings={"streams": streams}) as world:
        await trio.sleep(100)
        assert world.feed.status().problems == ("3 books lack a snapshot",)
        assert world.metric("k2_binance_broken_books") == 3
        await trio.sleep(60)
        assert world.feed.status().problems == ()
        assert world.metric("k2_binance_broken_books") == 0
    for stream in streams:
        due = None
        whole = True
        for at, item in world.items:
            if item.stream != stream:
                continue
            if isinstance(item, Gap):
                assert item.first == due
                due, whole = item.last + 1, False
            elif isinstance(item, Event) and item.origin == "snapshot":
                assert due is None or item.data.last_update_id >= due - 1
                due, whole = item.data.last_update_id + 1, True
                assert at < 5 or at > 110
            elif isinstance(item, Event):
                assert due is None or item.data.first_update_id <= due
                due = item.data.last_update_id + 1
                assert at - (item.received - START_MS / 1000) < 11
        assert whole


@pytest.mark.parametrize("after_s", [0, 1, 5, 12])
async def test_a_snapshot_wanted_soon_after_one_that_was_ahead_comes_too(
    autojump_clock: Any, after_s: float
) -> None:
    """The first one waits for updates; while it does, and after it, more may be wanted."""

    async def answer(_: httpx2.Request) -> Any:
        await trio.sleep(0.05)
        return clock_book()

    async with open_bench(answer, redundant=False, snapshots=True) as (bench, _):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(begin, bench, [DEPTH], 120)
            await trio.sleep(2)
            assert len(healed_at(bench)) == 1
            await trio.sleep(after_s)
            track = bench.arbiter.track(VENUE, DEPTH)
            assert isinstance(track, BookTrack)
            assert track.begin_again()
            bench.repairs.notice()
        assert len(healed_at(bench)) == 2
        assert healed_at(bench)[1] < after_s + 40
        assert not track.wanting
    follow(bench)
    assert bench.gaps() == []
