"""How a feed is consumed: iterated, asked for batches, or made to call a handler."""

from __future__ import annotations

from operator import length_hint
from typing import TYPE_CHECKING, Generic

from .backend import TRIO, Backend
from .consumer import Batches, Events, P, Seat
from .handling import Handling, require_plain

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ..continuity.items import Item
    from ..observe.latency import Meter
    from .outbox import Outbox
    from .resume import Resume


class Consumed(Generic[P]):
    """What the consumer of a feed does with it. There is one: see :class:`Seat`.

    :ivar backend: the event loop that the consumer runs on.
    :ivar seat: where its ``for`` loop sits.
    :ivar handed_out: what it has, and has not dealt with.
    """

    def __init__(self, outbox: Outbox, resume: Resume, latency: Meter) -> None:
        self.backend: Backend = TRIO
        self.seat: Seat = Seat(lambda: self.backend.task())
        self._outbox = outbox
        self._resume = resume
        self._latency = latency
        self._items: Iterator[Item[P]] = iter(())
        self.handed_out: list[Item[P]] = []

    def __aiter__(self) -> Events[P]:
        return self.seat.take(Events(self, self._items))

    async def __anext__(self) -> Item[P]:
        for item in self._items:
            return item
        return next(await self.rest())

    async def rest(self) -> Iterator[Item[P]]:
        """What is left of the running batch, or else the next one; taking from it takes it away."""
        if not length_hint(self._items):
            self._items = iter(await self._next_batch())
        return self._items

    def batches(self) -> Batches[P]:
        """Whole batches: everything that one socket read made deliverable, in order.

        Iteration raises :class:`GaveUp` when the feed has ended, after the last batch.
        """
        return Batches(self)

    async def next_batch(self) -> list[Item[P]]:
        """The next batch, or what is left of the one that single events were taken from.

        :raises GaveUp: when the feed has ended, after the last batch.
        """
        return list(self._items) or await self._next_batch()

    async def for_each(self, handler: Callable[[Item[P]], object]) -> None:
        """Have a function called with every event, where it was read: the quickest way to get it.

        It runs until the feed ends, or the handler raises, which comes out here; or until it is
        cancelled. Nothing else is done in this loop while the handler works, so it should be brief.
        A batch that it has returned from is acknowledged, as if the next one had been asked for.

        :param handler: a plain function; it may be called in another task than this one.
        :raises GaveUp: when the feed has ended, after the last event.
        :raises UsageError: for an async function.
        """

        def each(items: list[Item[P]]) -> None:
            self._items = rest = iter(items)
            for item in rest:
                handler(item)

        require_plain(handler)
        await self._hand_to(each)

    async def for_each_batch(self, handler: Callable[[list[Item[P]]], object]) -> None:
        """The same with whole batches; see :meth:`batches`."""
        require_plain(handler)
        await self._hand_to(handler)

    def acknowledge(self, count: int | None = None) -> None:
        """Say that everything handed out so far has been dealt with, or its first ``count`` items.

        Asking for the next batch says so by itself; this is for the last one, before the feed is
        left. What is not acknowledged is delivered again after a restart with ``state``. "Dealt
        with" is as durable as the consumer makes it: see ``sync`` of :func:`open_feed`.
        """
        items = self.handed_out
        self.handed_out = [] if count is None else items[count:]
        if self._resume.keeps:
            self._resume.note(items[:count])

    def take(self) -> list[Item[P]] | None:
        """The next batch, without waiting; None if there is none yet.

        :raises GaveUp: when the feed has ended, after the last batch.
        """
        self._latency.asked()
        self.acknowledge()
        items = self._outbox.take()
        if items is not None:
            self.handed_out = items
            self._latency.handed_out(self._outbox.since)
        return items

    def notify(self, wake: Callable[[], object] | None) -> None:
        """Have this called when there may be something to take, in the midst of what the feed does.

        Until then, and until it is taken back with None, nobody else can take anything.
        """
        self._outbox.wake = wake

    async def _hand_to(self, handle: Callable[[list[Item[P]]], object]) -> None:
        handling: Handling[P] = Handling(handle, self, self._latency)
        self.seat.take(handling)
        if rest := list(self._items):
            self._items = iter(())
            handle(rest)
        self.acknowledge()
        await handling.run(self._outbox, self.backend)

    async def _next_batch(self) -> list[Item[P]]:
        self._latency.asked()
        self.acknowledge()
        self.handed_out = await self._outbox.get(self.backend)
        self._latency.handed_out(self._outbox.since)
        return self.handed_out
