"""Remembers outages, losses and repairs, newest first and bounded, from the transitions."""

from __future__ import annotations

import re
import time
from collections import Counter, deque
from typing import TYPE_CHECKING, NamedTuple, TypeAlias, cast

import msgspec
import trio

from . import transitions as on
from .report import MAX_ROWS, LossReport, OutageReport

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Loss: TypeAlias = on.GapDeclared | on.OutageDeclared | on.Repaired

MAX_DETAIL = 200
"""Characters kept of what a failure says: some of it is the peer's own words."""
LOSS_PAUSE_S = 60.0
"""What a stream loses for one reason after a shorter pause than this belongs to the same entry."""

_CREDENTIALS = re.compile(r"(?<=//)[^/\s@]*@")
_QUERY = re.compile(r"(?<=[\w/])\?[^\s'\"]+")


def presentable(text: str) -> str:
    """A failure's text as it may be shown: short, one line, and without what URLs may hide."""
    line = "".join(mark if mark.isprintable() else " " for mark in text)
    line = _QUERY.sub("?…", _CREDENTIALS.sub("…@", line))
    return line if len(line) <= MAX_DETAIL else line[: MAX_DETAIL - 1] + "…"


class _Loss(NamedTuple):
    """What was told of one stream for one reason, and when (Unix time)."""

    told: on.Recurring
    began: float
    ended: float


class History:
    """An observer of transitions.

    :param wall_clock: Unix time, for people.
    :ivar reconnects: reconnects by reason.
    :ivar rotations: planned replacements by reason.
    :ivar outages: how many there were, those that last included.
    :ivar losses: how many entries there were of what streams lost, or repairs brought.
    """

    def __init__(self, wall_clock: Callable[[], float] = time.time) -> None:
        self.reconnects: Counter[str] = Counter()
        self.rotations: Counter[str] = Counter()
        self.outages: int = 0
        self.losses: int = 0
        self._wall_clock = wall_clock
        self._failures: dict[str, OutageReport] = {}
        """Line → what its last failure would be as an outage."""
        self._lasting: dict[str, OutageReport] = {}
        self._ended: deque[OutageReport] = deque(maxlen=MAX_ROWS)
        self._retry_at: dict[str, float] = {}
        self._losses: deque[_Loss] = deque(maxlen=MAX_ROWS)
        """Newest first."""

    def recent(self) -> Sequence[OutageReport]:
        """The last outages, newest first; those that last come before those that ended."""
        now = self._wall_clock()
        lasting = [
            msgspec.structs.replace(outage, duration_s=max(0.0, now - outage.began))
            for outage in self._lasting.values()
        ]
        return [*reversed(lasting), *reversed(self._ended)]

    def recent_losses(self) -> Sequence[LossReport]:
        """What streams lost of late, and what repairs brought them; newest first."""
        return [_loss_report(loss) for loss in self._losses]

    def retry_in(self, line: str, now: float) -> float | None:
        """Seconds until the line's next attempt, if one is planned."""
        at = self._retry_at.get(line)
        return None if at is None else max(0.0, at - now)

    def observe(self, transition: on.Transition) -> None:
        """Take note of what begins, lengthens or ends an outage."""
        match transition:
            case on.ConnectionLost():
                self._note_failure(transition, transition.silence_s)
            case on.DialFailed():
                self._note_failure(transition, transition.took_s)
            case on.Reconnecting():
                self._begin_or_lengthen(transition)
            case on.Dialing():
                self._retry_at.pop(transition.line, None)
            case on.Flowing():
                self._end(transition)
            case on.Rotated():
                self.rotations[transition.reason] += 1
            case on.GapDeclared() | on.OutageDeclared() | on.Repaired():
                self._note_loss(transition)
            case _:
                pass

    def _note_failure(self, failure: on.ConnectionLost | on.DialFailed, silence_s: float) -> None:
        self._failures[failure.line] = OutageReport(
            line=failure.line,
            began=self._wall_clock() - silence_s,
            ended=None,
            duration_s=silence_s,
            reason=failure.reason,
            error_type=failure.error_type,
            detail=presentable(failure.detail),
            endpoint=failure.endpoint,
            recovered_on=None,
            attempts=0,
        )

    def _begin_or_lengthen(self, retry: on.Reconnecting) -> None:
        self.reconnects[retry.reason] += 1
        self._retry_at[retry.line] = trio.current_time() + retry.wait_s
        outage = self._lasting.get(retry.line)
        if outage is None:
            outage = self._failures[retry.line]
            self.outages += 1
        attempts = outage.attempts + 1
        self._lasting[retry.line] = msgspec.structs.replace(outage, attempts=attempts)

    def _end(self, flowing: on.Flowing) -> None:
        outage = self._lasting.pop(flowing.line, None)
        if outage is None:
            return
        now = self._wall_clock()
        lasted = max(0.0, now - outage.began) if flowing.outage_s is None else flowing.outage_s
        self._ended.append(
            msgspec.structs.replace(
                outage, ended=now, duration_s=lasted, recovered_on=flowing.endpoint
            )
        )

    def _note_loss(self, told: on.Recurring) -> None:
        now = self._wall_clock()
        entry = _Loss(told, now, now)
        for before in self._losses:
            if now - before.ended > LOSS_PAUSE_S:
                break
            if type(before.told) is type(told) and before.told.kind == told.kind:
                self._losses.remove(before)
                self.losses -= 1
                entry = _Loss(before.told.joined(told), before.began, now)
                break
        self._losses.appendleft(entry)
        self.losses += 1


def _loss_report(loss: _Loss) -> LossReport:
    told, began, ended = cast("Loss", loss.told), loss.began, loss.ended
    match told:
        case on.GapDeclared():
            return LossReport(
                "gap", told.venue, told.stream, told.reason, began, ended, told.gaps,
                first=told.first, last=told.last,
            )  # fmt: skip
        case on.OutageDeclared():
            return LossReport(
                "outage", told.venue, told.stream, "", began, ended, told.outages,
                unproven_s=told.unproven_s,
            )  # fmt: skip
        case on.Repaired():
            return LossReport(
                "repair", told.venue, told.stream, told.origin, began, ended, told.messages
            )
