"""The engine through trouble: members of a group write one log, and nothing of it is lost or twice.

Every few seconds a member is killed, or stopped for longer than its session lasts, or has its
connections reset, or another one joins or leaves, or the broker restarts. Afterwards the topics
hold every id that the exchange emitted, once and in order.

``python tests/engine/proof.py --seconds 600 --standby hot`` is the long way; the suite takes half a
minute. Needs ``K2TRIO_KAFKA_JARS``.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).parents[1]))

from engine_log import Follower, accounts_of, percentile
from kafkanode import KafkaNode
from processes import LOGGED, Simulator, environment, simulator

if TYPE_CHECKING:
    from collections.abc import Generator

SYMBOLS = ("BTCUSDT", "ETHUSDT", "BNBUSDT", "SOLUSDT", "XRPUSDT", "DOGEUSDT", "ADAUSDT", "TRXUSDT")
KINDS = ("trade", "aggTrade", "bookTicker", "depth@100ms")
VENUE = "127.0.0.1"
GROUP = "engine"
TOPIC = "market.{kind}.{venue}"
MESSAGES_A_TRADE = 2.8
"""What the simulated exchange sends for each trade of these kinds."""
CALM_S = 10.0
"""Before the first trouble, and after the last."""
EVERY_S = 4.0
SESSION_S = 4.0
"""After so much silence a member's shards are given to others."""
RESTART_S = 1.0
"""Until whoever supervises them starts a member again."""
WEIGHT_A_MEMBER = 6000
"""Members stand for machines, and the exchange counts REST weight by address (a minute)."""
REACH_S = 60.0
"""Until all that was emitted must be in the log."""


@dataclass
class MemberProcess:
    """A collector, and what became of the ones before it under this name."""

    name: str
    command: list[str]
    variables: dict[str, str]
    folder: Path
    process: subprocess.Popen[bytes] | None = None
    wanted: bool = True
    paused_until: float | None = None
    ended_at: float = 0.0
    codes: list[int] = field(default_factory=list[int])

    def start(self) -> None:
        with (self.folder / f"{self.name}.log").open("ab") as log:
            self.process = subprocess.Popen(  # noqa: S603 - our own command
                self.command, env=self.variables, stdout=log, stderr=log
            )

    @property
    def runs(self) -> bool:
        return self.process is not None and self.process.poll() is None

    @property
    def awake(self) -> bool:
        return self.runs and self.paused_until is None

    def send(self, number: signal.Signals) -> None:
        if self.process is not None:
            self.process.send_signal(number)

    def tend(self, now: float) -> None:
        """Wake it if that is due, and start it again if it has ended and is wanted."""
        if self.paused_until is not None and now >= self.paused_until:
            self.send(signal.SIGCONT)
            self.paused_until = None
        if self.process is not None and not self.runs:
            self.codes.append(self.process.returncode)
            self.process, self.ended_at = None, now
        if self.process is None and self.wanted and now - self.ended_at >= RESTART_S:
            self.start()


@dataclass
class Outcome:
    """What is told at the end."""

    troubles: dict[str, int]
    takeovers_s: list[float]
    calm_s: list[float]
    all_s: list[float]
    records: int
    seconds: float
    wrong: list[str]
    gaps: Counter[str]
    outages: int
    repaired: int
    codes: list[int]


class Trouble:
    """Does something to somebody, every few seconds."""

    def __init__(
        self, members: list[MemberProcess], exchange: Simulator, node: KafkaNode, seed: int
    ) -> None:
        self.done: dict[str, int] = {}
        self.deaths: list[tuple[float, int]] = []
        """When a process was killed or stopped, and which."""
        self._members = members
        self._exchange = exchange
        self._node = node
        self._rng = random.Random(seed)

    def make(self) -> None:
        kinds = [self.kill, self.stop, self.reset, self.come_or_go, self.restart_broker]
        kind = self._rng.choices(kinds, weights=[3, 2, 2, 2, 1])[0]
        self.done[kind.__name__] = self.done.get(kind.__name__, 0) + 1
        kind()

    def kill(self) -> None:
        if (victim := self._victim()) is not None:
            self._note_death(victim)
            victim.send(signal.SIGKILL)

    def stop(self) -> None:
        """A zombie: it wakes when others have its shards, and must be fenced."""
        if (victim := self._victim()) is not None:
            self._note_death(victim)
            victim.send(signal.SIGSTOP)
            victim.paused_until = time.monotonic() + SESSION_S + 3

    def reset(self) -> None:
        self._exchange.break_now("rst")

    def come_or_go(self) -> None:
        """The last member joins or leaves."""
        last = self._members[-1]
        last.wanted = not last.wanted
        if not last.wanted and last.awake:
            last.send(signal.SIGTERM)

    def restart_broker(self) -> None:
        self._node.stop()
        self._node.start()

    def _victim(self) -> MemberProcess | None:
        awake = [member for member in self._members if member.awake]
        return self._rng.choice(awake) if len(awake) > 1 else None

    def _note_death(self, victim: MemberProcess) -> None:
        if victim.process is not None:
            self.deaths.append((time.time(), victim.process.pid))


@dataclass
class Plan:
    """What is to be tried.

    :ivar rate: messages a second.
    :ivar troubled: whether anything happens to the members but their end.
    """

    seconds: float = 600.0
    rate: float = 5000.0
    standby: str = "cold"
    shards: int = 4
    seed: int = 1
    members: int = 3
    troubled: bool = True


def run(jars: Path, folder: Path, plan: Plan) -> Outcome:
    """Let members write for so many seconds, and look at what they wrote."""
    folder.mkdir(parents=True, exist_ok=True)
    per_symbol = plan.rate / len(SYMBOLS) / MESSAGES_A_TRADE
    node = KafkaNode(jars, folder / "kafka")
    node.start()
    try:
        with simulator(
            "--rate", f"{per_symbol:.2f}", "--symbols", ",".join(SYMBOLS),
            "--weight-limit", str(plan.members * WEIGHT_A_MEMBER),
        ) as exchange:  # fmt: skip
            return _through_trouble(node, exchange, folder, plan)
    finally:
        node.stop()


def _through_trouble(node: KafkaNode, exchange: Simulator, folder: Path, plan: Plan) -> Outcome:
    streams = [f"{symbol.lower()}@{kind}" for symbol in SYMBOLS for kind in KINDS]
    variables = environment(
        **exchange.variables() | LOGGED,
        OUTPUT=f"kafka://{node.address}/{TOPIC}",
        GROUP=GROUP,
        SHARDS=str(plan.shards),
        STANDBY=plan.standby,
        STREAMS=",".join(streams),
        KAFKA_SESSION_TIMEOUT=str(SESSION_S),
        MAX_RECONNECT_ATTEMPTS="0",
        STABLE_AFTER="1",
        SHARED_BUDGET="off",  # on three machines they would share no file
    ) | {"PYTHONUNBUFFERED": "1"}
    command = [sys.executable, "-m", "k2trio", "run"]
    members = [
        MemberProcess(f"member-{number}", command, variables, folder)
        for number in range(1, plan.members + 1)
    ]
    kinds = sorted({kind.partition("@")[0] for kind in KINDS})
    topics = [TOPIC.format(kind=kind, venue=VENUE) for kind in kinds]
    with (
        _all(members),
        Follower(node.address, topics, f"{GROUP}.positions", plan.shards) as follower,
    ):
        trouble = Trouble(members, exchange, node, plan.seed)
        began = time.monotonic()
        follower.wait_for_owners()
        calm_from = time.time()
        due = time.monotonic() + CALM_S
        while (now := time.monotonic()) - began < plan.seconds:
            for member in members:
                member.tend(now)
            if plan.troubled and due <= now < began + plan.seconds - CALM_S:
                trouble.make()
                due = time.monotonic() + EVERY_S
            time.sleep(0.1)
        calm_until = calm_from + CALM_S
        for member in members:  # whoever sleeps, or is down, comes back
            member.wanted = True
            member.tend(math.inf)
        truth = exchange.truth()
        _reach(node.address, topics, truth, members)
        codes = [code for member in members for code in member.codes]
    accounts = accounts_of(node.address, topics)
    wrong = [line for account in accounts.values() for line in account.wrong]
    wrong += _short(truth, accounts, set(streams))
    return Outcome(
        trouble.done,
        follower.takeovers(trouble.deaths),
        follower.latencies(calm_from + 2, calm_until),
        follower.latencies(0, math.inf),
        sum(account.records for account in accounts.values()),
        time.monotonic() - began,
        wrong,
        sum((account.gaps for account in accounts.values()), Counter[str]()),
        sum(account.outages for account in accounts.values()),
        sum(account.repaired for account in accounts.values()),
        codes,
    )


@contextlib.contextmanager
def _all(members: list[MemberProcess]) -> Generator[None]:
    """Start all; end them in order, or else at once."""
    for member in members:
        member.start()
    try:
        yield
    finally:
        for member in members:
            member.wanted = False
            member.send(signal.SIGCONT)
            member.send(signal.SIGTERM)
        for member in members:
            if member.process is not None:
                try:
                    member.process.wait(20)
                except subprocess.TimeoutExpired:
                    member.send(signal.SIGKILL)
                    member.process.wait()


def _reach(
    address: str, topics: list[str], truth: dict[str, object], members: list[MemberProcess]
) -> None:
    """Wait until the log has all that the exchange had emitted by then."""
    deadline = time.monotonic() + REACH_S
    while time.monotonic() < deadline:
        for member in members:
            member.tend(time.monotonic())
        if not _short(truth, accounts_of(address, topics), None):
            return
        time.sleep(2)


def _short(truth: dict, accounts: dict, streams: set[str] | None) -> list[str]:
    """Streams of ids that end before what was emitted, or that are not there at all."""
    wrong: list[str] = []
    for stream, emitted in truth["streams"].items():
        if not emitted["ranges"] or (streams is not None and stream not in streams):
            continue
        account = accounts.get((VENUE, stream))
        last = emitted["ranges"][-1][1]
        if account is None or account.last is None or account.last < last:
            found = None if account is None else account.last
            wrong.append(f"{stream}: emitted up to {last}, in the log up to {found}")
    return wrong


def told(outcome: Outcome) -> list[str]:
    """What was seen, for people."""

    def spread(values: list[float], unit: str, factor: float = 1.0) -> str:
        if not values:
            return "none"
        points = [percentile(values, share) * factor for share in (0.5, 0.99)]
        return (
            f"p50 {points[0]:.1f}, p99 {points[1]:.1f}, max {max(values) * factor:.1f} {unit} "
            f"of {len(values):,}"
        )

    done = ", ".join(f"{count} {name}" for name, count in sorted(outcome.troubles.items()))
    gaps = ", ".join(f"{count} {kind}" for kind, count in sorted(outcome.gaps.items()))
    return [
        f"trouble: {done}",
        f"{outcome.records:,} records, {outcome.records / outcome.seconds:,.0f} a second; "
        f"{outcome.repaired:,} by REST, {outcome.outages} outages declared",
        f"gaps declared: {gaps or 'none'}",
        f"takeover: {spread(outcome.takeovers_s, 's')}",
        f"received to read, calm: {spread(outcome.calm_s, 'ms', 1000)}",
        f"received to read, all: {spread(outcome.all_s, 'ms', 1000)}",
        f"members that ended: {sorted(outcome.codes)}",
    ]


def main() -> int:
    """Command line of the proof."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--rate", type=float, default=5000, help="messages a second")
    parser.add_argument("--standby", choices=["cold", "hot"], default="cold")
    parser.add_argument("--shards", type=int, default=4)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", type=Path, help="a folder for the members' logs")
    options = parser.parse_args()
    jars = os.environ.get("K2TRIO_KAFKA_JARS")
    if not jars:
        sys.exit("needs Apache Kafka: K2TRIO_KAFKA_JARS=$(.ci/kafka/jars)")
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made) if options.keep is None else options.keep
        plan = Plan(options.seconds, options.rate, options.standby, options.shards, options.seed)
        outcome = run(Path(jars), folder, plan)
    for line in told(outcome):
        print(line)  # noqa: T201 - a command line
    for line in outcome.wrong[:20]:
        print(f"wrong: {line}")  # noqa: T201
    print(json.dumps({"wrong": len(outcome.wrong)}))  # noqa: T201
    return 1 if outcome.wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())
