"""Sealed Parquet files as rows, in pieces of bounded size, so that their length does not matter."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ..errors import Unreadable
from .columns import Piece
from .layout import stream_of
from .linesfile import Source, wanted_of
from .schema import VERSION, VERSION_KEY

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import pyarrow.fs as pafs

    from .layout import Place

BATCH_ROWS = 1 << 16
"""Rows of a sealed file that are read at once."""


class SealedFile(Source):
    """A sealed Parquet file.

    :param path: on its file system.
    :ivar place: what it holds.
    """

    def __init__(self, filesystem: pafs.FileSystem, path: str, size: int, place: Place) -> None:
        super().__init__(path, size)
        self.place: Place = place
        self.path: str = path
        self._filesystem = filesystem

    def opened(self) -> pq.ParquetFile:
        """It, open to be read.

        :raises Unreadable: if it is cut, of another kind or of a newer version.
        """
        try:
            file = pq.ParquetFile(self._filesystem.open_input_file(self.path))
        except (OSError, pa.ArrowException) as error:
            raise Unreadable(f"{self.name} is no whole Parquet file ({error})") from error
        version = (file.schema_arrow.metadata or {}).get(VERSION_KEY)
        if version is None:
            raise Unreadable(f"{self.name} was not sealed by k2trio")
        if not version.isdigit() or int(version) > VERSION:
            raise Unreadable(f"{self.name} is of version {version!r}; update k2trio to read it")
        return file

    def pieces(self, columns: Sequence[str] | None = None) -> Iterator[Piece]:
        """See :class:`Source`."""
        place, table = self.place, self.place.table
        stream = stream_of(place)
        names = table.schema.names if columns is None else wanted_of(table.schema.names, columns)
        wanted = names if stream is not None or "stream" in names else [*names, "stream"]
        with self.opened() as file:
            rows = file.metadata.num_rows
            seen = 0
            try:
                for batch in file.iter_batches(BATCH_ROWS, columns=wanted):
                    seen += batch.num_rows
                    self.done = self.size * seen // rows
                    if stream is not None:
                        yield Piece(table, place.venue, stream, batch)
                    else:
                        yield from _by_stream(place, batch, names)
            except (OSError, pa.ArrowException) as error:
                raise Unreadable(f"{self.name} is broken after {seen} rows ({error})") from error


def _by_stream(place: Place, batch: pa.RecordBatch, names: list[str]) -> Iterator[Piece]:
    streams = batch.column("stream")
    for stream in pc.unique(streams):
        part = batch.filter(pc.equal(streams, stream)).select(names)
        yield Piece(place.table, place.venue, stream.as_py(), part)
