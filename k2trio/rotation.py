"""When a file that is appended to is finished, and what it is called then.

By size it gets a number: ``out.jsonl.1``. By time it gets the start of its period, in UTC, and a
number where that is taken: ``out.jsonl.20261126T130000Z``, ``out.jsonl.20261126T130000Z.2``. Of a
compressed file these marks stand before the ending: ``out.20261126T130000Z.jsonl.zst``.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple

from .targets import ZSTD_ENDING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

DAY_S = 86_400
UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": DAY_S}
MIN_PERIOD_S = 60
START_FORMAT = "%Y%m%dT%H%M%SZ"

_PERIOD = re.compile(r"(\d{1,5})([smhd])\Z")


class Rotation(NamedTuple):
    """When a file is finished, and how many finished ones stay.

    :ivar max_bytes: size at which it is; 0 for any.
    :ivar period_s: length of the periods of which each gets a file; 0 for one without end.
    :ivar keep: how many finished ones stay, the newest; 0 for all.
    """

    max_bytes: int = 0
    period_s: int = 0
    keep: int = 0

    @property
    def on(self) -> bool:
        """Whether a file is ever finished."""
        return bool(self.max_bytes or self.period_s)


class Mark(NamedTuple):
    """What tells a finished file from the others of its output; later ones are greater.

    :ivar start: of its period, as the name has it; empty without periods.
    """

    start: str
    number: int

    def __str__(self) -> str:
        if not self.start:
            return str(self.number)
        return self.start if self.number == 1 else f"{self.start}.{self.number}"


class Names:
    """What the finished files of an output are called.

    :param timed: whether by the start of their period.
    """

    def __init__(self, path: Path, *, timed: bool) -> None:
        self._path = path
        self._timed = timed
        self._ending = ZSTD_ENDING if path.name.endswith(ZSTD_ENDING) else ""
        self._stem = path.name.removesuffix(self._ending)
        number = r"(?P<number>[1-9]\d{0,17})"
        mark = rf"(?P<start>\d{{8}}T\d{{6}}Z)(?:\.{number})?" if timed else rf"(?P<start>){number}"
        self._pattern = re.compile(rf"{re.escape(self._stem)}\.{mark}{re.escape(self._ending)}\Z")

    def path_of(self, mark: Mark) -> Path:
        """Where the finished file lies that has a mark."""
        return self._path.with_name(f"{self._stem}.{mark}{self._ending}")

    def mark_of(self, name: str) -> Mark | None:
        """The mark in a file's name; None for one that is not ours."""
        match = self._pattern.match(name)
        return None if match is None else Mark(match["start"], int(match["number"] or 1))

    def marks(self, names: Iterable[str]) -> list[Mark]:
        """The marks of those that are ours, the oldest first."""
        return sorted(mark for name in names if (mark := self.mark_of(name)) is not None)

    def next_mark(self, start: str, names: Iterable[str]) -> Mark:
        """The mark of the file that is finished next, behind all that are there."""
        taken = [mark.number for mark in self.marks(names) if mark.start == start]
        return Mark(start, max(taken, default=0) + 1)

    def start_of(self, period: int) -> str:
        """How a period's start stands in a name.

        :param period: its start in Unix time.
        """
        return f"{datetime.fromtimestamp(period, UTC):{START_FORMAT}}" if self._timed else ""


def parse_period(text: str) -> int:
    """``15m``, ``1h`` or ``1d`` in seconds.

    :raises ValueError: for what is no such time, and for one that does not divide a day.
    """
    match = _PERIOD.match(text.strip())
    if match is None:
        raise ValueError(f"{text!r} is no time; write one as 15m, 1h or 1d")
    period_s = int(match[1]) * UNITS_S[match[2]]
    if period_s < MIN_PERIOD_S or DAY_S % period_s:
        raise ValueError(f"{text!r} does not divide a day; choose one as 1m, 15m, 1h or 1d")
    return period_s


def refuse_finished_names(
    rotation: Rotation, outputs: Sequence[Path], named: Mapping[str, Path]
) -> None:
    """Refuse files that a finished one would be called like.

    :param named: setting → its file.
    :raises ValueError: naming the first.
    """
    others = [*named.items(), *(("OUTPUT", path) for path in outputs)]
    for output in outputs if rotation.on else ():
        names = Names(output, timed=bool(rotation.period_s))
        for name, path in others:
            together = path.parent.resolve() == output.parent.resolve()
            if together and names.mark_of(path.name) is not None:
                raise ValueError(f"{name} {path} is a name that OUTPUT may rotate to")
