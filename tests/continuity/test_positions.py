"""Where a stream is behind an item, and going on from there."""

from __future__ import annotations

import pytest
from numbered import AGGS, MINUTE, MINUTES, NOW_MS, NOW_S, TRADES, Bench, agg, average, bar
from numbered import trade as numbered_trade

from k2trio.continuity.arbiter import Arbiter
from k2trio.continuity.books import BookTrack
from k2trio.continuity.items import Gap, Outage
from k2trio.continuity.positions import (
    Position,
    earlier,
    is_behind,
    position_after,
    positions_after,
)
from k2trio.market.futures_payloads import FuturesDepth, MarkPrice
from k2trio.market.payloads import Bar, BookTicker, Depth, DepthSnapshot, Event, Kline
from k2trio.market.units import MS, US, TimeUnit

BOOK = "btcusdt@bookTicker"
DEPTH = "btcusdt@depth"


def quote(number: int, at: float = 1.0) -> Event:
    return Event(BookTicker(number, "BTCUSDT", "1", "1", "2", "1"), BOOK, "v", at, b"")


@pytest.mark.parametrize(
    ("item", "position"),
    [
        (numbered_trade(7, 7), 7),
        (Gap("v", TRADES, 3, 9, "jump"), 9),
        (Event(Depth(1, "BTCUSDT", 3, 9, [], []), DEPTH, "v", 1.0, b""), 9),
        (Event(DepthSnapshot(12, [], []), DEPTH, "v", 1.0, b"", "snapshot"), 12),
        (quote(5), 5),
        (bar(1, 65), NOW_MS + MINUTE),
        (bar(1, 120, closed=True), NOW_MS + 2 * MINUTE),
        (Gap("v", MINUTES, NOW_MS + MINUTE, NOW_MS + 3 * MINUTE, "jump"), NOW_MS + 4 * MINUTE),
    ],
)
def test_positions_follow_what_was_dealt_with(item: Event | Gap, position: int) -> None:
    assert position_after(item).position == position


FUTURES = "v-usdm"
UPDATE = FuturesDepth(8, "BTCUSDT", 10, 12, [], [], 5, 9)


@pytest.mark.parametrize(
    ("item", "unit", "position"),
    [
        (numbered_trade(7, 7), MS, Position("v", TRADES, 7, NOW_MS + 7000, NOW_S + 7.001)),
        (agg(7, 0, 2), MS, Position("v", AGGS, 7, NOW_MS, NOW_S + 0.001, 2)),
        (agg(7, -1, -1), MS, Position("v", AGGS, 7, NOW_MS, NOW_S + 0.001)),
        (quote(5, 3.0), MS, Position("v", BOOK, 5, None, 3.0)),
        (average(2), MS, Position("v", "btcusdt@avgPrice", NOW_MS + 2000, None, NOW_S + 2.001)),
        (
            Event(DepthSnapshot(12, [], []), DEPTH, "v", 1.5, b"", "snapshot"),
            US,
            Position("v", DEPTH, 12, 1_500_000, 1.5),
        ),
        (
            Event(UPDATE, DEPTH, FUTURES, 1.0, b""),
            MS,
            Position(FUTURES, DEPTH, 12, 5, 1.0),
        ),
        (
            Event(MarkPrice(9, "BTCUSDT", *"1111", 0), "btcusdt@markPrice", FUTURES, 1.0, b""),
            MS,
            Position(FUTURES, "btcusdt@markPrice", 9, None, 1.0),
        ),
        (bar(1, 65), MS, Position("v", MINUTES, NOW_MS + MINUTE, NOW_MS + 65_000, NOW_S + 65.001)),
        (
            Gap("v", MINUTES, NOW_MS * 1000, (NOW_MS + MINUTE) * 1000, "jump", 1.0, 2.0),
            US,
            Position("v", MINUTES, (NOW_MS + 2 * MINUTE) * 1000, None, 2.0),
        ),
        (Gap("v", TRADES, 3, 9, "jump", 1.0, 2.0), MS, Position("v", TRADES, 9, None, 2.0)),
    ],
)
def test_a_position_says_all_that_is_known_of_where_the_stream_is(
    item: Event | Gap, unit: TimeUnit, position: Position
) -> None:
    assert position_after(item, unit) == position
    assert positions_after([item], unit) == {(item.venue, item.stream): position}


def test_the_close_of_a_bar_is_where_the_next_one_opens_in_the_unit_of_the_run() -> None:
    begin = NOW_MS * 1000
    inner = Bar(begin, begin + MINUTE * 1000 - 1, "BTCUSDT", "1m", *"11111", 1, True, "1")
    close = Event(Kline(begin + 7, "BTCUSDT", inner), MINUTES, "v", 1.0, b"")
    assert position_after(close, US).position == begin + MINUTE * 1000


def test_of_each_stream_the_last_item_counts() -> None:
    outage = Outage("v", BOOK, 1.0, 2.0)
    found = positions_after([quote(1), numbered_trade(7, 7), quote(2, 5.0), outage])
    assert {key: one.position for key, one in found.items()} == {("v", BOOK): 2, ("v", TRADES): 7}
    assert found["v", BOOK].received == 5.0


def test_of_two_positions_the_times_tell_which_is_earlier() -> None:
    """Ids began anew between them."""
    before, after = Position("v", TRADES, 1_000_000, 10), Position("v", TRADES, 5, 20)
    assert earlier(before, after) is earlier(after, before) is before
    untimed = Position("v", TRADES, 4)
    assert earlier(untimed, after) is untimed


def test_a_position_is_behind_another_by_its_id_and_of_a_bar_by_its_time() -> None:
    at = Position("v", MINUTES, NOW_MS, 20)
    assert is_behind(Position("v", MINUTES, NOW_MS + MINUTE, 10), at)
    assert is_behind(Position("v", MINUTES, NOW_MS, 21), at)
    untimed = Position("v", MINUTES, NOW_MS)
    for one in (at, untimed, Position("v", MINUTES, NOW_MS - MINUTE, 30)):
        assert not is_behind(one, at)
    assert is_behind(at, untimed)
    assert not is_behind(untimed, untimed)


def test_what_a_quiet_kind_brought_meanwhile_is_an_outage() -> None:
    bench = Bench()
    bench.arbiter.track("v", BOOK).resume(10, 100, received=1.0)
    assert bench.offer(quote(9, 4.0), quote(10, 4.0), quote(13, 4.0)) == [
        Outage("v", BOOK, 1.0, 4.0),
        quote(13, 4.0),
    ]


def test_updates_of_the_open_bar_are_not_told_twice() -> None:
    bench = Bench()
    last = bar(1, 65)
    position = position_after(last)
    track = bench.arbiter.track("v", MINUTES)
    track.resume(position.position, 100, position.time, position.received)
    outage = Outage("v", MINUTES, last.received, bar(1, 66).received)
    assert bench.offer(bar(1, 64), last, bar(1, 66)) == [outage, bar(1, 66)]


def test_updates_on_their_way_that_a_snapshot_contains_are_no_new_numbering() -> None:
    def diff(first: int, last: int, at: float) -> Event:
        data = Depth(NOW_MS + round(at * 1000), "BTCUSDT", first, last, [], [])
        return Event(data, DEPTH, "v", NOW_S + at + 0.01, b"")

    snapshot = Event(DepthSnapshot(90, [], []), DEPTH, "v", NOW_S, b"", "snapshot")
    late = [diff(60, 79, -0.09), diff(80, 90, 0.01)]
    new = [diff(91, 95, 0.11), diff(96, 99, 0.21), diff(100, 110, 0.31)]
    bench = Bench()
    one = position_after(snapshot)
    bench.arbiter.track("v", DEPTH).resume(one.position, 100, one.time, one.received)
    assert bench.offer(*late, *new) == new
    # The same where the snapshot comes before them: the stream goes on after a restart.
    bench = Bench()
    bench.arbiter = Arbiter(1000, snapshots=True)
    track = bench.arbiter.track("v", DEPTH)
    assert isinstance(track, BookTrack)
    track.resume(30, 100, NOW_MS - 5_000)
    assert track.fall_quiet(10.0, 1.0)
    assert track.snapshot(snapshot, bench.items)
    assert bench.offer(*late, *new) == new


def test_ids_that_began_anew_while_the_stream_was_elsewhere_are_told_with_the_time() -> None:
    """Messages of the new numbering may have come then."""
    bench = Bench()
    last, *new = numbered_trade(1_000, 1), *[numbered_trade(n, 60 + n) for n in (5, 6, 7)]
    one = position_after(last)
    bench.arbiter.track("v", TRADES).resume(one.position, 100, one.time, one.received)
    since, until = last.received, new[0].received
    assert bench.offer(*new) == [
        Gap("v", TRADES, 1_001, 1_001, "reset", since, until),
        Outage("v", TRADES, since, until),
        *new,
    ]


def test_the_second_of_two_aggregates_of_one_id_is_named_after_a_restart() -> None:
    one = position_after(agg(6, 52, 52, 2))
    bench = Bench()
    bench.arbiter.track("v", AGGS).resume(one.position, 100, one.time, one.received, one.trade)
    second, third = agg(6, 53, 53, 3), agg(7, 54, 60, 4)
    assert bench.offer(second, third) == [second, third]
    bench = Bench()
    bench.arbiter.track("v", AGGS).resume(one.position, 100, one.time, one.received, one.trade)
    gap, event = bench.offer(third)
    assert isinstance(gap, Gap)
    assert (gap.first, gap.reason, event) == (7, "shared_id", third)


def test_positions_are_in_the_order_of_their_last_items() -> None:
    found = positions_after([numbered_trade(7, 7), quote(1), numbered_trade(8, 8)])
    assert list(found) == [("v", BOOK), ("v", TRADES)]


def test_a_stream_that_begins_anew_lets_go_of_what_it_held() -> None:
    bench = Bench()
    bench.offer(numbered_trade(1, 1), numbered_trade(5, 5))
    held = bench.arbiter.track("v", TRADES)
    assert held.gap == (2, 4)
    bench.arbiter.begin("v", TRADES).resume(7, 100)
    held.repair(numbered_trade(2, 2), bench.items)
    assert bench.items == [numbered_trade(1, 1)]
    assert bench.offer(numbered_trade(8, 8))[-1] == numbered_trade(8, 8)
    assert dict(bench.arbiter.received) == {"BTCUSDT": 1}
