"""What of a recording is wanted: some of its streams, some of its time."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple

from ..errors import ConfigError
from ..market.streams import any_stream
from ..market.units import MS, TimeUnit

if TYPE_CHECKING:
    from collections.abc import Iterable

LATE_S = 3600.0
"""How much later than others a message may be delivered that was received at the same time: it
waited for those before it to be repaired. So far behind the end of what is wanted is looked."""


class Wanted(NamedTuple):
    """What is wanted.

    :ivar streams: their names; None: all.
    :ivar start: Unix time in seconds; what was received before is left out.
    :ivar end: the same; what was received then, or later, is left out.
    :ivar unit: of the times in what is put together anew, as sealed files do not tell theirs.
    """

    streams: frozenset[str] | None = None
    start: float = -math.inf
    end: float = math.inf
    unit: TimeUnit = MS

    def takes(self, stream: str, received: float) -> bool:
        """Whether it is wanted."""
        return self.start <= received < self.end and (
            self.streams is None or stream in self.streams
        )

    def is_past(self, received: float) -> bool:
        """Whether nothing that is wanted can follow what was received then."""
        return received >= self.end + LATE_S


def wanted(
    streams: Iterable[str] | None,
    start: datetime | str | None,
    end: datetime | str | None,
    unit: TimeUnit,
) -> Wanted:
    """The same of what people say.

    :raises ConfigError: for a name that is no stream, or a text that is no time.
    """
    if isinstance(streams, str):
        raise ConfigError(f"streams are named in a list: write [{streams!r}]")
    names = None if streams is None else frozenset(any_stream(name).name for name in streams)
    return Wanted(
        names,
        -math.inf if start is None else _unix(start),
        math.inf if end is None else _unix(end),
        unit,
    )


def _unix(time: datetime | str) -> float:
    """A time, which is of UTC where it says no zone."""
    if isinstance(time, str):
        try:
            time = datetime.fromisoformat(time)
        except ValueError:
            raise ConfigError(f"{time!r} is no time; write it like 2026-11-26T13:00") from None
    return (time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp()
