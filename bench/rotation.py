"""Planned rotation under load: what is lost, what comes twice, how long nothing comes.

A simulated exchange in a process of its own sends trades as fast as asked; the feed replaces its
connection every few seconds, by age and on ``serverShutdown``. Real sockets on loopback.

The longest silence is told for the time of the rotations, from the dial until half a second after
the takeover, and for all other time: the difference is what a rotation costs, the rest is the
machine and the exchange.

    python bench/rotation.py [--rate 3700] [--rotations 20] [--json FILE] [--quick]
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import subprocess
import sys
from pathlib import Path

import httpx2
import trio

from k2trio.client.opening import open_feed
from k2trio.continuity.items import Gap
from k2trio.market.payloads import Event
from k2trio.observe.transitions import ConnectionLost, Rotated, Rotating, Transition
from k2trio.settings import Settings

SECONDS_PER_ROTATION = 3.0
AFTERMATH_S = 0.5


async def measure(websocket: str, rest: str, rotations: int) -> dict[str, float]:
    """Run until so many rotations are done; half of them are announced by the exchange."""
    rotated: list[Rotated] = []
    lost: list[ConnectionLost] = []
    windows: list[list[float]] = []

    def observe(what: Transition) -> None:
        match what:
            case Rotating():
                windows.append([trio.current_time(), math.inf])
            case Rotated():
                rotated.append(what)
                windows[-1][1] = trio.current_time() + AFTERMATH_S
            case ConnectionLost():
                lost.append(what)
            case _:
                pass

    settings = Settings(
        websocket_url=websocket,
        failover_urls=(),
        rest_urls=(rest,),
        streams=("btcusdt@trade",),
        rotate_after=2 * SECONDS_PER_ROTATION,
        stable_after=0.5,
    )
    ids: list[int] = []
    missing = backfilled = 0
    arrivals: list[float] = []
    async with open_feed(settings=settings, observers=[observe]) as feed, trio.open_nursery() as n:

        async def announce() -> None:
            async with httpx2.AsyncClient() as client:
                while True:
                    await trio.sleep(2 * SECONDS_PER_ROTATION)
                    fault = {"at": 0, "endpoint": "a", "kind": "server_shutdown", "duration": 5}
                    await client.post(f"{rest}/simulator/faults", json=fault)

        n.start_soon(announce)
        async for batch in feed.batches():
            arrivals.append(trio.current_time())
            for item in batch:
                match item:
                    case Event():
                        ids.append(item.data.trade_id)
                        backfilled += item.origin == "backfill"
                    case Gap():
                        missing += item.last - item.first + 1
                    case _:
                        pass
            if len(rotated) >= rotations:
                break
        n.cancel_scope.cancel()
        duplicates = feed.status().duplicates
    span = ids[-1] - ids[0] + 1
    during = elsewhere = 0.0
    for early, late in itertools.pairwise(arrivals):
        if any(start <= late and early <= end for start, end in windows):
            during = max(during, late - early)
        else:
            elsewhere = max(elsewhere, late - early)
    return {
        "rotations": len(rotated),
        "announced": sum(what.reason == "server_shutdown" for what in rotated),
        "messages": len(ids),
        "messages_per_s": round(len(ids) / (arrivals[-1] - arrivals[0])),
        "lost": span - len(set(ids)),
        "declared_missing": missing,
        "delivered_twice": len(ids) - len(set(ids)),
        "out_of_order": sum(late <= early for early, late in itertools.pairwise(ids)),
        "backfilled": backfilled,
        "dropped_as_duplicates": duplicates,
        "connections_lost": len(lost),
        "longest_silence_rotating_ms": round(during * 1000, 1),
        "longest_silence_otherwise_ms": round(elsewhere * 1000, 1),
        "median_overlap_ms": round(
            sorted(what.overlap_s for what in rotated)[len(rotated) // 2] * 1000, 1
        ),
    }


def main() -> None:
    """Command line of the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rate", type=float, default=3700, help="taker orders per second")
    parser.add_argument("--rotations", type=int, default=20)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--quick", action="store_true", help="three rotations")
    options = parser.parse_args()
    exchange = subprocess.Popen(
        [sys.executable, "-m", "k2trio", "simulate", "--ports", "0", "--rest-port", "0",
         "--symbols", "BTCUSDT", "--quotes", "0", "--rate", str(options.rate)],
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert exchange.stdout is not None
        websocket, rest = (exchange.stdout.readline().split()[1] for _ in range(2))
        rotations = 3 if options.quick else options.rotations
        found = trio.run(measure, websocket, rest, rotations)
    finally:
        exchange.terminate()
        exchange.wait()
    for name, value in found.items():
        print(f"{name:24} {value}")
    if options.json:
        options.json.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
