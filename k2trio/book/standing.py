"""How a book stands at a moment, for whoever shows it."""

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

    :ivar state: the book's own.
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
    book: OrderBook, *, age_s: float | None, verdict: Verdict | None, judged_s: float | None
) -> Standing:
    """What is to be said of a book."""
    state, problem = book.state, book.problem
    if state is BookState.EMPTY:
        problem = "nothing has come that it could begin with"
    return Standing(state, problem, age_s, verdict, judged_s)


def slept(passed_s: float, by_clock_s: float) -> str | None:
    """Whether the machine slept, by two clocks of which only one goes on meanwhile.

    :param passed_s: since a book's last update was received, by the time that passed.
    :param by_clock_s: the same by the wall clock, which may have been set.
    :returns: a problem of the book; None if it did not.
    """
    ahead_s = by_clock_s - passed_s
    if ahead_s < CLOCK_JUMP_S:
        return None
    return f"since its last update the machine slept, or its clock went on {ahead_s:.0f} s"
