"""The compacted topic of a group's positions: a partition a shard, a record a stream."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple

import msgspec
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from ..continuity.positions import Position
from ..errors import SinkError
from .cluster import REFUSALS, STEP_S, give_way
from .ownership import OWNER_KEY, Owner, Unavailable

if TYPE_CHECKING:
    from collections.abc import Iterable

    from confluent_kafka import Message

    from .cluster import Cluster

FENCE_KEY = b"fence"
"""Key of the record with which a new owner begins."""
READ_TIMEOUT_S = 10.0
"""How long the broker may be silent while positions are read (s)."""
CONFIG = {
    "cleanup.policy": "compact",
    # Small, soon closed segments: what is not compacted yet is read at each start.
    "segment.bytes": str(4 << 20),
    "segment.ms": "600000",
    "min.cleanable.dirty.ratio": "0.1",
}
"""How the topic is made."""

_encode = msgspec.json.Encoder().encode
_decode_position = msgspec.json.Decoder(Position).decode
_decode_owner = msgspec.json.Decoder(Owner).decode


class Standing(NamedTuple):
    """What a shard's partition says.

    :ivar positions: by venue and stream, in the order in which they were written.
    :ivar owner: who committed last; None if nobody has.
    """

    positions: dict[tuple[str, str], Position]
    owner: Owner | None


def key_of(position: Position) -> bytes:
    """The key of a position's record: no later one of its stream may take another's place."""
    return f"{position.venue} {position.stream}".encode()


def entries(positions: Iterable[Position], owner: Owner) -> list[tuple[bytes, bytes]]:
    """Keys and values of what a transaction says of itself."""
    told = [(key_of(position), _encode(position)) for position in positions]
    return [*told, (OWNER_KEY, _encode(owner))]


def read_standing(cluster: Cluster, topic: str, shard: int, fence: bytes | None = None) -> Standing:
    """Read a shard's partition to its end; blocks.

    :param fence: value of a record of ours that was committed: what stands before it is all.
    :raises Unavailable: if no broker answers.
    :raises SinkError: if a record is none of ours, or the brokers refuse.
    """
    standing, said = Standing({}, None), "no answer"
    consumer = Consumer(
        {
            **cluster.consuming(),
            "group.id": f"{topic}.reader",  # wanted by the library; nothing is committed
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
            "enable.partition.eof": True,
            "fetch.wait.max.ms": 10,  # the end is known by a fetch that finds nothing
        }
    )
    until = time.monotonic() + READ_TIMEOUT_S
    try:
        consumer.assign([TopicPartition(topic, shard, 0)])
        while time.monotonic() < until:
            give_way()
            message = consumer.poll(STEP_S)
            error = None if message is None else message.error()
            if message is None:
                continue
            if error is None:
                if message.key() == FENCE_KEY:
                    if message.value() == fence:
                        return standing
                else:
                    standing = _with(standing, message, topic)
                until = time.monotonic() + READ_TIMEOUT_S
            elif error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 - so it is named
                if fence is None:
                    return standing
            elif error.fatal() or error.code() in REFUSALS:
                raise SinkError(f"cannot read {topic}: {error.str()}")
            else:
                said = error.str()
    except KafkaException as error:
        raise Unavailable(f"cannot read {topic}: {error.args[0].str()}") from error
    finally:
        consumer.close()
    raise Unavailable(
        f"cannot read {topic} at {cluster.bootstrap} within {READ_TIMEOUT_S:g} s: {said}"
    )


def _with(standing: Standing, message: Message, topic: str) -> Standing:
    key, value = message.key(), message.value()
    try:
        if value is None:
            return standing
        if key == OWNER_KEY:
            return standing._replace(owner=_decode_owner(value))
        position = _decode_position(value)
    except msgspec.MsgspecError as error:
        raise SinkError(
            f"{topic} holds a record that is none of k2trio's (partition {message.partition()}, "
            f"offset {message.offset()}: {error}); name another GROUP"
        ) from error
    standing.positions.pop((position.venue, position.stream), None)  # it is the last one now
    standing.positions[position.venue, position.stream] = position
    return standing
