"""One side of a book, against a dictionary of decimals that is sorted whenever it is looked at."""

from __future__ import annotations

from decimal import Decimal
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from k2trio.book import side as module
from k2trio.book.side import Side
from k2trio.errors import BookFault
from k2trio.market.payloads import Level

PRICES = st.builds(
    lambda whole, fraction, zeros: f"{whole}.{fraction}{'0' * zeros}",
    st.integers(0, 12),
    st.sampled_from(["0", "5", "25", "250", "123456789", "0000000000001"]),
    st.integers(0, 3),
)
"""Many ways to write a few prices; some have more decimals than a side begins with."""
QUANTITIES = st.sampled_from(["0", "0.00000000", "0.00000001", "1", "2.50000000", "1000000"])
CHANGES = st.lists(st.lists(st.builds(Level, PRICES, QUANTITIES), max_size=12), max_size=12)


@pytest.mark.parametrize("sign", [1, -1])
@given(updates=CHANGES)
def test_a_side_is_what_a_sorted_dictionary_is(sign: int, updates: list[list[Level]]) -> None:
    side, model = Side(sign), dict[Decimal, Level]()
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


@given(updates=CHANGES)
def test_a_side_that_is_too_long_sheds_its_worst_levels_and_knows_it(
    updates: list[list[Level]],
) -> None:
    long, short = Side(1), Side(1)
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
