"""What REST has told of a stream's gaps: rows that nobody took yet, and where there are none.

REST is not believed blindly: that ids do not exist is proven only by as many pages as
``LOOKS_AT_A_HOLE``. Pure.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..market.payloads import Event

LOOKS_AT_A_HOLE = 2
"""How many pages must skip an id before it is believed not to exist."""


class Pages:
    """Rows and looks of one stream.

    Every page begins at the first gap, so the rows are bounded by what a page has.
    """

    def __init__(self) -> None:
        self._rows: dict[int, Event] = {}
        self._keys: list[int] = []
        self._looks: list[tuple[int, int]] = []

    def add(self, begins: int, newest: int, rows: dict[int, Event]) -> None:
        """Take a page that is whole from ``begins`` to ``newest``, and what is of use of it."""
        self._rows |= rows
        self._keys = sorted(self._rows)
        self._looks.append((begins, newest))

    def forget(self, due: int) -> None:
        """Drop what lies before the key that comes next."""
        passed = bisect_left(self._keys, due)
        for key in self._keys[:passed]:
            del self._rows[key]
        del self._keys[:passed]
        self._looks = [look for look in self._looks if look[1] >= due]

    @property
    def first(self) -> int | None:
        """The lowest key that is known."""
        return self._keys[0] if self._keys else None

    def take(self) -> Event:
        """Take the row with the lowest key."""
        return self._rows.pop(self._keys.pop(0))

    def skipped(self, first: int, then: int) -> bool:
        """Whether enough pages went from ``first`` to ``then``."""
        looks = sum(1 for start, end in self._looks if start <= first and then <= end)
        return looks >= LOOKS_AT_A_HOLE
