"""Logs for tests: items in Kafka topics, written by a client that is not the sink's."""

from __future__ import annotations

import functools
import time
from typing import TYPE_CHECKING, Any

import trio
from confluent_kafka import IsolationLevel as Isolation
from confluent_kafka import KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec
from confluent_kafka.cimpl import NewTopic
from topics import PATIENCE_S, unique

import k2trio
from k2trio.kafka.records import Recorder
from k2trio.kafka_urls import parse_kafka_url

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from k2trio.continuity.items import Item

BY_KIND = "{kind}.{venue}"


class Log:
    """Topics that no other test has, and a transactional client that writes to them.

    :param named: the rest of their names behind what makes them unique.
    :param read_at: where readers find the brokers.
    :ivar url: what a run would be told.
    """

    def __init__(
        self,
        address: str,
        named: str = BY_KIND,
        form: str = "",
        partitions: int = 3,
        read_at: str | None = None,
        **config: str,
    ) -> None:
        self.stem = unique("log")
        self.url = f"kafka://{read_at or address}/{self.stem}.{named}{form}"
        self._recorder = Recorder(parse_kafka_url(self.url))
        self._partitions = partitions
        self._config = config
        self._admin = AdminClient({"bootstrap.servers": address})
        self._topics: set[str] = set()
        self._producer = Producer(
            {"bootstrap.servers": address, "transactional.id": unique("writer")}
        )
        self._producer.init_transactions(PATIENCE_S)

    def topic_of(self, item: Item) -> str:
        return self._recorder.record(item)[0]

    def begin(self, items: Iterable[Item], partition: int = -1) -> None:
        """Write in a transaction, and leave it open."""
        self._producer.begin_transaction()
        for item in items:
            topic, key, value, headers = self._recorder.record(item)
            self.produce(topic, value, key, headers, partition)
        assert self._producer.flush(PATIENCE_S) == 0

    def produce(
        self,
        topic: str,
        value: bytes | None,
        key: bytes = b"",
        headers: Any = None,
        partition: int = -1,
    ) -> None:
        self.make(topic)
        while True:
            try:
                self._producer.produce(topic, value, key, partition, headers=headers)
            except BufferError:
                self._producer.poll(0.1)
            else:
                return

    def make(self, topic: str) -> None:
        if topic not in self._topics:
            new = NewTopic(topic, self._partitions, 1, config=self._config)
            self._admin.create_topics([new])[topic].result(PATIENCE_S)
            self._topics.add(topic)

    def commit(self, seen_in: Collection[int] | None = None) -> None:
        """Commit, and return when readers see it, which is a moment later.

        :param seen_in: partitions; in others a transaction may be open. None: in all.
        """
        self._producer.commit_transaction(PATIENCE_S)
        places = [
            TopicPartition(topic, number)
            for topic in self._topics
            for number in (range(self._partitions) if seen_in is None else seen_in)
        ]
        until = time.monotonic() + PATIENCE_S
        while not self._all_seen(places):
            assert time.monotonic() < until, "nobody sees what was committed"

    def _all_seen(self, places: list[TopicPartition]) -> bool:
        wanted = {place: OffsetSpec.latest() for place in places}
        seen, there = (
            self._admin.list_offsets(wanted, isolation_level=level)
            for level in (Isolation.READ_COMMITTED, Isolation.READ_UNCOMMITTED)
        )
        try:
            return all(
                seen[place].result(PATIENCE_S).offset == there[place].result(PATIENCE_S).offset
                for place in places
            )
        except KafkaException:  # the broker was restarted meanwhile
            self._admin.list_topics(timeout=PATIENCE_S)
            return False

    def abort(self) -> None:
        self._producer.abort_transaction(PATIENCE_S)

    def write(
        self, items: Iterable[Item], partition: int = -1, seen_in: Collection[int] | None = None
    ) -> None:
        """Write in a transaction of its own."""
        self.begin(items, partition)
        self.commit(seen_in)

    def write_other(
        self, topic: str, value: bytes | None, headers: Mapping[str, bytes | None], partition: int
    ) -> None:
        """Write something of somebody else."""
        self._producer.begin_transaction()
        self.produce(topic, value, b"", list(headers.items()), partition)
        self.commit()


def by_stream(items: Iterable[Item]) -> dict[tuple[str, str], list[Item]]:
    found: dict[tuple[str, str], list[Item]] = {}
    for item in items:
        found.setdefault((item.venue, item.stream), []).append(item)
    return found


def received(items: Iterable[Item]) -> list[float]:
    """When the live messages among them were received."""
    return [i.received for i in items if isinstance(i, k2trio.Event) and i.origin == "live"]


async def read(url: str, **options: Any) -> list[Item]:
    """All that is there."""
    with trio.fail_after(PATIENCE_S):
        async with k2trio.open_log(url, **options) as log:
            return [item async for item in log]


async def take(log: k2trio.Recording, count: int) -> Sequence[Item]:
    """The next ones."""
    items: list[Item] = []
    with trio.fail_after(PATIENCE_S):
        while len(items) < count:
            items.append(await anext(log))
    return items


in_thread = functools.partial(trio.to_thread.run_sync)
