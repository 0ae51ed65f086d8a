"""Connections that deliver nothing: never called stable, and not kept."""

from __future__ import annotations

import math
from bisect import bisect_right
from typing import TYPE_CHECKING

from k2trio.observe import transitions as on
from k2trio.simulator import FaultKind

from ..lives import SAME_MOMENT_S, News, lives
from ..violation import demand

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..lives import Life
    from ..run import Run

ALLOWANCE_S = 60.0
"""Beyond the limits of silence, for questions to REST and their answers (times ``Plan.pace``)."""
ON_ITS_WAY_S = 5.0
"""News of so short a time ago may not have come yet: the client waits for it, too."""
IN_FLIGHT_S = 3.0
"""What was sent so soon after a connection opened, or brought its last message, says nothing: it
may have been sent before the subscription, or be another line's copy of that message."""
ODD = (
    FaultKind.ABSURD_KEY,
    FaultKind.UNKNOWN_EVENT,
    FaultKind.WRONG_TYPES,
    FaultKind.HUGE_NUMBER,
    FaultKind.BAD_JSON,
    FaultKind.DEEP_JSON,
    FaultKind.BINARY,
)
"""Kinds that tell a connection something that the market did not."""
MISLEADING = (FaultKind.REST_LAG, FaultKind.REST_TRUNCATED, FaultKind.REST_HOLES)
"""With these REST may say that there is no news, though there is."""


def silence_is_not_stable(run: Run) -> None:
    """18: a connection that delivers nothing, though there is news, is never called stable."""
    if run.plan.has(*ODD, *MISLEADING):
        return
    known = lives(run)
    news = News(run)
    for at, what in run.diary:
        if not isinstance(what, on.BecameStable):
            continue
        meant = next((life for life in known if _may_mean(what, at, life)), None)
        if meant is None:
            continue
        meant.stable = True
        if meant.told is None:
            continue
        delivered = bool(meant.told) and meant.told[0] <= at + SAME_MOMENT_S
        had_news = _first_news(news.of(meant), meant.since) < at - ON_ITS_WAY_S
        demand(delivered or not had_news, 18, f"at {at:.3f}, without a message: {what}")


def _may_mean(what: on.BecameStable, at: float, life: Life) -> bool:
    """Of two connections of a line to one endpoint, the older one became stable first."""
    same = (life.line, life.endpoint) == (what.line, what.endpoint)
    return same and life.since <= at <= life.until and not life.stable


def silence_is_not_kept(run: Run) -> None:
    """19: nor is it kept for longer than the health limit and an allowance."""
    plan, settings = run.plan, run.settings
    if plan.slow_consumer or plan.has(*MISLEADING):
        return
    allowance = settings.health_check_interval + ALLOWANCE_S * plan.pace
    news = News(run)
    for life in lives(run):
        for silent_at, until in _silences(life):
            newest = _first_news(news.of(life), silent_at)
            if newest < until:
                due = max(silent_at + settings.health_check_timeout, newest) + allowance
                what = f"{life.line} on {life.endpoint} from {silent_at:.3f} to {until:.3f}"
                demand(until <= due, 19, f"{what}: kept, though there was news at {newest:.3f}")


def _first_news(times: list[float], at: float) -> float:
    """The first news that speaks against a connection silent since then."""
    place = bisect_right(times, at + IN_FLIGHT_S)
    return times[place] if place < len(times) else math.inf


def _silences(life: Life) -> Iterator[tuple[float, float]]:
    """Times between two messages of a connection, and before the first and after the last."""
    if life.told is None:
        return
    before = life.since
    for time in life.told:
        if time > life.until:
            break
        yield before, time
        before = max(before, time)
    yield before, life.until
