"""Files that survive a cut of power, are written by one program at a time, and follow no link."""

from __future__ import annotations

import errno
import fcntl
import itertools
import os
import re
import secrets
import stat
import sys
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from .errors import ConfigError, InUse

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence
    from pathlib import Path

PRIVATE = 0o600
"""Mode of a new file that is nobody's business but ours."""
SHARED = 0o644
"""Mode of a new file that others may read, less what the umask takes away."""

_UNFOLLOWED = os.O_NOFOLLOW | os.O_CLOEXEC


def sync(fd: int) -> None:
    """Return when what was written to a file is on the disk; blocks for as long as that takes."""
    if sys.platform == "darwin":
        fcntl.fcntl(fd, fcntl.F_FULLFSYNC)  # fsync alone leaves it in the drive's cache
    else:
        os.fsync(fd)


def sync_directory(path: Path) -> None:
    """Return when the directory knows on the disk what it is called that lies at ``path``."""
    fd = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    except OSError as error:
        if error.errno != errno.EINVAL:  # a file system that has no such thing
            raise
    finally:
        os.close(fd)


def make_folder(path: Path) -> None:
    """Make a folder, and those that it lies in, such that they survive a cut of power.

    :raises OSError: if that cannot be done.
    """
    missing: list[Path] = []
    while not os.path.isdir(path):  # noqa: PTH112
        missing.append(path)
        path = path.parent
    for one in reversed(missing):
        with suppress(FileExistsError):
            os.mkdir(one)  # noqa: PTH102
        sync_directory(one)


def read(path: Path) -> bytes:
    """The content of a file."""
    parts: list[bytes] = []
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        while part := os.read(fd, 1 << 20):
            parts.append(part)
    finally:
        os.close(fd)
    return b"".join(parts)


def replace(path: Path, data: bytes, mode: int = PRIVATE) -> None:
    """Give a file new content such that a crash or a cut of power leaves the old one or the new.

    Written aside under a name of its own, synced, renamed, and the directory synced.

    :raises OSError: if it cannot be done; unless the directory alone failed, the old one is intact.
    """
    aside, fd = _open_aside(path, mode)
    try:
        try:
            rest = memoryview(data)
            while rest:
                rest = rest[os.write(fd, rest) :]
            sync(fd)
        finally:
            os.close(fd)
        os.replace(aside, path)  # noqa: PTH105 - all of this module speaks to the system itself
    except OSError:
        with suppress(OSError):
            os.unlink(aside)  # noqa: PTH108
        raise
    sync_directory(path)


def try_to_replace(path: Path) -> None:
    """Find out whether :func:`replace` would work, as far as that can be told; nothing stays.

    :raises OSError: as :func:`replace` would.
    """
    if os.path.isdir(path):  # noqa: PTH112
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    aside, fd = _open_aside(path, PRIVATE)
    try:
        os.write(fd, b"\n")  # a full disk takes names, but no bytes
    finally:
        os.close(fd)
        with suppress(OSError):
            os.unlink(aside)  # noqa: PTH108


def _open_aside(path: Path, mode: int) -> tuple[Path, int]:
    aside = path.with_name(f".{path.name}.{secrets.token_hex(8)}.new")
    return aside, os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _UNFOLLOWED, mode)


def hold(fd: int, name: str) -> None:
    """Lock an open file for as long as it is open.

    :raises InUse: if another program has done so.
    :raises ConfigError: if it cannot be locked at all.
    """
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise InUse(
            f"{name} is in use by another program; stop that one, or choose another file"
        ) from error
    except OSError as error:
        raise ConfigError(
            f"{name} cannot be locked ({error.strerror}); choose a file on another file system"
        ) from error


def lock_name(path: Path) -> Path:
    """What the lock beside a file is called."""
    return path.with_name(f".{path.name}.lock")


@contextmanager
def locked(path: Path, name: str) -> Generator[None]:
    """Keep a file that is replaced now and then to this program, by a lock that stays beside it.

    What an earlier program was writing aside when it crashed is removed.

    :param name: what to call the file where it is spoken of.
    :raises ConfigError: if another program has the lock, or it cannot be made.
    """
    lock = lock_name(path)
    try:
        fd = os.open(lock, os.O_RDWR | os.O_CREAT | _UNFOLLOWED, PRIVATE)
    except OSError as error:
        raise ConfigError(f"cannot write {name}: {lock} cannot be opened, {why(error)}") from error
    try:
        hold(fd, name)
        _remove_leftovers(path)
        yield
    finally:
        os.close(fd)


def try_lock(path: Path, name: str) -> None:
    """Find out whether :func:`locked` could lock a file that has been locked before.

    :raises ConfigError: if another program has the lock.
    :raises OSError: if it cannot be opened.
    """
    try:
        fd = os.open(lock_name(path), os.O_RDWR | _UNFOLLOWED)
    except FileNotFoundError:
        return
    try:
        hold(fd, name)
    finally:
        os.close(fd)


def _remove_leftovers(path: Path) -> None:
    ours = re.compile(rf"\.{re.escape(path.name)}\.[0-9a-f]{{16}}\.new")
    for entry in os.listdir(path.parent):  # noqa: PTH208
        if ours.fullmatch(entry):
            with suppress(OSError):
                os.unlink(path.with_name(entry))  # noqa: PTH108


def refuse_clashes(named: Sequence[tuple[str, Path]]) -> None:
    """Refuse files of which one would spoil another.

    :param named: settings, each with its file.
    :raises ValueError: naming two that are one.
    """
    for (one, path), (other, second) in itertools.combinations(named, 2):
        if same(path, second):
            if one == other:
                raise ValueError(f"{one} names {path} twice; name two files")
            raise ValueError(f"{one} and {other} are both {path}; name two files")


def same(one: Path, other: Path) -> bool:
    """Whether two paths lead to one file, which writing to both would spoil."""
    if os.path.realpath(one) == os.path.realpath(other):
        return not _is_device(one)
    try:
        return os.path.samestat(os.stat(one), os.stat(other)) and not _is_device(one)  # noqa: PTH116
    except OSError:
        return False


def _is_device(path: Path) -> bool:
    """Whether it is /dev/null or the like, which nothing can spoil."""
    try:
        return stat.S_ISCHR(os.stat(path).st_mode)  # noqa: PTH116
    except OSError:
        return False


def why(error: OSError) -> str:
    """What went wrong with a file, and what to do about it."""
    cures = {
        errno.EPIPE: "its reader has gone; nothing more can be delivered",
        errno.ENOSPC: "the disk is full; make room",
        errno.EDQUOT: "the quota is used up; make room",
        errno.EFBIG: "it may not grow further; rotate it, or raise the limit (ulimit -f)",
        errno.EACCES: "permission denied; choose a file this user may write",
        errno.EISDIR: "it is a directory; name a file",
        errno.ENOENT: "its directory does not exist; create it",
        errno.EROFS: "its disk is read-only; choose a file on another one",
        errno.ENAMETOOLONG: "its name is too long; choose a shorter one",
        errno.ELOOP: "it is a link, and new files follow none; name a file",
        errno.EMFILE: "this process has too many files open; raise its limit (ulimit -n)",
    }
    return cures.get(error.errno or 0, error.strerror or str(error))
