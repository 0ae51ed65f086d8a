"""Chooses the pings that get an answer: the latest ones, and not too many of them."""

from __future__ import annotations

import math
from collections import deque

import trio

PINGS_PER_S = 2
"""Pings answered per second. Pongs count among the client messages that the exchange admits: five a
second, or more."""


class PingThinner:
    """Lets pings through within the rate. A flood is thinned out, its latest kept for later.

    :ivar pending: the ping that was kept, verbatim; empty if there is none.
    """

    def __init__(self) -> None:
        self.pending: bytes = b""
        self._answered: deque[float] = deque(maxlen=PINGS_PER_S)

    def due(self, ping: bytes) -> bytes:
        """The ping to answer now, if any, given the latest that came, if any."""
        self.pending = ping = ping or self.pending
        if not ping or trio.current_time() < self.pending_due():
            return b""
        self._answered.append(trio.current_time())
        self.pending = b""
        return ping

    def pending_due(self) -> float:
        """When the ping that was kept may be answered; infinite if there is none."""
        if not self.pending:
            return math.inf
        return self._answered[0] + 1 if len(self._answered) == PINGS_PER_S else -math.inf
