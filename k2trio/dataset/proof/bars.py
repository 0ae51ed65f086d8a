"""Bars as ranges of time: a closed bar covers all from its open to the open of the next.

After a halt the exchange opens a bar late, off the grid, and lets it end on it. So a bar ends where
it says, and between two of them only those are missing that fit in between whole.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import numpy as np

from ...market.streams import KLINE_INTERVALS_MS, Kind, any_stream
from ...market.units import US

if TYPE_CHECKING:
    from .runs import Integers

_MONTH_US = 31 * 86_400 * US.per_second
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
LAST_US = 253_370_764_800 * US.per_second
"""The beginning of the year 9999: about later bars nothing can be told."""


class Bars:
    """The bars of one kline stream; all times in microseconds.

    :ivar step: from one open to the next; None for calendar months.
    """

    def __init__(self, interval: str) -> None:
        step_ms = KLINE_INTERVALS_MS[interval]
        self.step: int | None = None if step_ms is None else step_ms * US.per_ms

    @classmethod
    def of(cls, stream: str) -> Bars | None:
        """Those of a stream; None if it has none."""
        parsed = any_stream(stream)
        return cls(parsed.interval or "") if parsed.kind is Kind.KLINE else None

    def last(self, open_time: Integers, close_time: Integers) -> Integers:
        """The last microsecond of each bar: what follows it begins on a whole millisecond."""
        ends = (close_time // US.per_ms + 1) * US.per_ms
        most = open_time + (self.step or _MONTH_US)
        sane = (open_time < ends) & (ends <= most)
        last: Integers = np.where(sane, ends, most) - 1
        return last

    def last_of(self, open_time: int) -> int:
        """The last microsecond of the bar that opens then, on the grid."""
        if self.step is not None:
            return open_time + self.step - 1
        date = _date(open_time + _zone(open_time))
        after = (date.replace(day=1) + timedelta(days=32)).replace(day=1)
        return (after - _EPOCH) // timedelta(microseconds=1) - _zone(open_time) - 1

    def last_open(self, first: int, last: int) -> int:
        """When the last of missing bars opens, of those between two times."""
        count = self.count(first, last, declared=True)
        if self.step is not None:
            return first + (count - 1) * self.step
        for _ in range(count - 1):
            first = self.last_of(first) + 1
        return first

    def count(self, first: int, last: int, *, declared: bool) -> int:
        """How many bars are missing in a range of time.

        :param declared: whether somebody named them, so that the last need not be a whole one.
        """
        length = last + 1 - first
        if self.step is not None:
            return -(-length // self.step) if declared else length // self.step
        begin, end = _date(first + _zone(first)), _date(last + 1 + _zone(first))
        return (end.year - begin.year) * 12 + end.month - begin.month


def _zone(time: int) -> int:
    """From UTC to the zone in whose midnight a month begins, as far as its open time tells."""
    day = 86_400 * US.per_second
    return -((time + day // 2) % day - day // 2)


def _date(time: int) -> datetime:
    return _EPOCH + timedelta(microseconds=min(max(time, 0), LAST_US))
