"""Properties of librdkafka that people add to ours: TLS, SASL, tuning.

They come from a file of ``name=value`` lines, as the tools of Kafka and librdkafka read it: blank
lines and lines that begin with ``#`` say nothing, and what stands around a name or a value as
white space does not belong to it. No error repeats a value, as it may be a password.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from ..errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_NAME = re.compile(r"(?:log_level|[a-z][a-z0-9.]*)\Z")
"""How librdkafka spells all its properties that a text can set."""

_BROKERS = "the kafka:// URL names the brokers"
_GROUP = "GROUP names it, and a reader of a log is in no group"
_ACKS = "nothing counts as written before all replicas in sync have it"
_ONCE = "without it, records would be doubled or lost"
_ISOLATION = "what a transaction took back must not be seen"
_POSITIONS = "positions are committed with what was written, in transactions"
_START = "positions and START say where reading begins"
_PARTITION = "all records of a symbol belong into one partition, in their order"
_ASSIGNED = "k2trio hands out the shards itself, so that what stays is not interrupted"
_CODE = "it is no text; only a program could set it"

OURS: dict[str, str] = {
    "bootstrap.servers": _BROKERS,
    "metadata.broker.list": _BROKERS,
    "group.id": _GROUP,
    "group.instance.id": _GROUP,
    "session.timeout.ms": "KAFKA_SESSION_TIMEOUT sets it",
    "transactional.id": "GROUP and the shard name it, so that the broker can fence an old owner",
    "enable.idempotence": _ONCE,
    "acks": _ACKS,
    "request.required.acks": _ACKS,
    "isolation.level": _ISOLATION,
    "enable.auto.commit": _POSITIONS,
    "auto.commit.enable": _POSITIONS,
    "enable.auto.offset.store": _POSITIONS,
    "auto.offset.reset": _START,
    "enable.partition.eof": "k2trio asks the broker where a log ends",
    "allow.auto.create.topics": "a name with a slip in it would become a topic",
    "partitioner": _PARTITION,
    "partition.assignment.strategy": _ASSIGNED,
    "group.protocol": _ASSIGNED,
    "logger": _CODE,
    "default.topic.config": _CODE,
}
"""What k2trio sets itself, and why nobody else may."""


_WORDS = frozenset({
    "plaintext", "ssl", "sasl_plaintext", "sasl_ssl", "true", "false",
    "plain", "gssapi", "oauthbearer", "scram-sha-256", "scram-sha-512",
})  # fmt: skip
"""Values that are no secrets, whoever has them."""


def load_properties(path: Path | None) -> dict[str, str]:
    """Read a file of properties; none for no file.

    :raises ConfigError: naming file and line, what is wrong, and what to write.
    """
    if path is None:
        return {}
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        if "=" in str(path):
            raise ConfigError(
                "KAFKA_PROPERTIES names a file of name=value lines; a property itself goes into "
                "that file"
            ) from None
        raise ConfigError(
            f"the Kafka properties {path} cannot be read: {error.strerror}; name a file of "
            "name=value lines that this user may read"
        ) from None
    except UnicodeDecodeError:
        raise ConfigError(
            f"the Kafka properties {path} are no text in UTF-8; name a file of name=value lines"
        ) from None
    found: dict[str, str] = {}
    for number, line in enumerate(text.split("\n"), 1):
        said = line.strip()
        if not said or said.startswith("#"):
            continue
        where = f"{path}:{number}"
        name, equals, value = (part.strip() for part in said.partition("="))
        if not equals:
            raise ConfigError(f"{where} has no '='; write name=value, or # before a remark")
        _refuse(name, where)
        if name in found:
            raise ConfigError(f"{where} sets {name} a second time; leave one of the lines out")
        found[name] = value
    return found


def check_properties(given: Mapping[str, str]) -> dict[str, str]:
    """The same for properties that a program hands over.

    :raises ConfigError: naming the property, what is wrong, and what to do.
    """
    for name in given:
        _refuse(name, "properties")
    return dict(given)


def without_values(text: str, properties: Mapping[str, str]) -> str:
    """What a library said, with ``***`` in the place of each value of properties in it."""
    secret = {value for value in properties.values() if value and value.lower() not in _WORDS}
    for value in sorted(secret, key=len, reverse=True):
        text = re.sub(rf"(?<![\w.]){re.escape(value)}(?![\w.])", "***", text)
    return text


def _refuse(name: str, where: str) -> None:
    if not _NAME.match(name):
        # Not repeated either: of a line without a name it may be all.
        raise ConfigError(
            f"{where} names no property: small letters, digits and dots, as in sasl.username=NAME"
        )
    if (reason := OURS.get(name)) is not None:
        raise ConfigError(f"{where} sets {name}, which is not free: {reason}; leave it out")
