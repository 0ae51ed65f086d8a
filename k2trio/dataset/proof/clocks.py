"""Clocks that were set: the exchange's time, or ours, goes back or leaps.

Of one message alone nothing can be told, and of two that lie apart neither: a market may be quiet.
But how long messages were under way changes slowly. So what is looked at is the *lag*, the time of
receipt less the exchange's; only where the exchange tells no time, the receipt alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ...market.units import US

if TYPE_CHECKING:
    from .runs import Flags, Integers

LEAP_S = 60.0
"""What a message may be late by: a connection that is silent for longer is given up (s)."""
SKEW_S = 5.0
"""What the clocks of a machine and of the exchange may differ by, so that a message seems to come
before it was made; and what messages of two connections may overtake each other by (s)."""
SERVERS_S = 1.0
"""What the clocks of the exchange's servers may differ by (s)."""
MAX_JUMPS = 100
"""Jumps of a stream that are listed; further ones are counted."""

_LEAP_US = int(LEAP_S * US.per_second)
_SKEW_US = int(SKEW_S * US.per_second)
_SERVERS_US = int(SERVERS_S * US.per_second)


class ClockJump(NamedTuple):
    """A clock that was set, or leapt.

    :ivar whose: ``exchange`` (its time went back) or ``receipt`` (ours, against the exchange's).
    :ivar at: when the first message after it was received; Unix time in microseconds.
    :ivar by_s: by how much (s).
    """

    whose: str
    at: int
    by_s: float


class Clocks:
    """The clocks by which one stream was recorded.

    :ivar jumps: the first of them.
    :ivar count: how many there were.
    """

    def __init__(self) -> None:
        self.jumps: list[ClockJump] = []
        self.count: int = 0
        self._before: tuple[int, int] | None = None

    def look(self, time: Integers, received: Integers) -> None:
        """Look at live messages, in the order of their ids or of their delivery.

        :param time: the exchange's, or the receipt again; microseconds.
        :param received: microseconds.
        """
        if not len(time):
            return
        if self._before is not None:
            time = np.concatenate(([self._before[0]], time))
            received = np.concatenate(([self._before[1]], received))
        self._before = int(time[-1]), int(received[-1])
        lag = received - time
        if not lag.any():
            step = np.diff(received)
            self._note("receipt", step, step < -_SKEW_US, received)
            return
        step, back = np.diff(lag), np.diff(time)
        if step.min(initial=0) >= -_LEAP_US and step.max(initial=0) <= _LEAP_US:
            # The common case, told by few looks.
            early = lag.min() < -_SKEW_US
            if not early and back.min(initial=0) >= -_SERVERS_US:
                return
        gone_back = back < -_SERVERS_US
        self._note("exchange", back, gone_back, received)
        before = (lag[1:] < -_SKEW_US) & (lag[:-1] >= -_SKEW_US)
        self._note("receipt", step, ((abs(step) > _LEAP_US) | before) & ~gone_back, received)

    def _note(self, whose: str, by: Integers, where: Flags, received: Integers) -> None:
        places = np.flatnonzero(where)
        self.count += len(places)
        for place in places[: MAX_JUMPS - len(self.jumps)]:
            at, by_s = int(received[place + 1]), int(by[place]) / US.per_second
            self.jumps.append(ClockJump(whose, at, by_s))
