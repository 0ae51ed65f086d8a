"""websockets, its asyncio client, with a typed decoder behind it; payloads taken as bytes."""

import asyncio

from meter import Latencies, Meter, parse_options
from payloads import SEPARATOR, make_routes
from websockets.asyncio.client import connect

options = parse_options()


async def main() -> None:
    """Connect and read until the meter ends the process."""
    routes = make_routes(options.streams)
    async with connect(options.stream_url, ssl=options.ssl_context()) as websocket:
        if options.latency:
            take = Latencies(options).take
            while True:
                frame = await websocket.recv(decode=False)
                start = frame.find(SEPARATOR, 11, 160) + 9
                take(routes[frame[:start]](frame[start:-1]).trade_time)
        meter = Meter(options)
        count, mark = 0, meter.mark
        while True:
            frame = await websocket.recv(decode=False)
            start = frame.find(SEPARATOR, 11, 160) + 9
            routes[frame[:start]](frame[start:-1])
            count += 1
            if count >= mark:
                mark = meter.reached(count)
                await asyncio.sleep(meter.rest_s())


asyncio.run(main())
