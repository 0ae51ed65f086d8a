"""What an output has already is not given to it twice."""

from __future__ import annotations

import datetime as dt

from msgspec import structs
from numbered import AGGS, MINUTE, MINUTES, NOW_MS, NOW_S, TRADES, agg, bar, trade

from k2trio.continuity.ahead import Ahead
from k2trio.continuity.items import Gap, Outage, VenueChanged
from k2trio.continuity.positions import Position, positions_after
from k2trio.market.payloads import Bar, BookTicker, Event, Kline
from k2trio.market.units import US

BOOK = "btcusdt@bookTicker"


def quote(number: int, at: float) -> Event:
    return Event(BookTicker(number, "BTCUSDT", "1", "1", "2", "1"), BOOK, "v", at, b"")


def ahead_of(*items: Event | Gap) -> Ahead:
    return Ahead(positions_after(items))


def test_messages_up_to_the_position_are_left_out_and_later_ones_are_not_looked_at() -> None:
    ahead = ahead_of(trade(7, 7))
    assert ahead.rest([trade(6, 6), trade(7, 7)]) == []
    assert ahead
    assert ahead.rest([trade(7, 7), trade(8, 8)]) == [trade(8, 8)]
    assert not ahead
    assert ahead.rest([trade(3, 9)]) == [trade(3, 9)], "its ids began anew"


def test_other_streams_and_venues_are_not_concerned() -> None:
    ahead = ahead_of(trade(7, 7))
    elsewhere = structs.replace(trade(3, 3), venue="w")
    assert ahead.rest([elsewhere, quote(1, 1.0)]) == [elsewhere, quote(1, 1.0)]


def test_of_a_gap_the_part_is_left_that_is_new() -> None:
    ahead = ahead_of(trade(7, 7))
    old, half = Gap("v", TRADES, 2, 7, "jump"), Gap("v", TRADES, 5, 9, "jump")
    assert ahead.rest([old, half, trade(10, 10)]) == [
        Gap("v", TRADES, 8, 9, "jump"),
        trade(10, 10),
    ]


def test_a_new_numbering_is_all_new() -> None:
    ahead = ahead_of(trade(1000, 7))
    reset = Gap("v", TRADES, 1001, 1001, "reset")
    assert ahead.rest([trade(999, 6), reset, trade(1, 8)]) == [reset, trade(1, 8)]
    early = Gap("v", TRADES, 900, 900, "reset")
    assert ahead_of(trade(1000, 7)).rest([early, trade(1, 8)]) == [early, trade(1, 8)]


def test_updates_of_a_bar_are_told_apart_by_their_time() -> None:
    ahead = ahead_of(bar(1, 65))
    assert ahead.rest([bar(1, 64), bar(1, 65), bar(1, 66)]) == [bar(1, 66)]


def test_gaps_of_bars_go_on_with_the_bar_that_is_open() -> None:
    ahead = ahead_of(bar(1, 120, closed=True))  # the third minute's bar is open
    gap = Gap("v", MINUTES, NOW_MS + MINUTE, NOW_MS + 3 * MINUTE, "jump")
    assert ahead.rest([gap]) == [structs.replace(gap, first=NOW_MS + 2 * MINUTE)]


def test_outages_and_changes_are_left_out_with_the_messages_that_they_are_of() -> None:
    ahead = ahead_of(quote(5, 10.0))
    told, new = Outage("v", BOOK, 1.0, 10.0), Outage("v", BOOK, 10.0, 12.0)
    changed = VenueChanged("v", BOOK, "w", 1.0, 9.0)
    assert ahead.rest([told, changed, quote(5, 10.0)]) == []
    assert ahead.rest([new, quote(6, 12.0)]) == [new, quote(6, 12.0)]


def test_what_is_left_out_of_one_stream_takes_nothing_with_it_of_others() -> None:
    ahead = ahead_of(quote(5, 10.0))
    other, outage = trade(1, 1), Outage("v", BOOK, 10.0, 12.0)
    changed = VenueChanged("v", BOOK, "w", 9.0, 12.0)
    assert ahead.rest([other, changed, outage, quote(6, 12.0)]) == [
        other,
        changed,
        outage,
        quote(6, 12.0),
    ]


def test_an_outage_that_goes_on_behind_the_position_is_told() -> None:
    ahead = ahead_of(quote(5, 10.0))
    outage = Outage("v", BOOK, 1.0, 11.0)
    assert ahead.rest([outage, quote(6, 11.0)]) == [outage, quote(6, 11.0)]


def test_an_outage_is_told_where_nobody_knows_when_the_position_was_reached() -> None:
    ahead = Ahead({("v", BOOK): Position("v", BOOK, 5)})
    outage = Outage("v", BOOK, 1.0, 2.0)
    assert ahead.rest([outage, quote(6, 11.0)]) == [outage, quote(6, 11.0)]


def test_an_outage_of_a_kind_with_a_history_waits_for_the_message_that_it_is_of() -> None:
    """Where ids began anew; what is repaired before that message may be there already."""
    outage = Outage("v", TRADES, NOW_S + 7, NOW_S + 99)
    assert ahead_of(trade(7, 7)).rest([outage, trade(7, 7), trade(8, 8)]) == [trade(8, 8)]
    assert ahead_of(trade(7, 7)).rest([outage, trade(8, 8)]) == [outage, trade(8, 8)]


def test_an_outage_is_told_though_the_clock_was_set_back() -> None:
    ahead = ahead_of(quote(5, 10.0))
    outage = Outage("v", BOOK, 10.0, 2.0)
    assert ahead.rest([outage, quote(6, 2.0)]) == [outage, quote(6, 2.0)]


def test_an_outage_of_a_kind_without_gaps_may_hide_a_new_numbering() -> None:
    ahead = ahead_of(quote(1_000_000, 10.0))
    outage = Outage("v", BOOK, 10.0, 20.0)
    assert ahead.rest([outage, quote(6, 20.0), quote(7, 21.0)]) == [
        outage,
        quote(6, 20.0),
        quote(7, 21.0),
    ]


def test_behind_a_gap_the_updates_of_the_open_bar_are_new() -> None:
    ahead = ahead_of(Gap("v", MINUTES, NOW_MS, NOW_MS, "jump"))
    assert ahead.rest([bar(0, 59), bar(0, 60, closed=True), bar(1, 62)]) == [bar(1, 62)]


def test_a_position_without_a_time_counts_by_its_id() -> None:
    ahead = Ahead({("v", MINUTES): Position("v", MINUTES, NOW_MS + MINUTE)})
    assert ahead.rest([bar(0, 60, closed=True), bar(1, 120, closed=True)]) == [
        bar(1, 120, closed=True)
    ]


def test_of_two_aggregates_of_one_id_the_second_is_new() -> None:
    first, second = agg(6, 52, 52, 2), agg(6, 53, 53, 2)
    assert ahead_of(first).rest([first, second]) == [second]
    first, second = agg(1, 0, 0), agg(1, 1, 1)
    assert ahead_of(first).rest([first, second]) == [second], "trades are numbered from 0 on"


def test_where_the_trades_are_not_known_aggregates_are_told_apart_by_their_ids() -> None:
    ahead = Ahead({("v", AGGS): Position("v", AGGS, 6)})
    assert ahead.rest([agg(6, 53, 53, 2), agg(7, 54, 54, 3)]) == [agg(7, 54, 54, 3)]


def test_of_a_gap_of_bars_the_part_is_left_in_the_unit_of_the_run() -> None:
    there = Position("v", MINUTES, (NOW_MS + 2 * MINUTE) * 1000)
    old = Gap("v", MINUTES, NOW_MS * 1000, (NOW_MS + MINUTE) * 1000, "jump")
    new = structs.replace(old, last=(NOW_MS + 2 * MINUTE) * 1000)
    assert Ahead({("v", MINUTES): there}, US).rest([old]) == []
    assert Ahead({("v", MINUTES): there}, US).rest([new]) == [
        structs.replace(new, first=there.position)
    ]


def test_months_are_left_in_the_unit_of_the_run() -> None:
    stream = "btcusdt@kline_1M"
    january, february, march = (
        int(dt.datetime(2027, month, 1, tzinfo=dt.UTC).timestamp()) * 1_000_000
        for month in (1, 2, 3)
    )
    there = {("v", stream): Position("v", stream, february)}
    gap = Gap("v", stream, january, february, "jump")
    assert Ahead(there, US).rest([gap]) == [structs.replace(gap, first=february)]

    def close(opens: int, ends: int) -> Event:
        inner = Bar(opens, ends - 1, "BTCUSDT", "1M", *"11111", 1, True, "1")
        return Event(Kline(ends, "BTCUSDT", inner), stream, "v", ends / 1e6, b"")

    old, new = close(january, february), close(february, march)
    assert Ahead(there, US).rest([old, new]) == [new]
