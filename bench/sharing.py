"""Budgets shared by programs of one address: what of them is used, what is refused, what it costs.

Six programs on real sockets want more dials and more REST weight than the simulated exchange admits
to their address: it ends every connection after a moment. One of them is killed at half time. Told
are the share of each limit that was used in each window of the exchange, and what was refused; and
the time of one settlement with the file, alone and beside others that are at the limit.

    python bench/sharing.py [--minutes 11] [--unshared] [--json FILE] [--quick]
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from statistics import median

import trio

from k2trio.policy.budget import Budget
from k2trio.sharing.sharing import Sharing
from k2trio.sharing.stores import SharedFile
from k2trio.simulator import (
    EndpointConfig,
    Limits,
    RestConfig,
    RestLimits,
    Running,
    ServeConfig,
    serve,
)

PROGRAMS = 6
WEIGHT = 1500
"""REST weight a minute, for programs and exchange alike."""
START_MS = 1_767_225_600_000
"""A whole minute."""
SETTLEMENTS = 300


def start(running: Running, shared: str) -> list[subprocess.Popen[bytes]]:
    """The programs."""
    settings = {
        "WEBSOCKET_URL": f"{running.websocket_urls['a']}/stream",
        "FAILOVER_URLS": "",
        "REST_URLS": running.rest_urls["rest"],
        "STREAMS": "btcusdt@trade,btcusdt@aggTrade,btcusdt@depth@100ms,ethusdt@aggTrade",
        "STREAMS_PER_CONNECTION": "1",
        "RECONNECT_DELAY": "0.01",
        "MAX_RECONNECT_DELAY": "0.05",
        "MAX_RECONNECT_ATTEMPTS": "0",
        "ENABLE_CIRCUIT_BREAKER": "false",
        "REST_WEIGHT_LIMIT": str(WEIGHT),
        "METRICS_PORT": "0",
        "LOG_LEVEL": "error",
        "SHARED_BUDGET": shared,
    }
    return [
        subprocess.Popen(
            [sys.executable, "-m", "k2trio", "run"],
            env=os.environ | {f"K2_BINANCE_{name}": value for name, value in settings.items()},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for _ in range(PROGRAMS)
    ]


async def use(seconds: float, shared: str) -> dict[str, object]:
    """Let the programs run for so long."""
    limits = Limits(lifetime_s=0.2)
    config = ServeConfig(
        endpoints=(EndpointConfig("a", "binance.com"),),
        rest=(RestConfig("rest", "binance.com"),),
        symbols=("BTCUSDT", "ETHUSDT"),
        rate=50,
        start_ms=START_MS,
        limits=limits,
        rest_limits=RestLimits(weight_per_minute=WEIGHT),
    )
    weight: Counter[int] = Counter()
    async with trio.open_nursery() as nursery:
        running: Running = await nursery.start(serve, config)
        exchange = running.exchanges["binance.com"]
        rest = running.rest_servers["rest"]
        began_at = trio.current_time()
        programs = start(running, shared)
        try:
            while (now := trio.current_time()) < began_at + seconds:
                if now > began_at + seconds / 2:
                    programs[0].kill()
                minute = int((exchange.now_us() // 1000 - START_MS) // 60_000)
                used = rest.quota.account("127.0.0.1", exchange.now_us()).used
                weight[minute] = max(weight[minute], used)
                await trio.sleep(0.05)
            alive = sum(program.poll() is None for program in programs)
        finally:
            for program in programs:
                program.kill()
                program.wait()
        accepted = [
            attempt.time - began_at
            for attempt in exchange.truth.attempts
            if attempt.outcome == "accepted"
        ]
        nursery.cancel_scope.cancel()
    begun = accepted[0]
    dials = Counter(int((at - begun) // limits.connects_window_s) for at in accepted)
    return {
        "programs_alive": alive,
        "dials_used": [round(dials[window] / limits.connects, 3) for window in sorted(dials)],
        "weight_used": [round(weight[minute] / WEIGHT, 3) for minute in sorted(weight)],
        "dials_refused": exchange.truth.outcomes().get("http_429", 0),
        "requests_refused": rest.quota.refused,
    }


async def cost(path: Path) -> dict[str, float]:
    """Microseconds of a settlement, in the median and at worst."""
    crowd: list[tuple[Sharing, Budget]] = []
    for _ in range(PROGRAMS):
        sharing, budget = Sharing(SharedFile(path), lambda _: None), Budget(6000, 60.0, 6000)
        sharing.join("weight", "v", "https://v", budget, lambda _: None)
        crowd.append((sharing, budget))
    found: dict[str, float] = {}
    for what in ("idle", "busy", "at_the_limit"):
        if what == "busy":
            for _ in range(100):
                for sharing, budget in crowd:
                    budget.wish(random.choice([2, 4]), trio.current_time())
                    await sharing.settle()
        elif what == "at_the_limit":
            for _, budget in crowd:
                for _ in range(400):
                    budget.wish(50, trio.current_time(), 0.2)
        times: list[float] = []
        for number in range(SETTLEMENTS):
            before = trio.current_time()
            await crowd[number % PROGRAMS][0].settle()
            times.append((trio.current_time() - before) * 1e6)
        found[f"settlement_{what}_us"] = round(median(times))
        found[f"settlement_{what}_worst_us"] = round(max(times))
    return found


def main() -> None:
    """Command line of the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=11)
    parser.add_argument("--unshared", action="store_true", help="as programs do without it")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--quick", action="store_true", help="half a minute")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "budget")
        found: dict[str, object] = dict(trio.run(cost, path))
        path.unlink()
        seconds = 30.0 if options.quick else options.minutes * 60
        found |= trio.run(use, seconds, "off" if options.unshared else str(path))
    for name, value in found.items():
        print(f"{name:32} {value}")
    if options.json:
        options.json.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
