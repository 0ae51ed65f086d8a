"""What a type checker knows of sinks: any object with the members of one is one.

Nothing here runs; see ``feeds.py``.
"""

# pyright: strict, reportUnnecessaryTypeIgnoreComment=true

from __future__ import annotations

from typing import TYPE_CHECKING

from k2trio import Feed, Item, Sink, Trade, deliver

if TYPE_CHECKING:
    from collections.abc import Sequence


class Mine:
    """A sink."""

    whole: int = 0

    async def write(self, items: Sequence[Item]) -> None: ...
    def check(self) -> None: ...
    def sync(self) -> None: ...
    async def flush(self) -> None: ...


class Lacking:
    """None: it does not say what is whole."""

    async def write(self, items: Sequence[Item]) -> None: ...
    def check(self) -> None: ...
    def sync(self) -> None: ...
    async def flush(self) -> None: ...


async def a_feed_goes_into_any_sink(feed: Feed, trades: Feed[Trade]) -> None:
    sink: Sink = Mine()
    await deliver(feed, sink)
    await deliver(trades, Mine())
    await deliver(feed, Lacking())  # type: ignore[arg-type]
