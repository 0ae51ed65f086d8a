"""Messages that wait behind a gap, and the memory that those of all streams take together."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from ..market.cost import cost_of

if TYPE_CHECKING:
    from ..market.payloads import Event


class Held(NamedTuple):
    """A message beyond a gap, since when it is known that something before it is missing, and the
    ids it covers.

    For klines ``first`` is the open time of its bar, and ``last`` its event time.
    """

    first: int
    last: int
    since: float
    event: Event


class Memory:
    """What the held messages of all streams take, and may take, in bytes (see :func:`cost_of`)."""

    def __init__(self, limit: float = float("inf")) -> None:
        self.used = 0
        self.limit = limit


class Waiting(list[Held]):
    """The held messages of one stream, by id.

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
        return len(self) > self._limit or self._memory.used > self._memory.limit

    def put(self, at: int, held: Held) -> None:
        """Insert a message before the one at this place."""
        self._memory.used += cost_of(held.event)
        self.insert(at, held)

    def replace(self, at: int, held: Held) -> None:
        """Put a message in the place of another."""
        self._memory.used += cost_of(held.event) - cost_of(self[at].event)
        self[at] = held

    def drop(self, count: int) -> None:
        """Remove so many, the lowest first."""
        self._memory.used -= sum(cost_of(held.event) for held in self[:count])
        del self[:count]
