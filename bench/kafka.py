"""Kafka as the log: messages a second of one core's time, delay until they can be read, memory.

The sink's transactions, which hold messages and positions, beside what one would write instead:
confluent-kafka's producer as it comes (idempotent, no transactions; with the same headers, and with
none), and aiokafka's transactions. The same trades of five symbols; every piece of work in a
process of its own, rounds interleaved; time of the processors counts that of all threads.

Then the program at 5,000 messages a second of a simulated exchange: from when a message was
received until a reader of what is committed has it. Then an outage of the broker at that rate: what
memory it takes, and that nothing of it is lost or twice.

    K2TRIO_KAFKA_JARS=$(.ci/kafka/jars) python bench/kafka.py [--rows 1000000] [--rounds 3]

The broker shares the two cores, as do simulator and reader.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from harness.clients import CHECKOUT, PEERS
from harness.report import document, publish, table

sys.path.insert(0, str(CHECKOUT / "tests"))
sys.path.insert(0, str(CHECKOUT / "tests" / "engine"))

from engine_log import accounts_of
from kafkanode import KafkaNode
from proof import Plan
from proof import run as prove

WORKS = {
    "k2trio: exactly once, with positions": "k2trio",
    "confluent-kafka, idempotent": "plain",
    "confluent-kafka, without headers": "bare",
    "aiokafka, transactions": "aiokafka",
}
RATE = 5_000
WORK_BOUND_S = 600.0
BEFORE_S = 5.0
"""Before the broker goes away."""


def work(name: str, address: str, count: float, checkout: Path) -> dict[str, Any]:
    """One piece of work, in a process of its own."""
    done = subprocess.run(
        [sys.executable, str(PEERS / "kafka_work.py"), name, address, str(int(count))],
        capture_output=True, text=True, check=False, timeout=WORK_BOUND_S,
        env={**os.environ, "PYTHONPATH": str(checkout)},
    )  # fmt: skip
    if done.returncode:
        raise SystemExit(f"{name}: {done.stderr.strip()}")
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def throughput(address: str, options: argparse.Namespace) -> dict[str, dict[str, float]]:
    """Each piece of work, in every round; the medians."""
    rows, checkout = options.rows, options.checkout
    rounds = [
        {title: work(name, address, rows, checkout) for title, name in WORKS.items()}
        for _ in range(options.rounds)
    ]
    return {
        title: {
            key: statistics.median(one[title][key] for one in rounds) for key in rounds[0][title]
        }
        for title in WORKS
    }


def outage(node: KafkaNode, seconds: float, checkout: Path) -> dict[str, Any]:
    """A broker that is away for so long, at 5,000 messages a second."""
    command = [sys.executable, str(PEERS / "kafka_work.py"), "outage", node.address]
    with subprocess.Popen(
        [*command, str(int(seconds + 2 * BEFORE_S))],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(checkout)},
    ) as process:
        time.sleep(BEFORE_S)
        node.stop()
        time.sleep(seconds)
        node.start()
        out, _ = process.communicate(timeout=WORK_BOUND_S)
    result: dict[str, Any] = json.loads(out)
    (topic,) = [name for name in node_topics(node) if name.startswith("outage-")]
    ((_, account),) = accounts_of(node.address, [topic]).items()
    result["in_log"], result["wrong"] = account.records, len(account.wrong)
    return result


def node_topics(node: KafkaNode) -> list[str]:
    """The topics of messages."""
    from confluent_kafka.admin import AdminClient

    topics = AdminClient({"bootstrap.servers": node.address}).list_topics(timeout=10).topics
    return [name for name in topics if name.endswith(".trade")]


def main() -> None:
    """Command line of the bench."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=60, help="of each of the other two parts")
    parser.add_argument("--quick", action="store_true", help="that it runs, not what it finds")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--checkout", type=Path, default=CHECKOUT)
    options = parser.parse_args()
    options.plots = None
    jars = os.environ.get("K2TRIO_KAFKA_JARS")
    if not jars:
        print("needs Apache Kafka: K2TRIO_KAFKA_JARS=$(.ci/kafka/jars)")
        return
    if options.quick:
        options.rows, options.rounds, options.seconds = 20_000, 1, 5
    with tempfile.TemporaryDirectory() as made:
        node = KafkaNode(Path(jars), Path(made) / "kafka")
        node.start()
        try:
            written = throughput(node.address, options)
            away = outage(node, options.seconds, options.checkout)
        finally:
            node.stop()
        plan = Plan(max(options.seconds, 15), RATE, shards=2, members=1, troubled=False)
        through = prove(Path(jars), Path(made) / "program", plan)
    delays = sorted(through.all_s)
    delay = {str(p): delays[int(p / 100 * (len(delays) - 1))] * 1000 for p in (50, 99, 99.9)}
    content = document(
        options.checkout, rows=options.rows, rounds=options.rounds, written=written,
        delay_ms=delay, outage=away,
    )  # fmt: skip
    print(
        table(
            ["", "per CPU second", "per second", "peak MB"],
            [
                [title, f"{one['per_cpu_s']:,.0f}", f"{one['per_s']:,.0f}", f"{one['peak_mb']:.0f}"]
                for title, one in written.items()
            ],
        )
    )
    print(
        f"received to read at {through.records / through.seconds:,.0f} records a second, ms: "
        + ", ".join(f"p{p} {value:.0f}" for p, value in delay.items())
    )
    print(
        f"broker away for {options.seconds:.0f} s at {RATE:,} a second: "
        f"{away['peak_mb']:.0f} MB at most ({away['before_mb']:.0f} before), "
        f"{away['blocked_s']:.1f} s held up, "
        f"{away['in_log']:,} of {away['written']:,} in the log, {away['wrong']} wrong"
    )
    publish(content, options, lambda _: None)


if __name__ == "__main__":
    main()
