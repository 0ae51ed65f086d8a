"""Bounds: of what waits, and of how long closing takes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..violation import demand

if TYPE_CHECKING:
    from ..run import Run

BATCH_MESSAGES = 5000
"""What one producer may add at once to a buffer that still had room."""


def buffers_are_bounded(run: Run) -> None:
    """6: every buffer is within its bound."""
    most = run.settings.max_buffered_messages + BATCH_MESSAGES
    demand(run.biggest_outbox <= most, 6, f"{run.biggest_outbox} messages buffered")
    held = run.settings.max_held_messages * len(run.plan.streams) * 2
    demand(run.biggest_held <= held, 6, f"{run.biggest_held} messages held")


def closing_is_bounded(run: Run) -> None:
    """7: after a cancel everything is gone within the shutdown bound."""
    bound = run.settings.close_timeout + 1
    demand(run.closed_after_s <= bound, 7, f"closing took {run.closed_after_s:.3f} s")
