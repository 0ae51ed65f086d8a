"""Transactions: messages and the positions behind them, committed together or not at all.

Everything here blocks, in steps of a second between which a cancellation is heard, and is called
from one thread at a time: the library has threads of its own, and its calls that wait for a broker
go on where they were when they are called again. So a broker that is away for an hour keeps nobody
from being cancelled.

Source: KIP-98 (transactions), KIP-360 (fencing), librdkafka's introduction, "Transactional
Producer".
"""

from __future__ import annotations

import enum
import uuid
from typing import TYPE_CHECKING

from confluent_kafka import KafkaError, KafkaException, Producer

from ..continuity.positions import positions_after
from ..errors import K2Error, SinkError
from ..market.units import MS
from .cluster import BY_BROKER, PRODUCING, REFUSALS, NotYet, check_shards, give_way
from .ownership import Fenced, Owner, Unavailable
from .positions_topic import CONFIG, FENCE_KEY, Standing, entries, read_standing
from .records import Recorder

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..continuity.items import Item
    from ..kafka_urls import KafkaURL
    from ..market.units import TimeUnit
    from .cluster import Cluster

ATTEMPT_S = 1.0
"""How long a call may wait for a broker; what is not done then goes on with the next call (s)."""
TRANSACTION_TIMEOUT_S = 60.0
"""After so much silence of its owner a broker aborts a transaction (s)."""
SERVE_EVERY = 2_048
"""Records between two looks at what the library has to tell."""
INIT_STEPS = 5
"""How often the brokers are asked for leave to write before it is told that they did not answer."""
FENCED = (
    KafkaError._FENCED,  # noqa: SLF001 - so they are named
    KafkaError._FATAL,  # noqa: SLF001
    KafkaError.INVALID_PRODUCER_EPOCH,
    KafkaError.PRODUCER_FENCED,
)
"""What a producer does not survive."""


class _Stage(enum.Enum):
    """Where the producer stands."""

    CLOSED = enum.auto()
    IDLE = enum.auto()
    COMMITTING = enum.auto()
    """The transaction is whole; whether it was committed is not known."""
    ABORTING = enum.auto()


class Transactions:
    """The one who writes a shard.

    :param url: names the topics, and what values are.
    :param group: whose positions these are.
    :param shard: which of them.
    :param shards: how many there are.
    :param unit: of the times in messages.
    """

    def __init__(
        self,
        cluster: Cluster,
        url: KafkaURL,
        group: str,
        shard: int = 0,
        shards: int = 1,
        unit: TimeUnit = MS,
    ) -> None:
        self.name: str = f"{group}-{shard}"
        self._cluster = cluster
        self._recorder = Recorder(url)
        self._positions_topic = f"{group}.positions"
        self.shard: int = shard
        self._shards = shards
        self._unit = unit
        self._owner = Owner.new()
        self._stage = _Stage.CLOSED
        self._producer: Producer | None = None
        self._topics: set[str] = set()
        self._said: str | None = None
        """What the library said last."""

    def make_positions_topic(self) -> None:
        """Make sure that positions can be kept; once, before :meth:`open`.

        :raises ConfigError: if the group has another number of shards.
        :raises SinkError: if no broker answers.
        """
        topic = self._positions_topic
        check_shards(topic, self._cluster.make_topic(topic, self._shards, CONFIG), self._shards)

    def open(self) -> Standing:
        """Fence whoever wrote the shard before, and read how far it came.

        :raises Unavailable: to be called again.
        :raises SinkError: if it cannot be.
        """
        standing = self._fence()
        self._owner = Owner.new()
        self.attempt(())
        return standing

    def attempt(self, items: Sequence[Item]) -> None:
        """Commit items, and the positions behind them. To be called again with the same ones, until
        it returns.

        :raises Unavailable: to be called again.
        :raises Fenced: if another process writes the shard.
        :raises SinkError: if it cannot be.
        """
        if self._stage is _Stage.CLOSED and self._reopened():
            return  # it was committed, which could not be known then
        assert self._producer is not None  # noqa: S101 - there is one but for CLOSED
        try:
            if self._stage is _Stage.ABORTING:
                self._producer.abort_transaction(ATTEMPT_S)
                self._stage = _Stage.IDLE
            if self._stage is _Stage.IDLE:
                self._produce(self._producer, items)
                self._stage = _Stage.COMMITTING
            self._producer.commit_transaction(ATTEMPT_S)
        except KafkaException as error:
            raise self._failure(error.args[0]) from error
        except BufferError as error:
            self._stage = _Stage.ABORTING
            raise Unavailable(self._why("the library's queue is full")) from error
        self._stage = _Stage.IDLE
        self._owner = self._owner.after_one_more()

    def close(self) -> None:
        """Let go of the producer; a transaction that is not committed yet never will be."""
        if self._producer is not None:
            self._producer.purge()
            self._producer = None
        self._stage = _Stage.CLOSED

    def _produce(self, producer: Producer, items: Sequence[Item]) -> None:
        producer.begin_transaction()
        # Until all is in there is something to abort, whatever happens.
        self._stage = _Stage.ABORTING
        produce, record, known = producer.produce, self._recorder.record, self._topics
        for number, item in enumerate(items):
            topic, key, value, headers = record(item)
            if topic not in known:
                self._make(topic)
            produce(topic, value, key, headers=headers)
            if not number % SERVE_EVERY:
                producer.poll(0)
        positions = positions_after(items, self._unit).values()
        for key, value in entries(positions, self._owner.after_one_more()):
            produce(self._positions_topic, value, key, self.shard)
        producer.poll(0)

    def _make(self, topic: str) -> None:
        try:
            self._cluster.make_topic(topic, BY_BROKER, {})
        except NotYet as error:
            raise Unavailable(str(error)) from error
        self._topics.add(topic)

    def _fence(self) -> Standing:
        """A producer of our own: all others of the shard are fenced, and what they left is aborted
        or committed when this returns.
        """
        self.close()
        self._producer = producer = Producer(
            {
                "compression.type": "lz4",
                "linger.ms": 5,
                "batch.size": 1 << 20,
                "partitioner": "murmur2_random",  # as Java's clients have it
                **self._cluster.client(),
                **PRODUCING,
                "transactional.id": self.name,
                "transaction.timeout.ms": int(TRANSACTION_TIMEOUT_S * 1000),
                "enable.idempotence": True,
                "acks": "all",
                "delivery.report.only.error": True,
                "error_cb": self._note,
            }
        )
        # How far the others came is what stands before a record of ours: the end of a partition may
        # be told too early, where its leader has just changed.
        fence = uuid.uuid4().hex.encode()
        try:
            self._initialise(producer)
            producer.begin_transaction()
            producer.produce(self._positions_topic, fence, FENCE_KEY, self.shard)
            producer.commit_transaction(ATTEMPT_S * INIT_STEPS)
        except KafkaException as error:
            reason = error.args[0]
            self.close()
            if reason.code() in REFUSALS:
                raise self._refused(reason) from error
            raise Unavailable(self._why(reason.str())) from error
        standing = read_standing(self._cluster, self._positions_topic, self.shard, fence)
        self._stage = _Stage.IDLE
        return standing

    def _initialise(self, producer: Producer) -> None:
        for step in range(INIT_STEPS):
            give_way()
            try:
                producer.init_transactions(ATTEMPT_S)
            except KafkaException as error:
                if step == INIT_STEPS - 1 or not error.args[0].retriable():
                    raise
            else:
                return

    def _reopened(self) -> bool:
        """Begin anew after a failure that the producer does not survive.

        :returns: whether the transaction in doubt was committed after all.
        :raises Fenced: if somebody else has written since.
        """
        before = read_standing(self._cluster, self._positions_topic, self.shard).owner
        if before is not None and before.member != self._owner.member:
            raise Fenced(
                f"{self.name} is written by another process now ({before.where}); this one stops, "
                "and what it had not committed is the other's to fetch"
            )
        owner = self._fence().owner
        if owner is not None and owner.member != self._owner.member:
            raise Fenced(f"{self.name} is written by another process now ({owner.where})")
        committed = owner is not None and owner.transactions > self._owner.transactions
        if committed:
            self._owner = self._owner.after_one_more()
        return committed

    def _failure(self, reason: KafkaError) -> K2Error:
        """What an error of the library means; moves to where the next attempt goes on."""
        if reason.code() in REFUSALS:
            return self._refused(reason)
        if reason.fatal() or reason.code() in FENCED:
            self.close()
        elif reason.txn_requires_abort() or reason.code() == KafkaError._STATE:  # noqa: SLF001 - so it is named
            self._stage = _Stage.ABORTING
        elif not reason.retriable():
            return self._refused(reason)
        return Unavailable(self._why(reason.str()))

    def _refused(self, reason: KafkaError) -> SinkError:
        return SinkError(f"cannot write to {self._cluster.bootstrap}: {reason.str()}")

    def _note(self, error: KafkaError) -> None:
        self._said = error.str()

    def _why(self, reason: str) -> str:
        said, self._said = self._said, None
        return f"{reason} ({said})" if said and said not in reason else reason
