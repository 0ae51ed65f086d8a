"""What bytes are written to and synced: whole pieces of them, or none.

:meth:`Output.sync` may run in a thread beside the writer: files that the writer has done with stay
open until it has synced them.
"""

from __future__ import annotations

import os
import stat
import threading
from typing import TYPE_CHECKING, NamedTuple

from .. import files
from ..errors import SinkError

if TYPE_CHECKING:
    from collections.abc import Callable


class Written(NamedTuple):
    """What became of data that was to be written.

    :ivar size: bytes of it that are whole in the output.
    :ivar error: what kept the rest out; None if nothing did.
    :ivar torn: whether half a piece stands behind them.
    """

    size: int
    error: OSError | None = None
    torn: bool = False


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

    def give_up_syncing(self, after_s: float) -> SinkError:
        """No more is known of what is on the disk; returns what to raise for that.

        :param after_s: how long it was waited for.
        """
        self._lost = SinkError(
            f"cannot flush {self.name} within {after_s:g} s; the disk does not answer"
        )
        return self._lost

    def close(self) -> None:
        """Sync what is not synced yet, and close what was opened here."""
        if self._lost is None:
            self.sync()

    def put(self, data: bytes, whole_bytes: Callable[[int], int]) -> Written:
        """Write all of it, or else only what is whole of that for which there was room.

        :param whole_bytes: of so many of its bytes, how many are of whole pieces.
        """
        done, end = 0, -1
        try:
            done = os.write(self.fd, data)
            while done < len(data):
                end = self.position()
                done += os.write(self.fd, memoryview(data)[done:])
        except OSError as error:
            whole = whole_bytes(done)
            torn = done > whole and not self._end_after(done - whole, end)
            return Written(whole, error, torn)
        finally:
            self.dirty = True  # not before: a sync in its thread would believe it had it
        return Written(done)

    def broken(self, written: Written, piece: str) -> SinkError:
        """What to raise for a write that failed; it says in what the output ends.

        :param piece: what it is made of.
        """
        error, torn = written.error, written.torn
        if error is None:
            ending = f"ends in half a {piece}" if torn else "is not complete"
            return SinkError(f"{self.name} {ending}; its reader was too slow")
        message = f"cannot write to {self.name}: {files.why(error)}"
        if self.regular:
            message += f"; it ends {self._ending(piece) if torn else f'with a whole {piece}'}"
        return SinkError(message)

    def _ending(self, piece: str) -> str:
        return f"in half a {piece}; cut that off before you append to it"

    def _end_after(self, torn_bytes: int, end: int) -> bool:
        """Remove half a piece that was just written; False if that cannot be done.

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
