"""Which event loop runs here, and the entry that fits it."""

from __future__ import annotations

import asyncio

import trio

from ..errors import UsageError

NO_LOOP = (
    "no event loop runs here: use k2trio.open_feed in trio.run(...), "
    "k2trio.aio.open_feed in asyncio.run(...), or k2trio.sync.open_feed without a loop"
)


def require_trio() -> None:
    """Refuse to go on outside of Trio.

    :raises UsageError: naming the entry that works here.
    """
    if not trio.lowlevel.in_trio_task():
        if running_loop() is not None:
            raise UsageError(
                "k2trio.open_feed is for Trio, and here runs asyncio: use k2trio.aio.open_feed, "
                "which takes the same arguments"
            )
        raise UsageError(NO_LOOP)


def require_asyncio() -> asyncio.AbstractEventLoop:
    """The running asyncio loop.

    :raises UsageError: naming the entry that works here, if there is none.
    """
    if trio.lowlevel.in_trio_task():
        raise UsageError(
            "k2trio.aio.open_feed is for asyncio, and here runs Trio: use k2trio.open_feed, "
            "which takes the same arguments"
        )
    loop = running_loop()
    if loop is None:
        raise UsageError(NO_LOOP)
    return loop


def running_loop() -> asyncio.AbstractEventLoop | None:
    """The asyncio loop that runs in this thread, if one does."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
