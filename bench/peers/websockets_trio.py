"""websockets, its trio client, with a typed decoder behind it; payloads taken as bytes."""

import trio
from meter import Meter, parse_options
from payloads import SEPARATOR, make_routes
from websockets.trio.client import connect

options = parse_options()


async def main() -> None:
    """Connect and read until the meter ends the process."""
    routes = make_routes(options.streams)
    async with connect(options.stream_url, ssl=options.ssl_context()) as websocket:
        meter = Meter(options)
        count, mark = 0, meter.mark
        while True:
            frame = await websocket.recv(decode=False)
            start = frame.find(SEPARATOR, 11, 160) + 9
            routes[frame[:start]](frame[start:-1])
            count += 1
            if count >= mark:
                mark = meter.reached(count)
                await trio.sleep(meter.rest_s())


trio.run(main)
