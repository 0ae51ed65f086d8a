"""What the route to each endpoint is worth: measured for a while, on connections of their own.

Unlike a run's, these connections are all open at once, each carries all streams, and nothing is
repaired: it is the same load for each, so that the routes can be compared.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import trio
from rich.table import Table

from ..errors import ConnectionFailed, leaves
from ..market.decoder import Decoder
from ..market.streams import by_route
from ..observe.latency import spread_of
from ..policy.breaker import CircuitBreaker
from ..policy.failover import Endpoint
from ..repair.hosts import BackfillError
from ..repair.reach import clock_offset
from ..wire.connection import open_connection
from ..wire.dialer import DialTimes, TcpDialer
from .terminal import put_line, put_rich

if TYPE_CHECKING:
    import ssl
    from collections.abc import Sequence

    from ..proxies import Proxies
    from ..settings import Settings
    from ..wire.connection import Connection

PING_EVERY_S = 0.5
"""Pings count as messages of ours, of which the exchange admits five a second."""
PING_TIMEOUT_S = 5.0
MOST = 100_000
"""Measurements that are kept of an endpoint, of each kind: the newest."""


class TimedDial:
    """Dials, and says what each part took.

    :ivar times: None before the dial is done.
    :ivar done_at: when it was.
    """

    def __init__(self, dialer: TcpDialer) -> None:
        self.times: DialTimes | None = None
        self.done_at: float = trio.current_time()
        self._dialer = dialer

    async def __call__(self, endpoint: Endpoint) -> trio.abc.Stream:
        """Dial the endpoint, as :class:`TcpDialer` does."""
        stream, self.times = await self._dialer.dial_timed(endpoint)
        self.done_at = trio.current_time()
        return stream


@dataclass
class Route:
    """What was found of the route to one endpoint; times in seconds, None for steps not reached.

    :ivar lags: from when the exchange made a message to when it was read.
    :ivar problem: why it was not measured, or not to the end.
    """

    endpoint: Endpoint
    times: DialTimes | None = None
    upgrade_s: float | None = None
    pings: deque[float] = field(default_factory=lambda: deque[float](maxlen=MOST))
    lags: deque[float] = field(default_factory=lambda: deque[float](maxlen=MOST))
    messages: int = 0
    problem: str = ""

    async def measure(
        self,
        streams: Sequence[str],
        settings: Settings,
        dialer: TcpDialer,
        for_s: float,
        way: str = "",
    ) -> None:
        """Connect, and measure for so long.

        :param way: the exchange's route for these streams, where it has such.
        """
        dial = TimedDial(dialer)
        try:
            async with open_connection(self.endpoint, streams, settings, dial, way) as connection:
                self.upgrade_s = trio.current_time() - dial.done_at
                with trio.move_on_after(for_s):
                    async with trio.open_nursery() as nursery:
                        nursery.start_soon(self._ping, connection)
                        await self._read(connection, settings)
        except* ConnectionFailed as failures:
            self.problem = "; ".join(
                f"{failure.error_type}: {failure}"
                for failure in leaves(failures)
                if isinstance(failure, ConnectionFailed)
            )
        finally:
            self.times = dial.times

    async def _ping(self, connection: Connection) -> None:
        while True:
            round_trip = await connection.ping(PING_TIMEOUT_S)
            if round_trip is not None:
                self.pings.append(round_trip)
            await trio.sleep(PING_EVERY_S)

    async def _read(self, connection: Connection, settings: Settings) -> None:
        decoder = Decoder(self.endpoint.venue, unit=settings.unit)
        per_second = settings.unit.per_second
        while True:
            batch = await connection.next_batch()
            events, _ = decoder.decode(batch.payloads, batch.received)
            self.messages += len(events)
            for event in events:
                event_time = getattr(event.data, "event_time", None)
                if event_time is not None:
                    self.lags.append(batch.received - event_time / per_second)


async def show_routes(
    settings: Settings,
    streams: Sequence[str],
    for_s: float,
    verify: ssl.SSLContext,
    proxies: Proxies,
) -> None:
    """Measure the routes to all endpoints at once, and print what they are worth."""
    product = settings.dialect.product
    # Where the exchange parts its streams by routes of its own, the first one stands for all.
    way, named = next(iter(by_route(streams, product).items()), ("", list[str]()))
    routes = [
        Route(Endpoint.from_url(url, index, CircuitBreaker, product))
        for index, url in enumerate(settings.endpoint_urls)
    ]
    put_line()
    put_line(f"measuring for {for_s:g} s …")
    clocks: dict[str, str] = {}
    async with trio.open_nursery() as nursery:
        for route in routes:
            dialer = TcpDialer(verify, proxies=proxies)  # one that remembers nothing
            nursery.start_soon(route.measure, named, settings, dialer, for_s, way)
        for venue in dict.fromkeys(route.endpoint.venue for route in routes):
            nursery.start_soon(_compare_clocks, venue, settings, verify, clocks)
    put_line()
    put_rich(_table(routes))
    put_line()
    for venue in dict.fromkeys(route.endpoint.venue for route in routes):
        put_line(clocks[venue])


async def _compare_clocks(
    venue: str, settings: Settings, verify: ssl.SSLContext, clocks: dict[str, str]
) -> None:
    try:
        offset = await clock_offset(venue, settings, verify=verify)
    except BackfillError as error:
        clocks[venue] = f"clock of {venue}: not known, so lags may be wrong by any time: {error}"
        return
    (ahead,), (within,) = milliseconds(abs(offset.ahead_s)), milliseconds(offset.within_s)
    side, effect = ("ahead of", "longer") if offset.ahead_s >= 0 else ("behind", "shorter")
    clocks[venue] = (
        f"clock of {venue}: this machine's is {ahead} ms {side} it, ± {within} ms; "
        f"lags are told {effect} by as much"
    )


def _table(routes: Sequence[Route]) -> Table:
    steps = ("connect ms", "TLS ms", "upgrade ms")
    spreads = ("ping p50 ms", "ping p99 ms", "lag p50 ms", "lag p99 ms")
    table = new_table("route to", *steps, *spreads, "messages", "result")
    for route in routes:
        times = route.times
        dial: tuple[float | None, float | None] = None, None
        if times is not None:
            dial = times.dns_s + times.tcp_s + (times.proxy_s or 0.0), times.tls_s
        table.add_row(
            route.endpoint.name,
            *milliseconds(*dial, route.upgrade_s),
            *_percentiles(route.pings),
            *_percentiles(route.lags),
            str(route.messages),
            route.problem or "measured",
        )
    return table


def _percentiles(values: Sequence[float]) -> list[str]:
    if not values:
        return milliseconds(None, None)
    spread = spread_of(values, len(values), max(values))
    return milliseconds(spread.p50_s, spread.p99_s)


def milliseconds(*steps: float | None) -> list[str]:
    """Times (s) as a table shows them."""
    return ["-" if step is None else f"{step * 1000:.1f}" for step in steps]


def new_table(*headings: str) -> Table:
    """A table whose last column takes what is long."""
    table = Table(box=None, pad_edge=False)
    for heading in headings[:-1]:
        numeric = heading.endswith(" ms") or heading == "messages"
        table.add_column(heading, justify="right" if numeric else "left")
    table.add_column(headings[-1], overflow="fold")
    return table
