"""Which shard a stream belongs to: the same in every process, of whatever version."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING

from ..market.streams import any_stream

if TYPE_CHECKING:
    from collections.abc import Iterable


def shard_of(stream: str, shards: int) -> int:
    """The number of a stream's shard, from 0 on; streams of one symbol share theirs."""
    parsed = any_stream(stream)
    return zlib.crc32((parsed.symbol or parsed.name).encode()) % shards


def part(streams: Iterable[str], shards: int) -> list[list[str]]:
    """The streams of each shard, in their order."""
    parts: list[list[str]] = [[] for _ in range(shards)]
    for name in streams:
        parts[shard_of(name, shards)].append(name)
    return parts
