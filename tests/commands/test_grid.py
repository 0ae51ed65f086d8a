"""Multiples of the wall clock: each once, none invented, whatever the clock does."""

from __future__ import annotations

import itertools

import pytest

from k2trio.commands.grid import Due, Grid

START = 1_767_225_600.0


@pytest.mark.parametrize("interval_s", [0.01, 0.1, 0.3, 1, 60])
def test_every_multiple_comes_once_and_is_exact(interval_s: float) -> None:
    wall = START + 0.123
    grid, times = Grid(interval_s, wall), list[float]()
    while len(times) < 50:
        wall += grid.wait_s(wall) or 1e-6
        due = grid.look(wall)
        if due is not None:
            assert due.time is not None
            assert due.missed is None
            assert due.late_s < 1e-5
            times.append(due.time)
    step_ms = round(interval_s * 1000)
    assert all(round(time * 1000) % step_ms == 0 for time in times)
    steps = {round((after - before) * 1000) for before, after in itertools.pairwise(times)}
    assert steps == {step_ms}
    assert START < times[0] <= START + 0.123 + interval_s


def test_a_clock_that_is_looked_at_early_is_not_due() -> None:
    grid = Grid(1, START + 0.5)
    assert grid.look(START + 0.999) is None
    assert grid.wait_s(START + 0.999) == pytest.approx(0.001)


def test_who_comes_late_is_told_how_late() -> None:
    grid = Grid(10, START + 1)
    assert grid.look(START + 10.75) == Due(START + 10, 0.75)
    assert grid.look(START + 10.9) is None


def test_what_is_too_late_is_missed_and_not_invented() -> None:
    grid = Grid(10, START + 1)
    assert grid.look(START + 13) == Due(None, 3, (START + 10, START + 10, 1))
    assert grid.look(START + 20.5) == Due(START + 20, 0.5)


def test_after_a_sleep_of_the_machine_the_last_multiple_is_taken_if_it_is_near() -> None:
    grid = Grid(1, START + 0.5)
    assert grid.look(START + 7200.25) == Due(START + 7200, 0.25, (START + 1, START + 7199, 7199))
    assert grid.look(START + 7201) == Due(START + 7201, 0)


@pytest.mark.parametrize("back_s", [0.3, 5, 60])
def test_a_clock_that_is_set_back_a_little_makes_no_multiple_come_twice(back_s: float) -> None:
    grid = Grid(1, START + 0.5)
    assert grid.look(START + 1) == Due(START + 1)
    assert grid.look(START + 1 - back_s) is None
    assert grid.look(START + 1) is None
    assert grid.look(START + 2) == Due(START + 2)


def test_a_clock_that_is_set_back_far_begins_anew_and_says_so() -> None:
    grid = Grid(1, START + 0.5)
    assert grid.look(START + 1) == Due(START + 1)
    assert grid.look(START - 3600 + 0.25) == Due(set_back_s=3600.75)
    assert grid.look(START - 3600 + 1) == Due(START - 3599)


def test_while_the_next_multiple_is_far_the_clock_is_looked_at_every_second() -> None:
    assert Grid(3600, START + 10).wait_s(START + 10) == 1
