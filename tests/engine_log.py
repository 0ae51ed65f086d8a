"""What members of a group wrote, read by a client that is not ours: while they write, and after."""

from __future__ import annotations

import bisect
import json
import threading
import time
from collections import Counter, deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from k2trio.market.streams import Rule, parse_stream

if TYPE_CHECKING:
    from confluent_kafka import Message

PARTITIONS = 4
PATIENCE_S = 60.0
POLL_S = 0.2
SAMPLE_EVERY = 7
"""Of so many records one is measured."""


@dataclass
class StreamAccount:
    """What a stream's records are, in the order of their partition.

    :ivar last: the last id.
    :ivar gaps: how many were declared, by kind and reason.
    :ivar wrong: what must not be, a sentence each.
    """

    stream: str
    last: int | None = None
    records: int = 0
    repaired: int = 0
    gaps: Counter[str] = field(default_factory=Counter[str])
    outages: int = 0
    wrong: list[str] = field(default_factory=list[str])
    recent: deque[str] = field(default_factory=lambda: deque(maxlen=6))
    """The last records, for whoever looks for what went wrong."""

    def take(self, headers: dict[str, bytes], value: bytes) -> None:
        """The next record."""
        self.records += 1
        item = headers.get("item")
        self.recent.append(_shown(headers, value))
        if item == b"gap":
            gap = json.loads(value)["gap"]
            self.gaps[f"{parse_stream(self.stream).kind.value} {gap['reason']}"] += 1
            if self.last is not None and gap["first"] != self.last + 1:
                then = f"then a gap from {gap['first']}: {list(self.recent)}"
                self.wrong.append(f"{self.stream}: {self.last}, {then}")
            self.last = gap["last"]
        elif item is not None:
            self.outages += item == b"outage"
        else:
            self._message(int(headers["first"]), int(headers["last"]), headers["origin"])

    def _message(self, first: int, last: int, origin: bytes) -> None:
        if origin == b"snapshot":
            return
        self.repaired += origin == b"backfill"
        contiguous = parse_stream(self.stream).order.rule is Rule.CONTIGUOUS
        before = self.last
        if before is not None:
            due = before + 1
            if last < due or (contiguous and first > due):
                self.wrong.append(
                    f"{self.stream}: {before}, then {first} to {last}: {list(self.recent)}"
                )
        self.last = last


def _shown(headers: dict[str, bytes], value: bytes) -> str:
    if "item" in headers:
        return value.decode()
    return " ".join(headers[name].decode() for name in ("origin", "first", "last", "received_ns"))


def _end(consumer: Consumer, partition: TopicPartition) -> int:
    """Behind what is committed now."""
    return consumer.get_watermark_offsets(partition, PATIENCE_S)[1]


def headers_of(message: Message) -> dict[str, bytes]:
    """Its headers by name."""
    return {name: value for name, value in message.headers() or [] if isinstance(value, bytes)}


def accounts_of(address: str, topics: list[str]) -> dict[tuple[str, str], StreamAccount]:
    """Read topics from their beginning to where they end now."""
    accounts: dict[tuple[str, str], StreamAccount] = {}
    consumer = _consumer(address, **{"enable.partition.eof": True})
    known = consumer.list_topics(timeout=PATIENCE_S).topics
    parts = [
        TopicPartition(topic, number, OFFSET_BEGINNING)
        for topic in topics
        if topic in known
        for number in known[topic].partitions
    ]
    ends = {(one.topic, one.partition): _end(consumer, one) for one in parts}
    consumer.assign([one for one in parts if ends[one.topic, one.partition]])
    left = {where for where, end in ends.items() if end}
    try:
        while left:
            for message in consumer.consume(10_000, POLL_S):
                error, where = message.error(), (message.topic(), message.partition())
                offset = message.offset()
                if error is not None and error.code() != KafkaError._PARTITION_EOF:
                    continue
                if error is None and where in left:
                    headers = headers_of(message)
                    key = headers["venue"].decode(), headers["stream"].decode()
                    account = accounts.setdefault(key, StreamAccount(key[1]))
                    account.take(headers, message.value() or b"")
                if error is not None or (offset is not None and offset + 1 >= ends[where]):
                    left.discard(where)
    finally:
        consumer.close()
    return accounts


class Follower:
    """Reads what is committed as soon as it is, in a thread; a context manager.

    :param topics: made here, so that they are there to be read.
    :param positions: the topic that says who owns which shard; made here too.
    """

    def __init__(self, address: str, topics: list[str], positions: str, shards: int) -> None:
        self._address = address
        self._topics = topics
        self._positions = positions
        self._shards = shards
        self._delays: list[tuple[float, float]] = []
        """When a record was read, and how long before it had been received."""
        self._owners: list[tuple[float, int, int]] = []
        """When a shard's owner committed for the first time: time, shard, process."""
        self._owner: dict[int, int] = {}
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._follow)

    def __enter__(self) -> Self:
        admin = AdminClient({"bootstrap.servers": self._address})
        new = [NewTopic(topic, PARTITIONS, 1) for topic in self._topics]
        for made in admin.create_topics(new).values():
            made.result(PATIENCE_S)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ends.set()
        self._thread.join()

    def wait_for_owners(self) -> None:
        """Until every shard is written."""
        deadline = time.monotonic() + PATIENCE_S
        while len(self._owner) < self._shards:
            assert time.monotonic() < deadline, f"owned are {sorted(self._owner)}"
            time.sleep(0.1)

    def takeovers(self, deaths: list[tuple[float, int]]) -> list[float]:
        """From each death of a process to the first commit of who then wrote its shards (s)."""
        found: list[float] = []
        for at, process in deaths:
            for shard in range(self._shards):
                of_shard = [one for one in self._owners if one[1] == shard]
                times = [time for time, _, _ in of_shard]
                place = bisect.bisect(times, at)
                if place and of_shard[place - 1][2] == process and place < len(of_shard):
                    found.append(of_shard[place][0] - at)
        return found

    def latencies(self, start: float, end: float) -> list[float]:
        """From the receive time to when it could be read, of live messages (s)."""
        return [delay for at, delay in self._delays if start <= at < end]

    def _follow(self) -> None:
        consumer = _consumer(self._address, **{"fetch.wait.max.ms": 5})
        parts = [TopicPartition(topic, n, 0) for topic in self._topics for n in _all()]
        consumer.assign(parts)
        owners = False
        count = 0
        try:
            while not self._ends.is_set():
                if not owners and self._positions in consumer.list_topics(timeout=10).topics:
                    shards = range(self._shards)
                    consumer.assign(parts + [TopicPartition(self._positions, n, 0) for n in shards])
                    owners = True
                for message in consumer.consume(5_000, 0.02):
                    if message.error() is not None:
                        continue
                    now = time.time()
                    if message.topic() == self._positions:
                        self._note_owner(now, message)
                        continue
                    count += 1
                    if not count % SAMPLE_EVERY:
                        headers = headers_of(message)
                        if headers.get("origin") == b"live":
                            delay = now - int(headers["received_ns"]) / 1e9
                            self._delays.append((now, delay))
        finally:
            consumer.close()

    def _note_owner(self, now: float, message: Message) -> None:
        value, shard = message.value(), message.partition()
        if message.key() != b"owner" or value is None or shard is None:
            return
        process = int(json.loads(value)["where"].rpartition(" ")[2])
        if self._owner.get(shard) != process:
            self._owner[shard] = process
            self._owners.append((now, shard, process))


def percentile(values: list[float], share: float) -> float:
    """The nearest rank."""
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


def _all() -> range:
    return range(PARTITIONS)


def _consumer(address: str, **more: Any) -> Consumer:
    return Consumer(
        {
            "bootstrap.servers": address,
            "group.id": "engine-proof",
            "isolation.level": "read_committed",
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
            "reconnect.backoff.max.ms": 500,
            **more,
        }
    )
