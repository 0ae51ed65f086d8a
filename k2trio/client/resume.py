"""Resuming: what has been dealt with, per stream, kept in a file for the next start."""

from __future__ import annotations

import functools
import threading
from typing import TYPE_CHECKING

import trio

from ..continuity.items import Gap, Item, VenueChanged
from ..continuity.klines import KlineTrack
from ..continuity.positions import Position, earlier, position_after
from ..continuity.state import load_state, save_state
from ..errors import SinkError
from ..market.payloads import Event
from ..observe.transitions import StateNotSaved

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from ..continuity.arbiter import Arbiter
    from ..observe.transitions import Observer
    from ..settings import Settings

SAVE_ATTEMPTS = 5
"""Failed saves in a row that end the feed."""
SAVE_RETRY_S = 1.0
"""Longest time from a failed save to the next attempt."""
LAST_SAVE_TIMEOUT_S = 1.0
"""How long the disk may take for the last save, when the feed is left."""


class Resume:
    """Begins the tracks where an earlier run ended, and remembers where this one is.

    :param positions: where streams are to begin, besides what the state file says; the earlier of
        both counts.
    :param sync: makes durable what the consumer did with what it acknowledged; blocks.
    :ivar begun: where the streams began; of several venues of a stream the one comes last at which
        it was.
    :ivar keeps: whether there is a file.
    :ivar problem: what keeps the file from being written; None if nothing does.
    """

    def __init__(
        self,
        arbiter: Arbiter,
        settings: Settings,
        emit: Observer,
        sync: Callable[[], None] | None,
        positions: Iterable[Position] = (),
    ) -> None:
        self.problem: str | None = None
        self._arbiter = arbiter
        self._path = settings.state
        self.keeps: bool = settings.state is not None
        self._unit = settings.unit
        self._interval_s = settings.state_interval
        self._emit = emit
        self._sync = sync
        self._resumed: dict[tuple[str, str], Position] = {}
        self._dealt_with: dict[tuple[str, str], Event | Gap] = {}
        self._one_save = threading.Lock()
        self._saves_begun = self._newest_saved = 0
        self._limit = settings.resume_limit
        begun = {(one.venue, one.stream): one for one in positions}
        if self._path is not None:
            for position in load_state(self._path, self._unit):
                key = position.venue, position.stream
                self._resumed[key] = position
                begun[key] = earlier(position, begun.pop(key, position))
        self.begun: Sequence[Position] = list(begun.values())
        self._at = {one.stream: one.venue for one in self.begun}
        self.begin(self.begun)

    def begin(self, positions: Iterable[Position]) -> None:
        """Let streams go on after these positions, whatever was known of them."""
        for one in positions:
            track = self._arbiter.begin(one.venue, one.stream)
            track.resume(one.position, self._limit, one.time, one.received, one.trade)

    def note(self, items: Sequence[Item]) -> None:
        """The consumer has dealt with these; to be told only if it :attr:`keeps` that."""
        for item in items:
            if isinstance(item, Event | Gap):
                self._dealt_with[item.venue, item.stream] = item
            elif isinstance(item, VenueChanged):
                self._at[item.stream] = item.venue

    async def save_regularly(self) -> None:
        """Write the file at every interval, for ever.

        A save that fails is told, and tried again.

        :raises SinkError: if it cannot be written for long, or what it speaks of is not durable.
        """
        if self._path is None:
            return
        failures, pause_s = 0, self._interval_s
        while True:
            await trio.sleep(pause_s)
            try:
                await trio.to_thread.run_sync(self._prepared_save(), abandon_on_cancel=True)
            except OSError as error:
                failures += 1
                why = error.strerror or str(error)
                self.problem = f"the state file is not written: {why}"
                self._emit(StateNotSaved(str(self._path), failures, SAVE_ATTEMPTS, why))
                if failures == SAVE_ATTEMPTS:
                    raise self._failed(error) from error
                pause_s = min(self._interval_s, SAVE_RETRY_S)
            else:
                failures, pause_s, self.problem = 0, self._interval_s, None

    def save(self) -> None:
        """Write the file now; blocks for as long as the disk takes.

        :raises SinkError: if it cannot be written, or what it speaks of is not durable.
        """
        try:
            self._prepared_save()()
        except OSError as error:
            raise self._failed(error) from error

    async def save_at_last(self) -> None:
        """Write the file within a bound, whatever was cancelled.

        :raises SinkError: as :meth:`save` does, or if the disk does not answer in time.
        """
        if self._path is None:
            return
        with trio.move_on_after(LAST_SAVE_TIMEOUT_S, shield=True) as patience:
            await trio.to_thread.run_sync(self.save, abandon_on_cancel=True)
        if patience.cancelled_caught:
            raise SinkError(
                f"cannot write the state file {self._path} within {LAST_SAVE_TIMEOUT_S:g} s; "
                "the disk does not answer, the next start delivers the last messages again"
            )

    def _prepared_save(self) -> Callable[[], None]:
        """What to call, wherever, to save what has been dealt with until now."""
        self._saves_begun += 1
        return functools.partial(self._save, self._saves_begun, self._positions())

    def _save(self, number: int, positions: Sequence[Position]) -> None:
        if self._path is None or not positions:
            return
        with self._one_save:
            if number < self._newest_saved:
                return  # a cancelled save that came too late
            # First what the positions speak of, then the positions: a cut of power in between
            # has messages delivered again, and never one too few.
            if self._sync is not None:
                self._sync()
            save_state(self._path, positions, self._unit)
            self._newest_saved = number

    def _failed(self, error: OSError) -> SinkError:
        return SinkError(f"cannot write the state file {self._path}: {error.strerror}")

    def _positions(self) -> list[Position]:
        positions = dict(self._resumed)
        for (venue, stream), item in self._dealt_with.items():
            track = self._arbiter.track(venue, stream)
            if track.contiguous or isinstance(track, KlineTrack):
                after = position_after(item, self._unit)
                time = after.time if track.contiguous else None
                positions[venue, stream] = Position(
                    venue, stream, after.position, time, trade=after.trade
                )
        # The venue at which a stream is comes last: from there the next run goes on.
        return sorted(positions.values(), key=lambda one: self._at.get(one.stream) == one.venue)
