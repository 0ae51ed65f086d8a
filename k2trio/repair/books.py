"""Heals books: lost depth updates cannot be fetched, but a snapshot that the later ones join can.

*A gap is open.* A snapshot is asked for, as deep as the budget can pay. If it is older than the
gap, REST lags: its book is then looked at cheaply, at growing pauses, until it has caught up. As
long as it moves, that is waited for.

*A book begins.* Its first updates are held back until they have a snapshot to join.

*A stream is quiet* (``quiet.py``), and its book has not begun, or lacks a snapshot, or its stream
was away: the snapshot is put in as it comes, unless the stream was away again meanwhile.

*A gap was declared without a snapshot*, as REST was down or the budget gone, ids leapt, or the
consumer was too slow. Whoever keeps a book cannot go on, so a snapshot is put in later, between
two updates: the stream is held back until the snapshot is there for the next update to join. That
takes as long as REST is behind, so cheap looks tell first how far that is: it has what the stream
brought by then. Mostly it is a moment; for more than ``PATIENCE_S`` nothing is held back.
"""

from __future__ import annotations

import math
from collections import deque
from typing import TYPE_CHECKING

import trio

from ..market.streams import Repair
from ..market.venues import dialect_of
from ..policy.budget import BOOKS_LEAVE
from .attendance import LONGEST_RETRY_PAUSE_S, RETRY_PAUSE_S
from .hold import PATIENCE_S
from .hosts import BackfillError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from ..continuity.books import BookTrack
    from ..continuity.items import Item
    from ..continuity.track import Track
    from .attendance import Attendance

FIRST_HEALING_PAUSE_S = 1.0
"""Before the first look at a book whose stream goes on without a snapshot, and after it."""
AHEAD_LOOK_S = 0.5
"""How often to see whether what is waited for has come: the updates that a snapshot contains, or
the first ones."""
LONGEST_HEALING_PAUSE_S = 10.0
"""The pauses double up to here while REST lags or does not answer."""
HEALING_INTERVAL_S = 30.0
"""A stream is held back for a snapshot once in this time, however often it loses one."""


class Healing:
    """Brings snapshots until a book is whole.

    :param tracks: all streams of the feed; their books share the budget.
    """

    def __init__(
        self, case: Attendance, track: BookTrack, tracks: Callable[[], Sequence[Track]]
    ) -> None:
        self._case = case
        self._track = track
        self._tracks = tracks
        self._newest: int | None = None
        """REST's last update, as far as it is known to lag; None while it is not."""
        self._moves = False
        self._pause_s = RETRY_PAUSE_S
        self._healing_pause_s = FIRST_HEALING_PAUSE_S
        self._received = -1
        self._came: deque[tuple[float, int]] = deque()
        """What the stream's last update was, at each look of the last ``PATIENCE_S``."""

    async def run(self) -> None:
        """Ask until neither a gap is open nor a snapshot is wanted."""
        track = self._track
        while track.wanting:
            if not track.asks:
                await trio.sleep(AHEAD_LOOK_S)  # for the updates that the snapshot contains
            elif track.quiet:
                if not await self._join():
                    await self._wait()
            elif track.paused and not track.held:
                await trio.sleep(AHEAD_LOOK_S)  # it is not carried, or its first update comes soon
            elif track.gap is None and not track.paused:
                await self._heal()
            elif track.held and trio.current_time() < self._case.ask_from:
                await trio.sleep_until(self._case.ask_from)
            elif not await self._join():
                await self._wait()
        self._case.news.set()

    async def _join(self) -> bool:
        """Ask for a snapshot that joins what is held.

        :returns: whether there is nothing to wait for before going on.
        """
        case, track = self._case, self._track
        if self._newest is not None:
            newest = await self._look()
            if newest is None or not track.joins(newest):
                return not track.wanting
        quiet_since = track.quiet_since if track.quiet else None
        budget = case.office.backfill.budget(track.venue)
        most = case.office.settings.depth_snapshot_levels
        levels, weight = budget.levels(self._books(), trio.current_time(), most)
        async with case.turn(weight, BOOKS_LEAVE) as turn:
            if not track.wanting:
                return True
            try:
                event = await case.office.backfill.snapshot(
                    track.venue, track.stream, levels, weight, turn
                )
            except BackfillError:
                return False
        if quiet_since is not None and not self._may_put_in(quiet_since):
            return False
        out: list[Item] = []
        case.tally()  # another connection may have closed the gap meanwhile
        if track.snapshot(event, out):
            case.tally("repaired")
            self._newest, self._moves, self._pause_s = None, False, RETRY_PAUSE_S
            await case.release(out)
            return True
        self._note(int(event.data.last_update_id))
        return not track.wanting

    def _may_put_in(self, quiet_since: float) -> bool:
        """Whether a snapshot that was asked for while the stream was quiet has a place in it."""
        track = self._track
        if track.quiet_since != quiet_since:
            return False  # it was away, and may have missed what came after the snapshot
        return track.quiet or track.paused or track.gap is not None

    async def _look(self) -> int | None:
        """REST's last update, cheaply; None if it does not answer."""
        case, track = self._case, self._track
        now = trio.current_time()
        while self._came and self._came[0][0] < now - PATIENCE_S:
            self._came.popleft()
        self._came.append((now, track.newest))
        _, look_weight = dialect_of(track.venue).rest.look(1)
        try:
            async with case.turn(look_weight, BOOKS_LEAVE) as turn:
                newest = await case.office.backfill.newest(track.venue, track.stream, turn=turn)
        except BackfillError:
            return None
        if newest is None:
            return None
        self._note(newest.id)
        return newest.id

    def _note(self, newest: int) -> None:
        self._moves = self._newest is not None and newest > self._newest
        self._newest = newest

    async def _wait(self) -> None:
        """Pause before the next look; a book that moves is waited for, and that is no failure."""
        hold = self._case.hold
        if self._moves:
            hold.wait(trio.current_time())
            self._case.news.set()
        await trio.sleep(self._pause_s)
        if self._moves:
            hold.resume(trio.current_time(), excused=True)
        self._pause_s = min(2 * self._pause_s, LONGEST_RETRY_PAUSE_S)

    async def _heal(self) -> None:
        """See whether REST is up to date; if it is, hold the stream back for a snapshot."""
        case, track = self._case, self._track
        case.opened = trio.Event()
        ask_at = case.office.ask_at.get(track, -math.inf)
        with trio.move_on_at(max(ask_at, trio.current_time() + self._healing_pause_s)):
            await case.opened.wait()
        received, self._received = self._received, track.received
        if track.gap is not None or track.next is None or track.received == received:
            return  # or nothing comes: it may be subscribed no more, and the venue is not bothered
        newest = await self._look()
        now = trio.current_time()
        behind_s = math.inf if newest is None else self._behind_s(newest, now)
        if behind_s <= PATIENCE_S:
            if track.joins(newest or 0):
                self._newest = None  # no need for another look
            track.pause()
            case.held_back()
            case.office.ask_at[track] = now + HEALING_INTERVAL_S
            self._pause_s = RETRY_PAUSE_S
        self._healing_pause_s = min(2 * self._healing_pause_s, LONGEST_HEALING_PAUSE_S)

    def _behind_s(self, newest: int, now: float) -> float:
        """For how long at most the stream has been ahead of REST's last update."""
        return min((now - at for at, came in self._came if came <= newest), default=math.inf)

    def _books(self) -> int:
        return books_of(self._track.venue, self._tracks())


def books_of(venue: str, tracks: Iterable[Track]) -> int:
    """How many books of a venue share its budget."""
    return sum(track.venue == venue and track.repair_kind is Repair.SNAPSHOT for track in tracks)
