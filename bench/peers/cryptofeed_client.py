"""cryptofeed: its trade objects with decimals, by callback; its trades are aggregate trades."""

from typing import Any

from cryptofeed import FeedHandler
from cryptofeed.connection import WebsocketEndpoint
from cryptofeed.defines import TRADES
from cryptofeed.exchanges import Binance
from cryptofeed.symbols import Symbols
from meter import Meter, parse_options

options = parse_options()
meter = Meter(options)
count, mark = 0, meter.mark


async def handle(_: Any, __: float) -> None:
    """For each trade."""
    global count, mark
    count += 1
    if count >= mark:
        mark = meter.reached(count)


Symbols.set(Binance.id, {"BTC-USDT": "BTCUSDT"}, {"tick_size": {}, "instrument_type": {}})
Binance.websocket_endpoints = [WebsocketEndpoint(options.url)]
handler = FeedHandler(config={"log": {"disabled": True}})
handler.add_feed(Binance(symbols=["BTC-USDT"], channels=[TRADES], callbacks={TRADES: handle}))
handler.run()
