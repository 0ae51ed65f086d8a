"""The overlap of a rotation: how long the old connection is kept beside the new one."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import trio

from ..errors import Stale
from ..repair.staleness import IN_FLIGHT_S

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .session import Session

JOIN_CHECK_S = 0.05
"""How often a join looks whether the gaps between old and new connection have closed (s)."""


async def arrive(old: Session, new: Session, limit_s: float) -> None:
    """Return when the new session has brought a message, or has failed, or the old one has.

    It is failed if it is dead on arrival: if the old one brings something so long after the new one
    connected, which that one then has not.

    :param limit_s: how long.
    """
    while new.first_data_at is None and new.failure is None:
        look_at = math.inf
        if new.connection is not None:
            if old.failure is not None:
                return  # nothing is left to compare with
            due_at = new.connection.opened_at + limit_s
            if trio.current_time() < due_at:
                look_at = due_at
            elif old.last_data_at is None or old.last_data_at < due_at:
                old.awaited = True
            elif trio.current_time() < due_at + IN_FLIGHT_S:
                look_at = due_at + IN_FLIGHT_S
            else:
                new.fail(Stale("data", limit_s))
                return
        with trio.move_on_at(look_at):
            await either(new.change, old.change)


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
