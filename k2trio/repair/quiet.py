"""Finds books that lack a snapshot, or may lack updates, while nothing comes that could tell.

Mostly the next update of a book asks for what it lacks. A quiet one has none to come: at the start,
or at another venue, its book would be empty; and after an interruption nobody would know whether it
has missed something. So where a depth stream is carried and says nothing, a snapshot is asked for
without waiting for it (``books.py``). The first update joins it by the exchange's rule, or reveals
a gap.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import trio

from ..continuity.books import BookTrack
from ..market.streams import Kind, any_stream

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ..continuity.arbiter import Arbiter
    from ..policy.failover import Endpoint
    from .rest import Backfill

QUIET_S = 2.0
"""A book of which so long nothing comes is quiet: where there are updates, they come each second at
least."""
LOOK_S = 1.0
"""How often to look for such."""


class Bearer(Protocol):
    """What is to be known of a connection in service."""

    @property
    def endpoint(self) -> Endpoint:
        """Where it leads to."""
        ...

    @property
    def streams(self) -> Sequence[str]:
        """What is subscribed."""
        ...

    @property
    def connected(self) -> bool:
        """Whether data can flow."""
        ...

    @property
    def lagging(self) -> bool:
        """Whether messages that arrived wait to be looked at."""
        ...


class QuietBooks:
    """See the module.

    :param notice: called when a book is found.
    """

    def __init__(self, arbiter: Arbiter, backfill: Backfill, notice: Callable[[], None]) -> None:
        self._arbiter = arbiter
        self._backfill = backfill
        self._notice = notice
        self._since: dict[tuple[Bearer, str], float] = {}
        """Connections and their depth streams → since when they have been seen."""

    async def watch(self, bearers: Callable[[], Sequence[Bearer]]) -> None:
        """Look at all depth streams now and then, for ever."""
        while True:
            await trio.sleep(LOOK_S)
            self._look(bearers(), trio.current_time())

    def _look(self, bearers: Sequence[Bearer], now: float) -> None:
        before, self._since = self._since, {}
        found = False
        for bearer in bearers:
            venue = bearer.endpoint.venue
            if not bearer.connected or bearer.lagging or not self._backfill.serves(venue):
                continue  # what it brought may not have been looked at
            for name in bearer.streams:
                if any_stream(name).kind is not Kind.DEPTH:
                    continue
                since = self._since[bearer, name] = before.get((bearer, name), now)
                if now - since >= QUIET_S:
                    track = self._arbiter.track(venue, name)
                    found |= isinstance(track, BookTrack) and track.fall_quiet(now, QUIET_S)
        if found:
            self._notice()
