"""Bars off the grid, and bars whose times are absurd."""

from __future__ import annotations

import pytest
from msgspec import structs
from numbered import ABSURD, MINUTE, MINUTES, NOW_MS, YEAR_MS, Bench, bar, told

from k2trio.continuity.items import Gap
from k2trio.continuity.positions import position_after
from k2trio.market.payloads import Event

SANE = [bar(0, 2), bar(0, 4), bar(0, 60, closed=True), bar(1, 62)]


@pytest.mark.parametrize(
    "odd",
    [
        bar(0, 3, ahead_ms=YEAR_MS),
        bar(0, 3, ahead_ms=ABSURD - NOW_MS - 10_000_000),
        bar(100, 3),
        bar(100_000, 3, closed=True),
        bar(0, 3, closed=True, ahead_ms=YEAR_MS),
    ],
    ids=["event time", "event time of 62 bits", "open time", "open time, closed", "closed"],
)
def test_an_absurd_time_of_a_bar_silences_nothing(odd: Event) -> None:
    bench = Bench()
    assert bench.offer(SANE[0], odd, *SANE[1:]) == SANE
    assert [stray.event for stray in bench.strays] == [odd]


def test_a_stream_that_followed_absurd_times_is_followed_back() -> None:
    """Two that agree are believed; then everything sane lies before them."""
    bench = Bench()
    bench.offer(SANE[0], bar(0, 3, ahead_ms=YEAR_MS), bar(0, 4, ahead_ms=YEAR_MS))
    for n in range(3, 15):
        bench.now += 1
        bench.offer(bar(0, 2 * n))
    assert bench.items[-3:] == [bar(0, 24), bar(0, 26), bar(0, 28)]


def test_a_bar_that_opens_late_is_the_one_that_is_due() -> None:
    bench = Bench()
    bars = [
        bar(0, 60, closed=True),
        bar(1.5, 100, end=2),
        bar(1.5, 120, closed=True, end=2),
        bar(2, 122),
        bar(2, 180, closed=True),
    ]
    assert bench.offer(*bars, *bars) == bars
    assert bench.arbiter.track("v", MINUTES).position == NOW_MS + 3 * MINUTE


def test_bars_that_stay_off_the_grid_follow_each_other() -> None:
    bars = [bar(n + 0.5, 60 * n + 90, closed=True, end=n + 1.5) for n in range(1, 5)]
    bench = Bench()
    assert bench.offer(bar(0, 60, closed=True), *bars)[1:] == bars


def test_only_bars_that_fit_whole_are_missing_before_a_late_one() -> None:
    bench = Bench()
    bench.offer(bar(0, 60, closed=True), bar(3.5, 215, end=4), bar(3.5, 217, end=4))
    track = bench.arbiter.track("v", MINUTES)
    track.abandon("not_repaired", bench.items)
    gap = next(item for item in bench.items if isinstance(item, Gap))
    assert [(time - NOW_MS) / MINUTE for time in (gap.first, gap.last)] == [1, 2]
    assert bench.offer(bar(4, 241)) == []
    assert track.gap == (NOW_MS + 3.5 * MINUTE, NOW_MS + 4 * MINUTE - 1)


def test_a_late_bar_whose_close_is_missing_is_named_by_its_own_time() -> None:
    bench = Bench()
    bench.offer(bar(0, 60, closed=True), bar(1.5, 100, end=2), bar(1.5, 102, end=2), bar(4, 242))
    bench.arbiter.track("v", MINUTES).abandon("not_repaired", bench.items)
    gap = next(item for item in bench.items if isinstance(item, Gap))
    assert [(time - NOW_MS) / MINUTE for time in (gap.first, gap.last)] == [1.5, 3]
    assert bench.arbiter.track("v", MINUTES).coverage().missing == 3


def test_a_repair_brings_a_bar_that_opened_late() -> None:
    bench = Bench()
    bench.offer(bar(0, 60, closed=True), bar(3, 182))
    track = bench.arbiter.track("v", MINUTES)
    for row in (bar(1.5, 120, closed=True, end=2), bar(2, 180, closed=True)):
        track.repair(row, bench.items)
    assert not any(isinstance(item, Gap) for item in bench.items)
    assert track.coverage().repaired == 2
    assert track.gap is None


def test_a_short_bar_that_a_repair_brings_comes_before_what_was_held_behind_it() -> None:
    """No bar fits whole between the start of a late one and the next: it is waited for."""
    bench = Bench()
    held = bar(3, 182)
    bench.offer(bar(0, 60, closed=True), held)
    late = bar(2.5, 180, closed=True, end=3)
    bench.arbiter.track("v", MINUTES).repair(late, bench.items)
    assert [item for item in bench.items[1:] if isinstance(item, Event)] == [late, held]
    (gap,) = (item for item in bench.items if isinstance(item, Gap))
    assert (gap.first - NOW_MS, gap.reason) == (MINUTE, "venue_missing")


def test_a_restart_goes_on_after_a_late_bar_where_that_one_ended() -> None:
    bench = Bench()
    position = position_after(bar(1.5, 120, closed=True, end=2)).position
    bench.arbiter.track("v", MINUTES).resume(position, 100)
    assert bench.offer(bar(2, 122)) == [bar(2, 122)]


@pytest.mark.parametrize("redundant", [False, True])
def test_one_update_of_a_bar_off_the_grid_does_not_take_the_place_of_the_true_one(
    redundant: bool,
) -> None:
    bench = Bench()
    false = bar(1.5, 80, end=2.5, ahead_ms=30_000)
    bars = [bar(0, 60, closed=True), bar(1, 82), bar(1, 120, closed=True), bar(2, 122)]
    feed = [bars[0], false, *bars[1:]]
    assert bench.offer(*feed, *(feed if redundant else [])) == bars
    bench.offer(bar(2, 130))
    assert [stray.event for stray in bench.strays] == [false] * (1 + redundant)


def test_a_bar_off_the_grid_of_which_only_the_close_came_is_known_by_its_successor() -> None:
    bars = [bar(0, 60, closed=True), bar(1.5, 120, closed=True, end=2), bar(2, 122)]
    bench = Bench()
    assert bench.offer(*bars) == bars
    assert bench.strays == []


def test_a_stream_that_began_with_a_false_bar_is_followed_back() -> None:
    bench = Bench()
    bench.offer(bar(0.5, 20))
    updates = [bar(0, 20 + 2 * n) for n in range(1, 5)]
    bench.offer(*updates)
    assert told(bench.items) == ["outage of 2 s"]
    assert [item for item in bench.items if isinstance(item, Event)][1:] == updates


def test_a_copy_of_what_waits_behind_a_gap_is_no_bar_of_another_numbering() -> None:
    """After a restart, on a machine whose clock is so far behind that no time is believed."""
    bench = Bench()
    track = bench.arbiter.track("v", MINUTES)
    track.resume(NOW_MS + MINUTE, 1000, NOW_MS + MINUTE - 1, NOW_MS / 1000 + 60)
    late = [
        structs.replace(one, received=one.received - 3600)
        for one in (bar(5, 350), bar(5, 360, closed=True), bar(6, 362), bar(6, 364))
    ]
    update, close, *following = late
    bench.offer(update, update, close, close)
    track.abandon("not_repaired", bench.items)
    bench.offer(*following)
    assert [item for item in bench.items if isinstance(item, Event)] == late
