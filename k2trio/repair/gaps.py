"""Closes gaps: waits a moment for another connection, then asks REST, then declares what is lost.

One task per gapped stream, so that streams do not wait for each other; requests of all of them
share a limiter. A repair may take as long as it makes progress, and ``repair_hold`` without any.

REST is not believed blindly. Ids that a page skips are declared missing at the venue only when a
second page skips them too; an answer that is older than the gap is asked for again until the hold
is over; the last bar of an answer may still be open, so only a later one proves that it is not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from ..continuity.items import Outage
from ..market.streams import Repair
from .hosts import BackfillError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from ..continuity.arbiter import Arbiter
    from ..continuity.items import GapReason, Item
    from ..continuity.track import Track
    from ..market.payloads import Event
    from ..observe.metrics import Metrics
    from ..settings import Settings
    from .rest import Backfill

RETRY_PAUSE_S = 0.5
"""Between two requests for the same rows."""
LOOKS_AT_A_HOLE = 2
"""How many pages must skip an id before it is believed not to exist."""


class _Pages:
    """What REST has told about one gap.

    :ivar rows: what it brought and nobody took yet, by key.
    """

    def __init__(self) -> None:
        self.rows: dict[int, Event] = {}
        self._looks: list[tuple[int, int]] = []

    def add(self, first: int, rows: dict[int, Event]) -> None:
        """Take a page that was asked for from ``first`` on, where the gap now begins."""
        self.rows |= rows
        self._looks = [look for look in self._looks if look[1] >= first]
        self._looks.append((first, max(rows)))

    def skipped(self, first: int, then: int) -> bool:
        """Whether enough pages went from ``first`` to ``then`` with nothing in between."""
        looks = sum(1 for start, end in self._looks if start <= first and then <= end)
        return looks >= LOOKS_AT_A_HOLE


class Repairs:
    """The repair task of a feed.

    :param publish: takes what may be delivered; returns when the consumer has room.
    :param redundant: whether more than one connection carries the stream now, so that another one
        may bring what this one skipped.
    """

    def __init__(
        self,
        arbiter: Arbiter,
        backfill: Backfill,
        settings: Settings,
        publish: Callable[[list[Item]], Awaitable[None]],
        metrics: Metrics,
        redundant: Callable[[Track], bool],
    ) -> None:
        self._redundant = redundant
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
        closed_at = float("-inf")
        try:
            while (gap := track.gap) is not None:
                opened_at = track.held[0].since
                if self._redundant(track):
                    await trio.sleep_until(opened_at + self._settings.arbitration_hold)
                if not _is_open(track, gap[1]):
                    self._metrics.gap("joined")
                elif not self._repairable(track):
                    await self._abandon(track, gap[1], "not_repairable")
                else:
                    # A gap behind another one could not be asked for before that was closed.
                    since = max(opened_at, closed_at)
                    if track.repair_kind is Repair.SNAPSHOT:
                        await self._rebase(track, gap[1], since)
                    else:
                        await self._fetch(track, gap[1], since)
                closed_at = trio.current_time()
        finally:
            del self._busy[track]

    def _repairable(self, track: Track) -> bool:
        return track.repair_kind is not Repair.NONE and self._backfill.serves(track.venue)

    async def _abandon(self, track: Track, last: int, reason: GapReason) -> None:
        """Declare what is left of the gap that ended at ``last``."""
        if not _is_open(track, last):
            self._metrics.gap("joined")
            return
        out: list[Item] = []
        track.abandon(reason, out)
        self._metrics.gap("declared")
        await self._release(out)

    async def _release(self, out: list[Item]) -> None:
        for item in out:
            if isinstance(item, Outage):
                self._metrics.unproven(item.until - item.since)
        await self._publish(out)

    async def _fetch(self, track: Track, last: int, since: float) -> None:
        """Fill the gap that ends at ``last`` page by page."""
        progress_at = since
        pages = _Pages()
        missing, repaired = track.ledger.missing, track.ledger.repaired
        pause_s = 0.0
        while _is_open(track, last):
            out: list[Item] = []
            with trio.move_on_at(progress_at + self._settings.repair_hold) as patience:
                await trio.sleep(pause_s)
                async with self._limit:
                    await self._ask(track, pages)
                self._take(track, pages, out)
            if patience.cancelled_caught:
                await self._abandon(track, last, "not_repaired")
                return
            # Rows that were not taken lie behind a hole; the venue gets a moment to fill it.
            pause_s = 0.0 if out and not pages.rows else RETRY_PAUSE_S
            if out:
                await self._release(out)
                progress_at = trio.current_time()
        if track.ledger.missing != missing:
            self._metrics.gap("declared")
        else:
            self._metrics.gap("joined" if track.ledger.repaired == repaired else "repaired")

    async def _ask(self, track: Track, pages: _Pages) -> None:
        """Add rows of the open gap, and the one behind it; none if the venue did not answer."""
        if (gap := track.gap) is None:
            return
        first, last = gap
        try:
            rows = await self._backfill.page(track.venue, track.stream, first, last)
        except BackfillError:
            return
        keyed = {key: row for row in rows if (key := track.repair_key(row)) >= first}
        if keyed and track.repair_kind is Repair.KLINES and (newest := max(keyed)) <= last:
            del keyed[newest]  # it may still be open
        if keyed:
            pages.add(first, keyed)

    def _take(self, track: Track, pages: _Pages, out: list[Item]) -> None:
        """Use the known rows up to the first hole that is not proven to be one.

        Rows behind a hole are kept: the next page begins at the hole, and may have holes elsewhere.
        """
        for key in sorted(pages.rows):
            if (gap := track.gap) is None:
                return
            if key < gap[0]:
                del pages.rows[key]  # another connection brought it meanwhile
                continue
            if key > gap[0] and not pages.skipped(gap[0], key):
                return
            if key > gap[1]:
                track.declare(gap[1], "venue_missing", out)
                return
            before = track.ledger.repaired
            track.repair(pages.rows.pop(key), out)
            if track.ledger.repaired != before:
                self._metrics.repaired()

    async def _rebase(self, track: Track, last: int, since: float) -> None:
        """Replace lost diffs by a snapshot that the held diffs join."""
        out: list[Item] = []
        with trio.move_on_at(since + self._settings.repair_hold):
            while _is_open(track, last) and not out:
                await self._join_snapshot(track, last, out)
        if out:
            self._metrics.gap("repaired")
            await self._release(out)
        else:
            await self._abandon(track, last, "not_repaired")

    async def _join_snapshot(self, track: Track, last: int, out: list[Item]) -> None:
        """Ask for a snapshot; one that is too old is waited for a little."""
        try:
            async with self._limit:
                event = await self._backfill.snapshot(track.venue, track.stream)
        except BackfillError:
            pass
        else:
            if not _is_open(track, last) or track.snapshot(event, out):
                return
        await trio.sleep(RETRY_PAUSE_S)


def _is_open(track: Track, last: int) -> bool:
    """Whether something is left of the gap that ended at ``last`` when it was attended to.

    Meanwhile another connection may have closed it, and a new one may have opened behind it.
    """
    return track.gap is not None and track.gap[0] <= last
