"""Closes gaps: waits a moment for another connection, then asks REST, then declares what is lost.

Each gapped stream is attended to by two tasks. One asks, and hands over what came of it
(``history.py``, ``books.py``); the other watches the clock (``hold.py``) and declares a gap whose
time is over, though questions may still be under way. So streams do not wait for each other, and
the gaps of a stream do not wait for each other's time either. Requests of all share the venue's
budget (``policy/budget.py``).

Of streams that are *left to others* (a hot standby's: who writes them repairs them) nothing is
asked for: one that lacks something begins anew, with what comes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from ..continuity.books import BookTrack
from ..market.streams import Repair
from ..market.venues import dialect_of
from ..policy.budget import AUDITS_LEAVE
from . import history
from .attendance import RETRY_PAUSE_S, Attendance, Office
from .books import Healing, books_of
from .hosts import BackfillError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection

    from ..continuity.arbiter import Arbiter
    from ..continuity.items import Item
    from ..continuity.track import Track
    from ..market.payloads import DepthSnapshot, Event
    from ..market.streams import Stream
    from ..observe.metrics import Metrics
    from ..settings import Settings
    from .rest import Backfill

LATE_S = 5.0
"""A message that has waited behind a gap for longer makes the feed late."""
FORGOTTEN_S = 60.0
"""A book of which nothing was heard for so long may be subscribed no more, and is no problem."""


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
        self._arbiter = arbiter
        self._backfill = backfill
        self._office = Office(backfill, settings, publish, metrics, redundant)
        self._opened = trio.Event()
        self._busy: dict[Track, Attendance] = {}
        self._left: dict[str, Callable[[Track], object]] = {}
        """Streams that are left to others → what begins one anew."""

    def leave(self, streams: Collection[str], begin_anew: Callable[[Track], object]) -> None:
        """Leave streams to others from now on.

        :param begin_anew: ends the track of one that lacks something, with all that it has brought.
        """
        self._left.update(dict.fromkeys(streams, begin_anew))
        self._attend_anew(streams)

    def attend(self, streams: Collection[str]) -> None:
        """Repair streams that were left to others."""
        for name in streams:
            self._left.pop(name, None)
        self._attend_anew(streams)

    def _attend_anew(self, streams: Collection[str]) -> None:
        for track, case in self._busy.items():
            if track.stream.name in streams:
                case.scope.cancel()
        self.notice()

    def notice(self) -> None:
        """A gap may have opened."""
        self._opened.set()

    def problems(self, now: float) -> list[str]:
        """What is not as it should be, one sentence each."""
        late_s = self._arbiter.oldest_gap_s(now)
        found = [f"messages wait behind a gap for {late_s:.1f} s"] if late_s > LATE_S else []
        if books := self.broken_books(now):
            found.append(f"{books} {'book lacks' if books == 1 else 'books lack'} a snapshot")
        return found

    def broken_books(self, now: float) -> int:
        """How many books that are told of want a snapshot, after a gap that was declared."""
        return sum(
            track.wants_snapshot and now - track.seen_at < FORGOTTEN_S for track in self._busy
        )

    async def snapshot(self, venue: str, stream: Stream) -> Event[DepthSnapshot]:
        """A book as REST has it now, when the repairs of others can spare the weight.

        :raises BackfillError: if no host of the venue gave an answer.
        """
        if not self._backfill.serves(venue):
            raise BackfillError(f"no REST host of {venue} is known")
        budget, most = self._backfill.budget(venue), self._office.settings.depth_snapshot_levels
        books = books_of(venue, self._arbiter.tracks)
        fewest = dialect_of(venue).rest.fewest
        levels, weight = budget.levels(books, trio.current_time(), most or fewest)
        async with self._backfill.turn(venue, weight, AUDITS_LEAVE) as turn:
            return await self._backfill.snapshot(venue, stream, levels, weight, turn)

    async def run(self) -> None:
        """Close gaps until cancelled."""
        async with trio.open_nursery() as nursery:
            while True:
                await self._opened.wait()
                self._opened = trio.Event()
                for track in self._arbiter.tracks:
                    if not track.held and not _lacks_a_snapshot(track):
                        continue
                    case = self._busy.get(track)
                    if case is not None:
                        case.stir()
                    elif track.held or self._served(track):
                        case = self._busy[track] = Attendance(self._office, track)
                        nursery.start_soon(self._attend, case)

    def _served(self, track: Track) -> bool:
        if track.stream.name in self._left:
            return False
        kind, wanted = track.repair_kind, self._office.settings.depth_snapshot_levels
        if kind is Repair.NONE or (kind is Repair.SNAPSHOT and not wanted):
            return False
        return self._backfill.serves(track.venue)

    async def _attend(self, case: Attendance) -> None:
        """Stay with one stream until nothing of it is missing."""
        track = case.track
        try:
            with case.scope:
                if track.stream.name in self._left:
                    await self._stand_by(case)
                elif not self._served(track):
                    await self._watch(case)
                else:
                    async with trio.open_nursery() as nursery:
                        nursery.start_soon(self._ask, case)
                        await self._watch(case)
                        nursery.cancel_scope.cancel()
        finally:
            del self._busy[track]
        if case.scope.cancelled_caught:
            self.notice()

    async def _stand_by(self, case: Attendance) -> None:
        """Let a stream go on that is left to others, or begin it anew."""
        track = case.track
        if track.gap is None and isinstance(track, BookTrack):
            out: list[Item] = []
            track.proceed(out)
            await case.release(out)
            return
        while track.gap is not None and (begin_anew := self._left.get(track.stream.name)):
            if trio.current_time() >= case.ask_from:
                begin_anew(track)
                return
            await trio.sleep_until(case.ask_from)

    async def _ask(self, case: Attendance) -> None:
        """Ask for what is missing, for as long as the stream is attended to.

        Between the end of one repair and the look of who watches, more may have got lost.
        """
        track = case.track
        while True:
            if isinstance(track, BookTrack):
                await Healing(case, track, lambda: self._arbiter.tracks).run()
            else:
                await history.fill(case)
            case.news.set()
            await trio.sleep(RETRY_PAUSE_S)

    async def _watch(self, case: Attendance) -> None:
        """Declare each gap when its time is over; ends when nothing is missing."""
        track = case.track
        served = self._served(track)
        while track.gap is not None or track.paused or (served and track.wanting):
            deadline = case.deadline
            if trio.current_time() < deadline:
                case.news = trio.Event()
                with trio.move_on_at(case.next_look(deadline)):
                    await case.news.wait()
                continue
            out: list[Item] = []
            case.tally()
            if track.gap is not None and served:
                history.declare(case, out)
            else:
                track.abandon("not_repairable", out)
            case.tally()
            await case.release(out)
        case.tally()


def _lacks_a_snapshot(track: Track) -> bool:
    """Whether a book wants a snapshot that need not wait for the first update."""
    return isinstance(track, BookTrack) and track.wanting and (track.quiet or not track.paused)
