"""The same trouble of one simulated exchange, read by a program of each world at the same time.

``python tests/bridge/trouble.py --seconds 60`` is the long way; the suite takes a few seconds.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx2

sys.path.insert(0, str(Path(__file__).parents[1]))

from processes import PATIENCE_S, environment, simulator

if TYPE_CHECKING:
    from collections.abc import Iterable

PROGRAM = Path(__file__).with_name("consume.py")
WORLDS = ("trio", "asyncio", "uvloop", "sync")
STREAMS = ("btcusdt@trade", "btcusdt@aggTrade")
RATE = 200
QUIET_S = 2.0
"""After the last fault."""
EVERY_S = 0.8
TROUBLE: tuple[tuple[str, dict[str, Any]], ...] = (
    ("rst", {}),
    ("dropped", {"share": 0.3, "duration": 0.3}),
    ("fin", {"endpoint": "a"}),
    ("outage", {"duration": 0.4}),
    ("reordered", {"share": 0.3, "duration": 0.3}),
    ("rst", {"endpoint": "b"}),
    ("duplicated", {"share": 0.3, "duration": 0.3}),
)
"""Fault after fault, again and again: kind and parameters."""
HASTE = {
    "STABLE_AFTER": "0.1",
    "RECOVERY_TIMEOUT": "0.2",
    "MAX_RECONNECT_ATTEMPTS": "0",
    "SHARED_BUDGET": "off",
}
"""So that one fault is over before the next one, whatever else this machine is doing."""


@dataclass
class Told:
    """What a program said at its end.

    :ivar others: what was no message: gaps, outages.
    :ivar repaired: messages that came over REST.
    """

    ids: dict[str, list[int]]
    others: list[str]
    repaired: int


def schedule(seconds: float) -> list[dict[str, Any]]:
    """The faults of so many seconds."""
    faults: list[dict[str, Any]] = []
    while (at := len(faults) * EVERY_S) < seconds - QUIET_S:
        kind, parameters = TROUBLE[len(faults) % len(TROUBLE)]
        faults.append({"at": at, "kind": kind, "endpoint": "*", **parameters})
    return faults


def worlds() -> tuple[str, ...]:
    """Those that can be had here: uvloop is not made for every system."""
    return (
        WORLDS if importlib.util.find_spec("uvloop") else tuple(w for w in WORLDS if w != "uvloop")
    )


def consumed(seconds: float, folder: Path) -> dict[str, Told]:
    """World → what its program got while all of them read, through trouble for so many seconds."""
    with simulator("--rate", str(RATE)) as exchange:
        variables = environment(**exchange.variables("a", "b"), **HASTE)
        program = (sys.executable, "-X", "dev", "-W", "error", str(PROGRAM))
        running = {
            world: subprocess.Popen(  # noqa: S603 - our own program
                [*program, world, str(folder)], env=variables, stderr=subprocess.PIPE, text=True
            )
            for world in worlds()
        }
        try:
            wait_for(folder / f"{world}.reads" for world in running)
            httpx2.post(
                f"{exchange.urls['rest']}/simulator/faults", json=schedule(seconds), trust_env=False
            ).raise_for_status()
            time.sleep(seconds)
        finally:
            (folder / "stop").touch()
            errors = {world: process.communicate()[1] for world, process in running.items()}
    for world, process in running.items():
        assert (process.returncode, errors[world]) == (0, ""), f"{world}: {errors[world]}"
    return {world: Told(**json.loads((folder / f"{world}.json").read_text())) for world in running}


def wait_for(files: Iterable[Path]) -> None:
    """Until all of them are there."""
    deadline = time.monotonic() + PATIENCE_S
    for file in files:
        while not file.exists():
            assert time.monotonic() < deadline, file.name
            time.sleep(0.05)


def common(told: dict[str, Told], stream: str) -> tuple[int, int]:
    """The first and the last id that every program was there for."""
    return (
        max(one.ids[stream][0] for one in told.values()),
        min(one.ids[stream][-1] for one in told.values()),
    )


def lost_or_wrong(told: dict[str, Told]) -> list[str]:
    """What does not hold: equal ids in all, each one once and in order, and nothing declared."""
    wrong: list[str] = []
    for world, one in told.items():
        wrong += [f"{world}: {other}" for other in one.others]
        for stream, ids in one.ids.items():
            first, last = common(told, stream)
            if [i for i in ids if first <= i <= last] != list(range(first, last + 1)):
                wrong.append(f"{world}: {stream} from {first} to {last} is not whole")
    return wrong


def main() -> int:
    """Command line of the trouble."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60)
    seconds = parser.parse_args().seconds
    with tempfile.TemporaryDirectory() as folder:
        told = consumed(seconds, Path(folder))
    for world, one in told.items():
        counts = ", ".join(f"{len(ids)} of {stream}" for stream, ids in one.ids.items())
        print(f"{world:8} {counts}; {one.repaired} by REST, {len(one.others)} declared")  # noqa: T201
    for stream in STREAMS:
        first, last = common(told, stream)
        print(f"all: {stream} from {first} to {last}, {last - first + 1} ids")  # noqa: T201
    wrong = lost_or_wrong(told)
    print("\n".join(wrong) or f"equal in all, through {len(schedule(seconds))} faults")  # noqa: T201
    return bool(wrong)


if __name__ == "__main__":
    raise SystemExit(main())
