"""At which venue each stream of a log is, where another feed goes on with it.

A feed tells when a stream goes on from another venue, but knows only of what it brought itself. So
the first message of each stream is looked at, until all have spoken.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..market.payloads import Event
from .items import VenueChanged

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .items import Item
    from .positions import Position


class Whereabouts:
    """Of the streams that have not spoken yet; false when there are none.

    :param positions: of a log, in the order in which they were written: of several of a stream the
        last one tells. Clocks do not: what a hot standby kept may be older than what it goes on
        behind.
    """

    def __init__(self, positions: Iterable[Position]) -> None:
        self._last = {one.stream: one for one in positions}

    def __bool__(self) -> bool:
        return bool(self._last)

    def told(self, items: Iterable[Item], moved: list[str]) -> list[Item]:
        """The items, with each change of venue as it is in the log; its stream is added to
        ``moved``.
        """
        out: list[Item] = []
        for item in items:
            last = self._last.get(item.stream)
            if last is None:
                out.append(item)
            elif isinstance(item, Event):
                del self._last[item.stream]
                if item.venue != last.venue:
                    moved.append(item.stream)
                    since = item.received if last.received is None else last.received
                    out.append(
                        VenueChanged(item.venue, item.stream, last.venue, since, item.received)
                    )
                out.append(item)
            elif not isinstance(item, VenueChanged):
                out.append(item)  # what a feed says of its own changes need not be so of the log
        return out
