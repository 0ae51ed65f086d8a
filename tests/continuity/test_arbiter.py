"""The arbiter and its ledger against a naive model, and every rule for what is no simple gap."""

from __future__ import annotations

import datetime as dt
import itertools
import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

from k2trio.continuity import ledger as ledger_module
from k2trio.continuity.arbiter import Arbiter
from k2trio.continuity.held import Held, Memory
from k2trio.continuity.items import Gap, Item, Outage
from k2trio.continuity.klines import KlineTrack
from k2trio.continuity.ledger import Missing
from k2trio.continuity.numbering import Shared
from k2trio.continuity.times import Clock
from k2trio.continuity.track import Track
from k2trio.market.cost import cost_of
from k2trio.market.kinds import LEAP_IDS
from k2trio.market.payloads import (
    AvgPrice,
    Bar,
    BookTicker,
    Depth,
    DepthSnapshot,
    Event,
    Kline,
    MiniTicker,
    Trade,
)
from k2trio.market.streams import KLINE_INTERVALS_MS, Repair, parse_stream
from k2trio.market.units import MS, US

TRADES, DEPTH, BOOK = "btcusdt@trade", "btcusdt@depth", "btcusdt@bookTicker"
MINUTES = "btcusdt@kline_1m"
ETH = "ethusdt@trade"
MINUTE = 60_000
EXAMPLES = settings().max_examples


def trade(number: int, venue: str = "v", at: float | None = None, origin: Any = "live") -> Event:
    when = number if at is None else at
    data = Trade(int(when * 1000), "BTCUSDT", number, "1", "1", int(when * 1000), False)
    return Event(data, TRADES, venue, float(when), b"{}", origin)


def diff(first: int, last: int, venue: str = "v", at: float | None = None) -> Event:
    when = float(last if at is None else at)
    return Event(Depth(int(when * 1000), "BTCUSDT", first, last, [], []), DEPTH, venue, when, b"")


def snapshot(last: int) -> Event:
    return Event(DepthSnapshot(last, [], []), DEPTH, "v", 0.0, b"", "snapshot")


def quote(number: int, at: float) -> Event:
    return Event(BookTicker(number, "BTCUSDT", "1", "1", "2", "1"), BOOK, "v", at, b"")


def next_month(open_time: int) -> int:
    """Where the bar of the month ends that opens then, in UTC or eight hours east of it."""
    if not abs(open_time) < 2**42:
        return open_time + 1
    zone = dt.timezone(dt.timedelta(milliseconds=-open_time % 86_400_000))
    first = dt.datetime.fromtimestamp(open_time / 1000, zone)
    return int((first + dt.timedelta(days=31)).replace(day=1).timestamp() * 1000)


def bar(
    open_time: int,
    at: int,
    *,
    closed: bool = False,
    stream: str = MINUTES,
    origin: Any = "live",
) -> Event:
    """A kline message of the bar that opens at ``open_time``, with event time ``at``; ms."""
    interval = stream.partition("_")[2].partition("@")[0]
    length = KLINE_INTERVALS_MS[interval]
    end = next_month(open_time) if length is None else open_time + length
    inner = Bar(open_time, end - 1, "BTCUSDT", interval, "1", "1", "1", "1", "1", 1, closed, "1")
    return Event(Kline(at, "BTCUSDT", inner), stream, "v", at / 1000, b"", origin)


def offer(arbiter: Arbiter, *events: Event, now: float = 0.0) -> list[Item]:
    return arbiter.offer(events[0].venue, events, now).items


def told(items: list[Item]) -> list[Any]:
    """Trades by id, repaired ones negative, gaps as (first, last, reason)."""
    out: list[Any] = []
    for item in items:
        if isinstance(item, Event):
            number = item.data.trade_id
            out.append(-number if item.origin == "backfill" else number)
        elif isinstance(item, Gap):
            out.append((item.first, item.last, item.reason))
        else:
            out.append((item.since, item.until))
    return out


def bars_told(items: list[Item]) -> list[Any]:
    """Bars in minutes: open ones with a dot, gaps as (first, last, reason)."""
    out: list[Any] = []
    for item in items:
        if isinstance(item, Event):
            number = item.data.bar.open_time // MINUTE
            out.append(number if item.data.bar.closed else f"{number}.")
        elif isinstance(item, Gap):
            out.append((item.first // MINUTE, item.last // MINUTE, item.reason))
        else:
            out.append("outage")
    return out


@pytest.fixture
def arbiter() -> Arbiter:
    return Arbiter(max_held=100)


# -- against a model ----------------------------------------------------------------------------


@st.composite
def scripts(draw: st.DrawFn, *, ranges: bool) -> list[tuple[Any, ...]]:
    """What two lines, repairs and abandons do to each of two venues, in any order.

    A line carries the venue's contiguous messages with losses, duplicates and local reordering.
    With ``ranges`` the messages cover several ids, and the lines may cut them differently.
    """
    steps: list[list[tuple[Any, ...]]] = []
    for venue in "vw":
        start = draw(st.integers(1, 1000))
        count = draw(st.integers(1, 24))
        for _ in "ab":
            cuts = [start + n for n in range(count)]
            if ranges:
                keep = draw(st.lists(st.booleans(), min_size=count, max_size=count))
                cuts = [cut for cut, kept in zip(cuts, keep, strict=True) if kept] or [start]
            ends = [*(cut - 1 for cut in cuts[1:]), start + count - 1]
            line: list[tuple[Any, ...]] = []
            for first, last in zip(cuts, ends, strict=True):
                copies = draw(st.sampled_from([0, 1, 1, 1, 1, 2]))
                line += [("offer", venue, first, last)] * copies
            for at in draw(st.lists(st.integers(0, max(0, len(line) - 2)), max_size=4)):
                line[at : at + 2] = line[at : at + 2][::-1]
            steps.append(line)
        last_id = start + count
        others = draw(
            st.lists(
                st.one_of(
                    st.tuples(st.just("repair"), st.just(venue), st.integers(start, last_id)),
                    st.tuples(
                        st.just("abandon"),
                        st.just(venue),
                        st.sampled_from(["not_repaired", "venue_missing"]),
                    ),
                ),
                max_size=6,
            )
        )
        steps.append(others)
    order = draw(st.permutations([n for n, line in enumerate(steps) for _ in line]))
    iterators = [iter(line) for line in steps]
    return [next(iterators[n]) for n in order]


def run_script(script: list[tuple[Any, ...]], *, ranges: bool, max_held: int) -> None:
    arbiter = Arbiter(max_held)
    out: dict[str, list[Item]] = {"v": [], "w": []}
    received: dict[str, set[int]] = {"v": set(), "w": set()}
    repaired: dict[str, set[int]] = {"v": set(), "w": set()}
    for what, venue, *rest in script:
        track = arbiter.track(venue, DEPTH if ranges else TRADES)
        match what:
            case "offer":
                first, last = rest
                event = diff(first, last, venue) if ranges else trade(first, venue)
                items = arbiter.offer(venue, [event], 0.0).items
                out[venue] += items
                received[venue] |= set(range(first, last + 1))
            case "repair":
                if not ranges:  # book updates are not repaired one by one
                    track.repair(trade(rest[0], venue, origin="backfill"), out[venue])
                    repaired[venue].add(rest[0])
            case _:
                track.abandon(rest[0], out[venue])
        assert len(track.held) <= max_held
        if track.gap is not None:
            assert track.gap[0] <= track.gap[1]
            assert track.held == sorted(track.held, key=lambda held: held[:2])
    for venue, items in out.items():
        check_output(arbiter, venue, items, received[venue], repaired[venue], ranges=ranges)


def check_output(
    arbiter: Arbiter,
    venue: str,
    items: list[Item],
    received: set[int],
    repaired: set[int],
    *,
    ranges: bool,
) -> None:
    """Every id from the first on once, in order: delivered from where it came, or declared."""
    track = arbiter.track(venue, DEPTH if ranges else TRADES)
    while track.held:
        track.abandon("not_repaired", items)
    due: int | None = None
    live = mended = missing = 0
    for item in items:
        assert item.venue == venue
        if isinstance(item, Gap):
            assert item.first == due
            assert item.first <= item.last
            missing += item.last - item.first + 1
            due = item.last + 1
            continue
        assert isinstance(item, Event)
        first, last = track.first_of(item.data), track.last_of(item.data)
        assert due is None or last >= due, "nothing is delivered twice"
        assert due is None or first == due or (ranges and first < due)
        new = last - (first if due is None else due) + 1
        if item.origin == "backfill":
            mended += new
            assert first in repaired
        else:
            live += new
            assert first in received
        due = last + 1
    coverage = track.coverage()
    assert (coverage.live, coverage.repaired, coverage.missing) == (live, mended, missing)
    if due is None:
        assert not received
        return
    assert coverage.first is not None
    assert coverage.last == due - 1
    assert live + mended + missing == due - coverage.first
    assert max(received) == due - 1
    assert sum(last - first + 1 for first, last in coverage.repaired_ranges) == mended
    assert sum(row.last - row.first + 1 for row in coverage.missing_ranges) == missing


@settings(max_examples=4 * EXAMPLES, deadline=None)
@given(scripts(ranges=False), st.sampled_from([1, 3, 100]))
def test_two_lines_repairs_and_abandons_give_every_id_once_in_order(
    script: list[tuple[Any, ...]], max_held: int
) -> None:
    run_script(script, ranges=False, max_held=max_held)


@settings(max_examples=4 * EXAMPLES, deadline=None)
@given(scripts(ranges=True), st.sampled_from([1, 3, 100]))
def test_book_updates_that_the_lines_cut_differently_cover_every_id_once(
    script: list[tuple[Any, ...]], max_held: int
) -> None:
    run_script(script, ranges=True, max_held=max_held)


@settings(max_examples=2 * EXAMPLES, deadline=None)
@given(
    st.lists(st.one_of(st.integers(0, 60), st.sampled_from(["interrupt"])), min_size=1, max_size=60)
)
def test_growing_keys_never_go_back_and_an_outage_needs_an_interruption(
    steps: list[int | str],
) -> None:
    arbiter = Arbiter(10)
    out: list[Item] = []
    interrupted, expected = False, 0
    newest = -1
    for at, step in enumerate(steps):
        if isinstance(step, str):
            arbiter.interrupt("v", [BOOK])
            interrupted = newest >= 0
            continue
        if step > newest:
            expected += interrupted
            interrupted, newest = False, step
        out += offer(arbiter, quote(step, float(at)))
    keys = [item.data.update_id for item in out if isinstance(item, Event)]
    assert keys == sorted(set(keys))
    outages = [item for item in out if isinstance(item, Outage)]
    assert len(outages) == expected == arbiter.track("v", BOOK).coverage().outages
    assert all(outage.since <= outage.until for outage in outages)
    assert not any(isinstance(item, Gap) for item in out)


# -- gaps ---------------------------------------------------------------------------------------


def test_the_far_side_of_a_gap_is_held_until_the_other_line_fills_it(arbiter: Arbiter) -> None:
    assert told(offer(arbiter, trade(1), trade(3), trade(4))) == [1]
    assert arbiter.gap_opened
    assert told(offer(arbiter, trade(2))) == [2, 3, 4]
    assert arbiter.gapped() == []


def test_how_long_the_oldest_gap_has_been_open(arbiter: Arbiter) -> None:
    assert arbiter.oldest_gap_s(9.0) == 0.0
    offer(arbiter, trade(1), diff(1, 2))
    offer(arbiter, trade(3), now=4.0)
    offer(arbiter, diff(5, 6), trade(4), now=6.0)
    assert arbiter.oldest_gap_s(9.0) == 5.0


def test_streams_without_an_open_gap_are_settled(arbiter: Arbiter) -> None:
    offer(arbiter, trade(1), trade(3), diff(1, 2))
    assert arbiter.settled([DEPTH])
    assert not arbiter.settled([DEPTH, TRADES])
    offer(arbiter, trade(2))
    assert arbiter.settled([DEPTH, TRADES])


def test_a_stream_is_left_at_every_venue(arbiter: Arbiter) -> None:
    offer(arbiter, quote(1, 1))
    arbiter.offer("w", [structs.replace(quote(1, 1), venue="w")], 1.0)
    arbiter.leave([BOOK])
    for venue in "vw":
        items = arbiter.offer(venue, [structs.replace(quote(2, 5), venue=venue)], 5.0).items
        assert items[0] == Outage(venue, BOOK, 1.0, 5.0)


def test_a_track_is_found_once_its_stream_has_begun(arbiter: Arbiter) -> None:
    assert arbiter.found("v", TRADES) is None
    offer(arbiter, trade(1))
    assert arbiter.found("v", TRADES) is arbiter.track("v", TRADES)
    assert arbiter.found("w", TRADES) is arbiter.found("v", DEPTH) is None
    assert len(arbiter.tracks) == 1


def test_of_a_stream_of_which_nothing_has_come_nothing_is_known(arbiter: Arbiter) -> None:
    track = arbiter.track("v", BOOK)
    assert (track.began_at, track.seen_at, track.said) == (-math.inf, -math.inf, None)


def test_a_track_tells_what_can_give_back_what_is_missing(arbiter: Arbiter) -> None:
    kinds = [arbiter.track("v", name).repair_kind for name in (TRADES, MINUTES, DEPTH, BOOK)]
    assert kinds == [Repair.HISTORICAL_TRADES, Repair.KLINES, Repair.SNAPSHOT, Repair.NONE]


def test_until_where_something_is_missing(arbiter: Arbiter) -> None:
    """What is held parts what is missing: one request may ask for several of its parts."""
    offer(arbiter, trade(1), trade(4), trade(5), trade(8))
    track = arbiter.track("v", TRADES)
    assert [track.missing_until(until) for until in (1, 2, 5, 6, 100)] == [-1, 3, 3, 7, 7]
    track.abandon("not_repaired", [])
    assert [track.missing_until(until) for until in (5, 6)] == [-1, 7]
    assert arbiter.track("v", DEPTH).missing_until(100) == -1


def test_what_ended_waits_for_nothing_and_what_came_of_it_stays_counted(arbiter: Arbiter) -> None:
    for number in (1, 2):
        offer(arbiter, trade(number), trade(number + 5))
        ended = arbiter.track("v", TRADES)
        arbiter.end(ended)
        assert (ended.wanting, len(ended.held)) == (False, 0)
    assert sum(messages for symbol, messages in arbiter.received if symbol == "BTCUSDT") == 4
    assert arbiter.tracks == []


def test_a_book_that_ended_wants_no_snapshot(arbiter: Arbiter) -> None:
    offer(arbiter, diff(1, 2), diff(5, 6))
    ended = arbiter.track("v", DEPTH)
    ended.abandon("not_repaired", [])
    arbiter.end(ended)
    assert not ended.wanting


def test_what_came_before_a_stream_began_anew_is_taken_once_more() -> None:
    arbiter = Arbiter(100)
    events = [trade(number, at=1000 + number) for number in (1, 2, 3, 5)]
    offer(arbiter, *events, now=10.0)
    assert arbiter.begin("v", TRADES).gap is None
    arbiter.gap_opened = False
    assert arbiter.offer_again(events[1:], now=12.0) == events[1:3]
    track = arbiter.track("v", TRADES)
    assert (track.gap, arbiter.gap_opened) == ((4, 4), True)
    assert (track.coverage().first, track.coverage().live) == (2, 2)
    # By the clock of the messages it was 2 s before; it came at 10.
    assert (track.began_at, track.seen_at) == (7.0, 10.0)
    assert arbiter.oldest_gap_s(15.0) == 3.0
    assert sum(messages for _, messages in arbiter.received) == len(events), "none came twice"


def test_when_it_came_is_told_by_the_clock_as_it_stands_after_it_was_set_back() -> None:
    arbiter = Arbiter(100)
    late = trade(2, at=1400)  # the wall clock was set back by an hour, and goes on
    offer(arbiter, trade(1, at=5000), now=10.0)
    offer(arbiter, late, now=12.0)
    arbiter.begin("v", TRADES)
    arbiter.offer_again([late], now=20.0)
    track = arbiter.track("v", TRADES)
    assert (track.began_at, track.seen_at) == (12.0, 12.0)


def test_what_is_taken_once_more_keeps_its_outages(arbiter: Arbiter) -> None:
    before, after = quote(1, 1), quote(2, 5)
    offer(arbiter, before)
    arbiter.leave([BOOK])
    items: Any = [before, *offer(arbiter, after)]
    arbiter.begin("v", BOOK)
    assert arbiter.offer_again(items, now=6.0) == [before, Outage("v", BOOK, 1.0, 5.0), after]
    assert not arbiter.gap_opened
    assert sum(messages for _, messages in arbiter.received) == 2


def test_a_gap_in_what_is_taken_once_more_is_told_though_others_follow(arbiter: Arbiter) -> None:
    arbiter.offer_again([trade(1), trade(3), quote(1, 4)], now=6.0)
    assert arbiter.gap_opened


def test_a_batch_tells_how_many_of_it_were_duplicates(arbiter: Arbiter) -> None:
    decision = arbiter.offer("v", [trade(1), trade(1), trade(2), trade(2), diff(1, 2)], 0.0)
    assert (told(decision.items[:2]), len(decision.items), decision.duplicates) == ([1, 2], 3, 2)
    assert arbiter.offer("v", [trade(1), trade(3), trade(2)], 0.0).duplicates == 2


def test_what_a_message_brings_beside_itself_is_told(arbiter: Arbiter) -> None:
    def brings_more(*events: Event) -> bool:
        arbiter.more_told = False
        offer(arbiter, *events)
        return arbiter.more_told

    assert not arbiter.more_told
    assert not arbiter.gap_opened
    assert not brings_more(trade(1), quote(1, 1))
    assert not brings_more(trade(2), trade(2), quote(2, 2), quote(2, 2))
    assert not brings_more(trade(4))
    assert brings_more(trade(3)), "what waited behind it"
    arbiter.leave([BOOK])
    assert brings_more(quote(3, 9)), "the outage before it"


def test_whether_others_may_disagree_is_asked_of_the_stream_in_question() -> None:
    asked: list[str] = []
    arbiter = Arbiter(100, redundant=lambda track: bool(asked.append(track.stream.name)))
    offer(arbiter, trade(1), diff(1, 2))
    offer(arbiter, trade(2**62), trade(2**62 + 1))
    assert set(asked) == {TRADES}


def test_other_streams_flow_while_one_is_held(arbiter: Arbiter) -> None:
    items = offer(arbiter, trade(1), trade(3), diff(5, 6), diff(7, 9))
    assert [item.stream for item in items] == [TRADES, DEPTH, DEPTH]


def test_a_gap_is_as_old_as_the_first_message_behind_it_however_it_is_filled(
    arbiter: Arbiter,
) -> None:
    offer(arbiter, trade(1), diff(1, 2))
    offer(arbiter, trade(9), diff(5, 6), now=1.0)
    offer(arbiter, trade(5), diff(9, 10), now=3.0)
    offer(arbiter, diff(5, 8), now=5.0)  # another line cut it differently
    trades, book = arbiter.track("v", TRADES), arbiter.track("v", DEPTH)
    assert (trades.opened_at, book.opened_at) == (1.0, 1.0)
    assert (trades.gap, book.gap) == ((2, 4), (3, 4))
    assert (len(book.held), book.duplicates) == (2, 1)
    offer(arbiter, diff(5, 8), diff(4, 8), now=6.0)
    assert (book.gap, book.opened_at, book.duplicates) == ((3, 3), 1.0, 2)
    out = offer(arbiter, diff(3, 3), now=7.0)
    assert [(item.data.first_update_id, item.data.last_update_id) for item in out] == [  # type: ignore[union-attr]
        (3, 3),
        (4, 8),
        (9, 10),
    ]
    assert book.duplicates == 3


def test_whether_a_message_has_come_and_waits(arbiter: Arbiter) -> None:
    """By its key, and by its time where that is known: ids may have begun anew."""
    offer(arbiter, trade(1), trade(5), trade(7), trade(2**62, at=8))
    track = arbiter.track("v", TRADES)
    keys = (1, 4, 5, 6, 7, 8, 2**62)
    waits = [False, False, True, False, True, False, True]
    assert [track.awaits_others(key, None) for key in keys] == waits
    told = [(5, 5000), (5, 5001), (5, 4999), (7, 5000)]
    assert [track.awaits_others(*one) for one in told] == [True, False, False, False]
    offer(arbiter, diff(1, 2), diff(5, 9))
    book = arbiter.track("v", DEPTH)
    assert [book.awaits_others(key, None) for key in (4, 5, 7, 9, 10)] == [0, 1, 1, 1, 0]


def test_of_one_message_rest_tells_the_time_in_milliseconds_only() -> None:
    arbiter = Arbiter(100, unit=US)
    for number, us in ((1, 1_000_000), (5, 5_000_123)):
        data = Trade(us, "BTCUSDT", number, "1", "1", us, False)
        offer(arbiter, Event(data, TRADES, "v", 5.0, b""))
    track = arbiter.track("v", TRADES)
    asked = (4_999_000, 5_000_000, 5_000_123, 5_000_456, 5_001_000)
    assert [track.awaits_others(5, time) for time in asked] == [0, 1, 1, 1, 0]


def test_what_a_stream_said_last_is_kept_where_silence_is_judged_by_it(arbiter: Arbiter) -> None:
    track = arbiter.track("v", BOOK)
    for number in (1, 2, 3):
        offer(arbiter, quote(number, number))
        assert track.said == quote(number, number).data
    arbiter.leave([BOOK])
    offer(arbiter, quote(4, 9))
    assert track.said == quote(4, 9).data
    offer(arbiter, *[quote(number, 9) for number in range(5, 10)])
    assert track.said == quote(9, 9).data
    offer(arbiter, trade(1))
    assert arbiter.track("v", TRADES).said is None


def test_what_waits_is_counted_in_bytes_until_it_goes() -> None:
    memory, events = Memory(), [trade(1), trade(2), trade(3)]
    held = [Held(number, number, 0.0, event) for number, event in enumerate(events)]
    memory.take(*held)
    memory.free(held[1])
    assert memory.used == cost_of(events[0]) + cost_of(events[2])


def test_a_repair_in_the_middle_declares_what_lies_before_it(arbiter: Arbiter) -> None:
    offer(arbiter, trade(1), trade(6))
    out: list[Item] = []
    track = arbiter.track("v", TRADES)
    track.repair(trade(4, origin="backfill"), out)
    assert told(out) == [(2, 3, "venue_missing"), -4]
    track.repair(trade(5, origin="backfill"), out)
    assert told(out)[2:] == [-5, 6]


def test_a_repair_that_comes_too_late_changes_nothing(arbiter: Arbiter) -> None:
    offer(arbiter, trade(1), trade(3))
    out = offer(arbiter, trade(2))
    arbiter.track("v", TRADES).repair(trade(2, origin="backfill"), out)
    assert told(out) == [2, 3]
    assert arbiter.track("v", TRADES).ledger.repaired == 0


def test_declaring_a_part_leaves_the_rest_of_the_gap_open(arbiter: Arbiter) -> None:
    offer(arbiter, trade(1), trade(9))
    out: list[Item] = []
    track = arbiter.track("v", TRADES)
    track.declare(4, "venue_missing", out)
    assert (told(out), track.gap) == ([(2, 4, "venue_missing")], (5, 8))
    # What the other line brings of the declared part is late: it has been named as missing.
    assert told(offer(arbiter, trade(3), trade(5))) == [5]


def test_declaring_what_has_passed_says_nothing(arbiter: Arbiter) -> None:
    offer(arbiter, trade(5))
    out: list[Item] = []
    arbiter.track("v", TRADES).declare(5, "not_repaired", out)
    arbiter.track("v", TRADES).abandon("not_repaired", out)
    assert out == []


def test_two_gaps_are_declared_one_by_one(arbiter: Arbiter) -> None:
    offer(arbiter, trade(1), trade(3), trade(5))
    out: list[Item] = []
    arbiter.track("v", TRADES).abandon("not_repaired", out)
    assert told(out) == [(2, 2, "not_repaired"), 3]
    assert arbiter.track("v", TRADES).gap == (4, 4)


def test_the_ids_of_two_venues_are_never_compared(arbiter: Arbiter) -> None:
    assert told(offer(arbiter, trade(100, "v"))) == [100]
    assert told(offer(arbiter, trade(7, "w"), trade(8, "w"))) == [7, 8]
    assert told(offer(arbiter, trade(101, "v"))) == [101]
    assert arbiter.track("w", TRADES).coverage().missing == 0


def test_too_many_held_messages_are_released_behind_a_declared_gap() -> None:
    arbiter = Arbiter(max_held=3)
    items = offer(arbiter, trade(1), *[trade(n) for n in range(4, 9)])
    assert told(items) == [1, (2, 3, "hold_overflow"), 4, 5, 6, 7, 8]


def test_the_longer_one_of_two_held_book_updates_wins(arbiter: Arbiter) -> None:
    offer(arbiter, diff(1, 2), diff(5, 6), diff(5, 7), diff(5, 9))
    items = offer(arbiter, diff(3, 4))
    assert [(item.data.first_update_id, item.data.last_update_id) for item in items] == [
        (3, 4),
        (5, 9),
    ]
    assert arbiter.track("v", DEPTH).duplicates == 2


def test_a_held_update_that_another_one_covers_is_a_copy_whenever_that_was_stamped(
    arbiter: Arbiter,
) -> None:
    """Each server stamps, and cuts, the updates that it sends."""
    offer(arbiter, diff(1, 2), diff(4, 5), diff(3, 5, at=5.5))
    offer(arbiter, diff(7, 10), diff(8, 9, at=10.5))
    track = arbiter.track("v", DEPTH)
    assert (track.duplicates, arbiter.strays) == (2, [])


def test_a_book_update_that_overlaps_what_was_delivered_is_delivered(arbiter: Arbiter) -> None:
    """The exchange's rule: apply it if its U is at most the local id + 1 and its u is beyond."""
    items = offer(arbiter, diff(1, 5), diff(4, 8), diff(6, 7), diff(9, 9))
    assert [item.data.last_update_id for item in items] == [5, 8, 9]
    coverage = arbiter.track("v", DEPTH).coverage()
    assert (coverage.live, coverage.duplicates) == (9, 1)


def large(number: int, stream: str = TRADES) -> Event:
    return structs.replace(trade(number), stream=stream, frame=bytes(1000))


def test_what_is_held_is_bounded_in_memory_over_all_streams() -> None:
    """The stream that wants more gives its gap up; what the others hold stays held."""
    arbiter = Arbiter(1000, max_held_bytes=10.5 * cost_of(large(1)))
    for stream in (TRADES, ETH):
        arbiter.offer("v", [large(1, stream)], 0)
        arbiter.offer("v", [large(3 + n, stream) for n in range(5)], 0)
    assert [len(track.held) for track in arbiter.tracks] == [5, 5]
    items, _ = arbiter.offer("v", [large(8, ETH)], 1)
    assert items[0] == Gap("v", ETH, 2, 2, "hold_overflow", 1, 3)
    assert [item.data.trade_id for item in items[1:] if isinstance(item, Event)] == [*range(3, 9)]
    assert [len(track.held) for track in arbiter.tracks] == [5, 0]
    # There is room again.
    arbiter.offer("v", [large(10, ETH)], 2)
    assert [len(track.held) for track in arbiter.tracks] == [5, 1]


# -- snapshots ----------------------------------------------------------------------------------


def test_a_snapshot_must_reach_the_first_held_diff(arbiter: Arbiter) -> None:
    offer(arbiter, diff(1, 2), diff(10, 12), diff(13, 15))
    track = arbiter.track("v", DEPTH)
    out: list[Item] = []
    assert not track.snapshot(snapshot(8), out)
    assert out == []
    assert track.snapshot(snapshot(9), out)
    gap, book, *diffs = out
    assert gap == Gap("v", DEPTH, 3, 9, "snapshot", 2, 12)
    assert book.data.last_update_id == 9
    assert [item.data.last_update_id for item in diffs] == [12, 15]


def test_diffs_that_a_snapshot_contains_are_dropped(arbiter: Arbiter) -> None:
    offer(arbiter, diff(1, 2), diff(10, 12), diff(13, 15))
    out: list[Item] = []
    track = arbiter.track("v", DEPTH)
    assert track.snapshot(snapshot(13), out)
    # 13 … 15 contains the snapshot's id + 1, so it joins.
    assert [item.data.last_update_id for item in out[1:]] == [13, 15]
    coverage = track.coverage()
    assert (coverage.live, coverage.missing) == (2 + 2, 11)


def test_a_gap_that_a_snapshot_stands_for_ends_when_the_first_came_that_it_does_not_contain(
    arbiter: Arbiter,
) -> None:
    offer(arbiter, diff(1, 2), diff(10, 12), diff(13, 15))
    out: list[Item] = []
    assert arbiter.track("v", DEPTH).snapshot(snapshot(12), out)
    assert out[0] == Gap("v", DEPTH, 3, 12, "snapshot", 2, 15)


def test_without_a_gap_a_snapshot_is_not_wanted(arbiter: Arbiter) -> None:
    offer(arbiter, diff(1, 2), diff(4, 5))
    out = offer(arbiter, diff(3, 3))
    assert not arbiter.track("v", DEPTH).snapshot(snapshot(99), out)
    assert len(out) == 2


# -- jumps and resets ---------------------------------------------------------------------------


@pytest.mark.parametrize(("width", "declared"), [(1_000_000, False), (1_000_001, True)])
def test_more_than_a_million_ids_are_a_jump(arbiter: Arbiter, width: int, declared: bool) -> None:
    items = offer(arbiter, trade(1), trade(width + 2, at=2), trade(width + 3, at=3))
    jump = [(2, width + 1, "jump"), width + 2, width + 3]
    assert told(items) == [1, *(jump if declared else [])]


def test_a_gap_behind_another_may_be_as_wide(arbiter: Arbiter) -> None:
    offer(arbiter, trade(1), trade(3), trade(1_000_004, at=4))
    assert told(offer(arbiter, trade(2))) == [2, 3]
    assert arbiter.track("v", TRADES).gap == (4, 1_000_003)


def test_ids_that_start_anew_are_followed(arbiter: Arbiter) -> None:
    offer(arbiter, trade(5_000_000, at=1))
    items = offer(arbiter, trade(10, at=2), trade(11, at=3), trade(12, at=4))
    assert told(items) == [(5_000_001, 5_000_001, "reset"), 10, 11, 12]
    coverage = arbiter.track("v", TRADES).coverage()
    assert (coverage.first, coverage.last, coverage.live, coverage.missing) == (10, 12, 3, 0)


def test_an_old_message_is_no_reset_however_far_behind(arbiter: Arbiter) -> None:
    offer(arbiter, trade(5_000_000, at=10))
    assert told(offer(arbiter, trade(10, at=9))) == []


def test_what_was_held_is_released_before_the_ids_start_anew(arbiter: Arbiter) -> None:
    offer(arbiter, trade(5_000_000, at=1), trade(5_000_002, at=2), trade(5_000_005, at=3))
    assert told(offer(arbiter, trade(10, at=4), trade(11, at=4), trade(12, at=4))) == [
        (5_000_001, 5_000_001, "reset"),
        5_000_002,
        (5_000_003, 5_000_004, "reset"),
        5_000_005,
        (5_000_006, 5_000_006, "reset"),
        10,
        11,
        12,
    ]


def test_ids_that_started_anew_while_we_were_away_are_followed(arbiter: Arbiter) -> None:
    """Else a restart would take the new numbering for duplicates, for ever and in silence."""
    arbiter.track("v", TRADES).resume(5_000_000, 100, time=3_000)
    items = offer(arbiter, trade(10, at=4), trade(11, at=5), trade(12, at=6))
    assert told(items) == [(5_000_001, 5_000_001, "reset"), 10, 11, 12]


def test_growing_ids_that_start_anew_are_an_outage(arbiter: Arbiter) -> None:
    offer(arbiter, quote(5_000_000, 1.0))
    outage, *events = offer(arbiter, quote(10, 9.0), quote(12, 9.0), quote(13, 9.0))
    assert outage == Outage("v", BOOK, 1.0, 9.0)
    assert [event.data.update_id for event in events] == [10, 12, 13]


def test_times_never_start_anew(arbiter: Arbiter) -> None:
    def at(time: int) -> Event:
        data = AvgPrice(time, "BTCUSDT", "5m", "1", time)
        return Event(data, "btcusdt@avgPrice", "v", time / 1000, b"")

    offer(arbiter, at(9_000_000))
    assert offer(arbiter, at(10)) == []


def test_an_empty_array_is_no_news(arbiter: Arbiter) -> None:
    def array(*times: int) -> Event:
        rows = [MiniTicker(time, "BTCUSDT", "1", "1", "1", "1", "1", "1") for time in times]
        return Event(rows, "!miniTicker@arr", "v", 5000.0, b"")

    assert len(offer(arbiter, array(5_000_000, 4_000_000))) == 1
    assert offer(arbiter, array()) == []


# -- resume -------------------------------------------------------------------------------------


def test_a_restart_goes_on_after_the_position(arbiter: Arbiter) -> None:
    track = arbiter.track("v", TRADES)
    track.resume(10, 100)
    assert told(offer(arbiter, trade(9), trade(10), trade(11))) == [11]
    assert track.position == 11


def test_a_restart_repairs_from_the_position_on(arbiter: Arbiter) -> None:
    track = arbiter.track("v", TRADES)
    track.resume(10, 100)
    assert told(offer(arbiter, trade(15))) == []
    assert track.gap == (11, 14)
    assert track.coverage().first == 11


@pytest.mark.parametrize(
    ("limit", "expected", "gap"),
    [
        (3, [(11, 16, "resume_limit")], (17, 19)),
        (9, [], (11, 19)),
        (0, [(11, 19, "resume_limit"), 20], None),
    ],
)
def test_a_restart_goes_back_no_further_than_allowed(
    arbiter: Arbiter, limit: int, expected: list[Any], gap: Any
) -> None:
    track = arbiter.track("v", TRADES)
    track.resume(10, limit)
    assert told(offer(arbiter, trade(20))) == expected
    assert track.gap == gap


@pytest.mark.parametrize(
    ("ids", "limit", "received", "told"),
    [
        (LEAP_IDS + 1, 3, 1.0, True),
        (LEAP_IDS, 3, 1.0, False),
        (LEAP_IDS + 1, 3, None, False),
        (2 * LEAP_IDS, 2 * LEAP_IDS, 1.0, False),
    ],
)
def test_where_ids_leapt_while_we_were_away_the_time_is_told_too(
    arbiter: Arbiter, ids: int, limit: int, received: float | None, told: bool
) -> None:
    """Of a numbering that came and went meanwhile no id tells."""
    arbiter.track("v", TRADES).resume(10, limit, time=1000, received=received)
    items = offer(arbiter, *(trade(11 + ids + n, at=4 + n) for n in range(10)))
    outages = [item for item in items if isinstance(item, Outage)]
    assert outages == [Outage("v", TRADES, 1.0, trade(0, at=4).received)] * told
    assert items == outages + [
        Gap("v", TRADES, 11, 10 + ids - limit, "resume_limit", None, 4.0)
    ] * (ids > limit)


def test_the_limit_of_a_restart_is_not_applied_to_later_gaps(arbiter: Arbiter) -> None:
    arbiter.track("v", TRADES).resume(10, 3)
    assert told(offer(arbiter, trade(11), trade(30))) == [11]
    assert arbiter.track("v", TRADES).gap == (12, 29)


def test_what_a_restart_may_go_back_is_no_jump(arbiter: Arbiter) -> None:
    arbiter.track("v", TRADES).resume(10, 5_000_000)
    assert told(offer(arbiter, trade(3_000_000, at=2), trade(3_000_001, at=3))) == []
    assert arbiter.track("v", TRADES).gap == (11, 2_999_999)


# -- losing what was decided on -----------------------------------------------------------------


def test_lost_messages_move_from_one_column_of_the_ledger_to_another(arbiter: Arbiter) -> None:
    items = offer(arbiter, trade(1), trade(3))
    track = arbiter.track("v", TRADES)
    track.repair(trade(2, origin="backfill"), items)
    assert [track.lose(item) for item in items if isinstance(item, Event)] == [
        Gap("v", TRADES, n, n, "overflow", n, n) for n in (1, 2, 3)
    ]
    coverage = track.coverage()
    assert (coverage.live, coverage.repaired, coverage.missing) == (0, 0, 3)
    assert coverage.missing_ranges == [Missing(1, 3, "overflow")]


def test_a_lost_snapshot_is_a_time_since_its_ids_were_declared(arbiter: Arbiter) -> None:
    items = offer(arbiter, diff(1, 2), diff(10, 12))
    track = arbiter.track("v", DEPTH)
    track.snapshot(snapshot(9), items)
    lost = track.lose(items[2])  # type: ignore[arg-type]
    assert isinstance(lost, Outage)
    assert track.ledger.missing == 7


def test_a_lost_close_of_a_bar_is_named_and_a_lost_update_is_a_time(arbiter: Arbiter) -> None:
    track = arbiter.track("v", MINUTES)
    closing, update = bar(0, MINUTE, closed=True), bar(MINUTE, MINUTE + 9)
    offer(arbiter, closing, update)
    assert track.lose(closing) == Gap("v", MINUTES, 0, 0, "overflow", 60, 60)
    assert track.lose(update) == Outage("v", MINUTES, update.received, update.received)
    assert track.ledger.missing == 1


def test_outages_are_counted_with_what_was_lost_of_a_stream_without_ids(arbiter: Arbiter) -> None:
    events = [quote(number, number) for number in (1, 2)]
    offer(arbiter, *events)
    track = arbiter.track("v", BOOK)
    for event in events:
        assert track.lose(event) == Outage("v", BOOK, event.received, event.received)
    assert track.coverage().outages == 2


# -- the ledger ---------------------------------------------------------------------------------


def test_the_ledger_is_bounded(arbiter: Arbiter, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger_module, "MAX_RANGES", 3)
    track = arbiter.track("v", TRADES)
    for number in range(1, 20, 3):
        offer(arbiter, trade(number), now=number)
        track.abandon("not_repaired", [])
    coverage = track.coverage()
    assert [gap.first for gap in coverage.missing_ranges] == [11, 14, 17], "the newest"
    assert coverage.ranges_forgotten == 3
    assert coverage.missing == 12
    assert coverage.live == 7


def test_adjacent_ranges_become_one(arbiter: Arbiter) -> None:
    offer(arbiter, trade(1), trade(9))
    track = arbiter.track("v", TRADES)
    for number in (2, 3, 4, 5):
        track.repair(trade(number, origin="backfill"), [])
    track.abandon("not_repaired", [])
    coverage = track.coverage()
    assert coverage.repaired_ranges == [(2, 5)]
    assert coverage.missing_ranges == [Missing(6, 8, "not_repaired")]


def test_a_stream_without_ids_counts_what_it_delivered(arbiter: Arbiter) -> None:
    offer(arbiter, quote(1, 0), quote(1, 0), quote(5, 1))
    coverage = arbiter.track("v", BOOK).coverage()
    assert (coverage.venue, coverage.stream) == ("v", BOOK)
    assert (coverage.live, coverage.duplicates, coverage.missing) == (2, 1, 0)


# -- klines -------------------------------------------------------------------------------------


def minute(number: int, second: float, *, closed: bool = False) -> Event:
    """An update of a minute's bar, so many seconds into it."""
    return bar(number * MINUTE, int((number * 60 + second) * 1000), closed=closed)


def test_updates_flow_and_bars_follow_each_other(arbiter: Arbiter) -> None:
    items = offer(
        arbiter, minute(0, 2), minute(0, 4), minute(0, 60, closed=True), minute(1, 2), minute(1, 2)
    )
    assert bars_told(items) == ["0.", "0.", 0, "1."]
    assert arbiter.track("v", MINUTES).duplicates == 1


def test_a_bar_whose_close_did_not_come_holds_the_next_ones(arbiter: Arbiter) -> None:
    assert bars_told(offer(arbiter, minute(0, 2), minute(1, 2), minute(1, 4))) == ["0."]
    track = arbiter.track("v", MINUTES)
    assert track.gap == (0, MINUTE - 1)
    # The other line brings it.
    assert bars_told(offer(arbiter, minute(0, 60, closed=True))) == [0, "1.", "1."]
    assert track.gap is None


def test_a_close_that_is_stamped_late_does_not_turn_back_the_clock(arbiter: Arbiter) -> None:
    offer(arbiter, minute(0, 2), minute(1, 2))
    items = offer(arbiter, minute(0, 63, closed=True))
    assert bars_told(items) == [0, "1."]
    track = arbiter.track("v", MINUTES)
    assert track.next == 63_001
    assert bars_told(offer(arbiter, minute(1, 2), minute(1, 4))) == ["1."]


def test_late_messages_of_a_closed_bar_are_dropped(arbiter: Arbiter) -> None:
    """Even if they are stamped later: a bar closes once."""
    offer(arbiter, minute(0, 2), minute(0, 60, closed=True))
    assert offer(arbiter, minute(0, 60.5, closed=True), minute(0, 61)) == []
    assert bars_told(offer(arbiter, minute(1, 2))) == ["1."]
    assert arbiter.track("v", MINUTES).gap is None


def test_a_bar_that_was_repaired_is_not_delivered_again(arbiter: Arbiter) -> None:
    offer(arbiter, minute(0, 2), minute(3, 2))
    track = arbiter.track("v", MINUTES)
    out: list[Item] = []
    track.repair(bar(0, MINUTE, closed=True, origin="backfill"), out)
    out += offer(arbiter, minute(0, 60, closed=True), minute(0, 61), minute(1, 60, closed=True))
    assert bars_told(out) == [0, 1]
    assert track.gap == (2 * MINUTE, 3 * MINUTE - 1)


def test_bars_that_a_repair_skips_are_missing_at_the_venue(arbiter: Arbiter) -> None:
    offer(arbiter, minute(0, 2), minute(4, 2))
    out: list[Item] = []
    track = arbiter.track("v", MINUTES)
    track.repair(bar(2 * MINUTE, 3 * MINUTE, closed=True, origin="backfill"), out)
    assert bars_told(out) == [(0, 1, "venue_missing"), 2]
    track.abandon("not_repaired", out)
    assert bars_told(out)[2:] == [(3, 3, "not_repaired"), "4."]
    coverage = track.coverage()
    assert (coverage.repaired, coverage.missing) == (1, 3)


@pytest.mark.parametrize(
    "event",
    [
        bar(MINUTE, 2 * MINUTE, closed=False, origin="backfill"),
        bar(MINUTE, 2 * MINUTE, closed=True, stream="btcusdt@kline_1h", origin="backfill"),
        bar(4 * MINUTE, 5 * MINUTE, closed=True, origin="backfill"),
    ],
    ids=["still open", "of another series", "behind the gap"],
)
def test_a_repair_takes_only_closed_bars_of_the_series(arbiter: Arbiter, event: Event) -> None:
    offer(arbiter, minute(1, 2), minute(4, 2))
    out: list[Item] = []
    arbiter.track("v", MINUTES).repair(event, out)
    assert out == []


def test_a_restart_begins_with_the_bar_that_was_open(arbiter: Arbiter) -> None:
    track = arbiter.track("v", MINUTES)
    track.resume(5 * MINUTE, 100)
    assert bars_told(offer(arbiter, minute(4, 60, closed=True), minute(7, 2))) == []
    assert track.gap == (5 * MINUTE, 7 * MINUTE - 1)
    assert track.position == 5 * MINUTE


def test_a_restart_goes_back_so_many_bars(arbiter: Arbiter) -> None:
    track = arbiter.track("v", MINUTES)
    track.resume(0, 3)
    assert bars_told(offer(arbiter, minute(10, 2))) == [(0, 6, "resume_limit")]
    assert track.gap == (7 * MINUTE, 10 * MINUTE - 1)


def test_a_restart_leaves_out_no_bar_before_one_off_the_grid(arbiter: Arbiter) -> None:
    track = arbiter.track("v", MINUTES)
    track.resume(0, 3)
    late = 10 * MINUTE + MINUTE // 2
    items = offer(arbiter, bar(late, late + 5), bar(late, late + 7))
    assert bars_told(items) == [(0, 6, "resume_limit")]
    assert track.gap == (7 * MINUTE, late - 1)


def test_a_restart_goes_back_so_many_months(arbiter: Arbiter) -> None:
    stream = "btcusdt@kline_1M"
    months = [utc(2025, 11, 1), utc(2025, 12, 1), utc(2026, 1, 1), utc(2026, 2, 1), utc(2026, 3, 1)]
    track = arbiter.track("v", stream)
    track.resume(months[0], 2)
    items = offer(arbiter, bar(months[4], months[4] + 5, stream=stream))
    assert [(item.first, item.last) for item in items if isinstance(item, Gap)] == [
        (months[0], months[1])
    ]
    assert track.gap == (months[2], months[4] - 1)
    closes = [
        bar(month, after, closed=True, stream=stream, origin="backfill")
        for month, after in itertools.pairwise(months[2:])
    ]
    out: list[Item] = []
    for close in closes:
        track.repair(close, out)
    assert out[:2] == closes
    assert track.gap is None


def test_a_leap_in_time_is_declared_and_not_fetched(arbiter: Arbiter) -> None:
    far = 2**62 // MINUTE
    items = offer(arbiter, minute(0, 60, closed=True), bar(far * MINUTE, far * MINUTE))
    assert bars_told(items) == [0, (1, far - 1, "jump"), f"{far}."]


def test_an_interruption_of_klines_is_told(arbiter: Arbiter) -> None:
    offer(arbiter, minute(0, 2))
    arbiter.interrupt("v", [MINUTES])
    assert bars_told(offer(arbiter, minute(0, 9))) == ["outage", "0."]


def utc(*date: int) -> int:
    return int(dt.datetime(*date, tzinfo=dt.UTC).timestamp() * 1000)  # type: ignore[arg-type,misc]


@pytest.mark.parametrize(
    ("stream", "opens"),
    [
        ("btcusdt@kline_1M", [utc(2026, 1, 1), utc(2026, 2, 1), utc(2026, 3, 1), utc(2026, 4, 1)]),
        ("btcusdt@kline_1M", [utc(2027, 11, 1), utc(2027, 12, 1), utc(2028, 1, 1)]),
        (
            "btcusdt@kline_1M@+08:00",
            [utc(2026, 1, 31, 16), utc(2026, 2, 28, 16), utc(2026, 3, 31, 16)],
        ),
        ("btcusdt@kline_1d@+08:00", [utc(2026, 1, 31, 16), utc(2026, 2, 1, 16)]),
        ("btcusdt@kline_1w", [utc(2026, 1, 5), utc(2026, 1, 12), utc(2026, 1, 19)]),
        ("btcusdt@kline_1s", [1000, 2000, 3000]),
    ],
)
def test_bars_step_by_their_interval(arbiter: Arbiter, stream: str, opens: list[int]) -> None:
    closes = [
        bar(start, end, closed=True, stream=stream)
        for start, end in zip(opens, [*opens[1:], opens[-1] + 1], strict=True)
    ]
    items = offer(arbiter, *closes)
    assert items == closes
    assert arbiter.track("v", stream).gap is None


def test_missing_months_are_counted_as_months(arbiter: Arbiter) -> None:
    stream = "btcusdt@kline_1M@+08:00"
    start, end = utc(2025, 10, 31, 16), utc(2026, 3, 31, 16)
    offer(arbiter, bar(start, start + 5, stream=stream), bar(end, end + 5, stream=stream))
    track = arbiter.track("v", stream)
    out: list[Item] = []
    track.abandon("not_repaired", out)
    assert track.ledger.missing == 5
    gap, event = out
    assert (gap.first, gap.last) == (start, utc(2026, 2, 28, 16))
    assert event.data.bar.open_time == end


@pytest.mark.parametrize("interval", ["1M", "1s", "1d"])
def test_a_nonsensical_time_does_not_stop_the_stream(arbiter: Arbiter, interval: str) -> None:
    stream = f"btcusdt@kline_{interval}"
    offer(arbiter, bar(0, 5, stream=stream))
    for time in (2**63 - 1, -(2**63), 2**62):
        offer(arbiter, bar(time, 2**62 + time % 7, stream=stream))
    track = arbiter.track("v", stream)
    for _ in range(5):
        track.abandon("not_repaired", [])
    assert track.gap is None


@settings(max_examples=3 * EXAMPLES, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 8), st.integers(0, 59), st.booleans()), max_size=40),
    st.lists(st.tuples(st.integers(0, 40), st.integers(0, 8)), max_size=8),
)
def test_every_bar_closes_once_or_is_declared(
    updates: list[tuple[int, int, bool]], repairs: list[tuple[int, int]]
) -> None:
    """Any order of updates, closes and repairs: bars never go back, each ends exactly once."""
    track = KlineTrack("v", parse_stream(MINUTES), Shared(5, Memory(), Clock(), MS))
    out: list[Item] = []
    for at, (number, second, closed) in enumerate(updates):
        track.offer(minute(number, 60 if closed else second, closed=closed), 0.0, out)
        for when, repaired in repairs:
            if when == at:
                closing = bar(repaired * MINUTE, (repaired + 1) * MINUTE, closed=True)
                track.repair(closing, out)
        assert len(track.held) <= 5
    while track.held:
        track.abandon("not_repaired", out)
    ended: list[int] = []
    latest = (-1, -1)
    for item in out:
        if isinstance(item, Gap):
            ended += range(item.first, item.last + 1, MINUTE)
            continue
        assert isinstance(item, Event)
        now = (item.data.bar.open_time, item.data.event_time)
        assert now > latest
        latest = now
        assert item.data.bar.open_time not in ended
        if item.data.bar.closed:
            ended.append(item.data.bar.open_time)
    assert ended == [ended[0] + n * MINUTE for n in range(len(ended))] if ended else True


def test_reprs_say_where_a_track_is(arbiter: Arbiter) -> None:
    offer(arbiter, trade(1), trade(4))
    track = arbiter.track("v", TRADES)
    assert isinstance(track, Track)
    assert repr(track) == "<Track v btcusdt@trade next=2 held=1>"


@settings(max_examples=5 * EXAMPLES)
@given(st.data())
def test_a_batch_is_decided_as_its_messages_would_be_one_by_one(data: st.DataObject) -> None:
    """Whole runs are followed at once; that may change nothing but the time it takes."""
    batches: list[tuple[bool, list[Event]]] = []
    trade_id, update_id, open_time, at = 1, 1, MINUTE, 0
    for _ in range(data.draw(st.integers(2, 6))):
        batch: list[Event] = []
        # Now and then a batch in which nothing happens, so that the whole of it is a run.
        steps = data.draw(st.sampled_from([[1], [1] * 8 + [-3, -1, 0, 3]]))
        kinds = data.draw(st.sampled_from(["t", "d", "q", "k", "tq", "tk", "qk", "tdqk"]))
        for kind in data.draw(st.lists(st.sampled_from(kinds), min_size=1, max_size=16)):
            at += 1
            step = data.draw(st.sampled_from(steps))
            if kind == "t":
                trade_id = max(1, trade_id + step)
                batch.append(trade(trade_id, at=at))
            elif kind == "d":
                last = update_id + data.draw(st.integers(0, 3))
                batch.append(diff(update_id, last, at=at))
                update_id = max(1, last + step)
            elif kind == "k":
                closed = data.draw(st.sampled_from([False] * 5 + [True]))
                batch.append(bar(open_time, at + step - 1, closed=closed))
                open_time = max(MINUTE, open_time + MINUTE * (step if closed or step > 1 else 0))
            else:
                batch.append(quote(max(1, at + step), float(at)))
        batch = [structs.replace(event, received=float(at)) for event in batch]  # of one read
        batches.append((data.draw(st.sampled_from([False] * 4 + [True])), batch))
    whole, single = Arbiter(1000), Arbiter(1000)
    if limit := data.draw(st.sampled_from([0, 2, 1000])):  # after a restart
        for arbiter in (whole, single):
            arbiter.track("v", TRADES).resume(0, limit)
            arbiter.track("v", MINUTES).resume(MINUTE, 1000)
    for now, (interrupted, batch) in enumerate(batches):
        for arbiter in (whole, single):
            if interrupted:
                arbiter.interrupt("v", {TRADES, DEPTH, BOOK, MINUTES})
        decision = whole.offer("v", batch, float(now))
        each = [single.offer("v", [event], float(now)) for event in batch]
        assert decision.items == [item for one in each for item in one.items]
        assert decision.duplicates == sum(one.duplicates for one in each)
        assert whole.more_told == single.more_told
        assert whole.more_told or all(isinstance(item, Event) for item in decision.items)
        whole.more_told = single.more_told = False
    assert [t.coverage() for t in whole.tracks] == [t.coverage() for t in single.tracks]
    for name in (
        "received", "seen_at", "began_at", "next", "position", "delivered_at", "delivered_time",
        "interrupted",
    ):  # fmt: skip
        ours = [getattr(track, name) for track in whole.tracks]
        assert ours == [getattr(track, name) for track in single.tracks], name
    assert whole.gap_opened == single.gap_opened


def test_a_whole_batch_that_fills_a_gap_releases_what_was_held(arbiter: Arbiter) -> None:
    assert told(offer(arbiter, trade(1), trade(6))) == [1]
    assert told(offer(arbiter, *map(trade, (2, 3, 4, 5)))) == [2, 3, 4, 5, 6]


def test_a_whole_batch_of_updates_that_closes_its_bar_opens_the_next_one(arbiter: Arbiter) -> None:
    updates = [bar(0, at) for at in (2, 3, 4)]
    offer(arbiter, bar(0, 1))
    assert offer(arbiter, *updates, bar(0, 5, closed=True)) == [*updates, bar(0, 5, closed=True)]
    following = bar(MINUTE, MINUTE + 6)
    assert offer(arbiter, following) == [following]


def test_what_comes_late_after_a_whole_batch_of_updates_is_dropped(arbiter: Arbiter) -> None:
    updates = [bar(0, at) for at in (2, 3, 4, 5)]
    offer(arbiter, bar(0, 1))
    assert offer(arbiter, *updates) == updates
    assert offer(arbiter, bar(0, 4)) == []
    assert arbiter.track("v", MINUTES).duplicates == 1
