"""Courses: what one feed delivered, in its order, and how several of them are told together.

A course is an iterator of lists of items. What one feed wrote, be it into one file, into rotated
ones or into a dataset's journals, is one course.
"""

from __future__ import annotations

import heapq
import math
import operator
from typing import TYPE_CHECKING, TypeAlias

from ..market.payloads import Event
from ..sinks.parsing import items_of

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator

    from ..continuity.items import Item
    from ..sinks.parsing import Line
    from .linesfile import LinesFile
    from .wanted import Wanted

    Course: TypeAlias = Generator[list[Item]]

READ_BYTES = 1 << 20
"""Text of a file of lines that is held at once."""
TOGETHER = 1024
"""Items that are handed on together where they come one by one."""


def of_lines(files: Iterable[LinesFile], wanted: Wanted) -> Course:
    """What stands in files of lines, one behind the other."""
    for file in files:
        latest = -math.inf
        for lines in file.lines(READ_BYTES):
            yield items_of(_wanted_lines(lines, wanted, latest))
            latest = max([latest, *(line.received for line in lines if line.origin == "live")])
            if wanted.is_past(latest):
                return


def _wanted_lines(lines: Iterable[Line], wanted: Wanted, latest: float) -> list[Line]:
    """Those of them that are wanted.

    :param latest: when the message before them was received, for a remark that tells no time.
    """
    found: list[Line] = []
    for line in lines:
        latest = line.received if line.is_message else told_at(line, latest)
        if wanted.takes(line.stream, latest):
            found.append(line)
    return found


def told_at(line: Line, latest: float) -> float:
    """When a remark was told, as far as it says so.

    :param latest: when the message before it was received.
    """
    said = line.gap or line.outage or line.venue_changed
    if said is None:
        return latest
    times = (said.until, said.since, latest)
    return next(time for time in times if time is not None)


def in_lists(items: Iterable[Item]) -> Course:
    """The same, some together."""
    batch: list[Item] = []
    for item in items:
        batch.append(item)
        if len(batch) == TOGETHER:
            yield batch
            batch = []
    if batch:
        yield batch


def told_together(courses: Iterable[Course]) -> Course:
    """Several courses as one, by when their items were delivered; each keeps its order."""
    merged = heapq.merge(*map(_timed, courses), key=operator.itemgetter(0))
    yield from in_lists(item for _, item in merged)


def _timed(course: Course) -> Iterator[tuple[float, Item]]:
    latest = -math.inf
    for items in course:
        for due, item in zip(due_times(items, latest), items, strict=True):
            latest = due
            yield due, item


def due_times(items: list[Item], latest: float) -> list[float]:
    """When each item was delivered, as far as is known; Unix time in seconds.

    That is when the live message was received, and never before the item in front of it, which it
    may have waited for. Whatever else there is, remarks and what REST brought, late perhaps by
    days, goes with the message that follows.

    :param latest: of the item before.
    """
    times: list[float] = []
    waiting = 0
    for item in items:
        if isinstance(item, Event) and item.origin == "live":
            latest = max(latest, item.received)
            times += [latest] * (waiting + 1)
            waiting = 0
        else:
            waiting += 1
    return times + [latest] * waiting
