"""What each message of a stream is: one that fits, a copy, a suspect, or a stray."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar

from .held import Held, Source, Stray, refuted
from .numbering import Numbering, Shared
from .renumbering import CONFIRMING, Doubts, Place, Suspect, Verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ..market.payloads import Event
    from ..market.streams import Stream
    from .items import Item

LEFT_OVER_S = 10.0
"""For how long after a new numbering began messages of the old one are looked out for (s)."""
NEAR_IDS = 100
"""How far apart suspects of one chain lie whose ids are consecutive: room for some losses."""
_NEAR_TIMES_S = 86_400
"""The same where the key is a time (s): a day."""


class Judging(Numbering):
    """See the module; what is done with the messages is for :class:`~.track.Track` to say.

    :ivar flows: whether a message that is simply the next one is delivered at once.
    :ivar rises: the same of keys that only grow.
    :ivar duplicates: messages dropped because they were delivered before.
    :ivar strays: messages that were refuted, for the caller to take.
    :ivar refused: how many of them there were.
    :ivar contested: whether other connections may disagree; see ``renumbering.py``.
    """

    __slots__ = (
        "_began_at",
        "_memory",
        "contested",
        "duplicates",
        "flows",
        "refused",
        "rises",
        "strays",
    )

    simple: ClassVar[bool] = True
    """Whether ids tell all that there is to know of what comes next."""
    wary: bool
    interrupted: bool

    def __init__(self, stream: Stream, shared: Shared) -> None:
        super().__init__(stream, shared)
        self.duplicates: int = 0
        self.refused: int = 0
        self.strays: list[Stray] = []
        self.contested: Callable[[], bool] = bool  # nobody contests
        self._memory = shared.memory
        self._began_at = -math.inf
        self.flows: bool
        self.rises: bool
        self._set_flow()

    def offer(
        self, event: Event, now: float, out: list[Item], source: Source | None = None
    ) -> None:
        """Take a message of a connection; append to ``out`` what may be delivered because of it."""
        first, last = self.first_of(event.data), self.last_of(event.data)
        if self.wary and self.doubts is None:
            self._be_wary(now)
        place = self._place(event, first, last, now)
        if place is Place.COPY:
            self.duplicates += 1
            if last >= 0 and not self._repeats(event, last):  # an empty array says nothing
                self._note_dropped(now)
        elif place in (Place.NEXT, Place.BEYOND) and self.doubts is None:
            self._take(Held(first, last, now, event, source), out)
        else:
            self._weigh(Held(first, last, now, event, source), place, now, out)

    def dismiss(self) -> None:
        """Refute all suspects: nothing will come any more that could speak for them."""
        if self.doubts is not None:
            for chain in list(self.doubts.chains):
                gone = self.doubts.remove(chain)
                self._refuse([refuted(held, held.source) for held in gone])
            self.doubts = None

    def _weigh(self, held: Held, place: Place, now: float, out: list[Item]) -> None:
        """Take a message that is suspect, or that speaks for or against some that are."""
        doubts = self.doubts or Doubts(self._near(), self._memory, contiguous=self.contiguous)
        # A restart may not know when what it goes on after was made: low ids may be copies still.
        blind = self.next is not None and self.delivered_at is self.delivered_time is None
        blind = blind and not self.held
        one = Suspect(held, None if blind else self.time_known(held.event))
        verdict, believed = doubts.hear(
            one, place, self.next, now, lambda: blind or self.contested()
        )
        if blind:
            self.duplicates += len(doubts.strays)
            doubts.strays.clear()
        self._refuse(doubts.strays)
        if place is Place.ODD:
            self._note_dropped(now)
        self.doubts = doubts if doubts.chains else None
        if verdict is Verdict.COPY:
            self.duplicates += 1
        elif verdict is Verdict.FITS:
            self._take(held, out)
        if believed:
            self.doubts = None
            self._believe(believed, now, out)
            for chain in list(doubts.chains):
                for other in doubts.remove(chain):
                    self._reconsider(other, now, out)
        self._be_wary(now)

    def _near(self) -> int:
        """How far apart suspects may lie that go on with each other."""
        if self.contiguous:
            return NEAR_IDS
        return _NEAR_TIMES_S * self._per_second if self._keyed_by_time else self.leap

    def _reconsider(self, held: Held, now: float, out: list[Item]) -> None:
        """Take a suspect as if it came now: another numbering than before is followed."""
        first, last = self.first_of(held.event.data), self.last_of(held.event.data)
        place = self._place(held.event, first, last, now)
        self._weigh(held, Place.ODD if place is Place.COPY else place, now, out)

    def _believe(self, suspects: Sequence[Held], now: float, out: list[Item]) -> None:
        """Deliver what was suspect, in its place; the numbering may begin anew with it."""
        first, newer = suspects[0], list[Held]()
        beyond = sum(one.first >= first.first for one in self.held)
        if self._lies_below(first):
            newer = self._begin_anew_with(first, out)
        elif beyond and (beyond < CONFIRMING[Place.LOW] or first.first == self.next):
            gone = self.held.cut(len(self.held) - beyond)
            self._refuse([refuted(one, first.source) for one in gone])
        elif beyond:
            newer = self._begin_anew_with(first, out)
        for held in (*suspects, *newer):
            self._take(held, out)
        if self.next is not None and self.next >= first.first:  # else it waits behind a gap
            self._began, self._began_at = self.time_known(first.event), now

    def _lies_below(self, held: Held) -> bool:
        """Whether only a new numbering has room for a message that is believed."""
        return self.next is not None and held.last < self.next

    def _begin_anew_with(self, first: Held, out: list[Item]) -> list[Held]:
        """Begin a new numbering; returns what was held and is of it already."""
        time = self.time_known(first.event)
        at = len(self.held)
        while at and time is not None and (self._time_of_held(at - 1) or 0) > time:
            at -= 1
        newer = self.held.cut(at)
        self._begin_anew(first, out)
        return newer

    def _refuse(self, strays: list[Stray]) -> None:
        self.refused += len(strays)
        if not self.contiguous and any(self._is_newer(stray.event) for stray in strays):
            # Too few to begin anew. Where keys prove nothing, they may be what is missing.
            self.interrupted = self.delivered_at is not None
        self.strays += strays
        strays.clear()

    def _is_newer(self, event: Event) -> bool:
        """Whether a message with a key that has passed was made after the last one delivered."""
        if self.next is None or self.last_of(event.data) >= self.next:
            return False
        return self._compare(event, self._delivered_time(event.received)) > 0

    def _be_wary(self, now: float) -> None:
        """Look at each message if some are suspect, or may be of the numbering before."""
        self.wary = self.doubts is not None or now - self._began_at <= LEFT_OVER_S
        self._set_flow()

    def _set_flow(self) -> None:
        self.flows = self.contiguous and self.simple and not self.paused and not self.wary
        self.rises = self.grows and not self.wary

    def _take(self, held: Held, out: list[Item]) -> None:
        """Deliver a message if it is the next one; hold it if it lies beyond a gap."""
        raise NotImplementedError

    def _begin_anew(self, held: Held, out: list[Item]) -> None:
        """The venue numbers anew, with that message."""
        raise NotImplementedError
