# ruff: noqa: E402 - whether the core is wanted is said before k2trio is imported
"""k2trio, at the level that the variant names.

``frames``: batches of undecoded frames. ``typed``: the same and the decoder. ``batches``: the whole
feed (continuity, ledger, metrics, bounded outbox) by ``feed.batches()``. ``events``: the whole feed
by ``async for event in feed``, the way most users have it. ``busy``: the same with busy polling.
``touched``: events, and each level of a book is looked at, which the compiled core makes then and
not before. ``pure``: events without the compiled core. ``output``: what ``k2trio run`` does with a
feed: each message as a line in a file.
``handler``: the whole feed by ``feed.for_each(handler)``. ``uvloop``: the same, in uvloop.
"""

import os
import random
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import trio
from meter import Latencies, Meter, parse_options

options = parse_options()
if options.variant == "pure":
    os.environ["K2TRIO_PURE"] = "1"  # before k2trio is imported

import k2trio
from k2trio.client.deliver import deliver
from k2trio.client.feed import Feed
from k2trio.client.opening import open_feed
from k2trio.continuity.items import Item
from k2trio.market.decoder import Decoder
from k2trio.market.payloads import Depth, Event
from k2trio.market.streams import parse_stream
from k2trio.policy.breaker import CircuitBreaker
from k2trio.policy.failover import Endpoint
from k2trio.settings import Settings
from k2trio.sinks.jsonl import JsonLines
from k2trio.wire.connection import open_connection
from k2trio.wire.dialer import TcpDialer
from k2trio.wire.tls import make_ssl_context

BUSY_POLL_S = 0.01

settings = Settings(
    product=options.product,
    websocket_url=f"{options.url}/stream",
    failover_urls=(),
    rest_urls=(options.url.replace("ws", "http", 1),),
    streams=tuple(options.streams),
    streams_per_connection=options.streams_per_connection,
    ca_file=options.ca,
    depth_snapshot_levels=0,  # nobody here keeps a book, and the server has no snapshots
    busy_poll=BUSY_POLL_S if options.variant == "busy" else 0,
)


def check(feed: Feed) -> None:
    """Nothing may be missing: a figure for a feed that lost messages would mean nothing."""
    if missing := feed.status().missing:
        raise SystemExit(f"{missing} messages were lost")


async def connection_level(*, typed: bool) -> None:
    """Below the feed: one connection."""
    endpoint = Endpoint.from_url(settings.websocket_url, 0, CircuitBreaker, options.product)
    decode = Decoder(endpoint.venue).decode
    dial = TcpDialer(make_ssl_context(settings))
    route = parse_stream(options.streams[0], options.product).route
    async with open_connection(endpoint, options.streams, settings, dial, route) as connection:
        if options.latency:
            take = Latencies(options).take
            while True:
                batch = await connection.next_batch()
                for event in decode(batch.payloads, batch.received)[0]:
                    take(event.data.trade_time)
        meter = Meter(options)
        count = 0
        while True:
            batch = await connection.next_batch()
            if typed:
                count += len(decode(batch.payloads, batch.received)[0])
            else:
                count += len(batch.payloads)
            if count >= meter.mark:
                meter.reached(count)


async def handler_level(open_feed: Any) -> None:
    """All guarantees on, in Trio or in asyncio; a handler is called."""
    async with open_feed(settings=settings, rng=random.Random(1)) as feed:
        if options.latency:
            take = Latencies(options).take
            await feed.for_each(lambda event: take(event.data.trade_time))
        meter = Meter(options)
        count, mark = 0, meter.mark

        def handle(_event: object) -> None:
            nonlocal count, mark
            count += 1
            if count >= mark:
                check(feed)
                mark = meter.reached(count)
                if pause_s := meter.rest_s():
                    time.sleep(pause_s)  # the handler is plain: this is how it rests

        await feed.for_each(handle)


async def feed_level(*, by_event: bool) -> None:
    """All guarantees on."""
    async with open_feed(settings=settings, rng=random.Random(1)) as feed:
        if options.latency:
            take = Latencies(options).take
            async for event in feed:
                take(event.data.trade_time)
        meter = Meter(options)
        count, mark = 0, meter.mark
        if by_event:
            touched = options.variant == "touched"
            async for event in feed:
                count += 1
                if touched and isinstance(event, Event) and isinstance(event.data, Depth):
                    for side in (event.data.bids, event.data.asks):
                        for _ in side:
                            pass
                if count >= mark:
                    check(feed)
                    mark = meter.reached(count)
                    await trio.sleep(meter.rest_s())
        async for batch in feed.batches():
            count += len(batch)
            if count >= mark:
                check(feed)
                mark = meter.reached(count)
                await trio.sleep(meter.rest_s())


class Counted(JsonLines):
    """A file, and how many messages are in it."""

    def __init__(self, path: Path, feed: Feed) -> None:
        super().__init__(path)
        self._feed = feed
        self._meter = Meter(options)
        self._count, self._mark = 0, self._meter.mark

    async def write(self, items: Sequence[Item]) -> None:
        """See :class:`JsonLines`."""
        await super().write(items)
        self._note(len(items))

    def write_now(self, items: Sequence[Item]) -> bool:
        """See :class:`JsonLines`."""
        taken = super().write_now(items)
        if taken:
            self._note(len(items))
        return taken

    def _note(self, count: int) -> None:
        self._count += count
        if self._count >= self._mark:
            check(self._feed)
            self._mark = self._meter.reached(self._count)


async def output_level() -> None:
    """All guarantees on, into a file."""
    with tempfile.TemporaryDirectory() as folder:
        async with open_feed(settings=settings, rng=random.Random(1)) as feed:
            await deliver(feed, Counted(Path(folder, "market.jsonl"), feed))


match options.variant:
    case "output":
        trio.run(output_level)
    case "frames":
        trio.run(lambda: connection_level(typed=False))
    case "typed":
        trio.run(lambda: connection_level(typed=True))
    case "batches":
        trio.run(lambda: feed_level(by_event=False))
    case "handler":
        trio.run(handler_level, open_feed)
    case "uvloop":
        import uvloop

        uvloop.run(handler_level(k2trio.aio.open_feed))
    case _:
        trio.run(lambda: feed_level(by_event=True))
