"""ccxt: ``watch_trades``, which hands over lists of its unified dicts.

The markets are given to it, so that it loads none. It keeps the last 1000 trades and hands over
what is new among them, so a burst would lose some: unless messages are paced, it may keep them all.
"""

import asyncio

import ccxt.pro
from meter import Meter, parse_options

options = parse_options()
exchange = ccxt.pro.binance(
    {
        "newUpdates": True,
        "options": {} if options.paced else {"tradesLimit": options.count},
        **({"cafile": options.ca} if options.ca else {}),
    }
)
exchange.urls["api"]["ws"]["spot"] = options.url + "/ws"
exchange.set_markets(
    [
        exchange.safe_market_structure(
            {
                "id": "BTCUSDT", "lowercaseId": "btcusdt", "symbol": "BTC/USDT", "base": "BTC",
                "quote": "USDT", "baseId": "BTC", "quoteId": "USDT", "type": "spot", "spot": True,
                "active": True, "precision": {"amount": 1e-5, "price": 0.01},
            }
        )
    ]
)  # fmt: skip


async def main() -> None:
    """Watch until the meter ends the process."""
    meter = Meter(options)
    count, mark = 0, meter.mark
    last = 0
    while True:
        for trade in await exchange.watch_trades("BTC/USDT"):
            number = int(trade["id"])
            if number > last:
                last = number
                count += 1
        if count >= mark:
            mark = meter.reached(count)


asyncio.run(main())
