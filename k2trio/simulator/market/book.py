"""The order book of one symbol: two sorted sides of integer prices and quantities."""

from __future__ import annotations

import bisect

MIN_LEVELS = 20
"""Levels that a side is refilled to, so that a partial depth of 20 is always full."""

MAX_LEVELS = 400
"""Levels that a side may hold; the worst one leaves when a better one comes."""


class Side:
    """One side of a book; prices and quantities in units of 10⁻⁸.

    Keys are ``price * sign`` in ascending order, so the best price of either side is the last
    key: the place where a list is cheap to change.

    :param sign: +1 for bids, -1 for asks.
    """

    __slots__ = ("keys", "quantities", "sign")

    def __init__(self, sign: int) -> None:
        self.sign: int = sign
        self.keys: list[int] = []
        self.quantities: dict[int, int] = {}

    def __len__(self) -> int:
        return len(self.keys)

    @property
    def best(self) -> int:
        """The best price."""
        return self.keys[-1] * self.sign

    @property
    def worst(self) -> int:
        """The worst price."""
        return self.keys[0] * self.sign

    def set(self, price: int, quantity: int) -> None:
        """Set a level; quantity 0 removes it."""
        if quantity:
            if price not in self.quantities:
                bisect.insort(self.keys, price * self.sign)
            self.quantities[price] = quantity
        elif price in self.quantities:
            del self.quantities[price]
            del self.keys[bisect.bisect_left(self.keys, price * self.sign)]

    def at(self, depth: int) -> int:
        """Price of the level ``depth`` places behind the best one."""
        return self.keys[-1 - depth] * self.sign

    def top(self, levels: int) -> list[tuple[int, int]]:
        """The best levels as (price, quantity), best first."""
        prices = [key * self.sign for key in self.keys[: -levels - 1 : -1]]
        return [(price, self.quantities[price]) for price in prices]


class Book:
    """Bids and asks; never crossed."""

    __slots__ = ("asks", "bids")

    def __init__(self) -> None:
        self.bids: Side = Side(+1)
        self.asks: Side = Side(-1)

    def other(self, side: Side) -> Side:
        """The side opposite to ``side``."""
        return self.asks if side is self.bids else self.bids

    def top(self) -> tuple[int, int, int, int]:
        """Best bid, its quantity, best ask, its quantity."""
        bid, ask = self.bids.best, self.asks.best
        return bid, self.bids.quantities[bid], ask, self.asks.quantities[ask]
