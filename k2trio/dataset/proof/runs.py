"""Ids that are there, as runs: ranges that neither overlap nor touch. Pure arithmetic.

The order in which messages are added does not matter, so what was healed counts wherever it lies.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    Integers: TypeAlias = npt.NDArray[np.int64]
    Flags: TypeAlias = npt.NDArray[np.bool_]

MAX_RUNS = 1 << 17
"""Runs that are kept of a numbering: 4 MB. Beyond, the lowest are folded: see :meth:`Runs.fold`."""


class Ranges(NamedTuple):
    """Ranges of ids in order, both ends inclusive, each with the times at its ends.

    Of a run these are of its own first and last message; of a hole, of the messages before and
    after it. Times are microseconds.
    """

    first: Integers
    last: Integers
    began: Integers
    ended: Integers

    def __len__(self) -> int:
        return len(self.first)

    def part(self, begin: int, end: int | None = None) -> Ranges:
        """Some of them, by place."""
        return Ranges(*(column[begin:end] for column in self))

    def followed_by(self, other: Ranges) -> Ranges:
        """These and then those."""
        return Ranges(*(np.concatenate(pair) for pair in zip(self, other, strict=True)))

    def without_overlaps(self) -> Ranges:
        """Ranges that begin in order, joined where they overlap or touch."""
        first, last = self.first, self.last
        if len(self) < 2:
            return self
        reach = np.maximum.accumulate(last)
        begins = np.flatnonzero(first[1:] - 1 > reach[:-1]) + 1
        starts = np.concatenate(([0], begins))
        ends = np.concatenate((begins - 1, [len(first) - 1]))
        # The range that reaches furthest has the time at the end, and it may not be the last.
        furthest = np.maximum.accumulate(np.where(reach == last, np.arange(len(last)), 0))[ends]
        return Ranges(first[starts], last[furthest], self.began[starts], self.ended[furthest])


NONE = Ranges(*(np.zeros(0, np.int64) for _ in range(4)))


class Runs:
    """The runs of one numbering.

    :ivar ranges: the runs, in order.
    """

    def __init__(self) -> None:
        self.ranges: Ranges = NONE

    def add(self, first: Integers, last: Integers, time: Integers) -> Flags:
        """Add messages, in any order.

        :param time: when the exchange made each; microseconds.
        :returns: which of them bring no id that was not there: sorted by first id, and those of one
            in the order given.
        """
        if len(first) and (first[1:] < first[:-1]).any():
            order = np.argsort(first, kind="stable")
            idle = np.empty(len(first), np.bool_)
            idle[order] = self._add(first[order], last[order], time[order])
            return idle
        return self._add(first, last, time)

    def _add(self, first: Integers, last: Integers, time: Integers) -> Flags:
        idle = np.zeros(len(first), np.bool_)
        if not len(first):
            return idle
        idle[1:] = last[1:] <= np.maximum.accumulate(last)[:-1]
        new = Ranges(first, last, time, time).without_overlaps()
        known = self.ranges
        if not len(known):
            self.ranges = new
            return idle
        if first[0] <= known.last[-1]:
            idle |= self.hold(first, last)
        # Runs that end before the new ones begin, and do not touch them, stay what they are.
        place = int(np.searchsorted(known.last, first[0] - 1))
        rest = known.part(place).followed_by(new)
        order = np.argsort(rest.first, kind="stable")
        rest = Ranges(*(column[order] for column in rest)).without_overlaps()
        self.ranges = known.part(0, place).followed_by(rest)
        return idle

    def hold(self, first: Integers, last: Integers) -> Flags:
        """Which of the ranges are there wholly."""
        known = self.ranges
        if not len(known):
            return np.zeros(len(first), np.bool_)
        place = np.searchsorted(known.first, first, "right") - 1
        found: Flags = (place >= 0) & (last <= known.last[place])
        return found

    @property
    def holes(self) -> Ranges:
        """What lies between the runs."""
        runs = self.ranges
        return Ranges(runs.last[:-1] + 1, runs.first[1:] - 1, runs.ended[:-1], runs.began[1:])

    def fold(self) -> Ranges | None:
        """Where there are more than :data:`MAX_RUNS`, take the lower half for one run.

        :returns: the holes in it, which are not known here any more; None if there are not so many.
        """
        if len(self.ranges) <= MAX_RUNS:
            return None
        half = len(self.ranges) // 2
        holes, runs = self.holes.part(0, half), self.ranges
        low, high = runs.part(0, 1), runs.part(half, half + 1)
        one = Ranges(low.first, high.last, low.began, high.ended)
        self.ranges = one.followed_by(runs.part(half + 1))
        return holes
