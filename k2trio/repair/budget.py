"""Who may ask a venue next: wishes for requests, and the weight that it admits in a minute.

Every request has a *weight*, and a venue bans whoever uses too much of it in a minute. All streams
share that budget, so what may be asked for now is a choice. It is made so:

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

*Collecting.* Who has just asked and would ask again waits a little while the budget is short
(:meth:`Budget.collecting_s`): one page then serves what would have been several.

Pure: time comes in as an argument.

Source: Binance spot API docs, "Limits", and the weight of ``GET /api/v3/depth`` by its limit.
"""

from __future__ import annotations

from collections import deque

WEIGHT_WINDOW_S = 60.0
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
DEPTHS = ((5000, 250), (1000, 50), (500, 25), (100, 5))
"""Levels a side of a book, and what they weigh."""
CALM_SHARE = 0.5
"""Up to this share of the budget nobody has to collect."""
LONGEST_COLLECTING_S = 2.5
"""How long to collect when nothing of the budget is left."""


class Wish:
    """A wish for a request.

    :ivar weight: what it costs.
    :ivar asked_at: when it was made.
    :ivar leaves: share of the budget that it must leave to others.
    :ivar overtook: it was admitted before another one that stood in front of it.
    """

    __slots__ = ("asked_at", "leaves", "overtook", "weight")

    def __init__(self, weight: int, asked_at: float, leaves: float) -> None:
        self.weight: int = weight
        self.asked_at: float = asked_at
        self.leaves: float = leaves
        self.overtook: bool = False

    def __repr__(self) -> str:
        return f"<Wish for {self.weight} at {self.asked_at:g}>"

    @property
    def due_at(self) -> float:
        """What orders the queue."""
        return self.asked_at + self.weight * SECONDS_PER_WEIGHT


class Budget:
    """The weight that one venue admits, and the wishes that wait for some.

    :param limit: weight in a window.
    :ivar frozen_until: nothing is admitted before.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.frozen_until: float = float("-inf")
        self._waiting: list[Wish] = []
        self._spent: deque[tuple[float, Wish]] = deque()
        self._sum = self._overtaken = 0

    def __repr__(self) -> str:
        return f"<Budget {self._sum} of {self.limit} spent, {len(self._waiting)} waiting>"

    @property
    def waiting(self) -> int:
        """How many wishes wait."""
        return len(self._waiting)

    def wish(self, weight: int, now: float, leaves: float = 0.0) -> Wish:
        """Make a wish; :meth:`admit` says when it has come true."""
        wish = Wish(weight, now, max(leaves, DEAR_LEAVE if weight >= DEAR_WEIGHT else 0.0))
        self._waiting.append(wish)
        self._waiting.sort(key=lambda one: one.due_at)  # stable: the earlier of two equals is first
        return wish

    def give_back(self, wish: Wish) -> None:
        """A wish that is wanted no more, or was admitted and not used."""
        if wish in self._waiting:
            self._waiting.remove(wish)
        else:
            self._free(wish)
            wish.weight = 0

    def admit(self, now: float) -> list[Wish]:
        """Spend weight on the wishes whose turn it is; they wait no more."""
        self._expire(now)
        admitted: list[Wish] = []
        if now < self.frozen_until:
            return admitted
        waiting: list[Wish] = []
        for wish in self._waiting:
            overtakes = wish.weight if waiting else 0
            if self._can_pay(wish.weight, wish.leaves) and (
                self._overtaken + overtakes <= self.limit * OVERTAKING_SHARE
            ):
                wish.overtook = bool(waiting)
                self._overtaken += overtakes
                self._sum += wish.weight
                self._spent.append((now, wish))
                admitted.append(wish)
            else:
                waiting.append(wish)
        self._waiting = waiting
        return admitted

    def next_look(self, now: float) -> float:
        """When to call :meth:`admit` again, if nothing is given back before."""
        if now < self.frozen_until:
            return self.frozen_until
        return self._spent[0][0] + WEIGHT_WINDOW_S if self._spent else float("inf")

    def freeze(self, until: float) -> None:
        """Admit nothing for a while."""
        self.frozen_until = max(self.frozen_until, until)

    def levels(self, books: int, now: float, most: int = DEPTHS[0][0]) -> tuple[int, int]:
        """How deep a snapshot may be, where the venue has so many books, and what it weighs.

        :param most: levels that are wanted.
        """
        self._expire(now)
        share = self.limit * (1 - BOOKS_LEAVE) / max(1, books)
        weight = next(weight for levels, weight in reversed(DEPTHS) if levels >= most)
        choices = [(most, weight), *(depth for depth in DEPTHS if depth[0] < most)]
        for levels, weight in choices:
            if weight <= share and self._can_pay(weight, BOOKS_LEAVE):
                return levels, weight
        return choices[-1]

    def collecting_s(self, now: float) -> float:
        """How long who has just asked should collect what else is missing before asking again."""
        self._expire(now)
        strain = max(0.0, self._sum / self.limit - CALM_SHARE) / (1 - CALM_SHARE)
        return LONGEST_COLLECTING_S * min(1.0, strain)

    def _can_pay(self, weight: int, leaves: float) -> bool:
        # What is heavier than the whole budget is paid by all of it.
        return not self._sum or self._sum + weight <= self.limit * (1 - leaves)

    def _expire(self, now: float) -> None:
        while self._spent and self._spent[0][0] + WEIGHT_WINDOW_S <= now:
            self._free(self._spent.popleft()[1])

    def _free(self, wish: Wish) -> None:
        self._sum -= wish.weight
        if wish.overtook:
            self._overtaken -= wish.weight
