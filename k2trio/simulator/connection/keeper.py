"""The keeper of a connection's deadlines: pings, their answers, and the end of its day.

Source: Binance spot API docs, "WebSocket Streams", general information.
"""

from __future__ import annotations

import math
from collections import deque
from typing import TYPE_CHECKING

import trio

from .. import wire

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..venue.limits import Limits
    from .outbox import Outbox


class Keeper:
    """Pings, cuts off a client that does not pong, and ends the connection's day.

    :param opened_at: from when on the deadlines count; seconds.
    :param now_us: tells the venue's time, which pings carry.
    """

    def __init__(
        self, outbox: Outbox, limits: Limits, opened_at: float, now_us: Callable[[], int]
    ) -> None:
        self._outbox = outbox
        self._limits = limits
        self._opened_at = opened_at
        self._now_us = now_us
        self._pings: deque[tuple[float, bytes]] = deque()
        self._wait = trio.CancelScope()

    async def run(self) -> None:
        """Keep the deadlines until the connection closes."""
        limits, outbox = self._limits, self._outbox
        next_ping = self._opened_at + limits.ping_interval_s
        end = self._opened_at + limits.lifetime_s
        while not outbox.closing:
            oldest = self._pings[0][0] if self._pings else math.inf
            with trio.CancelScope() as self._wait:
                await trio.sleep_until(min(next_ping, oldest + limits.pong_timeout_s, end))
            now = trio.current_time()
            if outbox.closing or self._wait.cancelled_caught:
                continue
            if now >= oldest + limits.pong_timeout_s:
                outbox.begin_close(1008, "Pong timeout", "pong timeout")
            elif now >= end:
                outbox.begin_close(1001, "", "lifetime")
            else:
                payload = str(self._now_us() // 1000).encode()
                self._pings.append((now, payload))
                outbox.push(wire.ping(payload))
                next_ping += limits.ping_interval_s

    def on_pong(self, payload: bytes) -> None:
        """The client answered a ping, and with it all that were sent before."""
        if any(payload == sent for _, sent in self._pings):
            while self._pings.popleft()[1] != payload:
                pass
            self._wait.cancel()
