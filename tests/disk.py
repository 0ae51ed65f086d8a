"""A disk in memory that knows what was synced: what is left of it when the power is cut.

It stands in for the system's calls in the modules of the package that touch files. A file's content
is safe up to its last sync, a name up to the last sync of its directory. Of the rest a cut leaves
a part: names in their order up to some moment, and of what was appended a piece, which may be torn.
"""

from __future__ import annotations

import errno
import os
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Mapping

    import pytest

FOLDER = Path("/disk")
"""The one directory of the disk; paths elsewhere, and descriptors, are the real system's."""
MODULES = (
    "files",
    "continuity.state",
    "sinks.output",
    "sinks.output_file",
    "sinks.jsonl",
    "sinks.frames",
    "sinks.tails",
)
FIRST_FD = 1 << 20


@dataclass
class Inode:
    """A file, whatever it is called."""

    number: int
    content: bytearray = field(default_factory=bytearray)
    synced: bytes = b""
    mode: int = 0o600
    holder: int | None = None


@dataclass
class Opened:
    """What a descriptor stands for; the directory where there is no file."""

    inode: Inode | None
    append: bool = False
    at: int = 0


Names: TypeAlias = dict[str, Inode]


class Disk:
    """See the module.

    :param files: what lies on it, synced.
    :ivar calls: what was asked of it, in order: what, and on which name.
    :ivar changed: called after each call that a cut could follow.
    :ivar room: how many bytes more can be written; None for any number.
    :ivar full: called when there is no more room, before that is told.
    """

    def __init__(self, files: Mapping[str, bytes] | None = None) -> None:
        self.calls: list[tuple[str, str]] = []
        self.changed: Callable[[], None] = lambda: None
        self.room: int | None = None
        self.full: Callable[[], None] = lambda: None
        self._names: Names = {}
        self._moments: list[Names] = []
        """The directory after each change since it was synced; the first one is safe."""
        self._open: dict[int, Opened] = {}
        self._numbers = 0
        for name, content in (files or {}).items():
            self._names[name] = self._inode(bytearray(content), content)
        self._moments = [dict(self._names)]

    def install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Let the package use this disk."""
        for module in MODULES:
            monkeypatch.setattr(f"k2trio.{module}.os", _System(self))
        monkeypatch.setattr("k2trio.files.fcntl", _Locks(self))

    def read(self, name: str) -> bytes:
        """The content of a file, as a program sees it."""
        return bytes(self._names[name].content)

    def files(self) -> dict[str, bytes]:
        """Everything on it, as a program sees it."""
        return {name: self.read(name) for name in self._names}

    def cut(self, rng: random.Random) -> dict[str, bytes]:
        """What the power's failing now could leave."""
        names = rng.choice(self._moments)
        return {name: self._left(inode, rng) for name, inode in names.items()}

    def _left(self, inode: Inode, rng: random.Random) -> bytes:
        if not inode.content.startswith(inode.synced):
            return rng.choice((inode.synced, bytes(inode.content)))  # it was cut shorter
        end = rng.choice((len(inode.synced), rng.randint(len(inode.synced), len(inode.content))))
        return bytes(inode.content[:end])

    # -- the system's calls ---------------------------------------------------------------------

    def open(self, path: Path, flags: int, mode: int = 0o777) -> int:
        fd = FIRST_FD + self._number()
        if path == FOLDER:
            self._open[fd] = Opened(None)
            return fd
        inode = self._names.get(path.name)
        if inode is not None and flags & os.O_EXCL:
            raise FileExistsError(errno.EEXIST, "File exists")
        if inode is None:
            if not flags & os.O_CREAT:
                raise FileNotFoundError(errno.ENOENT, "No such file or directory")
            inode = self._names[path.name] = self._inode(mode=mode)
            self._renamed("create", path.name)
        self._open[fd] = Opened(inode, bool(flags & os.O_APPEND))
        return fd

    def write(self, fd: int, data: bytes) -> int:
        if data and self.room == 0:
            self.full()
            raise OSError(errno.ENOSPC, "No space left on device")
        inode, at, data = self._file(fd), self._open[fd], bytes(data)[: self.room]
        self.room = None if self.room is None else self.room - len(data)
        if at.append:
            at.at = len(inode.content)
        inode.content[at.at : at.at + len(data)] = data
        at.at += len(data)
        self._call("write", fd)
        return len(data)

    def read_from(self, fd: int, count: int) -> bytes:
        at = self._open[fd].at
        self._open[fd].at += count
        return self.pread(fd, count, at)

    def pread(self, fd: int, count: int, at: int) -> bytes:
        return bytes(self._file(fd).content[at : at + count])

    def ftruncate(self, fd: int, size: int) -> None:
        del self._file(fd).content[size:]
        self._call("truncate", fd)

    def fsync(self, fd: int) -> None:
        inode = self._open[fd].inode
        if inode is None:
            self._moments = [dict(self._names)]
        else:
            inode.synced = bytes(inode.content)
        self._call("fsync", fd)

    def close(self, fd: int) -> None:
        inode = self._open.pop(fd).inode
        if inode is not None and inode.holder == fd:
            inode.holder = None

    def lseek(self, fd: int, at: int, how: int) -> int:
        if how == os.SEEK_SET:
            self._open[fd].at = at
        return self._open[fd].at

    def rename(self, source: Path, target: Path) -> None:
        self._names[target.name] = self._names.pop(source.name)
        self._renamed("rename", target.name)

    def unlink(self, path: Path) -> None:
        del self._names[path.name]
        self._renamed("unlink", path.name)

    def stat(self, path: Path) -> os.stat_result:
        if path.name not in self._names:
            raise FileNotFoundError(errno.ENOENT, "No such file or directory")
        return self._status(self._names[path.name])

    def fstat(self, fd: int) -> os.stat_result:
        return self._status(self._file(fd))

    def flock(self, fd: int) -> None:
        inode = self._file(fd)
        if inode.holder not in (None, fd):
            raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")
        inode.holder = fd

    def names(self) -> list[str]:
        return list(self._names)

    # -- inside ---------------------------------------------------------------------------------

    def _number(self) -> int:
        self._numbers += 1
        return self._numbers

    def _inode(self, content: bytearray | None = None, synced: bytes = b"", mode: int = 0) -> Inode:
        return Inode(self._number(), bytearray() if content is None else content, synced, mode)

    def _file(self, fd: int) -> Inode:
        inode = self._open[fd].inode
        assert inode is not None
        return inode

    def _status(self, inode: Inode) -> os.stat_result:
        links = list(self._names.values()).count(inode)
        mode = stat.S_IFREG | inode.mode
        return os.stat_result((mode, inode.number, 1, links, 0, 0, len(inode.content), 0, 0, 0))

    def _renamed(self, what: str, name: str) -> None:
        self._moments.append(dict(self._names))
        self.calls.append((what, name))
        self.changed()

    def _call(self, what: str, fd: int) -> None:
        inode = self._open[fd].inode
        names = (name for name, known in self._names.items() if known is inode)
        self.calls.append((what, str(FOLDER) if inode is None else next(names, "")))
        self.changed()


class _System:
    """The module ``os``, but for what concerns the disk."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk
        self.path = _Paths(disk)

    def __getattr__(self, name: str) -> Any:
        theirs = getattr(os, name)
        ours = {"read": "read_from", "replace": "rename"}.get(name, name)
        if name.startswith("_") or not callable(theirs) or not hasattr(self._disk, ours):
            return theirs

        def call(first: Any, *rest: Any, **more: Any) -> Any:
            on_disk = first in self._disk._open if isinstance(first, int) else _is_on(first)
            return (getattr(self._disk, ours) if on_disk else theirs)(first, *rest, **more)

        return call

    def listdir(self, path: Path) -> list[str]:
        return self._disk.names() if path == FOLDER else os.listdir(path)  # noqa: PTH208

    def isatty(self, fd: int) -> bool:
        return fd < FIRST_FD and os.isatty(fd)


class _Paths:
    """The module ``os.path``, likewise."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk

    def __getattr__(self, name: str) -> Any:
        return getattr(os.path, name)

    def lexists(self, path: Path) -> bool:
        return path.name in self._disk.names() if _is_on(path) else os.path.lexists(path)


class _Locks:
    """The module ``fcntl``, likewise."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk

    def __getattr__(self, name: str) -> Any:
        import fcntl

        return getattr(fcntl, name)

    def flock(self, fd: int, how: int) -> None:
        if fd >= FIRST_FD:
            self._disk.flock(fd)
        else:
            self.__getattr__("flock")(fd, how)


def _is_on(path: object) -> bool:
    return isinstance(path, Path) and FOLDER in (path, *path.parents)
