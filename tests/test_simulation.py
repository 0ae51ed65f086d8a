"""Every invariant, over many seeds; see ``simulation.py`` for what a seed decides."""

from __future__ import annotations

import msgspec
import pytest
import simulation

from k2trio.simulator import FaultKind

SEEDS = range(200)
HOURS = 0.6
KINDS_AT_LEAST = 40
"""At least so many kinds of faults must occur in the seeds that CI runs."""


@pytest.mark.parametrize("seed", SEEDS)
def test_every_invariant_holds(seed: int) -> None:
    simulation.run_seed(seed, HOURS)


@pytest.mark.parametrize("seed", range(20))
def test_a_calm_exchange_causes_nothing_but_planned_rotation(seed: int) -> None:
    report = simulation.run_seed(seed, 3.0, faults=False)
    assert report.reconnects == 0
    assert report.missing == 0


def test_the_seeds_cover_the_catalogue() -> None:
    kinds = {fault.kind for seed in SEEDS for fault in simulation.make_plan(seed, HOURS).faults}
    assert len(kinds) >= KINDS_AT_LEAST, sorted(set(FaultKind) - kinds)


def test_the_same_seed_gives_the_same_trace() -> None:
    """The canary for Trio's private scheduling: every step of every task, twice the same."""
    first = simulation.run_seed(3, 0.5, trace=True)
    again = simulation.run_seed(3, 0.5, trace=True)
    other = simulation.run_seed(4, 0.5, trace=True)
    assert (first.trace, first.steps) == (again.trace, again.steps)
    assert first.trace != other.trace
    assert first.steps > 1000


def test_a_violation_names_the_command_that_repeats_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(run: simulation.Run) -> None:
        run.items.append(run.items[-1])  # the last message, twice
        simulation_check(run)

    simulation_check = simulation._check_tiling
    monkeypatch.setattr(simulation, "_check_tiling", broken)
    with pytest.raises(simulation.Violation, match=r"--seed 5 --length 0\.6"):
        simulation.run_seed(5, HOURS)


def test_the_checks_see_a_lost_message() -> None:
    """A feed that swallowed one message would not pass."""
    plan = simulation.make_plan(5, HOURS)
    run = simulation.live(plan)
    simulation.check(run)
    del run.items[len(run.items) // 2]
    with pytest.raises(simulation.Violation, match="invariant 1"):
        simulation.check(run)


def test_the_checks_see_another_venues_message() -> None:
    plan = simulation.make_plan(5, HOURS)
    run = simulation.live(plan)
    event = run.items[-1]
    run.items[-1] = msgspec.structs.replace(event, data=run.items[0].data)
    with pytest.raises(simulation.Violation, match="invariant"):
        simulation.check(run)
