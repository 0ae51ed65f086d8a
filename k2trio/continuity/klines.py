"""Klines: updates of a bar may be lost, but that every bar closes is provable.

Bars step by their interval, so the open times of those whose close did not come can be told.
"""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

from ..market.keys import grow
from ..market.streams import KLINE_INTERVALS_MS, Stream
from .held import Held, Memory
from .items import Gap, GapReason, Item, Outage
from .track import Track

if TYPE_CHECKING:
    from ..market.payloads import Event

_DAY_MS = 86_400_000
_MONTH_MS = 31 * _DAY_MS
_EPOCH_DAY = dt.date(1970, 1, 1).toordinal()
_LAST_MONTH = 9999 * 12 + 11


class KlineTrack(Track):
    """Klines: updates only grow, but every bar's close is accounted for.

    A gap here is in bars: its ids are the open times (ms) of bars whose close did not come.
    """

    __slots__ = ("_latest", "_open_bar", "_step")

    def __init__(
        self, venue: str, stream: Stream, max_held: int, memory: Memory | None = None
    ) -> None:
        super().__init__(venue, stream, max_held, memory)
        self._open_bar: int | None = None
        """The earliest bar whose close has not been delivered."""
        self._latest = (-1, -1)
        """Open time and event time of the last update delivered."""
        self._step = KLINE_INTERVALS_MS[stream.interval or ""]

    @property
    def due(self) -> int | None:
        """What a gap begins with: the open time of the earliest bar whose close is missing."""
        return self._open_bar

    @property
    def position(self) -> int | None:
        """The open time of the bar that is not closed yet."""
        return self._open_bar

    def resume(self, position: int, limit: int) -> None:
        """Begin with the bar that was open; see :meth:`Track.resume`."""
        self._open_bar = position
        self._resume_by(limit)

    def offer(self, event: Event, now: float, out: list[Item]) -> None:
        """Take a message; append to ``out`` what may be delivered because of it."""
        bar, key = event.data.bar.open_time, self.last_of(event.data)
        if self._open_bar is None or (bar == self._open_bar and (bar, key) > self._latest):
            self._deliver(event, key, key, out)
            self._release(out)
        elif bar > self._open_bar:
            self._hold(Held(bar, key, now, event), out)
        else:
            self.duplicates += 1

    def _after_run(self, due: int, payloads: list[Any]) -> int | None:
        """Updates of the open bar alone are a plain run."""
        open_bar = self._open_bar
        if any(kline.bar.closed or kline.bar.open_time != open_bar for kline in payloads):
            return None
        keys = list(map(self.last_of, payloads))
        if open_bar is None or not grow(keys):
            return None
        self._latest = open_bar, keys[-1]
        return keys[-1] + 1

    def repair_key(self, event: Event) -> int:
        """Where in a gap a message belongs: the open time of its bar."""
        return int(event.data.bar.open_time)

    def position_after(self, item: Event | Gap) -> int:
        """What :meth:`resume` takes to go on after this message or gap."""
        if isinstance(item, Gap):
            return self._after(item.last)
        bar = item.data.bar
        return self._after(bar.open_time) if bar.closed else int(bar.open_time)

    def repair(self, event: Event, out: list[Item]) -> None:
        """Take a closed bar that a repair brought; one that is not of this series is ignored."""
        gap = self.gap
        bar = event.data.bar
        if gap is None or not bar.closed or not gap[0] <= bar.open_time <= gap[1]:
            return
        bars = self._bars(gap[0], bar.open_time - 1)
        if self._at(gap[0], bars) != bar.open_time:
            return
        if bars:
            self.declare(bar.open_time - 1, "venue_missing", out)
        self.ledger.note_repaired(bar.open_time, bar.open_time, 1)
        out.append(event)
        self._open_bar = self._after(bar.open_time)
        self._release(out)

    def lose(self, event: Event, reason: GapReason = "overflow") -> Gap | Outage:
        """An event that had been decided on does not reach the consumer after all."""
        bar = event.data.bar
        if not bar.closed:
            return super().lose(event, reason)
        return self._lose_ids(event, bar.open_time, bar.open_time, 1, reason)

    def declare(
        self, last: int, reason: GapReason, out: list[Item], *, then: Event | None = None
    ) -> None:
        """Declare the bars up to the open time ``last`` as missing."""
        first = self._open_bar
        if first is None or last < first:
            return
        bars = self._bars(first, last)
        final = self._at(first, bars - 1)
        self.ledger.note_missing(first, final, bars, reason)
        out.append(Gap(self.venue, self.stream.name, first, final, reason))
        self._open_bar = max(self._after(final), last + 1)
        self._release(out)

    def _deliver(self, event: Event, first: int, last: int, out: list[Item]) -> None:
        due = self.next
        super()._deliver(event, first, last, out)
        if due is not None:
            self.next = max(due, last + 1)  # the close of a bar may come late
        bar = event.data.bar
        self._latest = bar.open_time, last
        self._open_bar = self._after(bar.open_time) if bar.closed else bar.open_time

    def _release(self, out: list[Item]) -> None:
        released = 0
        for held in self.held:
            assert self._open_bar is not None  # noqa: S101 - it is what was waited for
            if held.first > self._open_bar:
                break
            released += 1
            if held.first == self._open_bar:
                self._deliver(held.event, held.last, held.last, out)
            else:
                self.duplicates += 1
        self.held.drop(released)

    def _covers(self, one: Held, other: Held) -> bool:
        return one[:2] == other[:2]

    def _due_after(self, held: Held) -> int:
        return self._after(held.first) if held.event.data.bar.closed else held.first

    def _width(self, gap: tuple[int, int]) -> int:
        return self._bars(*gap)

    def _back_from(self, last: int, limit: int) -> int:
        return last - limit * (self._step or _MONTH_MS)

    def _after(self, open_time: int) -> int:
        """The open time of the next bar."""
        return self._at(open_time, 1)

    def _at(self, open_time: int, bars: int) -> int:
        """The open time so many bars later."""
        if self._step is not None:
            return open_time + bars * self._step
        # Months of a zone begin at its midnight, which the open time itself tells.
        zone_ms = _midnight_offset(open_time)
        month = min(_month(open_time - zone_ms) + bars, _LAST_MONTH)
        first_day = dt.date(month // 12, month % 12 + 1, 1)
        return (first_day.toordinal() - _EPOCH_DAY) * _DAY_MS + zone_ms

    def _bars(self, first: int, last: int) -> int:
        """How many bars open from ``first`` on, until ``last``; ``first`` is such a time."""
        if last < first:
            return 0
        if self._step is not None:
            return (last - first) // self._step + 1
        zone_ms = _midnight_offset(first)
        return _month(last - zone_ms) - _month(first - zone_ms) + 1


def _midnight_offset(time_ms: int) -> int:
    """Milliseconds from the nearest midnight, UTC, to a time."""
    return (time_ms + _DAY_MS // 2) % _DAY_MS - _DAY_MS // 2


def _month(time_ms: int) -> int:
    """Months from year 0 to a time, as far as dates can be told."""
    day = min(max(time_ms // _DAY_MS + _EPOCH_DAY, 1), dt.date.max.toordinal())
    date = dt.date.fromordinal(day)
    return date.year * 12 + date.month - 1
