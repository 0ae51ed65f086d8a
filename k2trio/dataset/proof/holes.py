"""Holes: ids that are not there, each with why, as far as that was declared."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from .runs import NONE, Ranges

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .runs import Integers

TOP = 2**63 - 2
"""The highest id that is reckoned with: the one after it must still be a number of 64 bits."""


CURABLE = frozenset({"not_repaired", "hold_overflow", "overflow", "resume_limit", "shutdown"})
"""Why ids may be missing that the venue still has. What is missing for another reason was lost for
good, or never was."""


class Declared(NamedTuple):
    """A gap that the feed told of, or a healing.

    :ivar first: id; of bars the time at which the first of them opens, in microseconds.
    :ivar last: inclusive; of bars the last microsecond of the last of them.
    """

    first: int
    last: int
    reason: str


class Hole(NamedTuple):
    """Ids that are missing.

    :ivar first: id; of bars the open time of the first of them, in microseconds.
    :ivar last: inclusive; of bars the last microsecond of the last of them.
    :ivar reason: as declared, or None where nobody did.
    :ivar before: when the exchange made the message before; microseconds, None if there is none.
    :ivar after: the same of the message after.
    """

    first: int
    last: int
    reason: str | None
    before: int | None
    after: int | None


def holes_of(runs: Ranges, declared: Sequence[Declared]) -> list[Hole]:
    """What is missing between the first and the last id that was seen or spoken of.

    :param runs: in order.
    :param declared: in any order of ids; of two that speak of one id, the later counts.
    """
    missing, told = _complement(runs, declared)
    return explained(missing, declared, told)


def explained(
    missing: Ranges, declared: Sequence[Declared], told: tuple[bool, bool] = (True, True)
) -> list[Hole]:
    """Missing ranges, parted where what is declared of them changes.

    :param told: whether there is a message before the first of them, and one after the last.
    """
    if not len(missing):
        return []
    starts, stops = missing.first, missing.last + 1
    near = [one for one in declared if one.last >= starts[0] and one.first < stops[-1]]
    begins = np.array([one.first for one in near], np.int64)
    ends = np.array([min(one.last, TOP) + 1 for one in near], np.int64)
    edges = np.unique(np.concatenate((starts, stops, begins, ends)))
    owner = np.full(len(edges), -1, np.int64)
    places = zip(np.searchsorted(edges, begins), np.searchsorted(edges, ends), strict=True)
    for number, (begin, end) in enumerate(places):
        owner[begin:end] = number
    whose = np.full(len(edges), -1, np.int64)
    """Which of the missing ranges a segment between two edges is in."""
    at = np.searchsorted(edges, starts)
    for number, (begin, end) in enumerate(zip(at, np.searchsorted(edges, stops), strict=True)):
        whose[begin:end] = number
    parts: list[Hole] = []
    inside = np.flatnonzero(whose >= 0)
    changes = np.diff(whose[inside]) != 0
    changes |= np.diff(owner[inside]) != 0
    begins_at = np.concatenate(([0], np.flatnonzero(changes) + 1))
    ends_at = np.concatenate((begins_at[1:] - 1, [len(inside) - 1]))
    for begin, end in zip(inside[begins_at], inside[ends_at], strict=True):
        number, reason = int(whose[begin]), owner[begin]
        parts.append(
            Hole(
                int(edges[begin]),
                int(edges[end + 1]) - 1,
                None if reason < 0 else near[reason].reason,
                int(missing.began[number]) if number or told[0] else None,
                int(missing.ended[number]) if number < len(missing) - 1 or told[1] else None,
            )
        )
    return parts


def _complement(runs: Ranges, declared: Sequence[Declared]) -> tuple[Ranges, tuple[bool, bool]]:
    """What is missing, and whether a message lies before the first of it, and after the last."""
    if not declared and not len(runs):
        return NONE, (True, True)
    nothing = np.zeros(1, np.int64)
    if not len(runs):
        first = min(one.first for one in declared)
        last = max(min(one.last, TOP) for one in declared)
        return Ranges(_one(first), _one(last), nothing, nothing), (False, False)
    missing = Ranges(runs.last[:-1] + 1, runs.first[1:] - 1, runs.ended[:-1], runs.began[1:])
    low = min((one.first for one in declared), default=int(runs.first[0]))
    high = max((min(one.last, TOP) for one in declared), default=int(runs.last[-1]))
    below, above = low < runs.first[0], high > runs.last[-1]
    if below:
        head = Ranges(_one(low), runs.first[:1] - 1, nothing, runs.began[:1])
        missing = head.followed_by(missing)
    if above:
        tail = Ranges(runs.last[-1:] + 1, _one(high), runs.ended[-1:], nothing)
        missing = missing.followed_by(tail)
    return missing, (not below, not above)


def _one(value: int) -> Integers:
    return np.array([value], np.int64)
