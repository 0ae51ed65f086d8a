"""What a seed decides: venues, market, settings, faults, and the consumer."""

from __future__ import annotations

import random
from dataclasses import dataclass

import msgspec

from k2trio.simulator import Fault, FaultKind, draw_schedule

CALM_S = 900.0
"""The end of every run is free of faults (times ``Plan.pace``): it must have converged by then."""
SLOW_PACE = 12
"""Most long runs have every keep-alive and health timeout scaled by this, to cover more days."""
AWAITED_KINDS = {
    FaultKind.IDS_RESET,
    FaultKind.ABSURD_KEY,
    FaultKind.SHARED_ID,
    FaultKind.HALT,
}
"""Kinds that the client does not survive yet: ids that begin anew nearby, single absurd keys, an
aggregate id used twice, bars off their grid."""
DRAWN_KINDS = tuple(
    kind for kind in FaultKind if kind is not FaultKind.ZERO_WINDOW and kind not in AWAITED_KINDS
)
TEDIOUS = {FaultKind.SEGMENTED, FaultKind.EMPTY_FRAGMENTS, FaultKind.PING_FLOOD}
"""Kinds that make so many steps that they are kept short."""


@dataclass(frozen=True)
class Plan:
    """What a seed decides."""

    seed: int
    hours: float
    streams: tuple[str, ...]
    rate: float
    redundancy: int
    two_venues: bool
    faults: tuple[Fault, ...]
    slow_consumer: bool
    suspends: tuple[float, ...]
    wall_jumps: tuple[tuple[float, float], ...]
    rotate_after: float
    overflow: str
    pace: int = 1

    @property
    def calm_s(self) -> float:
        """Length of the fault-free end, seconds."""
        return CALM_S * self.pace

    @property
    def horizon_s(self) -> float:
        """Length of the run."""
        return self.hours * 3600


def make_plan(seed: int, hours: float | None = None, *, faults: bool = True) -> Plan:
    """Draw a run. Most are sparse and long, some dense and short."""
    rng = random.Random(f"plan/{seed}")
    dense = rng.random() < 0.15
    pace = 1
    if dense:
        names = ["trade", "aggTrade", "depth", "bookTicker", "kline_1m", "ticker", "depth5"]
        chosen = rng.sample(names, rng.randint(2, 4))
        rate, length = rng.choice([0.2, 1.0]), 1.0
    else:
        chosen = rng.sample(["trade", "aggTrade"], rng.randint(1, 2))
        if rng.random() < 0.1:
            chosen.append("kline_1m")
        rate, length = rng.choice([0.005, 0.02, 0.05]), rng.choice([4.0, 12.0])
        if rng.random() < 0.85:
            pace, rate, length = SLOW_PACE, rng.choice([0.001, 0.003]), rng.choice([168.0, 336.0])
    length = length if hours is None else hours
    if length < 24:
        pace, rate = 1, max(rate, 0.02)
    horizon = length * 3600
    two_venues = rng.random() < 0.3
    endpoints = ["a", "b", "c"] if two_venues else ["a", "b"]
    calm = CALM_S * pace
    schedule: list[Fault] = []
    if faults:
        schedule = draw_schedule(
            rng,
            endpoints,
            max(60.0, horizon - calm),
            mean_interval_s=rng.choice([300.0, 1200.0] if dense else [1200.0, 3600.0]) * pace**0.5,
            max_duration_s=rng.choice([60.0, 600.0, 3000.0]),
            kinds=DRAWN_KINDS,
            rest=["first.rest"],
        )
        schedule = [
            msgspec.structs.replace(item, duration=min(item.duration or 5.0, 5.0))
            if item.kind in TEDIOUS
            else item
            for item in schedule
            if item.at + item.duration < horizon - calm
        ]
    late = horizon - calm
    return Plan(
        seed=seed,
        hours=length,
        streams=tuple(f"btcusdt@{name}" for name in chosen),
        rate=rate,
        redundancy=2 if rng.random() < 0.3 else 1,
        two_venues=two_venues,
        faults=tuple(schedule),
        slow_consumer=faults and rng.random() < 0.15,
        suspends=tuple(rng.uniform(0, late) for _ in range(2)) if faults else (),
        wall_jumps=((rng.uniform(0, late), rng.uniform(-3600, 3600)),) if faults else (),
        rotate_after=rng.choice([3600.0, 82_800.0]),
        overflow="drop" if rng.random() < 0.1 else "block",
        pace=pace,
    )


def command(plan: Plan) -> str:
    """The command line that repeats a run."""
    quiet = "" if plan.faults else " --no-faults"
    return f"python tests/simulation.py --seed {plan.seed} --length {plan.hours:g}{quiet}"
