"""One side of a book, against a dictionary of decimals that is sorted whenever it is looked at."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st
from written import needs_core

from k2trio.book import side as module
from k2trio.book.ladder import Ladder, UnusualLevel, purely, side_of
from k2trio.book.side import Side
from k2trio.errors import BookFault
from k2trio.market.decoder import Decoder
from k2trio.market.payloads import Level, frame_of

if TYPE_CHECKING:
    from collections.abc import Iterator

PRICES = st.builds(
    lambda whole, fraction, zeros: f"{whole}.{fraction}{'0' * zeros}",
    st.integers(0, 12),
    st.sampled_from(["0", "5", "25", "250", "123456789", "0000000000001"]),
    st.integers(0, 3),
)
"""Many ways to write a few prices; some have more decimals than a side begins with."""
QUANTITIES = st.sampled_from(["0", "0.00000000", "0.00000001", "1", "2.50000000", "1000000"])
CHANGES = st.lists(st.lists(st.builds(Level, PRICES, QUANTITIES), max_size=12), max_size=12)


class Falling:
    """A side of the compiled core that falls back to the pure one, as a book lets it."""

    def __init__(self, sign: int) -> None:
        self.side: Ladder | Side = side_of(sign)

    def update(self, changes: list[Level]) -> None:
        try:
            self.side.update(changes)
        except UnusualLevel:
            self.side = purely(self.side)
            self.side.update(changes)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.side, name)

    def __len__(self) -> int:
        return len(self.side)

    def __iter__(self) -> Iterator[Level]:
        return iter(self.side)


@pytest.mark.parametrize("kind", [Side, Falling])
@pytest.mark.parametrize("sign", [1, -1])
@given(updates=CHANGES)
def test_a_side_is_what_a_sorted_dictionary_is(
    kind: type[Any], sign: int, updates: list[list[Level]]
) -> None:
    side, model = kind(sign), dict[Decimal, Level]()
    with patch.object(module, "MAX_KNOWN_PRICES", 3):
        for changes in updates:
            side.update(changes)
            for change in changes:
                if Decimal(change.quantity):
                    model[Decimal(change.price)] = change
                else:
                    model.pop(Decimal(change.price), None)
            levels = [model[key] for key in sorted(model, reverse=sign > 0)]
            assert list(side) == levels
            assert len(side) == side.known == len(levels)
            assert side.top(3) == levels[:3]
            assert side.best == next(iter(levels), None)
            for change in changes:
                assert side.at(change.price) == model.get(Decimal(change.price))
            for price in model:
                better = [one for one in levels if sign * (Decimal(one.price) - price) >= 0]
                assert side.reaching(price) == better


@pytest.mark.parametrize("kind", [Side, Falling])
@given(updates=CHANGES)
def test_a_side_that_is_too_long_sheds_its_worst_levels_and_knows_it(
    kind: type[Any], updates: list[list[Level]]
) -> None:
    with patch.object(module, "MAX_LEVELS", 4):
        long, short = Side(1), kind(1)
    for changes in updates:
        long.update(changes)
        with patch.object(module, "MAX_LEVELS", 4):
            short.update(changes)
        known = short.known
        assert known <= len(short) <= 4
        assert short.top(known) == long.top(known)
        if len(long) > known:
            assert not short.whole


@pytest.mark.parametrize("quantity", ["-1", "-0.5", ""])
def test_a_quantity_that_is_none_is_a_fault(quantity: str) -> None:
    with pytest.raises(BookFault, match="quantity"):
        Side(1).update([Level("1", quantity)])


@needs_core
@pytest.mark.parametrize("price", ["01.5", "1.", ".5", "+1", "1e3", "1.123456789", "12345678901"])
def test_a_price_that_nobody_writes_so_is_for_the_pure_side(price: str) -> None:
    side = side_of(1)
    side.update([Level("1.5", "2")])
    with pytest.raises(UnusualLevel):
        side.update([Level("1.6", "1"), Level(price, "1")])
    assert [level.price for level in side] == ["1.6", "1.5"]
    assert list(purely(side)) == list(side)


@needs_core
@given(
    st.lists(
        st.tuples(
            st.integers(0, 10**10 - 1).map(str),
            st.text("0123456789", max_size=8),
            st.integers(0, 10**9 - 1).map(str),
            st.text("0123456789", max_size=9),
        ),
        max_size=30,
    )
)
def test_levels_come_back_as_they_were_written(parts: list[tuple[str, str, str, str]]) -> None:
    """Made of bytes, so that the core has no strings of them to keep."""
    rows = [
        [f"{whole}.{fraction}" if fraction else whole, f"{much}.{less}" if less else much]
        for whole, fraction, much, less in parts
    ]
    written = {"e": "depthUpdate", "E": 1, "s": "BTCUSDT", "U": 1, "u": 1, "b": rows, "a": []}
    frame = frame_of("btcusdt@depth", json.dumps(written, separators=(",", ":")).encode())
    decoder = Decoder("venue")
    decoder.expect(["btcusdt@depth"])
    ((event,), _) = decoder.decode([frame], 1.0)
    quick, pure = side_of(1), Side(1)
    quick.update(event.data.bids)
    pure.update(event.data.bids)
    assert list(quick) == list(pure)
