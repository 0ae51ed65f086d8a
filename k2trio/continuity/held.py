"""Messages that wait behind a gap, and the memory that those of all streams take together."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from ..market.cost import cost_of

if TYPE_CHECKING:
    from ..market.payloads import Event


class Source(Protocol):
    """A connection, as seen from here."""

    @property
    def line(self) -> str:
        """The name of the line that it serves."""
        ...

    @property
    def started_at(self) -> float:
        """When it was dialled."""
        ...

    def refuse(self, stray: Stray) -> None:
        """Be told of a message of its that belongs nowhere."""


class Held(NamedTuple):
    """A message beyond a gap, since when it is known that something before it is missing, the ids
    it covers, and who brought it.

    For klines ``first`` is the open time of its bar, and ``last`` its event time.
    """

    first: int
    last: int
    since: float
    event: Event[Any]
    source: Source | None = None


class Stray(NamedTuple):
    """A message that was refuted; see ``renumbering.py``.

    :ivar disputed: another connection speaks against the one that brought it.
    :ivar error_type: what it is counted as.
    """

    event: Event[Any]
    source: Source | None
    disputed: bool
    error_type: str = "stray"
    why: str = "its key is none of the numbering that the stream goes on with"


def refuted(held: Held, by: Source | None) -> Stray:
    """A held message, after another one spoke against it."""
    return Stray(held.event, held.source, disputed=held.source is not by)


class Memory:
    """What the held messages of all streams take, and may take, in bytes (see :func:`cost_of`)."""

    def __init__(self, limit: float = math.inf) -> None:
        self.used: int = 0
        self.limit = limit

    @property
    def full(self) -> bool:
        """Whether more is used than may be."""
        return self.used > self.limit

    def take(self, *held: Held) -> None:
        """Count messages that wait from now on."""
        self.used += sum(cost_of(one.event) for one in held)

    def free(self, *held: Held) -> None:
        """Count messages that wait no longer."""
        self.used -= sum(cost_of(one.event) for one in held)


class Waiting(list[Held]):
    """The held messages of one stream, by id.

    The place of an id is found by the beginning of a tuple, such as ``(first,)``: that sorts before
    all that begin with it.

    :param limit: messages that may be held.
    :param memory: shared with all other streams.
    """

    def __init__(self, limit: int, memory: Memory) -> None:
        super().__init__()
        self._limit = limit
        self._memory = memory

    @property
    def too_many(self) -> bool:
        """Whether some have to go: there are too many here, or they take too much altogether."""
        return len(self) > self._limit or self._memory.full

    def put(self, at: int, held: Held) -> None:
        """Insert a message before the one at this place."""
        self._memory.take(held)
        self.insert(at, held)

    def replace(self, at: int, held: Held) -> None:
        """Put a message in the place of another."""
        self._memory.take(held)
        self._memory.free(self[at])
        self[at] = held

    def drop(self, count: int) -> None:
        """Remove so many, the lowest first."""
        self._memory.free(*self[:count])
        del self[:count]

    def cut(self, at: int) -> list[Held]:
        """Remove those from a place on, and return them."""
        gone = self[at:]
        self._memory.free(*gone)
        del self[at:]
        return gone
