"""What a type checker knows of feeds in asyncio and in a thread: the same as of those in Trio.

Nothing here runs; see ``feeds.py``.
"""

# pyright: strict, reportUnnecessaryTypeIgnoreComment=true

from __future__ import annotations

from typing import assert_type

import k2trio
from k2trio import Event, Feed, Item, Trade


async def a_feed_in_asyncio_knows_what_its_streams_carry() -> None:
    async with k2trio.aio.open_feed([k2trio.streams.trade("btcusdt")], log=False) as feed:
        assert_type(feed, Feed[Trade])
        async for event in feed:
            assert_type(event, Item[Trade])
            if isinstance(event, Event):
                assert_type(event.data.price, str)
        assert_type(await feed.next_batch(), list[Item[Trade]])
    async with k2trio.aio.open_feed(["btcusdt@trade"]) as plain:
        assert_type(plain, Feed)
    k2trio.aio.open_feed(["btcusdt@trade"], observer=None)  # type: ignore[call-overload]


def a_feed_in_a_thread_knows_it_too() -> None:
    with k2trio.sync.open_feed([k2trio.streams.trade("btcusdt")]) as feed:
        assert_type(feed, k2trio.sync.Feed[Trade])
        for event in feed:
            assert_type(event, Item[Trade])
        for batch in feed.batches():
            assert_type(batch, list[Item[Trade]])
        assert_type(feed.get(timeout=1), Item[Trade])
        assert_type(feed.get_batch(), list[Item[Trade]])
        feed.subscribe(k2trio.streams.trade("ethusdt"))
        feed.subscribe("ethusdt@depth")  # type: ignore[arg-type]
    with k2trio.sync.open_feed() as plain:
        assert_type(plain, k2trio.sync.Feed)
        plain.subscribe("ethusdt@depth")
