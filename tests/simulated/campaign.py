"""Seeds, one or many: run, check, and count what they were made of."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import trio

from k2trio.continuity.items import Outage
from k2trio.market.payloads import Event

from .determinism import Trace, deterministic
from .invariants import check
from .plan import DRAWN, command, make_plan
from .run import new_clock, run_plan
from .violation import Violation

if TYPE_CHECKING:
    from collections.abc import Sequence

    from k2trio.simulator import FaultKind

    from .plan import Plan
    from .run import Run


@dataclass
class Report:
    """What a run was made of."""

    seed: int
    hours: float
    delivered: int = 0
    repaired: int = 0
    missing: int = 0
    outages: int = 0
    duplicates: int = 0
    dials: int = 0
    reconnects: int = 0
    rotations: int = 0
    takeovers: int = 0
    products: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    trace: str = ""
    steps: int = 0

    @classmethod
    def of(cls, run: Run) -> Report:
        """What a run that has ended was made of."""
        counts = Counter(type(what).__name__ for _, what in run.diary)
        events = [item for item in run.items if isinstance(item, Event)]
        assert run.feed is not None
        return cls(
            seed=run.plan.seed,
            hours=run.plan.hours,
            delivered=len(events),
            repaired=sum(event.origin == "backfill" for event in events),
            missing=sum(row.missing for row in run.feed.coverage()),
            outages=sum(isinstance(item, Outage) for item in run.items),
            duplicates=run.duplicates,
            dials=counts["Dialing"],
            reconnects=counts["Reconnecting"],
            rotations=counts["Rotated"],
            takeovers=0 if run.group is None else len(run.group.takeovers),
            products=Counter([run.plan.product]),
            faults=Counter(str(fault.kind) for fault in run.plan.faults),
        )


def run_seed(
    seed: int,
    hours: float | None = None,
    *,
    faults: bool = True,
    kinds: Sequence[FaultKind] = (),
    takeovers: bool = False,
    product: str = "spot",
    trace: bool = False,
) -> Report:
    """Run one seed and check every invariant; see :func:`run_checked`."""
    plan = make_plan(seed, hours, faults=faults, kinds=kinds, takeovers=takeovers, product=product)
    return run_checked(plan, trace=trace)


def run_checked(plan: Plan, *, trace: bool = False) -> Report:
    """Run a plan and check every invariant; ``trace`` adds the hash of all its steps.

    :raises Violation: naming the invariant and the command that runs the seed again.
    """
    steps = Trace()
    with deterministic(plan.seed):
        try:
            run = trio.run(run_plan, plan, clock=new_clock(), instruments=[steps] if trace else [])
            check(run)
            report = Report.of(run)
        except Violation as violation:
            raise Violation(f"{violation}\nrun again: {command(plan)}") from None
        except BaseException as error:
            error.add_note(f"run again: {command(plan)}")
            raise
    report.trace = steps.hash.hexdigest() if trace else ""
    report.steps = steps.steps
    return report


def campaign(
    first: int,
    hours: float,
    length: float | None,
    *,
    faults: bool = True,
    kinds: Sequence[FaultKind] = (),
    takeovers: bool = False,
    product: str = DRAWN,
) -> list[Violation]:
    """Run seeds from ``first`` on until so many hours are simulated; print as it goes.

    :returns: what did not hold; the campaign goes on after it.
    """
    total = Report(first, 0.0)
    violations: list[Violation] = []
    started = time.perf_counter()
    seeds = 0
    while total.hours < hours:
        plan = make_plan(
            first + seeds,
            length,
            faults=faults,
            kinds=kinds,
            takeovers=takeovers,
            product=product,
        )
        seeds += 1
        try:
            _add(total, run_checked(plan))
        except Violation as violation:
            violations.append(violation)
            total.hours += plan.hours
            print(violation, flush=True)  # noqa: T201
        if seeds % 10 == 0 or total.hours >= hours:
            _print_total(total, seeds, len(violations), time.perf_counter() - started)
    print("seeds:", dict(total.products))  # noqa: T201
    print("faults:", dict(sorted(total.faults.items())), f"{len(total.faults)} kinds")  # noqa: T201
    return violations


def _add(total: Report, report: Report) -> None:
    for name in ("hours", "delivered", "repaired", "missing", "outages", "duplicates", "dials",
                 "reconnects", "rotations", "takeovers", "steps"):  # fmt: skip
        setattr(total, name, getattr(total, name) + getattr(report, name))
    total.products += report.products
    total.faults += report.faults


def _print_total(total: Report, seeds: int, violations: int, seconds: float) -> None:
    print(  # noqa: T201
        f"{seeds} seeds, {total.hours:,.0f} simulated hours ({total.hours / 24:,.0f} days) in "
        f"{seconds:,.0f} s = {total.hours / seconds:.1f} h/s; {total.delivered:,} delivered, "
        f"{total.repaired:,} repaired, {total.missing:,} declared missing, "
        f"{total.reconnects:,} reconnects, {total.rotations:,} rotations, "
        f"{total.takeovers:,} takeovers, {violations} violations",
        flush=True,
    )
