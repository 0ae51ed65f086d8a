"""The ledger of ids as a file: written now and then, and at the end.

It is the proof of what the output holds, so it must never say more than that: it is taken when
everything the feed has counted is written. A program that is killed leaves the one before.
"""

from __future__ import annotations

import functools
import os
import stat
import threading
from typing import TYPE_CHECKING

import msgspec
import trio

from .. import files
from ..errors import ConfigError, SinkError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from ..continuity.ledger import Coverage

INTERVAL_S = 60.0
"""How often the file is written; a kill costs so much of the proof."""
WRITE_TIMEOUT_S = 1.0
"""How long the disk may hold up the output, or the end, for it."""


class CoverageFile:
    """The file, and when it is to be written next.

    :param ledger: says what is covered now.
    :param sync: called in a thread, before that is written: makes durable what it speaks of.
    :param tell: is told of a ledger that could not be written, as an event with its context.
    :ivar due_at: when to write it next.
    """

    def __init__(
        self,
        path: Path,
        ledger: Callable[[], Sequence[Coverage]],
        sync: Callable[[], None],
        tell: Callable[..., object],
    ) -> None:
        self.due_at: float = trio.current_time() + INTERVAL_S
        self._path = path
        self._ledger = ledger
        self._sync = sync
        self._tell = tell
        self._one_write = threading.Lock()
        self._begun = self._newest = 0

    async def keep(self) -> None:
        """Write the file, and try again at the next time if that fails.

        What is no file of its own, as /dev/stdout, is written at the end only.
        """
        self.due_at = trio.current_time() + INTERVAL_S
        if _is_replaced(self._path):
            try:
                await self._write_in_time()
            except SinkError as error:
                self._tell("coverage_not_written", detail=str(error))

    async def write_at_last(self) -> None:
        """Write the file within a bound, whatever was cancelled.

        :raises SinkError: if it cannot be written, or not in time.
        """
        with trio.CancelScope(shield=True):
            await self._write_in_time()

    async def _write_in_time(self) -> None:
        self._begun += 1
        data = msgspec.json.format(msgspec.json.encode(self._ledger())) + b"\n"
        write = functools.partial(self._write, self._begun, data)
        with trio.move_on_after(WRITE_TIMEOUT_S) as patience:
            await trio.to_thread.run_sync(write, abandon_on_cancel=True)
        if patience.cancelled_caught:
            raise SinkError(
                f"cannot write the coverage file {self._path} within {WRITE_TIMEOUT_S:g} s; "
                "the disk does not answer"
            )

    def _write(self, number: int, data: bytes) -> None:
        with self._one_write:
            if number < self._newest:
                return  # one that was given up and came too late
            self._sync()
            try:
                if _is_replaced(self._path):
                    files.replace(self._path, data, files.SHARED)
                else:
                    self._path.write_bytes(data)
            except OSError as error:
                raise SinkError(
                    f"cannot write the coverage file {self._path}: {files.why(error)}"
                ) from error
            self._newest = number


def try_coverage(path: Path) -> None:
    """Find out at the start what would go wrong at the end.

    :raises ConfigError: naming the file and the cause.
    """
    try:
        if _is_replaced(path):
            files.try_to_replace(path)
        elif not path.exists():
            files.try_to_replace(path.resolve())  # a link to a file that is to be made
        elif not stat.S_ISFIFO(path.stat().st_mode):  # opening that one would wait for its reader
            os.close(os.open(path, os.O_WRONLY | os.O_CLOEXEC))
    except OSError as error:
        raise ConfigError(f"cannot write the coverage file {path}: {files.why(error)}") from error


def _is_replaced(path: Path) -> bool:
    """Whether it is a file of its own; /dev/stdout and the like are written to, and stay."""
    return not path.is_symlink() and (path.is_file() or not path.exists())
