"""How far a time in a payload is believed: no further than the clock by which it arrived."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from ..market.units import MS

if TYPE_CHECKING:
    from ..market.units import TimeUnit

AHEAD_S = 10.0
"""A time that lies further ahead of when it was received is not believed at once (s)."""


class Clock:
    """What is known of this machine's wall clock, which may be set while the feed runs.

    :param unit: of the exchange's times.
    :ivar behind_s: how far it lies behind the furthest that it has been, by the steady clock (s).
    """

    def __init__(self, unit: TimeUnit = MS) -> None:
        self.behind_s: float = 0.0
        self._per_second = unit.per_second
        self._furthest = -math.inf

    def note(self, received: float, now: float) -> None:
        """Compare the clocks: Unix time in seconds, and the time of the event loop."""
        offset = received - now
        self._furthest = max(self._furthest, offset)
        self.behind_s = self._furthest - offset

    def at(self, received: float) -> float:
        """The time of the event loop at a Unix time, as the clocks stand now."""
        return received - (self._furthest - self.behind_s)

    def is_ahead(self, time: int, received: float) -> bool:
        """Whether a time lies too far ahead of when it was received to be believed at once."""
        return time > (received + self.behind_s + AHEAD_S) * self._per_second
