"""trio-websocket as its documentation shows it, with a typed decoder behind it."""

import trio
from meter import Latencies, Meter, parse_options
from payloads import TEXT_SEPARATOR, make_routes
from trio_websocket import open_websocket_url

options = parse_options()


async def main() -> None:
    """Connect and read until the meter ends the process."""
    routes = make_routes(options.streams)
    async with open_websocket_url(options.stream_url, options.ssl_context()) as websocket:
        if options.latency:
            take = Latencies(options).take
            while True:
                frame = await websocket.get_message()
                start = frame.find(TEXT_SEPARATOR, 11, 160) + 9
                take(routes[frame[:start]](frame[start:-1]).trade_time)
        meter = Meter(options)
        count, mark = 0, meter.mark
        while True:
            frame = await websocket.get_message()
            start = frame.find(TEXT_SEPARATOR, 11, 160) + 9
            routes[frame[:start]](frame[start:-1])
            count += 1
            if count >= mark:
                mark = meter.reached(count)
                await trio.sleep(meter.rest_s())


trio.run(main)
