"""Deterministic simulation: the whole client against the simulated exchange, in virtual time.

A seed decides everything: the venues, the market, the settings, the faults, the consumer, and the
order in which Trio runs its tasks; in a campaign the product, too. After each run every invariant
is checked against what the exchange itself recorded. Run one seed again with::

    python tests/simulation.py --seed 17

and as many hours as wanted with ``nox -s simulation -- --hours 10000``.
"""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, Any

from simulated.campaign import campaign, run_seed
from simulated.plan import DRAWN, PRODUCTS, make_plan
from simulated.run import live
from simulated.violation import Violation

from k2trio.market.payloads import Event
from k2trio.simulator import FaultKind

if TYPE_CHECKING:
    from collections.abc import Sequence

    from simulated.plan import Plan


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line of the simulation."""
    parser = argparse.ArgumentParser(description="Run the client against a simulated exchange.")
    parser.add_argument("--seed", type=int, help="run this one seed")
    parser.add_argument("--first", type=int, default=0, help="first seed of a campaign")
    parser.add_argument("--hours", type=float, default=100.0, help="simulated hours of a campaign")
    parser.add_argument("--length", type=float, help="hours per seed; default: the seed decides")
    parser.add_argument("--no-faults", action="store_true", help="a calm exchange")
    parser.add_argument("--takeovers", action="store_true", help="a log that changes hands")
    parser.add_argument(
        "--product",
        choices=[*PRODUCTS, DRAWN],
        help="what is traded; default: spot with --seed, else the seeds decide",
    )
    parser.add_argument("--diary", action="store_true", help="print what happened (with --seed)")
    parser.add_argument(
        "--kind", type=FaultKind, action="append", default=[], help="draw only such faults"
    )
    options = parser.parse_args(arguments)
    whose = "spot" if options.seed is not None else DRAWN
    draw: Any = {
        "faults": not options.no_faults,
        "kinds": options.kind,
        "takeovers": options.takeovers,
        "product": options.product or whose,
    }
    if options.seed is None:
        return bool(campaign(options.first, options.hours, options.length, **draw))
    if options.diary:
        print_diary(make_plan(options.seed, options.length, **draw))
        return 0
    try:
        print(run_seed(options.seed, options.length, trace=True, **draw))  # noqa: T201
    except Violation as violation:
        print(violation, file=sys.stderr)  # noqa: T201
        return 1
    return 0


def print_diary(plan: Plan) -> None:
    """Print a run's plan and everything that happened in it."""
    print(plan)  # noqa: T201
    run: Any = live(plan)
    for fault in plan.faults:
        run.diary.append((fault.at, fault))
    if run.group is not None:
        run.diary += [(at, f"member {number}: {what}") for at, number, what in run.group.diary]
        run.diary += [(at, takeover) for at, takeover in run.group.takeovers]
    for at, what in sorted(run.diary, key=lambda entry: entry[0]):
        print(f"{at:12.3f} {what}")  # noqa: T201
    for item in run.items:
        if not isinstance(item, Event):
            print(item)  # noqa: T201


if __name__ == "__main__":
    sys.exit(main())
