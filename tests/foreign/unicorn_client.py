"""unicorn-binance-websocket-api: a stream of its manager a route, which it resolves by itself."""

import json
import sys
import threading
from typing import Any

from unicorn_binance_websocket_api import BinanceWebSocketApiManager

url, count = sys.argv[1].removesuffix("/stream"), int(sys.argv[2])
told: dict[str, list[Any]] = {"aggTrade": [], "depth@100ms": []}
enough = threading.Event()


def handle(message: dict[str, Any]) -> None:
    """For each message."""
    if "data" in message:
        told[message["stream"].partition("@")[2]].append(message["data"])
        if all(len(of_stream) >= count for of_stream in told.values()):
            enough.set()


manager = BinanceWebSocketApiManager(
    exchange="binance.com-futures",
    websocket_base_uri=url + "/",
    output_default="dict",
    warn_on_update=False,
    process_stream_data=handle,
)
for channel in told:
    manager.create_stream([channel], ["btcusdt"])
enough.wait()
print(json.dumps(told), flush=True)  # noqa: T201 - for whoever started it
manager.stop_manager()
