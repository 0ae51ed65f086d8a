"""The best levels are the same quote, whichever way the exchange tells them."""

from __future__ import annotations

import pytest

from k2trio.market.payloads import BookTicker, Level, PartialDepth
from k2trio.market.quotes import Quote, quote_of
from k2trio.market.streams import parse_stream

TICKER, TOP = parse_stream("btcusdt@bookTicker"), parse_stream("btcusdt@depth5")


def levels(*told: tuple[str, str]) -> list[Level]:
    return [Level(price, quantity) for price, quantity in told]


def test_a_ticker_tells_one_level_a_side() -> None:
    quote = quote_of(TICKER, BookTicker(7, "BTCUSDT", "100.10", "2.000", "100.2", "10"))
    assert quote == Quote((("100.1", "2"),), (("100.2", "10"),))


def test_a_partial_book_tells_as_many_as_its_stream_has_and_a_ticker_the_first_of_them() -> None:
    bids = levels(*((f"{100 - n}.0", "1.50") for n in range(7)))
    asks = levels(*((f"{101 + n}", "20") for n in range(7)))
    book = PartialDepth(7, bids, asks)
    assert quote_of(TOP, book) == Quote(
        tuple((f"{100 - n}", "1.5") for n in range(5)),
        tuple((f"{101 + n}", "20") for n in range(5)),
    )
    assert quote_of(TICKER, book) == Quote((("100", "1.5"),), (("101", "20"),))


@pytest.mark.parametrize("nothing", ["0", "0.00000000", "0.0"])
def test_nothing_is_the_same_as_a_level_of_zeros(nothing: str) -> None:
    told = quote_of(TICKER, BookTicker(7, "BTCUSDT", nothing, nothing, "100", "300"))
    assert told == Quote((), (("100", "300"),))
    assert quote_of(TOP, PartialDepth(7, [], levels(("100", "300")))) == told
