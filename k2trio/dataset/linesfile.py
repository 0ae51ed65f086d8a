"""Recorded files, and JSON lines among them: plain, or compressed with zstd.

Each is read in pieces of bounded size, so its length does not matter. Lines are read without
pyarrow, which only making columns of them needs.
"""

from __future__ import annotations

import abc
import os
import weakref
from typing import IO, TYPE_CHECKING

from .. import files
from ..errors import Unreadable
from ..extras import require
from ..sinks.lines import FIRST_BYTES
from ..sinks.parsing import readable_lines

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from ..sinks.parsing import Line
    from .columns import Piece

CHUNK_BYTES = 8 << 20
"""Text that is parsed at once; a line may be longer."""
LOOK_BYTES = 1 << 16
"""Text that is parsed to see when a file begins."""
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

    done: int
    torn_bytes: int

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

    def lines(self, chunk_bytes: int | None = None) -> Iterator[list[Line]]:
        """Its lines, in chunks.

        :param chunk_bytes: text that is parsed at once; by default CHUNK_BYTES.
        :raises Unreadable: where there is something else.
        """
        self.done = 0
        try:
            with self.open() as file:
                yield from self._lines(file, chunk_bytes or CHUNK_BYTES)
        except OSError as error:
            raise Unreadable(f"cannot read {self.path}: {files.why(error)}") from error

    def pieces(self, columns: Sequence[str] | None = None) -> Iterator[Piece]:
        """See :class:`Source`."""
        from .columns import pieces

        sequence = 0
        for lines in self.lines():
            yield from pieces(lines, sequence, columns)
            sequence += len(lines)

    def _lines(self, file: IO[bytes], chunk_bytes: int) -> Iterator[list[Line]]:
        rest = b""
        number = 0
        for chunk in self._chunks(file, chunk_bytes):
            text, newline, tail = chunk.rpartition(b"\n")
            if not newline:
                rest += chunk
                continue
            lines, wrong = readable_lines(rest + text + newline)
            number += len(lines)
            yield lines
            if wrong is not None:
                raise Unreadable(f"{self.path}, after {number} lines: {wrong}")
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
