"""From a feed into a sink: written, acknowledged, and finished within a bound."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import trio

from ..errors import SinkError
from ..sinks.sink import PromptSink

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..continuity.items import Item
    from ..sinks.sink import Sink
    from .feed import Feed

LAST_WRITE_S = 0.5
"""How long the last items may take at shutdown; the sink itself adds its own bound to that."""
LAST_PIECE = 1024
"""Items that are written at once then: a whole backlog would need its room twice."""


async def deliver(feed: Feed[Any], sink: Sink) -> None:
    """Write what a feed brings, until it ends or this is cancelled, and then what is left.

    With a state file, open the feed with ``sync=sink.sync``: what is remembered is what the sink
    has made durable.

    :raises GaveUp: when the feed has ended, after its last item is written.
    :raises SinkError: if the sink fails; what it has whole is acknowledged.
    """
    if isinstance(sink, PromptSink) and sink.prompt:
        await _deliver_promptly(feed, sink)
        return
    batch: Sequence[Item] = ()
    try:
        async for batch in feed.batches():
            await sink.write(batch)
    finally:
        await finish(feed, sink, batch)


class _NotAtOnceError(Exception):
    """The sink cannot take a batch at once."""


async def _deliver_promptly(feed: Feed[Any], sink: PromptSink) -> None:
    """Write where the feed reads, and wait for the sink only where it says so."""
    batch: Sequence[Item] = ()

    def take(items: Sequence[Item]) -> None:
        nonlocal batch
        batch = items
        if not sink.write_now(items):
            raise _NotAtOnceError

    try:
        while True:
            try:
                await feed.for_each_batch(take)
            except _NotAtOnceError:
                await sink.write(batch)
    finally:
        await finish(feed, sink, batch)


async def finish(feed: Feed[Any], sink: Sink, batch: Sequence[Item]) -> None:
    """Write what was received but not yet written, within a bound, whatever ended the delivery.

    :param batch: what was written last; the sink says how much of it is whole.
    :raises SinkError: if that was not possible.
    """
    feed.acknowledge(sink.whole)
    try:
        await _write_the_rest(feed, sink, [*batch[sink.whole :], *feed.drain()])
    finally:
        await sink.flush()


async def _write_the_rest(feed: Feed[Any], sink: Sink, rest: Sequence[Item]) -> None:
    """Write all that can be delivered, in pieces, and acknowledge what is whole."""
    left = len(rest)
    with trio.move_on_after(LAST_WRITE_S, shield=True):
        for start in range(0, len(rest), LAST_PIECE):
            try:
                await sink.write(rest[start : start + LAST_PIECE])
            finally:
                feed.acknowledge(sink.whole)
                left -= sink.whole
    sink.check()
    if left:
        raise SinkError(f"{left} messages were not written; the reader was too slow")
