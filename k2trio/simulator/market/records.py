"""What a symbol's trading leaves behind: trades, the newest of them by id, and the ids issued."""

from __future__ import annotations

import bisect
import operator
from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable


class Trade(NamedTuple):
    """One match. Price and quantity in units of 10⁻⁸, time in microseconds."""

    id: int
    price: int
    quantity: int
    time_us: int
    buyer_is_maker: bool


class AggTrade(NamedTuple):
    """The trades of one taker order at one price."""

    id: int
    price: int
    quantity: int
    first: int
    last: int
    time_us: int
    buyer_is_maker: bool


class Liquidation(NamedTuple):
    """A position that was closed by force."""

    price: int
    quantity: int
    time_us: int
    sells: bool


RecordT = TypeVar("RecordT", Trade, AggTrade)


class History(Generic[RecordT]):
    """The newest records by id; at most twice ``bound`` are held, at least ``bound`` kept."""

    def __init__(self, bound: int) -> None:
        self.bound = bound
        self.records: list[RecordT] = []

    def append(self, record: RecordT) -> None:
        """Add the newest record."""
        self.records.append(record)
        if len(self.records) >= 2 * self.bound:
            del self.records[: self.bound]

    def clear(self) -> None:
        """Forget all."""
        self.records.clear()

    def since(self, first_id: int, limit: int) -> list[RecordT]:
        """Up to ``limit`` records with ids from ``first_id``, oldest first."""
        start = bisect.bisect_left(self.records, first_id, key=operator.attrgetter("id"))
        return self.records[start : start + limit]

    def get(self, record_id: int) -> RecordT | None:
        """The record of an id, if it is still kept."""
        found = self.since(record_id, 1)
        return found[0] if found and found[0].id == record_id else None

    def between(self, start_us: int, end_us: int, limit: int) -> list[RecordT]:
        """Up to ``limit`` records of ``start_us … end_us`` (inclusive), oldest first."""
        time_us: Callable[[RecordT], int] = operator.attrgetter("time_us")
        start = bisect.bisect_left(self.records, start_us, key=time_us)
        end = bisect.bisect_right(self.records, end_us, key=time_us)
        return self.records[start : min(end, start + limit)]

    def newest(self, limit: int) -> list[RecordT]:
        """The last ``limit`` records, oldest first."""
        return self.records[-limit:] if limit else []


class Ids:
    """A counter that remembers which ranges it issued.

    :ivar ranges: ``[first, last]`` pairs in the order of time; one pair unless the ids jumped or
        began anew.
    """

    __slots__ = ("_broken", "last", "ranges")

    def __init__(self, last: int) -> None:
        self.last: int = last
        self.ranges: list[list[int]] = []
        self._broken = False

    @property
    def issued_last(self) -> bool:
        """Whether the last id was given to something, and not skipped or taken back."""
        return bool(self.ranges) and self.ranges[-1][1] == self.last and not self._broken

    def take(self) -> int:
        """The next id."""
        self.last += 1
        if self.ranges and self.ranges[-1][1] == self.last - 1 and not self._broken:
            self.ranges[-1][1] = self.last
        else:
            self.ranges.append([self.last, self.last])
            self._broken = False
        return self.last

    def jump(self, by: int) -> None:
        """Skip ``by`` ids."""
        self.last += by

    def go_back(self, by: int) -> None:
        """Begin anew, ``by`` ids lower, but never below 1."""
        self.last = max(0, self.last - by)
        self._broken = True
