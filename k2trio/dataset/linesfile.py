"""Recorded files as such, and those of JSON lines, plain or compressed.

They need no extra as long as nobody wants their lines as columns.
"""

from __future__ import annotations

import abc
from typing import IO, TYPE_CHECKING

from .. import files
from ..errors import Unreadable
from ..extras import require
from ..sinks.lines import FIRST_BYTES
from .lines import decode_lines

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from .columns import Piece
    from .lines import Line

CHUNK_BYTES = 8 << 20
"""Text that is parsed at once; a line may be longer."""
ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"


class Source(abc.ABC):
    """A recorded file.

    :ivar name: its path, for people.
    :ivar size: bytes.
    :ivar done: bytes that have been read of it.
    :ivar torn_bytes: bytes of half a line or frame at its end, as a crash leaves them; known when
        it has been read.
    """

    def __init__(self, name: str, size: int) -> None:
        self.name: str = name
        self.size: int = size
        self.done: int = 0
        self.torn_bytes: int = 0

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name}>"

    @abc.abstractmethod
    def pieces(self, columns: Sequence[str] | None = None) -> Iterator[Piece]:
        """Its rows, in its order.

        :param columns: those that are wanted; what a table does not have, it does not bring.
        :raises Unreadable: where it is not what it should be, after what was before that.
        """


class LinesFile(Source):
    """JSON lines, plain or compressed with zstd; what it is, its first bytes say.

    :raises Unreadable: if it cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        try:
            size = path.stat().st_size
            with path.open("rb") as file:
                self.compressed: bool = file.read(len(ZSTD_MAGIC)) == ZSTD_MAGIC
        except OSError as error:
            raise Unreadable(f"cannot read {path}: {files.why(error)}") from error
        super().__init__(str(path), size)
        self.path: Path = path

    def lines(self, chunk_bytes: int = CHUNK_BYTES) -> Iterator[list[Line]]:
        """Its lines, in chunks.

        :param chunk_bytes: text that is parsed at once; a line may be longer.
        :raises Unreadable: where there is something else.
        """
        self.done = 0
        try:
            with self.path.open("rb") as file:
                yield from self._lines(file, chunk_bytes)
        except OSError as error:
            raise Unreadable(f"cannot read {self.path}: {files.why(error)}") from error

    def pieces(self, columns: Sequence[str] | None = None) -> Iterator[Piece]:
        """See :class:`Source`."""
        from .columns import pieces  # it needs the extra

        sequence = 0
        for lines in self.lines():
            for piece in pieces(lines, sequence):
                yield piece if columns is None else _selected(piece, columns)
            sequence += len(lines)

    def _lines(self, file: IO[bytes], chunk_bytes: int) -> Iterator[list[Line]]:
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
        if not self.compressed:
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


def _selected(piece: Piece, columns: Sequence[str]) -> Piece:
    batch = piece.batch
    return piece._replace(batch=batch.select(wanted_of(batch.schema.names, columns)))


def wanted_of(known: Sequence[str], columns: Sequence[str]) -> list[str]:
    return [name for name in known if name in columns]
