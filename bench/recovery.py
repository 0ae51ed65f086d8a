"""Recovery: what a feed does at each failure, and when; finer than ``reconnect.py``.

The simulated exchange runs in a process of its own, on loopback; each trial opens a feed on two of
its endpoints, waits until the first one is stable, breaks it, and takes four times:

detected
    from the fault (or the first dial) until the feed knows;
flowing
    until the first message of the next endpoint has arrived;
delivered
    until the consumer gets a live message again, with everything before it repaired;
backoff
    how much of it was a delay that the settings ask for.

Where the transport lives, silence is verified: the feed asks REST whether there is news, and gives
it three seconds to arrive. A gap waits ``arbitration_hold`` (0.2 s) for another connection before
REST is asked for it, which is most of ``delivered``.

Run ``python bench/recovery.py``; ``--trials 100`` and ``--json FILE`` as wanted. Times are
milliseconds, median and 95th percentile. They hold for loopback: add the round trips of a real path
(TCP 1, TLS 1.3 1, upgrade 1).
"""

from __future__ import annotations

import argparse
import json
import math
import platform
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import trio
from harness.clients import BENCH

from k2trio.client.opening import open_feed
from k2trio.market.payloads import Event
from k2trio.observe import transitions as on
from k2trio.settings import Settings
from k2trio.simulator import FaultKind

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

TRIAL_BOUND_S = 30.0
STABLE_AFTER_S = 0.1
SILENCE_S = 1.0


@dataclass(frozen=True)
class Case:
    """One row of the table.

    :param strike: what breaks the running connection; None: the first endpoint fails the dial.
    :param slow: each trial takes seconds, so make fewer.
    """

    name: str
    strike: FaultKind | None
    tls: bool = False
    slow: bool = False
    refusal: str = ""
    settings: dict[str, Any] = field(default_factory=dict)


CASES = (
    Case("RST", FaultKind.RST),
    Case("FIN without a close frame", FaultKind.FIN),
    Case("close frame 1001", FaultKind.CLOSE),
    Case("RST, TLS", FaultKind.RST, tls=True),
    Case("close frame 1001, TLS", FaultKind.CLOSE, tls=True),
    Case(
        f"half-open, transport limit {SILENCE_S:g} s",
        FaultKind.HALF_OPEN,
        slow=True,
        settings={"transport_timeout": SILENCE_S},
    ),
    Case(
        f"data stalls, data limit {SILENCE_S:g} s, verified",
        FaultKind.STALL,
        slow=True,
        settings={"health_check_timeout": SILENCE_S, "health_check_interval": SILENCE_S / 2},
    ),
    Case("dial refused", None, refusal="port"),
    Case("upgrade answered with 503", None, refusal="503"),
)


# -- the server's process -----------------------------------------------------------------------


@dataclass
class Server:
    """The client's end of the server's process."""

    process: trio.Process
    urls: dict[str, str]
    rest: list[str]
    ca_path: Path
    _unread: bytes = b""

    async def receive(self) -> dict[str, Any]:
        """The next thing that it says."""
        assert self.process.stdout is not None
        while b"\n" not in self._unread:
            data = await self.process.stdout.receive_some()
            if not data:
                raise RuntimeError("the server has ended")
            self._unread += data
        line, _, self._unread = self._unread.partition(b"\n")
        return dict(json.loads(line))

    async def strike(self, kind: FaultKind, endpoint: str, **details: Any) -> float:
        """Let a fault happen now; when it had, in :func:`time.perf_counter` seconds.

        That clock is the same one in all processes of a machine.
        """
        assert self.process.stdin is not None
        fault = {"at": 0, "kind": kind.value, "endpoint": endpoint, **details}
        await self.process.stdin.send_all(json.dumps(fault).encode() + b"\n")
        return float((await self.receive())["at"])


@asynccontextmanager
async def server_process() -> AsyncGenerator[Server]:
    """Run the simulated exchange beside us."""
    with tempfile.TemporaryDirectory() as directory:
        ca_path = Path(directory) / "ca.pem"
        process = await trio.lowlevel.open_process(
            [sys.executable, "-m", "harness.exchange", str(ca_path)],
            cwd=BENCH,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        async with process.stdin, process.stdout:  # type: ignore[union-attr]
            server = Server(process, {}, [], ca_path)
            said = await server.receive()
            server.urls, server.rest = said["urls"], said["rest"]
            yield server
        await process.wait()


# -- a trial ------------------------------------------------------------------------------------


@dataclass
class Trial:
    """Times in milliseconds after the fault."""

    detected: float
    flowing: float
    delivered: float
    backoff: float


class Diary:
    """When what happened, in :func:`time.perf_counter` seconds."""

    def __init__(self) -> None:
        self.entries: list[tuple[float, on.Transition]] = []
        self.live: list[float] = []
        self._changed = trio.Event()

    def observe(self, transition: on.Transition) -> None:
        """For the feed."""
        self.entries.append((time.perf_counter(), transition))
        self.wake()

    def wake(self) -> None:
        """Let :meth:`until` look again."""
        self._changed.set()
        self._changed = trio.Event()

    def when(self, *kinds: type, index: int) -> float | None:
        """When a transition of such a kind first happened at the endpoint."""
        for at, what in self.entries:
            if isinstance(what, kinds) and getattr(what, "url_index", index) == index:
                return at
        return None

    async def until(self, *kinds: type, index: int) -> float:
        """The same, and wait for it."""
        while (at := self.when(*kinds, index=index)) is None:
            await self._changed.wait()
        return at

    async def until_live_after(self, at: float) -> float:
        """When the consumer got the first live message after a time."""
        while not self.live or self.live[-1] < at:
            await self._changed.wait()
        return next(time_ for time_ in self.live if time_ >= at)


async def consume(feed: Any, diary: Diary) -> None:
    """Read the feed; a hole in the ids ends the benchmark."""
    last: int | None = None
    async for item in feed:
        if not isinstance(item, Event):
            raise TypeError(f"something was lost: {item}")
        assert last is None or item.data.trade_id == last + 1
        last = item.data.trade_id
        if item.origin == "live":
            diary.live.append(time.perf_counter())
            diary.wake()


async def run_trial(case: Case, server: Server, dead_port: int) -> Trial:
    """Break one feed and see."""
    suffix = "s" if case.tls else ""
    first, second = (f"{server.urls[name + suffix]}/stream" for name in "ab")
    if case.refusal == "port":
        first = f"ws://127.0.0.1:{dead_port}/stream"
    if case.refusal == "503":
        await server.strike(FaultKind.HTTP_STATUS, "a", status=503, count=1)
    settings = Settings(
        **{
            "websocket_url": first,
            "failover_urls": [second],
            "rest_urls": server.rest,
            "streams": ["btcusdt@trade"],
            "stable_after": STABLE_AFTER_S,
            "reconnect_delay": 0.01,
            "reconnect_jitter": 0,
            "close_timeout": 0.2,
            "ca_file": server.ca_path,
            **case.settings,
        }
    )
    diary = Diary()
    struck_at = flowing_at = delivered_at = detected_at = 0.0
    with trio.fail_after(TRIAL_BOUND_S):
        async with (
            open_feed(settings=settings, observers=[diary.observe]) as feed,
            trio.open_nursery() as nursery,
        ):
            nursery.start_soon(consume, feed, diary)
            if case.strike is not None:
                await diary.until(on.BecameStable, index=0)
                struck_at = await server.strike(case.strike, "a" + suffix, code=1001)
            else:
                struck_at = await diary.until(on.Dialing, index=0)
            flowing_at = await diary.until(on.Flowing, index=1)
            connected_at = await diary.until(on.Connected, index=1)
            delivered_at = await diary.until_live_after(connected_at)
            detected_at = await diary.until(on.ConnectionLost, on.DialFailed, index=0)
            nursery.cancel_scope.cancel()
    backoff = sum(what.wait_s for _, what in diary.entries if isinstance(what, on.Reconnecting))
    return Trial(
        (detected_at - struck_at) * 1000,
        (flowing_at - struck_at) * 1000,
        (delivered_at - struck_at) * 1000,
        backoff * 1000,
    )


# -- the table ----------------------------------------------------------------------------------


def percentile(values: Sequence[float], share: float) -> float:
    """The nearest-rank percentile."""
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]


def summarise(trials: Sequence[Trial]) -> dict[str, dict[str, float]]:
    """Median and 95th percentile of each time."""
    summary: dict[str, dict[str, float]] = {}
    for name in Trial.__dataclass_fields__:
        values = [asdict(trial)[name] for trial in trials]
        summary[name] = {
            "median": round(statistics.median(values), 2),
            "p95": round(percentile(values, 0.95), 2),
        }
    return summary


async def measure(trials: int, only: str) -> list[dict[str, Any]]:
    """Run every case and print its row as it is known."""
    names = tuple(Trial.__dataclass_fields__)
    print(f"| failure | trials | {' | '.join(f'{name} ms' for name in names)} |")
    print(f"|---|---:|{'---:|' * len(names)}")
    results: list[dict[str, Any]] = []
    with socket.socket() as dead:
        dead.bind(("127.0.0.1", 0))  # bound and not listening: refuses, and nobody else gets it
        async with server_process() as server:
            for case in CASES:
                if only not in case.name:
                    continue
                count = max(1, trials // 5) if case.slow else trials
                port = dead.getsockname()[1]
                await run_trial(case, server, port)  # warms up caches and imports
                done = [await run_trial(case, server, port) for _ in range(count)]
                summary = summarise(done)
                cells = [
                    f"{summary[name]['median']:.1f} ({summary[name]['p95']:.1f})" for name in names
                ]
                print(f"| {case.name} | {count} | {' | '.join(cells)} |", flush=True)
                results.append({"failure": case.name, "trials": count, **summary})
    return results


def main() -> None:
    """Measure, print, and write JSON if asked to."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=50, help="trials of each quick case")
    parser.add_argument("--only", default="", help="run the cases whose name holds this")
    parser.add_argument("--json", type=Path, help="write the results to this file")
    parser.add_argument("--quick", action="store_true", help="three trials of each quick case")
    options = parser.parse_args()
    if options.quick:
        options.trials = 3
    results = trio.run(measure, options.trials, options.only)
    if options.json is not None:
        document = {
            "python": platform.python_version(),
            "trio": trio.__version__,
            "machine": platform.machine(),
            "unit": "ms",
            "results": results,
        }
        options.json.write_text(json.dumps(document, indent=2) + "\n")


if __name__ == "__main__":
    main()
