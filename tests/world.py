"""A simulated world for tests in virtual time: venues, network, feed, and a diary of what happened.

Nothing here touches a socket, a thread or a wall clock, so times in the diary are exact.
"""

from __future__ import annotations

import random
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self, TypeVar

import trio

from k2trio.client.opening import open_feed
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
)

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Sequence

    from k2trio.client.feed import Feed
    from k2trio.continuity.items import Item
    from k2trio.observe.transitions import Observer, Transition
    from k2trio.policy.failover import Endpoint
    from k2trio.wire.dialer import Dialer

START_MS = 1_767_225_600_000
SUBJECT = "btcusdt@trade"
T = TypeVar("T")


def fault(at: float, kind: FaultKind | str, endpoint: str = "a", **parameters: Any) -> Fault:
    """A fault of the given kind."""
    return Fault(at=at, endpoint=endpoint, kind=FaultKind(kind), **parameters)


class SleepTimes(trio.abc.Instrument):
    """When the loop was about to sleep, within the block, and for how long.

    The latter is 0 while there is something to do.
    """

    def __init__(self) -> None:
        self.seen: list[tuple[float, float]] = []

    def __enter__(self) -> Self:
        trio.lowlevel.add_instrument(self)
        return self

    def __exit__(self, *_: object) -> None:
        trio.lowlevel.remove_instrument(self)

    def before_io_wait(self, timeout: float) -> None:
        self.seen.append((trio.current_time(), timeout))


@dataclass
class World:
    """What a test looks at afterwards.

    :ivar diary: (virtual time, transition) of everything that happened to the feed.
    :ivar items: (virtual time, event or gap) as the consumer got them.
    """

    network: MemoryNetwork
    exchanges: dict[str, Exchange]
    rests: dict[str, RestServer]
    settings: Settings
    feed: Feed
    diary: list[tuple[float, Transition]] = field(default_factory=list)
    items: list[tuple[float, Item]] = field(default_factory=list)
    error: Exception | None = None

    def of(self, kind: type[T]) -> list[tuple[float, T]]:
        """The transitions of one kind, with their times."""
        return [(round(at, 6), what) for at, what in self.diary if isinstance(what, kind)]

    def times(self, kind: type[T]) -> list[float]:
        """When the transitions of one kind happened."""
        return [at for at, _ in self.of(kind)]

    def metric(self, sample: str, **labels: str) -> float | None:
        """The value of a sample as a scrape would show it."""
        return self.feed.metrics.registry.get_sample_value(sample, labels)

    @property
    def exchange(self) -> Exchange:
        """The first venue."""
        return next(iter(self.exchanges.values()))

    @property
    def rest(self) -> RestServer:
        """The REST side of the first venue."""
        return next(iter(self.rests.values()))


def place(endpoint: str, venue: str = "venue") -> tuple[str, int]:
    """Host and port of an endpoint; endpoints of one venue share its host name."""
    return f"{venue}.test", 1000 + ord(endpoint[0])


def name(endpoint: str, venue: str = "venue") -> str:
    """The endpoint's name in transitions and metrics."""
    return "{}:{}".format(*place(endpoint, venue))


def make_settings(urls: Sequence[str], **values: Any) -> Settings:
    """Settings without jitter, so that times are exact."""
    given: dict[str, Any] = {
        "websocket_url": urls[0],
        "failover_urls": urls[1:],
        "streams": [SUBJECT],
        "reconnect_jitter": 0,
        **values,
    }
    return Settings(**given)


@asynccontextmanager
async def open_world(
    faults: Sequence[Fault] = (),
    *,
    endpoints: Sequence[str] = ("a", "b"),
    venues: dict[str, str] | None = None,
    strangers: dict[str, Market] | None = None,
    rate: float = 1.0,
    seed: int = 1,
    limits: Limits | None = None,
    strict_symbols: bool = True,
    knows_time_unit: bool = True,
    rest_knows_time_unit: bool = True,
    consume: bool = True,
    settings: dict[str, Any] | None = None,
    suspended: Any = lambda: 0.0,
    observers: Sequence[Observer] = (),
    dial: Callable[[MemoryNetwork], Dialer] | None = None,
    may_be_empty: bool = False,
    product: str = "spot",
    retells: bool = True,
    moved: dict[str, str] | None = None,
) -> AsyncGenerator[World]:
    """A feed that runs against simulated endpoints; see :func:`place`.

    :param venues: endpoint name → venue; by default all belong to one.
    :param strangers: endpoint name → a market of its own, though its venue is the others'.
    :param rate: taker orders a second; 1 gives exactly one trade stream message or a few more.
    :param consume: read the feed into ``world.items``.
    :param product: what is traded at all of them.
    :param retells: partial books are told anew when only levels below them changed.
    :param moved: streams that come on another route than the documents say, and which.
    :param dial: makes what the feed dials the network with; by default directly.
    """
    board = FaultBoard(faults)
    network = MemoryNetwork(board)
    places = dict.fromkeys(endpoints, "venue") if venues is None else venues
    exchanges: dict[str, Exchange] = {}
    rests: dict[str, RestServer] = {}
    for endpoint in endpoints:
        venue = places[endpoint]
        if venue not in exchanges:
            market = Market(
                ["BTCUSDT", "ETHUSDT"],
                seed=seed + len(exchanges),
                rate=rate,
                product=product,
                retells=retells,
            )
            exchanges[venue] = Exchange(
                venue,
                market,
                faults=board,
                limits=limits,
                strict_symbols=strict_symbols,
                knows_time_unit=knows_time_unit,
                moved=moved,
            )
            rests[venue] = RestServer(
                exchanges[venue], f"{venue}.rest", knows_time_unit=rest_knows_time_unit
            )
            network.add_rest(f"{venue}.test", rests[venue])
        market_of_its_own = (strangers or {}).get(endpoint)
        if market_of_its_own is None:
            exchange = exchanges[venue]
        else:
            exchange = Exchange(venue, market_of_its_own, faults=board)
        network.add(*place(endpoint, venue), exchange, endpoint)

    async def directly(endpoint: Endpoint) -> trio.abc.Stream:
        return await network.dial(endpoint.host, endpoint.port)

    def wall_clock() -> float:
        return START_MS / 1000 + trio.current_time()

    urls = [f"wss://{name(endpoint, places[endpoint])}/stream" for endpoint in endpoints]
    rest = [f"https://{venue}.test" for venue in exchanges]
    given = {"rest_urls": rest, **(settings or {})}
    if product != "spot":
        given["product"] = product
    chosen = make_settings(urls, **given)
    diary: list[tuple[float, Transition]] = []
    async with trio.open_nursery() as nursery:
        await nursery.start(network.run)
        async with open_feed(
            settings=chosen,
            dial=directly if dial is None else dial(network),
            observers=[lambda what: diary.append((trio.current_time(), what)), *observers],
            rng=random.Random(seed),
            wall_clock=wall_clock,
            suspended=suspended,
            backfill_transport=network.rest_transport(),
            may_be_empty=may_be_empty,
        ) as feed:
            world = World(network, exchanges, rests, chosen, feed, diary)

            async def read() -> None:
                try:
                    async for item in feed:
                        world.items.append((trio.current_time(), item))
                except Exception as error:  # noqa: BLE001 - handed to the test, which looks at it
                    world.error = error

            if consume:
                nursery.start_soon(read)
            yield world
            nursery.cancel_scope.cancel()
