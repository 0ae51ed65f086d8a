"""Streams that stand in several partitions of a topic, so that nobody can tell their order.

That comes from partitions that were added to a topic: keys go elsewhere from then on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .sources import PartitionSource


def scattered_in(sources: Iterable[PartitionSource]) -> list[str]:
    """A line for each such stream, of partitions that have been read."""
    places: dict[tuple[str, str, str], list[int]] = {}
    for source in sources:
        for venue, stream in sorted(source.streams):
            key = source.stretch.topic, venue, stream
            places.setdefault(key, []).append(source.stretch.partition)
    return [
        f"{venue} {stream} stands in partitions {', '.join(map(str, numbers))} of {topic}, so its "
        "order cannot be told; was their number changed?"
        for (topic, venue, stream), numbers in places.items()
        if len(numbers) > 1
    ]
