"""A consumer that is called instead of asking: no task has to be woken for a message.

The handler is called where the batch was decided on, mostly in the task that has read it. So
nothing waits in the outbox, and nothing is read while the handler works: that is the backpressure.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Generic

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


class Handling(Generic[P]):
    """Hands every batch to a function, until that raises or the feed ends.

    :param handle: takes a batch; what it raises is raised by :meth:`run`.
    :param began: told of a batch before.
    :param ended: told of it after, if all went well.
    """

    def __init__(
        self,
        handle: Callable[[list[Item[P]]], object],
        began: Callable[[list[Item[P]]], None],
        ended: Callable[[list[Item[P]]], None],
        latency: Meter,
    ) -> None:
        self._handle = handle
        self._began = began
        self._ended = ended
        self._latency = latency
        self._error: BaseException | None = None

    async def run(self, outbox: Outbox, backend: Backend) -> None:
        """Hand over what waits, and then what comes, when it comes.

        :raises K2Error: what ended the feed, after the last batch.
        """
        while True:
            await backend.turn()
            items = outbox.take()
            if items is not None:
                self._hand(items, outbox.since)
                continue

            def hand(items: list[Item[P]], since: float | None) -> None:
                try:
                    self._hand(items, since)
                except BaseException as error:  # noqa: BLE001 - it is raised by run()
                    self._error = error
                    outbox.taker = None
                    if outbox.wake is not None:
                        outbox.wake()

            outbox.taker = hand
            try:
                await backend.filled(outbox)
            finally:
                outbox.taker = None
                if self._error is not None:
                    raise self._error

    def _hand(self, items: list[Item[P]], since: float | None) -> None:
        self._began(items)
        self._latency.handed_out(since)
        self._handle(items)
        self._latency.asked()
        self._ended(items)


def require_plain(handler: Callable[..., object]) -> None:
    """Refuse a handler that would have to be awaited.

    :raises UsageError: if it is one.
    """
    if inspect.iscoroutinefunction(handler):
        raise UsageError(AWAITED)
