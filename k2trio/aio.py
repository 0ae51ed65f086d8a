"""The feed for programs on asyncio: the same feed, run by Trio as a guest of their loop.

``async with k2trio.aio.open_feed(["btcusdt@trade"]) as feed: async for event in feed: …`` works in
any asyncio loop: uvloop's, a web server's, a notebook's.
"""

from __future__ import annotations

import functools
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Unpack, overload

from .bridge.guest import guest_of
from .bridge.visit import Visit
from .client import opening
from .client.loops import require_asyncio

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence
    from contextlib import AbstractAsyncContextManager

    from .client.consumer import P
    from .client.feed import Feed
    from .client.opening import FeedOptions
    from .settings import Settings
    from .streams import StreamName

__all__ = ["open_feed"]


@overload
def open_feed(
    streams: Sequence[StreamName[P]],
    settings: Settings | None = None,
    **options: Unpack[FeedOptions],
) -> AbstractAsyncContextManager[Feed[P]]: ...
@overload
def open_feed(
    streams: Sequence[str] | None = None,
    settings: Settings | None = None,
    **options: Unpack[FeedOptions],
) -> AbstractAsyncContextManager[Feed]: ...
@asynccontextmanager
async def open_feed(
    streams: Sequence[str] | None = None,
    settings: Settings | None = None,
    **options: Unpack[FeedOptions],
) -> AsyncGenerator[Feed[Any]]:
    """Open a feed of market data in a running asyncio loop, as :func:`k2trio.open_feed` in Trio.

    The feed is the same, and so is what comes out of it. Cancelling the task that has opened it
    ends it: its connections are closed and its state is saved, within its bound, and then the
    cancellation goes on. What goes wrong within the feed cancels that task and comes out of the
    block, a group of exceptions as from the Trio entry. It may be read by another task.

    :raises UsageError: outside of asyncio, and in a thread where another loop has a feed, or Trio
        runs already.
    """
    entry = functools.partial(opening.open_feed, streams, settings, **options)
    guest = await guest_of(require_asyncio())
    # No generator inside this one: asyncio ends all that were forgotten at the same time.
    try:
        visit = Visit(entry, guest)
        error: BaseException | None = None
        try:
            yield await visit.begin()
        except BaseException as raised:  # noqa: BLE001 - it is raised when the feed has ended
            error = raised
        await visit.end(error)
    finally:
        await guest.leave()
