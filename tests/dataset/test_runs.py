"""The arithmetic of ids, against a model that has a set of all of them."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from k2trio.dataset.proof import numbering as numbering_module
from k2trio.dataset.proof import runs as runs_module
from k2trio.dataset.proof.growing import RECENT, Growing
from k2trio.dataset.proof.holes import Declared, Hole, holes_of
from k2trio.dataset.proof.numbering import Numbering, Sum
from k2trio.dataset.proof.runs import Runs

if TYPE_CHECKING:
    import random
    from collections.abc import Iterable

    import pytest

IDS = 60
messages = st.tuples(st.integers(0, IDS), st.integers(0, 6)).map(lambda m: (m[0], m[0] + m[1]))
chunks = st.lists(st.lists(messages, max_size=12), max_size=6)
gaps = st.lists(
    st.tuples(st.integers(0, IDS), st.integers(0, 9), st.sampled_from(["a", "b", "c"])).map(
        lambda g: Declared(g[0], g[0] + g[1], g[2])
    ),
    max_size=6,
)


def arrays(rows: Iterable[tuple[int, int]]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """First, last, and a time that tells the id."""
    pairs = np.array(list(rows), np.int64).reshape(-1, 2)
    return pairs[:, 0], pairs[:, 1], pairs[:, 0] * 10


def added(parts: Iterable[Iterable[tuple[int, int]]]) -> Runs:
    runs = Runs()
    for part in parts:
        runs.add(*arrays(part))
    return runs


def ids_of(rows: Iterable[tuple[int, int]]) -> set[int]:
    return {number for first, last in rows for number in range(first, last + 1)}


def width(hole: Hole) -> int:
    return hole.last - hole.first + 1


@given(chunks)
def test_runs_hold_what_was_added_and_neither_touch_nor_overlap(
    parts: list[list[tuple[int, int]]],
) -> None:
    ranges = added(parts).ranges
    pairs = list(zip(ranges.first.tolist(), ranges.last.tolist(), strict=True))
    assert ids_of(pairs) == ids_of(row for part in parts for row in part)
    assert all(low[1] + 1 < high[0] for low, high in itertools.pairwise(pairs))


@given(chunks, st.randoms(use_true_random=False))
def test_the_order_of_messages_does_not_matter(
    parts: list[list[tuple[int, int]]], chance: random.Random
) -> None:
    every = [row for part in parts for row in part]
    mixed = every.copy()
    chance.shuffle(mixed)
    one, other = added(parts).ranges, added([[row] for row in mixed]).ranges
    assert one.first.tolist() == other.first.tolist()
    assert one.last.tolist() == other.last.tolist()


@given(st.lists(st.lists(st.integers(0, IDS), max_size=20), max_size=5))
def test_an_id_that_was_there_is_told(parts: list[list[int]]) -> None:
    runs, seen = Runs(), set[int]()
    for part in parts:
        told = runs.add(*arrays((number, number) for number in part)).tolist()
        expected = []
        for number in part:
            expected.append(number in seen)
            seen.add(number)
        assert told == expected


@given(chunks)
def test_a_run_has_the_times_of_its_ends(parts: list[list[tuple[int, int]]]) -> None:
    ranges = added(parts).ranges
    every = [row for part in parts for row in part]
    for first, last, began, ended in zip(*(column.tolist() for column in ranges), strict=True):
        assert began == first * 10
        assert ended in {row[0] * 10 for row in every if row[1] == last}


@given(chunks, gaps)
def test_holes_are_what_lies_between_each_with_its_reason(
    parts: list[list[tuple[int, int]]], declared: list[Declared]
) -> None:
    there = ids_of(row for part in parts for row in part)
    reasons = {}
    for one in declared:
        reasons |= dict.fromkeys(range(one.first, one.last + 1), one.reason)
    every = there | reasons.keys()
    expected = {}
    if every:
        hull = range(min(every), max(every) + 1)
        expected = {number: reasons.get(number) for number in hull if number not in there}
    found = holes_of(added(parts).ranges, declared)
    assert {n: h.reason for h in found for n in range(h.first, h.last + 1)} == expected
    for low, high in itertools.pairwise(found):
        assert low.last < high.first


@given(st.lists(st.lists(st.integers(0, 40), max_size=20), max_size=5))
def test_keys_that_only_grow_are_told_apart_from_copies(parts: list[list[int]]) -> None:
    growing, seen = Growing(), set[int]()
    for part in parts:
        keys = np.array(part, np.int64)
        twice = growing.add(keys, np.zeros_like(keys)).tolist()
        for number, told in zip(part, twice, strict=True):
            assert told == (number in seen)
            seen.add(number)


def test_of_one_key_two_bars_may_have_an_update() -> None:
    growing = Growing()
    keys, bars = np.array([5, 7, 7], np.int64), np.array([0, 0, 1], np.int64)
    assert growing.add(keys, bars).tolist() == [False, False, False]
    assert growing.add(keys[1:], bars[1:]).tolist() == [True, True]


def test_what_comes_again_from_long_ago_is_double_in_bounded_memory() -> None:
    growing = Growing()
    keys = np.arange(3 * RECENT, dtype=np.int64) * 5
    assert not growing.add(keys, np.zeros_like(keys)).any()
    assert growing.add(keys, np.zeros_like(keys)).all()


def test_more_holes_than_there_is_room_for_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs_module, "MAX_RUNS", 100)
    numbering = Numbering(width)
    numbering.declare(7, 7, "not_repaired")
    for start in range(0, 2000, 50):
        numbers = np.arange(start, start + 50, 2, dtype=np.int64)  # each second id is missing
        numbering.add(numbers, numbers, numbers)
    assert len(numbering.runs.ranges) <= 100
    sums = dict(numbering.folded)
    numbering_module.tally(numbering.holes, width, sums)
    assert sums == {None: Sum(998, 998), "not_repaired": Sum(1, 1)}


def test_more_gaps_than_there_is_room_for_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(numbering_module, "MAX_DECLARED", 10)
    numbering = Numbering(width)
    for number in range(0, 100, 2):
        numbering.declare(number, number, "not_repaired")
    assert len(numbering.declared) == 10
    assert numbering.declared_more == 40
