"""What recurs is told at once the first time, and then as a sum, at most once in a while."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .transitions import Recurring

REPEAT_S = 10.0
"""Of one kind there is at most one line in this time."""
KINDS_AT_ONCE = 20
"""So many kinds of a transition (streams, mostly) have lines of their own then; the others share
one, so that a thousand streams that lose something together do not make a thousand lines."""


@dataclass(frozen=True)
class Sum:
    """What happened in some time.

    :ivar transition: all as one; where they are of several kinds, the last one.
    :ivar kinds: how many kinds they are of.
    :ivar count: how many of what it stands for.
    :ivar over_s: the time; None for a single one, which is told when it happens.
    """

    transition: Recurring
    kinds: int
    count: int
    over_s: float | None


@dataclass
class _Window:
    """The time in which what recurs is added up."""

    opened_at: float
    together: Recurring | None = None
    count: int = 0
    kinds: set[tuple[str, ...]] = field(default_factory=set[tuple[str, ...]])

    def add(self, transition: Recurring) -> None:
        before = self.together
        joins = before is not None and before.kind == transition.kind
        self.together = before.joined(transition) if before and joins else transition
        self.count += transition.count
        self.kinds.add(transition.kind)


class Repetition:
    """Decides what is told of transitions that recur."""

    def __init__(self) -> None:
        self._windows: dict[type[Recurring], dict[tuple[str, ...] | None, _Window]] = {}
        """Transition → its kinds; None for those that share a line."""

    @property
    def lasts(self) -> bool:
        """Whether there is something of which the time is not over."""
        return any(self._windows.values())

    def add(self, transition: Recurring, now: float) -> list[Sum]:
        """Take one; returns what is to be told now: it, earlier ones, or nothing."""
        told = self.due(now)
        windows = self._windows.setdefault(type(transition), {})
        kind = transition.kind
        if kind not in windows:
            if len(windows) - (None in windows) < KINDS_AT_ONCE:
                windows[kind] = _Window(now)
                told.append(Sum(transition, 1, transition.count, None))
                return told
            windows.setdefault(None, _Window(now))
        windows[kind if kind in windows else None].add(transition)
        return told

    def due(self, now: float) -> list[Sum]:
        """The sums of which the time is over."""
        return self._told(now, REPEAT_S)

    def rest(self, now: float) -> list[Sum]:
        """All sums, for the end."""
        return self._told(now, 0.0)

    def _told(self, now: float, after_s: float) -> list[Sum]:
        told: list[Sum] = []
        for windows in self._windows.values():
            for kind, window in list(windows.items()):
                over_s = now - window.opened_at
                if over_s < after_s:
                    continue
                if window.together is None:
                    del windows[kind]
                else:
                    told.append(Sum(window.together, len(window.kinds), window.count, over_s))
                    windows[kind] = _Window(now)
        return told
