"""Which venue each stream goes on from: a change is told before the first message of the new one.

Trades of two exchanges in one sequence look alike, but are not of one market. So nobody may blend
them by accident. While all messages come from one venue there is nothing to look at.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from ..market.payloads import Event
from .items import VenueChanged

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from .arbiter import Arbiter
    from .items import Item
    from .positions import Position


class Venues:
    """Of the streams of one feed.

    :param begun: where streams go on after an earlier run; of several of a stream the last one
        tells at which venue it was.
    :ivar only: the venue that the last message of every stream came from; None if there are more.
    """

    def __init__(self, arbiter: Arbiter, begun: Iterable[Position] = ()) -> None:
        self._arbiter = arbiter
        self._last: dict[str, str] = {one.stream: one.venue for one in begun}
        """Stream → the venue of its last message, while there is more than one."""
        self._streams: Counter[str] = Counter(self._last.values())
        """How many streams are at a venue."""
        self.only: str | None = None
        if len(venues := set(self._last.values())) == 1:
            self._settle(*venues)

    def marked(self, items: Sequence[Item]) -> list[Item]:
        """The items of a batch, with each change told; for batches that are not of ``only``."""
        if not self._last and items[0].venue != self.only:
            self._look_back()
        out: list[Item] = []
        for item in items:
            if isinstance(item, Event):
                before = self._last.get(item.stream)
                if before != item.venue:
                    self._streams[item.venue] += 1
                    self._last[item.stream] = item.venue
                    if before is not None:
                        self._streams[before] -= 1
                        out.append(self._change(before, item))
            out.append(item)
        self._settle(out[-1].venue)
        return out

    def _settle(self, venue: str) -> None:
        """Note whether all streams are at a venue."""
        if self._streams[venue] == len(self._last):
            self.only = venue
            self._last.clear()
            self._streams.clear()
        else:
            self.only = None

    def _look_back(self) -> None:
        """Collect where the streams were until now."""
        before = self.only
        if before is None:
            return
        for track in self._arbiter.tracks:
            if track.venue == before and track.position is not None:
                self._last[track.stream.name] = before
                self._streams[before] += 1

    def _change(self, before: str, event: Event) -> VenueChanged:
        delivered_at = self._arbiter.track(before, event.stream).delivered_at
        since = event.received if delivered_at is None else delivered_at
        return VenueChanged(event.venue, event.stream, before, since, event.received)
