"""The node of Apache Kafka that tests run holds what it is given, however it ends."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import kafkanode
import pytest
from confluent_kafka import KafkaError, KafkaException, Producer
from confluent_kafka.admin import AdminClient
from kafkanode import Credentials, KafkaNode, NotStarted
from topics import PATIENCE_S, fill, held, new_topic, unique

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.slow

RECORDS: list[tuple[bytes | None, bytes | None]] = [
    (b"BTCUSDT", b"%d" % number) for number in range(100)
]
PAUSE_S = 1.0
MADE_MS = 2000
"""Within that a broker that makes topics by itself has made one."""


def until(true: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < end, f"never came: {what}"
        time.sleep(0.1)


def topics_of(address: str, timeout_s: float = PATIENCE_S) -> set[str]:
    return set(AdminClient({"bootstrap.servers": address}).list_topics(timeout=timeout_s).topics)


def troubles(address: str, login: dict[str, str]) -> set[str]:
    """What a client is told that is not let in."""
    told: set[str] = set()
    client = AdminClient(
        {"bootstrap.servers": address, **login}, error_cb=lambda error: told.add(error.name())
    )
    with pytest.raises(KafkaException):
        client.list_topics(timeout=PAUSE_S)
    client.poll(0)
    return told


def test_the_shared_node_holds_what_it_is_given(kafka: str) -> None:
    topic = new_topic(kafka, partitions=2)
    fill(kafka, topic, RECORDS)
    # By its key, everything is in one partition.
    assert [record for partition in range(2) for record in held(kafka, topic, partition)] == RECORDS


def test_a_compacted_topic_keeps_the_last_of_each_key_within_seconds(kafka: str) -> None:
    topic = new_topic(
        kafka,
        config={
            "cleanup.policy": "compact",
            "segment.ms": "100",
            "min.cleanable.dirty.ratio": "0.001",
        },
    )
    fill(kafka, topic, RECORDS)
    last = (b"ETHUSDT", b"0")

    def compacted() -> bool:
        fill(kafka, topic, [last])  # the segment that is written to is never compacted
        found = held(kafka, topic)
        assert RECORDS[-1] in found
        return found[:2] == [RECORDS[-1], last]

    until(compacted, "compaction")


def test_a_transaction_whose_writer_is_gone_is_ended_by_the_node(kafka: str) -> None:
    topic = new_topic(kafka)
    writer = Producer(
        {
            "bootstrap.servers": kafka,
            "transactional.id": unique("writer"),
            "transaction.timeout.ms": 1000,
        }
    )
    writer.init_transactions(PATIENCE_S)
    writer.begin_transaction()
    writer.produce(topic, b"never committed")
    writer.flush(PATIENCE_S)
    fill(kafka, topic, RECORDS)
    assert held(kafka, topic) == []  # nothing behind it is read as long as it is open
    until(lambda: held(kafka, topic) == RECORDS, "the end of the transaction")


def test_a_topic_that_nobody_made_is_none(kafka: str) -> None:
    topic = unique("nobody-made-this")
    refused: list[KafkaError | None] = []
    settings = {"bootstrap.servers": kafka, "topic.metadata.propagation.max.ms": MADE_MS}
    producer = Producer(settings)
    producer.produce(topic, b"", on_delivery=lambda error, _: refused.append(error))
    assert producer.flush(PATIENCE_S) == 0
    assert [error and error.name() for error in refused] == ["UNKNOWN_TOPIC_OR_PART"]
    assert topic not in topics_of(kafka)


def test_a_node_that_was_stopped_or_killed_is_where_it_was_with_what_it_acknowledged(
    own_kafka: KafkaNode,
) -> None:
    address = own_kafka.address
    topic = new_topic(address)
    fill(address, topic, RECORDS)
    own_kafka.restart()
    assert own_kafka.address == address
    assert held(address, topic) == RECORDS
    fill(address, topic, RECORDS)
    own_kafka.kill()
    assert not own_kafka.running
    with pytest.raises(KafkaException):
        topics_of(address, timeout_s=0.5)
    own_kafka.start()
    assert held(address, topic) == RECORDS * 2


def test_a_paused_node_answers_nothing_until_it_goes_on(own_kafka: KafkaNode) -> None:
    topic = new_topic(own_kafka.address)
    own_kafka.pause()
    with pytest.raises(KafkaException):
        topics_of(own_kafka.address, timeout_s=PAUSE_S)
    assert own_kafka.running
    own_kafka.resume()
    assert topic in topics_of(own_kafka.address)
    own_kafka.pause()
    began = time.monotonic()
    own_kafka.stop()
    assert time.monotonic() < began + kafkanode.STOP_S, "it was killed"
    assert not own_kafka.running


def test_a_secured_node_lets_in_who_knows_the_password(
    secured_kafka: tuple[KafkaNode, Credentials], ca_file: Path
) -> None:
    node, credentials = secured_kafka
    address = node.secured_address
    for mechanism in ("PLAIN", "SCRAM-SHA-512"):
        login = {
            "security.protocol": "SASL_SSL",
            "sasl.mechanism": mechanism,
            "sasl.username": credentials.user,
            "sasl.password": credentials.password,
            "ssl.ca.location": str(ca_file),
        }
        topic = new_topic(address, login=login)
        fill(address, topic, RECORDS, login=login)
        assert held(address, topic, login=login) == RECORDS
        assert held(node.address, topic) == RECORDS
        assert "_AUTHENTICATION" in troubles(address, {**login, "sasl.password": "guessed"})
        assert "_SSL" in troubles(address, {**login, "ssl.ca.location": "probe"})


def test_a_node_that_does_not_come_up_tells_why(
    kafka_jars: Path, own_kafka: KafkaNode, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = int(own_kafka.address.rpartition(":")[2])
    second = KafkaNode(kafka_jars, tmp_path / "second", port=taken)
    with pytest.raises(NotStarted, match="Address already in use"):
        second.start()
    assert not second.running

    own_kafka.stop()
    monkeypatch.setattr(kafkanode, "START_S", 0.1)
    with pytest.raises(NotStarted, match="not ready within"):
        own_kafka.start()
    assert not own_kafka.running


def command(*options: str) -> list[str]:
    return [sys.executable, kafkanode.__file__, *options]


def test_as_a_command_it_says_where_it_is_and_ends_when_told(kafka_jars: Path) -> None:
    with subprocess.Popen(  # noqa: S603 - ours
        command("--jars", str(kafka_jars)), stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        address = process.stdout.readline().strip()
        try:
            assert topics_of(address) == set()
        finally:
            process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_S) == 0
    with pytest.raises(KafkaException):
        topics_of(address, timeout_s=0.5)


def test_as_a_command_without_jars_it_says_what_is_missing(tmp_path: Path) -> None:
    done = subprocess.run(  # noqa: S603 - ours
        command("--jars", str(tmp_path)), capture_output=True, text=True, check=False, timeout=10
    )
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        f"--jars {tmp_path}: no jars of Kafka there; .ci/kafka/jars fetches them"
    ]
