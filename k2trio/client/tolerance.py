"""How much that cannot be understood a connection may bring before it is a violation."""

from __future__ import annotations

from collections import deque

from ..errors import ProtocolViolation

MALFORMED_LIMIT = 100
MALFORMED_WINDOW_S = 10.0
"""So many malformed messages in so many seconds are a violation, not an accident."""


class Tolerance:
    """Of one connection."""

    def __init__(self) -> None:
        self._times: deque[float] = deque(maxlen=MALFORMED_LIMIT)

    def note(self, now: float) -> ProtocolViolation | None:
        """A malformed message came; the violation that this makes, if it does."""
        self._times.append(now)
        if len(self._times) < MALFORMED_LIMIT or now - self._times[0] > MALFORMED_WINDOW_S:
            return None
        return ProtocolViolation(
            f"{MALFORMED_LIMIT} malformed messages within {MALFORMED_WINDOW_S:g} s"
        )
