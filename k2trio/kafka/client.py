"""A client that reads the topics of a URL: what there is, from where to where, and what comes.

Everything here blocks, for a second at most, and is called from one thread at a time.

Source: KIP-98 (what ``read_committed`` sees), librdkafka's configuration and introduction.
"""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from confluent_kafka import OFFSET_INVALID, Consumer, KafkaError, KafkaException, TopicPartition

from ..errors import BrokerUnavailable, ConfigError, Unreadable
from ..market.streams import Kind
from .cluster import ANSWER_TIMEOUT_S, Cluster
from .properties import without_values

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from confluent_kafka import Message

    from ..kafka_urls import KafkaURL

    T = TypeVar("T")

POLL_S = 0.05
"""How long a look for records may wait for the first of them (s)."""
REQUEST_S = 1.0
"""How long a question may take before whoever waits may be cancelled, and it is asked again (s)."""
SILENCE_TIMEOUT_S = 30.0
"""How long nothing may come of what is there, or no broker answer (s)."""
REFRESH_S = 10.0
"""How often the brokers are asked for topics and partitions that are new (s)."""
POLLED = 1024
"""Records that are taken from the library at once."""
AHEAD_RECORDS = 10_000
"""So many the library fetches before they are asked for."""
AHEAD_BYTES = 16 << 20
"""The same in bytes of values; a fetch that is under way may go beyond it."""
FETCH_BYTES = 256 << 10
"""What a broker sends of a partition at once."""
END_WAIT_MS = 20
"""How long a broker may wait for more where it is asked whether a log ends here."""
GROUP = "k2trio.reader"
"""Wanted by the library. Nobody joins it, and nothing is committed to it."""
POSITIONS = ".positions"
"""How topics end that are not of messages."""

BEGINNING, END = -2, -1
"""In the place of a time (ms): the first and the last that a broker has."""

_PASSING = frozenset({
    KafkaError._TRANSPORT,  # noqa: SLF001 - so they are named
    KafkaError._ALL_BROKERS_DOWN,  # noqa: SLF001
    KafkaError._RESOLVE,  # noqa: SLF001
    KafkaError._TIMED_OUT,  # noqa: SLF001
    KafkaError._TIMED_OUT_QUEUE,  # noqa: SLF001
    KafkaError._WAIT_COORD,  # noqa: SLF001
    KafkaError.GROUP_AUTHORIZATION_FAILED,  # nobody joins one
    KafkaError.COORDINATOR_NOT_AVAILABLE,
    KafkaError.NOT_COORDINATOR,
    KafkaError.BROKER_NOT_AVAILABLE,
    KafkaError.FENCED_LEADER_EPOCH,
    KafkaError.KAFKA_STORAGE_ERROR,
    KafkaError.LEADER_NOT_AVAILABLE,
    KafkaError.NETWORK_EXCEPTION,
    KafkaError.NOT_LEADER_FOR_PARTITION,
    KafkaError.OFFSET_NOT_AVAILABLE,
    KafkaError.REPLICA_NOT_AVAILABLE,
    KafkaError.REQUEST_TIMED_OUT,
    KafkaError.UNKNOWN_LEADER_EPOCH,
})  # fmt: skip
"""What is over when brokers have come back, or others lead."""
_HOPELESS = frozenset({
    KafkaError._AUTHENTICATION,  # noqa: SLF001
    KafkaError._SSL,  # noqa: SLF001
})  # fmt: skip
"""What does not get better by waiting."""


class Stretch(NamedTuple):
    """What of a partition is to be read.

    :ivar begin: offset of the first record that may be wanted.
    :ivar end: offset behind the last one that can be read now, as far as transactions are over.
    """

    topic: str
    partition: int
    begin: int
    end: int

    def __str__(self) -> str:
        return f"{self.topic}[{self.partition}]"


class LogClient:
    """Reads the topics of a URL.

    :param properties: of librdkafka; may hold secrets.
    :param give_way: is called where somebody may not want to wait any longer, and raises then.
    :param follows: whether records are waited for that are still to come.
    :raises ConfigError: if the library refuses the properties.
    """

    def __init__(
        self,
        url: KafkaURL,
        properties: Mapping[str, str],
        give_way: Callable[[], object] = lambda: None,
        *,
        follows: bool = False,
    ) -> None:
        self._url = url
        self._properties = properties
        self._give_way = give_way
        self._said: KafkaError | None = None
        """What the library said last."""
        self._ahead: deque[Message] = deque()
        config: dict[str, Any] = {
            "queued.min.messages": AHEAD_RECORDS,
            "queued.max.messages.kbytes": AHEAD_BYTES >> 10,
            "max.partition.fetch.bytes": FETCH_BYTES,
            "fetch.queue.backoff.ms": 10,  # of its 1,000 ms nothing would be left to wait for
            "check.crcs": "true",
            **({} if follows else {"fetch.wait.max.ms": END_WAIT_MS}),
            **Cluster(url.bootstrap, properties).consuming(),
            "group.id": GROUP,
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "auto.offset.reset": "error",  # what was deleted is told, and not left out
            "enable.partition.eof": True,
            "error_cb": self._note,
        }
        try:
            self._consumer = Consumer(config)
        except KafkaException as error:
            raise ConfigError(
                f"the Kafka properties cannot be: {self._told(error.args[0])}"
            ) from None

    def __repr__(self) -> str:
        return f"<LogClient {self._url}>"

    def partitions(
        self, kinds: frozenset[Kind] | None = None, within_s: float | None = None
    ) -> list[tuple[str, int]]:
        """Topic and number of all partitions that the URL means.

        :param kinds: those that are wanted; None: all.
        :param within_s: how long the brokers may take; by default ANSWER_TIMEOUT_S.
        :raises ConfigError: if there are none.
        :raises BrokerUnavailable: if no broker answers.
        """
        known = self._asked(
            "list the topics",
            lambda timeout: self._consumer.list_topics(timeout=timeout),
            within_s,
        ).topics
        names = {kind.value for kind in (Kind if kinds is None else kinds)}
        found: list[tuple[str, int]] = []
        for name, topic in sorted(known.items()):
            match = self._url.pattern.match(name)
            if match is None or name.startswith("__") or name.endswith(POSITIONS):
                continue
            kind = match.groupdict().get("kind")
            if kind is None or kind in names:
                found += ((name, number) for number in sorted(topic.partitions))
        if not found:
            of_kind = "" if kinds is None else f" for {', '.join(sorted(names))}"
            raise ConfigError(
                f"{self._url.bootstrap} has no topic {self._url.topic}{of_kind} that this user may "
                "read; name it as OUTPUT does"
            )
        return found

    def stretches(
        self, partitions: Iterable[tuple[str, int]], start: int = BEGINNING
    ) -> list[Stretch]:
        """From where to where partitions are to be read.

        :param start: what was written before is left out; Unix ms, BEGINNING or END.
        :raises BrokerUnavailable: if no broker answers.
        :raises Unreadable: if one of them may not be read.
        """
        named = list(partitions)
        ends = self._offsets(named, END)
        # An end that is told first can only be the lower one.
        begins = ends if start == END else self._offsets(named, start)
        return [
            Stretch(topic, number, end if begin < 0 else min(begin, end), end)
            for (topic, number), begin, end in zip(named, begins, ends, strict=True)
        ]

    def read(self, stretches: Iterable[Stretch]) -> None:
        """Have these fetched, and no others."""
        self._consumer.assign([TopicPartition(s.topic, s.partition, s.begin) for s in stretches])

    def read_besides(self, stretches: Iterable[Stretch]) -> None:
        """Have these fetched as well."""
        self._consumer.incremental_assign(
            [TopicPartition(s.topic, s.partition, s.begin) for s in stretches]
        )

    def pause(self, stretches: Iterable[Stretch]) -> None:
        """Have no more of these fetched for now."""
        self._consumer.pause([TopicPartition(s.topic, s.partition) for s in stretches])

    def resume(self, stretches: Iterable[Stretch]) -> None:
        """Have these fetched again, from where they were."""
        self._consumer.resume([TopicPartition(s.topic, s.partition) for s in stretches])

    def poll(self) -> list[Message]:
        """What has come. Of a partition that is read to its end one has the error
        ``_PARTITION_EOF``.

        :raises Unreadable: if something cannot be read any more.
        """
        if self._ahead:
            found = [self._ahead.popleft()]
        else:
            first = self._consumer.poll(POLL_S)
            found = [] if first is None else [first, *self._consumer.consume(POLLED - 1, 0)]
        return [message for message in found if self._counts(message)]

    def silent(self, what: str) -> BrokerUnavailable:
        """That nobody has answered."""
        said = f" ({self._told(self._said)})" if self._said is not None else ""
        return BrokerUnavailable(
            f"cannot {what}: no broker of {self._url.bootstrap} answers{said}; are they up, and "
            "reachable from here, and are TLS and SASL as they want them?"
        )

    def close(self) -> None:
        """Let go of everything."""
        self._consumer.close()

    def _offsets(self, partitions: list[tuple[str, int]], at: int) -> list[int]:
        """The offset of the first record of a time (ms) or later; END where there is none.

        :raises Unreadable: if one of them may not be read.
        """
        wanted = [TopicPartition(topic, number, at) for topic, number in partitions]
        found = self._asked(
            "ask where the topics begin and end",
            lambda timeout: self._found(wanted, timeout),
        )
        by_name = {(one.topic, one.partition): one for one in found}
        offsets: list[int] = []
        for topic, number in partitions:
            one = by_name[topic, number]
            if one.error is not None or one.offset == OFFSET_INVALID:
                why = "its offsets are not known" if one.error is None else self._told(one.error)
                raise Unreadable(f"cannot read {topic}[{number}]: {why}")
            offsets.append(one.offset)
        return offsets

    def _found(self, wanted: list[TopicPartition], timeout_s: float) -> list[TopicPartition]:
        """The offsets of times.

        :raises KafkaException: if some of them are not to be had yet.
        """
        found = self._consumer.offsets_for_times(wanted, timeout=timeout_s)
        for one in found:
            if one.error is not None and one.error.code() in _PASSING:
                self._consumer.list_topics(timeout=timeout_s)  # who leads now
                raise KafkaException(one.error)
        return found

    def _asked(self, what: str, ask: Callable[[float], T], within_s: float | None = None) -> T:
        """Ask until there is an answer.

        :raises BrokerUnavailable: if there is none in time.
        :raises Unreadable: if it is refused.
        """
        until = time.monotonic() + (within_s or ANSWER_TIMEOUT_S)
        while True:
            self._give_way()
            try:
                return ask(REQUEST_S)
            except KafkaException as error:
                reason: KafkaError = error.args[0]
            # What went wrong is told by it.
            if (message := self._consumer.poll(POLL_S)) is not None:
                self._ahead.append(message)
            if reason.code() not in _PASSING and not reason.retriable():
                raise Unreadable(f"cannot {what} at {self._url.bootstrap}: {self._told(reason)}")
            hopeless = self._said is not None and self._said.code() in _HOPELESS
            if hopeless or time.monotonic() > until:
                raise self.silent(what)

    def _counts(self, message: Message) -> bool:
        """Whether it is a record, or the end of a partition.

        :raises Unreadable: if it says that something cannot be read any more.
        """
        error = message.error()
        if error is None or error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 - so it is named
            return True
        if error.code() in _PASSING or (error.retriable() and not error.fatal()):
            self._note(error)
            return False
        why = self._told(error)
        if error.code() == KafkaError._AUTO_OFFSET_RESET:  # noqa: SLF001 - so it is named
            why = "its next records were deleted meanwhile; is its retention.ms or .bytes too low?"
        raise Unreadable(f"cannot read {message.topic()}[{message.partition()}]: {why}")

    def _note(self, error: KafkaError) -> None:
        # Which broker is down says more than that all are.
        if error.code() != KafkaError._ALL_BROKERS_DOWN or self._said is None:  # noqa: SLF001
            self._said = error

    def _told(self, error: KafkaError) -> str:
        return " ".join(without_values(error.str(), self._properties).split())
