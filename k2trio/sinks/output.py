"""Where lines go: standard output, or a file that is locked, cut, rotated, reopened and synced.

The last line of a file is never torn: what a crash left of one is cut off when the file is opened.
:meth:`Output.sync` may run in a thread beside the writer: files that the writer has done with stay
open until it has synced them.
"""

from __future__ import annotations

import os
import stat
import threading
from contextlib import suppress
from typing import TYPE_CHECKING

from .. import files
from ..errors import K2Error, SinkError
from .lines import FIRST_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

TAIL_BYTES = 4 << 20
"""How far back the start of a torn last line is looked for; above the largest message."""


class Output:
    """Something open that takes bytes.

    :ivar fd: where to write.
    :ivar name: what to call it in messages.
    :ivar regular: whether it is a file on a disk.
    :ivar waits: whether a reader may keep the writer waiting, as with pipes and terminals; files
        and /dev/null never do.
    :ivar dirty: set by whoever writes: there is something to sync.
    """

    def __init__(self, fd: int, name: str) -> None:
        self.fd = fd
        self.name = name
        mode = os.fstat(fd).st_mode
        self.regular: bool = stat.S_ISREG(mode)
        self.waits: bool = stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) or os.isatty(fd)
        self.dirty: bool = False
        self._retired: list[int] = []
        """Files that are no longer written to and not synced yet."""
        self._one_sync = threading.Lock()
        self._lost: SinkError | None = None

    def sync(self) -> None:
        """Return when all that was written is on the disk; blocks for as long as that takes.

        Of what is no file nothing can be synced.

        :raises SinkError: if the disk refuses; then nothing more can be said of what was written
            since the last time, so each later call raises as well.
        """
        if not self.regular:
            return
        with self._one_sync:
            if self._lost is not None:
                raise SinkError(str(self._lost))
            # In this order: a file that is retired meanwhile is then in one of both.
            current, retired = self.fd, self._retired.copy()
            dirty, self.dirty = self.dirty, False
            try:
                for fd in retired:
                    files.sync(fd)
                if dirty:
                    files.sync(current)
                self._sync_names()
            except OSError as error:
                self._lost = SinkError(f"cannot flush {self.name}: {files.why(error)}")
                raise self._lost from error
            for fd in retired:
                self._retired.remove(fd)
                os.close(fd)

    @property
    def has_retired(self) -> bool:
        """Whether files wait for a sync to be closed."""
        return bool(self._retired)

    def give_up_syncing(self, message: str) -> None:
        """No more is known of what is on the disk."""
        self._lost = SinkError(message)

    def close(self) -> None:
        """Sync what is not synced yet, and close what was opened here."""
        if self._lost is None:
            self.sync()

    def end_after(self, torn_bytes: int, end: int) -> bool:
        """Remove half a line that was just written; False if that cannot be done.

        :param end: where the file ended after it; it may have another writer.
        """
        try:
            if not self.regular or os.fstat(self.fd).st_size != end or self.position() != end:
                return False
            os.ftruncate(self.fd, end - torn_bytes)
            os.lseek(self.fd, end - torn_bytes, os.SEEK_SET)
        except OSError:
            return False
        return True

    def position(self) -> int:
        """Where the last write to a regular file ended."""
        return os.lseek(self.fd, 0, os.SEEK_CUR) if self.regular else 0

    def _sync_names(self) -> None:
        """Of standard output only whoever opened it knows the name."""


class OutputFile(Output):
    """A file of our own.

    :param tell: is told what happens to it, as an event with its context.
    :ivar cut_bytes: bytes of a torn last line that were cut off when it was opened.
    :ivar size: bytes in it.
    :raises SinkError: if it cannot be opened, or is somebody's something else.
    :raises ConfigError: if another program writes to it.
    """

    fd: int

    def __init__(self, path: Path, tell: Callable[..., object]) -> None:
        self.cut_bytes: int = 0
        self.size: int = 0
        self._path = path
        self._tell = tell
        self._new_name = False
        self._told = False
        super().__init__(self._open(), str(path))

    def close(self) -> None:
        """Sync what is not synced yet, and close."""
        try:
            super().close()
        finally:
            os.close(self.fd)
            for fd in self._retired:
                os.close(fd)

    def follow(self) -> None:
        """If the file was moved away or deleted, go on in a new one of its name.

        Where that cannot be opened, the old one goes on being written to, unless it was deleted.

        :raises SinkError: if nobody could ever read what would be written.
        """
        if not self.regular:
            return
        try:
            if os.path.samestat(os.stat(self._path), os.fstat(self.fd)):  # noqa: PTH116
                return
        except OSError:
            pass  # it is not there any more, or its directory is not
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

    def rotate(self) -> None:
        """Give the file the next free number, and begin a new one.

        :raises SinkError: if that fails; the file then has its name still.
        """
        number = 1
        while os.path.lexists(full := self._path.with_name(f"{self._path.name}.{number}")):
            number += 1
        try:
            os.rename(self._path, full)  # noqa: PTH104
        except OSError as error:
            raise SinkError(f"cannot rename {self.name}: {files.why(error)}") from error
        try:
            self._go_on_in(self._open())
        except K2Error:
            with suppress(OSError):
                os.rename(full, self._path)  # noqa: PTH104
            raise

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
        self._go_on_in(fd)

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
            size, self.cut_bytes = _take(fd, self._path)
            self.size = size - self.cut_bytes
            if self.cut_bytes:
                os.ftruncate(fd, self.size)
                self._tell("torn_line_cut", output=str(self._path), bytes=self.cut_bytes)
        except BaseException:
            os.close(fd)
            raise
        return fd

    def _sync_names(self) -> None:
        if self._new_name or self._retired:
            self._new_name = False
            files.sync_directory(self._path)


def try_output(path: Path) -> None:
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
        _take(fd, path)
    finally:
        os.close(fd)


def _open_old(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_APPEND | os.O_CLOEXEC)


def _cannot_open(path: Path, error: OSError) -> SinkError:
    dangling = isinstance(error, FileNotFoundError) and os.path.islink(path)  # noqa: PTH114
    reason = "it is a link to nothing" if dangling else files.why(error)
    return SinkError(f"cannot open {path}: {reason}")


def _take(fd: int, path: Path) -> tuple[int, int]:
    """Lock a file; returns its size, and how many bytes of a torn last line are in that."""
    status = os.fstat(fd)
    if not stat.S_ISCHR(status.st_mode):
        files.hold(fd, f"the output {path}")
    if not stat.S_ISREG(status.st_mode):
        return 0, 0
    return status.st_size, _torn_bytes(fd, status.st_size, path)


def _torn_bytes(fd: int, size: int, path: Path) -> int:
    """How many bytes of a torn last line a file ends in.

    :raises SinkError: if that is no line of ours: the file may be somebody's something else.
    """
    start = max(0, size - TAIL_BYTES)
    tail = os.pread(fd, TAIL_BYTES, start)
    whole = tail.rfind(b"\n") + 1
    # A crash of the machine may leave zeros where data was to be.
    torn = tail[whole:].rstrip(b"\0")[: len(FIRST_BYTES)]
    if len(tail) > whole and ((whole == 0 and start > 0) or not FIRST_BYTES.startswith(torn)):
        raise SinkError(f"{path} does not end in JSON lines; choose another file")
    return len(tail) - whole
