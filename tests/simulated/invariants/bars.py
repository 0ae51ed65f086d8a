"""Bars: every close comes, or is named, as the exchange's own list of bars has them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from k2trio.continuity.items import Gap, Outage, VenueChanged
from k2trio.simulator import FaultKind

from ..run import START_S
from ..violation import demand

if TYPE_CHECKING:
    from collections.abc import Sequence

    from k2trio.continuity.items import Item

    from ..run import Run

MINUTE_MS = 60_000
ON_ITS_WAY_S = 30.0
"""A close of so short a time before the end need not have come (times ``Plan.pace``)."""


def _halted(run: Run, open_ms: int) -> bool:
    """Whether the market was halted when a bar should have opened."""
    at = open_ms / 1000 - START_S
    return any(
        fault.kind is FaultKind.HALT and fault.at <= at <= fault.at + fault.duration
        for fault in run.plan.faults
    )


def check_bars(run: Run, venue: str, stream: str, items: Sequence[Item]) -> None:
    """Every bar's close comes once, in order, or is named; no bar is named that never was."""
    per_ms = run.settings.unit.per_ms
    closed = list(run.truth(venue).watch(stream).closed_bars)
    places = {open_ms: place for place, open_ms in enumerate(closed)}
    due: int | None = None
    for item in items:
        if isinstance(item, Outage | VenueChanged):
            continue
        if isinstance(item, Gap):
            if item.reason == "reset":
                due = None
                continue
            first, last = item.first // per_ms, item.last // per_ms
            named = [place for at, place in places.items() if first <= at <= last]
            if not named and (_halted(run, first) or run.is_absurd(venue, stream, item.first)):
                continue  # the exchange made no bar of it, or one by a fault; who could know?
            demand(bool(named), 16, f"{stream}: {item} names no bar that ever was")
            demand(due is None or named[0] == due, 1, f"{stream}: bar {due} is not in {item}")
            due = named[-1] + 1
            continue
        bar = item.data.bar
        open_ms = bar.open_time // per_ms
        if open_ms not in places:
            continue  # it did not close, or is absurd
        place = places[open_ms]
        demand(due is None or place == due, 1, f"{stream}: expected bar {due}, got {place}: {bar}")
        due = place + bar.closed
    if due is not None and venue == run.name_of(run.last_venue):
        end_ms = run.wall_end_ms - ON_ITS_WAY_S * run.plan.pace * 1000
        missing = [at for at in closed[due:] if at + MINUTE_MS <= end_ms]
        demand(len(missing) <= 1, 16, f"{stream}: bars {missing[:3]} never came")
