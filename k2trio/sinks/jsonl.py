"""Writes one JSON line per message, the exchange's own payload untouched inside it.

A line is ``{"venue","stream","received","origin","data"}``; a gap is ``{"venue","stream","gap":
{"first","last","reason"}}``. The last line of a file is never torn: lines are written whole, a
write that fails half-way is taken back, and what a crash left torn is cut off at the next start.
"""

from __future__ import annotations

import errno
import os
import stat
import sys
from typing import TYPE_CHECKING, Self

import msgspec
import trio

from ..continuity import Gap
from ..errors import SinkError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path
    from types import TracebackType

    from ..continuity import Item

PIPE_BYTES = 4096
"""A pipe that is writable takes this much at once (POSIX PIPE_BUF), so the loop never blocks."""
FLUSH_TIMEOUT_S = 1.5
"""How long a slow reader may hold up the last lines at shutdown."""
TAIL_BYTES = 4 << 20
"""How far back the start of a torn last line is looked for; above the largest message."""

_encode = msgspec.json.Encoder().encode


def encode(item: Item) -> bytes:
    """One item as one line, newline included."""
    if isinstance(item, Gap):
        gap = {"first": item.first, "last": item.last, "reason": item.reason}
        return _encode({"venue": item.venue, "stream": item.stream, "gap": gap}) + b"\n"
    head = _encode(
        {
            "venue": item.venue,
            "stream": item.stream,
            "received": item.received,
            "origin": item.origin,
        }
    )
    # A payload may be pretty-printed; a line may not hold a line break (JSON strings never do).
    data = item.raw if b"\n" not in item.raw else item.raw.replace(b"\n", b" ")
    return head[:-1] + b',"data":' + data + b"}\n"


class JsonLines:
    """An open output, to be used as a context manager.

    :param path: file to append to; None for standard output.
    :param rotate_bytes: size at which the file gets a number and a new one begins; 0 for never.
    :raises SinkError: if it cannot be opened or written, saying which and why.
    """

    def __init__(self, path: Path | None = None, rotate_bytes: int = 0) -> None:
        self._path = path
        self._rotate_bytes = rotate_bytes
        self.cut_bytes = 0
        """Bytes of a torn last line that were cut off when the file was opened."""
        self._name = "standard output" if path is None else str(path)
        self._fd = self._open()
        mode = os.fstat(self._fd).st_mode
        # Pipes and terminals are waited for; files and /dev/null never make the writer wait.
        self._waits = stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) or os.isatty(self._fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._path is not None:
            self._close()

    async def write(self, items: Iterable[Item]) -> None:
        """Write whole lines; returns when the system has taken them.

        :raises SinkError: if it has not.
        """
        data = b"".join(map(encode, items))
        if self._waits:
            await self._write_patiently(data)
            return
        self._write_whole(data)
        if self._rotate_bytes and self._size >= self._rotate_bytes:
            self._rotate()

    def _open(self) -> int:
        if self._path is None:
            sys.stdout.flush()
            self._size = 0
            return sys.stdout.fileno()
        try:
            fd = os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise self._error(error, "open") from error
        self._size = os.fstat(fd).st_size
        if stat.S_ISREG(os.fstat(fd).st_mode):
            self._cut_torn_line(fd)
        return fd

    def _cut_torn_line(self, fd: int) -> None:
        start = max(0, self._size - TAIL_BYTES)
        tail = os.pread(fd, TAIL_BYTES, start)
        whole = tail.rfind(b"\n") + 1
        if whole == len(tail):
            return
        if whole == 0 and start > 0:
            os.close(fd)
            raise SinkError(f"{self._name} does not end in JSON lines; choose another file")
        os.ftruncate(fd, start + whole)
        self.cut_bytes = len(tail) - whole
        self._size = start + whole

    def _write_whole(self, data: bytes) -> None:
        done = 0
        view = memoryview(data)
        try:
            while done < len(data):
                done += os.write(self._fd, view[done:])
        except OSError as error:
            whole = data.rfind(b"\n", 0, done) + 1
            if self._path is not None and done != whole:
                os.ftruncate(self._fd, self._size + whole)
            raise self._error(error, "write to") from error
        self._size += len(data)

    async def _write_patiently(self, data: bytes) -> None:
        """Write as the reader takes it; when cancelled, finish the lines within a bound."""
        rest = memoryview(data)

        async def write_rest() -> None:
            nonlocal rest
            while rest:
                await trio.lowlevel.wait_writable(self._fd)
                rest = rest[os.write(self._fd, rest[:PIPE_BYTES]) :]

        try:
            try:
                await write_rest()
            except trio.Cancelled:
                with trio.move_on_after(FLUSH_TIMEOUT_S, shield=True):
                    await write_rest()
                raise
        except OSError as error:
            raise self._error(error, "write to") from error

    def _rotate(self) -> None:
        assert self._path is not None  # noqa: S101 - only files have a size that grows
        number = 1
        while (full := self._path.with_name(f"{self._path.name}.{number}")).exists():
            number += 1
        self._close()
        try:
            self._path.rename(full)
        except OSError as error:
            raise self._error(error, "rename") from error
        self._fd = self._open()

    def _close(self) -> None:
        try:
            if stat.S_ISREG(os.fstat(self._fd).st_mode):
                os.fsync(self._fd)
        except OSError as error:
            raise self._error(error, "flush") from error
        finally:
            os.close(self._fd)

    def _error(self, error: OSError, what: str) -> SinkError:
        cures = {
            errno.EPIPE: "its reader has gone; nothing more can be delivered",
            errno.ENOSPC: "the disk is full; make room, the file ends with a whole line",
            errno.EACCES: "permission denied; choose a file this user may write",
            errno.EISDIR: "it is a directory; name a file",
            errno.ENOENT: "its directory does not exist; create it",
        }
        why = cures.get(error.errno or 0, error.strerror or str(error))
        return SinkError(f"cannot {what} {self._name}: {why}")
