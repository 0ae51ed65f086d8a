"""New numberings: whether messages that do not fit begin one, or belong to none.

A venue numbers a symbol's messages upwards, until one day it begins anew: a test exchange is reset,
a symbol listed again, a server restored. The new ids may begin at any distance from the old ones.
And now and then a single id is absurd. Seen alone the two look the same, and like a late copy from
another connection. So a message that does not fit is neither believed nor dropped at once: it is a
*suspect*, and waits until others speak for it or against it.

Within one numbering both ids and times only grow. So what does not fit is (:class:`Place`):

``LOW``
    The key is one that has passed, but the message is *newer*: the exchange made it after the last
    one delivered. A copy never is. Where a message carries no time, one that lies very far behind
    counts as newer, and so does one after seconds in which nothing but old keys came: copies do not
    lag that much.
``FAR``
    The key lies further ahead than what a gap may be, or is a time ahead of the clock.
``ODD``
    The key is one to come, but the message is older than one before it; or it has the key of
    another message, and another time. No numbering has such a message; it is refuted at once.

Then, for each message of the stream, whatever connection brings it:

========================================  =====================================================
it is the same as a suspect               a copy; a second connection that vouches for the first
it goes on with suspects                  one suspect more; enough of them are believed
it fits, and was made after a suspect     the old numbering lives: the suspects are refuted
it fits, and was made before              the old numbering's last words: the suspects wait on
it does not fit, nor goes on with any     the first suspect of a chain of its own
========================================  =====================================================

Suspects that begin with the very id that is next are another matter: they go on with what was
delivered, and it is what is held beyond the gap that does not belong here. What lies beyond a gap
does not refute them, and nobody contests them.

Messages *go on* with each other if they lie near each other and their keys and times grow together.
Suspects that are believed are all delivered, in order, behind a gap of reason ``reset`` or
``jump``; others are looked at anew, from there. Refuted ones are *strays*: told to the connection
that brought them, counted, logged. Where keys prove nothing, newer ones that were refuted make an
outage, too: they may have been of a numbering that soon reached the old one.

While several connections carry the stream, one of them may disagree with the others, for ever. Then
suspects that only one connection brought are *contested*. They are believed when another one brings
the same, or when for long enough nobody contradicts them.
"""

from __future__ import annotations

import enum
from bisect import bisect_left
from typing import TYPE_CHECKING, NamedTuple

from .held import Held, Memory, Source, Stray, refuted

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

CONTESTED_S = 2.0
"""For how long contested suspects wait for a contradiction (s)."""
CONTESTED_MESSAGES = 100
"""So many contested suspects are believed without waiting: their bound, too."""
MAX_CHAINS = 3
"""Numberings that are considered at once; when a further one begins, the one that fewest messages
speak for is refuted."""


class Place(enum.Enum):
    """Where a message lies, seen from the numbering that is followed; see the module."""

    NEXT = "next"
    BEYOND = "beyond"
    COPY = "copy"
    LOW = "low"
    FAR = "far"
    ODD = "odd"


_FITTING = frozenset({Place.NEXT, Place.BEYOND})
CONFIRMING = {Place.LOW: 3, Place.FAR: 2}
"""Messages that must go on with each other to be believed."""


class Suspect(NamedTuple):
    """A message that does not fit; ``time`` is when the exchange made it, where that is known."""

    held: Held
    time: int | None


class Verdict(enum.Enum):
    """What becomes of a message while there are suspects."""

    FITS = "fits"
    COPY = "copy"
    WAITS = "waits"


class Chain:
    """Suspects that go on with each other, by key.

    :param near: how far apart messages of one numbering may lie.
    """

    def __init__(self, place: Place, one: Suspect, near: int) -> None:
        self.place = place
        self.suspects: list[Suspect] = [one]
        self._near = near
        self._sources = {one.held.source}

    def vouches(self, one: Suspect) -> bool:
        """Whether the message is a copy of a suspect; then its source vouches for the chain."""
        held = one.held
        at = self._place_of(held)
        same = self.suspects[at : at + 1]
        if not same or (same[0].held[:2], same[0].time) != (held[:2], one.time):
            return False
        self._sources.add(held.source)
        return True

    def takes(self, one: Suspect, place: Place, *, contiguous: bool) -> bool:
        """Add a message that goes on with the suspects; False if it does not."""
        at = len(self.suspects)
        if place in _FITTING:
            if not (contiguous and self._reaches(one)):
                return False
        elif place is not self.place:
            return False
        elif one.time is not None:  # else by arrival: nothing tells that it was overtaken
            at = self._place_of(one.held)
        before, after = self.suspects[at - 1 : at], self.suspects[at : at + 1]  # none at the ends
        if not all(self._grow(left, one) for left in before) or not all(
            self._grow(one, right) for right in after
        ):
            return False
        self.suspects.insert(at, one)
        self._sources.add(one.held.source)
        return True

    def begins_with(self, due: int | None) -> bool:
        """Whether the first suspect is what comes next."""
        return self.suspects[0].held.first == due

    def is_refuted_by(self, one: Suspect) -> bool:
        """Whether a message that fits was made after the first suspect."""
        first = self.suspects[0].time
        return one.time is None or first is None or one.time > first

    def is_believed(self, now: float, contested: Callable[[], bool]) -> bool:
        """Whether there are enough suspects, and nobody to contest them."""
        count = len(self.suspects)
        if count < CONFIRMING[self.place]:
            return False
        since = min(suspect.held.since for suspect in self.suspects)
        return (
            len(self._sources) > 1
            or count >= CONTESTED_MESSAGES
            or now - since >= CONTESTED_S
            or not contested()
        )

    def _reaches(self, one: Suspect) -> bool:
        """Whether the new numbering has reached with it where the old one was: only the very next
        id tells.
        """
        last = self.suspects[-1]
        is_next = one.held.first == last.held.last + 1
        return is_next and self.place is Place.LOW and None not in (one.time, last.time)

    def _place_of(self, held: Held) -> int:
        return bisect_left(self.suspects, held.first, key=lambda suspect: suspect.held.first)

    def _grow(self, left: Suspect, right: Suspect) -> bool:
        """Whether two messages can follow each other in one numbering."""
        if left.time is not None and right.time is not None and left.time > right.time:
            return False
        return 0 < right.held.first - left.held.last <= self._near


class Doubts:
    """The suspects of one stream.

    :param contiguous: whether each message of the stream begins with the id after the last one's.
    :param near: how far apart messages of one numbering may lie.
    :param memory: what waits is counted there.
    :ivar chains: oldest first; when empty, there is no doubt.
    :ivar strays: what was refuted, for the caller to take.
    """

    def __init__(self, near: int, memory: Memory, *, contiguous: bool) -> None:
        self._near = near
        self._memory = memory
        self._contiguous = contiguous
        self.chains: list[Chain] = []
        self.strays: list[Stray] = []

    def __len__(self) -> int:
        return sum(len(chain.suspects) for chain in self.chains)

    @property
    def held(self) -> list[Held]:
        """All suspects."""
        return [suspect.held for chain in self.chains for suspect in chain.suspects]

    @property
    def newest(self) -> list[Held]:
        """The last suspect of each chain."""
        return [chain.suspects[-1].held for chain in self.chains]

    def hear(
        self,
        one: Suspect,
        place: Place,
        due: int | None,
        now: float,
        contested: Callable[[], bool],
    ) -> tuple[Verdict, Sequence[Held]]:
        """Take a message, which may be a suspect itself or speak for or against some.

        :param due: the id that comes next.
        :param contested: whether other connections may disagree.
        :returns: what becomes of it; and suspects that are now believed, in order.
        """
        if place is Place.COPY:
            return Verdict.COPY, ()
        if place is Place.ODD:
            self.strays.append(refuted(one.held, one.held.source))
            return Verdict.WAITS, ()
        newest_first = self.chains[::-1]
        chain = next((chain for chain in newest_first if chain.vouches(one)), None)
        verdict = Verdict.WAITS if chain is None else Verdict.COPY
        if chain is None:
            takes = (c for c in newest_first if c.takes(one, place, contiguous=self._contiguous))
            chain = next(takes, None)
            if chain is not None:
                self._memory.take(one.held)
        if chain is not None:
            sure = chain.begins_with(due) or self._memory.full
            believed = chain.is_believed(now, lambda: not sure and contested())
            return verdict, self.remove(chain) if believed else ()
        if place in _FITTING:
            for against in [chain for chain in self.chains if chain.is_refuted_by(one)]:
                if place is Place.NEXT or not against.begins_with(due):
                    self._refute(against, one.held.source)
            return Verdict.FITS, ()
        if len(self.chains) == MAX_CHAINS:
            weakest = min(self.chains, key=lambda chain: len(chain.suspects))
            self._refute(weakest, one.held.source)
        self.chains.append(Chain(place, one, self._near))
        self._memory.take(one.held)
        return Verdict.WAITS, ()

    def remove(self, chain: Chain) -> list[Held]:
        """Take a chain out of the doubts: its suspects, in order."""
        self.chains.remove(chain)
        held = [suspect.held for suspect in chain.suspects]
        self._memory.free(*held)
        return held

    def _refute(self, chain: Chain, by: Source | None) -> None:
        self.strays += [refuted(held, by) for held in self.remove(chain)]
