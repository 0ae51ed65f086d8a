"""Block trades: their ids grow, and the exchange does not say that they are consecutive.

So an id that was skipped may be a loss, or none. REST can list the block trades from an id on: what
it lists was lost, and is repaired; what it leaves out never was. Only where REST does not answer
are the ids between two messages declared, as any of them may be missing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .track import Track

if TYPE_CHECKING:
    from ..market.payloads import Event
    from ..market.streams import Stream
    from .held import Held
    from .items import GapReason, Item
    from .numbering import Shared


class BlockTrack(Track):
    """Block trades; see the module."""

    __slots__ = ("_unused",)

    next: int | None

    def __init__(self, venue: str, stream: Stream, shared: Shared) -> None:
        super().__init__(venue, stream, shared)
        self._unused = 0
        """Ids since ``first`` that the venue gave to nothing."""

    @property
    def live(self) -> int:
        """Ids that came over a connection."""
        return super().live - self._unused

    def declare(
        self, last: int, reason: GapReason, out: list[Item], *, then: Event | None = None
    ) -> None:
        """Declare ids as missing, but for those that the venue gave to nothing."""
        if reason != "venue_missing" or self.next is None or last < self.next:
            super().declare(last, reason, out, then=then)
            return
        self._unused += last - self.next + 1
        self.next = last + 1
        self._release(out)

    def _begin_anew(self, held: Held, out: list[Item]) -> None:
        super()._begin_anew(held, out)
        self._unused = 0
