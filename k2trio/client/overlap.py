"""The overlap of a rotation: how long the old connection is kept beside the new one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .session import Session

JOIN_CHECK_S = 0.05
"""How often a join looks whether the gaps between old and new connection have closed (s)."""


async def join(
    old: Session, new: Session, settled: Callable[[Sequence[str]], bool], limit_s: float
) -> None:
    """Wait, within a bound, until the old session has nothing left that the new one lacks.

    :param settled: whether none of the streams waits behind a gap.
    """
    same_venue = old.endpoint.venue == new.endpoint.venue
    with trio.move_on_after(limit_s):
        while old.failure is None and new.failure is None:
            heard = new.heard or {}
            if not same_venue or (
                all(name in heard for name in old.streams) and settled(old.streams)
            ):
                return
            # Gaps close without a word to the sessions, so look again now and then.
            with trio.move_on_after(JOIN_CHECK_S):
                await either(new.change, old.change)


async def either(*events: trio.Event) -> None:
    """Return when one of the events is set."""
    async with trio.open_nursery() as nursery:

        async def wait(event: trio.Event) -> None:
            await event.wait()
            nursery.cancel_scope.cancel()

        for event in events:
            nursery.start_soon(wait, event)
