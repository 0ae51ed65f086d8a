"""Klines: updates of a bar may be lost, but that every bar closes is provable.

Bars step by their interval, so the open times of those whose close did not come can be told. But
after a halt the exchange opens a bar late, off the grid, and lets it end on it. So what follows a
bar opens where that one ends, as its own close time says; and between two bars only those are
missing that fit in between whole.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..market.keys import grow
from .grid import grid_of
from .renumbering import Place
from .times import AHEAD_S
from .track import Track

if TYPE_CHECKING:
    from ..market.payloads import Bar, Event
    from ..market.streams import Stream
    from .held import Held, Source
    from .items import Gap, GapReason, Item, Outage
    from .numbering import Shared


class KlineTrack(Track):
    """Klines: updates only grow, but every bar's close is accounted for.

    A gap here is in bars: its ids are the open times of bars whose close did not come.
    """

    __slots__ = ("_ends", "_grid", "_latest", "_open_bar")

    duplicates: int
    delivered_at: float | None
    delivered_time: int | None

    def __init__(self, venue: str, stream: Stream, shared: Shared) -> None:
        super().__init__(venue, stream, shared)
        self._open_bar: int | None = None
        """Where the earliest bar opens whose close has not been delivered; or would, on the grid,
        as long as nothing of it has come."""
        self._ends: int | None = None
        """Where that bar ends, once something of it has come."""
        self._latest = (-1, -1)
        """Open time and event time of the last update delivered."""
        self._grid = grid_of(stream.interval or "", shared.unit)

    @property
    def due(self) -> int | None:
        """What a gap begins with: the open time of the earliest bar whose close is missing."""
        return self._open_bar

    @property
    def position(self) -> int | None:
        """The open time of the bar that is not closed yet."""
        return self._open_bar

    def resume(
        self,
        position: int,
        limit: int,
        time: int | None = None,
        received: float | None = None,
        trade: int | None = None,
    ) -> None:
        """Begin with the bar that was open; see :meth:`Track.resume`."""
        self._open_bar = position
        if time is not None:
            self.next, self._latest = time + 1, (position, time)
        self._was_away(received)
        self._resume_by(limit)

    def offer(
        self, event: Event[Any], now: float, out: list[Item], source: Source | None = None
    ) -> None:
        """Take a message; append to ``out`` what may be delivered because of it."""
        kline = event.data
        bar, key = kline.bar, kline.event_time
        if (  # one more update of the open bar
            self._ends is not None
            and bar.open_time == self._open_bar
            and self.next is not None
            and self.next <= key < self.ceiling
            and not (bar.closed or self.wary or self.interrupted or self.held)
        ):
            self.next = key + 1
            self._latest = bar.open_time, key
            self.delivered_at, self.delivered_time = event.received, key
            out.append(event)
        else:
            super().offer(event, now, out, source)

    def _place(self, event: Event[Any], first: int, last: int, now: float) -> Place:
        bar = event.data.bar.open_time
        if (bar, last) in (self._latest, *((held.first, held.last) for held in self.held)):
            return Place.COPY  # whatever this machine's clock says
        ahead = int(AHEAD_S) * self._per_second
        if (bar != self._open_bar and bar > last + ahead) or not self._grows_to(last, event):
            return Place.FAR  # the one time is absurd, or the other
        if not self._is_on_grid(bar) or self._ends_suspect(bar):
            return Place.FAR
        if self._open_bar is None or (bar, last) > max(self._latest, (self._open_bar, -1)):
            return Place.NEXT  # or behind bars that are missing, as is found when it is taken
        if self._overlaps(event.data.bar):
            return Place.LOW  # of the two only one is a bar of this series
        absurd = self.next is not None and self.clock.is_ahead(self.next - 1, event.received)
        return Place.LOW if absurd and self._starves(now) else Place.COPY

    def _is_on_grid(self, open_time: int) -> bool:
        """Whether a bar that opens then needs no second message to be believed.

        After a halt one opens late; a single message of such a bar may be a false one.
        """
        due = self._open_bar
        if due is None or open_time <= due:
            return True
        start = due if self._ends is None else self._ends
        return open_time == self._grid.at(start, self._grid.whole_bars(start, open_time))

    def _lies_below(self, held: Held) -> bool:
        return super()._lies_below(held) or self._overlaps(held.event.data.bar)

    def _overlaps(self, bar: Bar) -> bool:
        """Whether a bar ends within the open one, of which something has come."""
        begun, ends = self._open_bar, self._ends
        if begun is None or ends is None:
            return False
        return bar.open_time < begun < self._grid.end_of(bar)

    def _ends_suspect(self, open_time: int) -> bool:
        """Whether a bar that opens then speaks for a suspect: for one that closes there."""
        if self.doubts is None:
            return False
        bars = (held.event.data.bar for held in self.doubts.held)
        return any(bar.closed and self._grid.end_of(bar) == open_time for bar in bars)

    def _begin_anew(self, held: Held, out: list[Item]) -> None:
        super()._begin_anew(held, out)
        self._open_bar = self._ends = None

    def _take(self, held: Held, out: list[Item]) -> None:
        event, bar = held.event, held.event.data.bar.open_time
        if self._open_bar is None or (
            (bar, held.last) > max(self._latest, (self._open_bar, -1))
            and not self._missing_before(bar)
        ):
            self._deliver(event, held.last, held.last, out)
            self._release(out)
        elif bar > self._open_bar:
            self._hold(held._replace(first=bar), out)
        else:
            self.duplicates += 1

    def _after_run(self, due: int, payloads: list[Any]) -> int | None:
        """Updates of the open bar alone are a plain run."""
        open_bar = self._open_bar
        if any(kline.bar.closed or kline.bar.open_time != open_bar for kline in payloads):
            return None
        keys = list(map(self.last_of, payloads))
        if open_bar is None or self._ends is None or not grow(keys) or keys[-1] >= self.ceiling:
            return None
        self._latest = open_bar, keys[-1]
        return keys[-1] + 1

    def repair_key(self, event: Event[Any]) -> int:
        """Where in a gap a message belongs: the open time of its bar."""
        return int(event.data.bar.open_time)

    def repair(self, event: Event[Any], out: list[Item]) -> None:
        """Take a closed bar that a repair brought; one that is not of this series is ignored."""
        gap = self.gap
        bar = event.data.bar
        if gap is None or not bar.closed or not gap[0] <= bar.open_time <= gap[1]:
            return
        if bar.close_time > self._grid.after(bar.open_time):
            return
        # What is held may begin where this bar ends, which may be a short one, so it waits for it.
        self._pass_over(bar.open_time - 1, "venue_missing", out)
        self.ledger.note_repaired(bar.open_time, bar.open_time, 1)
        out.append(event)
        self._open_bar, self._ends = self._grid.end_of(bar), None
        self._release(out)

    def lose(self, event: Event[Any], reason: GapReason = "overflow") -> Gap | Outage:
        """An event that had been decided on does not reach the consumer after all."""
        bar = event.data.bar
        if not bar.closed:
            return super().lose(event)
        return self._lose_ids(event, bar.open_time, bar.open_time, 1, reason)

    def declare(
        self, last: int, reason: GapReason, out: list[Item], *, then: Event | None = None
    ) -> None:
        """Declare the bars that end by ``last`` as missing."""
        self._pass_over(last, reason, out)
        self._release(out)

    def _pass_over(self, last: int, reason: GapReason, out: list[Item]) -> None:
        """Declare bars, if there are any, and release nothing."""
        first = self._open_bar
        bars = self._missing_before(last + 1)
        if first is None or not bars:
            return
        final, after = self._missing(bars - 1), self._missing(bars)
        self.ledger.note_missing(first, final, bars, reason)
        out.append(self._gap(first, final, reason, self.delivered_at, self._reached_at(final)))
        self._open_bar, self._ends = max(after, last + 1), None

    def _deliver(self, event: Event[Any], first: int, last: int, out: list[Item]) -> None:
        due = self.next
        super()._deliver(event, first, last, out)
        if due is not None:
            self.next = max(due, last + 1)  # the close of a bar may come late
        bar = event.data.bar
        self._latest = bar.open_time, last
        end = self._grid.end_of(bar)
        self._open_bar, self._ends = (end, None) if bar.closed else (bar.open_time, end)

    def _release(self, out: list[Item]) -> None:
        released = 0
        for held in self.held:
            assert self._open_bar is not None  # noqa: S101 - it is what was waited for
            if self._missing_before(held.first):
                break
            released += 1
            if held.first >= self._open_bar:
                self._deliver(held.event, held.last, held.last, out)
            else:
                self.duplicates += 1
        self.held.drop(released)

    def _covers(self, one: Held, other: Held) -> bool:
        return False  # of what is held, a copy is known by its place

    def _due_after(self, held: Held) -> int:
        bar = held.event.data.bar
        return self._grid.end_of(bar) if bar.closed else held.first

    def _width(self, gap: tuple[int, int]) -> int:
        return self._missing_before(gap[1] + 1)

    def _back_from(self, last: int, limit: int) -> int:
        return self._missing(max(0, self._missing_before(last + 1) - limit)) - 1

    def _missing_before(self, open_time: int) -> int:
        """How many bars must have closed before one that opens then, and did not."""
        due = self._open_bar
        if due is None or open_time <= due:
            return 0
        if self._ends is None:
            return self._grid.whole_bars(due, open_time)
        return 1 + self._grid.whole_bars(self._ends, open_time)

    def _missing(self, number: int) -> int:
        """The open time of one of the missing bars; 0 is the first."""
        due = self._open_bar
        assert due is not None  # noqa: S101 - else none is missing
        if not number or self._ends is None:
            return self._grid.at(due, number)
        return self._grid.at(self._ends, number - 1)
