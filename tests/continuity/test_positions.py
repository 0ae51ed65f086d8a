"""Where a stream is behind an item, and going on from there."""

from __future__ import annotations

import pytest
from numbered import AGGS, MINUTE, MINUTES, NOW_MS, NOW_S, TRADES, Bench, agg, bar
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
from k2trio.market.payloads import BookTicker, Depth, DepthSnapshot, Event

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
    for one in (at, Position("v", MINUTES, NOW_MS), Position("v", MINUTES, NOW_MS - MINUTE, 30)):
        assert not is_behind(one, at)
    assert is_behind(at, Position("v", MINUTES, NOW_MS))


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
