"""python-binance: a multiplex socket, which hands over dicts.

Its queue holds 100 messages by default and the reader gives up when it is full, so a burst ends the
stream: unless messages are paced, it gets as long a queue as it needs.
"""

import asyncio

from binance import AsyncClient, BinanceSocketManager
from meter import Latencies, Meter, parse_options

options = parse_options()


async def main() -> None:
    """Connect and read until the meter ends the process."""
    manager = BinanceSocketManager(
        AsyncClient(), max_queue_size=100 if options.paced else options.count + 1
    )
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
                await asyncio.sleep(meter.rest_s())


asyncio.run(main())
