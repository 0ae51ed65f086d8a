"""Remembers what the rates of streams were, for as long as an incident may go unnoticed."""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Mapping

K = TypeVar("K")

STEP_S = 5.0
"""What one point stands for."""
KEEP_S = 600.0
"""How far back the points go: with four bytes a point, that is half a kilobyte a stream."""
POINTS = int(KEEP_S / STEP_S)
DIGITS = 2
"""Decimals of a rate; more of them mean nothing, and make a report long."""


class Trends(Generic[K]):
    """The rates of counters, each over a step of :data:`STEP_S`, oldest first.

    :ivar at: when the last step ended.
    """

    def __init__(self, now: float) -> None:
        self.at: float = now
        self._counts: Mapping[K, int] = {}
        self._rates: dict[K, array[float]] = {}
        self._all: array[float] = array("f")

    def note(self, now: float, counts: Mapping[K, int]) -> None:
        """End a step; ``counts`` are the counters now, and are kept until the next one."""
        elapsed = now - self.at
        before = self._counts
        grown = 0
        for key, count in counts.items():
            grew = count - before.get(key, 0)
            grown += grew
            _append(self._rates.setdefault(key, array("f")), grew / elapsed)
        _append(self._all, grown / elapsed)
        self.at, self._counts = now, counts

    def of(self, key: K) -> list[float]:
        """The rates of one counter; fewer where it began later."""
        return _rounded(self._rates.get(key, array("f")))

    @property
    def all(self) -> list[float]:
        """The rates of all counters together."""
        return _rounded(self._all)


def _append(rates: array[float], rate: float) -> None:
    rates.append(rate)
    if len(rates) > POINTS:
        del rates[0]


def _rounded(rates: array[float]) -> list[float]:
    return [round(rate, DIGITS) for rate in rates]
