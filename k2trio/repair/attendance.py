"""What the repair of one stream has at hand: its clock, its turns, its way to the consumer."""

from __future__ import annotations

import math
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import trio

from ..continuity.books import BookTrack
from .hold import PATIENCE_S, Hold
from .pages import Pages

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

    from ..continuity.items import Item
    from ..continuity.track import Track
    from ..observe.metrics import Metrics
    from ..settings import Settings
    from .hosts import Turn
    from .rest import Backfill

RETRY_PAUSE_S = 0.5
"""Before the second request for the same."""
LOOK_S = 1.0
"""How often to see whether a wait still counts as one."""
LONGEST_RETRY_PAUSE_S = 4.0
"""The pauses double up to here."""


class Office:
    """What all repairs of a feed share.

    :param publish: takes what may be delivered; returns when the consumer has room.
    :param redundant: whether more than one connection carries the stream now, so that another one
        may bring what this one skipped.
    :ivar limit: so many streams ask at the same time.
    :ivar ask_at: before when a stream should not ask for what is newly missing, or for a snapshot
        that is not urgent.
    """

    def __init__(
        self,
        backfill: Backfill,
        settings: Settings,
        publish: Callable[[list[Item]], Awaitable[None]],
        metrics: Metrics,
        redundant: Callable[[Track], bool],
    ) -> None:
        self.backfill = backfill
        self.settings = settings
        self.publish = publish
        self.metrics = metrics
        self.redundant = redundant
        self.limit: trio.CapacityLimiter = trio.CapacityLimiter(settings.repair_concurrency)
        self.ask_at: dict[Track, float] = {}

    def well(self, venue: str) -> bool:
        """Whether to wait for a turn is worth it: REST answers, and admits something soon."""
        frozen_s = self.backfill.budget(venue).frozen_until - trio.current_time()
        return self.backfill.answers(venue) and frozen_s <= PATIENCE_S


class Attendance:
    """The repair of one stream, for as long as something is missing.

    :ivar blocked: the consumer has no room; nothing is declared before it has.
    :ivar news: set when the next deadline may have changed.
    :ivar opened: set when a gap may have opened while none was.
    :ivar paused_at: since when the stream is held back for a snapshot.
    :ivar scope: of all that is done for it; cancelled when somebody else is to do it, or not.
    """

    def __init__(self, office: Office, track: Track) -> None:
        self.office = office
        self.track = track
        self.hold: Hold = Hold(office.settings.repair_hold)
        self.pages: Pages = Pages()
        self.blocked: bool = False
        self.news: trio.Event = trio.Event()
        self.opened: trio.Event = trio.Event()
        self.scope: trio.CancelScope = trio.CancelScope()
        self.paused_at: float = trio.current_time()
        self._expectant = not track.received
        self._last: int | None = None
        """Where the gap ends that is attended to, and what the ledger said when that began."""
        self._missing = self._repaired = 0
        self.tally()

    @property
    def ask_from(self) -> float:
        """From when on the open gap may be asked for: another connection may bring it before."""
        settings = self.office.settings
        wait_s = settings.arbitration_hold if self.office.redundant(self.track) else 0.0
        return self.track.opened_at + wait_s

    @property
    def deadline(self) -> float:
        """When the open gap is to be declared, or the stream held back no longer."""
        if self.blocked:
            return math.inf
        track, office = self.track, self.office
        if track.gap is None:
            if isinstance(track, BookTrack) and track.paused:
                if not office.backfill.serves(track.venue):
                    return -math.inf
                if not track.received:
                    return math.inf  # nothing is held back
                paused_at = max(self.paused_at, track.began_at)
                return self.hold.deadline(paused_at, excused=office.well(track.venue))
            return math.inf
        if not office.backfill.serves(track.venue):
            return self.ask_from
        excused = office.well(track.venue)
        return max(self.ask_from, self.hold.deadline(track.opened_at, excused=excused))

    def next_look(self, deadline: float) -> float:
        """When to look at the clock again; while it may stand still, it is looked at often."""
        return min(deadline, trio.current_time() + LOOK_S) if self.hold.waiting else deadline

    def stir(self) -> None:
        """Something is held back, or lacks a snapshot."""
        self.opened.set()
        if self._expectant:
            self._expectant = False
            self.news.set()

    def held_back(self) -> None:
        """The stream waits for a snapshot from now on, though nothing of it is missing."""
        self.paused_at = trio.current_time()
        self.news.set()

    @asynccontextmanager
    async def turn(self, weight: int, leaves: float = 0.0) -> AsyncGenerator[Turn]:
        """Wait until a request of such a weight may be sent; the clock stands still meanwhile."""
        office, venue = self.office, self.track.venue
        self.hold.wait(trio.current_time())
        self.news.set()
        async with office.backfill.turn(venue, weight, leaves) as turn, office.limit:
            self.hold.resume(trio.current_time(), excused=office.well(venue))
            self.news.set()
            yield turn

    async def release(self, out: list[Item]) -> None:
        """Hand over what may be delivered; returns when the consumer has room."""
        self.blocked = True
        try:
            await self.office.publish(out)
        finally:
            self.blocked = False
            self.news.set()

    def tally(self, outcome: str | None = None) -> None:
        """Count the gap that was attended to, if it is closed, and turn to the next one.

        Meanwhile another connection may have closed it, and a new one may have opened behind it.
        """
        gap, ledger = self.track.gap, self.track.ledger
        if self._last is not None and (gap is None or gap[0] > self._last):
            if outcome is None and ledger.missing != self._missing:
                outcome = "declared"
            elif outcome is None:
                outcome = "joined" if ledger.repaired == self._repaired else "repaired"
            self.office.metrics.gap(outcome)
            self._last = None
        if self._last is None and gap is not None:
            self._last = gap[1]
            self._missing, self._repaired = ledger.missing, ledger.repaired
