"""Audits: a book is compared wherever something else speaks of the same update."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from booked import PARTIAL, STREAM, TICKER, diff, partial, snapshot, ticker

from k2trio.book.books import Books
from k2trio.book.order_book import BookState
from k2trio.continuity.items import Gap, VenueChanged
from k2trio.market.payloads import Event, Level, Trade

if TYPE_CHECKING:
    from k2trio.book.audit import Verdict

START = snapshot(10, {"99": "1", "98": "2"}, {"101": "4", "102": "5"})


class Bench:
    def __init__(self, *streams: str) -> None:
        self.verdicts: list[Verdict] = []
        self.books = Books(streams or (STREAM, TICKER, PARTIAL), self.verdicts.append)

    def apply(self, *items: Any) -> None:
        for item in items:
            self.books.apply(item)

    @property
    def told(self) -> list[tuple[str, int, bool]]:
        return [(one.witness, one.update_id, one.equal) for one in self.verdicts]

    @property
    def state(self) -> BookState:
        return self.books["btcusdt"].state


def test_a_ticker_is_compared_at_its_own_update_whichever_comes_first() -> None:
    bench = Bench()
    bench.apply(START, ticker(10, ("99.0", "1.00"), ("101", "4")))
    bench.apply(ticker(11, ("98", "2"), ("101", "4")), ticker(12, ("98", "3"), ("101", "4")))
    bench.apply(diff(11, 12, {"99": "0", "98": "3"}, {}))
    bench.apply(ticker(11, ("98", "2"), ("101", "4")))  # of an update in the middle of a message
    assert bench.told == [("ticker", 10, True), ("ticker", 12, True)]
    assert bench.state is BookState.LIVE


def test_a_ticker_that_differs_leaves_the_book_unproven_and_tells_both() -> None:
    bench = Bench()
    bench.apply(START, ticker(10, ("99", "1"), ("101", "4.5")))
    assert (bench.told, bench.state) == ([("ticker", 10, False)], BookState.UNPROVEN)
    assert str(bench.verdicts[0]) == (
        "btcusdt@depth@100ms at update 10: the book has 4 at 101, the ticker 4.5 at 101"
    )
    assert bench.books["BTCUSDT"].problem == str(bench.verdicts[0])


@pytest.mark.parametrize(
    ("bids", "equal"), [({"99": "1", "98": "2"}, True), ({"99": "1", "97": "2"}, False)]
)
def test_partial_depth_is_compared_level_by_level(bids: dict[str, str], equal: bool) -> None:
    bench = Bench()
    bench.apply(START, partial(10, bids, {"101": "4", "102": "5"}))
    assert bench.told == [("partial", 10, equal)]


def test_what_another_venue_says_is_no_testimony() -> None:
    bench = Bench()
    bench.apply(START, ticker(10, ("1", "1"), ("2", "2"), venue="w"))
    assert bench.told == []


@pytest.mark.parametrize(
    "doubt", [Gap("v", STREAM, 11, 11, "jump"), VenueChanged("w", STREAM, "v", 1.0, 2.0)]
)
def test_what_was_heard_before_a_doubt_does_not_count_after_it(doubt: Any) -> None:
    bench = Bench()
    bench.apply(START, ticker(12, ("1", "1"), ("2", "2")), doubt)
    bench.apply(snapshot(11, {"99": "1"}, {"101": "4"}), diff(12, 12, {}, {"102": "1"}))
    assert (bench.told, bench.state) == ([], BookState.LIVE)


def second(last: int, bids: dict[str, str]) -> Event[Any]:
    return snapshot(last, bids, {"101": "4", "102": "5"})


@pytest.mark.parametrize("equal", [True, False])
@pytest.mark.parametrize("last", [10, 11, 12, 13, 14])
def test_a_second_snapshot_and_the_updates_after_it_give_the_same_book(
    last: int, equal: bool
) -> None:
    """It may be of an update within a message, and older or newer than what has come."""
    bench = Bench(STREAM)
    bench.apply(START)
    audit = bench.books.audit("btcusdt")
    assert audit is not None
    audit.expect()
    bench.apply(diff(11, 12, {"98": "3"}, {}))
    quantity = {12: "3", 13: "3", 14: "4"}.get(last, "2")
    bench.books.answer(second(last, {"99": "1" if equal else "7", "98": quantity, "97": "9"}))
    if last > 12:
        assert bench.told == []
        bench.apply(diff(13, 14, {"98": "4"}, {}))
    (verdict,) = bench.verdicts
    assert (verdict.witness, verdict.equal) == ("snapshot", equal)
    if not equal:
        assert (verdict.ours, verdict.theirs) == (Level("99", "1"), Level("99", "7"))
        assert bench.state is BookState.UNPROVEN


def test_a_second_snapshot_that_is_too_old_says_nothing() -> None:
    bench = Bench(STREAM)
    bench.apply(START)
    audit = bench.books.audit("btcusdt")
    assert audit is not None
    audit.expect()
    bench.books.answer(second(9, {"1": "1"}))
    bench.apply(diff(11, 12, {}, {}))
    assert bench.told == []


def test_a_book_is_made_of_the_stream_that_says_most() -> None:
    streams = [TICKER, "btcusdt@depth5", "btcusdt@depth20", "ethusdt@bookTicker", "ethusdt@trade"]
    books = Books([*streams, "bnbusdt@trade"])
    assert [book.stream for book in books.all] == ["btcusdt@depth20", "ethusdt@bookTicker"]
    assert "BNBUSDT" not in books
    assert Books([*streams, STREAM])["btcusdt"].stream == STREAM


def test_each_item_comes_with_the_book_of_its_symbol() -> None:
    books = Books([STREAM, "btcusdt@trade", "ethusdt@trade"])
    trades = [
        Event(Trade(1, "X", 1, "1", "1", 1, True), f"{symbol}@trade", "v", 1.0, b"")
        for symbol in ("btcusdt", "ethusdt")
    ]
    assert books.apply(START) is books["btcusdt"]
    assert [books.apply(trade) for trade in trades] == [books["btcusdt"], None]


def test_partial_depth_is_compared_as_deep_as_the_book_is_known() -> None:
    bench = Bench()
    bench.apply(START, partial(10, {"99": "1", "98": "2", "97": "3"}, {"101": "4", "102": "5"}))
    assert bench.told == [("partial", 10, True)]


def test_a_side_that_is_empty_has_quantity_zero_in_the_ticker() -> None:
    bench = Bench()
    bench.apply(snapshot(10, {}, {"101": "4"}), ticker(10, ("0.00", "0.00"), ("101", "4")))
    assert bench.told == [("ticker", 10, True)]


def at(event: Event[Any], received_s: float) -> Event[Any]:
    return msgspec.structs.replace(event, received=received_s)


def test_a_book_whose_updates_stay_out_while_its_ticker_goes_on_is_not_live() -> None:
    bench = Bench()
    bench.apply(START)
    bench.apply(at(ticker(12, ("98", "2"), ("101", "4")), 100.0))
    bench.apply(at(ticker(15, ("98", "2"), ("101", "4")), 109.0))
    assert bench.state is BookState.LIVE
    bench.apply(at(ticker(17, ("98", "2"), ("101", "4")), 111.0))
    assert bench.state is BookState.UNPROVEN
    assert bench.books["btcusdt"].problem == "no update for 11 s, and btcusdt@bookTicker goes on"


def test_a_stream_that_comes_later_makes_the_book_when_it_can() -> None:
    """What a reader sees is not emptied for it."""
    bench = Bench(TICKER)
    bench.apply(ticker(9, ("99", "1"), ("101", "4")))
    bench.apply(diff(9, 10, {}, {}))
    assert bench.books["btcusdt"].stream == TICKER
    bench.apply(START)
    assert (bench.books["btcusdt"].stream, bench.state) == (STREAM, BookState.LIVE)
    bench.apply(ticker(10, ("99", "1"), ("101", "4")))
    assert bench.told == [("ticker", 10, True)]


def test_where_no_snapshots_come_the_ticker_makes_the_book() -> None:
    books = Books([STREAM, TICKER], depth=False)
    assert [book.stream for book in books.all] == [TICKER]


def test_a_gap_of_a_venue_that_was_left_is_nothing_to_the_book() -> None:
    bench = Bench()
    bench.apply(START, Gap("w", STREAM, 1, 2, "not_repaired"))
    assert bench.state is BookState.LIVE


# -- streams that come and go ----------------------------------------------------------------------


def test_a_book_whose_stream_comes_no_more_is_unproven_and_another_one_goes_on() -> None:
    bench = Bench(STREAM, TICKER, PARTIAL)
    bench.apply(START, ticker(10, ("99", "1"), ("101", "4")))
    first = bench.books["btcusdt"]
    bench.books.carry([TICKER, PARTIAL])
    assert (first.state, first.problem) == (
        BookState.UNPROVEN,
        "its stream is not subscribed any more",
    )
    assert bench.books["btcusdt"] is first
    bench.apply(diff(11, 12, {}, {}))  # it was on its way
    assert first.last_update_id == 12
    bench.apply(ticker(13, ("99", "1"), ("101", "4")))
    assert bench.books["btcusdt"] is first
    bench.apply(partial(14, {"98": "1"}, {"101": "4"}))
    assert bench.books["btcusdt"].stream == PARTIAL
    assert (bench.state, first.state) == (BookState.LIVE, BookState.UNPROVEN)
    assert bench.books.audit("btcusdt") is None
    bench.books.carry([TICKER])
    bench.apply(ticker(15, ("98", "1"), ("101", "4")))
    assert (bench.books["btcusdt"].stream, bench.state) == (TICKER, BookState.LIVE)


def test_a_book_whose_stream_comes_again_goes_on_where_it_was() -> None:
    bench = Bench(STREAM)
    bench.apply(START)
    bench.books.carry([])
    assert bench.state is BookState.UNPROVEN
    bench.books.carry([STREAM])
    assert bench.state is BookState.LIVE
    bench.apply(diff(12, 13, {}, {}))
    assert bench.books["btcusdt"].problem == "updates 11 to 11 are missing"


def test_a_second_snapshot_is_ignored_once_the_book_is_made_of_another_stream() -> None:
    bench = Bench(STREAM, TICKER)
    bench.apply(START)
    audit = bench.books.audit("btcusdt")
    assert audit is not None
    audit.expect()
    bench.books.carry([TICKER])
    bench.apply(ticker(11, ("98", "2"), ("101", "4")))
    bench.books.answer(second(11, {"98": "7"}))
    assert bench.told == []
    assert bench.state is BookState.LIVE
