"""The order book: what it takes, what it says, and when it says that it is not sure."""

from __future__ import annotations

from decimal import Decimal
from itertools import pairwise
from typing import Any

import msgspec
import pytest
from booked import STREAM, diff, snapshot
from hypothesis import given, settings
from hypothesis import strategies as st

from k2trio.book.ladder import purely
from k2trio.book.order_book import BookState, OrderBook
from k2trio.continuity.items import Gap, Outage, VenueChanged
from k2trio.errors import ConfigError
from k2trio.market.payloads import BookTicker, Event, Level, PartialDepth, Trade


def partial_of(stream: str, bids: dict[str, str], asks: dict[str, str]) -> Event[Any]:
    data = PartialDepth(1, *([Level(*level) for level in side.items()] for side in (bids, asks)))
    return Event(data, stream, "v", 1.0, b"")


Sides = tuple[dict[str, str], dict[str, str]]


def gap(first: int, last: int) -> Gap:
    return Gap("v", STREAM, first, last, "not_repaired")


def book_of(*items: Any, stream: str = STREAM) -> OrderBook:
    book = OrderBook(stream)
    for item in items:
        book.apply(item)
    return book


def told(book: OrderBook) -> Sides:
    bids, asks = (
        {level.price: level.quantity for level in side} for side in (book.bids(), book.asks())
    )
    return bids, asks


START = snapshot(10, {"99": "1", "98": "2", "97": "3"}, {"101": "4", "102": "5", "103": "6"})


def test_updates_set_levels_and_zero_removes_them() -> None:
    book = book_of(START, diff(11, 12, {"98": "7", "99": "0.00"}, {"100.5": "8", "999": "0"}))
    assert told(book) == (
        {"98": "7", "97": "3"},
        {"100.5": "8", "101": "4", "102": "5", "103": "6"},
    )
    assert (book.state, book.last_update_id, book.event_time) == (BookState.LIVE, 12, 120)


def test_the_first_update_after_a_snapshot_may_reach_back_before_it() -> None:
    book = book_of(START, diff(5, 9, {"1": "1"}, {}), diff(8, 11, {"96": "1"}, {}))
    assert told(book)[0] == {"99": "1", "98": "2", "97": "3", "96": "1"}


def test_nothing_begins_without_a_snapshot() -> None:
    book = book_of(diff(1, 2, {"99": "1"}, {"101": "1"}), gap(3, 4), diff(5, 6, {}, {}))
    assert (book.state, book.best_bid, book.mid, book.imbalance()) == ("empty", None, None, None)


@pytest.mark.parametrize(
    "what",
    [
        gap(11, 12),
        diff(12, 13, {"99": "9"}, {}),
        VenueChanged("w", STREAM, "v", 1.0, 2.0),
        diff(11, 11, {"99": "-1"}, {}),
        diff(11, 11, {"ninety": "1"}, {}),
        diff(11, 11, {"101": "1"}, {}),
    ],
    ids=["gap", "hole", "venue", "negative", "no number", "crossed"],
)
def test_a_book_that_misses_something_says_so_and_keeps_its_levels(what: Any) -> None:
    book = book_of(START, what, diff(13, 14, {"98": "77"}, {}))
    assert book.state is BookState.UNPROVEN
    assert book.problem
    bids = told(book)[0]
    assert (bids["98"], bids["97"]) == ("2", "3")


def test_a_snapshot_heals_at_once_also_with_ids_that_begin_anew() -> None:
    after = snapshot(3, {"50": "1"}, {"51": "1"}, venue="w")
    book = book_of(START, VenueChanged("w", STREAM, "v", 1.0, 2.0), after)
    assert (book.state, book.problem, book.venue) == (BookState.LIVE, None, "w")
    assert told(book) == ({"50": "1"}, {"51": "1"})


def test_a_snapshot_older_than_the_book_does_not_set_it_back() -> None:
    book = book_of(START, diff(11, 15, {"98": "7"}, {}), snapshot(12, {"98": "2"}, {"101": "4"}))
    assert (book.last_update_id, told(book)[0]["98"]) == (15, "7")


def test_an_outage_leaves_a_book_live_since_ids_prove_the_next_update() -> None:
    book = book_of(START, Outage("v", STREAM, 1.0, 2.0), diff(11, 11, {"98": "7"}, {}))
    assert (book.state, told(book)[0]["98"]) == (BookState.LIVE, "7")


def test_items_of_other_streams_are_ignored() -> None:
    trade = Event(Trade(1, "BTCUSDT", 1, "1", "1", 1, True), "btcusdt@trade", "v", 1.0, b"")
    other = Gap("v", "ethusdt@depth@100ms", 1, 2, "jump")
    book = book_of(START, trade, other)
    assert book.state is BookState.LIVE


def test_a_fault_is_counted() -> None:
    book = book_of(START, diff(11, 11, {"105": "1"}, {}))
    assert (book.faults, book.state) == (1, BookState.UNPROVEN)
    assert "crossed by update 11" in str(book.problem)


@pytest.mark.parametrize(
    ("stream", "data"),
    [
        ("btcusdt@depth5", PartialDepth(7, [Level("99", "1")], [Level("101", "2")])),
        ("btcusdt@bookTicker", BookTicker(7, "BTCUSDT", "99", "1", "101", "2")),
    ],
)
def test_partial_depth_and_book_ticker_give_the_same_views(stream: str, data: Any) -> None:
    book = book_of(Event(data, stream, "v", 1.0, b""), stream=stream)
    assert (book.state, book.last_update_id) == (BookState.LIVE, 7)
    assert (book.best_bid, book.best_ask, book.mid) == (Level("99", "1"), Level("101", "2"), 100)
    book.apply(VenueChanged("w", stream, "v", 1.0, 2.0))
    assert book.state is BookState.UNPROVEN
    book.apply(Event(data, stream, "w", 3.0, b""))
    assert (book.state, book.venue) == (BookState.LIVE, "w")


def test_a_stream_without_a_book_is_refused() -> None:
    with pytest.raises(ConfigError, match="btcusdt@trade carries no book; depth"):
        OrderBook("btcusdt@trade")


def test_levels_behind_the_depth_of_the_snapshot_may_have_holes() -> None:
    book = book_of(START, diff(11, 12, {"90": "1"}, {"99.5": "1"}))
    assert (book.known_bids, book.known_asks) == (3, 4)
    assert [level.price for level in book.bids()] == ["99", "98", "97", "90"]
    assert book.sell(Decimal(7)).complete is False
    assert not book.whole


def test_a_side_with_fewer_levels_than_the_other_is_whole() -> None:
    book = book_of(snapshot(1, {"9": "1"}, {"11": "1", "12": "1"}), diff(2, 2, {"1": "1"}, {}))
    assert (book.known_bids, book.whole) == (2, False)
    assert book.sell(Decimal(2)).complete


def test_a_price_that_leaves_what_is_known_leaves_the_book_unproven() -> None:
    gone = dict.fromkeys(["99", "98", "97"], "0")
    book = book_of(START, diff(11, 12, {**gone, "90": "1"}, {}))
    assert (book.state, book.problem) == (
        BookState.UNPROVEN,
        "the price has left the depth that is known",
    )


def test_what_is_computed_is_exact() -> None:
    bids = {"0.30000001": "123456789.00000001", "0.3": "2"}
    book = book_of(snapshot(1, bids, {"0.30000003": "3", "0.4": "10"}))
    assert book.spread == Decimal("0.00000002")
    assert book.mid == Decimal("0.30000002")
    assert book.quantity_at("0.300000010") == Decimal("123456789.00000001")
    assert book.depth_within(Decimal("0.00000001")) == (Decimal("123456789.00000001"), Decimal(3))
    assert book.depth_within(Decimal("0.2"))[1] == 13  # type: ignore[index]
    bought = book.buy(Decimal(5))
    assert (bought.cost, bought.worst, bought.complete) == (
        Decimal("1.70000009"),
        Decimal("0.4"),
        True,
    )
    assert bought.average == Decimal("0.340000018")
    assert book.buy(Decimal(50)).quantity == 13
    with pytest.raises(ValueError, match="must be positive"):
        book.sell(Decimal(0))


def test_the_microprice_leans_to_the_side_with_less() -> None:
    book = book_of(snapshot(1, {"99": "3"}, {"101": "1"}))
    assert (book.microprice, book.imbalance()) == (Decimal("100.5"), Decimal("0.5"))


def test_one_price_written_in_two_ways_is_one_level() -> None:
    book = book_of(
        snapshot(1, {"99.50": "1", "9": "1"}, {"101": "1", "1000.0": "1", "1001": "1"}),
        diff(2, 2, {"99.5": "2", "99.500000000001": "3"}, {"0101.000": "0"}),
    )
    assert told(book) == (
        {"99.500000000001": "3", "99.5": "2", "9": "1"},
        {"1000.0": "1", "1001": "1"},
    )


PRICES = st.decimals(Decimal("0.5"), Decimal(20), places=2, allow_nan=False)


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.lists(st.tuples(PRICES, st.booleans(), st.integers(0, 3), st.integers(0, 8))),
        max_size=30,
    )
)
def test_any_sequence_of_updates_gives_the_book_that_a_plain_dictionary_gives(
    updates: list[list[tuple[Decimal, bool, int, int]]],
) -> None:
    book = book_of(snapshot(0, {"10.00": "1"}, {"10.01": "1", "100": "1"}))
    truth: tuple[dict[Decimal, int], dict[Decimal, int]] = (
        {Decimal(10): 1},
        {Decimal("10.01"): 1, Decimal(100): 1},
    )
    for number, changes in enumerate(updates, 1):
        sides: tuple[dict[str, str], dict[str, str]] = ({}, {})
        for price, is_ask, quantity, decimals in changes:
            # Bids below and asks above, so that no book is crossed.
            exact = price + 10 if is_ask and price <= 10 else price
            exact = exact - 10 if not is_ask and exact > 10 else exact
            if exact <= 0:
                continue
            written = f"{exact:.{max(decimals, 2)}f}"
            sides[is_ask][written] = str(quantity)
            if quantity:
                truth[is_ask][exact] = quantity
            else:
                truth[is_ask].pop(exact, None)
        unclear = any(len({Decimal(price) for price in side}) != len(side) for side in sides)
        if unclear or not truth[0]:
            return
        book.apply(diff(number, number, *sides))
        if truth[0] and truth[1] and max(truth[0]) >= min(truth[1]):
            assert book.state is BookState.UNPROVEN
            return
        if book.state is not BookState.LIVE:
            return  # the price has left what is known
        bids, asks = book.bids(), book.asks()
        assert [(Decimal(x.price), int(x.quantity)) for x in bids] == sorted(
            truth[0].items(), reverse=True
        )
        assert [(Decimal(x.price), int(x.quantity)) for x in asks] == sorted(truth[1].items())
        assert all(Decimal(a.price) > Decimal(b.price) for a, b in pairwise(bids))


def test_a_book_is_unproven_while_whoever_knows_more_has_doubts() -> None:
    doubts: list[str] = []
    book = OrderBook(STREAM, lambda _: doubts[0] if doubts else None)
    doubts.append("nobody brings it")
    assert (book.state, book.problem) == (BookState.EMPTY, None)
    book.apply(snapshot(10, {"99": "1"}, {"101": "1"}))
    assert (book.state, book.problem) == (BookState.UNPROVEN, "nobody brings it")
    assert book.apply(diff(11, 11, {"99": "2"}, {}))
    assert book.intact
    doubts.clear()
    assert (book.state, book.last_update_id) == (BookState.LIVE, 11)
    book.doubt("a level is wrong")
    doubts.append("nobody brings it")
    assert (book.problem, book.intact) == ("a level is wrong", False)


# -- how deep it is known --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "bids", "asks", "whole"),
    [
        (1000, 2, 2, (True, True)),
        (1000, 2, 1, (True, True)),
        (2, 2, 2, (False, False)),
        (2, 2, 1, (False, True)),
        (None, 2, 2, (False, False)),  # nobody knows
        (None, 2, 1, (False, True)),
    ],
)
def test_a_side_with_fewer_levels_than_were_asked_for_is_whole(
    asked: int | None, bids: int, asks: int, whole: tuple[bool, bool]
) -> None:
    sides = [
        {str(100 + sign * n): "1" for n in range(1, levels + 1)}
        for sign, levels in ((-1, bids), (1, asks))
    ]
    event = snapshot(1, *sides)
    data = msgspec.structs.replace(event.data, asked=asked)
    book = book_of(msgspec.structs.replace(event, data=data))
    book.apply(diff(2, 2, {"1": "5"}, {"900": "5"}))
    known = book.known_bids == bids + 1, book.known_asks == asks + 1
    assert known == whole
    assert book.whole == all(whole)


def test_partial_depth_with_fewer_levels_than_its_stream_has_is_whole() -> None:
    stream = "btcusdt@depth5"
    few = {str(n): "1" for n in range(1, 5)}
    book = book_of(partial_of(stream, few, {"9": "1"}), stream=stream)
    assert book.whole
    book = book_of(partial_of(stream, {**few, "5": "1"}, {"9": "1"}), stream=stream)
    assert not book.whole


@pytest.mark.parametrize("price", ["abc", "", "-1", "1e3", "1.2.3", "\u0661"])
def test_what_is_no_price_is_a_wrong_argument(price: str) -> None:
    book = book_of(snapshot(1, {"99": "3"}, {"101": "1"}))
    with pytest.raises(ValueError, match=r"is no price; write it like '65000\.10'"):
        book.quantity_at(price)
    assert (book.state, book.faults) == (BookState.LIVE, 0)


def test_levels_that_are_not_known_for_certain_are_left_out_of_what_is_computed() -> None:
    """Behind the two levels of the snapshot others may be that nobody has told."""
    book = book_of(
        snapshot(1, {"99": "1", "98": "2"}, {"101": "1", "102": "1"}),
        diff(2, 2, {"90": "50"}, {"110": "70"}),
    )
    assert (book.known_bids, len(book.bids())) == (2, 3)
    assert book.depth_within(Decimal(20)) == (3, 2)
    assert book.imbalance(3) == book.imbalance(2) == Decimal("0.2")
    assert [book.covers(Decimal(distance)) for distance in (1, 2, 3)] == [True, True, False]


def test_looking_at_a_fine_price_or_distance_leaves_the_book_as_it_was() -> None:
    book = book_of(snapshot(1, {"99": "1", "98.5": "2"}, {"101": "1", "102": "1"}))
    bids = vars(book)["_bids"] = purely(vars(book)["_bids"])
    before = repr(bids._keys)
    fine = Decimal("1.500000000000000000001")
    assert book.depth_within(fine) == (3, 1)
    assert book.depth_within(fine - Decimal("0.01")) == (1, 1)
    assert book.quantity_at("98.500000000000000000001") == 0
    assert book.quantity_at("98.500000000000000000000") == 2
    assert repr(bids._keys) == before
