"""Decided items on their way to the consumer, bounded in messages and in memory."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

import msgspec
import trio

from ..continuity.items import Gap, Item, Outage, VenueChanged
from ..continuity.positions import key_of
from ..errors import UsageError
from ..market.cost import cost_of
from ..market.payloads import Event
from .backend import TRIO, Backend
from .consumer import SECOND_CONSUMER

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from ..continuity.positions import Key
    from ..errors import K2Error


class Outbox:
    """A queue of batches between the feed's tasks and its one consumer.

    :meth:`put` never waits, so that it can be one step with the decision what to deliver; the
    producers wait afterwards, in :meth:`room`. The bound is exceeded by one batch per producer at
    most.

    :param limit: messages that may wait.
    :param limit_bytes: memory that they may take, as :func:`cost_of` tells. What it costs to look
        is saved while the consumer keeps up: a batch that finds nothing waiting is not counted.
    :param lose: given, batches beyond the limit are dropped; it says what stands in the place of
        each message. A batch that is larger than the limit itself still gets into an empty outbox.
    :ivar since: from when on the batch that was taken last had waited, as :meth:`put` was told.
    :ivar wake: the consumer sets it while it waits, to be called when there may be something to
        take; in the midst of what the feed does, so it only wakes somebody, or takes.
    :ivar taker: given each batch at once, with since when it waits, while none waits; in the midst
        of what the feed does as well, and it does not raise.
    """

    def __init__(
        self,
        limit: int,
        limit_bytes: int,
        lose: Callable[[Event], Gap | Outage] | None = None,
    ) -> None:
        self.size: int = 0
        self.bytes: int = 0
        self.wake: Callable[[], object] | None = None
        self.taker: Callable[[list[Item[Any]], float | None], None] | None = None
        self._limit = limit
        self._limit_bytes = limit_bytes
        self._lose = lose
        self.since: float | None = None
        self._batches: deque[tuple[list[Item], int, float | None]] = deque()
        """Each with the memory that it is counted with, and since when it waits."""
        self._lost: dict[tuple[str, str], list[Gap | Outage]] = {}
        self._moved: dict[str, VenueChanged] = {}
        """Stream → from which venue to which it went in what was dropped."""
        self._closed: K2Error | None = None
        self._drained: trio.Event | None = None
        """Set when there is room again; None while nobody waits for that."""

    @property
    def full(self) -> bool:
        """Whether producers should wait."""
        return self._lose is None and (self.size >= self._limit or self.bytes >= self._limit_bytes)

    def put(self, items: list[Item], since: float | None = None) -> Sequence[Gap | Outage]:
        """Append a batch, or declare it lost if there is no room and the policy is to drop.

        :param since: from when on it waits, for who measures that.
        :returns: what stands in the place of its messages then.
        """
        if self.taker is not None and not (self._batches or self._lost or self._moved):
            self.taker(items, since)
            return ()
        cost = self._cost_of(items) if self._batches else 0
        if self._lose is not None and self.size and self._filled_up(len(items), cost):
            return self._drop(items, self._lose)
        if self._lost or self._moved:
            items = [*self._declarations(), *items]
        self._batches.append((items, cost, since))
        self.size += len(items)
        self.bytes += cost
        if self.wake is not None:
            self.wake()
        return ()

    def close(self, error: K2Error) -> None:
        """No more will come; the consumer gets the error after the last batch.

        What closed it first is what counts.
        """
        if self._closed is None:
            self._closed = error
            if self.wake is not None:
                self.wake()

    async def room(self) -> None:
        """Wait until the outbox is below its bound."""
        while self.full:
            if self._drained is None:
                self._drained = trio.Event()
            await self._drained.wait()

    async def get(self, backend: Backend = TRIO) -> list[Item[Any]]:
        """The next batch.

        :param backend: the event loop of who asks.
        :raises K2Error: what ended the feed, after everything before it was taken.
        """
        await backend.turn()
        while (items := self.take()) is None:
            await backend.filled(self)
        return items

    def take(self) -> list[Item[Any]] | None:
        """The next batch, without waiting; None if there is none yet.

        :raises K2Error: as :meth:`get` does.
        :raises UsageError: if somebody waits for that batch.
        """
        if self.wake is not None:
            raise UsageError(SECOND_CONSUMER)
        if self._batches:
            items, cost, self.since = self._batches.popleft()
            self.size -= len(items)
            self.bytes -= cost
            self._wake_producers()
            return items
        if self._lost or self._moved:
            self.since = None
            return self._declarations()
        if self._closed is not None:
            raise self._closed
        return None

    def drain(self) -> list[Item[Any]]:
        """Everything that is ready, without waiting."""
        items = [item for batch, *_ in self._batches for item in batch]
        self._batches.clear()
        self.size = self.bytes = 0
        self._wake_producers()
        return [*items, *self._declarations()]

    def remove(self, keys: Collection[Key]) -> list[Item]:
        """Take all that waits of these streams out of it; returns it in its order."""
        removed = [item for items, *_ in self._batches for item in items if key_of(item) in keys]
        kept: list[tuple[list[Item], int, float | None]] = []
        for items, cost, since in self._batches:
            left = [item for item in items if key_of(item) not in keys]
            if left:
                kept.append((left, cost if len(left) == len(items) else self._cost_of(left), since))
        self._batches = deque(kept)
        self.size = sum(len(items) for items, *_ in kept)
        self.bytes = sum(cost for _, cost, _ in kept)
        for key in keys:
            removed += self._lost.pop(key, [])  # nothing of a stream comes behind its losses
        self._wake_producers()
        return removed

    def _filled_up(self, more: int, more_bytes: int) -> bool:
        """Whether there is no room for so much more."""
        return self.size + more > self._limit or self.bytes + more_bytes > self._limit_bytes

    def _cost_of(self, items: list[Item]) -> int:
        return sum(cost_of(item) for item in items if isinstance(item, Event))

    def _wake_producers(self) -> None:
        if self._drained is not None and not self.full:
            # One event for all who wait; those who come later wait for the next one.
            self._drained.set()
            self._drained = None

    def _drop(
        self, items: list[Item], lose: Callable[[Event], Gap | Outage]
    ) -> Sequence[Gap | Outage]:
        lost: list[Gap | Outage] = []
        for item in items:
            if isinstance(item, Event):
                lost.append(lose(item))
                self._declare(lost[-1])
            elif isinstance(item, VenueChanged):
                self._move(item)
            else:
                self._declare(item)
        return lost

    def _declare(self, lost: Gap | Outage) -> None:
        """Remember a loss. What a stream loses until it is told is one range, or one time.

        Nothing of the stream was kept in between, so ranges of one reason have nothing between
        them either (bars step by their interval). So this is bounded by the streams.
        """
        before = self._lost.setdefault((lost.venue, lost.stream), [])
        for index in range(len(before) - 1, -1, -1):
            match before[index], lost:
                case Outage() as last, Outage():
                    before[index] = msgspec.structs.replace(last, until=lost.until)
                    return
                case Gap(reason="overflow") as last, Gap(reason="overflow"):
                    before[index] = msgspec.structs.replace(last, last=lost.last, until=lost.until)
                    return
                case Gap(), Gap():
                    break  # another reason stands between
                case _:
                    pass
        before.append(lost)

    def _move(self, change: VenueChanged) -> None:
        """Remember a change of venue: of all until they are told, the stream made one, or none."""
        first = self._moved.get(change.stream)
        if first is None:
            self._moved[change.stream] = change
        elif first.previous == change.venue:
            del self._moved[change.stream]
        else:
            self._moved[change.stream] = msgspec.structs.replace(
                change, previous=first.previous, since=first.since
            )

    def _declarations(self) -> list[Item]:
        """What was dropped; a change of venue comes last, as it is of what follows."""
        lost: list[Item] = [item for items in self._lost.values() for item in items]
        lost += self._moved.values()
        self._lost.clear()
        self._moved.clear()
        return lost
