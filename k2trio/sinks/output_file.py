"""A file that is appended to: locked, cut, followed where it is moved, and finished at its time.

The last piece of a file (a line, a frame) is never torn: what a crash left of one is cut off when
the file is opened.
"""

from __future__ import annotations

import math
import os
import stat
import time
from contextlib import suppress
from typing import TYPE_CHECKING, TypeAlias

import trio

from .. import files
from ..errors import K2Error, SinkError
from ..rotation import Names, Rotation
from .output import Output

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from ..rotation import Mark

LOOK_INTERVAL_S = 1.0
"""How often a writer looks whether its file was moved away."""
NO_ROTATION = Rotation()


TornBytes: TypeAlias = "Callable[[int, int, Path], int]"
"""Tells of a file (descriptor, size, path) how many bytes of a torn last piece it ends in.

Raises SinkError if that is no piece of ours: the file may be somebody's something else.
"""


class OutputFile(Output):
    """A file of our own.

    :param piece: what it is made of.
    :param torn_bytes: of a file of such pieces.
    :param tell: is told what happens to it, as an event with its context.
    :param wall_clock: Unix time, by which periods begin.
    :ivar cut_bytes: bytes of a torn last piece that were cut off when it was opened.
    :raises SinkError: if it cannot be opened, or is somebody's something else.
    :raises ConfigError: if another program writes to it.
    """

    fd: int
    name: str

    def __init__(
        self,
        path: Path,
        piece: str,
        torn_bytes: TornBytes,
        rotation: Rotation,
        tell: Callable[..., object],
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self.cut_bytes: int = 0
        self._size = 0
        self._begun = False
        self._period = 0
        self._path = path
        self._piece = piece
        self._torn_bytes = torn_bytes
        self._rotation = rotation
        self._names = Names(path, timed=bool(rotation.period_s))
        self._tell = tell
        self._wall_clock = wall_clock
        self._new_name = False
        self._told = False
        self._looked_at = -math.inf
        super().__init__(self._open(), str(path))

    def close(self) -> None:
        """Sync what is not synced yet, and close."""
        try:
            super().close()
        finally:
            os.close(self.fd)
            for fd in self._retired:
                os.close(fd)

    @property
    def period_is_over(self) -> bool:
        """Whether something was to go into it, in another period than that of now."""
        return self._begun and self._period != self._now()

    def written(self) -> Iterator[Path]:
        """It, and the finished files of its rotation, from the newest to the oldest."""
        yield self._path
        if self._rotation.on:
            for mark in reversed(self._names.marks(os.listdir(self._path.parent))):  # noqa: PTH208
                yield self._names.path_of(mark)

    def look(self) -> None:
        """See that what comes next goes where it belongs; called before each write.

        :raises SinkError: as :meth:`follow` and :meth:`finish` do.
        """
        if not self.regular:
            return
        now = trio.current_time()
        if now - self._looked_at >= LOOK_INTERVAL_S:
            self._looked_at = now
            self.follow()
        if self.period_is_over:
            self.finish()
        if not self._begun:
            self._begun, self._period = True, self._now()

    def grew(self, by_bytes: int) -> None:
        """Finish the file if it is large enough; called after each write.

        :raises SinkError: as :meth:`finish` does.
        """
        if not self.regular:
            return
        self._size += by_bytes
        if self._rotation.max_bytes and self._size >= self._rotation.max_bytes:
            self.finish()

    def follow(self) -> None:
        """If the file was moved away or deleted, go on in a new one of its name.

        Where that cannot be opened, the old one goes on being written to, unless it was deleted.

        :raises SinkError: if nobody could ever read what would be written.
        """
        if not self.regular:
            return
        if self._is_in_place():
            return
        deleted = os.fstat(self.fd).st_nlink == 0
        try:
            fd = self._open()
        except K2Error as error:
            if deleted:
                raise
            if not self._told:
                self._tell("output_not_reopened", output=self.name, detail=str(error))
                self._told = True
            return
        self._told = False
        self._go_on_in(fd)
        self._tell("output_reopened", output=self.name, was="deleted" if deleted else "moved")

    def begin(self, path: Path) -> None:
        """Go on in another file, and leave this one as it is.

        :raises K2Error: if that cannot be opened; the old one goes on being written to.
        """
        old, self._path = self._path, path
        try:
            fd = self._open()
        except K2Error:
            self._path = old
            raise
        self.name = str(path)
        self._names = Names(path, timed=bool(self._rotation.period_s))
        self._go_on_in(fd)

    def finish(self) -> None:
        """Give the file its final name, and begin a new one; one that was moved away has a name.

        :raises SinkError: if that fails; the file then has its name still.
        """
        before = self.fd
        self.follow()
        if self.fd != before or not self._is_in_place():
            return
        try:
            mark = self._claim()
        except OSError as error:
            raise SinkError(f"cannot rename {self.name}: {files.why(error)}") from error
        full = self._names.path_of(mark)
        try:
            os.rename(self._path, full)  # noqa: PTH104
        except OSError as error:
            with suppress(OSError):
                os.unlink(full)  # noqa: PTH108
            raise SinkError(f"cannot rename {self.name}: {files.why(error)}") from error
        try:
            self._go_on_in(self._open())
        except K2Error:
            with suppress(OSError):
                os.rename(full, self._path)  # noqa: PTH104
            raise
        if self._rotation.keep:
            self._remove_old(mark)

    def _is_in_place(self) -> bool:
        """Whether the file of its name is the one that is written to."""
        try:
            return os.path.samestat(os.stat(self._path), os.fstat(self.fd))  # noqa: PTH116
        except OSError:
            return False  # it is not there any more, or its directory is not

    def _claim(self) -> Mark:
        """Take the next name for a finished file, so that renaming to it overwrites nothing."""
        start = self._names.start_of(self._period)
        mark = self._names.next_mark(start, os.listdir(self._path.parent))  # noqa: PTH208
        if mark.number > 1:
            last = mark._replace(number=mark.number - 1)
            if not os.stat(self._names.path_of(last)).st_size:  # noqa: PTH116
                return last  # a crash came between taking that name and renaming
        while True:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            try:
                os.close(os.open(self._names.path_of(mark), flags, files.SHARED))
            except FileExistsError:
                mark = mark._replace(number=mark.number + 1)
            else:
                return mark

    def _remove_old(self, finished: Mark) -> None:
        """Remove finished files of ours, the oldest first, until there are as many as stay."""
        marks = self._names.marks(os.listdir(self._path.parent))  # noqa: PTH208
        marks.remove(finished)  # it may have an old name, by a clock that was set back
        for mark in marks[: max(0, len(marks) + 1 - self._rotation.keep)]:
            path = self._names.path_of(mark)
            try:
                os.unlink(path)  # noqa: PTH108
            except OSError as error:
                self._tell("old_output_not_removed", output=str(path), detail=files.why(error))

    def _now(self) -> int:
        """The start of the period of now."""
        return self._start(self._wall_clock())

    def _start(self, moment: float) -> int:
        period_s = self._rotation.period_s
        return int(moment // period_s) * period_s if period_s else 0

    def _go_on_in(self, fd: int) -> None:
        old, self.fd = self.fd, fd
        self._retired.append(old)

    def _open(self) -> int:
        flags = os.O_RDWR | os.O_APPEND | os.O_CLOEXEC | os.O_CREAT | os.O_EXCL
        try:
            try:
                fd = os.open(self._path, flags, files.SHARED)
                self._new_name = True
            except FileExistsError:
                fd = _open_old(self._path)
        except OSError as error:
            raise _cannot_open(self._path, error) from error
        try:
            status, self.cut_bytes = _take(fd, self._path, self._torn_bytes)
            self._size = status.st_size - self.cut_bytes if stat.S_ISREG(status.st_mode) else 0
            self._begun, self._period = self._size > 0, self._start(status.st_mtime)
            if self.cut_bytes:
                os.ftruncate(fd, self._size)
                event = f"torn_{self._piece}_cut"
                self._tell(event, output=str(self._path), bytes=self.cut_bytes)
        except BaseException:
            os.close(fd)
            raise
        return fd

    def _ending(self, piece: str) -> str:
        return f"in half a {piece}, which the next start cuts off"

    def _sync_names(self) -> None:
        if self._new_name or self._retired:
            self._new_name = False
            files.sync_directory(self._path)


def try_file(path: Path, torn_bytes: TornBytes) -> None:
    """Find out whether a file could be opened to append to, and leave it as it is.

    :raises SinkError: if it cannot be opened, or is somebody's something else.
    :raises ConfigError: if another program writes to it.
    """
    try:
        if not os.path.lexists(path):
            files.try_to_replace(path)
            return
        fd = _open_old(path)
    except OSError as error:
        raise _cannot_open(path, error) from error
    try:
        _take(fd, path, torn_bytes)
    finally:
        os.close(fd)


def _open_old(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_APPEND | os.O_CLOEXEC)


def _cannot_open(path: Path, error: OSError) -> SinkError:
    dangling = isinstance(error, FileNotFoundError) and os.path.islink(path)  # noqa: PTH114
    reason = "it is a link to nothing" if dangling else files.why(error)
    return SinkError(f"cannot open {path}: {reason}")


def _take(fd: int, path: Path, torn_bytes: TornBytes) -> tuple[os.stat_result, int]:
    """Lock a file; returns its status, and how many bytes of a torn last piece are in it."""
    status = os.fstat(fd)
    if not stat.S_ISCHR(status.st_mode):
        files.hold(fd, f"the output {path}")
    return status, torn_bytes(fd, status.st_size, path) if stat.S_ISREG(status.st_mode) else 0
