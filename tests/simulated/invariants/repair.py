"""What REST is asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from k2trio.continuity.items import Gap

from ..violation import demand

if TYPE_CHECKING:
    from ..run import Run

EXCUSED = ("jump", "overflow", "hold_overflow")
"""Reasons of gaps that REST could not have closed."""


def what_can_be_repaired_is(run: Run) -> None:
    """15: while REST works, what can be repaired is repaired."""
    if not run.plan.rest_is_sound or run.plan.may_repeat_ids:
        return
    for item in run.items:
        if isinstance(item, Gap) and item.stream.endswith(("@trade", "@aggTrade")):
            demand(item.reason in EXCUSED, 15, f"REST was sound, yet {item}")
