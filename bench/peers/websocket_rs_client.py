"""websocket-rs, with a typed decoder behind it.

Variants: ``sync`` (blocking calls) and ``native`` (asyncio on uvloop, by callback).
"""

import asyncio

import uvloop
from meter import Latencies, Meter, parse_options
from payloads import SEPARATOR, TEXT_SEPARATOR, make_routes
from websocket_rs import native_client
from websocket_rs.sync.client import connect

options = parse_options()
routes = make_routes(options.streams)


def blocking() -> None:
    """Read until the meter ends the process."""
    with connect(options.stream_url) as websocket:
        if options.latency:
            take = Latencies(options).take
            while True:
                frame = websocket.recv()
                start = frame.find(TEXT_SEPARATOR, 11, 160) + 9
                take(routes[frame[:start]](frame[start:-1]).trade_time)
        meter = Meter(options)
        count, mark = 0, meter.mark
        while True:
            frame = websocket.recv()
            start = frame.find(TEXT_SEPARATOR, 11, 160) + 9
            routes[frame[:start]](frame[start:-1])
            count += 1
            if count >= mark:
                mark = meter.reached(count)


async def native() -> None:
    """The same by callback."""
    take = Latencies(options).take if options.latency else None
    meter = None if options.latency else Meter(options)
    count, mark = 0, 0 if meter is None else meter.mark

    def count_one(message: native_client.WSMessage) -> None:
        nonlocal count, mark
        frame = bytes(message)
        start = frame.find(SEPARATOR, 11, 160) + 9
        routes[frame[:start]](frame[start:-1])
        count += 1
        if count >= mark:
            mark = meter.reached(count)

    def time_one(message: native_client.WSMessage) -> None:
        frame = bytes(message)
        start = frame.find(SEPARATOR, 11, 160) + 9
        take(routes[frame[:start]](frame[start:-1]).trade_time)

    await native_client.connect(
        options.stream_url,
        ssl_context=options.ssl_context(),
        on_message=time_one if options.latency else count_one,
    )
    await asyncio.Event().wait()


if options.variant == "native":
    uvloop.run(native())
else:
    blocking()
