"""k2trio in the world that the variant names: ``trio``, ``asyncio``, ``uvloop`` or ``sync``.

The whole feed, event by event, as most users have it; the loop around it differs and nothing else.
"""

import asyncio
import random

import trio
from meter import Latencies, parse_options

import k2trio

options = parse_options()
take = Latencies(options).take
settings = k2trio.Settings(
    websocket_url=f"{options.url}/stream",
    failover_urls=(),
    rest_urls=(options.url.replace("ws", "http", 1),),
    streams=tuple(options.streams),
    ca_file=options.ca,
)


async def read(open_feed: type[k2trio.open_feed]) -> None:
    """In Trio and in asyncio."""
    async with open_feed(settings=settings, rng=random.Random(1)) as feed:
        async for event in feed:
            take(event.data.trade_time)


def read_in_this_thread() -> None:
    """With Trio in another one."""
    with k2trio.sync.open_feed(settings=settings, rng=random.Random(1)) as feed:
        for event in feed:
            take(event.data.trade_time)


match options.variant:
    case "trio":
        trio.run(read, k2trio.open_feed)
    case "asyncio":
        asyncio.run(read(k2trio.aio.open_feed))
    case "uvloop":
        import uvloop

        uvloop.run(read(k2trio.aio.open_feed))
    case _:
        read_in_this_thread()
