"""python-binance: a multiplex socket, which hands over dicts.

Its queue holds 100 messages by default and the reader gives up when it is full, so a burst ends the
stream; here it gets as long a queue as it needs.
"""

import asyncio

from binance import AsyncClient, BinanceSocketManager
from meter import Latencies, Meter, parse_options

options = parse_options()


async def main() -> None:
    """Connect and read until the meter ends the process."""
    manager = BinanceSocketManager(AsyncClient(), max_queue_size=options.count + 1)
    manager.STREAM_URL = options.url + "/"
    async with manager.multiplex_socket(options.streams) as socket:
        if options.latency:
            take = Latencies(options).take
            while True:
                take((await socket.recv())["data"]["T"])
        meter = Meter(options)
        count, mark = 0, meter.mark
        while True:
            await socket.recv()
            count += 1
            if count >= mark:
                mark = meter.reached(count)


asyncio.run(main())
