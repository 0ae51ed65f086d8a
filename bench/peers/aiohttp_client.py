"""aiohttp on uvloop, with a typed decoder behind it."""

import asyncio

import aiohttp
import uvloop
from meter import Latencies, Meter, parse_options
from payloads import SEPARATOR, make_routes

options = parse_options()


async def main() -> None:
    """Connect and read until the meter ends the process."""
    routes = make_routes(options.streams)
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(
            options.stream_url, ssl=options.ssl_context() or True, decode_text=False
        ) as websocket,
    ):
        if options.latency:
            take = Latencies(options).take
            async for message in websocket:
                frame = message.data
                start = frame.find(SEPARATOR, 11, 160) + 9
                take(routes[frame[:start]](frame[start:-1]).trade_time)
        meter = Meter(options)
        count, mark = 0, meter.mark
        async for message in websocket:
            frame = message.data
            start = frame.find(SEPARATOR, 11, 160) + 9
            routes[frame[:start]](frame[start:-1])
            count += 1
            if count >= mark:
                mark = meter.reached(count)
                await asyncio.sleep(meter.rest_s())


uvloop.run(main())
