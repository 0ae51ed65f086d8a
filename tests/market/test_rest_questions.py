"""How many levels a book is asked for, by product; and whether books can be had at all."""

from __future__ import annotations

import pytest

from k2trio.market.booked import refuse_bookless
from k2trio.market.spot import SPOT
from k2trio.market.usdm import USDM
from k2trio.market.venues import dialect_of, product_of, venue_of


@pytest.mark.parametrize(
    ("wanted", "spot", "usdm"),
    [
        (1, (1, 5), (5, 2)),
        (100, (100, 5), (100, 5)),
        (101, (101, 25), (500, 10)),
        (500, (500, 25), (500, 10)),
        (1000, (1000, 50), (1000, 20)),
    ],
)
def test_so_many_levels_are_asked_for_and_weigh_so_much(
    wanted: int, spot: tuple[int, int], usdm: tuple[int, int]
) -> None:
    assert SPOT.rest.look(wanted) == spot
    assert USDM.rest.look(wanted) == usdm


def test_where_so_many_cannot_be_had_the_most_are_asked_for() -> None:
    assert USDM.rest.levels(5000) == 1000
    assert SPOT.rest.levels(5000) == 5000


def test_the_fewest_levels_that_are_worth_a_snapshot() -> None:
    assert (SPOT.rest.fewest, USDM.rest.fewest) == (100, 100)


def test_books_want_a_stream_that_carries_them() -> None:
    for streams in (["btcusdt@depth5"], ["btcusdt@bookTicker", "btcusdt@depth"]):
        refuse_bookless(streams, 20, 20)
    with pytest.raises(
        ValueError, match=r"^BOOK_LEVELS wants .* to STREAMS, or name SYMBOLS only$"
    ):
        refuse_bookless(["btcusdt@trade"], 20, 1000)


def test_books_of_updates_begin_with_as_many_levels_as_are_sampled() -> None:
    with pytest.raises(
        ValueError, match=r"^DEPTH_SNAPSHOT_LEVELS must be at least BOOK_LEVELS: .* books begin$"
    ):
        refuse_bookless(["btcusdt@depth@100ms"], 20, 19)
    refuse_bookless(["btcusdt@depth5"], 20, 19)


def test_a_venue_that_is_not_known_speaks_the_dialect_that_its_name_ends_in() -> None:
    assert dialect_of("example.com") is SPOT
    assert dialect_of("example.com-usdm") is USDM
    assert venue_of("Example.com", "usdm") == "example.com-usdm"
    assert venue_of("fstream.binance.com", "spot") == venue_of("fstream.binance.com")
    assert dialect_of(venue_of("fstream.binance.com")) is USDM
    assert venue_of("a-usdm") == "a-usdm-spot", "a host may be called so, and be asked for spot"


def test_of_which_product_a_host_is() -> None:
    assert product_of("FSTREAM.binance.com") == "usdm"
    assert product_of("api.binance.com") == "spot"
    assert product_of("example.com") is None
