"""Writes items as JSON lines, whole ones only, and knows which of them are whole.

A write that fails half-way is taken back where that is possible. After it nothing more is written:
a later batch that still fits would hide that one is missing.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Self

import trio

from .. import files
from ..errors import SinkError
from .lines import encode_lines
from .output import Output, OutputFile

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path
    from types import TracebackType

    from ..continuity.items import Item

PIPE_BYTES = 4096
"""A pipe that is writable takes this much at once (POSIX PIPE_BUF), so the loop never blocks."""
FLUSH_TIMEOUT_S = 1.5
"""How long a slow reader may hold up the last lines at shutdown."""
SYNC_TIMEOUT_S = 1.0
"""How long the disk may take to sync the last lines at shutdown."""
LOOK_INTERVAL_S = 1.0
"""How often a writer looks whether its file was moved away."""


def _say_nothing(event: str, **context: object) -> None:
    """For whoever does not want to be told."""


class JsonLines:
    """An open output, to be used as a context manager.

    :param path: file to append to; None for standard output.
    :param rotate_bytes: size at which the file gets a number and a new one begins; 0 for never.
    :param tell: is told what happens to the file, as an event with its context.
    :ivar whole: how many items of the last write are whole in the output.
    :raises SinkError: if it cannot be opened, saying which and why.
    :raises ConfigError: if another program writes to it.
    """

    def __init__(
        self,
        path: Path | None = None,
        rotate_bytes: int = 0,
        tell: Callable[..., object] = _say_nothing,
    ) -> None:
        self._rotate_bytes = rotate_bytes
        self.whole: int = 0
        self._broken: str | None = None
        self._file = OutputFile(path, tell) if path is not None else None
        self._output = self._file or _standard_output()
        self._looked_at = float("-inf")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            self._output.close()
        except SinkError:
            if error is None:  # else the error under way says more than this one
                raise

    async def write(self, items: Sequence[Item]) -> None:
        """Write whole lines; returns when the system has taken them.

        A write to a slow reader that is cancelled finishes its lines first, within a bound.

        :raises SinkError: if it has not, or could not once before. ``whole`` says how far it came.
        """
        self.whole = 0
        if self._broken is not None:
            self.check()
        await self.append(encode_lines(items), len(items))

    async def append(self, data: bytes, lines: int) -> None:
        """Write so many lines that are made already; see :meth:`write`."""
        self.whole = 0
        if self._broken is not None:
            self.check()
        if self._output.waits:
            await self._write_patiently(data, lines)
            return
        if self._file is not None:
            now = trio.current_time()
            if now - self._looked_at >= LOOK_INTERVAL_S:
                self._looked_at = now
                self._file.follow()
        self._write_at_once(data)
        self.whole = lines
        if self._file is not None and self._file.regular:
            self._file.size += len(data)
            if self._rotate_bytes and self._file.size >= self._rotate_bytes:
                self._file.rotate()
            if self._file.has_retired:
                await trio.to_thread.run_sync(self._output.sync, abandon_on_cancel=True)

    def check(self) -> None:
        """Return if everything that was to be written is whole in the output.

        :raises SinkError: if not.
        """
        if self._broken is not None:
            raise SinkError(self._broken)

    def reopen(self) -> None:
        """Look now whether the file was moved away, and go on in a new one if so.

        :raises SinkError: if the file was deleted, and there cannot be a new one.
        """
        if self._file is not None:
            self._file.follow()

    def begin(self, path: Path) -> None:
        """Go on in another file; the old one is closed, and no longer locked, when it is synced.

        :raises K2Error: if that cannot be opened; the old one goes on being written to.
        """
        if self._file is not None and self._broken is None:
            self._file.begin(path)

    def sync(self) -> None:
        """Return when what was written is on the disk; blocks, and may run in a thread.

        :raises SinkError: if the disk refuses.
        """
        self._output.sync()

    async def flush(self) -> None:
        """Sync at the end, within a bound, whatever was cancelled.

        :raises SinkError: if the disk refuses, or does not answer in time.
        """
        if not self._output.regular:
            return
        with trio.move_on_after(SYNC_TIMEOUT_S, shield=True) as patience:
            await trio.to_thread.run_sync(self._output.sync, abandon_on_cancel=True)
        if patience.cancelled_caught:
            message = f"cannot flush {self._output.name} within {SYNC_TIMEOUT_S:g} s"
            self._output.give_up_syncing(f"{message}; the disk does not answer")
            raise SinkError(f"{message}; the disk does not answer")

    def _write_at_once(self, data: bytes) -> None:
        output = self._output
        done, end = 0, -1
        try:
            done = os.write(output.fd, data)
            while done < len(data):
                end = output.position()
                done += os.write(output.fd, memoryview(data)[done:])
        except OSError as error:
            self.whole = data.count(b"\n", 0, done)
            torn_bytes = done - (data.rfind(b"\n", 0, done) + 1)
            taken_back = not torn_bytes or output.end_after(torn_bytes, end)
            raise self._break(error, torn=not taken_back) from error
        finally:
            output.dirty = True  # not before: a sync in its thread would believe it had it

    async def _write_patiently(self, data: bytes, count: int) -> None:
        """Write as the reader takes it; when cancelled, finish the lines within a bound."""
        rest = memoryview(data)

        async def write_rest() -> None:
            nonlocal rest
            while rest:
                await trio.lowlevel.wait_writable(self._output.fd)
                try:
                    rest = rest[os.write(self._output.fd, rest[:PIPE_BYTES]) :]
                except BlockingIOError:
                    # Whoever shares the pipe was faster, or made it non-blocking.
                    await trio.lowlevel.checkpoint()

        error: OSError | None = None
        try:
            try:
                await write_rest()
            except trio.Cancelled:
                with trio.move_on_after(FLUSH_TIMEOUT_S, shield=True):
                    await write_rest()
                raise
        except OSError as raised:
            error = raised
        finally:
            failure = None
            if rest:
                done = len(data) - len(rest)
                self.whole = data.count(b"\n", 0, done)
                failure = self._break(error, torn=done > 0 and data[done - 1 : done] != b"\n")
            else:
                self.whole = count
        if failure is not None:
            raise failure from error

    def _break(self, error: OSError | None, *, torn: bool) -> SinkError:
        """Nothing more is written; the error says in what the output ends."""
        name = self._output.name
        if error is None:
            ending = f"{name} ends in half a line" if torn else f"{name} is not complete"
            self._broken = f"{ending}; its reader was too slow"
        else:
            if not torn:
                ending = "it ends with a whole line"
            elif self._file is None:
                ending = "it ends in half a line; cut that off before you append to it"
            else:
                ending = "it ends in half a line, which the next start cuts off"
            self._broken = f"cannot write to {name}: {files.why(error)}"
            if self._output.regular:
                self._broken += f"; {ending}"
        return SinkError(self._broken)

    @property
    def cut_bytes(self) -> int:
        """Bytes of a torn last line that were cut off when the file was opened."""
        return 0 if self._file is None else self._file.cut_bytes


def _standard_output() -> Output:
    if sys.stdout is None:  # the caller closed it, e.g. with >&-
        raise SinkError("standard output is closed; name a file")
    sys.stdout.flush()
    return Output(sys.stdout.fileno(), "standard output")
