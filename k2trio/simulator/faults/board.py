"""The board of faults: which begin and end when, and what is wrong right now."""

from __future__ import annotations

import heapq
import itertools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import trio

from .kinds import SCOPE, FaultKind, Scope

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from .fault import Fault

MAX_FAULTS = 100_000
"""Faults that a board holds at most, pending and active."""


class FaultListener(Protocol):
    """Told when faults begin and end, in the order of time."""

    def fault_begins(self, fault: Fault) -> None:
        """A fault begins; a strike only begins."""
        ...

    def fault_ends(self, fault: Fault) -> None:
        """The duration of a fault is over."""
        ...


@dataclass(slots=True, eq=False)
class _Active:
    fault: Fault
    ends_at: float
    left: int | None


class FaultBoard:
    """What is wrong right now. Give it a schedule, and run :meth:`run`.

    :param schedule: faults with ``at`` relative to the moment when :meth:`run` starts.
    :param refuse: raises ValueError for faults that cannot be meant; by default any can.
    """

    def __init__(
        self,
        schedule: Iterable[Fault] = (),
        refuse: Callable[[Sequence[Fault]], None] = lambda _: None,
    ) -> None:
        self._first = list(schedule)
        self._refuse = refuse
        refuse(self._first)
        self._listeners: list[FaultListener] = []
        self._active: list[_Active] = []
        self._serial = itertools.count()
        self._pending: list[tuple[float, int, Fault, _Active | None]] = []
        self._changed = trio.Event()

    def listen(self, listener: FaultListener) -> None:
        """Tell ``listener`` of every fault from now on."""
        self._listeners.append(listener)

    def add(self, faults: Iterable[Fault]) -> None:
        """Schedule more faults, ``at`` relative to now.

        :raises ValueError: if the board is full, or one of them cannot be meant.
        """
        faults = list(faults)
        self._refuse(faults)
        now = trio.current_time()
        for fault in faults:
            if len(self._pending) + len(self._active) >= MAX_FAULTS:
                raise ValueError(f"more than {MAX_FAULTS} faults")
            heapq.heappush(self._pending, (now + fault.at, next(self._serial), fault, None))
        self._changed.set()

    def pending(self) -> list[Fault]:
        """Faults that have not begun, soonest first."""
        return [entry[2] for entry in sorted(self._pending, key=_order) if entry[3] is None]

    def active(self, names: Sequence[str] = (), kinds: Sequence[FaultKind] = ()) -> list[Fault]:
        """Faults that last now, for ``names`` (default: any) and of ``kinds`` (default: any)."""
        return [
            entry.fault
            for entry in self._active
            if (not names or entry.fault.hits(names)) and (not kinds or entry.fault.kind in kinds)
        ]

    def take(self, names: Sequence[str], kinds: Sequence[FaultKind]) -> Fault | None:
        """The fault that this attempt meets, if any; uses up one of its count."""
        for entry in self._active:
            if entry.fault.hits(names) and entry.fault.kind in kinds:
                if entry.left is not None:
                    entry.left -= 1
                    if entry.left <= 0:
                        self._active.remove(entry)
                return entry.fault
        return None

    def withdraw(self) -> None:
        """Drop the faults that wait for an attempt, however long; those with a duration last on."""
        self._active = [entry for entry in self._active if entry.ends_at < math.inf]

    async def run(self) -> None:
        """Begin and end the faults at their times, for ever."""
        self.add(self._first)
        while True:
            self._changed = trio.Event()
            until = self._pending[0][0] if self._pending else math.inf
            with trio.move_on_at(until):
                await self._changed.wait()
            while self._pending and self._pending[0][0] <= trio.current_time():
                _, _, fault, ending = heapq.heappop(self._pending)
                if ending is None:
                    self._begin(fault)
                else:
                    self._end(ending)

    def _begin(self, fault: Fault) -> None:
        scope = SCOPE[fault.kind]
        if scope is Scope.ATTEMPT or (scope is Scope.DATA and fault.duration):
            once = scope is Scope.ATTEMPT and not fault.duration and fault.count is None
            entry = _Active(fault, math.inf, 1 if once else fault.count)
            if scope is Scope.DATA:
                entry.left = None
            if fault.duration:
                entry.ends_at = trio.current_time() + fault.duration
                heapq.heappush(self._pending, (entry.ends_at, next(self._serial), fault, entry))
            self._active.append(entry)
        for listener in self._listeners:
            listener.fault_begins(fault)

    def _end(self, entry: _Active) -> None:
        if entry in self._active:
            self._active.remove(entry)
        for listener in self._listeners:
            listener.fault_ends(entry.fault)


def _order(entry: tuple[float, int, Fault, _Active | None]) -> tuple[float, int]:
    return entry[0], entry[1]
