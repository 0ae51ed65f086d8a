"""How far a time in a payload is believed: no further than the clock by which it arrived."""

from __future__ import annotations

AHEAD_S = 10.0
"""A time that lies further ahead of when it was received is not believed at once (s)."""

MS, US = 1_000, 1_000_000
"""Units a second of the exchange's times, in which a feed can be opened."""
_US_FROM = 10**14
_US_NEAR_S = 86_400.0
"""A time is in microseconds if that puts it within a day of when it was received (s); the same
number in milliseconds would lie thousands of years ahead."""


class Clock:
    """What is known of this machine's wall clock, which may be set while the feed runs.

    :ivar behind_s: how far it lies behind the furthest that it has been, by the steady clock (s).
    """

    def __init__(self) -> None:
        self.behind_s: float = 0.0
        self._furthest = float("-inf")

    def note(self, received: float, now: float) -> None:
        """Compare the clocks: Unix time in seconds, and the time of the event loop."""
        offset = received - now
        self._furthest = max(self._furthest, offset)
        self.behind_s = self._furthest - offset

    def is_ahead(self, time: int, received: float) -> bool:
        """Whether a time lies too far ahead of when it was received to be believed at once."""
        latest = received + self.behind_s + AHEAD_S
        return time > latest * MS and time > latest * units_per_second(time, received)


def units_per_second(time: int, received: float) -> int:
    """The unit of a time in a payload.

    :param received: Unix time in seconds at which it was read.
    """
    near = time >= _US_FROM and abs(time / US - received) < _US_NEAR_S
    return US if near else MS
