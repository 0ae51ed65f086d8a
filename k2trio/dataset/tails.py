"""What collectors wrote into a dataset last: journals, and what was made of them since."""

from __future__ import annotations

import itertools
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import pyarrow.fs as pafs

from .. import files
from ..continuity.positions import key_of
from ..errors import Unreadable
from ..market.streams import Kind, any_stream
from ..sinks.tails import LinesTail, Span, Tail
from .catalogue import journals
from .layout import SEAL_ENDING, JournalId, Place
from .rotated import SEALED
from .sealed import HOUR_S, journal_course
from .seals import parse_seal
from .sources import SealedFile
from .wanted import LATE_S, Wanted

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping
    from types import TracebackType

    from ..continuity.items import Item
    from ..continuity.positions import Key, Position
    from ..market.units import TimeUnit

BACK_S = 60.0
"""How long before the newest position is looked into what was sealed (s): it holds an hour. What a
state file lacks came later, but for differences of clocks and the time that a message takes."""


class SealedTail(Tail):
    """What was made of a journal.

    :param wanted: some of its streams, some of its time.
    """

    def __init__(self, parts: list[SealedFile], wanted: Wanted) -> None:
        self._parts = parts
        self._wanted = wanted

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """See :class:`Tail`; nothing is open."""

    def spans(self) -> Iterator[Span]:
        """See :class:`Tail`: one."""
        yield Span(0, 0)

    def read(self, span: Span, wanted: Collection[Key]) -> tuple[int, Iterable[Item]]:
        """See :class:`Tail`."""
        course = journal_course(self._parts, self._wanted)
        items = itertools.chain.from_iterable(course)
        return 0, (item for item in items if key_of(item) in wanted)

    def sync(self) -> None:
        """See :class:`Tail`; it was, before it was sealed."""


def tails_of(
    folder: Path, target: str, begin: Mapping[Key, Position], unit: TimeUnit
) -> Iterator[Tail]:
    """What may hold what was written last, from the newest to the oldest.

    Of a bucket the journals alone: it may not answer.

    :param folder: of the journals.
    :param target: the dataset's folder, or an ``s3://`` URL.
    :param begin: where streams are known to have been.
    :param unit: of the times in messages.
    :raises Unreadable: if something in it is not what it should be.
    """
    seen: set[str] = set()
    for name, path in reversed(journals(folder).items()):
        try:
            yield LinesTail(path)
        except FileNotFoundError:
            continue  # it was sealed meanwhile
        seen.add(name)
    since = _since(begin.values(), unit)
    if "://" in target or since is None:
        return
    wanted = Wanted(frozenset(one.stream for one in begin.values()), since - BACK_S, unit=unit)
    root = Path(target).absolute()
    names = (path.name.removesuffix(SEAL_ENDING) for path in (root / SEALED).glob("*"))
    sealed = {journal: name for name in names if (journal := JournalId.parse(name)) is not None}
    for journal in sorted(sealed, reverse=True):
        if journal.hour.timestamp() + HOUR_S + LATE_S <= wanted.start:
            return
        if sealed[journal] not in seen:
            yield SealedTail(_parts(root, sealed[journal]), wanted)


def _since(begin: Iterable[Position], unit: TimeUnit) -> float | None:
    """When the newest of positions was, by the exchange's clock; None if none of them tells."""
    bars = (one.position for one in begin if any_stream(one.stream).kind is Kind.KLINE)
    times = [*bars, *(one.time for one in begin if one.time is not None)]
    return max(times) / unit.per_second if times else None


def _parts(root: Path, name: str) -> list[SealedFile]:
    path = root / SEALED / (name + SEAL_ENDING)
    filesystem = pafs.LocalFileSystem()
    parts: list[SealedFile] = []
    for part in parse_seal(files.read(path), str(path)).files:
        place = Place.parse(PurePosixPath(part.path))
        if place is None:
            raise Unreadable(f"{path} names {part.path}, which is no place in a dataset")
        parts.append(SealedFile(filesystem, str(root / part.path), part.bytes, place))
    return parts
