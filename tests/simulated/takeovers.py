"""How the log of a run changes hands: drawn beside all that goes wrong at the exchange."""

from __future__ import annotations

import dataclasses
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import msgspec

if TYPE_CHECKING:
    from k2trio.simulator import Fault

    from .plan import Plan

KINDS = ("trade", "aggTrade", "depth", "bookTicker", "kline_1m", "ticker", "depth5")
LENGTHS_HOURS = (1.0, 4.0)
TOGETHER = 0.3
"""Share of the exchange's faults that are moved to a takeover."""


@dataclass(frozen=True)
class Handover:
    """One of those who write the log loses its shards.

    :ivar at: when; seconds.
    :ivar deed: ``kill``: it dies at once; ``end``: it is told to stop; ``move``: another one is to
        have its shards; ``lose``: others have them already, and it hears of that later.
    :ivar unheard_s: until the others have its shards after ``kill``, or it hears after ``lose``.
    :ivar down_s: until it is started again, if it ended.
    """

    at: float
    deed: Literal["kill", "end", "move", "lose"]
    unheard_s: float
    down_s: float


@dataclass(frozen=True)
class Takeovers:
    """Of a run.

    :ivar away: times (s) at which the log takes nothing for a while, and how long.
    """

    standby: Literal["cold", "hot"]
    shards: int
    commit_interval_s: float
    hot_buffer_s: float
    handovers: tuple[Handover, ...]
    away: tuple[tuple[float, float], ...]


def length_of(seed: int) -> float:
    """How long such a run is, hours: what happens at a takeover is dense."""
    return random.Random(f"takeovers/{seed}/length").choice(LENGTHS_HOURS)


def with_takeovers(plan: Plan) -> Plan:
    """The plan, with its log written by members that come and go."""
    rng = random.Random(f"takeovers/{plan.seed}/plan")
    last = plan.horizon_s - plan.calm_s
    every_s = rng.choice([60.0, 200.0, 600.0])
    handovers: list[Handover] = []
    at = rng.expovariate(1 / every_s)
    while at < last:
        deed = rng.choice(["kill", "kill", "end", "move", "lose"])
        down_s = rng.choice([1.0, 1.0, 30.0, 300.0])
        handovers.append(Handover(at, deed, rng.uniform(1, 20), down_s))
        at += 1 + rng.expovariate(1 / every_s)
    streams = plan.streams
    if len(plan.symbols) == 1:
        names = rng.sample(KINDS, rng.randint(2, 5))
        streams = tuple(f"btcusdt@{name}" for name in names)
    faults: list[Fault] = []
    for fault in plan.faults:
        if handovers and rng.random() < TOGETHER:
            at = max(0.0, rng.choice(handovers).at + rng.uniform(-3, 10))
            if at + fault.duration < last:
                fault = msgspec.structs.replace(fault, at=at)
        faults.append(fault)
    return dataclasses.replace(
        plan,
        streams=streams,
        rate=max(plan.rate, rng.choice([0.05, 0.5])),
        slow_consumer=False,
        faults=tuple(sorted(faults, key=lambda fault: fault.at)),
        takeovers=Takeovers(
            standby=rng.choice(["cold", "hot"]),
            shards=rng.randint(1, 3) if len(plan.symbols) > 1 else 1,
            commit_interval_s=rng.choice([0.1, 1.0, 10.0]),
            hot_buffer_s=rng.choice([5.0, 60.0, 600.0]),
            handovers=tuple(handovers),
            away=tuple((rng.uniform(0, last), rng.uniform(0.1, 60)) for _ in range(3)),
        ),
    )
