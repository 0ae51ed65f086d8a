"""Books behind a feed: right whenever they say so, and right again after whatever happened."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
import trio
from booktruth import BookTruth
from halves import quick_and_slow
from world import START_MS, SUBJECT, fault, open_world

import k2trio
from k2trio.book.order_book import BookState, OrderBook
from k2trio.market.payloads import Depth, DepthSnapshot, Event
from k2trio.observe.transitions import BookDiffers

DEPTH, TICKER, PARTIAL = "btcusdt@depth@100ms", "btcusdt@bookTicker", "btcusdt@depth20@100ms"

FAULTS = {
    "none": [],
    "outage": [fault(20, "outage", "*", duration=30)],
    "losses": [fault(10, "dropped", "a", duration=30, share=0.05)],
    "rest down": [
        fault(10, "dropped", "a", duration=10, share=0.3),
        fault(10, "rest_refused", "venue.rest", duration=40),
    ],
    "rest lags": [
        fault(10, "dropped", "a", duration=20, share=0.1),
        fault(0, "rest_lag", "venue.rest", duration=90, lag=3.0),
    ],
    "ids begin anew": [fault(20, "ids_reset", "a", by=1_000_000)],
    "ids leap": [fault(20, "ids_jump", "a", by=1_000_000)],
}


@pytest.mark.parametrize("faults", quick_and_slow(FAULTS.values()), ids=FAULTS)
async def test_a_live_book_is_the_exchanges_own_whatever_happens(
    faults: list[Any], autojump_clock: Any
) -> None:
    seen: Counter[BookState] = Counter()
    async with open_world(
        faults, rate=20, consume=False, settings={"streams": [DEPTH, TICKER, PARTIAL]}
    ) as world:
        truth = BookTruth(world.exchange.market.symbols["BTCUSDT"])
        feed_books = k2trio.books(world.feed)
        with trio.move_on_after(120):
            async for book, item in feed_books:
                assert book is not None
                seen[book.state] += 1
                if item.stream == DEPTH and book.state is BookState.LIVE:
                    assert truth.agrees(book)
        assert feed_books["btcusdt"].state is BookState.LIVE
    assert seen[BookState.LIVE] > 1000
    assert bool(seen[BookState.UNPROVEN]) == bool(faults)
    audits = {
        witness: world.metric("k2_binance_book_audits_total", witness=witness)
        for witness in ("ticker", "partial")
    }
    assert all(count is not None and count > 100 for count in audits.values())
    assert world.of(BookDiffers) == []


async def test_depth_begins_with_a_snapshot_and_nothing_is_missing(autojump_clock: Any) -> None:
    async with open_world(rate=20, settings={"streams": [DEPTH, "ethusdt@depth"]}) as world:
        await trio.sleep(5)
    for stream in (DEPTH, "ethusdt@depth"):
        items = [item for _, item in world.items if item.stream == stream]
        assert all(isinstance(item, Event) for item in items)
        snapshots = [n for n, item in enumerate(items) if isinstance(item.data, DepthSnapshot)]  # type: ignore[union-attr]
        (place,) = snapshots
        last = items[place].data.last_update_id  # type: ignore[union-attr]
        before, after = items[:place], items[place + 1 :]
        assert all(item.data.last_update_id <= last for item in before)  # type: ignore[union-attr]
        joins = after[0].data  # type: ignore[union-attr]
        assert isinstance(joins, Depth)
        assert joins.first_update_id <= last + 1 <= joins.last_update_id
        times = [at for at, _ in world.items]
        assert times[place] < 3


async def test_where_no_snapshots_are_wanted_there_are_none(autojump_clock: Any) -> None:
    chosen = {"streams": [DEPTH], "depth_snapshot_levels": 0}
    faults = [fault(10, "dropped", "a", duration=1, share=1.0)]
    async with open_world(faults, rate=20, settings=chosen) as world:
        await trio.sleep(30)
    gaps = [item for _, item in world.items if isinstance(item, k2trio.Gap)]
    assert {gap.reason for gap in gaps} == {"not_repairable"}
    assert not any(isinstance(item, Event) and item.origin == "snapshot" for _, item in world.items)


async def test_each_book_is_compared_with_a_second_snapshot(autojump_clock: Any) -> None:
    streams = [DEPTH, "ethusdt@depth", "ethusdt@trade"]
    async with open_world(
        rate=20, consume=False, settings={"streams": streams, "book_audit_interval": 30}
    ) as world:
        with trio.move_on_after(100):
            async for _ in k2trio.books(world.feed):
                pass
    assert world.metric("k2_binance_book_audits_total", witness="snapshot") == 6
    assert world.of(BookDiffers) == []


async def test_a_book_that_differs_is_told_and_begins_anew(autojump_clock: Any) -> None:
    async with open_world(rate=20, consume=False, settings={"streams": [DEPTH, TICKER]}) as world:
        truth = BookTruth(world.exchange.market.symbols["BTCUSDT"])
        agreed: list[bool] = []
        states: list[BookState] = []
        with trio.move_on_after(60):
            async for book, item in k2trio.books(world.feed):
                assert book is not None
                states.append(book.state)
                if trio.current_time() > 10 and not world.of(BookDiffers):
                    # As if the exchange, or we, had lost a change of it.
                    book._bids.update([k2trio.Level(book.bids(1)[0].price, "123.456")])
                elif item.stream == DEPTH and book.state is BookState.LIVE:
                    agreed.append(truth.agrees(book))
    ((at, told),) = world.of(BookDiffers)
    assert at < 15
    assert "the book has 123.456 at" in told.detail
    assert told.witness == "ticker"
    assert world.metric("k2_binance_book_differences_total", witness="ticker") == 1
    assert BookState.UNPROVEN in states
    assert states[-1] is BookState.LIVE
    assert all(agreed)


async def test_a_stream_subscribed_later_makes_a_book(autojump_clock: Any) -> None:
    async with open_world(rate=20, consume=False, settings={"streams": [TICKER]}) as world:
        feed_books = k2trio.books(world.feed)
        sources: list[str] = []
        with trio.move_on_after(20):
            async for book, _ in feed_books:
                assert book is not None
                sources.append(book.stream)
                if len(sources) == 50:
                    await world.feed.subscribe(DEPTH)
        assert sources[0] == TICKER
        assert sources[-1] == DEPTH
        assert feed_books["btcusdt"].state is BookState.LIVE


async def test_books_of_a_feed_that_was_iterated_before_begin_with_the_next_snapshot(
    autojump_clock: Any,
) -> None:
    async with open_world(rate=20, consume=False, settings={"streams": [DEPTH]}) as world:
        with trio.move_on_after(20):
            async for _ in world.feed:
                pass
        feed_books = k2trio.books(world.feed)
        with trio.move_on_after(60):
            async for _ in feed_books:
                pass
        assert feed_books["btcusdt"].state is BookState.LIVE


async def test_a_book_is_live_again_after_a_failover_and_its_gaps(autojump_clock: Any) -> None:
    """The venue that was left has messages behind a gap, and they come among the new one's."""
    faults = [
        fault(20, "dropped", "a", duration=10, share=0.5),
        fault(20, "rest_refused", "va.rest", duration=65),
        fault(30, "outage", "a", duration=60),
    ]
    async with open_world(
        faults,
        venues={"a": "va", "b": "vb"},
        rate=5,
        consume=False,
        settings={"streams": [DEPTH], "recovery_timeout": 5},
    ) as world:
        feed_books = k2trio.books(world.feed)
        venues: set[str | None] = set()
        with trio.move_on_after(400):
            async for book, _ in feed_books:
                assert book is not None
                if book.state is BookState.LIVE:
                    venues.add(book.venue)
        assert venues == {"va.test", "vb.test"}
        assert feed_books["btcusdt"].state is BookState.LIVE
        assert world.feed.status().problems == ()


async def test_a_resync_takes_names_in_any_case(autojump_clock: Any) -> None:
    async with open_world(rate=20, settings={"streams": [DEPTH]}) as world:
        await trio.sleep(15)
        world.feed.resync("BTCUSDT@depth@100ms", "ethusdt@depth")
        await trio.sleep(15)
    snapshots = [item for _, item in world.items if getattr(item, "origin", "") == "snapshot"]
    assert len(snapshots) == 2


async def test_a_book_subscribed_later_is_compared_with_snapshots_too(autojump_clock: Any) -> None:
    async with open_world(
        rate=20,
        consume=False,
        settings={"streams": ["btcusdt@trade"], "book_audit_interval": 30},
    ) as world:
        feed_books = k2trio.books(world.feed)
        with trio.move_on_after(100):
            async for _ in feed_books:
                if DEPTH not in world.feed.streams:
                    await world.feed.subscribe(DEPTH)
    assert world.metric("k2_binance_book_audits_total", witness="snapshot") == 2


async def standings(faults: list[Any], until: list[float], **chosen: Any) -> list[Any]:
    """How the book of depth updates stood at some times."""
    found: list[Any] = []

    async def look(feed_books: k2trio.FeedBooks) -> None:
        for at in until:
            await trio.sleep_until(at)
            ((_, standing),) = feed_books.standings()
            found.append((standing.state.value, standing.problem))

    settings = {"streams": [DEPTH], **chosen}
    async with open_world(faults, rate=20, consume=False, settings=settings) as world:
        feed_books = k2trio.FeedBooks(world.feed, lambda: START_MS / 1000 + trio.current_time())
        async with trio.open_nursery() as nursery:
            nursery.start_soon(look, feed_books)
            with trio.move_on_at(until[-1] + 1):
                async for _ in feed_books:
                    pass
    return found


LIVE = ("live", None)
AWAY = "its stream was not connected for a while, and has brought nothing since"


async def moments(faults: list[Any], begin: int, end: int) -> list[tuple[float, Any]]:
    """How the book stood at half seconds, where that had changed since the one before."""
    times = [begin + n / 2 for n in range(1, 2 * (end - begin))]
    found = list(zip(times, await standings(faults, times), strict=True))
    return [one for n, one in enumerate(found) if not n or one[1] != found[n - 1][1]]


async def test_a_book_whose_stream_was_away_is_unproven_until_it_speaks(
    autojump_clock: Any,
) -> None:
    faults = [
        fault(20, "outage", "*", duration=5),
        fault(19, "halt", "venue", duration=30, symbol="BTCUSDT"),
        fault(19, "rest_refused", "venue.rest", duration=30),
    ]
    assert await standings(faults, [15, 22, 40, 60]) == [
        LIVE,
        ("unproven", "its stream is not connected"),
        ("unproven", AWAY),
        LIVE,
    ]


async def test_a_book_whose_stream_was_away_and_is_quiet_is_proven_by_a_snapshot(
    autojump_clock: Any,
) -> None:
    faults = [
        fault(20, "outage", "*", duration=5),
        fault(19, "halt", "venue", duration=300, symbol="BTCUSDT"),
    ]
    (back,) = {at for at, state in await moments(faults, 20, 60) if state == LIVE}
    assert 27 <= back <= 30


async def test_the_book_of_a_quiet_symbol_begins_with_a_snapshot_and_goes_on_from_it(
    autojump_clock: Any,
) -> None:
    """Nothing happens to it for the first minute."""
    faults = [fault(0, "halt", "venue", duration=60, symbol="BTCUSDT")]
    states: dict[float, BookState] = {}
    async with open_world(faults, rate=20, settings={"streams": [DEPTH, "ethusdt@trade"]}) as world:
        truth, book = BookTruth(world.exchange.market.symbols["BTCUSDT"]), OrderBook(DEPTH)
        await trio.sleep(90)
        for at, item in world.items:
            if book.apply(item):
                states[at] = book.state
                assert truth.agrees(book)
        assert world.feed.status().problems == ()
    assert set(states.values()) == {BookState.LIVE}
    began_at, first_update_at, *_ = states
    assert began_at == 3.0
    assert first_update_at >= 60
    items = [item for _, item in world.items if item.stream == DEPTH]
    assert not any(isinstance(item, k2trio.Gap) for item in items)
    assert sum(isinstance(item, Event) and item.origin == "snapshot" for item in items) == 1


async def test_a_quiet_symbol_begins_as_soon_as_rest_answers(autojump_clock: Any) -> None:
    faults = [
        fault(0, "halt", "venue", duration=300, symbol="BTCUSDT"),
        fault(0, "rest_refused", "venue.rest", duration=10),
    ]
    *_, (at, state) = await moments(faults, 0, 50)
    assert state == LIVE
    assert 10 < at < 45  # its breaker is open for half a minute


async def test_a_quiet_symbol_begins_anew_at_another_venue(autojump_clock: Any) -> None:
    faults = [
        fault(19, "halt", "va", duration=300, symbol="BTCUSDT"),
        fault(0, "halt", "vb", duration=300, symbol="BTCUSDT"),
        fault(20, "outage", "a", duration=300),
    ]
    async with open_world(
        faults,
        venues={"a": "va", "b": "vb"},
        rate=5,
        consume=False,
        settings={"streams": [DEPTH]},
    ) as world:
        feed_books = k2trio.books(world.feed)
        with trio.move_on_after(40):
            async for _ in feed_books:
                pass
        book = feed_books["btcusdt"]
        assert (book.venue, book.state) == ("vb.test", BookState.LIVE)
        assert BookTruth(world.exchanges["vb"].market.symbols["BTCUSDT"]).agrees(book)


async def test_a_quiet_symbol_that_is_subscribed_later_begins_too(autojump_clock: Any) -> None:
    faults = [fault(0, "halt", "venue", duration=300, symbol="BTCUSDT")]
    async with open_world(faults, rate=5, settings={"streams": ["ethusdt@trade"]}) as world:
        await trio.sleep(10)
        await world.feed.subscribe(DEPTH)
        await trio.sleep(10)
    ((at, item),) = [(at, item) for at, item in world.items if item.stream == DEPTH]
    assert isinstance(item, Event)
    assert item.origin == "snapshot"
    assert 12 <= at <= 14


async def test_a_planned_rotation_leaves_a_quiet_book_live(autojump_clock: Any) -> None:
    faults = [fault(15, "halt", "venue", duration=30, symbol="BTCUSDT")]
    assert await standings(faults, [10, 35, 60], rotate_after=20) == [LIVE] * 3


async def test_a_book_behind_a_gap_is_unproven_while_that_is_repaired(autojump_clock: Any) -> None:
    faults = [
        fault(10, "dropped", "a", duration=1),
        fault(10, "rest_refused", "venue.rest", duration=8),
    ]
    before, during, after = await standings(faults, [9, 15, 90])
    assert (before, after) == (LIVE, LIVE)
    assert during == ("unproven", "updates are missing, and asked for")


# -- what a book says of itself, whoever looks, and whenever ---------------------------------------


async def test_a_book_is_never_live_while_its_stream_is_away(autojump_clock: Any) -> None:
    """Other streams of the symbol speak again long before its own does."""
    faults = [fault(20, "outage", "*", duration=5)]
    seen: list[tuple[float, str, str | None]] = []
    async with open_world(
        faults, rate=20, consume=False, settings={"streams": [DEPTH, TICKER]}
    ) as world:
        feed_books = k2trio.books(world.feed)

        async def look() -> None:
            await trio.sleep_until(22)
            book = feed_books["btcusdt"]
            assert (book.state, book.problem) == ("unproven", "its stream is not connected")
            assert book.bids(5)
            assert [row.state for _, row in feed_books.standings()] == [book.state]

        async with trio.open_nursery() as nursery:
            nursery.start_soon(look)
            with trio.move_on_after(40):
                async for book, item in feed_books:
                    assert book is not None
                    seen.append((trio.current_time(), item.stream, book.state))
    away = next(n for n, (at, *_) in enumerate(seen) if at > 20)
    back = next(n for n, (at, stream, _) in enumerate(seen) if at > 20 and stream == DEPTH)
    assert away < back
    assert {state for _, _, state in seen[away:back]} == {"unproven"}
    assert seen[-1][2] == "live"


async def test_a_book_and_its_standing_agree_at_every_moment(autojump_clock: Any) -> None:
    states: Counter[str] = Counter()
    async with open_world(
        [*FAULTS["outage"], fault(60, "dropped", "a", duration=10, share=0.3)],
        rate=20,
        consume=False,
        settings={"streams": [DEPTH]},
    ) as world:
        feed_books = k2trio.books(world.feed)

        async def look() -> None:
            while True:
                await trio.sleep(0.05)
                ((book, standing),) = feed_books.standings()
                states[book.state] += 1
                assert book.state is standing.state
                if book.state is not BookState.EMPTY:
                    assert book.problem == standing.problem

        async with trio.open_nursery() as nursery:
            nursery.start_soon(look)
            with trio.move_on_after(100):
                async for _ in feed_books:
                    pass
            nursery.cancel_scope.cancel()
    assert states["unproven"] > 500
    assert states["live"] > 500


async def test_a_book_goes_on_from_what_is_left_of_its_symbol(autojump_clock: Any) -> None:
    """Depth, then partial depth, then the book ticker, then nothing, then depth again."""
    seen: list[tuple[str, str]] = []
    changes = {
        10.0: ("unsubscribe", DEPTH),
        20.0: ("unsubscribe", PARTIAL),
        30.0: ("unsubscribe", TICKER),
        40.0: ("subscribe", DEPTH),
    }
    async with open_world(
        rate=20,
        consume=False,
        settings={"streams": [DEPTH, TICKER, PARTIAL, "ethusdt@trade"], "book_audit_interval": 7},
    ) as world:
        truth = BookTruth(world.exchange.market.symbols["BTCUSDT"])
        feed_books = k2trio.books(world.feed)

        async def change() -> None:
            for at, (how, stream) in changes.items():
                await trio.sleep_until(at)
                before = feed_books["btcusdt"]
                await getattr(world.feed, how)(stream)
                assert before.state is BookState.UNPROVEN
                assert before.bids(1)
                await trio.sleep(5)
                seen.append((feed_books["btcusdt"].stream, feed_books["btcusdt"].state))
                assert (seen[-1][0] == before.stream) == (stream == TICKER)
                if stream == TICKER:
                    assert before.problem == "its stream is not subscribed any more"
                else:
                    assert before.state is BookState.UNPROVEN

        async with trio.open_nursery() as nursery:
            nursery.start_soon(change)
            with trio.move_on_after(60):
                async for book, item in feed_books:
                    if book is not None and item.stream == book.stream == DEPTH:
                        assert book.state is not BookState.LIVE or truth.agrees(book)
        assert seen == [
            (PARTIAL, "live"),
            (TICKER, "live"),
            (TICKER, "unproven"),
            (DEPTH, "live"),
        ]
        assert feed_books["btcusdt"].state is BookState.LIVE
    assert world.of(BookDiffers) == []


async def test_a_book_that_is_subscribed_anew_is_unproven_until_it_is_mended(
    autojump_clock: Any,
) -> None:
    seen: list[tuple[float, str]] = []
    async with open_world(rate=20, consume=False, settings={"streams": [DEPTH, SUBJECT]}) as world:
        truth = BookTruth(world.exchange.market.symbols["BTCUSDT"])
        feed_books = k2trio.books(world.feed)

        async def change() -> None:
            await trio.sleep_until(10)
            await world.feed.unsubscribe(DEPTH)
            await trio.sleep_until(20)
            await world.feed.subscribe(DEPTH)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(change)
            with trio.move_on_after(40):
                async for book, item in feed_books:
                    assert book is not None
                    seen.append((trio.current_time(), book.state))
                    if item.stream == DEPTH and book.state is BookState.LIVE:
                        assert truth.agrees(book)
    away = {state for at, state in seen if 10.1 < at < 20}
    assert away == {"unproven"}
    assert {state for at, state in seen if at > 25} == {"live"}
