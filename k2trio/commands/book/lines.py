"""Books as lines, for pipes and for whoever reads along: one a book and interval."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from .numbers import trimmed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ...market.payloads import Level
    from .view import View

COLUMNS = {
    "time": 24,
    "symbol": 10,
    "venue": 11,
    "state": 8,
    "update_id": 12,
    "age_s": 8,
    "bid": 12,
    "bid_quantity": 12,
    "ask": 12,
    "ask_quantity": 12,
    "spread": 8,
    "mid": 13,
    "imbalance": 9,
    "known": 5,
    "audit": 16,
    "audited_s": 9,
    "problem": 0,
}
"""Name → least width. Between columns stand spaces, in them none but in the last one."""
NOTHING = "-"


def heading() -> str:
    """The first line: what stands in which column."""
    return _line(list(COLUMNS))


def line_of(view: View, time: float) -> str:
    """A book at a time."""
    standing, verdict = view.standing, view.standing.verdict
    audit = None
    if verdict is not None:
        audit = f"{verdict.witness}-{'ok' if verdict.equal else 'differs'}"
    imbalance = None if view.imbalance is None else f"{view.imbalance:+.4f}"
    return _line(
        [
            datetime.fromtimestamp(time, UTC).isoformat(timespec="milliseconds")[:-6] + "Z",
            view.symbol,
            view.venue,
            standing.state.value,
            view.update_id,
            _seconds(standing.age_s),
            *_best(view.bids),
            *_best(view.asks),
            view.spread,
            view.mid,
            imbalance,
            view.known,
            audit,
            _seconds(standing.judged_s),
            standing.problem,
        ]
    )


def _best(levels: Sequence[Level]) -> tuple[str | None, str | None]:
    return (trimmed(levels[0].price), trimmed(levels[0].quantity)) if levels else (None, None)


def _seconds(time: float | None) -> str | None:
    return None if time is None else f"{time:.3f}"


def _line(values: Sequence[object]) -> str:
    cells = (NOTHING if value is None else str(value) for value in values)
    widths = COLUMNS.values()
    return " ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip()
