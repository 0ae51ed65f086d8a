"""Ids that begin anew, single absurd keys, and what two connections say of them."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec import structs
from numbered import (
    ABSURD,
    AGGS,
    NOW_MS,
    NOW_S,
    TRADES,
    YEAR_MS,
    Bench,
    Line,
    agg,
    average,
    block,
    diff,
    minis,
    quote,
    told,
    top,
    trade,
)

from k2trio.continuity.arbiter import Arbiter
from k2trio.continuity.books import BookTrack
from k2trio.continuity.items import Outage
from k2trio.continuity.judging import LEFT_OVER_S
from k2trio.continuity.numbering import BARREN_S, COPY_LAG_S, FORGOTTEN_S, RESET_IDS
from k2trio.continuity.renumbering import CONTESTED_MESSAGES, CONTESTED_S
from k2trio.continuity.times import AHEAD_S, Clock
from k2trio.market.cost import cost_of
from k2trio.market.kinds import LEAP_IDS
from k2trio.market.payloads import BookTicker, Event, FuturesBookTicker, Trade
from k2trio.market.units import MS, US, TimeUnit

LIVE = [*range(500, 505)]


# -- within one numbering -------------------------------------------------------------------------


def test_the_id_that_is_next_is_delivered_whatever_its_time() -> None:
    bench = Bench()
    assert told(bench.offer(trade(1, 5), trade(2, 3), trade(3, 6))) == [1, 2, 3]
    assert told(bench.offer(trade(5, 8), trade(4, 2))) == [4, 5]
    track = bench.arbiter.track("v", TRADES)
    bench.offer(trade(8, 9))
    track.repair(trade(6, 1), bench.items)
    assert track.delivered_time == NOW_MS + 8000, "it does not turn back the clock"


@pytest.mark.parametrize(
    ("held", "odd"),
    [([], trade(15, 5)), ([12, 14], trade(16, 13)), ([12, 14, 18], trade(13, 15))],
    ids=["before what was delivered", "before what is held", "after what is held"],
)
def test_beyond_a_gap_ids_and_times_have_to_grow_together(held: list[int], odd: Event) -> None:
    bench, line = Bench(), Line()
    bench.offer(trade(10, 10), *[trade(number, number) for number in held], odd, source=line)
    assert bench.refuted == [odd.data.trade_id]
    assert (bench.strays[0].source, bench.strays[0].disputed) == (line, False)
    assert len(bench.arbiter.track("v", TRADES).held) == len(held)


def test_beyond_a_gap_messages_of_one_moment_are_in_order() -> None:
    bench = Bench()
    bench.offer(trade(10, 10), trade(12, 12), trade(14, 14), trade(13, 14), trade(15, 14))
    assert bench.strays == []
    assert told(bench.offer(trade(11, 11))) == [11, 12, 13, 14, 15]


def test_an_absurd_time_of_what_waits_behind_a_gap_refutes_nothing() -> None:
    bench = Bench()
    late = trade(5, 5)
    absurd = structs.replace(late, data=structs.replace(late.data, trade_time=NOW_MS + YEAR_MS))
    bench.offer(trade(1, 1), absurd, trade(6, 6), trade(7, 7))
    assert bench.strays == []
    bench.arbiter.track("v", TRADES).abandon("not_repaired", bench.items)
    assert told(bench.items) == [1, (2, 4, "not_repaired"), 5, 6, 7]


@pytest.mark.parametrize("second", [20, 55])
def test_an_absurd_time_of_what_was_delivered_refutes_nothing(second: int) -> None:
    """Not even when this machine's clock is near it."""
    bench = Bench()
    last = trade(2, 2)
    absurd = structs.replace(last, data=structs.replace(last.data, trade_time=NOW_MS + 60_000))
    bench.offer(trade(1, 1), absurd, trade(4, second))
    assert bench.strays == []
    assert told(bench.offer(trade(3, 19))) == [3, 4]


@pytest.mark.parametrize("held", [False, True])
def test_ids_are_believed_as_far_ahead_as_a_gap_may_be(held: bool) -> None:
    for leap, believed in ((LEAP_IDS, True), (LEAP_IDS + 1, False)):
        bench = Bench()
        bench.offer(trade(1, 1), *([trade(3, 2)] if held else []))
        waiting = bench.arbiter.track("v", TRADES).held
        before = len(waiting)
        assert bench.offer(trade((3 if held else 1) + leap + 1, 3)) == []
        assert (len(waiting) > before) == believed, leap


@pytest.mark.parametrize("unit", [MS, US], ids=["ms", "us"])
def test_a_key_that_only_grows_is_believed_as_far_ahead(unit: TimeUnit) -> None:
    for leap, delivered in ((LEAP_IDS, True), (LEAP_IDS + 1, False)):
        bench = Bench(unit=unit)
        items = bench.offer(quote(10, 1), quote(10 + leap, 2))
        assert told(items) == ([10, 10 + leap] if delivered else [10])


def test_how_far_ahead_a_key_may_be_is_reckoned_from_the_last_one() -> None:
    keys = [10, LEAP_IDS // 2, LEAP_IDS + 1_000]
    bench = Bench()
    assert told(bench.offer(*[quote(key, at) for at, key in enumerate(keys)])) == keys


def test_copies_of_what_waits_behind_a_gap_are_counted() -> None:
    bench = Bench(redundant=True)
    bench.offer(trade(1, 1), trade(5, 5), trade(5, 5), trade(5, 5), trade(6, 6), trade(6, 6))
    assert bench.arbiter.track("v", TRADES).duplicates == 3
    assert bench.strays == []


def test_of_two_messages_that_wait_with_one_id_the_second_is_disputed() -> None:
    bench, one, other = Bench(), Line("0a"), Line("0b")
    bench.offer(trade(1, 1), trade(5, 5), source=one)
    bench.offer(trade(5, 6), source=other)
    assert [(stray.source, stray.disputed) for stray in bench.strays] == [(other, True)]
    bench.offer(trade(5, 7), source=one)
    assert (bench.strays[-1].source, bench.strays[-1].disputed) == (one, False)
    assert bench.arbiter.track("v", TRADES).duplicates == 0


@pytest.mark.parametrize(
    ("make", "copy_at"),
    [(trade, 1.0), (lambda number, at: diff(number, number, at), 1.5)],
    ids=["trade", "depth"],
)
def test_what_looked_like_a_copy_may_have_been_of_the_new_numbering(
    make: Any, copy_at: float
) -> None:
    bench = Bench()
    bench.offer(make(100, 1.0), make(5, copy_at))
    assert bench.arbiter.tracks[0].duplicates == 1
    items = bench.offer(*[make(number, 60.0 + number) for number in (6, 7, 8)])
    assert told(items) == [(101, 101, "reset"), "outage of 65 s", 6, 7, 8]


# -- ids that begin anew --------------------------------------------------------------------------


@pytest.mark.parametrize("distance", [1, 2, 3, 50, 504])
def test_ids_that_begin_anew_at_any_distance_are_followed_and_none_is_lost(distance: int) -> None:
    bench = Bench()
    bench.offer(*[trade(n, n / 1000) for n in LIVE])
    new = [505 - distance + n for n in range(6)]
    items = bench.offer(*[trade(n, 100 + k) for k, n in enumerate(new)])
    assert told(items) == [(505, 505, "reset"), *new]
    assert bench.strays == []
    assert bench.arbiter.track("v", TRADES).coverage().duplicates == 0


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (lambda n, at: diff(n, n, at), (505, 505, "reset")),
        (lambda n, at: agg(n, n, n, at), (505, 505, "reset")),
        (block, (505, 505, "reset")),
    ],
    ids=["depth", "aggTrade", "blockTrade"],
)
def test_every_kind_whose_messages_carry_a_time_is_followed(make: Any, named: Any) -> None:
    bench = Bench()
    bench.offer(*[make(n, 0) for n in LIVE])
    assert told(bench.offer(*[make(n, 60 + n) for n in range(5)])) == [named, *range(5)]


@pytest.mark.parametrize("make", [quote, top], ids=["bookTicker", "partial depth"])
def test_a_kind_without_a_time_is_followed_when_copies_can_no_longer_come(make: Any) -> None:
    bench = Bench()
    bench.offer(*[make(n, 0) for n in LIVE])
    assert bench.offer(*[make(n, 1) for n in range(4)]) == []
    bench.now += COPY_LAG_S
    # What was dropped meanwhile lies within the outage.
    assert told(bench.offer(*[make(n, 6) for n in range(4, 9)])) == ["outage of 6 s", *range(4, 9)]


def test_a_key_without_a_time_that_lies_too_far_behind_is_no_copy() -> None:
    for behind, is_copy in ((RESET_IDS, True), (RESET_IDS + 1, False)):
        bench = Bench()
        assert len(bench.offer(quote(9_999_999, 1), quote(10_000_000 - behind, 2))) == 1
        assert (bench.arbiter.tracks[0].duplicates, bench.arbiter.tracks[0].doubts is None) == (
            is_copy,
            is_copy,
        )


def futures_quote(number: int, at: float) -> Event:
    time = NOW_MS + round(at * 1000)
    data = FuturesBookTicker(number, "BTCUSDT", "1", "1", "2", "1", time, time)
    return Event(data, "btcusdt@bookTicker", "v-usdm", NOW_S + at, b"")


def test_what_is_too_few_to_begin_anew_is_named_where_keys_prove_nothing() -> None:
    """Two messages of a numbering that reaches the old one with the third."""
    arbiter = Arbiter(100)
    events = [futures_quote(500, 0), *(futures_quote(475 + 15 * n, 60 + n) for n in range(3))]
    items = [item for event in events for item in arbiter.offer("v-usdm", [event], 0.0).items]
    assert told(items) == [500, "outage of 62 s", 505]
    assert len(arbiter.strays) == 2


def test_after_a_restart_that_knows_no_time_of_its_own_strays_are_no_outage() -> None:
    arbiter = Arbiter(100)
    arbiter.track("v-usdm", "btcusdt@bookTicker").resume(500, 100, NOW_MS)
    events = [futures_quote(475 + 15 * n, 60 + n) for n in range(3)]
    items = [item for event in events for item in arbiter.offer("v-usdm", [event], 0.0).items]
    assert told(items) == [505]
    assert len(arbiter.strays) == 2


def test_old_keys_of_which_nothing_tells_that_they_are_newer_make_no_outage() -> None:
    bench = Bench()
    bench.offer(quote(500, 0), quote(1, 1))
    bench.now += COPY_LAG_S
    bench.offer(quote(2, 6), quote(501, 7))
    assert told(bench.items) == [500, 501]
    assert bench.refuted == [2]


@pytest.mark.parametrize(("apart", "believed"), [(LEAP_IDS, True), (LEAP_IDS + 1, False)])
def test_growing_keys_go_on_with_each_other_as_far_as_they_may_leap(
    apart: int, believed: bool
) -> None:
    bench = Bench()
    bench.offer(quote(500, 0), quote(10**12, 1), quote(10**12 + apart, 2))
    assert told(bench.items) == ([500, 10**12, 10**12 + apart] if believed else [500])


@pytest.mark.parametrize(("hours", "believed"), [(1, True), (25, False)])
def test_times_go_on_with_each_other_for_a_day(hours: int, believed: bool) -> None:
    bench = Bench()
    events = [average(0), *(average(at, ahead_ms=YEAR_MS) for at in (1, 1 + 3600 * hours))]
    bench.offer(*events)
    assert bench.items == (events if believed else events[:1])


@pytest.mark.parametrize("position", [30, 10**9])
def test_ids_that_began_anew_before_a_restart_are_followed(position: int) -> None:
    bench = Bench()
    bench.arbiter.track("v", TRADES).resume(position, 1000, time=NOW_MS)
    items = bench.offer(*[trade(n, 60 + n) for n in range(20, 24)])
    assert told(items) == [(position + 1, position + 1, "reset"), 20, 21, 22, 23]


def test_a_restart_that_does_not_know_the_time_takes_its_own_time_to_believe() -> None:
    bench = Bench()
    bench.arbiter.track("v", TRADES).resume(10**9, 1000)
    assert bench.offer(*[trade(n, 60 + n) for n in range(3)]) == []
    bench.now += CONTESTED_S
    assert told(bench.offer(trade(3, 64))) == [(10**9 + 1, 10**9 + 1, "reset"), 0, 1, 2, 3]


@pytest.mark.parametrize("time", [None, NOW_MS + 10_000])
def test_after_a_restart_a_server_that_is_late_brings_copies(time: int | None) -> None:
    bench = Bench()
    bench.arbiter.track("v", TRADES).resume(10, 1000, time=time)
    assert told(bench.offer(trade(5, 5), *[trade(n, n) for n in range(5, 13)])) == [11, 12]
    assert bench.strays == []
    assert bench.arbiter.track("v", TRADES).duplicates == 7


def test_after_a_restart_a_time_that_rest_told_in_milliseconds_is_that_of_a_copy() -> None:
    bench = Bench(unit=US)
    bench.arbiter.track("v", TRADES).resume(5, 100, NOW_MS * 1000)
    data = [
        Trade(NOW_MS * 1000 + us, "BTCUSDT", number, "1", "1", NOW_MS * 1000 + us, False)
        for number, us in ((5, 999), (6, 2000))
    ]
    copy, following = [Event(one, TRADES, "v", NOW_S + 0.01, b"") for one in data]
    assert bench.offer(copy, following) == [following]
    assert (bench.arbiter.track("v", TRADES).duplicates, bench.strays) == (1, [])


@pytest.mark.parametrize(
    ("stream", "make"),
    [(TRADES, trade), (AGGS, lambda n, at: agg(n, n, n, at))],
    ids=["trade", "aggTrade"],
)
@pytest.mark.parametrize("ahead_ms", [5, 3_600_000, NOW_MS * 999])
def test_a_time_that_was_saved_too_high_silences_nothing_for_long(
    ahead_ms: int, stream: str, make: Any
) -> None:
    """A gap is opened for what is missing, at the latest after seconds in which nothing fitted."""
    bench = Bench()
    track = bench.arbiter.track("v", stream)
    track.resume(100, 1000, NOW_MS + ahead_ms)
    for number in range(200, 220):
        bench.now += 1
        bench.offer(make(number, number / 1e6))
    gap = track.gap
    assert gap is not None
    assert gap[0] == 101
    assert gap[1] < 210
    assert len(track.held) > 10


def test_a_quiet_book_that_is_sent_again_and_again_is_no_trouble() -> None:
    bench = Bench()
    for second in range(20):
        bench.now += 1
        bench.offer(top(500, second))
        assert bench.arbiter.barren(bench.now) == []
    assert told(bench.offer(top(508, 21))) == [508]
    assert bench.strays == []


def test_two_messages_are_not_enough_and_the_old_numbering_refutes_them() -> None:
    bench, line = Bench(), Line()
    bench.offer(*[trade(n, 0) for n in LIVE])
    assert bench.offer(trade(7, 1), trade(8, 2), source=line) == []
    assert told(bench.offer(trade(505, 3), source=line)) == [505]
    assert bench.refuted == [7, 8]
    assert all(stray.source is line and not stray.disputed for stray in bench.strays)


@pytest.mark.parametrize("at", [2, 3], ids=["older", "of the same moment"])
def test_the_last_words_of_the_old_numbering_are_delivered_in_their_place(at: int) -> None:
    """Another connection is behind: what it brings is not newer than the new numbering."""
    bench = Bench()
    bench.offer(trade(500, 1))
    assert told(bench.offer(trade(7, 3), trade(501, at), trade(8, 4))) == [501]
    assert told(bench.offer(trade(9, 5))) == [(502, 502, "reset"), 7, 8, 9]
    assert bench.offer(trade(501, 2), trade(502, 2.5), trade(10, 2.6)) == []


def test_ids_that_began_anew_while_no_connection_carried_the_stream_are_told_with_the_time() -> (
    None
):
    """Nobody knows the ids: neither the last of the old numbering nor the first of the new."""
    bench = Bench()
    bench.offer(*[trade(n, n) for n in LIVE])
    bench.arbiter.interrupt("v", [TRADES])
    items = bench.offer(*[trade(n, 600 + n) for n in (7, 8, 9)])
    assert told(items) == [(505, 505, "reset"), "outage of 103 s", 7, 8, 9]


def test_ids_that_begin_anew_after_the_stream_went_on_need_no_time() -> None:
    bench = Bench()
    bench.offer(*[trade(n, n) for n in LIVE])
    bench.arbiter.interrupt("v", [TRADES])
    bench.offer(trade(505, 505))
    items = bench.offer(*[trade(n, 600 + n) for n in (7, 8, 9)])
    assert told(items) == [(506, 506, "reset"), 7, 8, 9]


def test_out_of_order_and_doubled_copies_of_the_new_numbering_are_no_matter() -> None:
    bench = Bench()
    bench.offer(trade(500, 1))
    items = bench.offer(*[trade(n, 10 + n) for n in (3, 2, 2, 3, 5, 4)])
    assert told(items) == [(501, 501, "reset"), 2, 3, 4, 5]


def test_losses_in_the_new_numbering_are_gaps_like_any_other() -> None:
    bench = Bench()
    bench.offer(trade(500, 1))
    assert told(bench.offer(trade(2, 10), trade(4, 11), trade(5, 12))) == [(501, 501, "reset"), 2]
    assert bench.arbiter.track("v", TRADES).gap == (3, 3)
    assert told(bench.offer(trade(3, 10.5))) == [3, 4, 5]


def test_a_numbering_that_begins_in_a_gap_ends_the_one_before() -> None:
    bench = Bench()
    bench.offer(trade(1, 1), *[trade(n, n) for n in range(5, 9)])
    items = bench.offer(*[trade(n, 20 + n) for n in range(3, 6)])
    assert told(items) == [(2, 4, "reset"), 5, 6, 7, 8, (9, 9, "reset"), 3, 4, 5]


def test_few_that_lie_beyond_a_numbering_in_a_gap_are_refuted_by_it() -> None:
    """And nothing that lies before it: of that, nothing speaks against it."""
    bench = Bench()
    bench.offer(trade(1, 1), trade(3, 3), trade(50, 5), trade(51, 6))
    assert bench.offer(*[trade(n, 20 + n) for n in range(10, 13)]) == []
    assert bench.refuted == [50, 51]
    assert told(bench.offer(trade(2, 2))) == [2, 3]
    assert bench.arbiter.track("v", TRADES).gap == (4, 9)


@pytest.mark.parametrize("held", [3, 4])
def test_as_many_as_are_believed_are_a_numbering_themselves(held: int) -> None:
    bench = Bench()
    bench.offer(trade(1, 1), *[trade(n, n) for n in range(50, 50 + held)])
    items = bench.offer(*[trade(n, 60 + n) for n in range(10, 13)])
    old = [*range(50, 50 + held)]
    assert told(items) == [(2, 49, "reset"), *old, (50 + held, 50 + held, "reset"), 10, 11, 12]
    assert bench.strays == []


@pytest.mark.parametrize("held", [2, 3])
def test_a_numbering_in_a_gap_may_have_the_very_ids_of_what_is_held(held: int) -> None:
    """None of the two is torn: the one is delivered before the other, or refuted."""
    bench = Bench()
    old, new = [*range(5, 5 + held)], [*range(5, 5 + held + 2)]
    bench.offer(trade(1, 1), *[trade(n, n) for n in old])
    bench.offer(*[trade(n, 20 + n) for n in new])
    track = bench.arbiter.track("v", TRADES)
    if held < 3:
        assert bench.refuted == old
        track.abandon("not_repaired", bench.items)
        assert bench.items[2:] == [trade(n, 20 + n) for n in new]
    else:
        assert told(bench.items) == [1, (2, 4, "reset"), *old, (8, 8, "reset"), *new]
        assert bench.strays == []


def test_what_is_held_is_refuted_when_the_stream_goes_on_before_it() -> None:
    bench, line = Bench(), Line()
    bench.offer(trade(1, 1), *[trade(n, n / 10) for n in range(50, 55)], source=line)
    assert told(bench.offer(*[trade(n, 20 + n) for n in range(2, 5)], source=line)) == [2, 3, 4]
    assert bench.refuted == [*range(50, 55)]
    assert not any(stray.disputed for stray in bench.strays), "one line brought both"


def test_what_is_held_and_newer_is_of_the_new_numbering() -> None:
    """Another line was ahead with the new ids, and had lost those before."""
    bench = Bench()
    bench.offer(trade(500, 1), trade(502, 2), trade(505, 25))
    items = bench.offer(*[trade(n, n - 380) for n in (400, 401, 402)])
    assert told(items) == [
        (501, 501, "reset"), 502, (503, 503, "reset"), 400, 401, 402,
    ]  # fmt: skip
    assert bench.arbiter.track("v", TRADES).gap == (403, 504)


def test_other_suspects_are_looked_at_anew_from_the_numbering_that_is_believed() -> None:
    bench = Bench()
    bench.offer(trade(1000, 1))
    suspects = [trade(10, 20), trade(300, 24), trade(301, 25), trade(11, 22), trade(12, 23)]
    assert told(bench.offer(*suspects)) == [(1001, 1001, "reset"), 10, 11, 12]
    track = bench.arbiter.track("v", TRADES)
    assert (track.gap, bench.strays) == ((13, 299), [])
    few = Arbiter(1)
    items = [item for one in [trade(1000, 1), *suspects] for item in few.offer("v", [one], 0).items]
    assert told(items[5:]) == [(13, 299, "hold_overflow"), 300, 301]


def test_another_suspect_that_is_older_than_the_numbering_that_is_believed_is_refuted() -> None:
    bench = Bench()
    bench.offer(trade(500, 1), trade(10, 20), *[trade(n, 16 + n) for n in (5, 6, 7)])
    assert told(bench.items) == [500, (501, 501, "reset"), 5, 6, 7]
    assert bench.refuted == [10]
    assert bench.arbiter.track("v", TRADES).duplicates == 0


@pytest.mark.parametrize(
    ("after_s", "delivered"),
    [(LEFT_OVER_S - 1, False), (LEFT_OVER_S + 1, True)],
    ids=["soon", "later"],
)
def test_messages_of_the_old_numbering_are_looked_out_for_for_a_while(
    after_s: float, delivered: bool
) -> None:
    """Later the id that is next is what comes next, whatever its time."""
    bench = Bench()
    bench.now = 100.0
    bench.offer(trade(500, 1), *[trade(n, 60 + n) for n in (7, 8, 9)])
    bench.offer(trade(ABSURD, 70), trade(10, 71))
    bench.now += after_s
    assert told(bench.offer(trade(11, 2))) == ([11] if delivered else [])


def test_they_are_looked_out_for_while_a_book_is_held_back_too() -> None:
    bench = Bench()
    bench.now = 100.0
    bench.offer(diff(5000, 5000, 1), diff(5001, 5001, 2))
    book = bench.arbiter.track("v", "btcusdt@depth")
    assert isinstance(book, BookTrack)
    book.pause()  # until a snapshot is there
    new = [diff(number, number, 50 + number) for number in range(10, 15)]
    bench.offer(*new[:4], diff(5002, 5002, 3), new[4])
    book.proceed(bench.items)
    assert bench.items[3:] == new
    assert book.gap is None


# -- copies ---------------------------------------------------------------------------------------


def test_what_is_held_with_an_id_that_another_message_then_has_is_told() -> None:
    """It cannot be delivered any more, and is no copy: it was made at another time."""
    bench, line = Bench(), Line()
    bench.offer(*[trade(n, n / 1000) for n in LIVE])
    assert bench.offer(trade(506, 2), source=line) == []
    items = bench.offer(trade(504, 1.0), trade(505, 1.1), trade(506, 1.2))
    assert told(items) == [(505, 505, "reset"), 504, 505, 506]
    assert [stray.event for stray in bench.strays] == [trade(506, 2)]


def test_copies_of_the_same_moment_are_duplicates_in_any_order() -> None:
    """For as long as they like: their time tells them from a new numbering."""
    bench = Bench()
    bench.offer(*[trade(n, 1) for n in LIVE])
    for number in [503, 500, 504, 502, 501] * 3:
        bench.now += 1
        assert bench.offer(trade(number, 1)) == []
    assert told(bench.offer(trade(505, 2))) == [505]
    assert bench.arbiter.track("v", TRADES).coverage().duplicates == 15
    assert bench.strays == []


def test_book_updates_that_servers_stamp_a_moment_apart_are_duplicates() -> None:
    bench = Bench()
    for n in range(20):
        bench.offer(diff(n, n, n / 10), diff(n, n, n / 10 + 0.005), diff(n, n, n / 10 - 0.005))
    assert told(bench.items) == [*range(20)]
    assert bench.strays == []


@pytest.mark.parametrize("kind", [trade, quote], ids=["trade", "bookTicker"])
def test_copies_that_come_in_bursts_are_duplicates(kind: Any) -> None:
    bench = Bench(redundant=True)
    for start in range(0, 100, 10):
        burst = [kind(RESET_IDS + n, n / 10) for n in range(start, start + 10)]
        bench.at_once(*burst, source=Line("0a"))
        bench.at_once(*burst, source=Line("0b"))
        bench.now += 1
    assert told(bench.items) == [*range(RESET_IDS, RESET_IDS + 100)]


def test_a_line_that_brings_but_the_last_message_is_told_as_barren() -> None:
    bench = Bench()
    bench.offer(trade(500, 0))
    for second in range(20):
        bench.now += 1
        bench.offer(trade(500, 0))
        assert len(bench.arbiter.barren(bench.now)) == (second >= BARREN_S)


def test_an_old_replay_is_never_believed_and_is_told_as_barren() -> None:
    """A frozen server plays old messages again: their times say that they are copies."""
    bench = Bench()
    bench.offer(*[trade(n, n) for n in range(100)])
    for n in range(99):
        bench.now += 1
        again = structs.replace(trade(n, n), received=NOW_S + 200 + n)
        assert bench.offer(again) == []
        barren = [track.stream.name for track in bench.arbiter.barren(bench.now)]
        assert barren == ([TRADES] if n >= BARREN_S else [])
    assert bench.arbiter.barren(bench.now + FORGOTTEN_S) == []
    assert told(bench.offer(trade(100, 300))) == [100]
    assert bench.arbiter.barren(bench.now) == []


def test_what_nobody_has_confirmed_at_the_end_is_told() -> None:
    bench, line = Bench(), Line()
    bench.offer(*[trade(n, n) for n in LIVE])
    assert bench.offer(trade(7, 600), trade(8, 601), source=line) == []
    bench.arbiter.dismiss()
    assert bench.refuted == [7, 8]
    assert not any(stray.disputed for stray in bench.strays)
    bench.arbiter.dismiss()
    assert bench.refuted == [7, 8]


# -- single absurd keys ---------------------------------------------------------------------------


@pytest.mark.parametrize("absurd", [ABSURD, 3 * LEAP_IDS, 600, 3, 0])
def test_a_single_absurd_id_is_refuted_and_silences_nothing(absurd: int) -> None:
    bench, line = Bench(), Line()
    bench.offer(*[trade(n, n / 1000) for n in LIVE])
    assert bench.offer(trade(absurd, 1), source=line) == []
    sane = [*range(505, 509)]
    assert told(bench.offer(*[trade(n, n / 100) for n in sane])) == sane
    assert bench.refuted == [absurd]
    assert bench.arbiter.gapped() == []
    assert bench.arbiter.track("v", TRADES).coverage().missing == 0


def test_absurd_ids_one_after_the_other_are_each_refuted() -> None:
    bench, line = Bench(), Line()
    bench.offer(trade(500, 0))
    odd = [ABSURD, 300, ABSURD // 2, 7, 300, 7]
    bench.offer(*[trade(n, at) for at, n in enumerate(odd, 1)], source=line)
    assert told(bench.offer(trade(501, 10), source=line)) == [501]
    assert sorted(bench.refuted) == sorted(odd)
    assert all(stray.source is line and not stray.disputed for stray in bench.strays)


def test_an_absurd_id_beside_a_new_numbering_delays_it_by_nothing() -> None:
    bench = Bench()
    bench.offer(trade(500, 0))
    items = bench.offer(trade(7, 1), trade(ABSURD, 2), trade(8, 3), trade(9, 4))
    assert told(items) == [(501, 501, "reset"), 7, 8, 9]


def test_what_goes_on_with_two_suspects_goes_on_with_the_newer_one() -> None:
    """The older one is a single absurd id; it lies among those of the new numbering."""
    bench = Bench()
    bench.offer(*[trade(n, n / 1000) for n in LIVE])
    items = bench.offer(trade(50, 1), trade(10, 2), trade(60, 3), trade(61, 4))
    assert told(items) == [(505, 505, "reset"), 10]
    assert bench.arbiter.track("v", TRADES).gap == (11, 59)
    assert bench.refuted == [50]


@pytest.mark.parametrize("absurd_first", [True, False])
def test_a_suspect_is_refuted_where_nobody_knows_which_message_was_made_first(
    absurd_first: bool,
) -> None:
    """The time of one of them is as absurd as an id can be."""
    bench = Bench()
    suspect, fitting = trade(7, 1), trade(505, 2)
    bench.offer(*[trade(n, n / 1000) for n in LIVE])
    one = suspect if absurd_first else fitting
    odd = structs.replace(one, data=structs.replace(one.data, trade_time=NOW_MS + YEAR_MS))
    suspect, fitting = (odd, fitting) if absurd_first else (suspect, odd)
    bench.offer(suspect, fitting)
    bench.offer(trade(506, 3))
    assert told(bench.items) == [*LIVE, 505, 506]


def test_what_came_beyond_a_gap_refutes_a_suspect_too() -> None:
    bench = Bench()
    bench.offer(*[trade(n, n / 1000) for n in LIVE], trade(7, 1))
    assert bench.strays == []
    bench.offer(trade(506, 2))
    assert bench.refuted == [7]


@pytest.mark.parametrize("make", [quote, top], ids=["bookTicker", "depth5"])
def test_an_absurd_key_that_only_grows_silences_nothing(make: Any) -> None:
    bench = Bench()
    bench.offer(make(500, 0))
    assert told(bench.offer(make(ABSURD, 1), make(501, 2), make(507, 3))) == [501, 507]
    assert bench.refuted == [ABSURD]


@pytest.mark.parametrize("make", [average, minis], ids=["avgPrice", "all miniTickers"])
@pytest.mark.parametrize("ahead_ms", [YEAR_MS, 60_000, ABSURD - NOW_MS - 10_000_000])
def test_a_time_far_ahead_silences_nothing(make: Any, ahead_ms: int) -> None:
    bench = Bench()
    sane = [make(n) for n in range(4)]
    items = bench.offer(*sane[:2], make(1.5, ahead_ms=ahead_ms), *sane[2:])
    assert items == sane
    assert len(bench.strays) == 1


def test_a_time_is_believed_as_far_ahead_as_clocks_may_differ() -> None:
    clock, most = Clock(), int(AHEAD_S * 1000)
    assert [clock.is_ahead(NOW_MS + ms, NOW_S) for ms in (most, most + 1)] == [False, True]


def test_a_first_message_far_ahead_is_not_believed_either() -> None:
    bench = Bench()
    sane = [average(n) for n in range(3)]
    assert bench.offer(average(0, ahead_ms=YEAR_MS), *sane) == sane


def test_a_time_that_is_ahead_by_little_is_told_as_an_outage() -> None:
    """Within the bound it is believed; until the clock has caught up, nothing is newer."""
    bench = Bench()
    bench.offer(average(0), average(1, ahead_ms=9000))
    for n in range(2, 12):
        bench.now += 1
        bench.offer(average(n))
    assert told(bench.items) == ["outage of 10 s"]
    assert bench.items[-1] == average(11)


def test_with_a_clock_that_is_wrong_by_hours_times_are_believed_by_each_other() -> None:
    bench = Bench()
    events = [average(n, ahead_ms=7_200_000) for n in (0, 1, 2, 300, 301)]
    assert bench.offer(*events) == events
    assert bench.strays == []


def set_back(event: Event) -> Event:
    """What it looks like after the wall clock was set back by an hour."""
    return structs.replace(event, received=event.received - 3600)


def test_a_clock_that_is_set_back_makes_no_time_absurd() -> None:
    bench = Bench()
    for event in (average(1), average(2), set_back(average(3)), set_back(average(4))):
        bench.now += 1
        assert bench.offer(event) == [event]


def test_a_clock_that_is_set_back_does_not_hide_ids_that_begin_anew() -> None:
    bench = Bench()
    bench.offer(trade(500, 0))
    bench.now += 1
    anew = [set_back(trade(n, n)) for n in (1, 2, 3)]
    assert told(bench.offer(*anew)) == [(501, 501, "reset"), 1, 2, 3]


def test_two_absurd_keys_that_agree_are_believed_and_left_again() -> None:
    bench = Bench()
    bench.offer(trade(500, 0), trade(ABSURD, 1), trade(ABSURD + 1, 2))
    items = bench.offer(*[trade(n, n) for n in range(501, 505)])
    assert told(bench.items[:4]) == [500, (501, ABSURD - 1, "jump"), ABSURD, ABSURD + 1]
    assert told(items) == [(ABSURD + 2, ABSURD + 2, "reset"), 501, 502, 503, 504]


def test_a_jump_that_lies_behind_an_open_gap_is_no_gap_to_be_repaired() -> None:
    bench = Bench()
    bench.offer(trade(1, 1), trade(3, 3), trade(ABSURD, 4), trade(ABSURD + 1, 5))
    assert bench.arbiter.track("v", TRADES).gap == (2, 2)
    assert told(bench.offer(trade(2, 2))) == [2, 3, (4, ABSURD - 1, "jump"), ABSURD, ABSURD + 1]


@pytest.mark.parametrize("apart", [0.5, 0.001])
def test_one_id_with_two_times_is_no_copy(apart: float) -> None:
    bench = Bench()
    bench.offer(trade(1, 1), trade(2, 2), trade(4, 4), trade(4, 4 + apart), trade(2, 2 - apart))
    assert bench.refuted == [4, 2]
    assert told(bench.offer(trade(3, 3))) == [3, 4]


# -- two connections ------------------------------------------------------------------------------


@pytest.mark.parametrize("other", [7, 50_000, 5_000_000])
def test_a_line_with_another_numbering_is_refuted_message_by_message(other: int) -> None:
    bench, right, wrong = Bench(redundant=True), Line("0a"), Line("0b", 1.0)
    for n in range(40):
        bench.offer(trade(1000 + n, 1000 + n), source=right)
        burst = [trade(other + 4 * n + k, 1000 + n + 0.1 + k / 10) for k in range(4)]
        bench.at_once(*burst, source=wrong)
        bench.now += 0.1
    bench.offer(*[trade(n, n) for n in range(1040, 1043)], source=right)
    assert told(bench.items) == [*range(1000, 1043)]
    assert {stray.source for stray in bench.strays} == {wrong}
    assert all(stray.disputed for stray in bench.strays)
    assert len(bench.strays) >= 4 * 36


def test_a_second_connection_that_brings_the_same_ends_the_contest_at_once() -> None:
    bench, one, other = Bench(redundant=True), Line("0a"), Line("0b")
    bench.offer(trade(500, 0), source=one)
    new = [trade(n, 10 + n) for n in range(5)]
    assert bench.offer(*new, source=one) == []
    assert told(bench.offer(new[0], source=other)) == [(501, 501, "reset"), *range(5)]


def test_what_nobody_contradicts_is_believed_after_a_while() -> None:
    bench, one = Bench(redundant=True), Line()
    bench.offer(trade(500, 0), source=one)
    assert bench.offer(*[trade(n, 10 + n) for n in range(5)], source=one) == []
    bench.now += CONTESTED_S
    assert told(bench.offer(trade(5, 15), source=one)) == [(501, 501, "reset"), *range(6)]


@pytest.mark.parametrize("message", [quote, top])
def test_the_key_of_the_last_message_with_other_words_is_no_copy(message: Any) -> None:
    """Ids began anew by one: what came with that key of the new numbering is in the outage."""
    bench = Bench()
    last = message(8, 2)
    assert bench.offer(message(7, 1), message(7, 1.5), last) == [message(7, 1), last]
    *_, field = last.data.__struct_fields__
    other = structs.replace(message(8, 3), data=structs.replace(last.data, **{field: ["9"]}))
    outage = Outage("v", last.stream, last.received, message(9, 4).received)
    assert bench.offer(other, message(9, 4)) == [outage, message(9, 4)]
    assert bench.offer(message(9, 5), message(10, 6)) == [message(10, 6)]


def test_after_a_restart_the_words_of_the_last_message_are_not_known() -> None:
    bench = Bench()
    bench.arbiter.track("v", quote(7, 0).stream).resume(7, 100)
    assert bench.offer(quote(7, 1), quote(8, 2)) == [quote(8, 2)]


def test_what_is_contested_is_bounded_in_messages() -> None:
    bench, one = Bench(redundant=True), Line()
    bench.offer(trade(500, 0), source=one)
    bench.offer(*[trade(n, 10 + n) for n in range(CONTESTED_MESSAGES - 1)], source=one)
    assert told(bench.items) == [500]
    bench.offer(trade(CONTESTED_MESSAGES - 1, 200), source=one)
    assert told(bench.items) == [500, (501, 501, "reset"), *range(CONTESTED_MESSAGES)]


def test_what_is_contested_is_bounded_in_memory() -> None:
    def large(number: int) -> Event:
        return structs.replace(trade(number, 10 + number), frame=bytes(1000))

    bench, one = Bench(redundant=True, max_held_bytes=5.5 * cost_of(large(0))), Line()
    bench.offer(trade(500, 0), source=one)
    assert bench.offer(*map(large, range(5)), source=one) == []
    assert told(bench.offer(large(5), source=one)) == [(501, 501, "reset"), *range(6)]
    bench.offer(*[trade(n, 20 + n) for n in range(6, 8)], source=one)
    assert bench.arbiter.track("v", TRADES).doubts is None


def test_an_outage_between_two_messages_that_wait_to_be_believed_is_told() -> None:
    """The connection was lost after the first of them."""
    bench = Bench()
    book = "btcusdt@bookTicker"
    old, one, two = [
        Event(BookTicker(number, "BTCUSDT", "1", "1", "2", "1"), book, "v", at, b"")
        for number, at in ((5, 1.0), (50_000_005, 2.0), (50_000_009, 9.0))
    ]
    assert bench.offer(old, one) == [old]
    bench.arbiter.interrupt("v", [book])
    assert bench.offer(two) == [Outage("v", book, 1.0, 2.0), one, Outage("v", book, 2.0, 9.0), two]


def test_copies_of_what_waits_to_be_believed_are_counted() -> None:
    bench = Bench(redundant=True)
    bench.offer(trade(1, 1), *[trade(ABSURD, 2)] * 3)
    assert bench.arbiter.track("v", TRADES).duplicates == 2


def test_of_a_kind_without_ids_what_was_refuted_is_not_counted_as_delivered() -> None:
    bench = Bench()
    for number in (1, 3, 5):
        bench.offer(quote(number, number), quote(ABSURD, number + 0.5))
    bench.offer(quote(7, 7))
    assert len(bench.strays) == 3
    assert bench.arbiter.tracks[0].coverage().live == 4


def test_with_a_clock_that_is_behind_times_go_on_as_fast_as_the_clock_does() -> None:
    """An hour: the first ones are believed by each other, and later ones at once."""
    bench = Bench()
    hour = 3_600_000
    bench.offer(*[average(second, ahead_ms=hour) for second in range(3)])
    later = [
        average(10, ahead_ms=hour),
        average(11, ahead_ms=hour + 9_000),
        average(40, ahead_ms=hour),
        average(70, ahead_ms=hour + 9_000),
    ]
    for event in later:
        assert bench.offer(event)[-1:] == [event]
    assert bench.offer(average(71, ahead_ms=hour + 60_000)) == []


def test_with_a_clock_that_is_behind_and_then_set_back_times_go_on() -> None:
    bench = Bench()
    hour = 3_600_000
    bench.offer(*[average(second, ahead_ms=hour) for second in range(3)])
    bench.now += 1
    assert set_back(average(3, ahead_ms=hour)) in bench.offer(set_back(average(3, ahead_ms=hour)))


def test_after_a_restart_on_a_machine_whose_clock_is_behind_times_are_believed_by_each_other() -> (
    None
):
    """When the last one came, before, is not known."""
    bench = Bench()
    bench.arbiter.track("v", "btcusdt@avgPrice").resume(NOW_MS + 3_600_000, 100)
    *events, last = [average(second, ahead_ms=3_600_000) for second in (1, 2, 3)]
    assert bench.offer(*events) == []
    bench.now += CONTESTED_S
    assert bench.offer(last) == [*events, last]


@pytest.mark.parametrize(
    ("new", "believed"),
    [
        ([(1, 100), (2, 101), (3, 102)], True),
        ([(1, 100), (3, 102), (2, 101)], True),
        ([(2, 101), (3, 102), (1, 100)], True),
        ([(1, 100), (101, 101), (201, 102)], True),
        ([(50, 101), (150, 102), (1, 100)], True),
        ([(1, 100), (102, 101), (203, 102)], False),
        ([(1, 100), (2, 99), (3, 102)], False),
        ([(1, 100), (3, 102), (2, 103)], False),
        ([(2, 101), (3, 102), (1, 103)], False),
        ([(5, 100), (5, 101), (5, 102)], False),
        ([(5, 102), (5, 101), (5, 100)], False),
    ],
    ids=[
        "in order",
        "the second late",
        "the first late",
        "near",
        "near, the first late",
        "too far apart",
        "the second older",
        "the second newer",
        "the first newer",
        "all of one id",
        "all of one id, the older the later",
    ],
)
def test_suspects_go_on_with_each_other_if_ids_and_times_grow_together(
    new: list[tuple[int, int]], believed: bool
) -> None:
    bench = Bench()
    bench.offer(*[trade(number, number / 1000) for number in LIVE])
    bench.offer(*[trade(number, at) for number, at in new])
    track = bench.arbiter.track("v", TRADES)
    assert (track.first == min(new)[0]) == believed
    assert (track.next == 505) != believed


def test_copies_from_the_line_that_is_contested_do_not_speak_for_it() -> None:
    bench, line = Bench(redundant=True), Line()
    bench.offer(*[trade(number, number / 1000) for number in LIVE])
    for number in (1, 2, 3):
        bench.offer(*[trade(number, 100 + number)] * 2, source=line)
    assert told(bench.items) == LIVE
    bench.offer(trade(3, 103), source=Line("0b"))
    assert told(bench.items) == [*LIVE, (505, 505, "reset"), 1, 2, 3]
