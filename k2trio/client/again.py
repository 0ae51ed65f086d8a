"""What has come of streams before they begin anew, and is taken once more."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..continuity.items import Outage
from ..continuity.positions import is_behind, key_of, position_after
from ..market.payloads import Event

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from ..continuity.items import Item
    from ..continuity.positions import Key, Position
    from ..market.units import TimeUnit


def behind(
    items: Iterable[Item], positions: Mapping[Key, Position], unit: TimeUnit
) -> Iterator[Event | Outage]:
    """Of each stream all that follows the first message behind its position.

    Messages that came over a connection, and outages: those were told of kinds that prove nothing,
    and nobody could tell them again. Gaps show by themselves, and repaired messages are fetched.

    :param items: in the order in which they came.
    """
    begun: set[Key] = set()
    for item in items:
        key = key_of(item)
        if isinstance(item, Outage):
            if key in begun:
                yield item
        elif isinstance(item, Event) and item.origin == "live":
            if key not in begun and is_behind(position_after(item, unit), positions[key]):
                begun.add(key)
            if key in begun:
                yield item
