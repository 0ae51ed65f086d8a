"""Closes gaps: waits a moment for another connection, then asks REST, then declares what is lost.

One task per gapped stream, so that streams do not wait for each other; requests of all of them
share a limiter. A repair may take as long as it makes progress, and ``repair_hold`` without any.

REST is not believed blindly. A page that begins behind the gap, or skips ids, is asked for once
more before the ids are declared missing at the venue; an answer that is older than the gap is
asked for again until the hold is over.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from .backfill import Backfill, BackfillError
from .streams import Repair

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from .continuity import Arbiter, GapReason, Item, Track
    from .messages import Event
    from .metrics import Metrics
    from .settings import Settings

RETRY_PAUSE_S = 0.5
"""Between two requests for the same rows."""
LOOKS_AT_A_HOLE = 2
"""How often the venue must say that ids do not exist before it is believed."""


class Repairs:
    """The repair task of a feed.

    :param publish: takes what may be delivered; returns when the consumer has room.
    """

    def __init__(
        self,
        arbiter: Arbiter,
        backfill: Backfill,
        settings: Settings,
        publish: Callable[[list[Item]], Awaitable[None]],
        metrics: Metrics,
    ) -> None:
        self._arbiter = arbiter
        self._backfill = backfill
        self._settings = settings
        self._publish = publish
        self._metrics = metrics
        self._limit = trio.CapacityLimiter(settings.repair_concurrency)
        self._opened = trio.Event()
        self._busy: dict[Track, None] = {}

    def notice(self) -> None:
        """A gap may have opened."""
        self._opened.set()

    async def run(self) -> None:
        """Close gaps until cancelled."""
        async with trio.open_nursery() as nursery:
            while True:
                await self._opened.wait()
                self._opened = trio.Event()
                for track in self._arbiter.gapped():
                    if track not in self._busy:
                        self._busy[track] = None
                        nursery.start_soon(self._attend, track)

    async def _attend(self, track: Track) -> None:
        """Stay with one stream until it has no gap."""
        try:
            while (gap := track.gap) is not None:
                since = track.held[0].since
                await trio.sleep_until(since + self._settings.arbitration_hold)
                if track.gap is None or track.gap[0] != gap[0]:
                    self._metrics.gap("joined")
                elif not self._repairable(track):
                    await self._declare(track, "not_repairable")
                elif track.repair_kind is Repair.SNAPSHOT:
                    await self._rebase(track)
                else:
                    await self._fetch(track)
        finally:
            del self._busy[track]

    def _repairable(self, track: Track) -> bool:
        return track.repair_kind is not Repair.NONE and self._backfill.serves(track.venue)

    async def _declare(self, track: Track, reason: GapReason) -> None:
        out: list[Item] = []
        track.abandon(reason, out)
        self._metrics.gap("declared")
        await self._publish(out)

    async def _fetch(self, track: Track) -> None:
        """Fill the first gap page by page."""
        # From now, not from when the gap opened: a slow consumer may have kept us from it.
        progress_at = trio.current_time()
        looks = 0
        known: dict[int, Event] = {}
        target = track.gap
        while target is not None and track.gap is not None and track.gap[0] <= target[1]:
            first, last = track.gap
            rows: list[Event] = []
            with trio.move_on_at(progress_at + self._settings.repair_hold) as patience:
                async with self._limit:
                    rows = await self._page(track, first, last)
                if not rows:  # no answer, or one that is older than the gap
                    await trio.sleep(RETRY_PAUSE_S)
                    continue
            if patience.cancelled_caught:
                await self._declare(track, "not_repaired")
                return
            looks = looks + 1 if track.repair_key(rows[0]) > first else 0
            known |= {track.repair_key(row): row for row in rows}
            out: list[Item] = []
            self._take(track, known, out, believe=looks >= LOOKS_AT_A_HOLE)
            if out:
                await self._publish(out)
                progress_at = trio.current_time()
            else:
                await trio.sleep(RETRY_PAUSE_S)
        self._metrics.gap("repaired")

    async def _page(self, track: Track, first: int, last: int) -> list[Event]:
        """Rows from ``first`` on, by key; none if the venue did not answer."""
        try:
            rows = await self._backfill.page(track.venue, track.stream, first, last)
        except BackfillError:
            return []
        return [row for row in rows if track.repair_key(row) >= first]

    def _take(
        self, track: Track, known: dict[int, Event], out: list[Item], *, believe: bool
    ) -> None:
        """Use the known rows up to the first hole; ``believe`` that one at the very start is one.

        Rows behind a hole are kept: the next page begins at the hole, and may have holes elsewhere.
        """
        for key in sorted(known):
            gap = track.gap
            if gap is None:
                return
            if key < gap[0]:
                del known[key]  # another connection brought it meanwhile
                continue
            hole = key > gap[0]
            if hole and not believe:
                return
            if key > gap[1]:
                track.declare(gap[1], "venue_missing", out)
                return
            track.repair(known.pop(key), out)
            self._metrics.repaired()
            believe = believe and not hole

    async def _rebase(self, track: Track) -> None:
        """Replace lost diffs by a snapshot that the held diffs join."""
        with trio.move_on_after(self._settings.repair_hold):
            while track.gap is not None:
                try:
                    async with self._limit:
                        event = await self._backfill.snapshot(track.venue, track.stream)
                except BackfillError:
                    await trio.sleep(RETRY_PAUSE_S)
                    continue
                out: list[Item] = []
                if track.snapshot(event, out):
                    self._metrics.gap("repaired")
                    await self._publish(out)
                    return
                await trio.sleep(RETRY_PAUSE_S)
        await self._declare(track, "not_repaired")
