"""Deterministic simulation: the whole client against the simulated exchange, in virtual time.

A seed decides everything: the venues, the market, the settings, the faults, the consumer, and the
order in which Trio runs its tasks. After each run every invariant is checked against what the
exchange itself recorded. Run one seed again with::

    python tests/simulation.py --seed 17

and as many hours as wanted with ``nox -s simulation -- --hours 10000``.

The deterministic scheduling of Trio is private to it, so Trio's version is pinned for the tests,
and ``test_simulation.py`` has a canary that a seed gives the same trace twice.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import hashlib
import itertools
import math
import random
import struct
import sys
import time
import types
from collections import Counter, defaultdict, deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec
import trio
import trio._core._run as trio_run
import trio.testing
import trio_websocket
import wsproto.frame_protocol
import wsproto.utilities

from k2trio.client import suspend
from k2trio.client.opening import open_feed
from k2trio.continuity.items import Gap, Outage
from k2trio.continuity.klines import KlineTrack
from k2trio.market.payloads import Event
from k2trio.observe import transitions as on
from k2trio.settings import Settings
from k2trio.simulator import (
    Exchange,
    Fault,
    FaultBoard,
    FaultKind,
    Limits,
    Market,
    MemoryNetwork,
    RestServer,
    draw_schedule,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from k2trio.client.feed import Feed
    from k2trio.continuity.items import Item
    from k2trio.observe.transitions import Transition
    from k2trio.policy.failover import Endpoint

CALM_S = 900.0
"""The end of every run is free of faults (times ``Plan.pace``): it must have converged by then."""
SLOW_PACE = 12
"""Most long runs have every keep-alive and health timeout scaled by this, to cover more days."""
START_S = 1_767_225_600.0
ATTEMPT_KINDS = tuple(kind for kind in FaultKind if kind is not FaultKind.ZERO_WINDOW)
TEDIOUS = {FaultKind.SEGMENTED, FaultKind.EMPTY_FRAGMENTS, FaultKind.PING_FLOOD}
"""Kinds that make so many steps that they are kept short."""


class Violation(AssertionError):  # noqa: N818 - an invariant is violated
    """An invariant does not hold."""


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
    faults: Counter[str] = field(default_factory=Counter)
    trace: str = ""
    steps: int = 0


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
            kinds=ATTEMPT_KINDS,
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


class Trace(trio.abc.Instrument):
    """Hash of every step of every task: (virtual time, serial of the task, its name)."""

    def __init__(self) -> None:
        self.hash = hashlib.blake2b(digest_size=16)
        self.steps = 0
        self._base: int | None = None

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        """Add a step."""
        if self._base is None:
            self._base = task._counter
        self.steps += 1
        self.hash.update(struct.pack("<dq", trio.current_time(), task._counter - self._base))
        self.hash.update(task.name.encode())


@contextlib.contextmanager
def deterministic(seed: int) -> Iterator[None]:
    """Make a Trio run repeat: scheduler order, masks, nonces, ping payloads, finalizers."""
    saved = (
        trio_run._ALLOW_DETERMINISTIC_SCHEDULING,
        trio_run._r.getstate(),
        random.getstate(),
        wsproto.utilities.os,
        wsproto.frame_protocol.os,
        suspend.SUSPEND_CHECK_S,
    )
    try:
        trio_run._ALLOW_DETERMINISTIC_SCHEDULING = True
        trio_run._r.seed(seed)
        random.seed(seed)
        fake = types.SimpleNamespace(urandom=random.Random(seed).randbytes)
        wsproto.utilities.os = wsproto.frame_protocol.os = fake
        trio_websocket.WebSocketConnection.CONNECTION_ID = itertools.count()
        # Looking for a suspend every 5 s would be most of what a quiet hour does.
        suspend.SUSPEND_CHECK_S = 60.0
        gc.collect()
        gc.disable()
        yield
    finally:
        gc.enable()
        trio_run._ALLOW_DETERMINISTIC_SCHEDULING = saved[0]
        trio_run._r.setstate(saved[1])
        random.setstate(saved[2])
        wsproto.utilities.os, wsproto.frame_protocol.os, suspend.SUSPEND_CHECK_S = saved[3:]


@dataclass
class Run:
    """One run under way, and its diary."""

    plan: Plan
    exchanges: dict[str, Exchange]
    settings: Settings
    diary: list[tuple[float, Transition]] = field(default_factory=list)
    items: list[Item] = field(default_factory=list)
    counted: Counter[str] = field(default_factory=Counter)
    biggest_outbox: int = 0
    biggest_held: int = 0
    closed_after_s: float = 0.0
    feed: Feed | None = None
    samples: dict[tuple[str, str], float] = field(default_factory=dict)
    duplicates: int = 0

    def sample(self, name: str, label: str = "") -> float:
        """A metric at the end of the run; ``label`` is the value of its one label."""
        return self.samples.get((name, label), 0.0)


def run_seed(
    seed: int,
    hours: float | None = None,
    *,
    faults: bool = True,
    plan: Plan | None = None,
    trace: bool = False,
) -> Report:
    """Run one seed and check every invariant; ``trace`` adds the hash of all its steps.

    :raises Violation: naming the invariant and the command that runs the seed again.
    """
    plan = make_plan(seed, hours, faults=faults) if plan is None else plan
    steps = Trace()
    with deterministic(seed):
        clock = trio.testing.MockClock(autojump_threshold=0)
        try:
            run = trio.run(_live, plan, clock=clock, instruments=[steps] if trace else [])
            report = check(run)
        except Violation as violation:
            raise Violation(f"{violation}\nrun again: {command(plan)}") from None
        except BaseException as error:
            error.add_note(f"run again: {command(plan)}")
            raise
    report.trace = steps.hash.hexdigest() if trace else ""
    report.steps = steps.steps
    return report


def live(plan: Plan) -> Run:
    """Run a plan without checking it."""
    with deterministic(plan.seed):
        clock = trio.testing.MockClock(autojump_threshold=0)
        return trio.run(_live, plan, clock=clock)


def command(plan: Plan) -> str:
    """The command that repeats a run."""
    quiet = "" if plan.faults else " --no-faults"
    return f"python tests/simulation.py --seed {plan.seed} --length {plan.hours:g}{quiet}"


def _world(plan: Plan) -> tuple[MemoryNetwork, dict[str, Exchange], Settings]:
    board = FaultBoard(plan.faults)
    network = MemoryNetwork(board)
    places = {"a": "first", "b": "first"} | ({"c": "second"} if plan.two_venues else {})
    exchanges: dict[str, Exchange] = {}
    for endpoint, venue in places.items():
        if venue not in exchanges:
            market = Market(
                ["BTCUSDT"], seed=plan.seed + len(exchanges), rate=plan.rate, history=200_000
            )
            limits = Limits(ping_interval_s=20 * plan.pace, pong_timeout_s=60 * plan.pace)
            exchanges[venue] = Exchange(
                venue, market, faults=board, limits=limits, tick_s=0, record=plan.streams
            )
            network.add_rest(f"{venue}.test", RestServer(exchanges[venue], f"{venue}.rest"))
        network.add(f"{venue}.test", 1000 + ord(endpoint), exchanges[venue], endpoint)
    urls = [f"wss://{venue}.test:{1000 + ord(name)}/stream" for name, venue in places.items()]
    settings = Settings(
        websocket_url=urls[0],
        failover_urls=urls[1:],
        rest_urls=[f"https://{venue}.test" for venue in exchanges],
        streams=plan.streams,
        max_reconnect_attempts=0,
        redundancy=plan.redundancy,
        rotate_after=plan.rotate_after,
        overflow=plan.overflow,
        max_buffered_messages=2000,
        max_held_messages=20_000,
        transport_timeout=45 * plan.pace,
        health_check_interval=30 * plan.pace,
        health_check_timeout=60 * plan.pace,
    )
    return network, exchanges, settings


async def _live(plan: Plan) -> Run:
    network, exchanges, settings = _world(plan)
    run = Run(plan, exchanges, settings)

    def wall_clock() -> float:
        now = trio.current_time()
        return START_S + now + sum(by for at, by in plan.wall_jumps if at <= now)

    def suspended() -> float:
        now = trio.current_time()
        return sum(100.0 for at in plan.suspends if at <= now)

    async def dial(endpoint: Endpoint) -> trio.abc.Stream:
        return await network.dial(endpoint.host, endpoint.port)

    async def consume(feed: Feed) -> None:
        rng = random.Random(f"consumer/{plan.seed}")
        async for batch in feed.batches():
            run.items += batch
            left = plan.horizon_s - plan.calm_s - trio.current_time()
            if plan.slow_consumer and left > 0 and rng.random() < 0.002:
                await trio.sleep(min(left, rng.uniform(1, 900)))

    async def measure(feed: Feed) -> None:
        while True:
            await trio.sleep(60)
            run.biggest_outbox = max(run.biggest_outbox, feed._outbox.size)
            held = sum(len(track.held) for track in feed._arbiter.tracks)
            run.biggest_held = max(run.biggest_held, held)

    def observe(what: Transition) -> None:
        run.diary.append((trio.current_time(), what))
        if isinstance(what, on.ConnectionLost) and what.carrying and run.feed is not None:
            alive = any(line.connected for line in run.feed.lines)
            run.counted["lost_while_connected"] += alive and plan.redundancy == 1

    async with trio.open_nursery() as nursery:
        await nursery.start(network.run)
        async with open_feed(
            settings=settings,
            dial=dial,
            observers=[observe],
            rng=random.Random(f"jitter/{plan.seed}"),
            wall_clock=wall_clock,
            suspended=suspended,
            backfill_transport=network.rest_transport(),
        ) as feed:
            run.feed = feed
            nursery.start_soon(consume, feed)
            nursery.start_soon(measure, feed)
            await trio.sleep(plan.horizon_s)
            run.items += feed.drain()
            run.duplicates = feed.status().duplicates
            for metric in feed.metrics.registry.collect():
                for sample in metric.samples:
                    label = ",".join(sample.labels.values())
                    run.samples[sample.name, label] = sample.value
            closing_at = trio.current_time()
        run.closed_after_s = trio.current_time() - closing_at
        nursery.cancel_scope.cancel()
    return run


# -- invariants ---------------------------------------------------------------------------------


def check(run: Run) -> Report:
    """Check every invariant of a run that has ended.

    :raises Violation: for the first one that does not hold.
    """
    _check_tiling(run)
    _check_dials(run)
    _check_breakers(run)
    _check_client_messages(run)
    _check_bounds(run)
    _check_metrics(run)
    _check_calm(run)
    _check_convergence(run)
    _check_repair(run)
    counts = Counter(type(what).__name__ for _, what in run.diary)
    events = [item for item in run.items if isinstance(item, Event)]
    assert run.feed is not None
    return Report(
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
        faults=Counter(str(fault.kind) for fault in run.plan.faults),
    )


def _demand(condition: bool, invariant: int, message: str) -> None:
    if not condition:
        raise Violation(f"invariant {invariant}: {message}")


def _check_tiling(run: Run) -> None:
    """1, 2: delivered, in order = emitted - declared; no duplicates; each venue by its own ids."""
    assert run.feed is not None
    expected: dict[tuple[str, str], int] = {}
    emitted = {
        (venue, stream): exchange.truth.ranges(stream)
        for venue, exchange in run.exchanges.items()
        for stream in run.plan.streams
        if stream.endswith(("@trade", "@aggTrade"))
    }
    sampled = random.Random(run.plan.seed)
    for item in run.items:
        if isinstance(item, Outage):
            continue
        track = run.feed._arbiter.track(item.venue, item.stream)
        key = item.venue, item.stream
        venue = item.venue.removesuffix(".test")
        if isinstance(track, KlineTrack):
            _check_kline(item, track, expected, key)
            continue
        if isinstance(item, Gap):
            first, last = item.first, item.last
        elif item.origin == "snapshot":
            continue
        else:
            first, last = track.first_of(item.data), track.last_of(item.data)
        if not track.contiguous:
            _demand(last >= expected.get(key, last), 1, f"{key} went back to {last}")
            expected[key] = last + 1
            continue
        due = expected.get(key, first)
        # A diff that joins a snapshot may begin before it; nothing else may.
        joins = track.stream.kind == "depth" and first <= due <= last
        _demand(first == due or joins, 1, f"{key}: expected {due}, got {item}")
        expected[key] = last + 1
        if isinstance(item, Event) and (venue, item.stream) in emitted:
            ranges = emitted[venue, item.stream]
            known = any(low <= first and last <= high for low, high in ranges)
            _demand(known, 2, f"{key}: {first} was never emitted there")
            if sampled.random() < 0.02:
                _check_payload(run.exchanges[venue], item, last)


def _check_payload(exchange: Exchange, event: Event, last: int) -> None:
    true = exchange.truth.payload(event.stream, last)
    if true is None:
        return
    if event.origin == "live":
        _demand(event.raw == true, 2, f"payload of {event.stream} {last} differs: {event.raw!r}")
    else:
        price = f'"p":"{event.data.price}"'.encode()
        _demand(price in true, 2, f"repaired {event.stream} {last} has another price")


def _check_kline(
    item: Event | Gap, track: KlineTrack, expected: dict[tuple[str, str], int], key: tuple[str, str]
) -> None:
    if isinstance(item, Gap):
        due = expected.get(key, item.first)
        _demand(item.first == due, 1, f"{key}: expected the bar of {due}, got {item}")
        expected[key] = track._after(item.last)
        return
    bar = item.data.bar
    due = expected.get(key, bar.open_time)
    _demand(bar.open_time == due, 1, f"{key}: expected the bar of {due}, got {bar}")
    expected[key] = track._after(bar.open_time) if bar.closed else bar.open_time


def _check_dials(run: Run) -> None:
    """3, 12: dials respect delay and budget; a retry waits at least half its nominal delay."""
    budget: dict[str, deque[float]] = defaultdict(lambda: deque(maxlen=301))
    planned: dict[str, float] = {}
    for at, what in run.diary:
        if isinstance(what, on.Reconnecting):
            _demand(what.wait_s >= what.delay_s / 2 - 1e-6, 12, f"at {at:.3f}: {what}")
            planned[what.line] = at + what.wait_s
        elif isinstance(what, on.Dialing):
            due = planned.get(what.line, at)
            _demand(what.attempt == 0 or at >= due - 1e-6, 3, f"dialled early at {at:.3f}: {what}")
            dials = budget[what.venue]
            dials.append(at)
            crowded = len(dials) == 301 and dials[-1] - dials[0] < 300 - 1e-6
            _demand(not crowded, 3, f"more than 300 dials in 5 minutes at {at:.3f}")
    for venue, exchange in run.exchanges.items():
        times = [attempt.time for attempt in exchange.truth.attempts]
        for early, late in zip(times, times[300:], strict=False):
            _demand(late - early >= 299, 3, f"{venue} saw more than 300 attempts in 5 minutes")


def _check_breakers(run: Run) -> None:
    """4: only legal transitions, and no dial while OPEN."""
    legal = {("closed", "open"), ("open", "half_open"), ("half_open", "open"),
             ("half_open", "closed")}  # fmt: skip
    states: dict[str, str] = {}
    dialling: dict[tuple[float, str], bool] = {}
    for at, what in run.diary:
        if isinstance(what, on.BreakerChanged):
            old = states.get(what.name, "closed")
            _demand(what.old == old and (old, what.new) in legal, 4, f"at {at:.3f}: {what}")
            states[what.name] = what.new
        elif isinstance(what, on.Connected):
            _demand(states.get(what.endpoint) != "open", 4, f"connected while open: {what}")
    del dialling


def _check_client_messages(run: Run) -> None:
    """5: at most 5 client messages a second per connection."""
    for exchange in run.exchanges.values():
        recent: dict[int, deque[float]] = defaultdict(lambda: deque(maxlen=6))
        for message in exchange.truth.client_messages:
            times = recent[message.connection]
            times.append(message.time)
            flood = len(times) == 6 and times[-1] - times[0] < 1
            _demand(not flood, 5, f"6 client messages within a second at {message.time:.3f}")


def _check_bounds(run: Run) -> None:
    """6, 7: buffers within their bounds; everything gone within the shutdown bound."""
    most = run.settings.max_buffered_messages + 5000  # one batch per producer
    _demand(run.biggest_outbox <= most, 6, f"{run.biggest_outbox} messages buffered")
    held = run.settings.max_held_messages * len(run.plan.streams) * 2
    _demand(run.biggest_held <= held, 6, f"{run.biggest_held} messages held")
    bound = run.settings.close_timeout + 1
    _demand(run.closed_after_s <= bound, 7, f"closing took {run.closed_after_s:.3f} s")


def _check_metrics(run: Run) -> None:
    """8, 9: metrics equal the truth; the status is never 1 without a connection."""
    reasons = Counter(what.reason for _, what in run.diary if isinstance(what, on.Reconnecting))
    for reason, count in reasons.items():
        shown = run.sample("k2_binance_reconnects_total", reason)
        _demand(shown == count, 8, f"reconnects {reason}: shown {shown}, true {count}")
    connects = Counter(what.endpoint for _, what in run.diary if isinstance(what, on.Connected))
    for endpoint, count in connects.items():
        shown = run.sample("k2_binance_connects_total", endpoint)
        _demand(shown == count, 8, f"connects {endpoint}: shown {shown}, true {count}")
    repaired = sum(isinstance(item, Event) and item.origin == "backfill" for item in run.items)
    shown = run.sample("k2_binance_repaired_messages_total")
    dropped = run.sample("k2_binance_dropped_messages_total")
    _demand(shown - dropped <= repaired <= shown, 8, f"repaired: shown {shown}, true {repaired}")
    opened = {(what.endpoint, at) for at, what in run.diary if isinstance(what, on.Connected)}
    accepted = sum(
        attempt.outcome in {"accepted", "flapping", "subscribe_dead"}
        for exchange in run.exchanges.values()
        for attempt in exchange.truth.attempts
    )
    _demand(len(opened) <= accepted, 8, f"{len(opened)} connects, but {accepted} were accepted")
    _demand(
        not run.counted["lost_while_connected"], 9, "connected, though the line had just failed"
    )


def _check_calm(run: Run) -> None:
    """11: no faults, no reconnect but planned rotation."""
    if not run.plan.faults and not run.plan.suspends:
        failures = [what for _, what in run.diary
                    if isinstance(what, on.ConnectionLost | on.DialFailed)]  # fmt: skip
        _demand(not failures, 11, f"without any fault: {failures[:1]}")
    late = run.plan.horizon_s - run.plan.calm_s / 3
    failures = [
        what
        for at, what in run.diary
        if at > late and isinstance(what, on.ConnectionLost | on.DialFailed)
    ]
    _demand(not failures, 13, f"still failing long after the last fault: {failures[:1]}")


def _check_convergence(run: Run) -> None:
    """13, 14: connected and complete at the end, and the supervisor is still there."""
    assert run.feed is not None
    _demand(not any(isinstance(what, on.GivingUp) for _, what in run.diary), 14, "gave up")
    status_then = [what for _, what in run.diary if isinstance(what, on.Flowing)]
    _demand(bool(status_then), 13, "no connection ever carried data")
    last_venue = run.feed.settings.websocket_url.split("//")[1].split(".")[0]
    for stream in run.plan.streams:
        if not stream.endswith(("@trade", "@aggTrade")):
            continue
        true = run.exchanges[last_venue].truth.ranges(stream)
        track = run.feed._arbiter.track(f"{last_venue}.test", stream)
        if not true or track.next is None:
            _demand(not true or true[-1][1] - true[0][0] < 3, 13, f"{stream}: nothing delivered")
            continue
        # What was emitted in the last moments may be on its way.
        behind = true[-1][1] - (track.next - 1)
        _demand(behind <= math.ceil(run.plan.rate * 5) + 12, 13, f"{stream}: {behind} ids behind")
        _demand(not track.held, 13, f"{stream}: {len(track.held)} messages still held")


def _check_repair(run: Run) -> None:
    """15: while REST works, what can be repaired is repaired."""
    if any(fault.kind.startswith("rest_") for fault in run.plan.faults):
        return
    for item in run.items:
        if isinstance(item, Gap) and item.stream.endswith(("@trade", "@aggTrade")):
            excused = item.reason in ("jump", "overflow", "hold_overflow")
            _demand(excused, 15, f"REST was sound, yet {item}")


# -- command line -------------------------------------------------------------------------------


def campaign(first: int, hours: float, length: float | None, *, faults: bool = True) -> Report:
    """Run seeds from ``first`` on until so many hours are simulated; print as it goes."""
    total = Report(first, 0.0)
    started = time.perf_counter()
    seed = first
    while total.hours < hours:
        report = run_seed(seed, length, faults=faults)
        total.hours += report.hours
        for name in ("delivered", "repaired", "missing", "outages", "duplicates", "dials",
                     "reconnects", "rotations", "steps"):  # fmt: skip
            setattr(total, name, getattr(total, name) + getattr(report, name))
        total.faults += report.faults
        seed += 1
        if (seed - first) % 10 == 0:
            _print_total(total, seed - first, time.perf_counter() - started)
    _print_total(total, seed - first, time.perf_counter() - started)
    print("faults:", dict(sorted(total.faults.items())), f"{len(total.faults)} kinds")  # noqa: T201
    return total


def _print_total(total: Report, seeds: int, seconds: float) -> None:
    print(  # noqa: T201
        f"{seeds} seeds, {total.hours:,.0f} simulated hours ({total.hours / 24:,.0f} days) in "
        f"{seconds:,.0f} s = {total.hours / seconds:.1f} h/s; {total.delivered:,} delivered, "
        f"{total.repaired:,} repaired, {total.missing:,} declared missing, "
        f"{total.reconnects:,} reconnects, {total.rotations:,} rotations, no violation",
        flush=True,
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line of the simulation."""
    parser = argparse.ArgumentParser(description="Run the client against a simulated exchange.")
    parser.add_argument("--seed", type=int, help="run this one seed")
    parser.add_argument("--first", type=int, default=0, help="first seed of a campaign")
    parser.add_argument("--hours", type=float, default=100.0, help="simulated hours of a campaign")
    parser.add_argument("--length", type=float, help="hours per seed; default: the seed decides")
    parser.add_argument("--no-faults", action="store_true", help="a calm exchange")
    parser.add_argument("--diary", action="store_true", help="print what happened (with --seed)")
    options = parser.parse_args(arguments)
    try:
        if options.seed is None:
            campaign(options.first, options.hours, options.length, faults=not options.no_faults)
        elif options.diary:
            plan = make_plan(options.seed, options.length, faults=not options.no_faults)
            print_diary(plan)
        else:
            print(run_seed(options.seed, options.length, faults=not options.no_faults, trace=True))  # noqa: T201
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
    for at, what in sorted(run.diary, key=lambda entry: entry[0]):
        print(f"{at:12.3f} {what}")  # noqa: T201
    for item in run.items:
        if not isinstance(item, Event):
            print(item)  # noqa: T201


if __name__ == "__main__":
    sys.exit(main())
