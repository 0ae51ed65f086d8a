"""Reconnect: how long a user of each library is without data after a fault, and what is lost.

The simulated exchange (TLS) breaks connections while each library follows a stream the way its
users do, with its defaults: ``peers/follow.py``. Times are milliseconds after the fault:

dialled
    until the exchange answers the next attempt to connect, of whatever outcome;
received
    until the library has a message that the exchange sent after the fault;
delivered
    until its user has one. k2trio delivers in order, so it first repairs what was missed, while
    others hand over what comes;
lost
    trades that the user never got, per fault.

The floor is a bare socket: TCP, TLS 1.3 and upgrade, one after the other, on the same loopback,
measured before each table and given for all of them together. A library that is not back within the
bound counts as ``> bound``. Silence is measured on all libraries at once, since each takes a minute
or more. On a planned rotation the exchange announces that it will shut down; the old connection
goes on until then. Only k2trio knows a second endpoint, which is where it goes when the first is
gone.

    python bench/reconnect.py [--trials 30] [--only RST]
"""

from __future__ import annotations

import argparse
import base64
import json
import math
import os
import random
import re
import socket
import ssl
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from harness.clients import (
    BENCH,
    CHECKOUT,
    PEERS,
    Client,
    NotMeasuredError,
    client_environment,
    pin,
    python_of,
    versions_of,
)
from harness.load import cores
from harness.report import caption, document, publish, ranges, table

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

SETTLE_S = 0.5
"""Data must flow so long before a fault; k2trio counts a connection as stable after 0.2 s here."""
START_BOUND_S = 20.0
RECENT = 100
"""Trades before the fault that may have been lost with it, on their way: a tenth of a second."""
GIVE_UP_AFTER = 2
"""Trials beyond the bound, after which a library's row is closed."""
GONE_S = 3.0
"""For so long the endpoint refuses dials, where it is gone."""
TIMES = ("dialled", "received", "delivered")


@dataclass(frozen=True)
class Fault:
    """One table.

    :ivar faults: what the exchange does, as its simulator takes it.
    :ivar together: all libraries at once, few trials, a bound of its own.
    :ivar fresh: a new client for each trial, so that it is on the first endpoint.
    :ivar ours: only k2trio knows what to do.
    """

    name: str
    faults: tuple[dict[str, Any], ...]
    together: bool = False
    fresh: bool = False
    ours: bool = False


FAULTS = (
    Fault("clean close (1001)", ({"kind": "close", "code": 1001},)),
    Fault("RST", ({"kind": "rst"},)),
    Fault(
        "RST, then refused once",
        ({"kind": "refused", "count": 1, "duration": 2.0}, {"kind": "rst"}),
        fresh=True,
    ),
    Fault(f"endpoint gone for {GONE_S:g} s", ({"kind": "outage", "duration": GONE_S},), fresh=True),
    Fault("silence", ({"kind": "half_open"},), together=True, fresh=True),
    Fault("planned rotation", ({"kind": "server_shutdown", "duration": 5.0},), ours=True),
)


def follower(name: str, environment: str = "", variant: str = "") -> Client:
    """A row."""
    return Client(name, "follow.py", "", environment=environment, variant=variant or environment)


FOLLOWERS = (
    follower("k2trio, one line", variant="k2trio"),
    follower("k2trio, two lines", variant="k2trio two lines"),
    follower("k2trio, one line, 1 s limit", variant="k2trio 1 s limit"),
    follower("picows loop", "picows"),
    follower("aiohttp loop", "aiohttp"),
    follower("websockets iterator", "websockets"),
    follower("websocket-rs loop", "websocket-rs"),
    follower("trio-websocket loop", "trio-websocket"),
    follower("python-binance", "python-binance"),
    follower("unicorn-binance-websocket-api", "unicorn"),
    follower("binance-sdk-spot", "binance-sdk-spot"),
    follower("ccxt", "ccxt"),
    follower("cryptofeed", "cryptofeed"),
)
UNMEASURED = {"nautilus-trader": "trusts its built-in authorities only, so no local TLS server"}


class Exchange:
    """The bench's end of the simulated exchange."""

    def __init__(self, process: subprocess.Popen[str], ca: Path) -> None:
        self._process = process
        self.ca = ca
        said = self._receive()
        self.urls: dict[str, str] = said["urls"]
        self.rest: list[str] = said["rest"]

    def strike(self, faults: Sequence[dict[str, Any]], endpoint: str) -> tuple[float, int]:
        """Let faults happen now; when they had, and the last trade before."""
        said = self._ask([{"at": 0, "endpoint": endpoint, **fault} for fault in faults])
        return said["at"], said["last"]

    def first_attempt_after(self, at: float) -> float:
        """When the first dial after a time was answered; infinite if there was none."""
        attempts = self._ask({"attempts_since": at})["attempts"]
        return min((time_ for time_, _ in attempts), default=math.inf)

    def _ask(self, request: Any) -> dict[str, Any]:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return self._receive()

    def _receive(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit("the simulated exchange has ended; what it said is above")
        return dict(json.loads(line))


@contextmanager
def exchange_process(checkout: Path) -> Iterator[Exchange]:
    """Run the simulated exchange beside us."""
    with tempfile.TemporaryDirectory() as directory:
        ca = Path(directory) / "ca.pem"
        process = subprocess.Popen(
            [sys.executable, "-m", "harness.exchange", str(ca)],
            cwd=BENCH, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env=client_environment(checkout, None), preexec_fn=lambda: pin(cores()[1]),
        )  # fmt: skip
        try:
            yield Exchange(process, ca)
        finally:
            process.kill()
            process.wait()


class Following:
    """A client that follows, and what it says."""

    def __init__(self, row: Client, exchange: Exchange, checkout: Path) -> None:
        self.row = row
        self._ids: set[int] = set()
        self._arrivals: list[tuple[float, int]] = []
        self._flowing: list[float] = []
        self._news = threading.Condition()
        self._said = tempfile.TemporaryFile()  # noqa: SIM115 - closed in close()
        self._process = subprocess.Popen(
            [
                python_of(row), str(PEERS / row.adapter), "--variant", row.variant,
                "--url", exchange.urls["as"], "--ca", str(exchange.ca),
                "--failover", exchange.urls["bs"], "--rest", *exchange.rest,
            ],
            stdout=subprocess.PIPE, stderr=self._said,
            env=client_environment(checkout, exchange.ca), preexec_fn=lambda: pin(cores()[0]),
        )  # fmt: skip
        threading.Thread(target=self._listen, daemon=True).start()

    def close(self) -> None:
        """End it."""
        self._process.kill()
        self._process.wait()
        self._said.close()

    def check_alive(self) -> None:
        """See that its program runs: a library that is not back is one thing, a crash another.

        :raises NotMeasuredError: if it has ended by itself.
        """
        if self._process.poll() is not None:
            self._said.seek(0)
            lines = self._said.read().decode(errors="replace").strip().splitlines()
            raise NotMeasuredError(f"its program ended: {(lines or ['it said nothing'])[-1][:200]}")

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            parts = line.split()
            with self._news:
                if parts[:1] == [b"flowing"]:
                    self._flowing.append(int(parts[1]) / 1e9)
                elif len(parts) == 3 and parts[0].isdigit():
                    first, last = int(parts[0]), int(parts[1])
                    self._ids.update(range(first, last + 1))
                    self._arrivals.append((int(parts[2]) / 1e9, last))
                self._news.notify_all()

    def wait_steady(self) -> None:
        """Until data has flowed for a while.

        :raises NotMeasuredError: if it does not begin.
        """
        began = time.perf_counter()
        while time.perf_counter() < began + START_BOUND_S:
            seen = len(self._arrivals)
            time.sleep(SETTLE_S)
            if seen and len(self._arrivals) > seen:
                return
        raise NotMeasuredError("no data flowed")

    def delivered_after(self, last: int, struck_at: float, bound_s: float) -> float:
        """When its user had the first trade after ``last``; infinite if not within the bound."""
        with self._news:
            self._news.wait_for(
                lambda: bool(self._arrivals) and self._arrivals[-1][1] > last,
                max(0.0, struck_at + bound_s - time.perf_counter()),
            )
            times = (at for at, number in self._arrivals if number > last and at >= struck_at)
            return min(times, default=math.inf)

    def flowing_after(self, struck_at: float) -> float:
        """When the library had received something on a new connection."""
        return min((at for at in self._flowing if at > struck_at), default=math.inf)

    def lost(self, since: int) -> int:
        """Trades missing from ``since`` on."""
        with self._news:
            return sum(number not in self._ids for number in range(since, max(self._ids)))


@dataclass
class Trials:
    """What a library did in one table; times in ms, infinite for ``> bound``."""

    dialled: list[float] = field(default_factory=list)
    received: list[float] = field(default_factory=list)
    delivered: list[float] = field(default_factory=list)
    lost: list[int] = field(default_factory=list)

    def note(
        self, following: Following, exchange: Exchange, struck_at: float, last: int, bound_s: float
    ) -> None:
        """Wait for the end of one trial, and add it."""
        delivered = following.delivered_after(last, struck_at, bound_s)
        if math.isfinite(delivered):
            time.sleep(SETTLE_S)  # repairs and further dials may still come
            self.lost.append(following.lost(last - RECENT))
        received = min(delivered, following.flowing_after(struck_at))
        dialled = exchange.first_attempt_after(struck_at)
        for times, at in zip(
            (self.dialled, self.received, self.delivered), (dialled, received, delivered),
            strict=True,
        ):  # fmt: skip
            times.append((at - struck_at) * 1000)


def measure_in_turn(
    fault: Fault, rows: Sequence[Client], exchange: Exchange, options: argparse.Namespace
) -> tuple[dict[str, Trials], dict[str, str]]:
    """One library after the other, many trials each."""
    found: dict[str, Trials] = {}
    failures: dict[str, str] = {}
    for row in rows:
        trials = found[row.name] = Trials()
        following: Following | None = None
        count = max(1, options.trials // 3) if fault.fresh else options.trials
        try:
            for _ in range(count):
                if following is None:
                    following = Following(row, exchange, options.checkout)
                following.wait_steady()
                # Two lines lose one connection; which messages come when is left to chance.
                endpoint = "as" if fault.fresh or "two lines" in row.name else "*"
                time.sleep(random.uniform(0, 0.02))
                struck_at, last = exchange.strike(fault.faults, endpoint)
                trials.note(following, exchange, struck_at, last, options.bound)
                following.check_alive()
                if fault.fresh or math.isinf(trials.delivered[-1]):
                    following.close()
                    following = None
                    time.sleep(max(0.0, struck_at + GONE_S - time.perf_counter()))
                if trials.delivered.count(math.inf) >= GIVE_UP_AFTER:
                    break
        except NotMeasuredError as error:
            failures[row.name] = str(error)
            if not trials.delivered:
                del found[row.name]
        finally:
            if following is not None:
                following.close()
        print(f"{fault.name}: {row.name}", file=sys.stderr)
    return found, failures


def measure_together(
    fault: Fault, rows: Sequence[Client], exchange: Exchange, options: argparse.Namespace
) -> tuple[dict[str, Trials], dict[str, str]]:
    """All libraries at once: one fault for all, and each is watched until the bound."""
    found = {row.name: Trials() for row in rows}
    failures: dict[str, str] = {}
    for number in range(options.silence_trials):
        with ExitStack() as stack:
            running: list[Following] = []
            for row in rows:
                following = Following(row, exchange, options.checkout)
                stack.callback(following.close)
                running.append(following)
            for following in list(running):
                try:
                    following.wait_steady()
                except NotMeasuredError as error:
                    failures[following.row.name] = str(error)
                    running.remove(following)
            struck_at, last = exchange.strike(fault.faults, "as")
            watchers = [
                threading.Thread(
                    target=found[following.row.name].note,
                    args=(following, _Mute(), struck_at, last, options.silence_bound),
                )
                for following in running
            ]
            for watcher in watchers:
                watcher.start()
            for watcher in watchers:
                watcher.join()
        print(f"{fault.name}: trial {number + 1} of {options.silence_trials}", file=sys.stderr)
    return {name: trials for name, trials in found.items() if trials.delivered}, failures


class _Mute:
    """Stands in for the exchange where many dial at once: nobody can tell whose dial it was."""

    def first_attempt_after(self, _: float) -> float:
        """Unknown."""
        return math.nan


def floor(exchange: Exchange, trials: int) -> list[float]:
    """TCP, TLS and upgrade on a bare socket: milliseconds each."""
    where = urlsplit(exchange.urls["as"])
    assert where.hostname is not None
    context = ssl.create_default_context(cafile=exchange.ca)
    times = []
    for _ in range(trials):
        key = base64.b64encode(os.urandom(16)).decode()
        began = time.perf_counter()
        with socket.create_connection((where.hostname, where.port)) as bare:
            bare.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with context.wrap_socket(bare, server_hostname=where.hostname) as secure:
                secure.sendall(
                    f"GET /stream?streams=btcusdt@trade HTTP/1.1\r\nHost: {where.netloc}\r\n"
                    "Upgrade: websocket\r\nConnection: Upgrade\r\n"
                    f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n".encode()
                )
                head = b""
                while b"\r\n\r\n" not in head:
                    head += secure.recv(4096)
                times.append((time.perf_counter() - began) * 1000)
    return times


def distribution(times: Sequence[float]) -> dict[str, float | None]:
    """Median, 95th percentile (nearest rank) and maximum; None: beyond the bound, or unknown."""
    known = sorted(at for at in times if not math.isnan(at))
    if not known:
        return {"median": None, "p95": None, "max": None}
    picked = (
        known[(len(known) - 1) // 2],
        known[max(0, math.ceil(0.95 * len(known)) - 1)],
        known[-1],
    )
    return {
        name: round(at, 3) if math.isfinite(at) else None
        for name, at in zip(("median", "p95", "max"), picked, strict=True)
    }


def summary(trials: Trials) -> dict[str, Any]:
    """One row, for JSON."""
    return {
        "trials": len(trials.delivered),
        "beyond_bound": trials.delivered.count(math.inf),
        **{name: distribution(getattr(trials, name)) for name in TIMES},
        "lost_mean": round(statistics.mean(trials.lost), 2) if trials.lost else None,
        "lost_max": max(trials.lost, default=None),
        "samples": {
            name: [round(at, 3) if math.isfinite(at) else None for at in getattr(trials, name)]
            for name in TIMES
        },
    }


def show(
    name: str, rows: dict[str, dict[str, Any]], bound_s: float, failures: dict[str, str]
) -> str:
    """The table, for people."""

    def cell(times: dict[str, float | None], trials: int, beyond: int) -> str:
        if times["median"] is None:
            return f"> {bound_s:g} s" if beyond == trials else "?"
        texts = [
            f"> {bound_s:g} s" if at is None else f"{at:,.1f}" for at in times.values()
        ]  # fmt: skip
        return " / ".join(texts)

    lines = [
        [
            client,
            *(cell(row[key], row["trials"], row["beyond_bound"]) for key in TIMES),
            "?" if row["lost_mean"] is None else f"{row['lost_mean']:g} ({row['lost_max']})",
            str(row["trials"]),
        ]
        for client, row in rows.items()
    ]
    head = ["client", *(f"{key} ms (median / p95 / max)" for key in TIMES), "lost (most)", "trials"]
    text = f"### {name}, TLS\n\n{table(head, lines)}\n"
    for client, why in failures.items():
        text += f"\nNot measured: {client}: {why}\n"
    return text


def plot(result: dict[str, Any], floor_ms: float, folder: Path, foot: str) -> None:
    """First message after the fault, median to maximum."""
    rows = [
        (client, [row["received"][key] for key in ("median", "p95", "max")])
        for client, row in result["clients"].items()
        if None not in row["received"].values()
    ]
    beyond = [
        client for client, row in result["clients"].items() if None in row["received"].values()
    ]
    rows.append(("floor: TCP + TLS + upgrade", [floor_ms] * 3))
    ranges(
        folder / f"reconnect-{'-'.join(re.findall(r'[a-z0-9]+', result['fault'].lower()))}.png",
        f"After {result['fault']}: first new message received",
        f"ms after the fault (not back within {result['bound_s']:g} s: "
        f"{', '.join(beyond) or 'none'})",
        rows,
        ("median", "p95", "max"),
        foot,
    )


def main() -> None:
    """Command line of the benchmark."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--trials", type=int, default=30, help="per library and quick fault")
    parser.add_argument("--bound", type=float, default=20, help="seconds that a trial may take")
    parser.add_argument("--silence-trials", type=int, default=3)
    parser.add_argument("--silence-bound", type=float, default=75)
    parser.add_argument("--only", default="", help="faults whose name holds this")
    parser.add_argument("--clients", default="", help="comma list of parts of names")
    parser.add_argument("--checkout", type=Path, default=CHECKOUT, help="tree of k2trio to measure")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--plots", type=Path, metavar="FOLDER")
    parser.add_argument("--quick", action="store_true", help="few trials, short bounds")
    options = parser.parse_args()
    if options.quick:
        options.trials, options.bound = 2, 4
        options.silence_trials, options.silence_bound = 1, 3
    words = [word.strip() for word in options.clients.split(",") if word.strip()]
    rows = [row for row in FOLLOWERS if not words or any(word in row.name for word in words)]
    results = []
    bare: list[float] = []
    faults = [fault for fault in FAULTS if options.only in fault.name]
    if not faults:
        parser.error(f"no fault is called {options.only!r}")
    with exchange_process(options.checkout) as exchange:
        for fault in faults:
            bare += floor(exchange, max(options.trials, 5))
            able = [row for row in rows if row.ours or not fault.ours]
            measure = measure_together if fault.together else measure_in_turn
            found, failures = measure(fault, able, exchange, options)
            bound_s = options.silence_bound if fault.together else options.bound
            clients = {name: summary(trials) for name, trials in found.items()}
            results.append(
                {
                    "fault": fault.name,
                    "bound_s": bound_s,
                    "clients": clients,
                    "not_measured": {**failures, **({} if fault.ours else UNMEASURED)},
                }
            )
            print(show(fault.name, clients, bound_s, results[-1]["not_measured"]), flush=True)
    floor_times = distribution(bare)
    print("floor, TCP + TLS + upgrade, ms (median / p95 / max): "
          + " / ".join(f"{at:.2f}" for at in floor_times.values()) + "\n")  # fmt: skip
    content = document(
        options.checkout,
        floor_ms=floor_times,
        versions={row.name: versions_of(row) for row in rows},
        results=results,
    )

    def draw(folder: Path) -> None:
        for result in results:
            plot(result, floor_times["median"] or 0.0, folder, caption(content))

    publish(content, options, draw)


if __name__ == "__main__":
    main()
