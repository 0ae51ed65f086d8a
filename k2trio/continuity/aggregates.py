"""Aggregate trades: their ids are consecutive, and so are the trades in them.

An exchange has been seen to give one id to two aggregates. What tells them apart, and from copies,
are the trades: an aggregate that begins with the trade after the last one's is the next, whatever
its id. And where an aggregate has the next id but not the next trade, one that shares an id is
missing.
"""

from __future__ import annotations

import operator
from bisect import bisect_right
from typing import TYPE_CHECKING, Any

from .renumbering import Place
from .track import Track

if TYPE_CHECKING:
    from ..compiled.interface import Run
    from ..market.payloads import Event
    from ..market.streams import Stream
    from .held import Held, Source
    from .items import GapReason, Item
    from .numbering import Shared

_first_trade = operator.attrgetter("first_trade_id")
_last_trade = operator.attrgetter("last_trade_id")


class AggTrack(Track):
    """Aggregate trades; see the module."""

    __slots__ = ("_due_trade",)

    next: int | None
    duplicates: int
    delivered_at: float | None
    delivered_time: int | None

    simple = False

    def __init__(self, venue: str, stream: Stream, shared: Shared) -> None:
        super().__init__(venue, stream, shared)
        self._due_trade: int | None = None
        """The trade that comes next; None where that cannot be told."""

    def resume(
        self,
        position: int,
        limit: int,
        time: int | None = None,
        received: float | None = None,
        trade: int | None = None,
    ) -> None:
        """Begin after an aggregate, and the last trade in it; see :meth:`Track.resume`."""
        super().resume(position, limit, time, received)
        self._due_trade = None if trade is None else trade + 1

    def offer(
        self, event: Event[Any], now: float, out: list[Item], source: Source | None = None
    ) -> None:
        """Take a message; append to ``out`` what may be delivered because of it."""
        data = event.data
        if (
            data.agg_id == self.next
            and data.first_trade_id == self._due_trade
            and not self.held
            and not self.wary
        ):
            self.next = data.agg_id + 1
            self._due_trade = data.last_trade_id + 1
            self.delivered_at, self.delivered_time = event.received, data.trade_time
            out.append(event)
        else:
            super().offer(event, now, out, source)

    def _after_run(self, due: int, payloads: list[Any]) -> int | None:
        after = super()._after_run(due, payloads)
        if after is None:
            return None
        *dues, due_trade = [last + 1 for last in map(_last_trade, payloads)]
        if list(map(_first_trade, payloads)) != [self._due_trade, *dues]:
            return None
        self._due_trade = due_trade
        return after

    def _takes_run(self, run: Run) -> bool:
        if run.begin != self._due_trade:
            return False
        self._due_trade = run.due
        return True

    def _place(self, event: Event, first: int, last: int, now: float) -> Place:
        place = super()._place(event, first, last, now)
        if place in (Place.COPY, Place.LOW, Place.ODD) and self._shares_its_id(event):
            return Place.NEXT
        if place is Place.ODD and self._is_told(event):
            return Place.COPY  # of the first of two that share the last id
        return place

    def _is_told(self, event: Event[Any]) -> bool:
        """Whether all its trades have been delivered, and its id has."""
        data, due = event.data, self._due_trade
        if self.next is None or due is None:
            return False
        return bool(data.agg_id < self.next and data.last_trade_id < due)

    def _shares_its_id(self, event: Event[Any]) -> bool:
        """Whether it has the last id again, but goes on with the trades."""
        data = event.data
        return bool(data.agg_id + 1 == self.next and data.first_trade_id == self._due_trade)

    def _is_new(self, held: Held) -> bool:
        return super()._is_new(held) or self._shares_its_id(held.event)

    def _deliver(self, event: Event[Any], first: int, last: int, out: list[Item]) -> None:
        due = self._due_trade
        if not 0 <= event.data.first_trade_id <= event.data.last_trade_id:
            super()._deliver(event, first, last, out)  # it names no trades
            return
        if due is not None and first == self.next and event.data.first_trade_id > due:
            until = event.received if event.origin == "live" else self._reached_at(last)
            since = self._away_since if self.delivered_at is None else self.delivered_at
            out.append(self._gap(first, last, "shared_id", since, until))
        super()._deliver(event, first, last, out)
        self._due_trade = event.data.last_trade_id + 1

    def declare(
        self, last: int, reason: GapReason, out: list[Item], *, then: Event | None = None
    ) -> None:
        """Declare ids as missing; with them goes an unknown number of trades."""
        if self.next is not None and last >= self.next:
            self._due_trade = None
        super().declare(last, reason, out, then=then)

    def _begin_anew(self, held: Held, out: list[Item]) -> None:
        super()._begin_anew(held, out)
        self._due_trade = None

    def _insert(self, held: Held) -> bool:
        """Put a message where it belongs; two of one id are two if their trades are others."""
        at = bisect_right(self.held, _order(held), key=_order)
        if at and _order(self.held[at - 1]) == _order(held):
            return False
        if at < len(self.held):  # it fills a gap in part, that a later message has revealed
            held = held._replace(since=self.held[at].since)
        self.held.put(at, held)
        return True

    def _drop(self, held: Held, other: Held | None = None) -> None:
        self.duplicates += 1


def _order(held: Held) -> tuple[int, int]:
    return held.first, held.event.data.first_trade_id
