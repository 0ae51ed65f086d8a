"""One numbering of a stream: from where its venue began to number anew to where it does so again.

Ids of two numberings are never compared.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from .holes import Declared, Hole, explained, holes_of
from .runs import Runs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from .runs import Flags, Integers

MAX_DECLARED = 1 << 17
"""Gaps that are kept of a numbering; what lies in those beyond counts as not declared."""
SHARED = "shared_id"
"""Why an id is missing that is there: another message has it, too."""


class Sum(NamedTuple):
    """Holes of one reason.

    :ivar ids: that are missing in them; of bars how many.
    """

    holes: int
    ids: int


class Numbering:
    """What is there of one numbering, and what is declared missing.

    :param since: when the first message of it was received, in microseconds; 0 for the first one.
    :param measure: how many ids, or bars, a hole has.
    :ivar runs: the ids that are there; of bars the times.
    :ivar declared: as told, adjoining ones joined.
    :ivar folded: reason → holes that :data:`~.runs.MAX_RUNS` left no room for, as sums.
    :ivar declared_more: gaps that :data:`MAX_DECLARED` left no room for.
    """

    def __init__(self, measure: Callable[[Hole], int], since: int = 0) -> None:
        self.since: int = since
        self._measure = measure
        self.runs: Runs = Runs()
        self.declared: list[Declared] = []
        self.declared_more: int = 0
        self.folded: dict[str | None, Sum] = {}
        self._trades: Runs = Runs()
        self._shared: dict[int, int] = {}
        """Id that two aggregates have → the first trade of those that are there; -1 if none is."""

    def add(self, first: Integers, last: Integers, time: Integers) -> Flags:
        """Add messages; returns which of them are double."""
        twice = self.runs.add(first, last, time)
        self._fold()
        return twice

    def add_aggregates(
        self, ids: Integers, time: Integers, first_trade: Integers, last_trade: Integers
    ) -> Flags:
        """Add aggregate trades: two of one id are two if their trades are others."""
        twice = self.runs.add(ids, ids, time)
        named = (first_trade >= 0) & (first_trade <= last_trade)
        told = np.ones(len(ids), np.bool_)
        told[named] = self._trades.add(first_trade[named], last_trade[named], time[named])
        self._trades.fold()
        if self._shared:
            for place in np.flatnonzero(np.isin(ids, list(self._shared))):
                number = int(ids[place])
                self._shared[number] = max(self._shared[number], int(first_trade[place]))
        self._fold()
        return twice & told

    def declare(self, first: int, last: int, reason: str) -> None:
        """Somebody says that ids are missing."""
        if reason == SHARED:
            self._shared.setdefault(first, -1)
        before = self.declared[-1] if self.declared else None
        if before is not None and before.reason == reason and before.last + 1 == first:
            self.declared[-1] = before._replace(last=last)
        elif len(self.declared) < MAX_DECLARED:
            self.declared.append(Declared(first, last, reason))
        else:
            self.declared_more += 1

    @property
    def holes(self) -> list[Hole]:
        """What is missing, in order, but for what is folded."""
        found = holes_of(self.runs.ranges, self.declared)
        whole = [hole for hole in found if self._measure(hole)]
        return sorted([*whole, *self._partners()], key=lambda hole: hole.first)

    def _partners(self) -> list[Hole]:
        """Aggregates that share the id of one that is there, and are not."""
        firsts = np.array(list(self._shared.values()), np.int64)
        # Who has the trade before it is there, too.
        whole = self._trades.hold(firsts - 1, firsts)
        there = self.runs.hold(*[np.array(list(self._shared), np.int64)] * 2)
        return [
            Hole(number, number, SHARED, None, None)
            for number, is_whole, is_there in zip(self._shared, whole, there, strict=True)
            if is_there and not is_whole
        ]

    def _fold(self) -> None:
        holes = self.runs.fold()
        if holes is not None:
            tally(explained(holes, self.declared), self._measure, self.folded)


def tally(
    holes: Iterable[Hole], measure: Callable[[Hole], int], sums: dict[str | None, Sum]
) -> None:
    """Add holes to the sums of their reasons."""
    for hole in holes:
        if ids := measure(hole):
            before = sums.get(hole.reason, Sum(0, 0))
            sums[hole.reason] = Sum(before.holes + 1, before.ids + ids)
