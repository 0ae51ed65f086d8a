"""The feed for programs without an event loop: the same feed, on Trio in a thread of its own.

``with k2trio.sync.open_feed(["btcusdt@trade"]) as feed: for event in feed: …``
"""

from __future__ import annotations

import functools
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Generic, Unpack, overload

from .bridge.background import Background
from .bridge.handover import Handover
from .client import opening
from .client.consumer import P, Seat
from .client.handling import require_plain
from .errors import FeedClosed

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
    from contextlib import AbstractContextManager

    from prometheus_client import CollectorRegistry, Metric

    from .client.feed import Feed as TrioFeed
    from .client.health import FeedStatus
    from .client.opening import FeedOptions
    from .continuity.items import Gap, Item
    from .continuity.ledger import Coverage
    from .settings import Settings
    from .streams import StreamName

__all__ = ["Feed", "open_feed"]


class Feed(Generic[P]):
    """A feed that a thread reads; see :class:`k2trio.Feed`. Made by :func:`open_feed`.

    One thread reads it, by a ``for`` loop or by asking; others may use the rest of it meanwhile.
    """

    def __init__(self, feed: TrioFeed[P], background: Background) -> None:
        self.settings: Settings = feed.settings
        self._feed: TrioFeed[Any] = feed
        self._background = background
        self._handover = Handover(feed, background)
        self._items: Iterator[Item[P]] = iter(())
        self._seat = Seat(threading.get_ident)

    def __repr__(self) -> str:
        return repr(self._feed)

    def __iter__(self) -> Iterator[Item[P]]:
        return self._seat.take(self._events())

    def batches(self) -> Iterator[list[Item[P]]]:
        """Whole batches; see :meth:`k2trio.Feed.batches`."""
        return self._seat.take(self._batches())

    def get(self, timeout: float | None = None) -> Item[P]:
        """The next event.

        :param timeout: seconds to wait for one; None: for ever.
        :raises TimeoutError: if there was none.
        :raises GaveUp: when the feed has ended, after the last event.
        """
        for item in self._items:
            return item
        self._items = iter(self._handover.ask(timeout))
        return next(self._items)

    def get_batch(self, timeout: float | None = None) -> list[Item[P]]:
        """The next batch, or what is left of the one that single events were taken from.

        :param timeout: seconds to wait for one; None: for ever.
        :raises TimeoutError: if there was none.
        :raises GaveUp: when the feed has ended, after the last batch.
        """
        return list(self._items) or self._handover.ask(timeout)

    def for_each(self, handler: Callable[[Item[P]], object]) -> None:
        """Have a function called with every event, in the feed's thread; see :class:`k2trio.Feed`.

        No thread has to be woken for a message then. This one waits until the feed ends, or the
        handler raises, which comes out here; or until it is interrupted.

        :raises GaveUp: when the feed has ended, after the last event.
        :raises UsageError: for an async function.
        """
        require_plain(handler)

        def each(items: list[Item[P]]) -> None:
            self._items = rest = iter(items)
            for item in rest:
                handler(item)

        self._hand_to(each)

    def for_each_batch(self, handler: Callable[[list[Item[P]]], object]) -> None:
        """The same with whole batches."""
        require_plain(handler)
        self._hand_to(handler)

    def drain(self) -> list[Item[P]]:
        """All that can be delivered now; see :meth:`k2trio.Feed.drain`."""
        return [*self._items, *self._handover.rest(), *self._background.call(self._feed.drain)]

    def acknowledge(self, count: int | None = None) -> None:
        """Say what has been dealt with; see :meth:`k2trio.Feed.acknowledge`."""
        self._background.call(functools.partial(self._feed.acknowledge, count))

    def write_off(self) -> list[Gap]:
        """Enter what will not be dealt with; see :meth:`k2trio.Feed.write_off`."""
        return self._background.call(self._feed.write_off)

    def coverage(self) -> list[Coverage]:
        """The ledger: per stream, which ids came live, were repaired, or are missing and why."""
        return self._background.call(self._feed.coverage)

    def status(self) -> FeedStatus:
        """What the feed is doing now."""
        return self._background.call(self._feed.status)

    @overload
    def subscribe(self, *streams: StreamName[P]) -> None: ...
    @overload
    def subscribe(self: Feed, *streams: str) -> None: ...
    def subscribe(self, *streams: str) -> None:
        """Add streams while the feed runs; see :meth:`k2trio.Feed.subscribe`."""
        self._background.do(functools.partial(self._feed.subscribe, *streams))

    def unsubscribe(self, *streams: str) -> None:
        """Remove streams while the feed runs; see :meth:`k2trio.Feed.unsubscribe`."""
        self._background.do(functools.partial(self._feed.unsubscribe, *streams))

    @functools.cached_property
    def registry(self) -> CollectorRegistry:
        """The metrics, to be scraped from any thread; they are collected in the feed's."""
        from prometheus_client import CollectorRegistry  # it comes with an HTTP server

        registry = CollectorRegistry()
        registry.register(_InItsThread(self._feed.metrics.registry, self._background))
        return registry

    def _events(self) -> Generator[Item[P]]:
        while True:
            yield from self._items
            self._items = iter(self._handover.ask())

    def _hand_to(self, handle: Callable[[list[Item[P]]], object]) -> None:
        waiting: list[Item[P]] = [*self._items, *self._handover.rest()]
        if waiting:
            handle(waiting)
        work = self._seat.take(functools.partial(self._feed.for_each_batch, handle))
        try:
            self._background.do(work)
        except FeedClosed as closed:
            raise self._background.failure(closed) from None

    def _batches(self) -> Generator[list[Item[P]]]:
        while True:
            yield self.get_batch()


class _InItsThread:
    """Metrics that look at the feed, and so are collected where it runs."""

    def __init__(self, registry: CollectorRegistry, background: Background) -> None:
        self._registry = registry
        self._background = background

    def collect(self) -> Iterable[Metric]:
        return self._background.call(lambda: list(self._registry.collect()))


@overload
def open_feed(
    streams: Sequence[StreamName[P]],
    settings: Settings | None = None,
    **options: Unpack[FeedOptions],
) -> AbstractContextManager[Feed[P]]: ...
@overload
def open_feed(
    streams: Sequence[str] | None = None,
    settings: Settings | None = None,
    **options: Unpack[FeedOptions],
) -> AbstractContextManager[Feed]: ...
@contextmanager
def open_feed(
    streams: Sequence[str] | None = None,
    settings: Settings | None = None,
    **options: Unpack[FeedOptions],
) -> Generator[Feed[Any]]:
    """Open a feed of market data in a background thread, as :func:`k2trio.open_feed` in Trio.

    What comes out of it is the same. Leaving the block, in whatever way, ends the thread, within
    its bound; so does the end of the program. What goes wrong within the feed is raised by what
    asks it for more, and at the latest where the block ends. Observers, ``dial`` and the like are
    called in its thread.
    """
    background = Background(functools.partial(opening.open_feed, streams, settings, **options))
    error: BaseException | None = None
    try:
        yield Feed(background.begin(), background)
    except BaseException as raised:  # noqa: BLE001 - it is raised when the feed has ended
        error = raised
    background.end(error)
