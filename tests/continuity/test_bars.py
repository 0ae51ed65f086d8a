"""Bars off the grid, and bars whose times are absurd."""

from __future__ import annotations

import pytest
from msgspec import structs
from numbered import ABSURD, MINUTE, MINUTES, NOW_MS, NOW_S, YEAR_MS, Bench, Line, bar, told

from k2trio.continuity.arbiter import Arbiter
from k2trio.continuity.items import Gap, Outage
from k2trio.continuity.ledger import Missing
from k2trio.continuity.positions import position_after
from k2trio.market.payloads import Event
from k2trio.market.units import US

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
    line = Line()
    assert bench.offer(SANE[0], odd, *SANE[1:], source=line) == SANE
    assert [(stray.event, stray.source) for stray in bench.strays] == [(odd, line)]


def test_an_absurd_bar_is_refuted_by_one_that_fits_though_that_was_made_before() -> None:
    bench = Bench()
    odd = bar(100, 6)
    assert bench.offer(SANE[0], odd, SANE[1]) == SANE[:2]
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
    false = bar(1.5, 92, end=2.5)
    bars = [bar(0, 60, closed=True), bar(1, 94), bar(1, 120, closed=True), bar(2, 122)]
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


def test_each_update_of_a_bar_is_delivered_once_though_two_lines_bring_it() -> None:
    updates = [bar(0, second) for second in range(2, 20, 2)]
    bench = Bench(redundant=True)
    assert bench.offer(*[one for update in updates for one in (update, update)]) == updates
    track = bench.arbiter.track("v", MINUTES)
    assert (track.duplicates, track.coverage().first) == (len(updates), updates[0].data.event_time)


def test_updates_that_a_line_brings_again_for_long_are_copies_still() -> None:
    updates = [bar(0, second) for second in range(2, 40, 2)]
    bench = Bench(redundant=True)
    bench.offer(*updates)
    for update in updates:
        bench.now += 1.0
        assert bench.offer(update) == []
    assert bench.arbiter.track("v", MINUTES).duplicates == len(updates)


def test_what_is_held_behind_a_second_gap_waits_on_when_the_first_is_closed() -> None:
    bench = Bench()
    held = [bar(2, 122), bar(2, 180, closed=True), bar(5, 302)]
    bench.offer(bar(0, 60, closed=True), *held)
    track = bench.arbiter.track("v", MINUTES)
    assert track.held_behind == 4
    missing = [track.missing_until(NOW_MS + minute * MINUTE) for minute in (0, 1, 3)]
    assert missing == [-1, NOW_MS + 2 * MINUTE - 1, NOW_MS + 5 * MINUTE - 1]
    repaired = structs.replace(bar(1, 120, closed=True), origin="backfill")
    assert track.repair_key(repaired) == NOW_MS + MINUTE
    track.repair(repaired, bench.items)
    assert bench.items[1:] == [repaired, *held[:2]]
    assert track.coverage().repaired_ranges == [(NOW_MS + MINUTE, NOW_MS + MINUTE)]
    track.abandon("not_repaired", bench.items)
    gap = Gap(
        "v", MINUTES, NOW_MS + 3 * MINUTE, NOW_MS + 4 * MINUTE, "not_repaired",
        held[1].received, held[2].received,
    )  # fmt: skip
    assert bench.items[4:] == [gap, held[2]]
    assert track.coverage().missing_ranges == [Missing(gap.first, gap.last, "not_repaired")]


def test_what_lies_within_a_bar_that_a_repair_brought_is_not_delivered() -> None:
    """The history has a bar that began late, and ended where the next one has begun already."""
    bench = Bench()
    bench.offer(bar(0, 60, closed=True), bar(2, 122), bar(2, 124))
    track = bench.arbiter.track("v", MINUTES)
    late = bar(1.5, 150, closed=True, end=2.5)
    track.repair(late, bench.items)
    bench.offer(bar(2, 152), bar(2, 154), bar(2, 156))
    assert [item for item in bench.items[1:] if isinstance(item, Event)] == [late]
    assert track.duplicates == 5


def test_between_bars_that_wait_only_those_are_missing_that_did_not_close() -> None:
    bench = Bench()
    bench.offer(bar(0, 60, closed=True), bar(2, 180, closed=True), bar(3, 182), bar(4, 242))
    track = bench.arbiter.track("v", MINUTES)
    until = [track.missing_until(NOW_MS + minute * MINUTE) for minute in (1, 2, 3)]
    assert [(end + 1 - NOW_MS) / MINUTE for end in until] == [2, 2, 4]


def test_what_is_missing_begins_with_the_late_bar_before_which_all_was_declared() -> None:
    """A late bar is known of by a page of history, and not taken yet."""
    bench = Bench()
    bench.offer(bar(0, 60, closed=True), bar(6, 362))
    track = bench.arbiter.track("v", MINUTES)
    late = NOW_MS + int(3.5 * MINUTE)
    track.declare(late - 1, "not_repaired", bench.items)
    assert track.gap == (late, NOW_MS + 6 * MINUTE - 1)


def test_of_bars_that_are_believed_one_that_begins_before_the_other_is_dropped() -> None:
    bench = Bench()
    last, first, other = bar(0, 60, closed=True), bar(1.5, 92, end=2.5), bar(1.25, 93, end=2.25)
    assert bench.offer(last, last, first, other) == [last, first]
    assert bench.arbiter.track("v", MINUTES).coverage().live == 2


def test_how_far_bars_have_come_is_told_by_their_updates() -> None:
    """From the position of a restart on; of what is delivered, the first and the last one count."""
    bench = Bench()
    track = bench.arbiter.track("v", MINUTES)
    track.resume(NOW_MS, 100, NOW_MS + 2000)
    seen = [(track.coverage().first, track.coverage().last)]
    for events in ([bar(0, 4)], [bar(0, 6)], [bar(0, second) for second in (7, 8, 9, 10)]):
        bench.at_once(*events)
        seen.append((track.coverage().first, track.coverage().last))
    first = NOW_MS + 4000
    assert seen == [
        (None, NOW_MS + 2000),
        (first, first),
        (first, NOW_MS + 6000),
        (first, NOW_MS + 10_000),
    ]


def test_after_a_restart_what_was_held_is_the_first_that_came() -> None:
    bench = Bench()
    track = bench.arbiter.track("v", MINUTES)
    track.resume(NOW_MS, 100)
    held = bar(2, 122)
    bench.offer(held)
    track.abandon("not_repaired", bench.items)
    assert track.coverage().first == held.data.event_time


@pytest.mark.parametrize("held", [[bar(2, 122)], [bar(2, 122), bar(2, 124)]], ids=["one", "two"])
def test_an_interruption_behind_what_waits_is_told_where_it_was(held: list[Event]) -> None:
    bench = Bench()
    bench.offer(bar(0, 60, closed=True), *held)
    bench.arbiter.interrupt("v", [MINUTES])
    after = bar(2, 140)
    bench.offer(after)
    bench.arbiter.track("v", MINUTES).abandon("not_repaired", bench.items)
    told = [item for item in bench.items[1:] if not isinstance(item, Gap)]
    before = Outage("v", MINUTES, NOW_S + 60.001, held[0].received)
    assert told == [before, *held, Outage("v", MINUTES, held[-1].received, after.received), after]


def test_bars_that_were_missed_during_an_interruption_are_asked_for_as_any() -> None:
    bench = Bench()
    bench.offer(bar(0, 60, closed=True))
    bench.arbiter.interrupt("v", [MINUTES])
    assert bench.offer(bar(3, 182)) == []
    assert bench.arbiter.track("v", MINUTES).gap == (NOW_MS + MINUTE, NOW_MS + 3 * MINUTE - 1)


def in_us(event: Event) -> Event:
    """The same as a feed tells it whose times are in microseconds."""
    kline = event.data
    end = (kline.bar.close_time + 1) * 1000 - 1
    inner = structs.replace(kline.bar, open_time=kline.bar.open_time * 1000, close_time=end)
    told = structs.replace(kline, event_time=kline.event_time * 1000, bar=inner)
    return structs.replace(event, data=told)


def test_bars_are_reckoned_in_the_unit_of_the_feed() -> None:
    arbiter = Arbiter(100, unit=US)
    events = [in_us(one) for one in (bar(0, 2), bar(0, 60, closed=True), bar(1, 62), bar(3, 182))]
    items = [item for event in events for item in arbiter.offer("v", [event], 0.0).items]
    track = arbiter.track("v", MINUTES)
    assert items == events[:3]
    assert track.gap == ((NOW_MS + MINUTE) * 1000, (NOW_MS + 3 * MINUTE) * 1000 - 1)
    track.abandon("not_repaired", items)
    assert track.coverage().missing == 2
