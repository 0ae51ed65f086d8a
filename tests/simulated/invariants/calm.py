"""What holds where nothing is wrong: without faults, and after the last one."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from k2trio.observe import transitions as on

from ..violation import demand

if TYPE_CHECKING:
    from ..run import Run


def a_sound_exchange_is_never_left(run: Run) -> None:
    """11: without faults no reconnect but planned rotation."""
    if not run.plan.faults and not run.plan.suspends:
        failures = _failures_after(run, 0.0)
        demand(not failures, 11, f"without any fault: {failures[:1]}")


def a_run_converges(run: Run) -> None:
    """13: once faults have stopped, the feed is connected and complete within a bound."""
    failures = _failures_after(run, run.plan.horizon_s - run.plan.calm_s / 3)
    demand(not failures, 13, f"still failing long after the last fault: {failures[:1]}")
    assert run.feed is not None
    flowing = any(isinstance(what, on.Flowing) for _, what in run.diary)
    demand(flowing, 13, "no connection ever carried data")
    last_venue = run.last_venue
    for stream in run.plan.known_streams:
        if not stream.endswith(("@trade", "@aggTrade")):
            continue
        true = run.exchanges[last_venue].truth.ranges(stream)
        track = run.feed._arbiter.track(run.name_of(last_venue), stream)
        if not true or track.next is None:
            demand(not true or true[-1][1] - true[0][0] < 3, 13, f"{stream}: nothing delivered")
            continue
        # What was emitted in the last moments may be on its way.
        behind = true[-1][1] - (track.next - 1)
        demand(behind <= math.ceil(run.plan.rate * 5) + 12, 13, f"{stream}: {behind} ids behind")
        demand(not track.held, 13, f"{stream}: {len(track.held)} messages still held")


def _failures_after(run: Run, when: float) -> list[on.Transition]:
    return [
        what
        for at, what in run.diary
        if at > when and isinstance(what, on.ConnectionLost | on.DialFailed)
    ]


def the_supervisor_stays(run: Run) -> None:
    """14: the supervisor ends only by request or by giving up."""
    demand(not any(isinstance(what, on.GivingUp) for _, what in run.diary), 14, "gave up")
