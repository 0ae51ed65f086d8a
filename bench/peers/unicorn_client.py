"""unicorn-binance-websocket-api: dicts by callback, in the manager's thread.

Variants: ``websockets`` (the default below it) and ``picows``.
"""

import time
from typing import Any

from meter import Meter, parse_options
from unicorn_binance_websocket_api import BinanceWebSocketApiManager

options = parse_options()
meter = Meter(options)
count, mark = 0, meter.mark


def handle(_: Any) -> None:
    """For each message."""
    global count, mark
    count += 1
    if count >= mark:
        mark = meter.reached(count)


manager = BinanceWebSocketApiManager(
    exchange="binance.com",
    websocket_base_uri=options.url + "/",
    output_default="dict",
    warn_on_update=False,
    process_stream_data=handle,
    websocket_library=options.variant,
)
channels = sorted({name.partition("@")[2] for name in options.streams})
markets = sorted({name.partition("@")[0] for name in options.streams})
manager.create_stream(channels, markets)
while True:
    time.sleep(1)
