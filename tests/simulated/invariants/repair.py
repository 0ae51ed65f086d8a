"""What REST is asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from k2trio.continuity.items import Gap
from k2trio.simulator import FaultKind

from ..violation import demand

if TYPE_CHECKING:
    from ..run import Run

EXCUSED = ("jump", "overflow", "hold_overflow")
"""Reasons of gaps that REST could not have closed."""


def what_can_be_repaired_is(run: Run) -> None:
    """15: while REST works, what can be repaired is repaired."""
    if not run.plan.rest_is_sound or run.plan.may_repeat_ids:
        return
    leapt: dict[tuple[str, str], int] = {}
    """What follows a gap beyond the limit of a restart: REST knows nothing of ids that leapt."""
    for item in run.items:
        if isinstance(item, Gap) and item.stream.endswith(("@trade", "@aggTrade")):
            key = item.venue, item.stream
            if run.plan.has(FaultKind.IDS_JUMP) and (
                item.reason == "resume_limit"
                or (item.reason == "venue_missing" and leapt.get(key) == item.first)
            ):
                leapt[key] = item.last + 1
                continue
            demand(item.reason in EXCUSED, 15, f"REST was sound, yet {item}")
