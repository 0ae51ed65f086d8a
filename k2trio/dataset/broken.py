"""Sealed files that are gone or cut short: what they held, and how a dataset goes on without them.

A file that is as its seal says is none of these, whatever keeps it from being read now: a newer
version, a right that is missing, a store that does not answer. It would be removed in the end.

What was in such a file is missing as if it had never come, and is healed as any other hole is. When
that is done its seal is written anew, without it.
"""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import TYPE_CHECKING, NamedTuple

import msgspec
import numpy as np

from ..continuity.items import Outage
from ..errors import Unreadable
from ..market.streams import Kind
from .layout import JournalId
from .proof.bars import Bars
from .proof.digests import Digests
from .schema import KEYED, TABLES
from .seals import put_seal

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .catalogue import Dataset
    from .proof.runs import Ranges
    from .seals import Seal, SealedPart
    from .sources import SealedFile
    from .stores import Store

HOUR_S = 3600.0
_KEYED = frozenset(table.name for table in KEYED)


class Broken(NamedTuple):
    """A sealed file that cannot be read, and the seal that names it."""

    seal: Seal
    part: SealedPart

    @property
    def outage(self) -> Outage | None:
        """The time of which nothing is known any more, where no id tells what is missing."""
        journal = JournalId.parse(self.seal.batch)
        if journal is None or self.part.kind not in _KEYED:
            return None
        since = journal.hour.timestamp()
        return Outage(self.part.venue, self.part.stream, since, since + HOUR_S)

    def lost(self, ranges: Ranges) -> list[tuple[int, int]]:
        """The ids, or the times of bars, that it held and that are nowhere else.

        :param ranges: those that are there.
        """
        first, last = self.part.first, self.part.last
        if first is None or last is None:
            return []
        if self.part.kind == TABLES[Kind.KLINE].name:
            step = Bars.of(self.part.stream).step  # type: ignore[union-attr] # they are bars
            if step is None:
                return []
            # It is sorted by when the updates were made: the first may have closed a bar, and the
            # last one is of a bar that was open.
            first, last = (first // step - 1) * step, last // step * step - 1
        return _without(first, last, ranges)


def broken_parts(dataset: Dataset, seals: Sequence[Seal]) -> list[Broken]:
    """The sealed files that are missing, or cannot be read and are not as they were sealed."""
    files = {file.path: file for file in dataset.sealed}
    digests = Digests()
    found: list[Broken] = []
    for seal in seals:
        for part in seal.files:
            file = files.get(f"{dataset.root}/{part.path}")
            if file is None or not (_is_whole(file) or _is_as_sealed(file, part, digests)):
                found.append(Broken(seal, part))
    return found


def _is_whole(file: SealedFile) -> bool:
    try:
        file.opened().close()
    except Unreadable:
        return False
    return True


def _is_as_sealed(file: SealedFile, part: SealedPart, digests: Digests) -> bool:
    """Whether nothing speaks against that: what cannot be read at all may be so."""
    try:
        return file.size == part.bytes and digests.of(file) == part.sha256
    except Unreadable:
        return True


def retire(store: Store, broken: Sequence[Broken]) -> None:
    """Let sealed files be gone, once what can be had of them is there again.

    :raises SinkError: if that cannot be written; it may be done again.
    """
    for seal in {one.seal.batch: one.seal for one in broken}.values():
        gone = [one.part for one in broken if one.seal is seal]
        left = tuple(part for part in seal.files if part not in gone)
        rows = sum(part.rows for part in left)
        put_seal(store, msgspec.structs.replace(seal, files=left, rows=rows))
        for part in gone:
            store.remove(PurePosixPath(part.path))
    store.settle()


def _without(first: int, last: int, ranges: Ranges) -> list[tuple[int, int]]:
    place = int(np.searchsorted(ranges.last, first))
    found: list[tuple[int, int]] = []
    for begin, end in zip(ranges.first[place:], ranges.last[place:], strict=True):
        if begin > last:
            break
        if begin > first:
            found.append((first, int(begin) - 1))
        first = max(first, int(end) + 1)
    if first <= last:
        found.append((first, last))
    return found
