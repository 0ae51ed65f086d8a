"""A recording, iterated as the feed was that made it.

Files are read in a worker thread, a chunk at a time and some ahead, so an item that is there is
handed out without waiting for anything but its time.
"""

from __future__ import annotations

import bisect
import math
from contextlib import asynccontextmanager
from os import PathLike, fspath
from typing import TYPE_CHECKING

import trio

from ..errors import ConfigError, FeedClosed, K2Error, UsageError
from ..market.units import UNITS
from .courses import due_times
from .delivered import delivered
from .wanted import wanted

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Iterator
    from datetime import datetime
    from typing import Literal

    from ..continuity.items import Item
    from .courses import Course

CHUNKS_AHEAD = 2
"""Chunks that are read before they are asked for; see ``courses.READ_BYTES``."""
CLOSE_TIMEOUT_S = 5.0
"""How long what is read may take to be closed (s)."""


@asynccontextmanager
async def open_recording(
    paths: str | PathLike[str] | Iterable[str | PathLike[str]],
    *,
    speed: float | None = None,
    streams: Iterable[str] | None = None,
    start: datetime | str | None = None,
    end: datetime | str | None = None,
    time_unit: Literal["ms", "us"] = "ms",
) -> AsyncGenerator[Recording]:
    """Open what a feed delivered and a program recorded, to be iterated as the feed was.

    Files of JSON lines bring every item exactly as it was delivered. Sealed Parquet files bring the
    same values; of the spot exchange's live messages also the same bytes.

    :param paths: files of JSON lines (plain or zstd, rotated ones are put in their order), sealed
        Parquet files, folders of any of them, or ``s3://`` URLs of datasets.
    :param speed: how much faster than it was recorded; None: as fast as it is read.
    :param streams: exact names of those that are wanted; by default all.
    :param start: what was received before is left out; a time as ``datetime`` or ISO 8601, of UTC
        where it says no zone.
    :param end: what was received then, or later, is left out.
    :param time_unit: of the payloads' times that are put together from Parquet, which does not tell
        in which the feed was opened. JSON lines stay as they are.
    :raises ConfigError: for a path that leads nowhere, or that needs an extra.
    :raises Unreadable: by the iteration, where a file is not what it should be.
    """
    if speed is not None and not speed > 0:
        raise ConfigError(f"speed {speed} is not above 0; None is as fast as it is read")
    if time_unit not in UNITS:
        raise ConfigError(f"time_unit {time_unit!r} is none of {', '.join(UNITS)}")
    named = [fspath(path) for path in ([paths] if isinstance(paths, str | PathLike) else paths)]
    chunks = delivered(named, wanted(streams, start, end, UNITS[time_unit]))
    pace = None if speed is None or math.isinf(speed) else speed
    async with played(chunks, pace) as recording:
        yield recording


@asynccontextmanager
async def played(chunks: Course, speed: float | None = None) -> AsyncGenerator[Recording]:
    """Open chunks that are made in a worker thread, each when there is room for it.

    :param chunks: may be empty ones; they say that there is nothing yet.
    :param speed: as that of a recording.
    """
    send, receive = trio.open_memory_channel["list[Item] | K2Error"](CHUNKS_AHEAD)
    recording = Recording(receive, speed)
    body_error: BaseException | None = None
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_read, chunks, send)
            try:
                yield recording
            except BaseException as error:
                body_error = error
                raise
            finally:
                recording.close()
                nursery.cancel_scope.cancel()
    except BaseExceptionGroup as group:
        # The caller's own exception comes out as it went in.
        if body_error is not None and group.exceptions == (body_error,):
            raise body_error from None
        raise


async def _read(chunks: Course, send: trio.MemorySendChannel[list[Item] | K2Error]) -> None:
    with send:
        try:
            while True:
                try:
                    items = await trio.to_thread.run_sync(next, chunks, None)
                except K2Error as error:
                    await send.send(error)
                    return
                if items is None:
                    return
                if items:
                    await send.send(items)
        finally:
            with trio.move_on_after(CLOSE_TIMEOUT_S, shield=True):
                await trio.to_thread.run_sync(chunks.close)


class Recording:
    """What was recorded, item by item, or by :meth:`batches`; one consumer iterates it, once."""

    def __init__(
        self, chunks: trio.MemoryReceiveChannel[list[Item] | K2Error], speed: float | None
    ) -> None:
        self._chunks = chunks
        self._speed = speed
        self._items: list[Item] = []
        self._due: list[float] = []
        """When each of them is to be handed out, in recorded time."""
        self._next = 0
        self._latest = -math.inf
        self._began: tuple[float, float] | None = None
        """What the clock was, and what the recorded time, when the first item was asked for."""
        self._batch: Iterator[Item] = iter(())
        self._busy = False
        self._error: K2Error | None = None

    def __aiter__(self) -> Recording:
        return self

    async def __anext__(self) -> Item:
        # No checkpoint inside a batch, as in a feed.
        for item in self._batch:
            return item
        self._batch = iter(await self._next_batch())
        return next(self._batch)

    def batches(self) -> RecordedBatches:
        """Iterate the items that are due at the same time together, as lists."""
        return RecordedBatches(self._rest)

    async def _rest(self) -> list[Item]:
        left = list(self._batch)
        return left or await self._next_batch()

    async def _next_batch(self) -> list[Item]:
        """What is due next, when it is.

        :raises StopAsyncIteration: at the end.
        """
        if self._busy:
            raise UsageError(
                "another task reads this recording already, and each would get a part of it; "
                "read it in one place, and hand the messages on from there"
            )
        self._busy = True
        try:
            if self._next == len(self._items):
                await self._take_chunk()
            until = len(self._items) if self._speed is None else await self._wait(self._speed)
        finally:
            self._busy = False
        batch, self._next = self._items[self._next : until], until
        return batch

    async def _take_chunk(self) -> None:
        if self._error is not None:
            raise self._error
        try:
            items = await self._chunks.receive()
        except trio.EndOfChannel:
            raise StopAsyncIteration from None
        if isinstance(items, K2Error):
            self._error = items
            raise items
        self._items, self._next = items, 0
        if self._speed is not None:
            self._due = due_times(items, self._latest)
            self._latest = self._due[-1]

    async def _wait(self, speed: float) -> int:
        """Wait for the time of the next item; returns behind which item it has not come yet."""
        now, due = trio.current_time(), self._due[self._next]
        if due == -math.inf:  # remarks alone, with no message yet to say when that was
            await trio.lowlevel.checkpoint()
            return bisect.bisect_right(self._due, due)
        if self._began is None:
            self._began = now, due
        began_at, first_due = self._began
        at = began_at + (due - first_due) / speed
        if at > now:
            await trio.sleep_until(at)
        else:
            await trio.lowlevel.checkpoint()
        until = first_due + (trio.current_time() - began_at) * speed
        return bisect.bisect_right(self._due, max(until, due))

    def close(self) -> None:
        """The recording was left: whoever asks for more is told so."""
        self._error = FeedClosed("the recording was left; open it again")


class RecordedBatches:
    """Iterates a recording batch by batch."""

    def __init__(self, more: Callable[[], Awaitable[list[Item]]]) -> None:
        self._more = more

    def __aiter__(self) -> RecordedBatches:
        return self

    async def __anext__(self) -> list[Item]:
        return await self._more()
