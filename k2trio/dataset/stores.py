"""Where sealed files are put: a folder, or a bucket of an object store. Whole ones, or none.

In a folder a file is written aside, synced and renamed. For an object store it is written to a file
without a name first, and then sent: an object appears when all of it has arrived.
"""

from __future__ import annotations

import abc
import hashlib
import mmap
import os
import tempfile
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.fs as pafs

from .. import files
from ..errors import SinkError
from .catalogue import locate

if TYPE_CHECKING:
    from collections.abc import Generator
    from contextlib import AbstractContextManager

SENT_BYTES = 16 << 20
"""How much is sent to an object store at once."""


class NewFile:
    """A file that is being written, as Arrow wants one.

    :ivar size: bytes so far.
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._hash = hashlib.sha256()
        self.size: int = 0
        self.closed: bool = False

    def write(self, data: bytes | memoryview | pa.Buffer) -> int:
        """Write all of it.

        :raises OSError: if the disk does not take it.
        """
        rest = memoryview(data)
        size = len(rest)
        self._hash.update(rest)
        while rest:
            rest = rest[os.write(self._fd, rest) :]
        self.size += size
        return size

    def tell(self) -> int:
        """Where the next bytes will be."""
        return self.size

    def flush(self) -> None:
        """Nothing waits here."""

    def close(self) -> None:
        """Whoever opened it closes it."""
        self.closed = True

    @property
    def sha256(self) -> str:
        """Of what is in it."""
        return self._hash.hexdigest()


class Store(abc.ABC):
    """See the module. Paths are those in the store.

    :param name: as it was named, for people.
    """

    def __init__(self, name: str) -> None:
        self.name = name

    @abc.abstractmethod
    def new(self, path: PurePosixPath) -> AbstractContextManager[NewFile]:
        """Write a file, which is there behind the block, in place of an older one.

        :raises SinkError: if it cannot be written; an older one is intact then.
        """

    @abc.abstractmethod
    def remove(self, path: PurePosixPath) -> None:
        """Let a file be gone, and what was written aside for it.

        :raises SinkError: if that cannot be done.
        """

    @abc.abstractmethod
    def has(self, path: PurePosixPath) -> bool:
        """Whether there is such a file.

        :raises SinkError: if that cannot be told.
        """

    @abc.abstractmethod
    def settle(self) -> None:
        """Return when a cut of power would leave all that was put and found there.

        :raises SinkError: if the disk refuses.
        """

    @contextmanager
    def _told(self, path: PurePosixPath) -> Generator[None]:
        """Errors of the system as ours."""
        try:
            yield
        except OSError as error:
            raise SinkError(f"cannot write {path} in {self.name}: {files.why(error)}") from error


class Folder(Store):
    """A folder of this machine."""

    def __init__(self, root: Path) -> None:
        super().__init__(str(root))
        self._root = root
        self._unsettled: set[Path] = set()
        """Folders whose names are not synced."""

    @contextmanager
    def new(self, path: PurePosixPath) -> Generator[NewFile]:
        """See :class:`Store`."""
        whole = self._root / path
        aside = _aside(whole)
        with self._told(path):
            files.make_folder(whole.parent)
            flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
            fd = os.open(aside, flags, files.SHARED)
            try:
                try:
                    yield NewFile(fd)
                    files.sync(fd)
                finally:
                    os.close(fd)
                os.replace(aside, whole)  # noqa: PTH105 - so that tests can stop it here
            except BaseException:
                with suppress(OSError):
                    os.unlink(aside)  # noqa: PTH108
                raise
            self._unsettled.add(whole.parent)

    def remove(self, path: PurePosixPath) -> None:
        """See :class:`Store`."""
        whole = self._root / path
        with self._told(path):
            for name in (_aside(whole), whole):
                with suppress(FileNotFoundError):
                    os.unlink(name)  # noqa: PTH108
                    self._unsettled.add(whole.parent)

    def has(self, path: PurePosixPath) -> bool:
        """See :class:`Store`."""
        whole = self._root / path
        found = whole.exists()
        if found:
            self._unsettled.add(whole.parent)
        return found

    def settle(self) -> None:
        """See :class:`Store`."""
        while self._unsettled:
            folder = self._unsettled.pop()
            with self._told(PurePosixPath(folder.relative_to(self._root.parent))):
                files.sync_directory(folder / "any")


class Bucket(Store):
    """An object store, or a part of one.

    :param spool: folder on whose disk files are written before they are sent.
    """

    def __init__(self, name: str, filesystem: pafs.FileSystem, root: str, spool: Path) -> None:
        super().__init__(name)
        self._filesystem = filesystem
        self._root = root
        self._spool = spool

    @contextmanager
    def new(self, path: PurePosixPath) -> Generator[NewFile]:
        """See :class:`Store`."""
        with self._told(path), tempfile.TemporaryFile(dir=self._spool, buffering=0) as file:
            new = NewFile(file.fileno())
            yield new
            self._send(file.fileno(), new.size, f"{self._root}/{path}")

    def _send(self, fd: int, size: int, path: str) -> None:
        with mmap.mmap(fd, size, access=mmap.ACCESS_READ) as content:
            stream = self._filesystem.open_output_stream(path)
            try:
                for start in range(0, size, SENT_BYTES):
                    stream.write(content[start : start + SENT_BYTES])
            finally:
                # After a part that failed this fails as well, and no object appears.
                stream.close()

    def remove(self, path: PurePosixPath) -> None:
        """See :class:`Store`."""
        with self._told(path), suppress(FileNotFoundError):
            self._filesystem.delete_file(f"{self._root}/{path}")

    def has(self, path: PurePosixPath) -> bool:
        """See :class:`Store`."""
        with self._told(path):
            info = self._filesystem.get_file_info(f"{self._root}/{path}")
        return info.type is pafs.FileType.File

    def settle(self) -> None:
        """An object that is there stays."""


def open_store(target: str | Path, spool: Path) -> Store:
    """The store that a target names.

    :param spool: see :class:`Bucket`.
    :raises ConfigError: if there is no such file system.
    """
    filesystem, root = locate(target)
    if isinstance(filesystem, pafs.LocalFileSystem):
        return Folder(Path(root))
    return Bucket(str(target), filesystem, root, spool)


def _aside(path: Path) -> Path:
    return path.with_name(f".{path.name}.new")
