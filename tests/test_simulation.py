"""Every invariant, over many seeds; see ``simulation.py`` for what a seed decides."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import pytest
from simulated.campaign import run_seed
from simulated.invariants import check
from simulated.plan import make_plan
from simulated.run import live
from simulated.violation import Violation

from k2trio.simulator import FaultKind

if TYPE_CHECKING:
    from simulated.run import Run

SEEDS = range(200)
HOURS = 0.6
KINDS_AT_LEAST = 40
"""At least so many kinds of faults must occur in the seeds that CI runs."""


@pytest.mark.parametrize("seed", SEEDS)
def test_every_invariant_holds(seed: int) -> None:
    run_seed(seed, HOURS)


@pytest.mark.parametrize("seed", range(20))
def test_a_calm_exchange_causes_nothing_but_planned_rotation(seed: int) -> None:
    report = run_seed(seed, 3.0, faults=False)
    assert report.reconnects == 0
    assert report.missing == 0


def test_the_seeds_cover_the_catalogue() -> None:
    kinds = {fault.kind for seed in SEEDS for fault in make_plan(seed, HOURS).faults}
    assert len(kinds) >= KINDS_AT_LEAST, sorted(set(FaultKind) - kinds)


def test_the_same_seed_gives_the_same_trace() -> None:
    """The canary for Trio's private scheduling: every step of every task, twice the same."""
    first = run_seed(3, 0.5, trace=True)
    again = run_seed(3, 0.5, trace=True)
    other = run_seed(4, 0.5, trace=True)
    assert (first.trace, first.steps) == (again.trace, again.steps)
    assert first.trace != other.trace
    assert first.steps > 1000


def test_the_end_of_a_run_meets_no_fault_that_was_drawn_before_it() -> None:
    """One that waits armed for an attempt would meet a planned rotation there."""
    run_seed(910313, 4)
    run_seed(910062, 168)


def test_a_violation_names_the_command_that_repeats_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def twice(run: Run) -> None:
        run.items.append(run.items[-1])
        check(run)

    monkeypatch.setattr("simulated.campaign.check", twice)
    with pytest.raises(Violation, match=r"--seed 5 --length 0\.6"):
        run_seed(5, HOURS)


def test_the_checks_see_a_lost_message() -> None:
    """A feed that swallowed one message would not pass."""
    run = live(make_plan(5, HOURS))
    check(run)
    del run.items[len(run.items) // 2]
    with pytest.raises(Violation, match="invariant 1"):
        check(run)


def test_the_checks_see_another_venues_message() -> None:
    run = live(make_plan(5, HOURS))
    event = run.items[-1]
    run.items[-1] = msgspec.structs.replace(event, data=run.items[0].data)
    with pytest.raises(Violation, match="invariant"):
        check(run)
