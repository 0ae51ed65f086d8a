"""Writes one JSON line per message, the exchange's own payload untouched inside it.

A line is ``{"venue","stream","received","origin","data"}``; a gap is ``{"venue","stream","gap":
{"first","last","reason"}}``, an outage ``{"venue","stream","outage":{"since","until"}}``. The last
line of a file is never torn: lines are written whole, a write that fails half-way is taken back,
and what a crash left torn is cut off at the next start.
"""

from __future__ import annotations

import errno
import functools
import os
import stat
import sys
from typing import TYPE_CHECKING, Self

import msgspec
import trio

from ..continuity.items import Gap
from ..errors import SinkError
from ..market.payloads import Event

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path
    from types import TracebackType

    from ..continuity.items import Item, Outage

PIPE_BYTES = 4096
"""A pipe that is writable takes this much at once (POSIX PIPE_BUF), so the loop never blocks."""
FLUSH_TIMEOUT_S = 1.5
"""How long a slow reader may hold up the last lines at shutdown."""
TAIL_BYTES = 4 << 20
"""How far back the start of a torn last line is looked for; above the largest message."""

FIRST_BYTES = b'{"venue":"'
"""How every line begins; what a crash left of one does so too, as far as it goes."""

_DATA = b',"data":'
_encode = msgspec.json.Encoder().encode


@functools.lru_cache(maxsize=4096)
def _head(venue: str, stream: str) -> bytes:
    """How the lines of a stream begin."""
    return _encode({"venue": venue, "stream": stream})[:-1]


def encode_lines(items: Iterable[Item]) -> bytes:
    """Each item as one line, newline included.

    A line is glued together from bytes that are made once: its head per stream, what stands before
    the payload once for all messages of a socket read.
    """
    parts: list[bytes] = []
    received, origin, middle = float("nan"), "", b""
    for item in items:
        if isinstance(item, Event):
            if item.received != received or item.origin != origin:
                received, origin = item.received, item.origin
                middle = b"".join(
                    (b',"received":', _encode(received), b',"origin":', _encode(origin), _DATA)
                )
            data = item.raw
            # A payload may be pretty-printed; a line may not hold a line break (JSON strings
            # never do).
            if b"\n" in data or b"\r" in data:
                data = data.replace(b"\n", b" ").replace(b"\r", b" ")
            parts += (_head(item.venue, item.stream), middle, data, b"}\n")
        else:
            parts += (_head(item.venue, item.stream), _remark(item), b"}\n")
    return b"".join(parts)


def _remark(item: Gap | Outage) -> bytes:
    if isinstance(item, Gap):
        gap = {"first": item.first, "last": item.last, "reason": item.reason}
        return b',"gap":' + _encode(gap)
    return b',"outage":' + _encode({"since": item.since, "until": item.until})


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
        self._torn = False
        self._fd = self._open()
        mode = os.fstat(self._fd).st_mode
        self._regular = stat.S_ISREG(mode)
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
        if self._path is None:
            return
        try:
            self._close(self._fd)
        except SinkError:
            if error is None:  # else the error under way says more than this one
                raise

    async def write(self, items: Iterable[Item]) -> None:
        """Write whole lines; returns when the system has taken them.

        :raises SinkError: if it has not.
        """
        data = encode_lines(items)
        if self._torn:
            raise SinkError(f"{self._name} ends in half a line; its reader was too slow")
        if self._waits:
            await self._write_patiently(data)
            return
        self._write_whole(data)
        if self._rotate_bytes and self._regular and self._size >= self._rotate_bytes:
            self._rotate()

    def _open(self) -> int:
        if self._path is None:
            if sys.stdout is None:  # the caller closed it, e.g. with >&-
                raise SinkError("standard output is closed; name a file")
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
        # Only what can be half a line of ours is cut: the file may be somebody's something else.
        # A crash of the machine may leave zeros where data was to be.
        torn = tail[whole:].rstrip(b"\0")[: len(FIRST_BYTES)]
        if (whole == 0 and start > 0) or not FIRST_BYTES.startswith(torn):
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
            self._take_back(done - (data.rfind(b"\n", 0, done) + 1))
            raise self._error(error, "write to") from error
        self._size += len(data)

    def _take_back(self, torn_bytes: int) -> None:
        """Remove half a line that was just written to a file of ours."""
        if torn_bytes and self._path is not None and self._regular:
            try:
                os.ftruncate(self._fd, os.fstat(self._fd).st_size - torn_bytes)
            except OSError:
                self._torn = True  # the next start cuts it

    async def _write_patiently(self, data: bytes) -> None:
        """Write as the reader takes it; when cancelled, finish the lines within a bound."""
        rest = memoryview(data)

        async def write_rest() -> None:
            nonlocal rest
            while rest:
                await trio.lowlevel.wait_writable(self._fd)
                try:
                    rest = rest[os.write(self._fd, rest[:PIPE_BYTES]) :]
                except BlockingIOError:
                    # Whoever shares the pipe was faster, or made it non-blocking.
                    await trio.lowlevel.checkpoint()

        try:
            try:
                await write_rest()
            except trio.Cancelled:
                with trio.move_on_after(FLUSH_TIMEOUT_S, shield=True):
                    await write_rest()
                done = len(data) - len(rest)
                self._torn = done > 0 and data[done - 1 : done] != b"\n"
                raise
        except OSError as error:
            raise self._error(error, "write to") from error

    def _rotate(self) -> None:
        assert self._path is not None  # noqa: S101 - only files have a size that grows
        number = 1
        while (full := self._path.with_name(f"{self._path.name}.{number}")).exists():
            number += 1
        try:
            self._path.rename(full)
        except OSError as error:
            raise self._error(error, "rename") from error
        old, self._fd = self._fd, self._open()
        self._close(old)

    def _close(self, fd: int) -> None:
        try:
            if self._regular:
                os.fsync(fd)
        except OSError as error:
            raise self._error(error, "flush") from error
        finally:
            os.close(fd)

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
