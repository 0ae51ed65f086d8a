"""What messages take in memory is reckoned by their kind and their frame."""

from __future__ import annotations

from k2trio.continuity.items import Gap
from k2trio.market.cost import (
    BOOK_FACTOR,
    EVENT_BYTES,
    FRAME_FACTOR,
    UNMADE_FACTOR,
    cost_of,
    cost_of_item,
)
from k2trio.market.payloads import BookTicker, Depth, Event


def test_books_cost_more_than_others_once_their_levels_are_made() -> None:
    quote = BookTicker(7, "BTCUSDT", "1", "1", "2", "1")
    made, unmade = Depth(1, "BTCUSDT", 1, 2, [], []), Depth(1, "BTCUSDT", 1, 2, (), ())
    for data, factor in ((quote, FRAME_FACTOR), (made, BOOK_FACTOR), (unmade, UNMADE_FACTOR)):
        event = Event(data, "btcusdt@depth", "v", 1.0, b"x" * 100)
        assert cost_of(event) == cost_of_item(event) == EVENT_BYTES + factor * 100
    assert cost_of_item(Gap("v", "btcusdt@trade", 1, 2, "jump")) == EVENT_BYTES
