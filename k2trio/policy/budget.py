"""Who may ask a venue next: wishes for requests, and the weight that it admits in a minute.

Every request has a *weight*, and a venue bans whoever uses too much of it in a minute. All streams
share that budget, so what may be asked for now is a choice. (Dials are such wishes too, of weight
1, in a window of their own.) It is made so:

*Order.* A wish is due ``SECONDS_PER_WEIGHT`` times its weight after it was made, and the earliest
due is the first in the queue. So a cheap wish goes before a dear one of the same time, but not
before one that has waited for long: at equal weights it is first come, first served.

*Headroom.* Requests for books leave a fifth of the budget to others, and dear pages a tenth to
cheap ones. However many books want a snapshot, a page of trades is paid at once.

*Overtaking.* A wish that cannot be paid yet is overtaken by those that can, but only for a fifth of
the budget (``OVERTAKING_SHARE``); the rest goes in order. So none starves: a window after it came
to the head of the queue, that fifth is all that stands against it.

*Size.* A book can be had at several depths, the deeper the dearer. The depth is the greatest at
which every book of the venue could be had from one budget, and no greater than what is left now
can pay: many shallow books at once are worth more than a few deep ones and none for the others.

*Sharing.* The exchange counts by address, whatever runs there. What other processes spend is told
to a budget (:meth:`Budget.learn`) and counts as its own does; so does what the exchange says that
it has counted (:meth:`Budget.counted`), which may be more than all of ours. ``ledger.py`` decides
in common who is next; a wish is then due later by what its process has had of late, so that one
that wants little does not wait for one that wants much.

*Collecting.* Who has just asked and would ask again waits a little while the budget is short
(:meth:`Budget.collecting_s`): one page then serves what would have been several.

Pure: time comes in as an argument.

Source: Binance spot API docs, "Limits", and the weight of ``GET /api/v3/depth`` by its limit.
"""

from __future__ import annotations

import bisect
import heapq
import math
from collections import defaultdict
from typing import TYPE_CHECKING, NamedTuple

from ..market.spot import SPOT
from .tally import Spent, Tally

if TYPE_CHECKING:
    from collections.abc import Sequence

WEIGHT_WINDOW_S = 60.0
UNDER_WAY_S = 3.0
"""How much longer something counts where all of a limit is used: the exchange counts what arrives,
and what was late at the begin of its window stands there beside what was quick at the end."""
SECONDS_PER_WEIGHT = 0.1
"""How much later a wish is due for each unit of its weight."""
OVERTAKING_SHARE = 0.2
"""Share of the budget for wishes that go before others which cannot be paid yet."""
BOOKS_LEAVE = 0.2
"""Share of the budget that requests for books leave to others."""
AUDITS_LEAVE = 0.5
"""Share of the budget that is left to whoever misses something, by requests that prove nothing but
that all is well."""
DEAR_WEIGHT, DEAR_LEAVE = 25, 0.1
"""From which weight on any request leaves which share of the budget to cheaper ones."""
CALM_SHARE = 0.5
"""Up to this share of the budget nobody has to collect."""
LONGEST_COLLECTING_S = 2.5
"""How long to collect when nothing of the budget is left."""
SHOWN_WISHES = 16
"""Wishes of one kind, of all that wait, that are shown to other processes at a time."""


class Wish:
    """A wish for a request.

    :ivar weight: what it costs.
    :ivar asked_at: when it was made.
    :ivar leaves: share of the budget that it must leave to others.
    :ivar handicap: what its process has had of late, where several are compared.
    :ivar spent: the expense, once it was admitted.
    :ivar overtook: it was admitted before another one that stood in front of it.
    """

    __slots__ = ("asked_at", "handicap", "leaves", "overtook", "spent", "weight")

    def __init__(
        self, weight: int, asked_at: float, leaves: float = 0.0, handicap: float = 0.0
    ) -> None:
        self.weight: int = weight
        self.asked_at: float = asked_at
        self.leaves: float = leaves
        self.handicap: float = handicap
        self.spent: Spent | None = None
        self.overtook: bool = False

    def __repr__(self) -> str:
        return f"<Wish for {self.weight} at {self.asked_at:g}>"

    @property
    def due_at(self) -> float:
        """What orders the queue."""
        return self.asked_at + (self.weight + self.handicap) * SECONDS_PER_WEIGHT


class Counted(NamedTuple):
    """What the exchange has said that it counted.

    :ivar since: what has been spent after it.
    """

    at: float
    used: int
    since: int = 0


class Report(NamedTuple):
    """What a budget tells those that share it.

    :ivar own: what this process has spent.
    :ivar wishes: the first of each kind that wait, in their order.
    """

    own: list[Spent]
    wishes: list[Wish]
    frozen_until: float
    counted: Counted | None


class View(NamedTuple):
    """What a budget learns of those that share it.

    :ivar granted: wishes whose turn it was, each with how much of it was overtaking.
    :ivar others: what other processes have spent.
    :ivar counted: the latest that the exchange said to any of them.
    """

    granted: list[tuple[Wish, int]]
    others: list[Spent]
    frozen_until: float
    counted: Counted | None


class Budget:
    """The weight that one venue admits, and the wishes that wait for some.

    :param limit: weight in a window.
    :param enforced: what the venue admits to all on this address, if that is more.
    :param depths: levels a side of a book, and what they weigh; the most first.
    :ivar frozen_until: nothing is admitted before.
    :ivar reserve: share of the budget for processes that have not had as much of it.
    """

    def __init__(
        self,
        limit: int,
        window_s: float = WEIGHT_WINDOW_S,
        enforced: int | None = None,
        depths: Sequence[tuple[int, int]] = SPOT.rest.depths,
    ) -> None:
        self.limit = limit
        self._depths = depths
        self.window_s = window_s
        self.enforced: int = limit if enforced is None else enforced
        self.frozen_until: float = -math.inf
        self.reserve: float = 0.0
        self._waiting: list[Wish] = []
        self._own = Tally(window_s)
        self._others = Tally(window_s)
        self._counted: Counted | None = None

    def __repr__(self) -> str:
        return f"<Budget {self._sum} of {self.limit} spent, {len(self._waiting)} waiting>"

    @property
    def waiting(self) -> int:
        """How many wishes wait."""
        return len(self._waiting)

    def left(self, now: float) -> int:
        """The weight that may be spent now."""
        self._expire(now)
        return max(0, min(self.limit - self._sum, self.enforced - self._floor(now)))

    def wish(self, weight: int, now: float, leaves: float = 0.0) -> Wish:
        """Make a wish; :meth:`admit` says when it has come true."""
        dear = DEAR_LEAVE if weight >= DEAR_WEIGHT else 0.0
        return self.add(Wish(weight, now, max(leaves, dear)))

    def add(self, wish: Wish) -> Wish:
        """Put a wish in the queue."""
        bisect.insort(self._waiting, wish, key=lambda one: one.due_at)  # behind its equals
        return wish

    def give_back(self, wish: Wish) -> None:
        """A wish that is wanted no more, or was admitted and not used."""
        if wish in self._waiting:
            self._waiting.remove(wish)
        elif wish.spent is not None:
            self._own.take_back(wish.spent)

    def spend(self, wish: Wish, at: float, overtaken: int = 0) -> None:
        """Count a wish as having come true."""
        self._expire(at)
        wish.overtook = overtaken > 0
        wish.spent = Spent(at, wish.weight, overtaken)
        self._own.add(wish.spent)
        if self._counted is not None:
            self._counted = self._counted._replace(since=self._counted.since + wish.weight)

    def admit(self, now: float) -> list[Wish]:
        """Spend weight on the wishes whose turn it is; they wait no more."""
        self._expire(now)
        admitted: list[Wish] = []
        if now < self.frozen_until:
            return admitted
        waiting: list[Wish] = []
        for wish in self._waiting:
            overtakes = wish.weight if waiting else 0
            if self._can_pay(wish.weight, wish.leaves, now) and (
                self._overtaken + overtakes <= self.limit * OVERTAKING_SHARE
            ):
                self.spend(wish, now, overtakes)
                admitted.append(wish)
            else:
                waiting.append(wish)
        self._waiting = waiting
        return admitted

    def next_look(self, now: float) -> float:
        """When to call :meth:`admit` again, if nothing is given back before."""
        if now < self.frozen_until:
            return self.frozen_until
        counted_until = math.inf if self._counted is None else self._counted.at + self.window_s
        if counted_until <= now:
            counted_until = math.inf
        return min(self._own.next_free, self._others.next_free, counted_until)

    def payable_from(self, weight: int, at: float) -> float:
        """The earliest time not before ``at`` at which so much can be paid; changes nothing."""
        at = max(at, self.frozen_until)
        spent, limit = self._sum, self.limit * (1 - self.leaving)
        if spent + weight <= limit:
            return at
        for one in heapq.merge(self._own, self._others, key=lambda one: one.at):
            spent -= one.weight
            if spent + weight <= limit:
                return max(at, one.at + self.window_s)
        return at

    def freeze(self, until: float) -> None:
        """Admit nothing for a while."""
        self.frozen_until = max(self.frozen_until, until)

    def counted(self, used: int, now: float) -> None:
        """The exchange says how much was used in its window, by whomever on this address."""
        self._counted = Counted(now, used)

    def levels(self, books: int, now: float, most: int | None = None) -> tuple[int, int]:
        """How deep a snapshot may be, where the venue has so many books, and what it weighs.

        :param most: levels that are wanted; by default as many as there can be.
        """
        self._expire(now)
        share = self.limit * (1 - BOOKS_LEAVE) / max(1, books)
        most = self._depths[0][0] if most is None else most
        weight = next(weight for levels, weight in reversed(self._depths) if levels >= most)
        choices = [(most, weight), *(depth for depth in self._depths if depth[0] < most)]
        for levels, weight in choices:
            if weight <= share and self._can_pay(weight, BOOKS_LEAVE, now):
                return levels, weight
        return choices[-1]

    def collecting_s(self, now: float) -> float:
        """How long who has just asked should collect what else is missing before asking again."""
        self._expire(now)
        strain = max(0.0, self._sum / self.limit - CALM_SHARE) / (1 - CALM_SHARE)
        return LONGEST_COLLECTING_S * min(1.0, strain)

    @property
    def leaving(self) -> float:
        """The share that others are to be left: the reserve, once this process has had as much."""
        return self.reserve if self._own.weight >= self.reserve * self.limit else 0.0

    # -- with other processes -----------------------------------------------------------------

    def report(self, now: float) -> Report:
        """What others need to know."""
        self._expire(now)
        kinds: defaultdict[tuple[int, float], int] = defaultdict(int)
        shown: list[Wish] = []
        for wish in self._waiting:
            kind = wish.weight, wish.leaves
            kinds[kind] += 1
            if kinds[kind] <= SHOWN_WISHES:
                shown.append(wish)
        own = [Spent(one.at, one.weight, one.overtaken) for one in self._own]
        return Report(own, shown, self.frozen_until, self._counted)

    def learn(self, told: Report, view: View, now: float) -> list[Wish]:
        """Take over what was decided in common on what was told.

        :returns: the wishes that have come true.
        """
        self._others.replace(view.others)
        self.frozen_until = max(self.frozen_until, view.frozen_until)
        if self._counted is told.counted:  # else there is news since
            self._counted = view.counted
        granted: list[Wish] = []
        for wish, overtaken in view.granted:
            if wish in self._waiting:  # else it was given up while this was decided
                self._waiting.remove(wish)
                wish.overtook = overtaken > 0
                wish.spent = Spent(now, wish.weight, overtaken)
                self._own.add(wish.spent)
                granted.append(wish)
        self._expire(now)
        return granted

    def load(self, own: list[Spent], others: list[Spent], counted: Counted | None) -> None:
        """Begin with what was spent before."""
        self._own.replace(own)
        self._others.replace(others)
        self._counted = counted

    @property
    def _sum(self) -> int:
        return self._own.weight + self._others.weight

    @property
    def _overtaken(self) -> int:
        return self._own.overtaken + self._others.overtaken

    def _can_pay(self, weight: int, leaves: float, now: float) -> bool:
        if (floor := self._floor(now)) and (
            # Half of what the limit leaves to others is kept free.
            floor > self.enforced - (self.enforced - self.limit) // 2
            or floor + weight > self.enforced
        ):
            return False
        # What is heavier than the whole budget is paid by all of it.
        return not self._sum or self._sum + weight <= self.limit * (1 - leaves)

    def _floor(self, now: float) -> int:
        """What has been used for certain, as the exchange has counted it."""
        counted = self._counted
        if counted is None or counted.at + self.window_s <= now:
            return 0
        return counted.used + counted.since

    def _expire(self, now: float) -> None:
        self._own.expire(now)
        self._others.expire(now)
