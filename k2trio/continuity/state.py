"""The state file: how far each stream has been dealt with, so that a restart loses nothing.

It is written whole, synced and renamed into place, so a crash leaves the old one or the new one.
What the file says may lag behind what the consumer did by ``state_interval``; after a crash that
much is delivered again, unless outputs tell that they have it. It never runs ahead. Whoever keeps
one holds :func:`locked` meanwhile.
"""

from __future__ import annotations

import os
import stat
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Literal

import msgspec

from .. import files
from ..errors import ConfigError, UnknownStreamError
from ..market.payloads import MAX_INTEGER
from ..market.streams import Kind, any_stream, stream_of
from ..market.units import MS, UNITS, US, TimeUnit, convert
from .positions import Position

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

MAX_STATE_BYTES = 64 << 20


class State(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """The content of the file.

    :ivar time_unit: of times, and of the open times that klines go on from.
    """

    format: Literal["k2trio-state-1"]
    positions: list[Position]
    time_unit: Literal["ms", "us"] = "ms"

    def positions_in(self, unit: TimeUnit) -> list[Position]:
        """The positions in another unit."""
        told = UNITS[self.time_unit]
        if told is unit:
            return self.positions
        return [_converted(position, told, unit) for position in self.positions]


def _converted(position: Position, told: TimeUnit, unit: TimeUnit) -> Position:
    is_time = any_stream(position.stream).kind is Kind.KLINE and position.position >= 0
    time = position.time
    return Position(
        position.venue,
        position.stream,
        _bounded(position.position, told, unit) if is_time else position.position,
        None if time is None else _bounded(time, told, unit),
        position.received,
        position.trade,
    )


def _bounded(time: int, told: TimeUnit, unit: TimeUnit) -> int:
    return min(convert(time, told, unit), MAX_INTEGER)


def locked(path: Path | None) -> AbstractContextManager[None]:
    """Keep the state file to this program; without one there is nothing to keep.

    :raises ConfigError: if another program has it.
    """
    return nullcontext() if path is None else files.locked(path, f"the state file {path}")


def load_state(path: Path, unit: TimeUnit = MS) -> Sequence[Position]:
    """Read a state file; a missing one is an empty state.

    :param unit: of the times that come back, whatever the unit of the run that wrote it.
    :raises ConfigError: if the file is torn, of another program, or cannot be read.
    """
    cure = "move it away to start without it, or choose another file"
    try:
        status = os.stat(path)  # noqa: PTH116 - all files are read and written in one way
        if not stat.S_ISREG(status.st_mode):
            raise ConfigError(f"the state file {path} is not a regular file; choose another one")
        if status.st_size > MAX_STATE_BYTES:
            raise ConfigError(f"{path} is too large to be a k2trio state file; {cure}")
        state = msgspec.json.decode(files.read(path), type=State)
        for position in state.positions:
            stream = stream_of(position.venue, position.stream)
            if not stream.order.rule.proves and stream.kind is not Kind.KLINE:
                raise UnknownStreamError(f"{position.stream} has no position to go on from")
    except FileNotFoundError:
        return ()
    except OSError as error:
        raise ConfigError(f"cannot read the state file {path}: {error.strerror}") from error
    except (msgspec.MsgspecError, UnicodeDecodeError, UnknownStreamError, RecursionError) as error:
        raise ConfigError(f"{path} is not a whole k2trio state file ({error}); {cure}") from error
    return state.positions_in(unit)


def save_state(path: Path, positions: Sequence[Position], unit: TimeUnit = MS) -> None:
    """Write a state file atomically, for this user alone; blocks for as long as the disk takes.

    :param unit: of the positions' times.
    :raises OSError: if it cannot be written; the old file is then untouched.
    """
    state = State("k2trio-state-1", list(positions), "us" if unit is US else "ms")
    files.replace(path, msgspec.json.encode(state))
