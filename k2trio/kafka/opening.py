"""The sinks of a run that write to Kafka, made of its settings."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..kafka_urls import parse_kafka_url
from .cluster import Cluster
from .properties import load_properties
from .sink import KafkaSink
from .transactions import Transactions

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..settings import Settings


def open_cluster(settings: Settings, where: str) -> Cluster:
    """The brokers of an output.

    :raises ConfigError: if the file of properties cannot be read, or holds what cannot be used.
    """
    properties = load_properties(settings.kafka_properties)
    cluster = Cluster(parse_kafka_url(where).bootstrap, properties)
    cluster.check()
    return cluster


def shard_sink(
    settings: Settings, cluster: Cluster, where: str, tell: Callable[..., object], shard: int = 0
) -> KafkaSink:
    """The sink of one shard, which asks no broker yet.

    :param where: the URL of the output.
    :param tell: is told what happens to it, as an event with its context.
    """
    transactions = Transactions(
        cluster,
        parse_kafka_url(where),
        settings.group,
        shard,
        max(settings.shards, 1),
        settings.unit,
    )
    return KafkaSink(
        transactions,
        interval_s=settings.kafka_commit_interval,
        max_records=settings.kafka_commit_records,
        buffer_bytes=settings.kafka_buffer_bytes,
        unit=settings.unit,
        tell=tell,
    )
