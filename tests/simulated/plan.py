"""What a seed decides: venues, market, settings, faults, and the consumer."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import msgspec

from k2trio.market.streams import by_route
from k2trio.simulator import Fault, FaultKind, draw_schedule

from .takeovers import length_of, with_takeovers

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .takeovers import Takeovers

CALM_S = 900.0
"""The end of every run is free of faults (times ``Plan.pace``): it must have converged by then."""
SLOW_PACE = 12
"""Most long runs have every keep-alive and health timeout scaled by this, to cover more days."""
PRODUCTS = ("spot", "usdm")
DRAWN = "drawn"
"""Stands for either."""
DRAWN_KINDS = tuple(kind for kind in FaultKind if kind is not FaultKind.ZERO_WINDOW)
TEDIOUS = {FaultKind.SEGMENTED, FaultKind.EMPTY_FRAGMENTS, FaultKind.PING_FLOOD}
"""Kinds that make so many steps that they are kept short."""
GHOST_SYMBOL = "ghostusdt"
GHOST = f"{GHOST_SYMBOL}@trade"
"""A stream of a symbol that no venue has: accepted, silent, and unknown to REST."""
FULL_WEIGHT, SHORT_WEIGHT = 6000, 300
"""REST weight of a minute that a venue grants: what it really does, and too little for a crowd."""
FUTURES_WEIGHT = 2400
"""What the venues of futures grant."""
FULL_WISH = 3000
"""REST weight of a minute that the client takes by default."""


@dataclass(frozen=True)
class Plan:
    """What a seed decides.

    :ivar rest_hosts: REST hosts of each venue, which share one quota.
    :ivar rest_weight: weight a minute that a venue grants.
    :ivar neighbour: whether another program of the address shares the budgets.
    :ivar kinds: of faults that were drawn from; empty: all.
    :ivar time_unit: that the client asks for.
    :ivar heeds_unit: whether connections of the first venue, and its REST hosts, know what it is
        asked. The second venue's do not.
    :ivar product: what is traded.
    :ivar retells: whether partial books are told anew when only levels below them changed.
    :ivar takeovers: given, what the run brings is a log that several members write in turn.
    """

    seed: int
    hours: float
    symbols: tuple[str, ...]
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
    rest_hosts: int
    rest_weight: int
    pace: int = 1
    neighbour: bool = False
    kinds: tuple[FaultKind, ...] = ()
    time_unit: str = "ms"
    heeds_unit: tuple[bool, bool] = (True, True)
    takeovers: Takeovers | None = None
    product: str = "spot"
    retells: bool = True

    @property
    def calm_s(self) -> float:
        """Length of the fault-free end, seconds."""
        return CALM_S * self.pace

    @property
    def horizon_s(self) -> float:
        """Length of the run."""
        return self.hours * 3600

    @property
    def known_streams(self) -> list[str]:
        """The streams that the venues have."""
        return [stream for stream in self.streams if not stream.startswith(GHOST_SYMBOL)]

    def carried(self, line: str) -> tuple[str, list[str]]:
        """The route of a line, by its name, and its streams."""
        return list(by_route(self.streams, self.product).items())[int(line.rstrip("ab"))]

    def has(self, *kinds: FaultKind) -> bool:
        """Whether a fault of one of the kinds is planned."""
        return any(fault.kind in kinds for fault in self.faults)

    @property
    def may_repeat_ids(self) -> bool:
        """Whether an id may mean two messages."""
        return self.has(FaultKind.IDS_RESET, FaultKind.ABSURD_KEY, FaultKind.SHARED_ID)

    @property
    def rest_is_sound(self) -> bool:
        """Whether REST never fails, and has weight for all."""
        rest = any(fault.kind.startswith("rest_") for fault in self.faults)
        return not rest and self.rest_weight >= FUTURES_WEIGHT


def make_plan(
    seed: int,
    hours: float | None = None,
    *,
    faults: bool = True,
    kinds: Sequence[FaultKind] = (),
    takeovers: bool = False,
    product: str = "spot",
) -> Plan:
    """Draw a run. Most are sparse and long, some dense and short, a few crowded.

    :param kinds: of faults; default: all.
    :param takeovers: whether its log changes hands.
    :param product: what is traded; of futures the seed decides the route. ``DRAWN``: it decides
        that, too.
    """
    if product == DRAWN:
        # By itself as well: of either product a seed is what it is where that product is named.
        product = random.Random(f"which product/{seed}").choice(PRODUCTS)
    if takeovers and hours is None:
        hours = length_of(seed)
    rng = random.Random(f"plan/{seed}")
    dense = rng.random() < 0.15
    crowd = rng.random() < 0.15
    symbols = ["BTCUSDT"]
    pace = 1
    if dense and crowd:
        symbols += [f"C{number:02}USDT" for number in range(rng.randint(5, 39))]
        chosen = ["depth", "aggTrade"]
        rate, length = 0.05, 1.0
    elif dense:
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
    rest_hosts = 2 if rng.random() < 0.3 else 1
    calm = CALM_S * pace
    schedule: list[Fault] = []
    intervals = [300.0, 1200.0] if dense else [1200.0, 3600.0]
    if takeovers:
        intervals = [60.0, 300.0]
    if faults:
        schedule = draw_schedule(
            rng,
            endpoints,
            max(60.0, horizon - calm),
            mean_interval_s=rng.choice(intervals) * pace**0.5,
            max_duration_s=rng.choice([60.0, 600.0, 3000.0]),
            kinds=kinds or DRAWN_KINDS,
            rest=[rest_name("first", number) for number in range(rest_hosts)],
        )
        schedule = [
            msgspec.structs.replace(item, duration=min(item.duration or 5.0, 5.0))
            if item.kind in TEDIOUS
            else item
            for item in schedule
            if item.at + item.duration < horizon - calm
        ]
    late = horizon - calm
    streams = [f"{symbol.lower()}@{name}" for symbol in symbols for name in chosen]
    if rng.random() < 0.1:
        streams.append(GHOST)
    # Drawn by itself, so that what else a seed decides is what it was before.
    more = random.Random(f"plan/{seed}/more")
    if more.random() < 0.2:
        streams.append("btcusdt@blockTrade")
    plan = Plan(
        seed=seed,
        hours=length,
        symbols=tuple(symbols),
        streams=tuple(streams),
        rate=rate,
        redundancy=2 if rng.random() < 0.3 else 1,
        two_venues=two_venues,
        faults=tuple(schedule),
        slow_consumer=faults and rng.random() < 0.15,
        suspends=tuple(rng.uniform(0, late) for _ in range(2)) if faults else (),
        wall_jumps=((rng.uniform(0, late), rng.uniform(-3600, 3600)),) if faults else (),
        rotate_after=rng.choice([3600.0, 82_800.0]),
        overflow="drop" if rng.random() < 0.1 else "block",
        rest_hosts=rest_hosts,
        rest_weight=SHORT_WEIGHT if faults and dense and rng.random() < 0.5 else FULL_WEIGHT,
        pace=pace,
        # Drawn apart, so that no other draw depends on it; long runs have no time for it.
        neighbour=dense and random.Random(f"neighbour/{seed}").random() < 0.5,
        kinds=tuple(kinds),
        time_unit=more.choice(["ms", "us"]),
        heeds_unit=(more.random() < 0.8, more.random() < 0.8),
        retells=more.random() < 0.5,
    )
    if takeovers:
        plan = with_takeovers(plan)
    return plan if product == "spot" else _of_futures(plan, product)


ROUTED = (
    {"trade": "bookTicker", "aggTrade": "depth@500ms", "kline_1m": "depth5", "ticker": "depth20"},
    {"trade": "aggTrade", "depth": "kline_1m", "bookTicker": "ticker", "depth5": "miniTicker"},
)
"""What streams of futures stand for those of spot, if all are to be of one route."""
MIXED = ({"trade": "markPrice"}, {"trade": "bookTicker"})
"""The same, if they may be of two."""
NOT_OF_FUTURES = frozenset({FaultKind.SHARED_ID})
"""What tells two messages of one id apart are the trades in them, which need not follow there."""


def _of_futures(plan: Plan, product: str) -> Plan:
    """The same of another product; most on one route."""
    rng = random.Random(f"product/{plan.seed}")
    names = [name for name in plan.streams if not name.endswith("@blockTrade")]
    routed = rng.choice(ROUTED if rng.random() < 0.7 else MIXED)
    streams: list[str] = []
    for name in names:
        symbol, _, kind = name.partition("@")
        kept = name == GHOST and "aggTrade" not in routed
        streams.append(f"{symbol}@{'aggTrade' if kept else routed.get(kind, kind)}")
    if "aggTrade" not in routed and rng.random() < 0.5:
        streams.append("!forceOrder@arr")
    return replace(
        plan,
        product=product,
        streams=tuple(dict.fromkeys(streams)),
        time_unit="ms",
        faults=tuple(fault for fault in plan.faults if fault.kind not in NOT_OF_FUTURES),
        rest_weight=min(plan.rest_weight, FUTURES_WEIGHT),
    )


def rest_name(venue: str, number: int) -> str:
    """What faults call a REST host of a venue."""
    return f"{venue}.rest{number}"


def command(plan: Plan) -> str:
    """The command line that repeats a run."""
    quiet = "" if plan.faults else " --no-faults"
    kinds = "".join(f" --kind {kind}" for kind in plan.kinds)
    hands = " --takeovers" if plan.takeovers else ""
    if plan.product != "spot":
        hands += f" --product {plan.product}"
    return (
        f"python tests/simulation.py --seed {plan.seed} --length {plan.hours:g}"
        f"{quiet}{kinds}{hands}"
    )
