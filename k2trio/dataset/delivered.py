"""Recorded items in the order in which the feed delivered them, over all files of a recording.

What one feed wrote, be it into one file, into rotated ones or into a dataset's folder, is a
*course*, and its order is kept. Several courses are told together, by when their messages were
received.
"""

from __future__ import annotations

import heapq
import operator
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import ConfigError
from ..market.payloads import Event
from .lines import items_of
from .linesfile import LinesFile
from .rotated import JOURNAL, age, lines_files, series

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator, Sequence

    from ..continuity.items import Item
    from .lines import Line
    from .wanted import Wanted

READ_BYTES = 1 << 20
"""Text of a file of lines that is held at once."""
MERGED_ITEMS = 1024
"""Items that are handed on together where courses are merged."""
SEALED_FOLDER = "_sealed"


def delivered(paths: Sequence[str | Path], wanted: Wanted) -> Generator[list[Item]]:
    """What was recorded, in the order of delivery.

    :param paths: recorded files, folders of them, and datasets.
    :raises ConfigError: if one of them leads nowhere, or needs an extra.
    :raises Unreadable: where a file is not what it should be, after what was before that.
    """
    courses = _courses(paths, wanted)
    if len(courses) == 1:
        yield from courses[0]
    else:
        yield from _merged(courses)


def _courses(paths: Sequence[str | Path], wanted: Wanted) -> list[Iterator[list[Item]]]:
    """One iterator a course; nothing is read yet."""
    lines: list[Path] = []
    others: list[str | Path] = []
    for path in paths:
        if "://" in str(path) or Path(path).suffix == ".parquet":
            others.append(path)
        elif not (local := Path(path)).exists():
            raise ConfigError(f"there is no {path}; name a recorded file or a dataset's folder")
        elif local.is_dir() and _is_dataset(local):
            others.append(path)
        else:
            lines += lines_files(local) if local.is_dir() else [local]
    rotated: dict[object, list[Path]] = {}
    for path in sorted(dict.fromkeys(path.absolute() for path in lines), key=age):
        rotated.setdefault(series(path), []).append(path)
    courses = [_of_lines([LinesFile(p) for p in paths], wanted) for paths in rotated.values()]
    if others:
        raise ConfigError(f"{others[0]} is no file of JSON lines, and no folder of such files")
    if not courses:
        raise ConfigError(f"nothing is recorded in {', '.join(map(str, paths))}")
    return courses


def _is_dataset(folder: Path) -> bool:
    """Whether it is, or has in it, more than files of lines."""
    marks = (folder / JOURNAL, folder / SEALED_FOLDER)
    return any(mark.is_dir() for mark in marks) or next(folder.rglob("*.parquet"), None) is not None


def _of_lines(files: list[LinesFile], wanted: Wanted) -> Iterator[list[Item]]:
    for file in files:
        latest = float("-inf")
        for lines in file.lines(READ_BYTES):
            yield items_of(wanted_lines(lines, wanted, latest))
            latest = max([latest, *(line.received for line in lines if line.origin == "live")])
            if wanted.is_past(latest):
                return


def wanted_lines(lines: Iterable[Line], wanted: Wanted, latest: float) -> list[Line]:
    """Those of them that are wanted.

    :param latest: when the message before them was received, for a remark that tells no time.
    """
    found: list[Line] = []
    for line in lines:
        latest = line.received if line.is_message else _told_at(line, latest)
        if wanted.takes(line.stream, latest):
            found.append(line)
    return found


def _told_at(line: Line, latest: float) -> float:
    """When the remark was told, as far as it says so."""
    said = line.gap or line.outage or line.venue_changed
    if said is None:
        return latest
    times = (said.until, said.since, latest)
    return next(time for time in times if time is not None)


def _merged(courses: Iterable[Iterator[list[Item]]]) -> Iterator[list[Item]]:
    batch: list[Item] = []
    for _, item in heapq.merge(*map(_timed, courses), key=operator.itemgetter(0)):
        batch.append(item)
        if len(batch) == MERGED_ITEMS:
            yield batch
            batch = []
    if batch:
        yield batch


def _timed(course: Iterator[list[Item]]) -> Iterator[tuple[float, Item]]:
    """Each item, and when it was delivered at the earliest; a remark belongs to what follows."""
    latest = float("-inf")
    for items in course:
        for due, item in zip(due_times(items, latest), items, strict=True):
            latest = due
            yield due, item


def due_times(items: list[Item], latest: float) -> list[float]:
    """When each item was delivered at the earliest; Unix time in seconds.

    That is when the message was received, and never before the item in front of it, which it may
    have waited for. A remark is told with the message that follows.

    :param latest: of the item before.
    """
    times: list[float] = []
    waiting = 0
    for item in items:
        if isinstance(item, Event):
            latest = max(latest, item.received)
            times += [latest] * (waiting + 1)
            waiting = 0
        else:
            waiting += 1
    return times + [latest] * waiting
