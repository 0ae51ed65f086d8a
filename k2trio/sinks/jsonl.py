"""Writes items as JSON lines, whole ones only, and knows which of them are whole.

A write that fails half-way is taken back where that is possible. After it nothing more is written:
a later batch that still fits would hide that one is missing.
"""

from __future__ import annotations

import os
import sys
import time
from typing import TYPE_CHECKING

import trio

from ..errors import SinkError
from .line_sink import LineSink
from .lines import FIRST_BYTES, encode_lines
from .output import Output, Written
from .output_file import NO_ROTATION, OutputFile, try_file
from .tails import LinesTail, look_beyond

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from ..continuity.items import Item
    from ..continuity.positions import Key, Position
    from ..market.units import TimeUnit
    from ..rotation import Rotation

PIPE_BYTES = 4096
"""A pipe that is writable takes this much at once (POSIX PIPE_BUF), so the loop never blocks."""
FLUSH_TIMEOUT_S = 1.5
"""How long a slow reader may hold up the last lines at shutdown."""
SYNC_TIMEOUT_S = 1.0
"""How long the disk may take to sync the last lines at shutdown."""
TEND_INTERVAL_S = 0.5
"""How late a file may be finished whose period ends while nothing comes."""
TAIL_BYTES = 4 << 20
"""How far back the start of a torn last line is looked for; above the largest message."""


def say_nothing(event: str, **context: object) -> None:
    """For whoever does not want to be told."""


class JsonLines(LineSink):
    """An open output of JSON lines.

    :param path: file to append to; None for standard output.
    :param rotation: when the file is finished and a new one begins.
    :param tell: is told what happens to the file, as an event with its context.
    :param wall_clock: Unix time, by which periods begin.
    :raises SinkError: if it cannot be opened, saying which and why.
    :raises ConfigError: if another program writes to it.
    """

    whole: int

    def __init__(
        self,
        path: Path | None = None,
        rotation: Rotation = NO_ROTATION,
        tell: Callable[..., object] = say_nothing,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        super().__init__()
        self._tell = tell
        self._broken: str | None = None
        self._file = (
            OutputFile(path, "line", torn_bytes, rotation, tell, wall_clock)
            if path is not None
            else None
        )
        self._output = self._file or _standard_output()
        self._timed = bool(rotation.period_s)

    async def append(self, data: bytes, lines: int) -> None:
        """Write whole lines; returns when the system has taken them.

        A write to a slow reader that is cancelled finishes its lines first, within a bound.

        :raises SinkError: if it has not, or could not once before. ``whole`` says how far it came.
        """
        self.whole = 0
        if self._broken is not None:
            self.check()
        if not data:
            return
        if self._output.waits:
            await self._write_patiently(data, lines)
            return
        self._append(data, lines)
        if self._file is not None:
            await self._sync_finished(self._file)

    @property
    def prompt(self) -> bool:
        """See :class:`PromptSink`."""
        return self._output.regular

    @property
    def takes_now(self) -> bool:
        """Whether it need not be waited for: not before a finished file is made durable."""
        return not (self._output.waits or (self._file is not None and self._file.has_retired))

    def write_now(self, items: Sequence[Item]) -> bool:
        """See :class:`PromptSink`."""
        self.whole = 0
        if not self.takes_now:
            return False
        new = self._begin(items)
        try:
            if new:
                self._append(encode_lines(new), len(new))
        finally:
            self._end(items, new)
        return True

    def _append(self, data: bytes, lines: int) -> None:
        if self._file is not None:
            self._or_break(self._file.look)
        written = self._output.put(data, lambda done: data.rfind(b"\n", 0, done) + 1)
        if written.error is not None:
            self.whole = data.count(b"\n", 0, written.size)
            raise self._break(written) from written.error
        self.whole = lines
        if self._file is not None:
            self._file.grew(len(data))

    async def beyond(self, begin: Mapping[Key, Position], unit: TimeUnit) -> Mapping[Key, Position]:
        """See :class:`TargetSink`."""
        if self._file is None or not self._file.regular:
            return begin
        tails = (LinesTail(path) for path in self._file.written())
        return await look_beyond(tails, begin, unit, self._tell)

    def check(self) -> None:
        """See :class:`Sink`."""
        if self._broken is not None:
            raise SinkError(self._broken)

    def reopen(self) -> None:
        """See :class:`TargetSink`."""
        if self._file is not None:
            self._or_break(self._file.follow)

    async def tend(self) -> None:
        """See :class:`TargetSink`: finish the file of a period in which nothing more came."""
        while self._file is not None and self._timed:
            await trio.sleep(TEND_INTERVAL_S)
            if self._broken is None and self._file.period_is_over:
                self._file.finish()
            await self._sync_finished(self._file)

    def begin(self, path: Path) -> None:
        """Go on in another file; the old one is closed, and no longer locked, when it is synced.

        :raises K2Error: if that cannot be opened; the old one goes on being written to.
        """
        if self._file is not None and self._broken is None:
            self._file.begin(path)

    def sync(self) -> None:
        """See :class:`Sink`."""
        self._output.sync()

    async def flush(self) -> None:
        """See :class:`Sink`."""
        if not self._output.regular:
            return
        with trio.move_on_after(SYNC_TIMEOUT_S, shield=True) as patience:
            await trio.to_thread.run_sync(self._output.sync, abandon_on_cancel=True)
        if patience.cancelled_caught:
            raise self._output.give_up_syncing(SYNC_TIMEOUT_S)

    def close(self) -> None:
        """See :class:`TargetSink`."""
        self._output.close()

    async def _sync_finished(self, file: OutputFile) -> None:
        if file.has_retired:
            await trio.to_thread.run_sync(self._output.sync, abandon_on_cancel=True)

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
                torn = done > 0 and data[done - 1 : done] != b"\n"
                failure = self._break(Written(done, error, torn))
            else:
                self.whole = count
        if failure is not None:
            raise failure from error

    def _or_break(self, action: Callable[[], None]) -> None:
        """See to the file; where that fails, nothing more is written."""
        try:
            action()
        except SinkError as error:
            self._broken = str(error)
            raise

    def _break(self, written: Written) -> SinkError:
        """Nothing more is written."""
        error = self._output.broken(written, "line")
        self._broken = str(error)
        return error

    @property
    def cut_bytes(self) -> int:
        """Bytes of a torn last line that were cut off when the file was opened."""
        return 0 if self._file is None else self._file.cut_bytes


def try_lines(path: Path) -> None:
    """Find out whether lines could be appended to a file, and leave it as it is.

    :raises SinkError: if it cannot be opened, or is somebody's something else.
    :raises ConfigError: if another program writes to it.
    """
    try_file(path, torn_bytes)


def torn_bytes(fd: int, size: int, path: Path) -> int:
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


def _standard_output() -> Output:
    if sys.stdout is None:  # the caller closed it, e.g. with >&-
        raise SinkError("standard output is closed; name a file")
    sys.stdout.flush()
    return Output(sys.stdout.fileno(), "standard output")
