"""Zstandard frames in a file: where the last whole one ends, without decompressing them all.

Source: RFC 8878, section 3.1: frame and block headers tell how long everything is.
"""

from __future__ import annotations

import os
from collections import deque
from typing import TYPE_CHECKING

from ..errors import SinkError, Unreadable
from .output_file import try_file

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MAGIC = b"\x28\xb5\x2f\xfd"
MAX_CHECKED_BYTES = 64 << 20
"""Size up to which the last frame is decompressed, to see that a crash left all of it."""

NO_FRAME = "does not end in zstd frames"
_SKIPPABLE = (0x184D2A50, 0x184D2A5F)
_WINDOW_BYTES = 1 << 14
_RLE, _RESERVED = 1, 3
_DICTIONARY_ID_BYTES = (0, 1, 2, 4)
_CONTENT_SIZE_BYTES = (0, 2, 4, 8)


class _Frames:
    """The frames of an open file, found by their headers."""

    def __init__(self, fd: int, size: int) -> None:
        self._fd = fd
        self._size = size
        self._window, self._start = b"", 0

    def whole(self) -> Iterator[tuple[int, int]]:
        """Where each whole frame begins, and where it ends.

        :raises Unreadable: if something else stands behind them than a part of a frame.
        """
        end = 0
        while end < self._size:
            following = self._end_of(end)
            if following is None or following > self._size:
                break
            yield end, following
            end = following

    def last(self) -> tuple[int, int]:
        """Where the last whole frame begins, and where it ends.

        :raises Unreadable: as :meth:`whole` does.
        """
        return next(iter(deque(self.whole(), maxlen=1)), (0, 0))

    def _end_of(self, at: int) -> int | None:
        """Where the frame ends that begins here; None if the file ends before that is known."""
        magic = self._number(at, 4)
        if magic is None or magic == 0:
            if not (self._is_begun(at) if magic is None else self._is_nothing(at)):
                raise Unreadable(NO_FRAME)
            return None
        if _SKIPPABLE[0] <= magic <= _SKIPPABLE[1]:
            length = self._number(at + 4, 4)
            return None if length is None else at + 8 + length
        if magic.to_bytes(4, "little") != MAGIC:
            raise Unreadable(NO_FRAME)
        flags = self._number(at + 4, 1)
        if flags is None:
            return None
        single_segment = flags >> 5 & 1
        content_size_bytes = _CONTENT_SIZE_BYTES[flags >> 6] or single_segment
        dictionary_bytes = _DICTIONARY_ID_BYTES[flags & 3]
        block = at + 5 + (1 - single_segment) + dictionary_bytes + content_size_bytes
        while (header := self._number(block, 3)) is not None:
            kind, length = header >> 1 & 3, header >> 3
            if kind == _RESERVED:
                raise Unreadable(NO_FRAME)
            block += 3 + (1 if kind == _RLE else length)
            if header & 1:
                return block + (4 if flags >> 2 & 1 else 0)
        return None

    def _number(self, at: int, count: int) -> int | None:
        """A little-endian number of so many bytes; None if the file ends before it does."""
        if at + count > self._size:
            return None
        if not self._start <= at <= self._start + len(self._window) - count:
            self._window, self._start = os.pread(self._fd, _WINDOW_BYTES, at), at
        begin = at - self._start
        return int.from_bytes(self._window[begin : begin + count], "little")

    def _is_begun(self, at: int) -> bool:
        """Whether the last few bytes are the beginning of a frame, or zeros."""
        rest = os.pread(self._fd, len(MAGIC), at)
        return MAGIC.startswith(rest) or not rest.strip(b"\0")

    def _is_nothing(self, at: int) -> bool:
        """Whether only zeros follow: a crash of the machine may leave these."""
        while part := os.pread(self._fd, _WINDOW_BYTES, at):
            if part.strip(b"\0"):
                return False
            at += len(part)
        return True


def last_frames(fd: int, size: int, count: int) -> list[tuple[int, int]]:
    """Where the last so many whole frames of a file begin and end, in its order.

    :raises Unreadable: if it is no file of frames.
    """
    return list(deque(_Frames(fd, size).whole(), maxlen=count))


def try_frames(path: Path) -> None:
    """Find out whether frames could be appended to a file, and leave it as it is.

    :raises SinkError: if it cannot be opened, or is somebody's something else.
    :raises ConfigError: if another program writes to it.
    """
    try_file(path, torn_bytes)


def torn_bytes(fd: int, size: int, path: Path) -> int:
    """How many bytes of a torn last frame a file ends in.

    :raises SinkError: if that is no frame: the file may be somebody's something else.
    """
    try:
        begin, end = _Frames(fd, size).last()
    except Unreadable as error:
        raise SinkError(f"{path} {error}; choose another file") from None
    if end - begin <= MAX_CHECKED_BYTES and not _is_sound(os.pread(fd, end - begin, begin)):
        end = begin
    return size - end


def _is_sound(frame: bytes) -> bool:
    """Whether a frame can be decompressed, and has the checksum that stands in it."""
    import zstandard

    try:
        for _ in zstandard.ZstdDecompressor().read_to_iter(frame):
            pass
    except zstandard.ZstdError:
        return False
    return True
