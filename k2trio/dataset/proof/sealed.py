"""Sealed files against their seals, and archives against their checksums."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa

from ...errors import Unreadable
from ..archives import Archive
from ..seals import parse_seal, seal_path

if TYPE_CHECKING:
    from collections.abc import Iterable

    import pyarrow.parquet as pq

    from ..catalogue import Dataset
    from ..linesfile import Source
    from ..schema import Table
    from ..seals import Seal, SealedPart
    from ..sources import SealedFile
    from .digests import Digests


class Findings:
    """What is wrong with files, one line each.

    :ivar unreadable: what is missing, or cannot be read.
    :ivar changed: what is not any more as it was sealed, or published.
    """

    def __init__(self) -> None:
        self.unreadable: list[str] = []
        self.changed: list[str] = []


def check_seals(dataset: Dataset, digests: Digests, found: Findings) -> None:
    """Compare each sealed file with what its seal says of it."""
    files = {file.path: file for file in dataset.sealed}
    for batch in sorted(dataset.seals):
        try:
            seal = read_seal(dataset, batch)
        except Unreadable as error:
            found.unreadable.append(str(error))
            continue
        for part in seal.files:
            file = files.pop(f"{dataset.root}/{part.path}", None)
            if file is None:
                found.unreadable.append(f"{part.path} is missing; the seal of {batch} names it")
            else:
                _check(file, part, digests, found)
    if dataset.seals:  # else it is a copy of some files, to which none belong
        found.changed += [f"{path} is in no seal" for path in sorted(files)]


def check_archives(sources: Iterable[Source], digests: Digests, found: Findings) -> None:
    """Compare each archive with the checksum beside it, if there is one."""
    for source in sources:
        if not isinstance(source, Archive):
            continue
        try:
            told = source.told_sha256()
            if told is not None and digests.of(source) != told:
                found.changed.append(f"{source.name} has another SHA-256 than its checksum says")
        except Unreadable as error:
            found.unreadable.append(str(error))


def read_seal(dataset: Dataset, batch: str) -> Seal:
    """One of the seals of a dataset.

    :raises Unreadable: if it is none.
    """
    path = f"{dataset.root}/{seal_path(batch)}"
    try:
        with dataset.filesystem.open_input_stream(path) as file:
            return parse_seal(file.read(), path)
    except (OSError, pa.ArrowException) as error:
        raise Unreadable(f"cannot read the seal {path}: {error}") from error


def _check(file: SealedFile, part: SealedPart, digests: Digests, found: Findings) -> None:
    if file.size != part.bytes:
        found.changed.append(f"{file.name} has {file.size} bytes, and its seal says {part.bytes}")
        return
    try:
        if digests.of(file) != part.sha256:
            found.changed.append(
                f"{file.name} has another SHA-256 than its seal says; put it back from a copy, or "
                "remove it and run heal"
            )
            return
        with file.opened() as opened:
            rows, *ends = opened.metadata.num_rows, *_ends(opened.metadata, file.place.table)
    except Unreadable as error:
        found.unreadable.append(str(error))
        return
    if (rows, *ends) != (part.rows, part.first, part.last):
        told = f"{part.rows} rows, {part.first} to {part.last}"
        found.changed.append(
            f"{file.name} has {rows} rows, {ends[0]} to {ends[1]}, and its seal says {told}"
        )


def _ends(metadata: pq.FileMetaData, table: Table) -> tuple[int | None, int | None]:
    """The lowest and the highest key, as the footer tells them; None where there are no keys."""
    keys = {table.first, table.last} - {""}
    lows: list[int] = []
    highs: list[int] = []
    for group in range(metadata.num_row_groups):
        row_group = metadata.row_group(group)
        for place in range(metadata.num_columns):
            column = row_group.column(place)
            statistics = column.statistics
            if column.path_in_schema in keys and statistics and statistics.has_min_max:
                lows.append(statistics.min_raw)
                highs.append(statistics.max_raw)
    return min(lows, default=None), max(highs, default=None)
