"""Sealed Parquet files as rows, in pieces of bounded size."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from pathlib import PurePosixPath
from typing import IO, TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ..errors import Unreadable
from .columns import Piece
from .layout import HEALED, stream_of
from .linesfile import Source
from .schema import VERSION, VERSION_KEY

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import pyarrow.fs as pafs

    from .layout import Place

BATCH_ROWS = 1 << 16
"""Rows of a sealed file that are read at once."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class SealedFile(Source):
    """A sealed Parquet file.

    :param path: on its file system.
    :ivar place: what it holds.
    """

    done: int

    def __init__(self, filesystem: pafs.FileSystem, path: str, size: int, place: Place) -> None:
        super().__init__(path, size, healed=place.batch.startswith(HEALED))
        self.place: Place = place
        self.path: str = path
        self._filesystem = filesystem

    @property
    def batch(self) -> str:
        """See :class:`Source`."""
        root = PurePosixPath(self.path).parents[len(self.place.path.parts) - 1]
        return str(root / self.place.batch)

    def open(self) -> IO[bytes]:
        """See :class:`Source`."""
        try:
            file: IO[bytes] = self._filesystem.open_input_file(self.path)
        except (OSError, pa.ArrowException) as error:
            raise Unreadable(f"cannot read {self.name}: {_said(error)}") from error
        return file

    def opened(self) -> pq.ParquetFile:
        """It, open to be read.

        :raises Unreadable: if it is cut, of another kind or of a newer version.
        """
        try:
            file = pq.ParquetFile(self._filesystem.open_input_file(self.path))
        except (OSError, pa.ArrowException) as error:
            raise Unreadable(f"{self.name} is no whole Parquet file ({_said(error)})") from error
        version = (file.schema_arrow.metadata or {}).get(VERSION_KEY)
        if version is None:
            raise Unreadable(f"{self.name} was not sealed by k2trio")
        if not version.isdigit() or int(version) > VERSION:
            raise Unreadable(f"{self.name} is of version {version!r}; update k2trio to read it")
        return file

    def first_sequence(self) -> int:
        """Where in its journal the first of its rows stood; 0 where it does not tell."""
        try:
            with self.opened() as file:
                metadata = file.metadata
        except Unreadable:
            return 0  # whoever reads it says so
        places = [
            column.statistics.min
            for group in map(metadata.row_group, range(metadata.num_row_groups))
            for column in map(group.column, range(group.num_columns))
            if column.path_in_schema == "sequence" and column.statistics is not None
        ]
        return min(places, default=0)

    def pieces(
        self,
        columns: Sequence[str] | None = None,
        between: tuple[datetime | None, datetime | None] = (None, None),
    ) -> Iterator[Piece]:
        """See :class:`Source`.

        :param between: times outside of which rows may be left out, the second exclusive.
        """
        place, table = self.place, self.place.table
        stream = stream_of(place)
        names = table.schema.names if columns is None else _wanted(table.schema.names, columns)
        wanted = names if stream is not None or "stream" in names else [*names, "stream"]
        with self.opened() as file:
            since, until = map(_microseconds, between)
            groups = row_groups(
                file.metadata,
                "time",
                -math.inf if since is None else since,
                math.inf if until is None else until - 1,
            )
            rows = sum(file.metadata.row_group(group).num_rows for group in groups)
            seen = 0
            try:
                for batch in file.iter_batches(BATCH_ROWS, groups, wanted):
                    seen += batch.num_rows
                    self.done = self.size * seen // rows
                    if stream is not None:
                        yield Piece(table, place.venue, stream, batch)
                    else:
                        yield from _by_stream(place, batch, names)
            except (OSError, pa.ArrowException) as error:
                raise Unreadable(
                    f"{self.name} is broken after {seen} rows ({_said(error)})"
                ) from error


def _microseconds(time: datetime | None) -> int | None:
    return None if time is None else (time - _EPOCH) // timedelta(microseconds=1)


def _said(error: Exception) -> str:
    """What Arrow says, in one line."""
    return " ".join(str(error).split())


def row_groups(metadata: pq.FileMetaData, column: str, low: float, high: float) -> list[int]:
    """The row groups that may hold values of a column from ``low`` to ``high``.

    :param low: as the file has them: of times, microseconds.
    """
    found: list[int] = []
    for group in range(metadata.num_row_groups):
        columns = metadata.row_group(group)
        named = (columns.column(index) for index in range(columns.num_columns))
        known = next((c.statistics for c in named if c.path_in_schema == column), None)
        if (
            known is None
            or not known.has_min_max
            or (low <= known.max_raw and known.min_raw <= high)
        ):
            found.append(group)
    return found


def _by_stream(place: Place, batch: pa.RecordBatch, names: list[str]) -> Iterator[Piece]:
    streams = batch.column("stream")
    for stream in pc.unique(streams):
        part = batch.filter(pc.equal(streams, stream)).select(names)
        yield Piece(place.table, place.venue, stream.as_py(), part)


def _wanted(known: Sequence[str], columns: Sequence[str]) -> list[str]:
    return [name for name in known if name in columns]
