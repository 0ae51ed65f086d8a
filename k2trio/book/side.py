"""One side of a book: its levels, sorted by exact prices."""

from __future__ import annotations

from bisect import bisect_left
from decimal import ROUND_CEILING, Decimal
from typing import TYPE_CHECKING, Any

from ..errors import BookFault
from .measures import EXACT

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ..market.payloads import Level

FIRST_DECIMALS = 8
"""Decimals that prices have on the spot exchange; a side learns of more when they come."""
MAX_KNOWN_PRICES = 32_768
"""Prices without a level that are remembered. The same ones come again and again, as strings, and
looking one up costs a third of reading it."""
MAX_LEVELS = 100_000
"""Levels of a side; the worst ones leave, and are then unknown."""

_ZERO = "0." + "0" * 30
"""No way to write zero sorts after it, and every way to write more than zero does."""


class _Place:
    """A price, whether there is a level or not.

    :ivar level: None while there is none.
    """

    __slots__ = ("key", "level")

    def __init__(self, key: int) -> None:
        self.key = key
        self.level: Any = None  # places of a side have one: no need to tell mypy at each look


class Side:
    """Bids or asks. Exact: prices are compared as integers, and kept as the exchange wrote them.

    Keys are prices times 10 to the number of decimals, of asks times -1, so that the best price is
    the last one: most changes are near it, and a list is cheap to change at its end. A change of a
    level that is there needs but one look into a dictionary, and no key.

    :param sign: +1 for bids, -1 for asks.
    """

    __slots__ = ("_decimals", "_floor", "_keys", "_of_key", "_of_price", "_places", "_sign")

    def __init__(self, sign: int) -> None:
        self._sign = sign
        self._decimals = FIRST_DECIMALS
        self._keys: list[int] = []
        self._places: list[_Place] = []
        """Of each key; each has a level."""
        self._of_price: dict[str, _Place] = {}
        """By all known ways to write a price, also of such that have no level now."""
        self._of_key: dict[int, _Place] = {}
        """The same places: a price has one, however it is written."""
        self._floor: int | None = None

    def __repr__(self) -> str:
        return f"<{'Bids' if self._sign > 0 else 'Asks'}: {len(self._keys)} levels>"

    def __len__(self) -> int:
        return len(self._keys)

    def __iter__(self) -> Iterator[Level]:
        """All levels, the best first."""
        return (place.level for place in reversed(self._places))

    @property
    def best(self) -> Level | None:
        """The level with the best price."""
        return self._places[-1].level if self._places else None

    @property
    def known(self) -> int:
        """How many of the best levels are all that there are down to the last of them.

        Those behind are right as well, but others may stand between them: of what lies beyond the
        depth of a snapshot only what changed since is known.
        """
        floor = self._floor
        return len(self._keys) - (0 if floor is None else bisect_left(self._keys, floor))

    @property
    def whole(self) -> bool:
        """Whether there are no levels but these."""
        return self._floor is None

    @property
    def exhausted(self) -> bool:
        """Whether the price has left what is known of this side."""
        floor = self._floor
        return floor is not None and (not self._keys or self._keys[-1] < floor)

    def top(self, levels: int) -> list[Level]:
        """The best levels, the best first."""
        if levels <= 0:
            return []
        return [place.level for place in self._places[: -levels - 1 : -1]]

    def at(self, price: str) -> Level | None:
        """The level with a price, however that is written.

        :raises BookFault: for what is no price.
        """
        key = key_of(price, self._sign, self._decimals)
        return self._of_key[key].level if key in self._of_key else None

    def crosses(self, other: Side) -> bool:
        """Whether the best price here is not worse than the best one there."""
        if not self._keys or not other._keys:
            return False
        if self._decimals != other._decimals:
            self._refine(other._decimals)
            other._refine(self._decimals)
        return self._keys[-1] + other._keys[-1] >= 0  # the keys of one side are negative

    def update(self, changes: Iterable[Level]) -> None:
        """Set levels, and remove those whose quantity is zero.

        :raises BookFault: for what is no price, or no quantity: a negative one, say. The changes
            before it have been made.
        """
        keys, places, of_price = self._keys, self._places, self._of_price
        for change in changes:
            try:
                place = of_price[change.price]
            except KeyError:
                place = self._learn(change.price)
            if change.quantity > _ZERO:
                if place.level is None:  # no function: a call would cost as much as this
                    at = bisect_left(keys, place.key)
                    keys.insert(at, place.key)
                    places.insert(at, place)
                place.level = change
            elif change.quantity < "0":
                raise BookFault(f"{change.quantity!r} at {change.price} is no quantity")
            elif place.level is not None:
                place.level = None
                at = bisect_left(keys, place.key)
                del keys[at], places[at]
        if len(keys) > MAX_LEVELS:
            self._shed()

    def take_over(self, levels: Iterable[Level], floor: int | None) -> None:
        """Be what another side is.

        :param floor: the key behind which nothing is known there, by :data:`FIRST_DECIMALS`.
        """
        self.update(levels)
        self._floor = floor

    def limit(self) -> None:
        """Say that nothing is known behind the worst level."""
        self._floor = self._keys[0] if self._keys else None

    def reaching(self, price: Decimal) -> list[Level]:
        """The levels from the best to a price, that included; the best first."""
        start = bisect_left(self._keys, bound_of(price, self._sign, self._decimals))
        return [place.level for place in reversed(self._places[start:])]

    def covers(self, price: Decimal) -> bool:
        """Whether all levels from the best to a price are known, that included."""
        bound = bound_of(price, self._sign, self._decimals)
        return self._floor is None or bound >= self._floor

    def _learn(self, price: str) -> _Place:
        """The place of a price that is written as it was not before."""
        key = self._key(price)
        if len(self._of_price) >= MAX_KNOWN_PRICES + len(self._keys):
            self._forget()
        place = self._of_key.get(key)
        if place is None:
            place = self._of_key[key] = _Place(key)
        self._of_price[price] = place
        return place

    def _forget(self) -> None:
        """Forget the prices that have no level."""
        self._of_price.clear()
        self._of_price.update((place.level.price, place) for place in self._places)
        self._of_key.clear()
        self._of_key.update(zip(self._keys, self._places, strict=True))

    def _key(self, price: str) -> int:
        whole, fraction = _parts(price)
        self._refine(len(fraction))
        return self._sign * int(whole + fraction.ljust(self._decimals, "0"))

    def _refine(self, decimals: int) -> None:
        """Make room for prices with more decimals."""
        if decimals <= self._decimals:
            return
        factor = 10 ** (decimals - self._decimals)
        self._decimals = decimals
        for place in self._of_key.values():
            place.key *= factor
        self._keys[:] = [place.key for place in self._places]
        known = list(self._of_key.values())
        self._of_key.clear()
        self._of_key.update((place.key, place) for place in known)
        if self._floor is not None:
            self._floor *= factor

    def _shed(self) -> None:
        leaving = len(self._keys) - MAX_LEVELS
        for place in self._places[:leaving]:
            place.level = None
        del self._keys[:leaving], self._places[:leaving]
        self._floor = max(self._keys[0], self._keys[0] if self._floor is None else self._floor)


def key_of(price: str, sign: int, decimals: int) -> int | None:
    """The key of a price; None if it has more decimals than keys have.

    :raises BookFault: for what is no price.
    """
    whole, fraction = _parts(price)
    if len(fraction) > decimals:
        return None
    return sign * int(whole + fraction.ljust(decimals, "0"))


def bound_of(price: Decimal, sign: int, decimals: int) -> int:
    """The key of the worst price that is not worse than this one."""
    scaled = EXACT.scaleb(EXACT.multiply(price, Decimal(sign)), decimals)
    return int(scaled.to_integral_value(ROUND_CEILING, EXACT))


def _parts(price: str) -> tuple[str, str]:
    """The digits of a price before its point and after it, without zeros at the end.

    :raises BookFault: for what is no price.
    """
    whole, _, fraction = price.partition(".")
    digits = whole + fraction
    if not (digits.isascii() and digits.isdigit()):
        raise BookFault(f"{price!r} is no price")
    return whole, fraction.rstrip("0")
