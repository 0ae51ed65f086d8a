"""Trio as the guest of an asyncio loop, for as long as a feed there needs it.

Both run in one thread and take turns, so a message changes hands without a lock. A thread can have
one such guest; all feeds of a loop share it, the first one starts it and the last one ends it.
"""

from __future__ import annotations

import asyncio
import atexit
import queue
import sys
import threading
import time
from typing import TYPE_CHECKING

import trio
from outcome import Error

from ..errors import UsageError
from ..wire.ready import HOST
from .stay import unwrapped

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from outcome import Outcome

FORSAKEN_BOUND_S = 5.0
"""How long the feeds of a loop that was closed, or left, may take to end."""


class Guest:
    """One run of Trio.

    :ivar error: what it ended with, other than the errors of its feeds.
    :ivar over: whether it has ended.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.users: int = 0
        self.error: BaseException | None = None
        self.over: bool = False
        self.started: asyncio.Event = asyncio.Event()
        self.ended: asyncio.Event = asyncio.Event()
        self._nursery: trio.Nursery | None = None
        self._unused = trio.Event()
        self._steps: queue.SimpleQueue[Callable[[], object]] = queue.SimpleQueue()
        """What Trio wants done, one step at most; here a loop that is closed cannot lose it."""
        trio.lowlevel.start_guest_run(
            self._main,
            run_sync_soon_threadsafe=self._step_threadsafe,
            run_sync_soon_not_threadsafe=self._step,
            done_callback=self._done,
            host_uses_signal_set_wakeup_fd=True,
        )

    @property
    def ending(self) -> bool:
        """Whether its last user has left."""
        return self._unused.is_set()

    def run(self, work: Callable[[], Awaitable[None]]) -> None:
        """Have something run in Trio; to be used when it has started."""
        if self._nursery is None:
            raise self.error or UsageError("Trio ended before it had begun")
        self._nursery.start_soon(work)

    @trio.lowlevel.enable_ki_protection  # a Ctrl-C in the midst would be a task that never wakes
    def tell(self, news: Callable[[], object]) -> None:
        """Tell the loop something, unless it is closed: then nobody is there to hear it."""
        if not self.loop.is_closed():
            news()

    async def leave(self) -> None:
        """One user less. The last one waits for the end, whatever is cancelled meanwhile."""
        self.users -= 1
        if not self.users:
            self._unused.set()
            await self.end()

    async def end(self) -> None:
        """Wait until it has ended, whatever is cancelled meanwhile."""
        await self.in_any_case(self.ended)

    async def in_any_case(self, event: asyncio.Event) -> None:
        """Wait for what Trio will tell, and let a cancellation go on only then."""
        cancelled: asyncio.CancelledError | None = None
        # The loop may have lost a step, if a Ctrl-C broke it off just then.
        self.tell(lambda: self.loop.call_soon(self._next))
        while not self.over and not event.is_set():
            try:
                await event.wait()
            except asyncio.CancelledError as error:
                cancelled = error
        if cancelled is not None:
            raise cancelled

    def finish(self) -> None:
        """End it by hand, since its loop will not: it was closed, or nobody runs it any more."""
        if self._nursery is not None:
            self._nursery.cancel_scope.cancel()
        self._unused.set()
        until = time.monotonic() + FORSAKEN_BOUND_S
        while not self.over:
            try:
                step = self._steps.get(timeout=max(0.0, until - time.monotonic()))
            except queue.Empty:
                raise UsageError(
                    "an asyncio loop was left with a feed open in it, which does not end; "
                    "leave the feed's block before the loop is closed"
                ) from None
            step()

    async def _main(self) -> None:
        if sys.platform != "win32":  # where the loop of asyncio may not wait for sockets
            HOST.set(self.loop)
        async with trio.open_nursery() as self._nursery:
            self.started.set()
            while not self.ending:
                try:
                    await self._unused.wait()
                except KeyboardInterrupt:
                    # As without Trio: it comes out of the loop, which may be run again.
                    self.loop.call_soon(_interrupt)

    def _done(self, outcome: Outcome[None]) -> None:
        if isinstance(outcome, Error):
            self.error = unwrapped(outcome.error)
        self.over = True
        self.tell(self.started.set)
        self.tell(self.ended.set)
        if _here.guest is self:
            _here.guest = None

    # A Ctrl-C within a step of Trio goes its own way there. Between steps it must not lose one.

    @trio.lowlevel.enable_ki_protection
    def _step(self, step: Callable[[], object]) -> None:
        self._steps.put(step)
        self.tell(lambda: self.loop.call_soon(self._next))

    @trio.lowlevel.enable_ki_protection
    def _step_threadsafe(self, step: Callable[[], object]) -> None:
        self._steps.put(step)
        try:
            self.loop.call_soon_threadsafe(self._next)
        except RuntimeError:
            if not self.loop.is_closed():
                raise

    @trio.lowlevel.enable_ki_protection
    def _next(self) -> None:
        if not self._steps.empty():
            self._steps.get_nowait()()


def _interrupt() -> None:
    raise KeyboardInterrupt


class _Here(threading.local):
    """The guest of each thread."""

    guest: Guest | None = None


_here = _Here()


async def guest_of(loop: asyncio.AbstractEventLoop) -> Guest:
    """Trio on this loop, with one user more, who has to leave it.

    :raises UsageError: if this thread runs Trio already, for somebody else.
    """
    while (guest := _guest_for(loop)).ending:
        await guest.ended.wait()
    guest.users += 1
    try:
        await guest.started.wait()
    except asyncio.CancelledError:
        await guest.leave()
        raise
    return guest


def _guest_for(loop: asyncio.AbstractEventLoop) -> Guest:
    guest = _here.guest
    if guest is not None and guest.loop.is_closed():
        guest.finish()
        guest = None
    if guest is None:
        if trio.lowlevel.in_trio_run():
            raise UsageError(
                "this thread runs Trio already, beside its asyncio loop: "
                "open the feed there, by k2trio.open_feed"
            )
        guest = _here.guest = Guest(loop)
    elif guest.loop is not loop:
        raise UsageError(
            "a feed is open in another asyncio loop of this thread, and one thread can have feeds "
            "in one loop only: leave the other one first, or run this loop in a thread of its own"
        )
    return guest


def _finish_forsaken() -> None:
    if _here.guest is not None:
        _here.guest.finish()


atexit.register(_finish_forsaken)
