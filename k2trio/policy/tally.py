"""What was spent of a budget within a sliding window; time comes in as an argument."""

from __future__ import annotations

import math
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


class Spent:
    """One expense.

    :ivar at: when it was made; it counts until a window later.
    :ivar overtaken: how much of it went before others that stood in front.
    """

    __slots__ = ("at", "overtaken", "weight")

    def __init__(self, at: float, weight: int, overtaken: int = 0) -> None:
        self.at: float = at
        self.weight: int = weight
        self.overtaken: int = overtaken


class Tally:
    """Expenses in the order of their times, and their sums."""

    def __init__(self, window_s: float) -> None:
        self._window_s = window_s
        self._spent: deque[Spent] = deque()
        self.weight: int = 0
        self.overtaken: int = 0

    def __iter__(self) -> Iterator[Spent]:
        return iter(self._spent)

    def add(self, spent: Spent) -> None:
        """Count an expense; none before was later."""
        self._spent.append(spent)
        self.weight += spent.weight
        self.overtaken += spent.overtaken

    def take_back(self, spent: Spent) -> None:
        """Count an expense no more, if it still does count."""
        self.weight -= spent.weight
        self.overtaken -= spent.overtaken
        spent.weight = spent.overtaken = 0

    def expire(self, now: float) -> None:
        """Forget what is older than the window."""
        while self._spent and self._spent[0].at + self._window_s <= now:
            self.take_back(self._spent.popleft())

    def replace(self, spent: Iterable[Spent]) -> None:
        """Count these, and nothing else."""
        self._spent = deque(sorted(spent, key=lambda one: one.at))
        self.weight = sum(one.weight for one in self._spent)
        self.overtaken = sum(one.overtaken for one in self._spent)

    @property
    def next_free(self) -> float:
        """When the first of it expires."""
        return self._spent[0].at + self._window_s if self._spent else math.inf
