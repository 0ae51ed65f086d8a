"""The order in which recorded files were written, as far as anything depends on it.

Whether an id is there does not. But where a venue began its ids anew, what comes before and after
is told apart by the order of delivery: in a file by the place, between files by when they began.
"""

from __future__ import annotations

from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ..layout import JournalId
from ..linesfile import LinesFile
from ..rotated import JOURNAL, age
from ..schema import REMARKS
from ..sources import SealedFile

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ..linesfile import Source


class Batch(NamedTuple):
    """Files that share one order of delivery: one file, or what was sealed of one journal.

    :ivar name: what tells it apart.
    :ivar sources: those of remarks first.
    """

    name: str
    sources: list[Source]


def batches(sources: Iterable[Source]) -> list[Batch]:
    """The batches of recorded files, in the order in which they were written.

    Rotated files of one name stay together; what was fetched later comes last.
    """
    found: dict[str, Batch] = {}
    for source in sources:
        found.setdefault(source.batch, Batch(source.batch, [])).sources.append(source)
    begins: dict[str, float] = {}
    keyed: list[tuple[tuple[object, ...], Batch]] = []
    for batch in found.values():
        batch.sources[:] = _in_order(batch.sources)
        source = batch.sources[0]
        family, within, began = _began(source)
        begins[family] = min(began, begins.get(family, began))
        keyed.append(((source.healed, family, within), batch))
    keyed.sort(key=lambda pair: (pair[0][0], begins[str(pair[0][1])], *pair[0][1:]))
    return [batch for _, batch in keyed]


def _began(source: Source) -> tuple[str, tuple[object, ...], float]:
    """Of what family a file is, its place in that, and when it began (Unix time)."""
    if isinstance(source, SealedFile):
        journal = JournalId.parse(source.place.batch)
    elif isinstance(source, LinesFile):
        name, *rest = age(source.path)
        if source.path.parent.name != JOURNAL:
            return str(name), tuple(rest), source.began()
        journal = JournalId.parse(Path(source.path.name).stem)
    else:
        return source.name, (), 0.0
    if journal is None:
        return source.batch, (), 0.0
    # Each journal of a dataset has a place of its own among other files.
    return source.batch, (journal.number,), journal.hour.timestamp()


def _in_order(sources: Iterable[Source]) -> Iterator[Source]:
    """The files of a batch, those of a stream in the order of their rows.

    Mostly that is the order of their days. Where the clock was set back over midnight, later rows
    are of the earlier day.
    """
    for _, days in groupby(sorted(sources, key=_place), key=_place):
        of_stream = list(days)
        if len(of_stream) > 1:
            of_stream.sort(key=_first_row)
        yield from of_stream


def _first_row(source: Source) -> int:
    return source.first_sequence() if isinstance(source, SealedFile) else 0


def _place(source: Source) -> tuple[object, ...]:
    if not isinstance(source, SealedFile):
        return (False, source.name)
    place = source.place
    return (place.table not in REMARKS, place.kind, place.symbol, place.label)
