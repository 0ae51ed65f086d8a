"""ccxt: trades and a book of its ``watch_`` methods, a connection a route, and REST for the book.

It keeps the book by the exchange's rule, and gives up on an update that does not go on after the
one before. The messages are taken where it handles them: what it hands over is made of them.
"""

import asyncio
import json
import sys
from typing import Any

import ccxt.pro

url, count, rest = sys.argv[1].removesuffix("/stream"), int(sys.argv[2]), sys.argv[3]
told: dict[str, list[Any]] = {"aggTrade": [], "depth@100ms": []}


class Exchange(ccxt.pro.binanceusdm):  # type: ignore[misc]
    """Keeps the updates that the book was made of."""

    def handle_order_book(self, client: Any, message: Any) -> None:
        """For each update."""
        told["depth@100ms"].append(message)
        super().handle_order_book(client, message)


exchange = Exchange({"newUpdates": True})
exchange.urls["api"]["ws"]["linear"] = url + "/ws"
exchange.urls["api"]["fapiPublic"] = rest + "/fapi/v1"
exchange.set_markets(
    [
        exchange.safe_market_structure(
            {
                "id": "BTCUSDT", "lowercaseId": "btcusdt", "symbol": "BTC/USDT:USDT",
                "base": "BTC", "quote": "USDT", "settle": "USDT", "baseId": "BTC",
                "quoteId": "USDT", "settleId": "USDT", "type": "swap", "spot": False,
                "swap": True, "contract": True, "linear": True, "inverse": False,
                "contractSize": 1, "active": True,
                "precision": {"amount": 1e-3, "price": 0.01},
            }
        )
    ]
)  # fmt: skip


async def trades() -> None:
    """Aggregates, on the one route."""
    while len(told["aggTrade"]) < count:
        found = await exchange.watch_trades("BTC/USDT:USDT", params={"name": "aggTrade"})
        told["aggTrade"] += [trade["info"] for trade in found]


async def book() -> None:
    """Updates, on the other one."""
    while len(told["depth@100ms"]) < count:
        await exchange.watch_order_book("BTC/USDT:USDT")


async def main() -> None:
    """Watch both until there is enough."""
    await asyncio.gather(trades(), book())
    print(json.dumps(told), flush=True)  # noqa: T201 - for whoever started it
    await exchange.close()


asyncio.run(main())
