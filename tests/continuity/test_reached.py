"""How far streams are in what was written, from where a state file says that they were."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import pytest
from recording import (
    AGGS,
    BARS,
    DIFFS,
    MINUTE_MS,
    QUOTES,
    START_MS,
    TRADES,
    VENUE,
    aggregate,
    bar,
    diff,
    gap,
    outage,
    quote,
    reset,
    snapshot,
    trade,
    trades,
)

from k2trio.continuity.ahead import Ahead
from k2trio.continuity.positions import Position
from k2trio.continuity.reached import Reached
from k2trio.market.futures_payloads import FuturesDepth
from k2trio.market.payloads import Event
from k2trio.market.units import US

if TYPE_CHECKING:
    from collections.abc import Sequence

    from k2trio.continuity.items import Item


def at(position: int, stream: str = TRADES, time: int | None = None) -> Position:
    return Position(VENUE, stream, position, time)


def made(number: int) -> int:
    """When the trade of a number was made, if it is one a second."""
    return START_MS + 1000 * number


def reached(begin: Position, items: Sequence[Item]) -> int:
    found = Reached({(VENUE, begin.stream): begin})
    found.take(items)
    return found.positions()[VENUE, begin.stream].position


CASES: dict[str, tuple[Position, list[Item], int]] = {
    "nothing": (at(9), [], 9),
    "nothing behind it": (at(9, time=made(9)), [*trades(1, 9)], 9),
    "what follows": (at(9, time=made(9)), [*trades(1, 12)], 12),
    "a file that begins behind it": (at(9, time=made(9)), [*trades(10, 12)], 12),
    "a file that begins later": (at(9, time=made(9)), [*trades(11, 12)], 9),
    "a file that ends before it": (at(9, time=made(9)), [*trades(1, 5)], 9),
    "up to a hole": (at(9, time=made(9)), [*trades(1, 12), *trades(14, 20)], 12),
    "across a gap that was declared": (
        at(9, time=made(9)),
        [*trades(8, 12), gap(13, 15), *trades(16, 17)],
        17,
    ),
    "to a gap at the end": (at(9, time=made(9)), [*trades(8, 12), gap(13, 15)], 15),
    "from a gap": (at(9), [*trades(1, 5), gap(6, 9), *trades(10, 11)], 11),
    "from within a gap": (at(9, time=made(9)), [gap(8, 11), *trades(12, 14)], 14),
    "what an earlier crash doubled": (
        at(9, time=made(9)),
        [*trades(1, 12), *trades(5, 10), *trades(11, 14)],
        14,
    ),
    "from where it was last": (
        at(9, time=made(9)),
        [*trades(1, 9), *trades(40, 50), *trades(9, 10)],
        10,
    ),
    "ids that began anew": (
        at(5000, time=made(1)),
        [trade(4999, 0), trade(5000, 1), trade(5001, 2), reset(5002, 3), trade(1, 3), trade(2, 4)],
        2,
    ),
    "ids that began anew before": (
        at(2, time=made(4)),
        [trade(5000, 1), reset(5001, 3), trade(1, 3), trade(2, 4), trade(3, 5)],
        3,
    ),
    "of two numberings that have its id, the one with its time": (
        at(2, time=made(7)),
        [trade(1, 0), trade(2, 1), trade(3, 2), reset(4, 6), trade(1, 6), trade(2, 7), trade(3, 8)],
        3,
    ),
    "an old numbering that passed its id": (at(9, time=made(99)), [*trades(1, 12)], 9),
    "in the millisecond of the last": (at(9, time=made(9)), [trade(10, 9), trade(11)], 11),
    "ids that began anew right behind it": (
        at(9, time=made(9)),
        [*trades(1, 9), reset(10, 10), trade(1, 11), trade(2, 12)],
        2,
    ),
    "ids that began anew right behind a gap that ends there": (
        at(9, time=made(9)),
        [*trades(1, 5), gap(6, 9), reset(10, 10), trade(1, 11)],
        1,
    ),
    "up to a hole in the numbering that began anew": (
        at(9, time=made(9)),
        [*trades(1, 10), reset(11, 11), trade(1, 11), trade(2, 12), trade(4, 14)],
        2,
    ),
    "up to a hole before ids began anew": (
        at(9, time=made(9)),
        [*trades(8, 12), *trades(14, 15), reset(16, 20), trade(1, 20)],
        12,
    ),
    "updates of books": (
        at(20, DIFFS),
        [diff(11, 20, 1), diff(21, 25, 2), snapshot(23, 2), diff(26, 30, 3)],
        30,
    ),
    "from a snapshot": (
        Position(VENUE, DIFFS, 40, START_MS + 4000),
        [diff(11, 20, 1), gap(21, 40, "snapshot", DIFFS), snapshot(40, 4), diff(41, 44, 5)],
        44,
    ),
    "from a snapshot with nothing before it": (
        Position(VENUE, DIFFS, 40, START_MS + 4000),
        [snapshot(40, 4), diff(41, 44, 5)],
        44,
    ),
    "from a snapshot behind older updates": (
        Position(VENUE, DIFFS, 40, START_MS + 4000),
        [diff(31, 38, 1), snapshot(40, 4), diff(41, 44, 5)],
        44,
    ),
    "from a snapshot to a hole": (
        Position(VENUE, DIFFS, 40, START_MS + 4000),
        [snapshot(40, 4), diff(43, 44, 5)],
        40,
    ),
    "from a snapshot behind newer updates": (
        Position(VENUE, DIFFS, 40, START_MS + 4000),
        [diff(31, 38, 1), diff(39, 41, 2), snapshot(40, 4), diff(42, 44, 5)],
        44,
    ),
    "a snapshot in place of updates": (
        at(20, DIFFS),
        [diff(11, 20, 1), gap(21, 40, "snapshot", DIFFS), snapshot(40, 4), diff(41, 44, 5)],
        44,
    ),
    "a kind that proves nothing": (at(5, QUOTES), [quote(5, 1), quote(6, 2), outage(2, 3)], 5),
}


@pytest.mark.parametrize("name", CASES)
def test_a_stream_is_followed_for_as_long_as_nothing_can_be_missing(name: str) -> None:
    begin, items, end = CASES[name]
    assert reached(begin, items) == end


def minute(number: int) -> int:
    return START_MS + number * MINUTE_MS


BAR_CASES: dict[str, tuple[int, list[Item], int]] = {
    "the open bar alone": (3, [bar(2, 1, "1"), bar(3, 1, "1", closed=False)], 3),
    "its close": (3, [bar(2, 1, "1"), bar(3, 1, "1", closed=False), bar(3, 1, "1")], 4),
    "an update of the next": (3, [bar(3, 1, "1"), bar(4, 1, "1", closed=False)], 4),
    "a close that is missing": (3, [bar(3, 1, "1"), bar(5, 1, "1")], 4),
    "a close that is missing from the first": (3, [bar(4, 1, "1"), bar(5, 1, "1")], 3),
    "a gap": (3, [bar(3, 1, "1"), gap(minute(4), minute(5), stream=BARS), bar(6, 1, "1")], 7),
    "times that began anew": (
        3,
        [bar(3, 1, "1"), reset(minute(4), 300, BARS), bar(4, 1, "1")],
        4,
    ),
}


@pytest.mark.parametrize("name", BAR_CASES)
def test_bars_are_followed_by_their_closes(name: str) -> None:
    begin, items, end = BAR_CASES[name]
    assert reached(at(minute(begin), BARS), items) == minute(end)


def test_what_lies_behind_is_told_from_what_does_not() -> None:
    found = Reached({(VENUE, TRADES): at(9, time=made(9)), (VENUE, QUOTES): at(1, QUOTES)})
    items = [trade(8), trade(9), trade(10), gap(9, 12), snapshot(4, 1), quote(2, 1), diff(1, 2, 1)]
    assert list(map(found.is_beyond, items)) == [False, False, True, True, None, None, None]
    assert found.is_beyond(outage(1, 2, TRADES)) is None
    books = Reached({(VENUE, DIFFS): at(20, DIFFS)})
    updates = [diff(11, 20, 1), snapshot(24, 2), diff(21, 25, 3)]
    assert list(map(books.is_beyond, updates)) == [False, None, True]
    bars = Reached({(VENUE, BARS): at(minute(3), BARS)})
    told = [bar(1, 1, "1"), bar(2, 1, "1"), bar(3, 1, "1", closed=False), bar(3, 1, "1")]
    assert list(map(bars.is_beyond, told)) == [False, None, None, True]


def test_times_of_another_unit_are_not_taken_over() -> None:
    """A run with TIME_UNIT us goes on after one in ms that was killed."""
    begin = {(VENUE, TRADES): at(9, time=made(9) * 1000)}
    found = Reached(begin, US)
    found.take(trades(10, 12))
    assert found.positions() == begin
    late = msgspec.structs.replace(begin[VENUE, TRADES], time=None)
    unknown = Reached({(VENUE, TRADES): late}, US)
    unknown.take(trades(10, 12))
    assert unknown.positions() == {(VENUE, TRADES): late}


def test_the_close_of_a_bar_that_a_repair_brings_is_left_out_where_it_is_there() -> None:
    """Its time is where the bar ends, which may be later than what the exchange said of it."""
    there = Position(VENUE, BARS, minute(4), minute(4) - 5)
    ahead = Ahead({(VENUE, BARS): there})
    assert ahead.rest([bar(3, 1, "1")]) == []
    following = bar(4, 1, "1", closed=False)
    assert ahead.rest([following]) == [following]
    assert not ahead


def in_us(item: Event) -> Event:
    """An update of a book, as a run with TIME_UNIT us has it."""
    data = msgspec.structs.replace(item.data, event_time=item.data.event_time * 1000)
    return msgspec.structs.replace(item, data=data)


def test_a_stream_of_another_unit_keeps_no_other_from_being_followed() -> None:
    begin = {
        (VENUE, TRADES): at(9, time=made(9) * 1000),
        (VENUE, DIFFS): Position(VENUE, DIFFS, 40, (START_MS + 4000) * 1000),
    }
    found = Reached(begin, US)
    found.take([*trades(10, 12), snapshot(40, 4), in_us(diff(41, 44, 5))])
    assert found.positions()[VENUE, TRADES].position == 9
    assert found.positions()[VENUE, DIFFS].position == 44


def test_of_two_aggregates_that_share_an_id_the_second_tells_where_the_stream_is() -> None:
    found = Reached({(VENUE, AGGS): at(5, AGGS)})
    found.take([aggregate(6, 52, 52, 1), aggregate(6, 53, 54, 2)])
    reached = found.positions()[VENUE, AGGS]
    assert (reached.position, reached.time, reached.trade) == (6, START_MS + 2000, 54)


def test_a_snapshot_is_known_again_in_the_unit_of_the_run() -> None:
    begin = Position(VENUE, DIFFS, 40, (START_MS + 4000) * 1000)
    found = Reached({(VENUE, DIFFS): begin}, US)
    before, after = [in_us(diff(31, 38, 1)), in_us(diff(39, 41, 2))], in_us(diff(42, 44, 5))
    found.take([*before, snapshot(40, 4), after])
    assert found.positions()[VENUE, DIFFS].position == 44


def test_a_bar_that_opens_late_is_followed_in_the_unit_of_the_run() -> None:
    bars = Reached({(VENUE, BARS): at(minute(3) * 1000, BARS)}, US)
    close = bar(3, 1, "1")
    begin, end = minute(3) * 1000 + MINUTE_MS * 500, minute(4) * 1000
    inner = msgspec.structs.replace(close.data.bar, open_time=begin, close_time=end - 1)
    data = msgspec.structs.replace(close.data, event_time=end, bar=inner)
    bars.take([msgspec.structs.replace(close, data=data)])
    assert bars.positions()[VENUE, BARS].position == end


def test_a_stream_of_another_unit_leaves_the_others_where_they_are() -> None:
    begin = {(VENUE, TRADES): at(9), (VENUE, BARS): at(minute(3) * 1000, BARS)}
    found = Reached(begin, US)
    found.take([*trades(10, 12), gap(minute(3) * 1000, minute(4) * 1000, stream=BARS)])
    assert found.positions() == {
        (VENUE, TRADES): begin[VENUE, TRADES],
        (VENUE, BARS): at(minute(5) * 1000, BARS),
    }


def test_a_book_of_futures_is_followed_by_the_update_that_each_names() -> None:
    venue, stream = "binance.com-usdm", DIFFS
    begin = Position(venue, stream, 20)
    data = FuturesDepth(START_MS, "BTCUSDT", 30, 35, [], [], START_MS, 20)
    found = Reached({(venue, stream): begin})
    found.take([Event(data, stream, venue, 1.0, b"")])
    assert found.positions()[venue, stream].position == 35


def test_gaps_of_bars_are_reckoned_in_the_unit_of_the_run() -> None:
    bars = Reached({(VENUE, BARS): at(minute(3) * 1000, BARS)}, US)
    before = gap(minute(1) * 1000, minute(2) * 1000, stream=BARS)
    assert bars.is_beyond(before) is None, "it ends where the open bar begins"
    bars.take([gap(minute(3) * 1000, minute(4) * 1000, stream=BARS)])
    assert bars.positions()[VENUE, BARS].position == minute(5) * 1000
