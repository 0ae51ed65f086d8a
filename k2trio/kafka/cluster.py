"""The brokers: how clients of them are configured, and that topics are there."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Any

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from ..errors import ConfigError, SinkError
from .properties import without_values

if TYPE_CHECKING:
    from collections.abc import Mapping
    from concurrent.futures import Future

ANSWER_TIMEOUT_S = 10.0
"""How long a broker may take for a question about topics (s)."""
LOOK_AGAIN_S = 0.1
"""Between two looks for a topic that another broker has just made (s)."""
BY_BROKER = -1
"""As many replicas, or partitions, as the brokers give by default."""
_log = logging.getLogger("k2trio.kafka")
_log.setLevel(logging.CRITICAL + 1)  # what the library would print is told with what it was asked


class Cluster:
    """Brokers.

    :param bootstrap: ``host:port`` of some, with commas.
    :param properties: of librdkafka, as TLS and SASL want them; may hold secrets.
    """

    def __init__(self, bootstrap: str, properties: Mapping[str, str]) -> None:
        self.bootstrap = bootstrap
        self._properties = properties

    def __repr__(self) -> str:
        return f"<Cluster {self.bootstrap}>"

    def client(self) -> dict[str, Any]:
        """What every client is configured with."""
        return {
            "client.id": "k2trio",
            "topic.metadata.refresh.interval.ms": 60_000,
            # A broker that comes back is found soon.
            "reconnect.backoff.ms": 100,
            "reconnect.backoff.max.ms": 2_000,
            **self._properties,
            "logger": _log,
            "bootstrap.servers": self.bootstrap,
        }

    def check(self) -> None:
        """Find out whether the library takes the properties; asks no broker.

        :raises ConfigError: if not; no value is repeated.
        """
        try:
            AdminClient(self.client())
        except KafkaException as error:
            said = without_values(error.args[0].str(), self._properties)
            raise ConfigError(f"KAFKA_PROPERTIES cannot be used: {said}") from None

    def consuming(self) -> dict[str, Any]:
        """What consumers are configured with: they see what was committed."""
        return {**self.client(), "isolation.level": "read_committed"}

    def make_topic(self, topic: str, partitions: int, config: Mapping[str, str]) -> int:
        """Make a topic, unless it is there; blocks. Returns how many partitions it has.

        :raises SinkError: if no broker answers, or they refuse.
        """
        admin = AdminClient(self.client())
        new = NewTopic(topic, partitions, BY_BROKER, config=dict(config))
        made: Future[None] = admin.create_topics([new], request_timeout=ANSWER_TIMEOUT_S)[topic]  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
        try:
            made.result(ANSWER_TIMEOUT_S)
        except KafkaException as error:
            reason = error.args[0]
            if reason.code() != KafkaError.TOPIC_ALREADY_EXISTS:
                raise self._refused(f"make the topic {topic}", reason) from error
        except TimeoutError as error:
            raise self.silent(f"make the topic {topic}") from error
        return self._partitions(admin, topic)

    def silent(self, what: str) -> SinkError:
        """That nobody answered."""
        return SinkError(
            f"cannot {what}: no broker of {self.bootstrap} answered within "
            f"{ANSWER_TIMEOUT_S:g} s; are they up, and reachable from here?"
        )

    def _partitions(self, admin: AdminClient, topic: str) -> int:
        """How many a topic has, once the broker that is asked has heard of it."""
        until = time.monotonic() + ANSWER_TIMEOUT_S
        while True:
            try:
                found = admin.list_topics(topic, timeout=ANSWER_TIMEOUT_S).topics[topic]
            except KafkaException as error:
                raise self._refused(f"look at the topic {topic}", error.args[0]) from error
            if found.error is None and found.partitions:
                return len(found.partitions)
            if time.monotonic() > until:
                raise SinkError(
                    f"cannot look at the topic {topic} at {self.bootstrap}: it is unknown"
                )
            time.sleep(LOOK_AGAIN_S)

    def _refused(self, what: str, reason: KafkaError) -> SinkError:
        transport = (
            KafkaError._TIMED_OUT,  # noqa: SLF001 - so they are named
            KafkaError._TRANSPORT,  # noqa: SLF001
            KafkaError._ALL_BROKERS_DOWN,  # noqa: SLF001
        )
        if reason.code() in transport:
            return self.silent(what)
        return SinkError(f"cannot {what} at {self.bootstrap}: {reason.str()}")


def check_shards(topic: str, partitions: int, shards: int) -> None:
    """Refuse another number of shards than a group began with: streams would change theirs.

    :raises ConfigError: saying what to do.
    """
    if partitions != shards:
        raise ConfigError(
            f"{topic} was made for {partitions} shards, and these are {shards}; go on with "
            f"SHARDS={partitions if partitions > 1 else 0}, or name another GROUP"
        )
