"""What recurs makes few lines, and none of it is left out."""

from __future__ import annotations

import itertools
import random

from k2trio.observe.repetition import KINDS_AT_ONCE, REPEAT_S, Repetition, Sum
from k2trio.observe.transitions import GapDeclared, MalformedMessage, OutageDeclared


def gap(number: int, stream: str = "s", reason: str = "jump") -> GapDeclared:
    return GapDeclared("v", stream, number, number, reason)


def test_the_first_is_told_at_once_and_the_next_ones_together() -> None:
    repetition = Repetition()
    assert repetition.add(gap(1), 100.0) == [Sum(gap(1), 1, 1, None)]
    assert repetition.add(gap(5), 101.0) == repetition.add(gap(9), 102.0) == []
    assert repetition.due(100.0 + REPEAT_S - 0.1) == []
    together = GapDeclared("v", "s", 5, 9, "jump", gaps=2)
    assert repetition.due(100.0 + REPEAT_S) == [Sum(together, 1, 2, REPEAT_S)]


def test_after_a_while_without_any_the_next_one_is_the_first_again() -> None:
    repetition = Repetition()
    repetition.add(gap(1), 100.0)
    assert repetition.add(gap(5), 100.0 + REPEAT_S) == [Sum(gap(5), 1, 1, None)]


def test_another_stream_or_reason_does_not_wait() -> None:
    repetition = Repetition()
    repetition.add(gap(1), 100.0)
    for other in (gap(2, "t"), gap(3, reason="reset"), OutageDeclared("v", "s", 1, 2, 1)):
        assert repetition.add(other, 100.0) == [Sum(other, 1, 1, None)]


def test_a_thousand_streams_that_lose_something_together_make_few_lines() -> None:
    repetition = Repetition()
    at_once = [
        line for number in range(1000) for line in repetition.add(gap(1, f"s{number}"), 100.0)
    ]
    assert len(at_once) == KINDS_AT_ONCE
    (others,) = repetition.due(100.0 + REPEAT_S)
    assert (others.kinds, others.count) == (1000 - KINDS_AT_ONCE, 1000 - KINDS_AT_ONCE)


def test_all_that_happens_is_in_some_line_and_lines_are_bounded() -> None:
    rng = random.Random(1)
    repetition = Repetition()
    now, told, happened = 0.0, list[tuple[float, Sum]](), 0
    for _ in range(20_000):
        now += rng.expovariate(100.0)
        what = rng.choice([
            gap(rng.randrange(1000), f"s{rng.randrange(40)}"),
            MalformedMessage("0", "e", rng.choice("ab"), "", "", rng.randrange(1, 4)),
        ])  # fmt: skip
        happened += what.count
        told += [(now, line) for line in repetition.add(what, now)]
    told += [(now, line) for line in repetition.rest(now)]
    assert sum(line.count for _, line in told) == happened
    kinds = {(type(line.transition), line.transition.kind) for _, line in told if line.kinds == 1}
    for kind in kinds:
        times = [
            at
            for at, line in told
            if line.kinds == 1 and (type(line.transition), line.transition.kind) == kind
        ]
        assert all(late - early >= REPEAT_S for early, late in itertools.pairwise(times[:-1]))
    assert len(told) < (2 * KINDS_AT_ONCE + 4) * (now / REPEAT_S + 2)
    assert repetition.rest(now) == []
