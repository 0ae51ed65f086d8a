"""Where a ledger lies: in a small locked file for processes, or in memory for feeds of one program.

*Why a file of our own, and no database.* The state is a few kilobytes, wholly read and wholly
written, and of no worth after five minutes. The lock is ``flock``: the kernel lets go of it when
its holder dies, however it dies. There is nothing beside the one file that containers would have to
share, no journal to recover and no library to load.

*Crashes.* The content lies in two places, and a write goes to the older one, with a serial number,
its length and a checksum in front. Whoever is killed, or loses power, in the midst of it leaves the
one before, which is good. Nothing is synced: what a cut of power takes was of another boot.

*Time* is the time since this machine was booted, suspended or not (``CLOCK_BOOTTIME``): the same
for all processes and containers of a machine, and nobody can set it back.

*Links.* The file is opened anew each time and no link is followed. Where it lies in a folder that
everybody may write to, it must be the user's own.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import struct
import tempfile
import time
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeVar

import msgspec
import trio

from .. import files
from ..errors import K2Error
from ..policy.ledger import State, expire

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

MAGIC = b"k2trio shared budget, form 1\n"
PAGE_BYTES = 4096
PLACE_BYTES = 256 << 10
"""Of each of the two places for the content."""
GROUP = 0o660
"""Mode of a file that was named: containers that share it may run as users of one group."""

_HEAD = struct.Struct(">QII")
_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


class LedgerError(K2Error):
    """The shared budget cannot be used; each process then counts for itself."""


class Attempt:
    """One use of a store. Who has waited too long leaves, and its thread then changes nothing."""

    def __init__(self) -> None:
        self.abandoned = False


class Store(Protocol):
    """Keeps a ledger.

    :ivar name: what it is called in messages.
    :ivar blocks: whether :meth:`change` may block, and wants a thread.
    """

    name: str
    blocks: bool

    def clock(self) -> float:
        """The time of the ledger."""
        ...

    def change(self, act: Callable[[State, float], T], attempt: Attempt) -> T:
        """Let ``act`` look at the state and change it while nobody else does.

        :raises OSError: if that is not possible.
        :raises LedgerError: likewise.
        """
        ...


class Memory:
    """A ledger for feeds of one program, and for virtual time."""

    name = "memory"
    blocks = False

    def __init__(self) -> None:
        self._state: State = {}

    def clock(self) -> float:
        """The time of the ledger."""
        return trio.current_time()

    def change(self, act: Callable[[State, float], T], attempt: Attempt) -> T:
        """Let ``act`` change the state."""
        del attempt
        return act(self._state, self.clock())


class SharedFile:
    """A ledger in a file.

    :param mode: of a new file.
    """

    blocks = True

    def __init__(self, path: Path, mode: int = GROUP) -> None:
        self.name: str = str(path)
        self._path = path
        self._mode = mode

    def clock(self) -> float:
        """The time of the ledger."""
        return time.clock_gettime(_CLOCK)

    def change(self, act: Callable[[State, float], T], attempt: Attempt) -> T:
        """Let ``act`` change the state; blocks for as long as the disk, or another process, does.

        :raises OSError: if the file cannot be used.
        :raises LedgerError: if it is no such file.
        """
        fd = self._open()
        try:
            self._check(fd)
            fcntl.flock(fd, fcntl.LOCK_EX)  # let go of by close, or by the end of the process
            if attempt.abandoned:
                raise LedgerError("it was waited for too long")
            serial, old = self._read(fd)
            state = _decoded(old)
            now = self.clock()
            result = act(state, now)
            for name, account in list(state.items()):
                expire(account, now)
                if account.empty:
                    del state[name]
            new = msgspec.json.encode(state)
            if new != old:
                self._write(fd, serial + 1, new)
            return result
        finally:
            os.close(fd)

    def _open(self) -> int:
        # Not blocking: a pipe of this name would wait for somebody at its other end.
        flags = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
        try:
            return os.open(self._path, flags)
        except FileNotFoundError:
            pass
        try:
            return os.open(self._path, flags | os.O_CREAT | os.O_EXCL, self._mode)
        except FileExistsError:
            return os.open(self._path, flags)  # somebody else was faster

    def _check(self, fd: int) -> None:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            raise LedgerError("it is no file; name another one")
        folder = os.stat(self._path.parent)  # noqa: PTH116 - beside its brothers
        if folder.st_mode & stat.S_IWOTH and status.st_uid != os.geteuid():
            raise LedgerError(
                "it is another user's, in a folder that everybody may write to; choose a folder"
                " that only those share who trust each other"
            )
        mode = stat.S_IMODE(status.st_mode)
        if status.st_uid == os.geteuid() and mode & self._mode != self._mode:
            os.fchmod(fd, mode | self._mode)  # new, and the umask took something away

    def _read(self, fd: int) -> tuple[int, bytes]:
        """The newer of the two contents that are whole; its serial number, and its bytes."""
        head = os.pread(fd, len(MAGIC), 0)
        if not head:
            os.pwrite(fd, MAGIC, 0)
            return 0, b""
        if head != MAGIC:
            raise LedgerError("it is no shared budget of this version; name another file")
        found = (0, b"")
        for place in range(2):
            at = PAGE_BYTES + place * PLACE_BYTES
            start = os.pread(fd, _HEAD.size, at)
            if len(start) < _HEAD.size:
                continue
            serial, length, checksum = _HEAD.unpack(start)
            if serial <= found[0] or length > PLACE_BYTES - _HEAD.size:
                continue
            content = os.pread(fd, length, at + _HEAD.size)
            if _checksum(serial, content) == checksum:
                found = serial, content
        return found

    def _write(self, fd: int, serial: int, content: bytes) -> None:
        if len(content) > PLACE_BYTES - _HEAD.size:
            raise LedgerError("more processes use it than it has room for")
        data = _HEAD.pack(serial, len(content), _checksum(serial, content)) + content
        if os.pwrite(fd, data, PAGE_BYTES + serial % 2 * PLACE_BYTES) < len(data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _checksum(serial: int, content: bytes) -> int:
    return zlib.crc32(content, serial & 0xFFFFFFFF)


def _decoded(content: bytes) -> State:
    if not content:
        return {}
    try:
        return msgspec.json.decode(content, type=State)
    except msgspec.MsgspecError as error:
        raise LedgerError(f"it is no shared budget of this version ({error})") from error


def default_file() -> SharedFile | None:
    """The file of this user's processes on this machine; None if its folder is not writable.

    Its place does not depend on variables or sessions, so that a service and a shell agree on it.
    """
    shared_memory = Path("/dev/shm")  # noqa: S108 - the file must be ours, and no link
    folder = shared_memory if shared_memory.is_dir() else Path(tempfile.gettempdir())
    if not os.access(folder, os.W_OK):
        return None
    return SharedFile(folder / f"k2trio-budget-{os.geteuid()}", files.PRIVATE)
