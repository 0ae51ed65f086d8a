"""The brokers of the Compose file, without Docker: started as their image starts them, on loopback.

The image has Apache Kafka's own wrapper make properties out of variables, and format the storage;
it is in the jars too. Only hosts and ports are others here.
"""

from __future__ import annotations

import contextlib
import re
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import confluent_kafka
import pytest
from confluent_kafka import admin
from deployed import collectors, services
from kafkanode import HOST, JAVA, READY, free_port
from processes import simulator, started

from k2trio.kafka.cluster import Cluster
from k2trio.kafka_urls import parse_kafka_url
from k2trio.settings import ENV_PREFIX

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator
    from pathlib import Path

pytestmark = pytest.mark.slow


PATIENCE_S = 90.0
"""How long one step may take: three brokers on two cores."""
LOGGING = """\
Configuration:
  Appenders:
    Console: {name: STDOUT, PatternLayout: {pattern: "%m%n"}}
  Loggers:
    Root: {level: WARN, AppenderRef: [{ref: STDOUT}]}
    Logger: [{name: kafka.server.KafkaRaftServer, level: INFO}]
"""
JVM = ("KAFKA_HEAP_OPTS",)
"""Variables for the JVM, which the tests have options of their own for."""


def until(true: Callable[[], Any], what: str) -> Any:
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        if found := true():
            return found
        time.sleep(0.2)
    raise AssertionError(f"never came: {what}")


@dataclass
class Broker:
    """One of the Compose file's."""

    name: str
    folder: Path
    variables: dict[str, str]
    healthcheck: list[str]
    process: subprocess.Popen[bytes] | None = None

    @property
    def log(self) -> Path:
        return self.folder / "kafka.log"

    def start(self, jars: Path) -> None:
        for name in ("default", "mounted", "final", "data"):
            (self.folder / name).mkdir(parents=True)
        (self.folder / "default" / "server.properties").touch()
        for name in ("log4j2.yaml", "tools-log4j2.yaml"):
            (self.folder / "default" / name).write_text(LOGGING)
        java = [*JAVA, "-cp", f"{jars.absolute()}/*"]
        folders = [f"--{name}-configs-dir={name}" for name in ("default", "mounted", "final")]
        done = subprocess.run(  # noqa: S603
            [*java, "kafka.docker.KafkaDockerWrapper", "setup", *folders],
            cwd=self.folder, env={"PATH": "/usr/bin:/bin", **self.variables},
            capture_output=True, text=True, timeout=PATIENCE_S, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(  # noqa: S603
                [*java, "-Dlog4j2.configurationFile=final/log4j2.yaml", "kafka.Kafka",
                 "final/server.properties"],
                cwd=self.folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip

    def is_ready(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, self.log.read_text()[-3000:]
        return READY in self.log.read_bytes()

    def is_healthy(self) -> bool:
        """What its healthcheck says."""
        end = subprocess.run(  # noqa: S603
            self.healthcheck, capture_output=True, timeout=30, check=False
        )
        return end.returncode == 0


def on_loopback() -> tuple[dict[str, dict[str, Any]], Callable[[str], str]]:
    """The Compose file's brokers, and what makes a text of theirs one of this machine."""
    found = services("kafka")
    taken: list[int] = []
    changes: dict[str, str] = {}
    for name, broker in found.items():
        _, _, published = broker["environment"]["KAFKA_ADVERTISED_LISTENERS"].rpartition(":")
        for there in (f"{name}:9092", f"{name}:9093", f"127.0.0.1:{published}"):
            taken.append(free_port(taken))
            changes[there] = f"{HOST}:{taken[-1]}"
        # What it listens on it tells without a host.
        ports = [changes[f"{name}:9092"], changes[f"127.0.0.1:{published}"]]
        ports.append(changes[f"{name}:9093"])
        own = broker["environment"]
        own["KAFKA_LISTENERS"] = ",".join(
            f"{one.partition('://')[0]}://{address}"
            for one, address in zip(own["KAFKA_LISTENERS"].split(","), ports, strict=True)
        )
        health = f"/{ports[0].replace(':', '/')}"
        test = [part.replace("/127.0.0.1/9092", health) for part in broker["healthcheck"]["test"]]
        broker["healthcheck"] = {**broker["healthcheck"], "test": test}

    def moved(text: str) -> str:
        pattern = "|".join(map(re.escape, changes))
        return re.sub(pattern, lambda match: changes[match[0]], text)

    return found, moved


@pytest.fixture(scope="module")
def cluster(
    kafka_jars: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[list[Broker], str]]:
    """The brokers, running, and what a collector is to write to."""
    found, moved = on_loopback()
    root = tmp_path_factory.mktemp("brokers")
    brokers: list[Broker] = []
    for name, broker in found.items():
        folder = root / name
        own = {
            variable: moved(value)
            for variable, value in broker["environment"].items()
            if variable not in JVM
        }
        own["KAFKA_LOG_DIRS"] = str(folder / "data")
        kind, *command = broker["healthcheck"]["test"]
        assert kind == "CMD"
        brokers.append(Broker(name, folder, own, command))
    try:
        assert not brokers[0].is_healthy()
        with ThreadPoolExecutor() as pool:
            list(pool.map(lambda one: one.start(kafka_jars), brokers))
        for one in brokers:
            until(one.is_ready, f"{one.name} ready; see {one.log}")
        yield brokers, moved(collectors()["collector-1"][f"{ENV_PREFIX}OUTPUT"])
    finally:
        for one in brokers:
            if one.process is not None:
                one.process.kill()
                one.process.wait()


@contextlib.contextmanager
def writing(output: str, tmp_path: Path) -> Generator[list[subprocess.Popen[bytes]]]:
    """The Compose file's collectors, with the simulator for the exchange."""
    symbols = collectors()["collector-1"][f"{ENV_PREFIX}SYMBOLS"]
    with (
        contextlib.ExitStack() as stack,
        simulator("--rate", "5", "--symbols", symbols) as exchange,
    ):
        running = []
        for name in services("collector"):
            own = {
                variable.removeprefix(ENV_PREFIX): value
                for variable, value in collectors()[name].items()
                if variable.startswith(ENV_PREFIX)
            }
            own |= exchange.variables() | {
                "OUTPUT": output,
                "SHARED_BUDGET": str(tmp_path / "budget"),
                "METRICS_HOST": "127.0.0.1",
            }
            running.append(stack.enter_context(started("run", stdout=subprocess.DEVNULL, **own)))
        yield running


def committed(client: Any, topic: str) -> int:
    """Records of a topic that readers of what is committed see."""
    reader = confluent_kafka.Consumer(
        {**client, "group.id": "nobody", "isolation.level": "read_committed"}
    )
    try:
        partitions = reader.list_topics(topic, timeout=10).topics[topic].partitions
        ends = [
            reader.get_watermark_offsets(confluent_kafka.TopicPartition(topic, one), timeout=10)
            for one in partitions
        ]
        return sum(high - low for low, high in ends)
    except confluent_kafka.KafkaException:
        return 0  # no leader, for a moment
    finally:
        reader.close()


def test_a_topic_that_two_processes_make_at_once_is_seen_whole_by_both(
    cluster: tuple[list[Broker], str],
) -> None:
    brokers, output = cluster
    assert all(one.is_healthy() for one in brokers)
    servers = parse_kafka_url(output).bootstrap
    with ThreadPoolExecutor(2) as pool:
        made = pool.map(
            lambda number: Cluster(servers, {}).make_topic(f"topic-{number // 2}", 3, {}), range(20)
        )
        assert list(made) == 20 * [3]


def test_the_collectors_write_to_the_brokers_also_when_one_of_those_dies(
    cluster: tuple[list[Broker], str], tmp_path: Path
) -> None:
    brokers, output = cluster
    client = {"bootstrap.servers": parse_kafka_url(output).bootstrap, "log_level": 0}
    asking = admin.AdminClient(client)
    topic = "market.crypto.trade.127.0.0.1"
    with writing(output, tmp_path) as running:
        until(lambda: topic in asking.list_topics(timeout=10).topics, "the topic")
        until(lambda: committed(client, topic) > 100, "records")
        topics = asking.list_topics(timeout=10).topics
        assert len(topics[topic].partitions) == 6
        assert len(topics["k2trio.positions"].partitions) == 8
        for name in (topic, "k2trio.positions", "__transaction_state", "__consumer_offsets"):
            assert {len(one.replicas) for one in topics[name].partitions.values()} == {3}
        asked = admin.ConfigResource(admin.ConfigResource.Type.TOPIC, topic)
        config = asking.describe_configs([asked])[asked].result(10)
        assert config["min.insync.replicas"].value == "2"
        assert config["retention.ms"].value == str(168 * 3600 * 1000)

        killed = brokers[0].process
        assert killed is not None
        killed.kill()
        killed.wait()
        assert not brokers[0].is_healthy()
        before = committed(client, topic)
        until(lambda: committed(client, topic) > before + 200, "records after that")
        ended = [one.stderr.read() for one in running if one.poll() is not None]
        assert ended == []
