"""The exchange's count of connection attempts, and the limit that it sets to them."""

from __future__ import annotations

from collections import deque

import trio

from ..refusals import Refusal

MAX_CLIENTS = 10_000
"""Client addresses whose connects are counted; the longest known is forgotten first."""


class Admission:
    """Admits clients that do not connect too often.

    :param connects: attempts of one client in ``window_s`` seconds.
    """

    def __init__(self, connects: int, window_s: float) -> None:
        self._most = connects
        self._window_s = window_s
        self._connects: dict[str, deque[float]] = {}

    def admit(self, client: str) -> None:
        """Count a connection attempt.

        :raises Refusal: 429, if the client made too many.
        """
        now = trio.current_time()
        if client not in self._connects and len(self._connects) >= MAX_CLIENTS:
            del self._connects[next(iter(self._connects))]
        times = self._connects.setdefault(client, deque(maxlen=self._most))
        if len(times) == self._most and now - times[0] < self._window_s:
            raise Refusal(429, retry_after=times[0] + self._window_s - now)
        times.append(now)
