"""binance-sdk-spot, the exchange's own: models of pydantic by callback."""

import asyncio
from typing import Any

from binance_sdk_spot.spot import ConfigurationWebSocketStreams, Spot
from meter import Meter, parse_options

options = parse_options()
meter = Meter(options)
count, mark = 0, meter.mark


def handle(_: Any) -> None:
    """For each message."""
    global count, mark
    count += 1
    if count >= mark:
        mark = meter.reached(count)


async def main() -> None:
    """Subscribe, then let the callbacks run until the meter ends the process."""
    configuration = ConfigurationWebSocketStreams(
        stream_url=options.url, https_agent=options.ssl_context()
    )
    client = Spot(config_ws_streams=configuration)
    connection = await client.websocket_streams.create_connection()
    for name in options.streams:
        symbol, _, kind = name.partition("@")
        match kind:
            case "trade":
                stream = await connection.trade(symbol=symbol)
            case "aggTrade":
                stream = await connection.agg_trade(symbol=symbol)
            case "bookTicker":
                stream = await connection.book_ticker(symbol=symbol)
            case "depth@100ms":
                stream = await connection.diff_book_depth(symbol=symbol, update_speed="100ms")
            case _:
                stream = await connection.kline(symbol=symbol, interval="1m")
        stream.on("message", handle)
    await asyncio.Event().wait()


asyncio.run(main())
