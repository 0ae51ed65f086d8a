"""How a feed is iterated, and that one consumer does it: of two, each would get a part.

Whose loop iterates a feed has its one seat until the loop is left; no message costs anything for
that. Those who ask for single batches instead are found out by the outbox, when two wait at once.
"""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Generic, Protocol

from typing_extensions import TypeVar

from ..errors import UsageError
from ..market.payloads import Payload

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ..continuity.items import Item

P = TypeVar("P", bound=Payload, default=Payload)
"""What the streams of a feed carry."""
T = TypeVar("T")

SECOND_CONSUMER = (
    "another task reads this feed already, and each would get a part of the messages; "
    "read it in one place, and hand the messages on from there"
)


class Seat:
    """Keeps a feed to the loops of one task.

    :param who: the task that runs now, or whatever can read a feed at the same time as another.
    """

    def __init__(self, who: Callable[[], object]) -> None:
        self._who = who
        self._taken_by: object = None
        self._loop: weakref.ref[object] | None = None
        """What the loop iterates: nobody else keeps it, so it is gone when the loop is left."""

    def take(self, loop: T) -> T:
        """Let a loop begin.

        :param loop: the iterator that is made for it.
        :raises UsageError: if a loop of another task goes on.
        """
        who = self._who()
        if self._loop is not None and self._taken_by is not who:
            raise UsageError(SECOND_CONSUMER)
        self._taken_by, self._loop = who, weakref.ref(loop, self._left)
        return loop

    def _left(self, loop: weakref.ref[object]) -> None:
        if loop is self._loop:
            self._taken_by = self._loop = None


class Readable(Protocol[P]):
    """A feed, as its loops know it."""

    seat: Seat

    async def rest(self) -> Iterator[Item[P]]:
        """What is left of the running batch, or else the next one."""
        ...

    async def next_batch(self) -> list[Item[P]]:
        """The next batch."""
        ...


class Events(Generic[P]):
    """Iterates a feed event by event. Not a generator: it needs no closing when it is left."""

    def __init__(self, feed: Readable[P], items: Iterator[Item[P]]) -> None:
        self._feed = feed
        self._items = items

    def __aiter__(self) -> Events[P]:
        return self

    async def __anext__(self) -> Item[P]:
        # No checkpoint inside a batch: iteration costs next to nothing per event.
        for item in self._items:
            return item
        self._items = await self._feed.rest()
        return next(self._items)


class Batches(Generic[P]):
    """Iterates a feed batch by batch; no generator either."""

    def __init__(self, feed: Readable[P]) -> None:
        self._feed = feed

    def __aiter__(self) -> Batches[P]:
        return self._feed.seat.take(Batches(self._feed))

    async def __anext__(self) -> list[Item[P]]:
        return await self._feed.next_batch()
