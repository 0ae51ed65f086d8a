"""Recorded files of every kind as rows: JSON lines, the same compressed, and sealed Parquet.

Each is read in pieces of bounded size, so its length does not matter.
"""

from __future__ import annotations

import abc
import os
import weakref
from pathlib import PurePosixPath
from typing import IO, TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from .. import files
from ..errors import Unreadable
from ..extras import require
from ..sinks.lines import FIRST_BYTES
from .columns import Piece, pieces
from .layout import HEALED, stream_of
from .lines import decode_lines
from .schema import VERSION, VERSION_KEY

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime
    from pathlib import Path

    import pyarrow.fs as pafs

    from .layout import Place
    from .lines import Line

CHUNK_BYTES = 8 << 20
"""Text that is parsed at once; a line may be longer."""
LOOK_BYTES = 1 << 16
"""Text that is parsed to see when a file begins."""
BATCH_ROWS = 1 << 16
"""Rows of a sealed file that are read at once."""
ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"


class Source(abc.ABC):
    """A recorded file.

    :ivar name: its path, for people.
    :ivar size: bytes.
    :ivar done: bytes that have been read of it.
    :ivar healed: whether it holds what was fetched later, for what other files lack.
    :ivar archive: whether the exchange itself published it.
    :ivar torn_bytes: bytes of half a line or frame at its end, as a crash leaves them; known when
        it has been read.
    """

    archive: bool = False

    def __init__(self, name: str, size: int, *, healed: bool = False) -> None:
        self.healed: bool = healed
        self.name: str = name
        self.size: int = size
        self.done: int = 0
        self.torn_bytes: int = 0

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name}>"

    @property
    def batch(self) -> str:
        """What has one sequence: all files of one batch are parts of it."""
        return self.name

    @abc.abstractmethod
    def open(self) -> IO[bytes]:
        """It, as bytes.

        :raises Unreadable: if it cannot be opened.
        """

    @abc.abstractmethod
    def pieces(self, columns: Sequence[str] | None = None) -> Iterator[Piece]:
        """Its rows, in its order.

        :param columns: those that are wanted; what a table does not have, it does not bring.
        :raises Unreadable: where it is not what it should be, after what was before that.
        """


class LinesFile(Source):
    """JSON lines, plain or compressed with zstd; what it is, its first bytes say.

    :param kept: whether it is to be readable when it was removed meanwhile.
    :raises Unreadable: if it is to be kept, and cannot be opened.
    """

    def __init__(self, path: Path, *, healed: bool = False, kept: bool = False) -> None:
        self._fd: int | None = None
        if kept:
            try:
                self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            except OSError as error:
                raise Unreadable(f"cannot read {path}: {files.why(error)}") from error
            weakref.finalize(self, os.close, self._fd)
        super().__init__(str(path), size_of(path), healed=healed)
        self.path: Path = path

    def began(self) -> float:
        """When the first message in it was received; Unix time, 0 if it holds none.

        Where it cannot be read that is 0 too: whoever reads it will hear of it.
        """
        try:
            with self.open() as file:
                for lines in self._lines(file, LOOK_BYTES):
                    for line in lines:
                        if line.is_message:
                            return line.received
                    return 0.0
        except (OSError, Unreadable):
            pass
        return 0.0

    def open(self) -> IO[bytes]:
        """See :class:`Source`."""
        if self._fd is None:
            return open_local(self.path)
        file = os.fdopen(os.dup(self._fd), "rb")
        file.seek(0)
        return file

    def lines(self) -> Iterator[list[Line]]:
        """Its lines, in chunks.

        :raises Unreadable: where there is something else.
        """
        self.done = 0
        try:
            with self.open() as file:
                yield from self._lines(file)
        except OSError as error:
            raise Unreadable(f"cannot read {self.path}: {files.why(error)}") from error

    def pieces(self, columns: Sequence[str] | None = None) -> Iterator[Piece]:
        """See :class:`Source`."""
        sequence = 0
        for lines in self.lines():
            yield from pieces(lines, sequence, columns)
            sequence += len(lines)

    def _lines(self, file: IO[bytes], chunk_bytes: int = CHUNK_BYTES) -> Iterator[list[Line]]:
        rest = b""
        number = 0
        for chunk in self._chunks(file, chunk_bytes):
            text, newline, tail = chunk.rpartition(b"\n")
            if not newline:
                rest += chunk
                continue
            try:
                lines = decode_lines(rest + text + newline)
            except Unreadable as error:
                raise Unreadable(f"{self.path}, after {number} lines: {error}") from None
            number += len(lines)
            yield lines
            rest = tail
        if not rest.strip(b"\0") or FIRST_BYTES.startswith(rest[: len(FIRST_BYTES)]):
            self.torn_bytes += len(rest)
        else:
            raise Unreadable(f"{self.path}, after {number} lines: it does not end in one of ours")

    def _chunks(self, file: IO[bytes], chunk_bytes: int) -> Iterator[bytes]:
        compressed = file.read(len(ZSTD_MAGIC)) == ZSTD_MAGIC
        file.seek(0)
        if not compressed:
            while chunk := file.read(chunk_bytes):
                self.done += len(chunk)
                yield chunk
            return
        require("zstandard", "zstd", str(self.path))
        import zstandard

        reader = zstandard.ZstdDecompressor().stream_reader(
            file, read_across_frames=True, closefd=False
        )
        try:
            while chunk := reader.read(chunk_bytes):
                self.done = file.tell()
                yield chunk
        except zstandard.ZstdError as error:
            raise Unreadable(f"{self.path}: its compression is broken ({error})") from error


def open_local(path: Path) -> IO[bytes]:
    """A file on a disk of this machine.

    :raises Unreadable: if it cannot be opened.
    """
    try:
        return path.open("rb")
    except OSError as error:
        raise Unreadable(f"cannot read {path}: {files.why(error)}") from error


def size_of(path: Path) -> int:
    """Bytes of a file; 0 where that cannot be told: whoever opens it will hear why."""
    try:
        return path.stat().st_size
    except OSError:
        return 0


class NoFile(Source):
    """A file that is none of ours, though it was named or is called like one.

    :param why: one line.
    """

    def __init__(self, path: Path, why: str) -> None:
        super().__init__(str(path), size_of(path))
        self.path: Path = path
        self.why: str = why

    def open(self) -> IO[bytes]:
        """See :class:`Source`."""
        return open_local(self.path)

    def pieces(self, columns: Sequence[str] | None = None) -> Iterator[Piece]:
        """There are none.

        :raises Unreadable: always.
        """
        raise Unreadable(self.why)


class SealedFile(Source):
    """A sealed Parquet file.

    :param path: on its file system.
    :ivar place: what it holds.
    """

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
            raise Unreadable(f"cannot read {self.name}: {error}") from error
        return file

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
            groups = _groups(file.metadata, *between)
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
                raise Unreadable(f"{self.name} is broken after {seen} rows ({error})") from error


def _groups(metadata: pq.FileMetaData, start: datetime | None, end: datetime | None) -> list[int]:
    """The row groups that may have rows between two times, as their statistics say."""
    groups = range(metadata.num_row_groups)
    if start is None and end is None:
        return list(groups)
    found: list[int] = []
    for group in groups:
        known = metadata.row_group(group).column(0).statistics  # of the column ``time``
        if known is not None and known.has_min_max:
            if start is not None and known.max < start:
                continue
            if end is not None and known.min >= end:
                continue
        found.append(group)
    return found


def _by_stream(place: Place, batch: pa.RecordBatch, names: list[str]) -> Iterator[Piece]:
    streams = batch.column("stream")
    for stream in pc.unique(streams):
        part = batch.filter(pc.equal(streams, stream)).select(names)
        yield Piece(place.table, place.venue, stream.as_py(), part)


def _wanted(known: Sequence[str], columns: Sequence[str]) -> list[str]:
    return [name for name in known if name in columns]
