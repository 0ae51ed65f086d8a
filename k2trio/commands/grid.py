"""Multiples of an interval on the wall clock, which may be set, jump, or stand still."""

from __future__ import annotations

from dataclasses import dataclass

MAX_LATE_S = 1.0
"""What comes later than this after a multiple is not of that time any more."""
MAX_SET_BACK_S = 60.0
"""A clock that was set back by up to so long is waited for, so that no multiple comes twice; from
one that was set back further, the grid begins anew."""
LOOK_S = 1.0
"""How often to look at the clock, which may have been set, while its next multiple is far."""


@dataclass(frozen=True, slots=True)
class Due:
    """What the clock has passed.

    :ivar time: the last multiple (Unix time), if it is not too long ago.
    :ivar late_s: how long ago.
    :ivar missed: the first and the last of the multiples that went by, and how many.
    :ivar set_back_s: by how much the clock was set back, since the multiple before the next.
    """

    time: float | None = None
    late_s: float = 0.0
    missed: tuple[float, float, int] | None = None
    set_back_s: float = 0.0


class Grid:
    """The multiples, each once.

    :param interval_s: between two of them; whole milliseconds.
    :param wall: the clock (Unix time).
    """

    def __init__(self, interval_s: float, wall: float) -> None:
        self._step_ms = round(interval_s * 1000)
        self._next = self._number(wall) + 1

    def wait_s(self, wall: float) -> float:
        """How long to wait before looking at the clock again."""
        return min(LOOK_S, max(0.0, self._next * self._step_ms - wall * 1000) / 1000)

    def look(self, wall: float) -> Due | None:
        """What has become due by the clock as it is now; None if there is nothing."""
        number, due = self._number(wall), self._next
        if number < due:
            set_back_s = self._time(due - 1) - wall
            if set_back_s <= MAX_SET_BACK_S:
                return None
            self._next = number + 1
            return Due(set_back_s=set_back_s)
        self._next = number + 1
        late_s = max(0.0, wall - self._time(number))
        taken = late_s <= MAX_LATE_S
        last = number - taken
        return Due(
            self._time(number) if taken else None,
            late_s,
            (self._time(due), self._time(last), last - due + 1) if last >= due else None,
        )

    def _number(self, wall: float) -> int:
        return int(wall * 1000 // self._step_ms)

    def _time(self, number: int) -> float:
        return number * self._step_ms / 1000
