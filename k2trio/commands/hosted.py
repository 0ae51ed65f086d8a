"""Trio as the guest of uvloop's loop, which waits for the sockets and calls the core straight.

For a run of which each message ends where it was read, in a file: then no task of Trio wakes for
it, and a turn of the host's loop is cheaper than one of Trio's. What wakes tasks of Trio is dearer
so, as each wait of a guest takes a thread.
"""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING, Any, TypeVar

import trio

from ..targets import Form
from ..wire.ready import HOST

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Awaitable, Callable

    from outcome import Outcome

    from ..settings import Settings

T = TypeVar("T")


def pays(settings: Settings) -> bool:
    """Whether a run should be a guest: uvloop is there, and nothing waits for its only output."""
    if importlib.util.find_spec("uvloop") is None or len(settings.targets) != 1:
        return False
    beside = settings.book_levels or settings.coverage is not None or settings.shards
    (target,) = settings.targets
    return not beside and target.form in (Form.LINES, Form.DATASET)


def run_hosted(main: Callable[..., Awaitable[T]], *arguments: Any) -> T:
    """As :func:`trio.run`, as a guest of uvloop, also at a Ctrl-C."""
    import asyncio  # it takes long, and mostly nobody needs it

    import uvloop

    async def host() -> Outcome[T]:
        loop = asyncio.get_running_loop()
        done: asyncio.Future[Outcome[T]] = loop.create_future()

        async def guest() -> T:
            HOST.set(loop)
            return await main(*arguments)

        trio.lowlevel.start_guest_run(
            guest,
            run_sync_soon_threadsafe=loop.call_soon_threadsafe,
            run_sync_soon_not_threadsafe=loop.call_soon,
            done_callback=done.set_result,
            host_uses_signal_set_wakeup_fd=True,
        )
        return await done

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        # Not by its own run(), which would take SIGINT from Trio, and abandon the guest at one.
        return runner.get_loop().run_until_complete(host()).unwrap()
