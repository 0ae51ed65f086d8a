"""The client's manners: when it dials, what its breakers do, how much it says."""

from __future__ import annotations

from collections import defaultdict, deque
from typing import TYPE_CHECKING

from k2trio.observe import transitions as on

from ..violation import demand

if TYPE_CHECKING:
    from ..run import Run

MOST_DIALS = 300
DIALS_WINDOW_S = 300
LEGAL = {
    ("closed", "open"),
    ("open", "half_open"),
    ("half_open", "open"),
    ("half_open", "closed"),
}


def dials_are_paced(run: Run) -> None:
    """3: dials respect delay and the budget of 300 in 5 minutes."""
    budget: dict[str, deque[float]] = defaultdict(lambda: deque(maxlen=MOST_DIALS + 1))
    planned: dict[str, float] = {}
    for at, what in run.diary:
        if isinstance(what, on.Reconnecting):
            planned[what.line] = at + what.wait_s
        elif isinstance(what, on.Dialing):
            due = planned.get(what.line, at)
            demand(what.attempt == 0 or at >= due - 1e-6, 3, f"dialled early at {at:.3f}: {what}")
            dials = budget[what.venue]
            dials.append(at)
            crowded = len(dials) > MOST_DIALS and dials[-1] - dials[0] < DIALS_WINDOW_S - 1e-6
            demand(not crowded, 3, f"more than 300 dials in 5 minutes at {at:.3f}")
    for venue, exchange in run.exchanges.items():
        times = [attempt.time for attempt in exchange.truth.attempts]
        for early, late in zip(times, times[MOST_DIALS:], strict=False):
            crowded = late - early < DIALS_WINDOW_S - 1
            demand(not crowded, 3, f"{venue} saw more than 300 attempts in 5 minutes")


def nobody_is_refused(run: Run) -> None:
    """3: an address never exceeds what the venue admits, whoever else shares its budgets."""
    for venue, exchange in run.exchanges.items():
        refused = exchange.truth.outcomes().get("http_429", 0)
        demand(not refused, 3, f"{venue} refused {refused} attempts as too many")
        refused = run.quotas[venue].refused
        demand(not refused, 3, f"{venue} refused {refused} requests as too heavy")


def retries_wait(run: Run) -> None:
    """12: the k-th consecutive retry waits at least half its nominal delay."""
    for at, what in run.diary:
        if isinstance(what, on.Reconnecting):
            demand(what.wait_s >= what.delay_s / 2 - 1e-6, 12, f"at {at:.3f}: {what}")


def breakers_keep_their_states(run: Run) -> None:
    """4: only legal transitions of breakers, and no connection while OPEN."""
    states: dict[str, str] = {}
    for at, what in run.diary:
        if isinstance(what, on.BreakerChanged):
            old = states.get(what.name, "closed")
            demand(what.old == old and (old, what.new) in LEGAL, 4, f"at {at:.3f}: {what}")
            states[what.name] = what.new
        elif isinstance(what, on.Connected):
            demand(states.get(what.endpoint) != "open", 4, f"connected while open: {what}")


def client_messages_are_few(run: Run) -> None:
    """5: at most as many client messages a second per connection as are admitted: 5, or 10."""
    for exchange in run.exchanges.values():
        most = exchange.limits.client_messages_per_s
        recent: dict[int, deque[float]] = {}
        for message in exchange.truth.client_messages:
            times = recent.setdefault(message.connection, deque(maxlen=most + 1))
            times.append(message.time)
            flood = len(times) > most and times[-1] - times[0] < 1
            demand(not flood, 5, f"more than {most} messages within a second at {message.time:.3f}")
