"""Gaps that were healed: in the place of the gap stands what was fetched later for it."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, NamedTuple, Protocol

from ..continuity.items import Gap
from ..market.keys import key_getters
from ..market.streams import KLINE_INTERVALS_MS, Kind, parse_stream
from ..market.units import MS, US
from .courses import TOGETHER
from .lines import item_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from ..continuity.items import Item
    from ..market.payloads import Event
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
        self.unit: TimeUnit = US if US.of(gap.first) == gap.first else MS
        self._stream: Stream = parse_stream(gap.stream)
        self._bars = self._stream.kind is Kind.KLINE
        first, last = key_getters(self._stream.kind)
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


def filled(course: Course, healing: Healing) -> Course:
    """A course with what was fetched later in the place of its gaps; what is left of them stays."""
    for items in course:
        batch: list[Item] = []
        for item in items:
            if not isinstance(item, Gap) or item.reason in NOT_MISSING:
                batch.append(item)
                continue
            for part in _parts(item, healing):
                batch.append(part)
                if len(batch) >= TOGETHER:
                    yield batch
                    batch = []
        yield batch


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
