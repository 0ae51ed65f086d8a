"""Datasets in the order in which the feed delivered, over all files that a journal was made of.

Of each file of a journal a few rows are held, and merged by their places in the journal. Journals
follow each other by their hours; those of one hour, which a restart or a second program began, are
told together.
"""

from __future__ import annotations

import heapq
import itertools
import math
import operator
import resource
from collections import defaultdict
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ..errors import ConfigError, Unreadable
from ..market.payloads import NS
from ..market.units import US
from .catalogue import find, open_dataset
from .columns import Piece
from .courses import in_lists, of_lines, told_together
from .filled import HealedLines, Spans, filled
from .layout import HEALED, JournalId, stream_of
from .linesfile import LinesFile
from .rebuilding import items_of
from .rotated import ENDING
from .schema import REMARKS
from .sources import SealedFile, row_groups
from .wanted import LATE_S

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    import pyarrow.parquet as pq

    from ..continuity.items import Gap, Item
    from ..market.payloads import Event
    from ..market.units import TimeUnit
    from .courses import Course
    from .rebuilding import Placed
    from .wanted import Wanted

READ_ROWS = 1024
"""Rows of a file that are held as columns."""
BUILT_ROWS = 64
"""Of these, rows that are held as items. So a file of an hour takes 5 MiB at most, nearly all of it
pages and dictionaries of Parquet, and less than 1 MiB where there are some thousand rows in it."""
OTHER_FILES = 64
"""Files that a program has open besides."""
HOUR_S = 3600.0


def courses_of(paths: Iterable[str], wanted: Wanted) -> list[Course]:
    """One course for each dataset.

    :param paths: their folders or URLs, or sealed files.
    :raises ConfigError: if one of them cannot be read.
    """
    courses: list[Course] = []
    single: dict[PurePosixPath, list[SealedFile]] = defaultdict(list)
    for path in paths:
        if str(path).endswith(ENDING):
            for file in find([path]):
                if isinstance(file, SealedFile):
                    single[PurePosixPath(file.path).parents[4]].append(file)
            continue
        dataset = open_dataset(path)
        journals: dict[JournalId, LinesFile] = {}
        interrupted: list[LinesFile] = []
        for name, file in zip(dataset.journals, dataset.unsealed, strict=True):
            if not isinstance(file, LinesFile):
                raise Unreadable(file.why)
            journal = JournalId.parse(name)
            if journal is None:
                interrupted.append(file)
            else:
                journals[journal] = file
        course = _dataset(journals, dataset.sealed, wanted)
        for file in interrupted:
            course = filled(course, HealedLines(file))
        courses.append(course)
    courses += [_dataset({}, files, wanted) for files in single.values()]
    return courses


def _dataset(
    journals: dict[JournalId, LinesFile], sealed: Sequence[SealedFile], wanted: Wanted
) -> Course:
    batches: dict[JournalId, list[SealedFile]] = defaultdict(list)
    healed: list[SealedFile] = []
    for file in sealed:
        journal = JournalId.parse(file.place.batch)
        if file.place.batch.startswith(HEALED):
            healed.append(file)
        elif journal is not None:
            batches[journal].append(file)
    course = _hours({**batches, **journals}, wanted)
    return filled(course, HealedFiles(healed, wanted.unit)) if healed else course


def _hours(batches: dict[JournalId, list[SealedFile] | LinesFile], wanted: Wanted) -> Course:
    by_hour = itertools.groupby(sorted(batches), key=operator.attrgetter("hour"))
    for hour, ids in by_hour:
        began = hour.timestamp()
        if began + HOUR_S + LATE_S <= wanted.start:
            continue
        if wanted.is_past(began):
            return
        courses = [journal_course(batches[journal], wanted) for journal in ids]
        yield from courses[0] if len(courses) == 1 else told_together(courses)


def journal_course(batch: list[SealedFile] | LinesFile, wanted: Wanted) -> Course:
    """What one journal holds, or what was made of it.

    :raises ConfigError: if those are more files than may be open at once.
    """
    if isinstance(batch, LinesFile):
        yield from of_lines([batch], wanted)
        return
    files = [file for file in batch if wanted.streams is None or _may_hold(file, wanted.streams)]
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit != resource.RLIM_INFINITY and len(files) + OTHER_FILES > limit:
        raise ConfigError(
            f"the journal of {files[0].name} became {len(files)} files, more than may be open at "
            f"once; allow that with 'ulimit -n {2 * len(files) + OTHER_FILES}', or name streams"
        )
    rows = heapq.merge(
        *(_placed(file, wanted) for file in files), key=operator.attrgetter("sequence")
    )
    yield from in_lists(item for _, item in rows)


def _may_hold(file: SealedFile, streams: frozenset[str]) -> bool:
    stream = stream_of(file.place)
    return stream is None or stream in streams


def _placed(file: SealedFile, wanted: Wanted) -> Iterator[Placed]:
    """What a sealed file holds, in the order of its journal."""
    with file.opened() as parquet:
        try:
            for batch in _in_order(parquet, wanted):
                rows = _wanted_rows(file, batch, wanted)
                for start in range(0, rows.num_rows, BUILT_ROWS):
                    yield from _built(file, rows.slice(start, BUILT_ROWS), wanted.unit)
        except (OSError, pa.ArrowException) as error:
            raise Unreadable(f"{file.name} is broken ({error})") from error


def _in_order(parquet: pq.ParquetFile, wanted: Wanted) -> Iterator[pa.RecordBatch]:
    """Its rows in the order of the journal.

    They are sorted by id, which nearly always is the same. Where it is not, as after ids that a
    crash let be delivered again, all of the file is sorted at once: it is a stream's, of one hour.
    """
    groups = row_groups(parquet.metadata, "received_ns", wanted.start * NS, wanted.end * NS)
    places = parquet.read_row_groups(groups, ["sequence"]).column("sequence").to_numpy()
    if (places[1:] >= places[:-1]).all():
        yield from parquet.iter_batches(READ_ROWS, groups)
    else:
        rows = parquet.read_row_groups(groups)
        yield from rows.take(pa.array(np.argsort(places))).to_batches(READ_ROWS)


def _wanted_rows(file: SealedFile, batch: pa.RecordBatch, wanted: Wanted) -> pa.RecordBatch:
    remarks = file.place.table in REMARKS
    if remarks:
        received = np.asarray(batch.column("time").cast(pa.int64())) * (NS // 1_000_000)
    else:
        received = np.asarray(batch.column("received_ns"))
    keep: Any = (received >= wanted.start * NS) & (received < wanted.end * NS)
    if remarks:
        keep |= received == 0  # it tells no time
        if wanted.streams is not None:
            named = pc.is_in(batch.column("stream"), value_set=pa.array(sorted(wanted.streams)))
            keep &= np.asarray(named)
    return batch if keep.all() else batch.filter(pa.array(keep))


def _built(file: SealedFile, rows: pa.RecordBatch, unit: TimeUnit) -> Iterable[Placed]:
    place = file.place
    stream = stream_of(place)
    if stream is not None:
        return items_of(Piece(place.table, place.venue, stream, rows), unit)
    names = rows.column("stream")
    found = itertools.chain.from_iterable(
        items_of(
            Piece(place.table, place.venue, name.as_py(), rows.filter(pc.equal(names, name))), unit
        )
        for name in pc.unique(names)
    )
    return sorted(found, key=operator.attrgetter("sequence"))


class HealedFiles:
    """What was fetched later and sealed.

    :param unit: of the payloads' times.
    """

    def __init__(self, files: Iterable[SealedFile], unit: TimeUnit) -> None:
        self._unit = unit
        self._files: dict[tuple[str, str], list[SealedFile]] = defaultdict(list)
        for file in files:
            stream = stream_of(file.place)
            if stream is not None:
                self._files[file.place.venue, stream].append(file)

    def rows(self, gap: Gap) -> Iterator[Event]:
        """See :class:`.filled.Healing`."""
        spans = Spans(gap)
        files = self._files.get((gap.venue, gap.stream), ())
        merged = heapq.merge(*(self._of(file, gap, spans) for file in files), key=_first)
        return (event for _, event in merged)

    def _of(self, file: SealedFile, gap: Gap, spans: Spans) -> Iterator[tuple[int, Event]]:
        table = file.place.table
        bars = table.name == "kline"
        first, last = ("open_time", "open_time") if bars else (table.first, table.last)
        low, high = (US.of(gap.first), US.of(gap.last)) if bars else (gap.first, gap.last)
        with file.opened() as parquet:
            try:
                groups = row_groups(parquet.metadata, last, low, math.inf)
                for batch in parquet.iter_batches(READ_ROWS, groups):
                    begins, ends = (
                        np.asarray(batch.column(name).cast(pa.int64())) for name in (first, last)
                    )
                    rows = batch.filter(pa.array((begins <= high) & (ends >= low)))
                    for start in range(0, rows.num_rows, BUILT_ROWS):
                        for _, item in _built(file, rows.slice(start, BUILT_ROWS), self._unit):
                            event: Any = item
                            span = spans.of(event)
                            if span is not None:
                                yield span.first, event
            except (OSError, pa.ArrowException) as error:
                raise Unreadable(f"{file.name} is broken ({error})") from error


def _first(row: tuple[int, Item]) -> int:
    return row[0]
