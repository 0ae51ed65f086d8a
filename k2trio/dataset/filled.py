"""Gaps that were healed: in the place of the gap stands what was fetched later for it.

So it does in the place of a hole that nobody named, as a sealed file leaves one that is gone.
"""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from ..continuity.items import Gap
from ..market.keys import key_getters
from ..market.payloads import Event, Kline
from ..market.streams import KLINE_INTERVALS_MS, Kind, stream_of
from ..market.units import MS, US
from ..sinks.parsing import item_of
from .courses import TOGETHER

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ..continuity.items import Item
    from ..market.streams import Stream
    from ..market.units import TimeUnit
    from .courses import Course
    from .linesfile import LinesFile

NOT_MISSING = frozenset({"reset", "shared_id"})
"""Reasons of gaps whose ids were never to be had."""


class Healing(Protocol):
    """What was fetched later."""

    def rows(self, gap: Gap) -> Iterator[Event]:
        """What lies in a gap, in the order of its ids."""
        ...


class Span(NamedTuple):
    """What a message covers, in the numbers of a gap: ids, or open times of bars.

    :ivar after: the number that follows.
    """

    first: int
    after: int


class Spans:
    """Tells what messages of a gap's stream cover.

    :ivar unit: of the gap's times.
    """

    def __init__(self, gap: Gap) -> None:
        self.unit: TimeUnit = _unit_of(gap.first)
        self._stream: Stream = stream_of(gap.venue, gap.stream)
        self._bars = self._stream.kind is Kind.KLINE
        first, last = key_getters(self._stream.kind, self._stream.product)
        self._first: Callable[[Any], int] = first
        self._last: Callable[[Any], int] = last

    def of(self, event: Event) -> Span | None:
        """What a message covers; None of a bar that is not closed."""
        data: Any = event.data
        if not self._bars:
            return Span(self._first(data), self._last(data) + 1)
        if not data.bar.closed:
            return None
        # What follows a bar begins on a whole millisecond.
        return Span(self.unit.of(data.bar.open_time), self.unit.of(data.bar.close_time + 1))

    def before(self, first: int) -> int:
        """The number in front of one."""
        if not self._bars:
            return first - 1
        step_ms = KLINE_INTERVALS_MS[self._stream.interval or ""]
        if step_ms is not None:
            return first - step_ms * self.unit.per_ms
        last_day = dt.datetime.fromtimestamp(first / self.unit.per_second - 1, dt.UTC)
        month = last_day.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
        return int(month.timestamp()) * self.unit.per_second


def _unit_of(time: int) -> TimeUnit:
    return US if US.of(time) == time else MS


class _Holes:
    """Finds holes that nobody named, of streams of which REST tells what is missing."""

    def __init__(self) -> None:
        self._due: dict[tuple[str, str], int] = {}
        """Of each stream the number that comes next."""

    def before(self, item: Item) -> Gap | None:
        """What is missing, unnamed, between an item and the one of its stream before it."""
        key = item.venue, item.stream
        if isinstance(item, Gap):
            self._due.pop(key, None)  # what follows it follows it closely, or begins anew
            return None
        if not isinstance(item, Event):
            return None
        if not stream_of(item.venue, item.stream).order.repair.has_history:
            return None
        spans = Spans(Gap(*key, _bar_or_id(item), 0, "not_repaired"))
        span = spans.of(item)
        if span is None:
            return None
        due = self._due.get(key, span.first)
        self._due[key] = max(due, span.after)
        if span.first <= due:
            return None
        return Gap(*key, due, spans.before(span.first), "not_repaired")


def _bar_or_id(event: Event) -> int:
    data: Any = event.data
    return data.bar.open_time if isinstance(data, Kline) else 0


def filled(course: Course, healing: Healing) -> Course:
    """A course with what was fetched later in the place of its gaps; what is left of them stays."""
    holes = _Holes()
    for items in course:
        batch: list[Item] = []
        for item in items:
            for part in _told(item, holes, healing):
                batch.append(part)
                if len(batch) >= TOGETHER:
                    yield batch
                    batch = []
        yield batch


def _told(item: Item, holes: _Holes, healing: Healing) -> Iterator[Item]:
    """An item, or what it has become, behind what was fetched for a hole before it."""
    hole = holes.before(item)
    if hole is not None:
        yield from (part for part in _parts(hole, healing) if isinstance(part, Event))
    if isinstance(item, Gap) and item.reason not in NOT_MISSING:
        yield from _parts(item, healing)
    else:
        yield item


def _parts(gap: Gap, healing: Healing) -> Iterator[Item]:
    """What a gap has become: messages, and smaller gaps between them."""
    spans = Spans(gap)
    first = gap.first
    for event in healing.rows(gap):
        span = spans.of(event)
        if span is None or not first <= span.first <= gap.last:
            continue  # it is there already, or not missing
        if span.first > first:
            yield _left(gap, first, spans.before(span.first))
        yield event
        first = span.after
    if first <= gap.last:
        yield _left(gap, first, gap.last)


def _left(gap: Gap, first: int, last: int) -> Gap:
    return Gap(gap.venue, gap.stream, first, last, gap.reason, gap.since, gap.until)


class HealedLines:
    """What was fetched later for a file of JSON lines, and lies beside it.

    It is looked through for every gap, so that of the rest nothing is held.
    """

    def __init__(self, file: LinesFile) -> None:
        self._file = file

    def rows(self, gap: Gap) -> Iterator[Event]:
        """See :class:`Healing`."""
        spans = Spans(gap)
        found: list[tuple[int, Event]] = []
        for lines in self._file.lines():
            for line in lines:
                if line.stream != gap.stream or not line.is_message or line.venue != gap.venue:
                    continue
                event = item_of(line)
                span = spans.of(event)  # type: ignore[arg-type] # a message is an event
                if span is not None and gap.first <= span.first <= gap.last:
                    found.append((span.first, event))  # type: ignore[arg-type]
        for _, event in sorted(found, key=lambda one: one[0]):
            yield event
