"""The state file: how far each stream has been dealt with, so that a restart loses nothing.

It is written whole, flushed and renamed into place, so a crash leaves the old one or the new one.
What the file says may lag behind what the consumer did by ``state_interval``; after a crash that
much is delivered again. It never runs ahead.
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec

from ..errors import ConfigError, UnknownStreamError
from ..market.streams import Kind, Rule, parse_stream

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

MAX_STATE_BYTES = 64 << 20


class Position(msgspec.Struct, frozen=True):
    """A stream of a venue, and what :meth:`Track.resume` takes to go on."""

    venue: str
    stream: str
    position: Annotated[int, msgspec.Meta(ge=-1, le=2**63 - 1)]


class State(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The content of the file."""

    format: Literal["k2trio-state-1"]
    positions: list[Position]


def load_state(path: Path) -> Sequence[Position]:
    """Read a state file; a missing one is an empty state.

    :raises ConfigError: if the file is torn, of another program, or cannot be read.
    """
    cure = "move it away to start without it, or choose another file"
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise ConfigError(f"the state file {path} is not a regular file; choose another one")
        if status.st_size > MAX_STATE_BYTES:
            raise ConfigError(f"{path} is too large to be a k2trio state file; {cure}")
        state = msgspec.json.decode(path.read_bytes(), type=State)
        for position in state.positions:
            stream = parse_stream(position.stream)
            if stream.order.rule is not Rule.CONTIGUOUS and stream.kind is not Kind.KLINE:
                raise UnknownStreamError(f"{position.stream} has no position to go on from")
    except FileNotFoundError:
        return ()
    except OSError as error:
        raise ConfigError(f"cannot read the state file {path}: {error.strerror}") from error
    except (msgspec.MsgspecError, UnicodeDecodeError, UnknownStreamError, RecursionError) as error:
        raise ConfigError(f"{path} is not a whole k2trio state file ({error}); {cure}") from error
    return state.positions


def save_state(path: Path, positions: Sequence[Position]) -> None:
    """Write a state file atomically; blocks for as long as the disk takes.

    :raises OSError: if it cannot be written; the old file is then untouched.
    """
    temporary = path.with_name(f".{path.name}.new")
    try:
        with temporary.open("wb") as file:
            file.write(msgspec.json.encode(State("k2trio-state-1", list(positions))))
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError:
        with suppress(OSError):
            temporary.unlink()
        raise
