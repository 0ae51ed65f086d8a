"""The control frames on their way to trio-websocket, which answers pings and matches pongs."""

from __future__ import annotations

import trio

CONTROL_BYTES = 64 * 1024
"""Frames that wait while trio-websocket is busy sending. Whatever pongs come beyond that were not
asked for, by us."""


class ControlFrames:
    """Whole frames, verbatim and in order; they are taken as a stream of bytes."""

    def __init__(self) -> None:
        self._frames = b""
        self._over = False
        self._news: trio.Event | None = None

    def put(self, frames: bytes) -> None:
        """Append frames, unless too many wait."""
        if len(self._frames) < CONTROL_BYTES:
            self._frames += frames
            self._tell()

    def end(self) -> None:
        """No more will come."""
        self._over = True
        self._tell()

    async def take(self) -> bytes:
        """All that wait, or else the next ones; empty when no more will come."""
        while not self._frames and not self._over:
            self._news = trio.Event()
            await self._news.wait()
        frames, self._frames = self._frames, b""
        return frames

    def _tell(self) -> None:
        if self._news is not None:
            self._news.set()
            self._news = None
