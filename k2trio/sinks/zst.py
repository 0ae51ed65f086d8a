"""JSON lines compressed with zstd, in frames: each is read by itself, and is there whole or not.

Lines are gathered in a frame, which is written when it is old, or large, or to be durable. What a
kill takes is that frame; ``STATE`` never speaks of it, since :meth:`ZstdLines.sync` writes it.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import trio
import zstandard

from ..errors import SinkError
from .frames import torn_bytes
from .jsonl import SYNC_TIMEOUT_S, say_nothing
from .line_sink import LineSink
from .output_file import NO_ROTATION, OutputFile
from .tails import FramesTail, look_beyond

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from ..continuity.positions import Key, Position
    from ..market.units import TimeUnit
    from ..rotation import Rotation

FRAME_BYTES = 4 << 20
"""Lines (bytes, before compression) that make a frame full."""
FRAME_S = 1.0
"""Age at which a frame is written; what a kill takes is not older, but for TEND_INTERVAL_S."""
TEND_INTERVAL_S = 0.25
"""How often it is looked for what is due while nothing comes."""
LEVEL = 3


class ZstdLines(LineSink):
    """An open file of compressed JSON lines.

    :param path: file to append to.
    :param rotation: when the file is finished and a new one begins.
    :param tell: is told what happens to the file, as an event with its context.
    :param wall_clock: Unix time, by which periods begin.
    :raises SinkError: if it cannot be opened, saying why.
    :raises ConfigError: if another program writes to it.
    """

    whole: int

    def __init__(
        self,
        path: Path,
        rotation: Rotation = NO_ROTATION,
        tell: Callable[..., object] = say_nothing,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        super().__init__()
        self._tell = tell
        self._broken: str | None = None
        self._compressor = zstandard.ZstdCompressor(level=LEVEL, write_checksum=True)
        self._frame = self._compressor.compressobj()
        self._parts: list[bytes] = []
        """The frame as far as it is compressed."""
        self._frame_bytes = self._frame_lines = 0
        self._began_at = 0.0
        self._one_frame = threading.Lock()
        """Held by whoever touches the frame or the file: the task that writes, or a sync."""
        self._file = OutputFile(path, "frame", torn_bytes, rotation, tell, wall_clock)
        if not self._file.regular:
            self._file.close()
            raise SinkError(f"cannot write frames to {path}: it is no regular file; name another")

    async def append(self, data: bytes, lines: int) -> None:
        """Take whole lines; they are written with their frame.

        :raises SinkError: if that frame, or one before, could not be written.
        """
        self.whole = 0
        self.check()
        if not data:
            return
        with self._one_frame:
            if self._file.period_is_over:
                self._end_frame()
            self._or_break(self._file.look)
            now = trio.current_time()
            if not self._frame_bytes:
                self._began_at = now
            self._parts.append(self._frame.compress(data))
            self._frame_bytes += len(data)
            self._frame_lines += lines
            if self._frame_bytes >= FRAME_BYTES or now - self._began_at >= FRAME_S:
                self._end_frame()
        self.whole = lines
        await self._sync_finished()

    async def beyond(self, begin: Mapping[Key, Position], unit: TimeUnit) -> Mapping[Key, Position]:
        """See :class:`TargetSink`."""
        tails = (FramesTail(path) for path in self._file.written())
        return await look_beyond(tails, begin, unit, self._tell)

    def check(self) -> None:
        """See :class:`Sink`."""
        if self._broken is not None:
            raise SinkError(self._broken)

    def sync(self) -> None:
        """See :class:`Sink`."""
        with self._one_frame:
            self._end_frame()
        self._file.sync()

    async def flush(self) -> None:
        """See :class:`Sink`."""
        with trio.move_on_after(SYNC_TIMEOUT_S, shield=True) as patience:
            await trio.to_thread.run_sync(self.sync, abandon_on_cancel=True)
        if patience.cancelled_caught:
            error = self._file.give_up_syncing(SYNC_TIMEOUT_S)
            self._broken = str(error)
            raise error

    def reopen(self) -> None:
        """See :class:`TargetSink`: what has come is in the file that was moved away."""
        with self._one_frame:
            self._end_frame()
            self._or_break(self._file.follow)

    async def tend(self) -> None:
        """See :class:`TargetSink`: write a frame that is old, and finish the file of a period."""
        while True:
            await trio.sleep(TEND_INTERVAL_S)
            with self._one_frame:
                old = self._frame_bytes and trio.current_time() - self._began_at >= FRAME_S
                over = self._file.period_is_over
                if old or over:
                    self._end_frame()
                if over:
                    self._or_break(self._file.finish)
            await self._sync_finished()

    def close(self) -> None:
        """See :class:`TargetSink`."""
        try:
            if self._broken is None:
                self.sync()
        finally:
            self._file.close()

    @property
    def cut_bytes(self) -> int:
        """Bytes of a torn last frame that were cut off when the file was opened."""
        return self._file.cut_bytes

    async def _sync_finished(self) -> None:
        if self._file.has_retired:
            await trio.to_thread.run_sync(self._file.sync, abandon_on_cancel=True)

    def _end_frame(self) -> None:
        """Write the frame, if there is one, and begin another.

        :raises SinkError: if it could not be written, or one before.
        """
        self.check()
        if not self._frame_bytes:
            return
        frame = b"".join([*self._parts, self._frame.flush()])
        lines = self._frame_lines
        self._frame = self._compressor.compressobj()
        self._parts, self._frame_bytes, self._frame_lines = [], 0, 0
        written = self._file.put(frame, lambda _: 0)
        if written.error is not None:
            error = self._file.broken(written, "frame")
            self._broken = f"{error}; {lines} lines are not in it"
            raise SinkError(self._broken) from written.error
        self._or_break(lambda: self._file.grew(len(frame)))

    def _or_break(self, action: Callable[[], None]) -> None:
        """See to the file; where that fails, nothing more is written."""
        try:
            action()
        except SinkError as error:
            self._broken = str(error)
            raise
