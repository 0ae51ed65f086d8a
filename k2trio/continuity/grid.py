"""The grid on which bars open and close: multiples of an interval, or the months of a calendar."""

from __future__ import annotations

import datetime as dt
import functools
from typing import TYPE_CHECKING

from ..market.streams import KLINE_INTERVALS_MS
from ..market.units import MS

if TYPE_CHECKING:
    from ..market.payloads import Bar
    from ..market.units import TimeUnit

_DAY_MS = 86_400_000
_EPOCH_DAY = dt.date(1970, 1, 1).toordinal()
_LAST_MONTH = 9999 * 12 + 11


class Grid:
    """Where the bars of an interval open; times are in the unit of the messages.

    :param interval: as the exchange names it, e.g. ``"1m"``; ``"1M"`` is the calendar month.
    """

    __slots__ = ("_per_ms", "_step")

    def __init__(self, interval: str, unit: TimeUnit = MS) -> None:
        self._per_ms = unit.per_ms
        step_ms = KLINE_INTERVALS_MS[interval]
        self._step = None if step_ms is None else step_ms * self._per_ms

    def end_of(self, bar: Bar) -> int:
        """Where the bar after this one opens."""
        end, most = bar.close_time + 1, self.after(bar.open_time)
        return end if bar.open_time < end < most else most

    def after(self, open_time: int) -> int:
        """The open time of the next bar on the grid."""
        return self.at(open_time, 1)

    def at(self, open_time: int, bars: int) -> int:
        """The open time so many bars later."""
        if self._step is not None:
            return open_time + bars * self._step
        # Months of a zone begin at its midnight, which the open time itself tells.
        open_ms = open_time // self._per_ms
        zone_ms = _midnight_offset(open_ms)
        month = min(_month(open_ms - zone_ms) + bars, _LAST_MONTH)
        first_day = dt.date(month // 12, month % 12 + 1, 1)
        return ((first_day.toordinal() - _EPOCH_DAY) * _DAY_MS + zone_ms) * self._per_ms

    def whole_bars(self, start: int, end: int) -> int:
        """How many bars fit whole between two times, of which the first is where one opens."""
        if end <= start:
            return 0
        if self._step is not None:
            return (end - start) // self._step
        start_ms, end_ms = start // self._per_ms, end // self._per_ms
        zone_ms = _midnight_offset(start_ms)
        return _month(end_ms - zone_ms) - _month(start_ms - zone_ms)


@functools.cache
def grid_of(interval: str, unit: TimeUnit = MS) -> Grid:
    """The one grid of an interval."""
    return Grid(interval, unit)


def _midnight_offset(time_ms: int) -> int:
    """Milliseconds from the nearest midnight, UTC, to a time."""
    return (time_ms + _DAY_MS // 2) % _DAY_MS - _DAY_MS // 2


def _month(time_ms: int) -> int:
    """Months from year 0 to a time, as far as dates can be told."""
    day = min(max(time_ms // _DAY_MS + _EPOCH_DAY, 1), dt.date.max.toordinal())
    date = dt.date.fromordinal(day)
    return date.year * 12 + date.month - 1
