"""What somebody has already: items at or before its positions, which it is not to get twice.

An output that remembers more than the others, or than the state file, gets what they lack as well:
that is left out, until each of its streams has come to where it was.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeGuard

import msgspec

from ..market.streams import Kind, any_stream, stream_of
from ..market.units import MS
from .items import Gap, Outage, VenueChanged
from .positions import key_of, position_after

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from ..market.payloads import Event
    from ..market.units import TimeUnit
    from .items import Item
    from .positions import Key, Position


class Ahead:
    """Of the streams that are ahead; false when none is any more.

    :param positions: by venue and stream: what is there already.
    :param unit: of the times in messages.
    """

    def __init__(self, positions: Mapping[Key, Position], unit: TimeUnit = MS) -> None:
        self._positions = dict(positions)
        self._unit = unit
        self._remarks: dict[Key, list[Outage | VenueChanged]] = {}
        """What was said of streams that are ahead, and is of their next message. Clocks do not tell
        whether it is there already: they may have been set back."""

    def __bool__(self) -> bool:
        return bool(self._positions)

    def rest(self, items: Iterable[Item]) -> list[Item]:
        """What is not there yet; of a gap the part that is not."""
        out: list[Item] = []
        for item in items:
            key = key_of(item)
            position = self._positions.get(key)
            if position is None:
                out.append(item)
            elif isinstance(item, VenueChanged) or _waits(item):
                self._remarks.setdefault(key, []).append(item)
            else:
                remarks = self._remarks.pop(key, [])
                left = self._left(item, position)
                if left is not None:
                    del self._positions[key]
                    out += remarks
                    out.append(left)
        return out

    def _left(self, item: Event[Any] | Gap | Outage, there: Position) -> Item | None:
        if isinstance(item, Outage):
            # Of a kind that proves no gap: what follows may be of another numbering. Where it
            # begins behind the position it is new, though the clock may have been set back since.
            at = there.received
            return item if at is None or item.until > at or item.since >= at else None
        if isinstance(item, Gap):
            if item.reason == "reset":
                return item  # what follows is of another numbering
            if position_after(item, self._unit).position <= there.position:
                return None
            return msgspec.structs.replace(item, first=max(item.first, _next(there)))
        after = position_after(item, self._unit)
        if not _updates_a_bar(item):
            if after.position == there.position and None not in (after.trade, there.trade):
                return item if (after.trade or 0) > (there.trade or 0) else None
            return item if after.position > there.position else None
        if there.time is None:  # behind a gap; an open bar is its own position
            return item if after.position >= there.position else None
        return item if (after.time or 0) > there.time else None


def _waits(item: Item) -> TypeGuard[Outage]:
    """Whether an outage is told with the message that it is of, as that may be there already;
    nothing is repaired of kinds that prove no gap, so nothing follows it that is.
    """
    return isinstance(item, Outage) and stream_of(item.venue, item.stream).order.repair.has_history


def _updates_a_bar(event: Event[Any]) -> bool:
    """Whether it tells of a bar that is open; where one closes, the position tells as well.

    The close that a repair brings has another time than that which came over a connection.
    """
    return any_stream(event.stream).kind is Kind.KLINE and not event.data.bar.closed


def _next(there: Position) -> int:
    """The first id that is not there; of klines the first bar."""
    return there.position + (any_stream(there.stream).kind is not Kind.KLINE)
