"""binance-sdk-derivatives-trading-usds-futures, the exchange's own: one connection a route."""

import asyncio
import json
import sys
from typing import Any

from binance_common.configuration import ConfigurationWebSocketStreams
from binance_sdk_derivatives_trading_usds_futures import DerivativesTradingUsdsFutures

url, count = sys.argv[1].removesuffix("/stream"), int(sys.argv[2])


async def main() -> None:
    """Subscribe to both routes, and read until there is enough."""
    told: dict[str, list[Any]] = {"aggTrade": [], "depth@100ms": []}
    enough = asyncio.Event()

    def keep(stream: str, message: Any) -> None:
        told[stream].append(message.model_dump(by_alias=True))
        if all(len(of_stream) >= count for of_stream in told.values()):
            enough.set()

    configuration = ConfigurationWebSocketStreams(stream_url=url)
    client = DerivativesTradingUsdsFutures(config_ws_streams=configuration)
    streams = client.websocket_streams
    connection = await streams.create_connection()
    trades = await connection.aggregate_trade_streams(symbol="btcusdt")
    trades.on("message", lambda message: keep("aggTrade", message))
    book = await connection.diff_book_depth_streams(symbol="btcusdt", update_speed="100ms")
    book.on("message", lambda message: keep("depth@100ms", message))
    await enough.wait()
    print(json.dumps(told), flush=True)  # noqa: T201 - for whoever started it
    await streams.close_connection()


asyncio.run(main())
