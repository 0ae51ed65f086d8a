"""Decided items on their way to the consumer, bounded in messages."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

import msgspec
import trio

from .continuity import Gap, Item, Outage
from .messages import Event

if TYPE_CHECKING:
    from collections.abc import Callable

    from .errors import K2Error


class Outbox:
    """A queue of batches between the feed's tasks and its one consumer.

    :meth:`put` never waits, so that it can be one step with the decision what to deliver; the
    producers wait afterwards, in :meth:`room`. The bound is exceeded by one batch per producer at
    most.

    :param limit: messages that may wait.
    :param lose: given, messages beyond the limit are dropped; it says what stands in their place.
    """

    def __init__(self, limit: int, lose: Callable[[Event], Gap | Outage] | None = None) -> None:
        self.size = 0
        self._limit = limit
        self._lose = lose
        self._batches: deque[list[Item]] = deque()
        self._lost: dict[tuple[str, str], list[Gap | Outage]] = {}
        self._closed: K2Error | None = None
        self._filled = trio.Event()
        self._drained = trio.Event()

    @property
    def full(self) -> bool:
        """Whether producers should wait."""
        return self._lose is None and self.size >= self._limit

    def put(self, items: list[Item]) -> None:
        """Append a batch, or declare it lost if there is no room and the policy is to drop."""
        if self._lose is not None and self.size + len(items) > self._limit:
            for item in items:
                self._declare(self._lose(item) if isinstance(item, Event) else item)
            return
        if self._lost:
            items = [*self._declarations(), *items]
        self._batches.append(items)
        self.size += len(items)
        self._filled.set()

    def close(self, error: K2Error) -> None:
        """No more will come; the consumer gets the error after the last batch."""
        self._closed = error
        self._filled.set()

    async def room(self) -> None:
        """Wait until the outbox is below its bound."""
        while self.full:
            self._drained = trio.Event()
            await self._drained.wait()

    async def get(self) -> list[Item]:
        """The next batch.

        :raises K2Error: what ended the feed, after everything before it was taken.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        while not self._batches:
            if self._lost:
                return self._declarations()
            if self._closed is not None:
                raise self._closed
            self._filled = trio.Event()
            await self._filled.wait()
        items = self._batches.popleft()
        self.size -= len(items)
        if not self.full:
            self._drained.set()
        return items

    def drain(self) -> list[Item]:
        """Everything that is ready, without waiting."""
        items = [item for batch in self._batches for item in batch]
        self._batches.clear()
        self.size = 0
        return [*items, *self._declarations()]

    def _declare(self, lost: Gap | Outage) -> None:
        """Remember a loss; runs of ids become one range, so this is bounded by the streams."""
        before = self._lost.setdefault((lost.venue, lost.stream), [])
        last = before[-1] if before else None
        if isinstance(last, Outage) and isinstance(lost, Outage):
            before[-1] = msgspec.structs.replace(last, until=lost.until)
        elif (
            isinstance(last, Gap)
            and isinstance(lost, Gap)
            and last.reason == lost.reason
            and last.last + 1 == lost.first
        ):
            before[-1] = msgspec.structs.replace(last, last=lost.last)
        else:
            before.append(lost)

    def _declarations(self) -> list[Item]:
        lost: list[Item] = [item for items in self._lost.values() for item in items]
        self._lost.clear()
        return lost
