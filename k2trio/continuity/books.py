"""Books: depth updates cannot be fetched again, but a snapshot can stand for lost ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .track import Track

if TYPE_CHECKING:
    from ..market.payloads import Event
    from .held import Held
    from .items import Gap, GapReason, Item, Outage


class BookTrack(Track):
    """The updates of a book.

    A gap that is declared without a snapshot leaves whoever keeps the book without one. So a
    snapshot is *wanted*, and goes between two updates later: the stream is *paused*, that is, held
    back though nothing is missing, until the snapshot is there for the next update to join.
    """

    __slots__ = ()

    paused: bool
    wants_snapshot: bool

    @property
    def newest(self) -> int:
        """The last update that came, be it held or delivered."""
        if self.held:
            return self.held[-1].last
        return -1 if self.next is None else self.next - 1

    def _take(self, held: Held, out: list[Item]) -> None:
        if self.paused and self.next is not None and held.first <= self.next <= held.last:
            self._hold(held, out)
        else:
            super()._take(held, out)

    def pause(self) -> None:
        """Hold what comes from here on, until a snapshot or :meth:`proceed`."""
        self.paused = True
        self._set_flow()

    def proceed(self, out: list[Item]) -> None:
        """Go on after :meth:`pause`."""
        if self.paused:
            self.paused = False
            self._set_flow()
            self._release(out)

    def joins(self, last: int) -> bool:
        """Whether a snapshot with updates up to ``last`` has what is missing, and what comes next
        continues it.
        """
        if self.next is None or not self.wanting:
            return False
        gap = self.gap
        return last >= (self.next - 1 if gap is None else gap[1])

    def snapshot(self, event: Event[Any], out: list[Item]) -> bool:
        """Take a snapshot for what is missing; False if it is too old to be joined.

        Source: Binance spot API docs, "How to manage a local order book correctly".
        """
        last = int(event.data.last_update_id)
        if not self.joins(last):
            return False
        if self.next is not None and last < self.next:
            out.append(event)
        else:
            self.declare(last, "snapshot", out, then=event)
        self.wants_snapshot = False
        self.proceed(out)
        return True

    def declare(
        self, last: int, reason: GapReason, out: list[Item], *, then: Event | None = None
    ) -> None:
        """Declare the ids from ``next`` to ``last`` as missing; ``then`` is delivered after it."""
        if self.next is not None and last >= self.next:
            self.paused, self.wants_snapshot = False, True
            self._set_flow()
        super().declare(last, reason, out, then=then)

    def abandon(self, reason: GapReason, out: list[Item]) -> None:
        """Give up the open gap, or the wait for a snapshot, and deliver what was held."""
        if self.gap is None:
            self.proceed(out)
        else:
            super().abandon(reason, out)

    def lose(self, event: Event, reason: GapReason = "overflow") -> Gap | Outage:
        """An event that had been decided on does not reach the consumer after all."""
        self.wants_snapshot = True
        return super().lose(event, reason)

    def _begin_anew(self, held: Held, out: list[Item]) -> None:
        super()._begin_anew(held, out)
        self.wants_snapshot = True

    def _hold(self, held: Held, out: list[Item]) -> None:
        super()._hold(held, out)
        if self.paused and self.held.too_many:
            self.proceed(out)
