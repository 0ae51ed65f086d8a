"""One run: the client lives through its plan, and what happens is written down."""

from __future__ import annotations

import math
import random
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import trio
import trio.testing
from booktruth import BookTruth

from k2trio.client.opening import open_feed
from k2trio.errors import FeedClosed
from k2trio.market.streams import any_stream, parse_stream
from k2trio.market.venues import venue_of
from k2trio.observe import transitions as on
from k2trio.sharing.stores import Memory

from .determinism import deterministic
from .log import Log
from .members import Group, blocking_calls_in_virtual_time
from .neighbour import live_beside
from .world import make_world

if TYPE_CHECKING:
    from k2trio.client.feed import Feed
    from k2trio.client.opening import FeedOptions
    from k2trio.continuity.items import Item
    from k2trio.observe.transitions import Transition
    from k2trio.policy.failover import Endpoint
    from k2trio.settings import Settings
    from k2trio.simulator import Exchange, MemoryNetwork, Truth
    from k2trio.simulator.rest.quota import Quota

    from .plan import Plan
    from .takeovers import Takeovers

START_S = 1_767_225_600.0


@dataclass
class Run:
    """One run under way, and its diary.

    :ivar diary: (virtual time, transition) of everything that happened.
    :ivar items: what the consumer got; ``times`` says when.
    """

    plan: Plan
    exchanges: dict[str, Exchange]
    settings: Settings
    quotas: dict[str, Quota]
    diary: list[tuple[float, Transition]] = field(default_factory=list)
    items: list[Item] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    counted: Counter[str] = field(default_factory=Counter)
    biggest_outbox: int = 0
    biggest_held: int = 0
    closed_after_s: float = 0.0
    feed: Feed | None = None
    samples: dict[tuple[str, str], float] = field(default_factory=dict)
    duplicates: int = 0
    books: dict[tuple[str, str], BookTruth] = field(default_factory=dict)
    """Venue and symbol → what its book was."""
    group: Group | None = None
    """Who wrote the log that the items are, if several did; nobody else keeps a diary then."""

    @property
    def last_venue(self) -> str:
        """The venue whose endpoint was in use at the end."""
        assert self.feed is not None
        return self.feed.settings.websocket_url.split("//")[1].split(".")[0]

    @property
    def wall_end_ms(self) -> float:
        """The exchange's time at the end; milliseconds."""
        return (START_S + self.plan.horizon_s) * 1000

    def exchange(self, venue: str) -> Exchange:
        """The venue of an item."""
        return self.exchanges[venue.partition(".test")[0]]

    def name_of(self, venue: str) -> str:
        """What items call a venue."""
        return venue_of(f"{venue}.test", self.plan.product)

    def truth(self, venue: str) -> Truth:
        """What the venue of an item did."""
        return self.exchange(venue).truth

    def is_absurd(self, venue: str, stream: str, last: int) -> bool:
        """Whether a key was told, but no key of the market's."""
        told = self.truth(venue).absurd
        key = self.market_key(stream, last)
        return any(message.stream == stream and message.last == key for message in told)

    def market_key(self, stream: str, key: int) -> int:
        """A key as the market has it: a time in milliseconds."""
        if not parse_stream(stream, self.plan.product).order.timed:
            return key
        return key // self.settings.unit.per_ms

    def fine(self, venue: str) -> bool:
        """Whether a venue tells times in the unit that was asked for."""
        return self.plan.time_unit == "ms" or (
            venue.startswith("first") and self.plan.heeds_unit[0]
        )

    def sample(self, name: str, label: str = "") -> float:
        """A metric at the end of the run; ``label`` is the value of its one label."""
        return self.samples.get((name, label), 0.0)


def wall_time(plan: Plan, now: float) -> float:
    """What the wall clock shows at a time of the run."""
    return START_S + now + sum(by for at, by in plan.wall_jumps if at <= now)


def arrival(plan: Plan, received: float, by: float = math.inf) -> float:
    """The time of the run at which the wall clock showed ``received``; the last one, if twice.

    :param by: by when that was, at the latest.
    """
    edges = sorted(at for at, _ in plan.wall_jumps)
    for since, until in reversed(list(zip([0.0, *edges], [*edges, plan.horizon_s], strict=True))):
        at = received - (wall_time(plan, since) - since)
        if since <= at + 1e-6 and at <= min(until, by):
            return at
    return received - START_S


def live(plan: Plan) -> Run:
    """Run a plan without checking it."""
    with deterministic(plan.seed):
        return trio.run(run_plan, plan, clock=new_clock())


def new_clock() -> trio.testing.MockClock:
    """A clock that jumps to the next thing that happens."""
    return trio.testing.MockClock(autojump_threshold=0)


async def run_plan(plan: Plan) -> Run:
    """Let the client live through a plan."""
    network, exchanges, settings, quotas = make_world(plan)
    run = Run(plan, exchanges, settings, quotas)
    kept = {any_stream(name).symbol for name in plan.streams if "@depth" in name}
    for venue, exchange in exchanges.items():
        for symbol in kept & exchange.market.symbols.keys():
            run.books[run.name_of(venue), symbol] = BookTruth(exchange.market.symbols[symbol])

    def wall_clock() -> float:
        return wall_time(plan, trio.current_time())

    def suspended() -> float:
        now = trio.current_time()
        return sum(100.0 for at in plan.suspends if at <= now)

    async def dial(endpoint: Endpoint) -> trio.abc.Stream:
        return await network.dial(endpoint.host, endpoint.port)

    async def consume(feed: Feed) -> None:
        rng = random.Random(f"consumer/{plan.seed}")
        with suppress(FeedClosed):  # as soon as the run leaves the feed, below
            async for batch in feed.batches():
                run.items += batch
                run.times += [trio.current_time()] * len(batch)
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
            alive = any(line.connected for line in run.feed.lines if line.name == what.line)
            run.counted["lost_while_connected"] += alive and plan.redundancy == 1

    options: FeedOptions = {
        "dial": dial,
        "log": False,
        "wall_clock": wall_clock,
        "suspended": suspended,
        "backfill_transport": network.rest_transport(),
        "ledger": Memory() if plan.neighbour or plan.takeovers else None,
    }
    ledger = options["ledger"] if plan.neighbour else None
    async with trio.open_nursery() as nursery:
        await nursery.start(network.run)
        if ledger is not None:
            for exchange in exchanges.values():
                quota = run.quotas[exchange.venue]
                nursery.start_soon(live_beside, ledger, plan, exchange, quota, network.client)
        if plan.takeovers is not None:
            nursery.start_soon(_withdraw, network, plan.horizon_s - plan.calm_s)
            await _write_in_turn(run, plan.takeovers, options)
            nursery.cancel_scope.cancel()
            return run
        options["observers"] = [observe]
        options["rng"] = random.Random(f"jitter/{plan.seed}")
        async with open_feed(settings=settings, **options) as feed:
            run.feed = feed
            nursery.start_soon(consume, feed)
            nursery.start_soon(measure, feed)
            await trio.sleep(plan.horizon_s - plan.calm_s)
            network.faults.withdraw()
            await trio.sleep_until(plan.horizon_s)
            run.items += feed.drain()
            run.times += [trio.current_time()] * (len(run.items) - len(run.times))
            run.duplicates = feed.status().duplicates
            for metric in feed.metrics.registry.collect():
                for sample in metric.samples:
                    label = ",".join(sample.labels.values())
                    run.samples[sample.name, label] = sample.value
            closing_at = trio.current_time()
        run.closed_after_s = trio.current_time() - closing_at
        nursery.cancel_scope.cancel()
    return run


async def _withdraw(network: MemoryNetwork, at: float) -> None:
    await trio.sleep_until(at)
    network.faults.withdraw()


async def _write_in_turn(run: Run, takeovers: Takeovers, options: FeedOptions) -> None:
    """Let members write the log that the run's items are."""
    seed = run.plan.seed
    log = Log(random.Random(f"log/{seed}"), takeovers.away)
    run.items, run.times = log.items, log.times
    run.group = Group(seed, takeovers, run.settings, log, options)
    with blocking_calls_in_virtual_time(seed):
        await run.group.run(run.plan.horizon_s)
    run.feed = run.group.last_feed
