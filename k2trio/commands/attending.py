"""What the service manager is told of a feed: that it began, how it goes, that it is not hung."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import trio

from ..observe import logs

if TYPE_CHECKING:
    from ..client.feed import Feed
    from ..client.session import Session
    from ..web.status import Reporter
    from .manager import Manager

STATUS_S = 5.0
"""Time between two lines of status."""
BEATS = 3
"""Signs of life in the time after which the manager would miss one."""
HUNG_AFTER_S = 30.0
"""How far a connection may be beyond its own bounds before it is not its peer that hangs."""
LATE_S = 2 * STATUS_S
"""Time between two looks beyond which the program was stopped itself, or its machine."""


class Vitals:
    """Whether a feed still does by itself what it does whatever the exchange does.

    A connection that is being opened is given up after HANDSHAKE_TIMEOUT, and an open one on
    which nothing comes after TRANSPORT_TIMEOUT. One that is far beyond that is looked after by
    nobody, and only a restart helps. None helps against an exchange, brokers or a disk that are
    away, so waiting for those is not being hung. Nor is what a program finds that was stopped for a
    while, with or without its machine: bounds count from when it goes on.
    """

    def __init__(self, feed: Feed) -> None:
        self._feed = feed
        self._opening: dict[Session, float] = {}
        """Connections that are being opened, and since when as far as is known."""
        self._looked_at = trio.current_time()
        self._running_since = -math.inf

    def hung(self) -> str | None:
        """What is beyond its bounds; to be asked every few seconds."""
        now, settings = trio.current_time(), self._feed.settings
        if now - self._looked_at > LATE_S:
            self._running_since = now
        self._looked_at = now
        opening, self._opening = self._opening, {}
        for line in self._feed.lines:
            session = line.current
            if session is None or session.failure is not None:
                continue  # the next dial may have to wait for as long as the exchange says
            if session.connected and session.connection is not None:
                tap, limit_s = session.connection.tap, settings.transport_timeout
                since = now if tap.blocked else tap.last_bytes_at
            else:
                since, limit_s = opening.get(session, now), settings.handshake_timeout
                self._opening[session] = since
            since = max(since, self._running_since)
            if now - since > limit_s + HUNG_AFTER_S:
                return (
                    f"line {line.name} waits for {session.endpoint.name} since {now - since:.0f} s,"
                    f" and should have given it up after {limit_s:g} s"
                )
        return None


async def attend(manager: Manager, feed: Feed, reporter: Reporter) -> None:
    """Say that the program is ready, and then how it goes, until it is cancelled.

    It is ready when it has begun, and not when data flows: where the exchange is away, waiting for
    it is this program's work, and a manager that gave up on the start would only dial more often.
    It says that it lives from within Trio's loop, which must be turning for that.
    """
    if not manager.listens:
        return
    period_s = min(STATUS_S, (manager.watchdog_s or STATUS_S * BEATS) / BEATS)
    vitals, ready, told = Vitals(feed), False, False
    before, then = feed.received, trio.current_time()
    try:
        while True:
            if not ready:
                ready = manager.tell(READY=1, STATUS="connecting")
            hung = vitals.hung()
            if hung is None:
                manager.tell(WATCHDOG=1)
                told = False
            elif not told:
                logs.get_logger().error("hung", detail=hung)
                manager.tell(STATUS=f"hung: {hung}")
                told = True
            now = trio.current_time()
            if now - then >= STATUS_S and not told:
                received = feed.received
                manager.tell(STATUS=_status(feed, reporter, (received - before) / (now - then)))
                before, then = received, now
            await trio.sleep(period_s)
    finally:
        manager.tell(STOPPING=1, STATUS="stopping")


def _status(feed: Feed, reporter: Reporter, rate: float) -> str:
    """How it goes, in one line."""
    health = feed.status()
    problems = [*health.problems, *filter(None, [reporter.output_problem()])]
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    begin = f"{problems[0]}{more}" if problems else "data flows" if rate else "quiet"
    return f"{begin}; {rate:.0f} messages/s, {health.missing} missing"
