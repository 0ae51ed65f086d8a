"""How much that is of no use a connection may bring before it is a violation."""

from __future__ import annotations

from collections import deque

from ..errors import ProtocolViolation

WINDOW_S = 10.0
MALFORMED_LIMIT = 100
"""So many malformed messages in so many seconds are a violation, not an accident."""
DISPUTED_LIMIT = 3
"""So many messages against which other connections speak: this one carries other streams."""


class Tolerance:
    """Of one connection."""

    def __init__(self) -> None:
        self._malformed: deque[float] = deque(maxlen=MALFORMED_LIMIT)
        self._disputed: deque[float] = deque(maxlen=DISPUTED_LIMIT)

    def note(self, now: float, *, disputed: bool = False) -> ProtocolViolation | None:
        """A message came that is of no use; the violation that this makes, if it does.

        :param disputed: other connections speak against it.
        """
        if disputed and _are_too_many(self._disputed, now):
            return ProtocolViolation(
                f"{DISPUTED_LIMIT} messages within {WINDOW_S:g} s that other connections contradict"
            )
        if _are_too_many(self._malformed, now):
            return ProtocolViolation(f"{MALFORMED_LIMIT} malformed messages within {WINDOW_S:g} s")
        return None


def _are_too_many(times: deque[float], now: float) -> bool:
    times.append(now)
    return len(times) == times.maxlen and now - times[0] <= WINDOW_S
