"""Signs of life in the log, where the output is a file: what was started, and sums."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from ..observe import logs
from ..wire.ready import HOST

if TYPE_CHECKING:
    from ..client.feed import Feed

INTERVAL_S = 60.0
"""Time between two sums."""
MAX_NAMED = 20
"""Streams that the first line names; it tells how many there are."""


def tell_start(feed: Feed, version: str) -> None:
    """Log what was started, with which streams, from where and to where."""
    names = feed.settings.stream_names
    logs.get_logger().info(
        "started",
        version=version,
        streams=len(names),
        named=list(names[:MAX_NAMED]),
        endpoints=[endpoint.name for endpoint in feed.endpoints.all],
        output=" ".join(map(str, feed.settings.targets)),
        loop="trio" if HOST.get() is None else "uvloop",
    )


async def sum_up(feed: Feed) -> None:
    """Log at every interval how many messages a second came, and what was made of all, for ever."""
    log = logs.get_logger()
    before, then = 0, trio.current_time()
    while True:
        await trio.sleep(INTERVAL_S)
        tracks, now = feed.tracks, trio.current_time()
        received = feed.received
        repaired = sum(track.ledger.repaired for track in tracks)
        log.info(
            "summary",
            messages_per_s=round((received - before) / (now - then), 1),
            delivered=sum(track.live for track in tracks) + repaired,
            repaired=repaired,
            missing=sum(track.ledger.missing for track in tracks),
        )
        before, then = received, now
