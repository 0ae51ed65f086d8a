"""How long what has arrived may wait."""

from __future__ import annotations

from typing import TYPE_CHECKING

from k2trio.market.payloads import Event
from k2trio.simulator import FaultKind

from ..run import arrival
from ..violation import demand

if TYPE_CHECKING:
    from ..run import Run

ALLOWANCE_S = 5.0
"""Beyond what a message may be held for a repair and for another line: reading, asking, deciding.
"""
DOUBTFUL = (FaultKind.IDS_RESET, FaultKind.IDS_JUMP, FaultKind.ABSURD_KEY, FaultKind.SHARED_ID)
"""After these a message may wait for the next ones, to be believed."""


def output_is_in_time(run: Run) -> None:
    """17: while REST is sound, nothing is delivered later than its bound."""
    plan, settings = run.plan, run.settings
    if plan.slow_consumer or not plan.rest_is_sound or plan.has(*DOUBTFUL):
        return
    bound = settings.repair_hold + settings.arbitration_hold + ALLOWANCE_S
    for item, at in zip(run.items, run.times, strict=True):
        if isinstance(item, Event) and item.origin == "live":
            late = at - arrival(plan, item.received)
            demand(late <= bound, 17, f"at {at:.3f}: {late:.3f} s late: {item}")
