"""The simulated exchange in a process of its own, with faults on demand: for what breaks.

    python -m harness.exchange CA_FILE     (in the folder bench/)

Each line on standard input is answered by one: faults in JSON by when they had struck (an RST is
on its way then, a close frame or FIN about to be) and the last trade before that;
``{"attempts_since": T}`` by the attempts to connect after T. All times are
:func:`time.perf_counter` seconds, which is one clock for all processes of a machine.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import trio

from k2trio.simulator import (
    EndpointConfig,
    Limits,
    RestConfig,
    Running,
    ServeConfig,
    parse_faults,
    serve,
)

if TYPE_CHECKING:
    from k2trio.simulator import Fault
    from k2trio.simulator.exchange import Exchange

RATE = 1000.0
"""Taker orders a second: the next trade is 1 ms away on average, so that little of a time until the
first message is spent on waiting for one."""
SYMBOL = "BTCUSDT"
ENDPOINTS = tuple(EndpointConfig(name + tls, tls=bool(tls)) for name in "ab" for tls in ("", "s"))
"""Two endpoints of one venue, each plain and with TLS (``as``, ``bs``)."""


class Blows:
    """Notes when faults strike; it listens after the exchange, so the exchange has done it then."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._struck = trio.Event()
        self._at, self._last = 0.0, 0

    def fault_begins(self, fault: Fault) -> None:
        """One more; the last of those that come together counts."""
        del fault
        self._at, self._last = time.perf_counter(), newest_id(self._exchange)
        self._struck.set()

    def fault_ends(self, fault: Fault) -> None:
        """Of no interest."""

    async def next(self) -> dict[str, Any]:
        """When the next faults have struck, and the last trade before."""
        self._struck = trio.Event()
        await self._struck.wait()
        return {"at": self._at, "last": self._last}


async def run(ca_path: Path) -> None:
    """Serve until standard input ends."""
    config = ServeConfig(
        endpoints=ENDPOINTS,
        rest=(RestConfig(),),
        symbols=(SYMBOL,),
        rate=RATE,
        limits=Limits(connects=1_000_000),
        tick_s=0.001,
        ca_path=ca_path,
    )
    offset = time.perf_counter() - trio.current_time()
    async with trio.open_nursery() as nursery:
        running: Running = await nursery.start(serve, config)
        (exchange,) = running.exchanges.values()
        blows = Blows(exchange)
        running.faults.listen(blows)
        say({"urls": running.websocket_urls, "rest": list(running.rest_urls.values())})
        while line := await trio.to_thread.run_sync(sys.stdin.readline):
            request = json.loads(line)
            if "attempts_since" in request:
                attempts = [(attempt.time + offset, attempt.outcome)
                            for attempt in exchange.truth.attempts]  # fmt: skip
                since = request["attempts_since"]
                say({"attempts": [attempt for attempt in attempts if attempt[0] > since]})
                continue
            running.faults.add(parse_faults(line))
            say(await blows.next())
        nursery.cancel_scope.cancel()


def newest_id(exchange: Exchange) -> int:
    """The last trade that the exchange has emitted."""
    return exchange.market.symbols[SYMBOL].trades.newest(1)[0].id


def say(message: dict[str, Any]) -> None:
    """One line to the bench's process."""
    print(json.dumps(message), flush=True)


if __name__ == "__main__":
    trio.run(run, Path(sys.argv[1]))
