"""What somebody has already: items at or before its positions, which it is not to get twice.

An output that remembers more than the others, or than the state file, gets what they lack as well:
that is left out, until each of its streams has come to where it was.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from ..market.payloads import Event
from ..market.streams import Kind, parse_stream
from ..market.units import MS
from .items import Gap, Outage
from .positions import position_after

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from ..market.units import TimeUnit
    from .items import Item
    from .positions import Position


class Ahead:
    """Of the streams that are ahead; false when none is any more.

    :param positions: by venue and stream: what is there already.
    :param unit: of the times in messages.
    """

    def __init__(self, positions: Mapping[tuple[str, str], Position], unit: TimeUnit = MS) -> None:
        self._positions = dict(positions)
        self._unit = unit

    def __bool__(self) -> bool:
        return bool(self._positions)

    def rest(self, items: Iterable[Item]) -> list[Item]:
        """What is not there yet; of a gap the part that is not."""
        out: list[Item] = []
        for item in items:
            key = item.venue, item.stream
            position = self._positions.get(key)
            left = item if position is None else self._left(item, position)
            if left is None:
                continue
            if position is not None and (isinstance(left, Event | Gap) or _may_begin_anew(left)):
                del self._positions[key]
            out.append(left)
        return out

    def _left(self, item: Item, there: Position) -> Item | None:
        if isinstance(item, Gap):
            if item.reason == "reset":
                return item  # what follows is of another numbering
            if position_after(item, self._unit).position <= there.position:
                return None
            return msgspec.structs.replace(item, first=max(item.first, _next(there)))
        if isinstance(item, Event):
            after = position_after(item, self._unit)
            if not _updates_a_bar(item):
                return item if after.position > there.position else None
            if there.time is None:  # behind a gap; an open bar is its own position
                return item if after.position >= there.position else None
            return item if (after.time or 0) > there.time else None
        return item if there.received is None or item.until > there.received else None


def _updates_a_bar(event: Event[Any]) -> bool:
    """Whether it tells of a bar that is open; where one closes, the position tells as well.

    The close that a repair brings has another time than that which came over a connection.
    """
    return parse_stream(event.stream).kind is Kind.KLINE and not event.data.bar.closed


def _may_begin_anew(item: Item) -> bool:
    """Whether what follows may be of another numbering: kinds that prove no gap tell no ``reset``.

    Nothing is repaired of them, so nothing follows that is there already.
    """
    return isinstance(item, Outage) and not parse_stream(item.stream).order.repair.has_history


def _next(there: Position) -> int:
    """The first id that is not there; of klines the first bar."""
    return there.position + (parse_stream(there.stream).kind is not Kind.KLINE)
