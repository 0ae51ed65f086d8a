"""The brokers: how clients of them are configured, and that topics are there."""

from __future__ import annotations

import contextlib
import logging
import time
from typing import TYPE_CHECKING, Any, TypeVar

import trio
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from ..errors import ConfigError, SinkError
from .properties import without_values

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from concurrent.futures import Future


T = TypeVar("T")

ANSWER_TIMEOUT_S = 10.0
"""How long a broker may take for a question about topics (s)."""
LOOK_AGAIN_S = 0.1
"""Between two looks for a topic that another broker has just made (s)."""
STEP_S = 1.0
"""How long a call may block before it is looked whether anybody still waits for it (s)."""
REFUSALS = (
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError.GROUP_AUTHORIZATION_FAILED,
    KafkaError.CLUSTER_AUTHORIZATION_FAILED,
    KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
    KafkaError.SASL_AUTHENTICATION_FAILED,
    KafkaError._AUTHENTICATION,  # noqa: SLF001 - so it is named
    KafkaError.TOPIC_EXCEPTION,  # no name for one
    KafkaError.POLICY_VIOLATION,
    KafkaError.INVALID_CONFIG,
)
"""What does not get better by waiting."""
SILENCE = (
    KafkaError._TIMED_OUT,  # noqa: SLF001 - so they are named
    KafkaError._TRANSPORT,  # noqa: SLF001
    KafkaError._ALL_BROKERS_DOWN,  # noqa: SLF001
)
PRODUCING = {"queue.buffering.max.messages": 1_000_000, "queue.buffering.max.kbytes": 1 << 20}
"""Room in the library, in records and KiB: more than a transaction takes."""
BY_BROKER = -1
"""As many replicas, or partitions, as the brokers give by default."""
_log = logging.getLogger("k2trio.kafka")
_log.setLevel(logging.CRITICAL + 1)  # what the library would print is told with what it was asked


class NotYet(SinkError):  # noqa: N818 - says what it is
    """The brokers did not answer in time, or could not do it now."""


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
        transactional = {"transactional.id": "check", **PRODUCING}
        member = {"group.id": "check", "session.timeout.ms": 10_000}
        try:
            # Each of them refuses something that the others take; they ask nobody anything yet.
            Producer({**self.client(), **transactional})
            Consumer({**self.client(), **member})
        except KafkaException as error:
            said = without_values(error.args[0].str(), self._properties)
            raise ConfigError(f"KAFKA_PROPERTIES cannot be used: {said}") from None

    def consuming(self) -> dict[str, Any]:
        """What consumers are configured with: they see what was committed."""
        return {**self.client(), "isolation.level": "read_committed"}

    def make_topic(self, topic: str, partitions: int, config: Mapping[str, str]) -> int:
        """Make a topic, unless it is there; blocks. Returns how many partitions it has.

        :raises NotYet: if no broker answers.
        :raises SinkError: if they refuse.
        """
        admin = AdminClient(self.client())
        # Who may not make topics may still write to one that is there.
        if found := self._partitions(admin, topic):
            return found
        new = NewTopic(topic, partitions, BY_BROKER, config=dict(config))
        made: Future[None] = admin.create_topics([new], request_timeout=ANSWER_TIMEOUT_S)[topic]  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
        try:
            self._stepwise(made.result, f"make the topic {topic}")
        except KafkaException as error:
            reason = error.args[0]
            if reason.code() != KafkaError.TOPIC_ALREADY_EXISTS:
                raise self._refused(f"make the topic {topic}", reason) from error
        until = time.monotonic() + ANSWER_TIMEOUT_S
        # The broker that is asked may not have heard of it yet.
        while not (found := self._partitions(admin, topic)):
            if time.monotonic() > until:
                raise NotYet(f"cannot look at the topic {topic} at {self.bootstrap}: it is unknown")
            admin.poll(LOOK_AGAIN_S)
        return found

    def silent(self, what: str) -> NotYet:
        """That nobody answered."""
        return NotYet(
            f"cannot {what}: no broker of {self.bootstrap} answered within "
            f"{ANSWER_TIMEOUT_S:g} s; are they up, and reachable from here?"
        )

    def _partitions(self, admin: AdminClient, topic: str) -> int:
        """How many a topic has; 0 if it is not there."""

        def look(timeout: float) -> Any:
            return admin.list_topics(topic, timeout=timeout)

        try:
            found = self._stepwise(look, f"look at the topic {topic}").topics[topic]
        except KafkaException as error:
            raise self._refused(f"look at the topic {topic}", error.args[0]) from error
        if found.error is not None and found.error.code() in REFUSALS:
            raise self._refused(f"look at the topic {topic}", found.error)
        return len(found.partitions) if found.error is None else 0

    def _stepwise(self, ask: Callable[[float], T], what: str) -> T:
        """Ask in steps, between which a cancellation is heard.

        :raises NotYet: if there is no answer in time.
        """
        until = time.monotonic() + ANSWER_TIMEOUT_S
        while True:
            give_way()
            try:
                return ask(STEP_S)
            except TimeoutError:
                pass
            except KafkaException as error:
                if error.args[0].code() not in SILENCE:
                    raise
            if time.monotonic() >= until:
                raise self.silent(what)

    def _refused(self, what: str, reason: KafkaError) -> SinkError:
        if reason.code() in SILENCE:
            return self.silent(what)
        kind = SinkError if reason.code() in REFUSALS else NotYet
        return kind(f"cannot {what} at {self.bootstrap}: {reason.str()}")


def give_way() -> None:
    """In a thread of Trio's: raise if nobody waits for what it does any more."""
    with contextlib.suppress(RuntimeError):  # it is none
        trio.from_thread.check_cancelled()


def check_shards(topic: str, partitions: int, shards: int) -> None:
    """Refuse another number of shards than a group began with: streams would change theirs.

    :raises ConfigError: saying what to do.
    """
    if partitions != shards:
        raise ConfigError(
            f"{topic} was made for {partitions} shards, and these are {shards}; go on with "
            f"SHARDS={partitions if partitions > 1 else 0}, or name another GROUP"
        )
