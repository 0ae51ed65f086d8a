"""This process among those of its group: Kafka hands out the shards, and takes them away.

The group's consumers divide the partitions of its positions topic, of which there is one a shard.
They do so cooperatively: a shard that stays where it is is not interrupted.

Source: KIP-429 (incremental rebalancing); KIP-62 (session time-out and poll interval).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import trio
from confluent_kafka import OFFSET_END, Consumer, KafkaError, TopicPartition

from ..errors import SinkError
from ..kafka.cluster import REFUSALS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..kafka.cluster import Cluster

POLL_S = 0.1
"""How long the library is asked for news at once (s); how soon a cancellation is heard."""
LASTING = (*REFUSALS, KafkaError.INVALID_SESSION_TIMEOUT, KafkaError.INCONSISTENT_GROUP_PROTOCOL)
"""Errors that end a membership; the library sees to all others by itself."""
HEARTBEATS = 5
"""Signs of life within the session's time-out."""


class Listener(Protocol):
    """Who has shards, and is told of them."""

    def given(self, shards: Sequence[int]) -> None:
        """These are ours from now on."""
        ...

    async def taken(self, shards: Sequence[int]) -> None:
        """Others are to have these, and wait for this to return."""
        ...

    def lost(self, shards: Sequence[int]) -> None:
        """Others have these already: this process was not heard of for too long."""
        ...


class Membership:
    """A place in the group.

    :param topic: of the group's positions.
    :param session_timeout_s: silence after which the others get this process's shards.
    """

    def __init__(
        self, cluster: Cluster, group: str, topic: str, session_timeout_s: float, listener: Listener
    ) -> None:
        self._cluster = cluster
        self._group = group
        self._topic = topic
        self._session_timeout_ms = int(session_timeout_s * 1000)
        self._listener = listener
        self._leaves = False

    async def keep(self) -> None:
        """Be a member until cancelled; then the others get the shards without waiting.

        :raises SinkError: if the brokers do not let this process be one.
        """
        await trio.to_thread.run_sync(self._poll)

    def _poll(self) -> None:
        consumer = Consumer(
            {
                **self._cluster.client(),
                "group.id": self._group,
                "partition.assignment.strategy": "cooperative-sticky",
                "session.timeout.ms": self._session_timeout_ms,
                "heartbeat.interval.ms": self._session_timeout_ms // HEARTBEATS,
                "enable.auto.commit": False,
                "auto.offset.reset": "latest",
            }
        )
        try:
            consumer.subscribe(
                [self._topic],
                on_assign=self._on_assign,
                on_revoke=self._on_revoke,
                on_lost=self._on_lost,
            )
            while True:
                trio.from_thread.check_cancelled()
                message = consumer.poll(POLL_S)
                error = None if message is None else message.error()
                if error is not None and (error.fatal() or error.code() in LASTING):
                    cure = ""
                    if error.code() == KafkaError.INVALID_SESSION_TIMEOUT:
                        cure = "; the brokers' group.min.session.timeout.ms says what is allowed"
                    raise SinkError(f"cannot be a member of {self._group}: {error.str()}{cure}")
        finally:
            self._leaves = True
            consumer.close()

    def _on_assign(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        # Membership is all that is wanted of them; nothing is read.
        ends = [TopicPartition(one.topic, one.partition, OFFSET_END) for one in partitions]
        consumer.incremental_assign(ends)
        consumer.pause(ends)
        if partitions:
            trio.from_thread.run_sync(self._listener.given, _numbers(partitions))

    def _on_revoke(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        if partitions and not self._leaves:
            trio.from_thread.run(self._listener.taken, _numbers(partitions))
        consumer.incremental_unassign(partitions)

    def _on_lost(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        if partitions and not self._leaves:
            trio.from_thread.run_sync(self._listener.lost, _numbers(partitions))
        consumer.incremental_unassign(partitions)


def _numbers(partitions: Sequence[TopicPartition]) -> list[int]:
    return sorted(one.partition for one in partitions)
