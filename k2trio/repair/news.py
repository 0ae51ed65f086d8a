"""What a venue tells of a silent stream: news that speaks against the silence, or none.

That a venue has something after the last message that was delivered is not enough. A connection
brings what is sent while it is open, once; so it cannot be blamed for

- what has come, and waits: behind a gap, or for others to speak for it;
- what was made before the silence began: a message that got lost between two connections stays
  the newest one for as long as its stream has nothing to say, be it for days. The repair fetches it
  as soon as the next one shows that it is missing.

Of best levels, be it one a side or twenty, the venue tells what they are, not when they became so,
and the id that comes with them grows with the book below. They are news if no message has said
them.

When something was made is told by the exchange's own times, by which the last message before the
silence is dated, too; no clock of ours is compared with them. Where they do not tell, what the
venue told before the silence began was made before. So each new connection, or subscription, is
judged by what is told for the first time, and none is cut twice for one message.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import trio

from ..market.quotes import quote_of
from .askable import is_known_by_id

if TYPE_CHECKING:
    from ..continuity.track import Track
    from ..market.quotes import Quote
    from .rest import Newest


class Silence(NamedTuple):
    """What is silent.

    :ivar open_since: when the connection was opened, or the stream subscribed anew.
    :ivar last_time: when the exchange made the last message that came before the connection fell
        silent as a whole, in the feed's unit; None if that is not known, or others flow.
    """

    open_since: float
    last_time: int | None = None

    def began_after(self, time: int | None, per_ms: int) -> bool:
        """Whether something was made before, at a time; False if nothing tells."""
        if time is None or self.last_time is None:
            return False
        return time // per_ms < self.last_time // per_ms  # one may be told in milliseconds only


class News:
    """Remembers what venues have told; see the module."""

    def __init__(self) -> None:
        self._told: dict[tuple[str, str], tuple[int, Quote | int]] = {}
        """(venue, stream) → messages it had when the venue was last asked, and what it told."""
        self._new: dict[tuple[str, str], tuple[Newest, float]] = {}
        """(venue, stream) → the last that had not come, and when the venue told it first."""
        self._unheard: dict[tuple[str, str], tuple[float, Newest]] = {}
        """(venue, stream) of which nothing has ever come → when the venue was first asked since the
        connection was opened, and what it told."""

    def moves_unheard(self, silence: Silence, track: Track, newest: Newest) -> bool:
        """Whether something should have come of a stream that has had no message at all.

        There is none to compare with; but what the venue tells, and did not tell before on the same
        connection, was made while that was open.
        """
        asked = track.venue, track.stream.name
        before = self._unheard.get(asked)
        if before is None or before[0] < silence.open_since:
            self._unheard[asked] = trio.current_time(), newest
            return False
        told = before[1]
        return newest.id > told.id and (newest.quote is None or newest.quote != told.quote)

    def speaks_against(self, silence: Silence, track: Track, newest: Newest) -> bool:
        """Whether something should have come of a stream that has had messages."""
        if _was_said(track, newest) or not self._is_new(track, newest):
            return False
        if is_known_by_id(track.stream) and track.awaits_others(newest.id, newest.time):
            return False
        if silence.began_after(newest.time, track.per_ms):
            return False
        return self._told_first(track, newest) >= silence.open_since

    def _told_first(self, track: Track, newest: Newest) -> float:
        """When the venue told it for the first time."""
        asked = track.venue, track.stream.name
        before = self._new.get(asked)
        if before is None or _is_later(newest, before[0]):
            before = self._new[asked] = newest, trio.current_time()
        return before[1]

    def _is_new(self, track: Track, newest: Newest) -> bool:
        """Whether the venue has something after the last message delivered."""
        by_id = is_known_by_id(track.stream)
        comparable = newest.quote is None or track.said is not None  # not after a restart
        if track.next is not None and by_id and newest.id >= track.next and comparable:
            return True
        # Ids that began anew are lower, so an id alone proves no quiet.
        time = track.delivered_time
        if newest.time is not None and time is not None and track.delivered_at is not None:
            return newest.time // track.per_ms > time // track.per_ms
        if not by_id:
            return True
        asked = track.venue, track.stream.name
        before = self._told.get(asked)
        now = self._told[asked] = track.received, newest.quote or newest.id
        return before is not None and before[0] == now[0] and before[1] != now[1]


def _was_said(track: Track, newest: Newest) -> bool:
    """Whether the venue tells best levels that the stream told last, or tells in what waits."""
    if newest.quote is None or track.said is None:
        return False
    said = [track.said, *(held.event.data for held in track.waiting)]
    return any(quote_of(track.stream, data) == newest.quote for data in said)


def _is_later(one: Newest, other: Newest) -> bool:
    """Whether a venue told something else than before, and not by a host that lags behind."""
    if one.quote is not None:
        return one.quote != other.quote
    if one.time is None or other.time is None:
        return one.id != other.id
    return one.id > other.id or one.time > other.time
