"""Many messages of a stream in one read are taken together, and nothing else is different.

Which messages follow each other is found out, or told by who decoded them; ``tests/compiled``
compares both on what the core tells. Here are the cases that want a look at each message.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import pytest
from msgspec import structs
from numbered import (
    AGGS,
    MINUTE,
    MINUTES,
    NOW_MS,
    TRADES,
    Bench,
    agg,
    average,
    bar,
    diff,
    quote,
    trade,
)

from k2trio.compiled.interface import Run
from k2trio.continuity.arbiter import RUN_MESSAGES
from k2trio.market.kinds import LEAP_IDS
from k2trio.market.payloads import Event

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

AVERAGES, BOOK, QUOTES = "btcusdt@avgPrice", "btcusdt@depth", "btcusdt@bookTicker"


def trades(first: int, last: int) -> list[Event]:
    return [trade(number, number) for number in range(first, last + 1)]


def aggs(first: int, last: int, *, lost: int = 0) -> list[Event]:
    """Aggregates of two trades each, of which some trades before were lost."""
    return [
        agg(number, lost + 2 * number, lost + 2 * number + 1, number)
        for number in range(first, last + 1)
    ]


def diffs(first: int, last: int) -> list[Event]:
    """Updates of a book, of twenty ids each."""
    return [diff(20 * number, 20 * number + 19, number) for number in range(first, last + 1)]


def quotes(first: int, last: int) -> list[Event]:
    return [quote(number, number) for number in range(first, last + 1)]


def run_of(stream: str, events: Sequence[Event]) -> Run:
    """What a decoder tells of the messages of a stream in a batch."""
    payloads = [event.data for event in events if event.stream == stream]
    name = {TRADES: "trade_id", AGGS: "agg_id", QUOTES: "update_id", AVERAGES: "event_time"}
    firsts = [getattr(one, name.get(stream, "first_update_id")) for one in payloads]
    lasts = [getattr(one, name.get(stream, "last_update_id")) for one in payloads]
    steps = [right - left for left, right in zip(lasts, firsts[1:], strict=False)]
    proves = stream in (TRADES, AGGS, BOOK)
    in_order = all(step == 1 if proves else step > 0 for step in steps)
    begin = due = 0
    if stream == AGGS:
        begin, due = payloads[0].first_trade_id, payloads[-1].last_trade_id + 1
        links = itertools.pairwise(payloads)
        in_order &= all(a.last_trade_id + 1 == b.first_trade_id for a, b in links)
    of_last = {QUOTES: "none", TRADES: "trade_time", AGGS: "trade_time"}.get(stream, "event_time")
    time = getattr(payloads[-1], of_last, None)
    return Run(stream, len(firsts), in_order, firsts[0], lasts[-1] + 1, time, begin, due)


def told(bench: Bench, *events: Event) -> None:
    """All events in one read, of which the decoder told what follows what."""
    runs = [run_of(stream, events) for stream in dict.fromkeys(event.stream for event in events)]
    before = sum(track.duplicates for track in bench.arbiter.tracks)
    decision = bench.arbiter.offer("v", events, bench.now, None, runs)
    bench.items += decision.items
    dropped = sum(track.duplicates for track in bench.arbiter.tracks) - before
    assert decision.duplicates == dropped


Case = tuple[list[Event], list[Event], list[Event]]
"""What came before, the batch, and what comes after it."""
CASES: dict[str, Case] = {
    "the next ones": (trades(1, 2), trades(3, 8), trades(9, 9)),
    "the first ones": ([], trades(3, 8), trades(9, 9)),
    "copies": (trades(1, 9), trades(3, 8), trades(10, 10)),
    "copies, and the next ones": (trades(1, 5), trades(3, 8), trades(9, 9)),
    "beyond a gap": (trades(1, 2), trades(4, 9), trades(3, 3)),
    "a gap within": (trades(1, 2), [*trades(3, 5), *trades(7, 9)], trades(6, 6)),
    "behind a gap that is open": ([*trades(1, 2), *trades(4, 4)], trades(5, 9), trades(3, 3)),
    "what the gap lacks": ([*trades(1, 2), *trades(9, 9)], trades(3, 8), trades(10, 10)),
    "out of order": (trades(1, 2), [*trades(4, 8), *trades(3, 3)], trades(9, 9)),
    "one of them absurd": (
        trades(1, 2),
        [*trades(3, 6), trade(2**62, 7), *trades(7, 8)],
        trades(9, 9),
    ),
    "two streams": (
        [*trades(1, 2), *quotes(1, 2)],
        [*trades(3, 6), *quotes(3, 6), *trades(7, 8), *quotes(9, 9)],
        [*trades(9, 9), *quotes(8, 10)],
    ),
    "two streams, of which one has a gap": (
        [*trades(1, 2), *quotes(1, 2)],
        [*trades(4, 7), *quotes(3, 6)],
        [*trades(3, 3), *quotes(6, 7)],
    ),
    "while a suspect waits": (
        [*trades(1, 2), trade(2**62, 2.5)],
        trades(3, 8),
        trades(9, 9),
    ),
    "updates of a book": (diffs(1, 2), diffs(3, 8), diffs(9, 9)),
    "updates of a book, beyond a gap": (diffs(1, 2), diffs(4, 8), diffs(3, 3)),
    "updates of a book, a gap within": (
        diffs(1, 2),
        [*diffs(3, 5), *diffs(7, 9)],
        diffs(6, 6),
    ),
    "updates of a book, copies": (diffs(1, 9), diffs(3, 8), diffs(10, 10)),
    "updates of a book that overlap": (
        diffs(1, 2),
        [*diffs(3, 5), diff(101, 140, 6), *diffs(7, 8)],
        diffs(9, 9),
    ),
    "aggregates": (aggs(1, 2), aggs(3, 8), aggs(9, 9)),
    "aggregates, and trades that are missing behind them": (
        aggs(1, 2),
        aggs(3, 8),
        aggs(9, 9, lost=5),
    ),
    "aggregates that lack trades before": (aggs(1, 2), aggs(3, 8, lost=5), aggs(9, 9, lost=5)),
    "aggregates that lack trades within": (
        aggs(1, 2),
        [*aggs(3, 5), *aggs(6, 8, lost=5)],
        aggs(9, 9, lost=5),
    ),
    "aggregates beyond a gap": (aggs(1, 2), aggs(4, 8), aggs(3, 3)),
    "aggregates of which an id is skipped, and no trade": (
        aggs(1, 2),
        [*aggs(3, 5), *(agg(number + 1, 2 * number, 2 * number + 1, number) for number in (6, 7))],
        [agg(9, 16, 17, 9)],
    ),
    "one aggregate beside trades": (
        [*trades(1, 2), *aggs(1, 2)],
        [*trades(3, 9), *aggs(3, 3)],
        aggs(4, 4),
    ),
    "one aggregate beside trades, and a trade that is missing behind it": (
        [*trades(1, 2), *aggs(1, 2)],
        [*trades(3, 9), *aggs(3, 3)],
        aggs(4, 4, lost=1),
    ),
    "growing keys": (quotes(1, 2), [*quotes(3, 4), *quotes(7, 9)], quotes(10, 10)),
    "growing keys, old ones": (quotes(1, 9), quotes(3, 8), quotes(10, 10)),
    "growing keys, one of them twice": (quotes(1, 2), [*quotes(3, 6), *quotes(6, 7)], quotes(8, 8)),
    "growing keys, a leap": (
        quotes(1, 2),
        [*quotes(3, 6), quote(2**62, 7)],
        quotes(7, 8),
    ),
    "growing keys, a copy before them": (
        quotes(1, 4),
        [*quotes(4, 4), *quotes(6, 9)],
        quotes(10, 10),
    ),
    "two streams, of which one has a single update": (
        [*trades(1, 2), *diffs(1, 2)],
        [*trades(3, 9), *diffs(3, 3)],
        [*diffs(4, 4), *trades(10, 10)],
    ),
    "two streams, of which one has a single key that leaps": (
        [*trades(1, 2), *quotes(2, 2)],
        [*trades(3, 9), quote(3 + LEAP_IDS, 9)],
        quotes(3, 4),
    ),
    "averages": (
        [average(1), average(2)],
        [average(3), average(4), average(5), average(6)],
        [average(6), average(7)],
    ),
    "averages from the future": (
        [average(1), average(2)],
        [average(3), average(4), average(5), average(6, ahead_ms=86_400_000)],
        [average(7)],
    ),
    "bars": (
        [bar(0, 10), bar(0, 20)],
        [bar(0, 30), bar(0, 40), bar(0, 60, closed=True), bar(1, 62)],
        [bar(0, 60, closed=True), bar(1, 64)],
    ),
    # A time is believed at once up to 10 s behind the last one that was looked at.
    "bars, updates of the open one": (
        [bar(0, 10), bar(0, 11)],
        [bar(0, second) for second in (12, 13, 14, 15)],
        [bar(0, 15), bar(0, 14), bar(0, 16)],
    ),
    "bars, an update of the open one twice": (
        [bar(0, 10), bar(0, 11)],
        [bar(0, second) for second in (12, 13, 13, 14)],
        [bar(0, 14), bar(0, 15)],
    ),
    "bars, updates of the open one out of order": (
        [bar(0, 10), bar(0, 11)],
        [bar(0, second) for second in (12, 14, 13, 15)],
        [bar(0, 16)],
    ),
    "bars, an update of the open one from the future": (
        [bar(0, 10), bar(0, 11)],
        [bar(0, 12), bar(0, 13), bar(0, 14), bar(0, 15, ahead_ms=86_400_000)],
        [bar(0, 16)],
    ),
    "bars, updates of one that has just begun": (
        [bar(0, 58), bar(0, 60, closed=True)],
        [bar(1, second) for second in (62, 63, 64, 65)],
        [bar(2, 122), bar(1, 120, closed=True), bar(2, 124)],
    ),
    "bars, the end of one and the begin of the next": (
        [bar(0, 57), bar(0, 58)],
        [bar(0, 59), bar(0, 60, closed=True), bar(1, 61), bar(1, 62)],
        [bar(1, 62), bar(1, 63)],
    ),
    "bars, updates of one that has just begun off the grid": (
        [bar(0, 30, closed=True, end=0.5)],
        [bar(0.5, second, end=1) for second in (31, 32, 33, 34)],
        [bar(1, 62), bar(0.5, 60, closed=True, end=1), bar(1, 64)],
    ),
    "bars, updates of one behind a bar without a close": (
        [bar(0, 57), bar(0, 58)],
        [bar(1, second) for second in (61, 62, 63, 64)],
        [bar(0, 60, closed=True), bar(1, 66)],
    ),
    "bars of which one has no close": (
        [bar(0, 10), bar(0, 20)],
        [bar(0, 30), bar(0, 40), bar(1, 62), bar(1, 64)],
        [bar(0, 60, closed=True), bar(1, 66)],
    ),
}


WAYS = {"found out": Bench.at_once, "told": told}


@pytest.mark.parametrize(
    ("name", "way"),
    # Of bars nothing is told.
    [(name, way) for name in CASES for way in WAYS if way != "told" or "bars" not in name],
)
def test_a_batch_is_decided_as_its_messages_would_be(name: str, way: str) -> None:
    before, batch, after = CASES[name]
    assert len(batch) >= RUN_MESSAGES
    batch = [structs.replace(event, received=batch[-1].received) for event in batch]  # one read
    together, alone = Bench(), Bench()
    for bench in (together, alone):
        bench.offer(*before)
        bench.now = 1.0
    WAYS[way](together, *batch)
    alone.offer(*batch)
    compare(together, alone, {event.stream for event in batch})
    for bench in (together, alone):
        bench.offer(*after)
    compare(together, alone, {event.stream for event in batch})


def compare(together: Bench, alone: Bench, streams: set[str]) -> None:
    for stream in streams:  # between two streams there is no order
        ours, theirs = together.arbiter.track("v", stream), alone.arbiter.track("v", stream)
        assert [item for item in together.items if item.stream == stream] == [
            item for item in alone.items if item.stream == stream
        ]
        assert ours.coverage() == theirs.coverage()
        for name in ("received", "seen_at", "delivered_at", "delivered_time", "said"):
            assert getattr(ours, name) == getattr(theirs, name), name
    assert together.refuted == alone.refuted
    assert together.arbiter.gap_opened == alone.arbiter.gap_opened


def test_of_a_read_of_one_message_is_told_that_it_is_the_next() -> None:
    bench = Bench()
    bench.offer(*trades(1, 2))
    told(bench, *trades(3, 3))
    assert bench.items == trades(1, 3)


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_the_first_batch_after_a_restart_tells_when_the_stream_began(
    way: Callable[..., Any],
) -> None:
    bench = Bench()
    track = bench.arbiter.track("v", TRADES)
    track.resume(2, 100)
    bench.now = 5.0
    way(bench, *trades(3, 8))
    assert bench.items == trades(3, 8)
    assert track.began_at == 5.0


def test_updates_of_a_bar_are_taken_together_though_only_a_copy_came_since_the_restart() -> None:
    bench = Bench()
    bench.arbiter.track("v", MINUTES).resume(NOW_MS + MINUTE, 100)
    assert bench.offer(bar(0, 59)) == []
    updates = [bar(1, second) for second in range(61, 66)]
    assert bench.at_once(*updates) == updates


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_a_batch_after_an_interruption_has_the_outage_before_it(way: Callable[..., Any]) -> None:
    bench = Bench()
    bench.offer(*quotes(1, 2))
    bench.arbiter.leave([QUOTES])
    way(bench, *quotes(3, 8))
    assert [type(item).__name__ for item in bench.items[2:4]] == ["Outage", "Event"]
    assert bench.items[3:] == quotes(3, 8)
