"""Six programs on one address that want more than the exchange admits; real processes and sockets.

The exchange enforces what it enforces: 300 dials in 5 minutes, and a weight a minute. It drops each
connection after a moment, so all dial again and again, and ask for what they missed meanwhile.
"""

from __future__ import annotations

import subprocess
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any

import pytest
import trio
from processes import COMMAND, FAST, environment
from world import START_MS

from k2trio.simulator import (
    EndpointConfig,
    Limits,
    RestConfig,
    RestLimits,
    Running,
    ServeConfig,
    serve,
)

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Generator
    from pathlib import Path

pytestmark = pytest.mark.slow

PROGRAMS = 6
DIALS = 300
WEIGHT = 1500
"""A minute; for programs and exchange alike."""
MOST_S = 40.0
"""Less than a window: what was spent in the beginning is not free again at the end."""
STREAMS = "btcusdt@trade,btcusdt@aggTrade,btcusdt@depth@100ms,ethusdt@aggTrade"


class Exchange:
    """The exchange, and what it counted."""

    def __init__(self, running: Running) -> None:
        self._running = running
        self._exchange = next(iter(running.exchanges.values()))
        self._rest = next(iter(running.rest_servers.values()))

    @property
    def dials(self) -> int:
        return self._exchange.truth.outcomes().get("accepted", 0)

    @property
    def weight(self) -> int:
        return self._rest.quota.account("127.0.0.1", self._exchange.now_us()).used

    def used(self, share: float) -> bool:
        return self.dials >= share * DIALS and self.weight >= share * WEIGHT

    @property
    def refusals(self) -> int:
        """Whatever was too much, over WebSocket or REST."""
        return self._exchange.truth.outcomes().get("http_429", 0) + self._rest.quota.refused

    def variables(self, shared: str) -> dict[str, str]:
        return {
            **FAST,
            "WEBSOCKET_URL": f"{self._running.websocket_urls['a']}/stream",
            "FAILOVER_URLS": "",
            "REST_URLS": self._running.rest_urls["rest"],
            "STREAMS": STREAMS,
            "STREAMS_PER_CONNECTION": "1",
            "RECONNECT_DELAY": "0.01",
            "MAX_RECONNECT_DELAY": "0.05",
            "MAX_RECONNECT_ATTEMPTS": "0",
            "ENABLE_CIRCUIT_BREAKER": "false",
            "REST_WEIGHT_LIMIT": str(WEIGHT),
            "SHARED_BUDGET": shared,
        }


@asynccontextmanager
async def serving() -> AsyncGenerator[Exchange]:
    config = ServeConfig(
        endpoints=(EndpointConfig("a", "binance.com"),),
        rest=(RestConfig("rest", "binance.com"),),
        symbols=("BTCUSDT", "ETHUSDT"),
        rate=50,
        start_ms=START_MS,  # a whole minute, and the test ends in it
        limits=Limits(lifetime_s=0.2),
        rest_limits=RestLimits(weight_per_minute=WEIGHT),
    )
    async with trio.open_nursery() as nursery:
        running: Any = await nursery.start(serve, config)
        yield Exchange(running)
        nursery.cancel_scope.cancel()


@contextmanager
def programs(exchange: Exchange, shared: str) -> Generator[list[subprocess.Popen[bytes]]]:
    started = [
        subprocess.Popen(  # noqa: S603 - our own command
            [*COMMAND, "run"],
            env=environment(**exchange.variables(shared)),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for _ in range(PROGRAMS)
    ]
    try:
        yield started
    finally:
        for process in started:
            process.kill()
        for process in started:
            process.wait(10)


async def until(comes_true: Callable[[], bool]) -> None:
    with trio.fail_after(MOST_S):
        while not comes_true():  # noqa: ASYNC110 - other processes set no events
            await trio.sleep(0.1)


async def test_six_programs_use_the_whole_budget_and_never_more_also_if_one_is_killed(
    tmp_path: Path,
) -> None:
    async with serving() as exchange:
        with programs(exchange, str(tmp_path / "budget")) as running:
            await until(lambda: exchange.used(0.4))
            running[0].kill()
            await until(lambda: exchange.used(0.9))
            await trio.sleep(3)  # nobody goes on
            assert [process.poll() for process in running[1:]] == [None] * (PROGRAMS - 1)
        assert exchange.refusals == 0
        assert DIALS * 0.9 <= exchange.dials <= DIALS
        assert WEIGHT * 0.9 <= exchange.weight <= WEIGHT


async def test_six_programs_that_share_nothing_are_refused() -> None:
    """The limits are enforced, and what is wanted is more."""
    async with serving() as exchange:
        with programs(exchange, "off"):
            await until(lambda: exchange.refusals > 0)
