"""Keys that only grow: what does not go beyond those before came twice, or out of order."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from .runs import Flags, Integers

RECENT = 4096
"""Keys of a stream that are remembered from one chunk to the next. What lies further back than
these counts as double: it comes again, or far too late."""


class Growing:
    """The keys of one stream.

    :ivar first: the lowest; None before there is one.
    :ivar last: the highest.
    """

    def __init__(self) -> None:
        self.first: int | None = None
        self.last: int | None = None
        self._recent = np.zeros((2, 0), np.int64)

    def add(self, key: Integers, of: Integers) -> Flags:
        """Add messages, in any order.

        :param of: tells apart messages of one key, as updates of two bars; else all the same.
        :returns: which of them are there twice.
        """
        if not len(key):
            return np.zeros(0, np.bool_)
        order = np.lexsort((of, key)) if (np.diff(key) <= 0).any() else np.arange(len(key))
        key, of = key[order], of[order]
        twice = np.zeros(len(key), np.bool_)
        twice[1:] = (key[1:] == key[:-1]) & (of[1:] == of[:-1])
        if self.last is not None and key[0] <= self.last:
            twice |= self._was_there(key, of)
        fresh = np.stack((key[~twice], of[~twice]))[:, -RECENT:]
        recent = np.concatenate((self._recent, fresh), axis=1)
        self._recent = recent[:, np.lexsort(recent[::-1])][:, -RECENT:]
        first, last = int(key[0]), int(key[-1])
        self.first = first if self.first is None else min(first, self.first)
        self.last = last if self.last is None else max(last, self.last)
        given = np.empty_like(twice)
        given[order] = twice
        return given

    def _was_there(self, key: Integers, of: Integers) -> Flags:
        keys, others = self._recent
        place = np.searchsorted(keys, key)
        found = key < keys[0] if len(keys) == RECENT else np.zeros(len(key), np.bool_)
        for offset in (0, 1):  # two bars at most have updates of one time
            at = np.minimum(place + offset, len(keys) - 1)
            found |= (keys[at] == key) & (others[at] == of)
        return found
