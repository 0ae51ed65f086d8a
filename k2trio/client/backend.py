"""What a consumer needs of the event loop that it runs on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TypeVar

import trio

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


T = TypeVar("T")


class Queue(Protocol):
    """What a consumer takes from: an outbox.

    :ivar wake: called when there may be something to take.
    """

    wake: Callable[[], object] | None


class Backend(Protocol):
    """The event loop of a consumer. The feed itself always runs on Trio."""

    def task(self) -> object:
        """The task that runs now."""
        ...

    async def turn(self) -> None:
        """Let what is more urgent than the next batch come first."""
        ...

    async def filled(self, queue: Queue) -> None:
        """Return when there may be something to take."""
        ...

    async def call(self, work: Callable[[], Awaitable[T]]) -> T:
        """Do something of the feed's own, on Trio; a cancellation here cancels it there."""
        ...


class TrioBackend:
    """Consumer and feed are tasks of one Trio run."""

    def task(self) -> object:
        """See :class:`Backend`."""
        return trio.lowlevel.current_task()

    async def turn(self) -> None:
        """See :class:`Backend`; a cancellation, that is."""
        await trio.lowlevel.checkpoint_if_cancelled()

    async def filled(self, queue: Queue) -> None:
        """See :class:`Backend`."""
        filled = trio.Event()
        queue.wake = filled.set
        try:
            await filled.wait()
        finally:
            queue.wake = None

    async def call(self, work: Callable[[], Awaitable[T]]) -> T:
        """See :class:`Backend`."""
        return await work()


TRIO = TrioBackend()
