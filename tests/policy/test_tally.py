"""What was spent within a window counts; what is older, or taken back, does not."""

from __future__ import annotations

import math

from k2trio.policy.tally import Spent, Tally


def sums(tally: Tally) -> tuple[int, int, float]:
    return tally.weight, tally.overtaken, tally.next_free


def test_an_expense_counts_until_a_window_later() -> None:
    tally = Tally(60.0)
    assert sums(tally) == (0, 0, math.inf)
    tally.add(Spent(1.0, 4))
    tally.add(Spent(2.0, 50, 20))
    tally.add(Spent(2.0, 6, 6))
    assert sums(tally) == (60, 26, 61.0)
    tally.expire(60.9)
    assert sums(tally) == (60, 26, 61.0)
    tally.expire(61.0)
    assert sums(tally) == (56, 26, 62.0)
    tally.expire(100.0)
    assert sums(tally) == (0, 0, math.inf)
    assert list(tally) == []


def test_an_expense_is_taken_back_once_and_expires_without_a_trace() -> None:
    tally = Tally(60.0)
    taken, kept = Spent(1.0, 50, 20), Spent(5.0, 4, 1)
    tally.add(taken)
    tally.add(kept)
    for _ in range(2):
        tally.take_back(taken)
        assert (tally.weight, tally.overtaken) == (4, 1)
    tally.expire(61.0)
    assert sums(tally) == (4, 1, 65.0)


def test_others_are_counted_anew_in_the_order_of_their_times() -> None:
    tally = Tally(60.0)
    tally.add(Spent(0.0, 900, 900))
    tally.replace([Spent(7.0, 4, 1), Spent(3.0, 50, 20)])
    assert sums(tally) == (54, 21, 63.0)
    assert [spent.at for spent in tally] == [3.0, 7.0]
