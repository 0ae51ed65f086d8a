"""A machine that slept: its connections are dead, and no clock that Trio reads has noticed."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    from collections.abc import Callable

SUSPEND_CHECK_S = 5.0
SUSPEND_JUMP_S = 10.0
"""How often to look whether the machine slept, and from how many seconds on it counts."""


def suspended_s() -> float:
    """Seconds that this machine has spent suspended since boot (0 where it cannot be told).

    The monotonic clock stops during a suspend and the boot-time clock does not.
    """
    boottime = getattr(time, "CLOCK_BOOTTIME", None)
    if boottime is None:
        return 0.0
    return time.clock_gettime(boottime) - time.clock_gettime(time.CLOCK_MONOTONIC)


async def sleep_until_suspended(suspended: Callable[[], float]) -> float:
    """Return when the machine has been suspended for long enough to count, and for how long (s)."""
    before = suspended()
    while True:
        await trio.sleep(SUSPEND_CHECK_S)
        now = suspended()
        if now - before >= SUSPEND_JUMP_S:
            return now - before
        before = now
