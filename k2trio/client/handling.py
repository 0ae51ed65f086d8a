"""A consumer that is called instead of asking: no task has to be woken for a message.

The handler is called where the batch was decided on, mostly in the task that has read it. So
nothing waits in the outbox, and nothing is read while the handler works: that is the backpressure.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Generic, Protocol

from ..errors import UsageError
from .consumer import P

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..continuity.items import Item
    from ..observe.latency import Meter
    from .backend import Backend
    from .outbox import Outbox

AWAITED = (
    "the handler is called and not awaited, so it cannot be an async function; "
    "iterate the feed where each message is to be awaited"
)


class Handed(Protocol[P]):
    """A feed, as far as it keeps account of what its consumer has.

    :ivar handed_out: what it has and has not dealt with.
    """

    handed_out: list[Item[P]]

    def acknowledge(self) -> None:
        """It has dealt with that."""
        ...


class Handling(Generic[P]):
    """Hands every batch to a function, until that raises or the feed ends.

    :param handle: takes a batch; what it raises is raised by :meth:`run`.
    :param feed: knows what was handed out, and takes note of what was dealt with.
    """

    def __init__(
        self, handle: Callable[[list[Item[P]]], object], feed: Handed[P], latency: Meter
    ) -> None:
        self._handle = handle
        self._feed = feed
        self._latency = latency

    async def run(self, outbox: Outbox, backend: Backend) -> None:
        """Hand over what waits, and then what comes, when it comes.

        :raises K2Error: what ended the feed, after the last batch.
        """
        failure: BaseException | None = None
        hand = self._hand

        def take(items: list[Item[P]], since: float | None) -> None:
            nonlocal failure
            try:
                hand(items, since)
            except BaseException as error:  # noqa: BLE001 - it is raised by run()
                failure = error
                outbox.taker = None
                if outbox.wake is not None:
                    outbox.wake()

        while True:
            await backend.turn()
            items = outbox.take()
            if items is not None:
                hand(items, outbox.since)
                continue
            outbox.taker = take
            try:
                await backend.filled(outbox)
            finally:
                outbox.taker = None
                if failure is not None:
                    raise failure

    def _hand(self, items: list[Item[P]], since: float | None) -> None:
        feed, latency = self._feed, self._latency
        began = latency.clock()
        feed.handed_out = items
        self._handle(items)
        latency.handled(since, began)
        feed.acknowledge()


def require_plain(handler: Callable[..., object]) -> None:
    """Refuse a handler that would have to be awaited.

    :raises UsageError: if it is one.
    """
    if inspect.iscoroutinefunction(handler):
        raise UsageError(AWAITED)
