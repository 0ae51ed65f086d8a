"""What can be said of a book at a moment, and not only as of its last update."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from .order_book import BookState

if TYPE_CHECKING:
    from .audit import Verdict
    from .order_book import OrderBook

CLOCK_JUMP_S = 10.0
"""If the wall clock goes on by so much more than the time that passed, the machine slept."""


@dataclass(frozen=True, slots=True)
class Standing:
    """How far a book can be believed now.

    :ivar state: as the book's own; but one that is live as of its last update is unproven while
        nothing could tell it of the next.
    :ivar problem: why it is not live; None if it is.
    :ivar age_s: since its last update was received; None before the first.
    :ivar verdict: what the last comparison with another source showed; None before the first.
    :ivar judged_s: since that.
    """

    state: BookState
    problem: str | None
    age_s: float | None
    verdict: Verdict | None
    judged_s: float | None


def standing(
    book: OrderBook,
    *,
    doubt: str | None,
    passed_s: float | None,
    by_clock_s: float | None,
    verdict: Verdict | None,
    judged_s: float | None,
) -> Standing:
    """Judge a book.

    :param doubt: why there may be updates that it has not, however live it was with the last one.
    :param passed_s: since its last update was received, by the time that passed.
    :param by_clock_s: the same by the wall clock, which may have been set, but does not stop while
        the machine sleeps.
    """
    state, problem = book.state, book.problem
    ages = [age for age in (passed_s, by_clock_s) if age is not None]
    if state is BookState.EMPTY:
        problem = "nothing has come that it could begin with"
    elif state is BookState.LIVE:
        ahead_s = (by_clock_s or 0.0) - (passed_s or 0.0)
        if doubt is not None:
            problem = doubt
        elif ahead_s >= CLOCK_JUMP_S:
            problem = (
                f"since its last update the machine slept, or its clock went on {ahead_s:.0f} s"
            )
        state = BookState.LIVE if problem is None else BookState.UNPROVEN
    return Standing(state, problem, max(ages, default=None), verdict, judged_s)
