"""URLs of Kafka topics, as people type them: ``kafka://HOST:PORT[,HOST:PORT…]/TOPIC``."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, TypeAlias

SCHEME = "kafka://"
EXAMPLE = "kafka://b1:9092,b2:9092/market.crypto.{kind}.{venue}"
MAX_TOPIC = 249
"""Characters of a topic's name, as Kafka has them (``org.apache.kafka.common.internals.Topic``)."""

ValueForm: TypeAlias = Literal["payload", "line"]
"""What a record's value is: the exchange's payload untouched, or the JSON line."""

_SERVER = re.compile(r"(?:[A-Za-z0-9_.-]+|\[[0-9A-Fa-f:.]+\]):(?P<port>\d{1,5})\Z")
_TOPIC = re.compile(r"(?:[A-Za-z0-9._-]|\{kind\}|\{venue\})+\Z")
_LEGAL = re.compile(r"[^A-Za-z0-9._-]")


@dataclass(frozen=True)
class KafkaURL:
    """Brokers and topics.

    :ivar servers: ``host:port`` of the brokers to ask first.
    :ivar topic: the topics' names, with ``{kind}`` and ``{venue}`` in the place of what they are.
    :ivar value: what a record's value is.
    """

    servers: tuple[str, ...]
    topic: str
    value: ValueForm = "payload"

    def __str__(self) -> str:
        query = "" if self.value == "payload" else f"?value={self.value}"
        return f"{SCHEME}{','.join(self.servers)}/{self.topic}{query}"

    @property
    def bootstrap(self) -> str:
        """The brokers, as librdkafka's ``bootstrap.servers`` wants them."""
        return ",".join(self.servers)

    def topic_of(self, kind: str, venue: str) -> str:
        """The topic of a kind of streams of a venue; what no name may hold becomes ``_``."""
        filled = self.topic.replace("{kind}", kind).replace("{venue}", venue)
        return _LEGAL.sub("_", filled)[:MAX_TOPIC]

    @property
    def pattern(self) -> re.Pattern[str]:
        """What all the topics look like."""
        text = re.escape(self.topic).replace(r"\{kind\}", "(?P<kind>[A-Za-z]+)")
        return re.compile(text.replace(r"\{venue\}", "(?P<venue>[A-Za-z0-9._-]+)") + r"\Z")


def parse_kafka_url(text: str) -> KafkaURL:
    """Understand what somebody typed.

    :raises ValueError: that it cannot be one, and what to write. Never repeats what stands before
        an ``@``, as it may be a password.
    """
    rest = text.removeprefix(SCHEME)
    if "@" in rest:
        host = rest.rpartition("@")[2].partition("/")[0]
        raise ValueError(
            f"the Kafka URL for {host[:80]!r} must not hold a user name or password; put "
            "sasl.username and sasl.password into the file that KAFKA_PROPERTIES names"
        )
    servers, slash, path = rest.partition("/")
    topic, _, query = path.partition("?")
    if not slash or not topic:
        raise ValueError(f"{text!r} names no topic; write it as {EXAMPLE}")
    names = tuple(name.strip() for name in servers.split(","))
    for name in names:
        match = _SERVER.match(name)
        if match is None or not 0 < int(match["port"]) < 65536:
            raise ValueError(f"{name!r} is no broker; write HOST:PORT, as in {EXAMPLE}")
    if not _TOPIC.match(topic) or len(topic) > MAX_TOPIC or topic in (".", ".."):
        raise ValueError(
            f"{topic!r} is no name of a topic: letters, digits, '.', '_', '-', {{kind}} and "
            f"{{venue}}, {MAX_TOPIC} at most"
        )
    if query in ("", "value=payload"):
        return KafkaURL(names, topic)
    if query == "value=line":
        return KafkaURL(names, topic, "line")
    raise ValueError(f"{query!r} is no option of a Kafka URL; write ?value=payload or ?value=line")
