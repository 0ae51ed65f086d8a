"""Topics of Apache Kafka for tests: made, filled and read by a client that is not ours."""

from __future__ import annotations

import secrets
import time
from typing import TYPE_CHECKING, Any

from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

PATIENCE_S = 30.0
"""How long any one step may take before the test fails."""


def unique(stem: str) -> str:
    """A name for a topic, a group or a transaction that no other test has."""
    return f"{stem}-{secrets.token_hex(6)}"


def new_topic(
    address: str,
    stem: str = "topic",
    partitions: int = 1,
    config: Mapping[str, str] | None = None,
    login: Mapping[str, str] | None = None,
) -> str:
    """Make a topic and return its name.

    :param config: of the topic, as ``{"cleanup.policy": "compact"}``.
    :param login: further settings of the client.
    """
    name = unique(stem)
    admin = AdminClient({"bootstrap.servers": address, **(login or {})})
    topic = NewTopic(name, partitions, 1, config=dict(config or {}))
    admin.create_topics([topic], operation_timeout=PATIENCE_S)[name].result(PATIENCE_S)
    return name


def fill(
    address: str,
    topic: str,
    records: Iterable[tuple[bytes | None, bytes | None]],
    login: Mapping[str, str] | None = None,
) -> None:
    """Write keys and values, and return when the broker has them."""
    producer = Producer({"bootstrap.servers": address, **(login or {})})
    told: list[Any] = []
    for key, value in records:
        producer.produce(topic, value, key, on_delivery=lambda error, _: told.append(error))
    assert producer.flush(PATIENCE_S) == 0, f"{topic} was not written"
    assert [error for error in told if error is not None] == []


def held(
    address: str, topic: str, partition: int = 0, login: Mapping[str, str] | None = None
) -> list[tuple[bytes | None, bytes | None]]:
    """Keys and values that a partition has now, those of transactions if committed."""
    consumer = Consumer({
        "bootstrap.servers": address,
        "group.id": unique("reader"),
        "enable.auto.commit": False,
        "auto.offset.reset": "error",
        "enable.partition.eof": True,
        **(login or {}),
    })  # fmt: skip
    try:
        place = TopicPartition(topic, partition)
        first, _ = consumer.get_watermark_offsets(place, timeout=PATIENCE_S)
        consumer.assign([TopicPartition(topic, partition, first)])
        found = []
        until = time.monotonic() + PATIENCE_S
        while time.monotonic() < until:
            if (message := consumer.poll(0.1)) is None:
                continue
            if (error := message.error()) is None:
                found.append((message.key(), message.value()))
            elif error.name() == "_PARTITION_EOF":
                return found
            else:
                raise AssertionError(f"{topic} cannot be read: {error}")
        raise AssertionError(f"{topic} was not read to its end in time")
    finally:
        consumer.close()
