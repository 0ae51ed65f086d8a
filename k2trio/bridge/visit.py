"""A task of asyncio in a feed of Trio: how it comes in, waits there, and gets out."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypeVar

import trio

from ..errors import FeedClosed
from .stay import Stay

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from ..client.backend import Queue
    from ..client.feed import Feed
    from .guest import Guest
    from .stay import Entry

T = TypeVar("T")

BATCHES_IN_A_ROW = 16
"""Batches that wait already and are handed over without a pause; then other tasks get a turn."""


class AsyncioBackend:
    """The consumer is a task of asyncio, and the feed one of Trio, in the same thread."""

    def __init__(self, guest: Guest, stay: Stay) -> None:
        self._guest = guest
        self._stay = stay
        self._in_a_row = 0

    def task(self) -> object:
        """See :class:`Backend`."""
        return asyncio.current_task()

    async def turn(self) -> None:
        """See :class:`Backend`."""
        self._in_a_row += 1
        if self._in_a_row > BATCHES_IN_A_ROW:
            self._in_a_row = 0
            await asyncio.sleep(0)

    async def filled(self, queue: Queue) -> None:
        """See :class:`Backend`."""
        self._in_a_row = 0
        filled = self._guest.loop.create_future()

        def wake() -> None:
            if not filled.done():
                self._guest.tell(lambda: filled.set_result(None))

        queue.wake = wake
        try:
            await filled
        finally:
            queue.wake = None

    async def call(self, work: Callable[[], Awaitable[T]]) -> T:
        """See :class:`Backend`. What is built on the feed may run in Trio, and ask there."""
        if trio.lowlevel.in_trio_task():
            return await work()
        answer: asyncio.Future[T] = self._guest.loop.create_future()
        scope = self._stay.start(work, answer)
        try:
            return await answer
        finally:
            scope.cancel()


class Visit:
    """A feed that the running task opens, until everything of it is gone."""

    def __init__(self, entry: Entry, guest: Guest) -> None:
        self._guest = guest
        self._task = asyncio.current_task()
        self._stay = Stay(entry, self._opened, self._ended)
        self._decided = asyncio.Event()
        """It is open, or will not be."""
        self._over = asyncio.Event()
        self._inside = False
        self._broken_off = False
        """Whether the task was cancelled because the feed ended by itself."""
        guest.run(self._stay.run)

    async def begin(self) -> Feed[Any]:
        """Wait until the feed is open."""
        await self._decided.wait()
        feed = self._stay.feed
        if feed is None:
            raise self._stay.error or FeedClosed("the feed was interrupted before it was open")
        feed.backend = AsyncioBackend(self._guest, self._stay)
        self._inside = True
        return feed

    async def end(self, error: BaseException | None) -> None:
        """Have everything of the feed end, and raise what there is to raise.

        :param error: what the block was left with.
        """
        self._inside = False
        self._stay.leave()
        await self._guest.in_any_case(self._over)
        if self._stay.interrupted:
            await self._guest.end()
            self._stay.error = self._guest.error
        if self._task is not None and self._broken_off:
            others = self._task.uncancel()
            if isinstance(error, asyncio.CancelledError) and not others:
                error = None
        outcome = self._stay.outcome(error)
        if outcome is not None:
            raise outcome

    def _opened(self) -> None:
        self._guest.tell(self._decided.set)

    def _ended(self) -> None:
        self._guest.tell(self._decided.set)
        self._guest.tell(self._over.set)
        if self._inside and self._task is not None:
            self._guest.tell(self._break_off)

    def _break_off(self) -> None:
        """Cancel the task in the block, as a nursery would: what went wrong comes out of it."""
        if self._task is not None:
            self._broken_off = self._task.cancel()
