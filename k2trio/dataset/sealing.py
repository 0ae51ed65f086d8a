"""A journal becomes sealed files: typed, sorted, small. What was journaled is there at any moment.

The steps, each on the disk before the next one begins:

1. the *plan* beside the journal: which files are going to be made of it;
2. the files, each written aside, synced and renamed;
3. the seal, from which on they count, and the journal does not;
4. the journal is removed, and then the plan.

What a crash leaves is told by the plan and removed by the next attempt, which begins anew. Whoever
seals a journal has it locked, as has whoever writes to one; so many programs may seal at once.
"""

from __future__ import annotations

import functools
import itertools
import os
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, NamedTuple

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from .. import files
from ..errors import ConfigError, InUse, K2Error, SinkError, Unreadable
from .catalogue import journals
from .columns import pieces
from .layout import JOURNAL_ENDING, Place, place_of
from .linesfile import LinesFile
from .merging import keys_of
from .owners import refuse_others
from .schema import GAP, OTHER, REMARKS
from .seals import Seal, put_seal, seal_path
from .spill import Spill
from .stores import open_store
from .writing import order_column, put_rows

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Sequence

    from .columns import Piece
    from .seals import SealedPart
    from .stores import Store

PLAN_ENDING = ".plan"
US_PER_DAY = 86_400_000_000
RESET = "reset"
"""The reason of a gap behind which a venue's ids began anew."""
UNNUMBERED = (OTHER, *REMARKS)
"""Tables whose order is not that of ids."""


class Part(NamedTuple):
    """Rows that are sorted among themselves.

    :ivar numbering: how often the venue has begun its ids anew before them, in this journal.
    """

    place: Place
    numbering: int


@dataclass
class Outcome:
    """What came of a journal.

    :ivar seal: its seal; None where there is none, since nothing was in it or there is a problem.
    :ivar busy: whether another program has it: it is being written to, or sealed.
    :ivar problem: why it could not be sealed; it stays, and counts.
    """

    journal: Path
    seal: Seal | None = None
    busy: bool = False
    problem: str | None = None


def seal_all(target: str | Path, folder: Path, writer: str) -> Iterator[Outcome]:
    """Seal every journal of a folder that nobody else has.

    :param target: the dataset's folder, or an ``s3://`` URL.
    :param folder: of the journals.
    :param writer: what to name in the files as having written them.
    :raises ConfigError: if there is no such folder or file system, or its journals are of another
        dataset.
    """
    if not folder.is_dir():
        raise ConfigError(f"there is no folder {folder} with journals; name it with --journal")
    refuse_others(folder, str(target))
    store = open_store(target, folder)
    for path in journals(folder).values():
        outcome = Outcome(path)
        try:
            with _held(path) as mine:
                if mine:
                    outcome.seal = seal(path, store, writer)
                else:
                    outcome.busy = True
        except K2Error as error:
            outcome.problem = str(error)
        yield outcome
    for plan in folder.glob(f"*{PLAN_ENDING}*"):
        # Of a journal that was removed right before a crash, or half a one of a crash before.
        batch = plan.name.removeprefix(".").partition(".")[0]
        if not (folder / f"{batch}{JOURNAL_ENDING}").exists():
            plan.unlink(missing_ok=True)


def seal(journal: Path, store: Store, writer: str) -> Seal | None:
    """Seal a journal that is locked, and remove it. None if it was sealed before, or is empty.

    :param writer: what to name in the files as having written them.
    :raises Unreadable: if something else than ours is in the journal; it stays.
    :raises SinkError: if what is made of it cannot be written; it stays.
    """
    batch = journal.name.removesuffix(JOURNAL_ENDING)
    plan = journal.with_name(batch + PLAN_ENDING)
    made: Seal | None = None
    if store.has(seal_path(batch)):
        store.settle()  # whoever put it there may have been killed before that
    else:
        _discard(plan, store)
        with Spill[Part](journal.parent) as spill:
            source = LinesFile(journal)
            if rows := _spill(source, batch, spill):
                parts = _put_all(store, spill, plan, writer)
                made = Seal(batch, rows, source.torn_bytes, parts, writer)
                put_seal(store, made)
    _remove(journal, plan)
    return made


def seal_held(journal: Path, store: Store, writer: str) -> Seal | None:
    """Seal one journal, locked meanwhile; None also if another program has it.

    :raises Unreadable: as :func:`seal` does.
    :raises SinkError: the same.
    """
    with _held(journal) as mine:
        return seal(journal, store, writer) if mine else None


def _spill(source: LinesFile, batch: str, spill: Spill[Part]) -> int:
    """Read a journal; returns how many lines it has.

    :raises Unreadable: if one of them would not be in the dataset.
    """
    sequence = 0
    resets: dict[tuple[str, str], list[int]] = {}
    for lines in source.lines():
        found = list(pieces(lines, sequence))
        sequence += len(lines)
        for piece in found:
            if piece.table is GAP:
                begun = piece.batch.filter(pc.equal(piece.batch.column("reason"), RESET))
                places = begun.column("sequence").to_pylist()
                if places:
                    resets.setdefault((piece.venue, piece.stream), []).extend(places)
        if sum(piece.batch.num_rows for piece in found) != len(lines):
            raise Unreadable(
                f"{source.path} has samples of books, for which a dataset has no table; "
                "write them to a file of JSON lines"
            )
        for piece in found:
            column = order_column(piece.table)
            numbered = resets.get((piece.venue, piece.stream), ())
            for numbering, rows in _by_numbering(piece, numbered):
                for date, part in _by_date(rows):
                    place = place_of(piece.table, piece.venue, piece.stream, date, batch)
                    spill.add(Part(place, numbering), part, column)
    return sequence


def _by_numbering(piece: Piece, resets: Sequence[int]) -> Iterator[tuple[int, pa.RecordBatch]]:
    """Rows of messages before and after each place where ids began anew."""
    if not resets or piece.table in UNNUMBERED:
        yield 0, piece.batch
        return
    places = piece.batch.column("sequence").to_numpy()
    edges = [0, *np.searchsorted(places, resets).tolist(), len(places)]
    for numbering, (start, end) in enumerate(itertools.pairwise(edges)):
        if end > start:
            yield numbering, piece.batch.slice(start, end - start)


def _by_date(batch: pa.RecordBatch) -> Iterator[tuple[str, pa.RecordBatch]]:
    """Rows of each UTC day, by the column ``time``."""
    days = keys_of(batch, "time") // US_PER_DAY
    if days[0] == days[-1] and (days == days[0]).all():
        yield _date(days[0]), batch
        return
    for day in np.unique(days):
        yield _date(day), batch.filter(pa.array(days == day))


@functools.lru_cache(maxsize=64)
def _date(day: int) -> str:
    return str(np.datetime64(int(day), "D"))


def _put_all(store: Store, spill: Spill[Part], plan: Path, writer: str) -> tuple[SealedPart, ...]:
    """Write all files, and the plan before them."""
    parts_of: dict[Place, list[Part]] = {}
    for part in sorted(spill.keys()):
        parts_of.setdefault(part.place, []).append(part)
    _write_plan(plan, list(parts_of))
    put: list[SealedPart] = []
    try:
        for place, parts in parts_of.items():
            rows = itertools.chain.from_iterable(map(spill.rows, parts))
            put.append(put_rows(store, place, rows, writer, ordered=len(parts) == 1))
        store.settle()
    except SinkError:
        with suppress(SinkError):
            _discard(plan, store)  # on a full disk others want the room
        raise
    return tuple(put)


def _write_plan(plan: Path, places: list[Place]) -> None:
    try:
        files.replace(plan, msgspec.json.encode([str(place.path) for place in places]))
    except OSError as error:
        raise SinkError(f"cannot write {plan}: {files.why(error)}") from error


def _discard(plan: Path, store: Store) -> None:
    """Remove what an earlier attempt made, which does not count."""
    if not plan.exists():
        return
    try:
        paths = msgspec.json.decode(plan.read_bytes(), type=list[str])
    except (msgspec.MsgspecError, OSError) as error:
        raise Unreadable(f"{plan} is no plan of a sealing ({error}); remove it") from error
    for path in paths:
        store.remove(PurePosixPath(path))


def _remove(journal: Path, plan: Path) -> None:
    try:
        os.unlink(journal)  # noqa: PTH108 - so that tests can stop it here
        files.sync_directory(journal)
        with suppress(FileNotFoundError):
            os.unlink(plan)  # noqa: PTH108
    except OSError as error:
        raise SinkError(f"cannot remove {journal}, which is sealed: {files.why(error)}") from error


@contextmanager
def _held(journal: Path) -> Generator[bool]:
    """Lock a journal; False if another program has it, or has removed it."""
    try:
        fd = os.open(journal, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        yield False
        return
    except OSError as error:
        raise SinkError(f"cannot open {journal}: {files.why(error)}") from error
    try:
        try:
            files.hold(fd, str(journal))
            mine = journal.exists() and os.path.samestat(os.fstat(fd), journal.stat())
        except InUse:
            mine = False
        yield mine
    finally:
        os.close(fd)
