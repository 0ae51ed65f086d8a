"""One side of a book in the compiled core.

It is what :class:`~.side.Side` is, for prices and quantities that are written as the exchange
writes them.

It takes levels without making strings of them, and makes those that are looked at.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..compiled import core
from ..market.payloads import Level
from . import side as sides
from .side import FIRST_DECIMALS, Side, bound_of, key_of

if TYPE_CHECKING:
    from decimal import Decimal

    from ..compiled.interface import Ladder as Interface

    Core = Interface[Level]
else:
    Core = object if core is None else core.Ladder


class UnusualLevel(ValueError):  # noqa: N818 - no error: the pure side takes it
    """A level is written in another way, so only the pure side understands it."""


class Ladder(Core):
    """See the module; as exact as :class:`Side`.

    :raises UnusualLevel: by :meth:`update`, before that level; the changes before it have been
        made. :func:`purely` goes on from there.
    """

    __slots__ = ()

    def __repr__(self) -> str:
        return f"<{'Bids' if self.sign > 0 else 'Asks'}: {len(self)} levels>"

    def at(self, price: str) -> Level | None:
        """See :meth:`Side.at`."""
        key = key_of(price, self.sign, FIRST_DECIMALS)
        return None if key is None else self.find(key)

    def reaching(self, price: Decimal) -> list[Level]:
        """See :meth:`Side.reaching`."""
        return self.down_to(bound_of(price, self.sign, FIRST_DECIMALS))

    def covers(self, price: Decimal) -> bool:
        """See :meth:`Side.covers`."""
        return self.floor is None or bound_of(price, self.sign, FIRST_DECIMALS) >= self.floor


def side_of(sign: int) -> Ladder | Side:
    """An empty side, the quicker one where there is a compiled core.

    :param sign: +1 for bids, -1 for asks.
    """
    if core is None:
        return Side(sign)
    return Ladder(sign, Level, ("price", "quantity"), sides.MAX_LEVELS, UnusualLevel)


def cross(bids: Ladder | Side, asks: Ladder | Side) -> bool:
    """Whether the best bid is not below the best ask."""
    if isinstance(bids, Ladder) and isinstance(asks, Ladder):
        return bids.crosses(asks)
    return purely(bids).crosses(purely(asks))


def purely(side: Ladder | Side) -> Side:
    """The same side, such that it understands every level."""
    if isinstance(side, Side):
        return side
    pure = Side(side.sign)
    pure.take_over(side, side.floor)
    return pure
