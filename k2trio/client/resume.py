"""Resuming: what has been dealt with, per stream, kept in a file for the next start."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from ..continuity.items import Gap, Item, Outage
from ..continuity.klines import KlineTrack
from ..continuity.state import Position, load_state, save_state
from ..errors import SinkError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..continuity.arbiter import Arbiter
    from ..market.payloads import Event
    from ..settings import Settings


class Resume:
    """Begins the tracks where an earlier run ended, and remembers where this one is.

    Does nothing where the settings name no state file.
    """

    def __init__(self, arbiter: Arbiter, settings: Settings) -> None:
        self._arbiter = arbiter
        self._path = settings.state
        self._interval_s = settings.state_interval
        self._resumed: dict[tuple[str, str], Position] = {}
        self._dealt_with: dict[tuple[str, str], Event | Gap] = {}
        if self._path is None:
            return
        for position in load_state(self._path):
            self._resumed[position.venue, position.stream] = position
            track = arbiter.track(position.venue, position.stream)
            track.resume(position.position, settings.resume_limit)

    def note(self, items: Sequence[Item]) -> None:
        """The consumer has dealt with these."""
        if self._path is not None:
            for item in items:
                if not isinstance(item, Outage):
                    self._dealt_with[item.venue, item.stream] = item

    async def save_regularly(self) -> None:
        """Write the file at every interval, for ever.

        :raises SinkError: if it cannot be written.
        """
        if self._path is not None:
            while True:
                await trio.sleep(self._interval_s)
                await trio.to_thread.run_sync(self.save)

    def save(self) -> None:
        """Write the file now; blocks for as long as the disk takes.

        :raises SinkError: if it cannot be written.
        """
        positions = self._positions()
        if self._path is None or not positions:
            return
        try:
            save_state(self._path, positions)
        except OSError as error:
            message = f"cannot write the state file {self._path}: {error.strerror}"
            raise SinkError(message) from error

    def _positions(self) -> list[Position]:
        positions = dict(self._resumed)
        for (venue, stream), item in self._dealt_with.items():
            track = self._arbiter.track(venue, stream)
            if track.contiguous or isinstance(track, KlineTrack):
                after = track.position_after(item)
                positions[venue, stream] = Position(venue, stream, after)
        return list(positions.values())
