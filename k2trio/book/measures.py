"""What the levels of a book amount to; exact, but for quotients."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from decimal import MAX_EMAX, MIN_EMIN, Context, Decimal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ..market.payloads import Level

NOTHING = Decimal(0)
EXACT = Context(prec=200, Emax=MAX_EMAX, Emin=MIN_EMIN)
"""Sums and products of the exchange's numbers, which have some 20 digits, are never rounded."""


@dataclass(frozen=True, slots=True)
class Fill:
    """What an order that is filled at once takes from one side.

    :ivar quantity: how much of it can be filled, in the base asset.
    :ivar cost: what that costs, or brings, in the quote asset.
    :ivar worst: price of the last level that it touches; None if there is none.
    :ivar complete: whether all of it can be filled.
    """

    quantity: Decimal
    cost: Decimal
    worst: Decimal | None
    complete: bool

    @property
    def average(self) -> Decimal | None:
        """The average price; None if nothing can be filled."""
        return self.cost / self.quantity if self.quantity else None


def spread(bid: Level, ask: Level) -> Decimal:
    """The distance between two levels."""
    return EXACT.subtract(Decimal(ask.price), Decimal(bid.price))


def mid(bid: Level, ask: Level) -> Decimal:
    """Halfway between two levels."""
    return EXACT.divide(EXACT.add(Decimal(bid.price), Decimal(ask.price)), Decimal(2))


def microprice(bid: Level, ask: Level) -> Decimal:
    """The mid weighted by quantities: the more is bid, the nearer it is to the ask."""
    bid_quantity, ask_quantity = Decimal(bid.quantity), Decimal(ask.quantity)
    weighted = EXACT.fma(
        Decimal(bid.price), ask_quantity, EXACT.multiply(Decimal(ask.price), bid_quantity)
    )
    return weighted / EXACT.add(bid_quantity, ask_quantity)


def quantity_of(levels: Iterable[Level]) -> Decimal:
    """All of their quantities together."""
    return functools.reduce(EXACT.add, (Decimal(level.quantity) for level in levels), NOTHING)


def imbalance(bids: Iterable[Level], asks: Iterable[Level]) -> Decimal | None:
    """From -1 (only asks) to 1 (only bids); None where there is neither."""
    bid, ask = quantity_of(bids), quantity_of(asks)
    both = EXACT.add(bid, ask)
    return EXACT.subtract(bid, ask) / both if both else None


def fill(levels: Iterable[Level], quantity: Decimal) -> Fill:
    """Take a quantity from levels, the best of which comes first.

    :raises ValueError: for a quantity that is not positive.
    """
    if not quantity > 0:
        raise ValueError(f"the quantity must be positive, not {quantity}")
    left, cost, worst = quantity, NOTHING, None
    for level in levels:
        worst = Decimal(level.price)
        taken = min(left, Decimal(level.quantity))
        cost = EXACT.fma(taken, worst, cost)
        left = EXACT.subtract(left, taken)
        if not left:
            break
    return Fill(EXACT.subtract(quantity, left), cost, worst, not left)
