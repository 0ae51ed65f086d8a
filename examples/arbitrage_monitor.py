"""Arbitrage monitor: what buying at one venue and selling at another would bring, after fees.

Two feeds, one a venue, each with an order book of its own. A quantity is bought from the asks of
the one and sold into the bids of the other, as deep as it goes. Only books that are live are
compared: one that lacks updates, or whose connection is away, is none to trade on.

    python examples/arbitrage_monitor.py --seconds 20 --symbol LTCUSDT --quantity 0.001 --fee 0.5
    python examples/arbitrage_monitor.py --symbol BTCUSDT --fee 10 \\
        wss://stream.binance.com:9443/stream wss://stream.binance.us:9443/stream

Needs nothing but k2trio. Without URLs it starts two simulated exchanges with the same market, of
which one is a moment ahead of the other.
"""

from __future__ import annotations

from contextlib import ExitStack
from decimal import Decimal
from itertools import permutations

import trio
from exchange import options, simulator

import k2trio
from k2trio import streams


class Monitor:
    def __init__(self, quantity: Decimal, fee: Decimal) -> None:
        self.quantity, self.fee = quantity, fee
        self.books: list[k2trio.OrderBook] = []
        self.best: dict[tuple[str | None, str | None], Decimal] = {}  # opportunities that are open
        self.found = 0

    def profit(self, here: k2trio.OrderBook, there: k2trio.OrderBook) -> Decimal | None:
        """Of buying here and selling there, in the quote asset; None if that cannot be said."""
        if any(book.state is not k2trio.BookState.LIVE for book in (here, there)):
            return None
        bought, sold = here.buy(self.quantity), there.sell(self.quantity)
        if not (bought.complete and sold.complete):
            return None
        return sold.cost * (1 - self.fee) - bought.cost * (1 + self.fee)

    def look(self) -> None:
        """Tell of each opportunity when it begins, and when it is over."""
        for here, there in permutations(self.books, 2):
            way, profit = (here.venue, there.venue), self.profit(here, there)
            if profit is not None and profit > 0:
                if way not in self.best:
                    self.found += 1
                    print(f"buy at {here.venue}, sell at {there.venue}: +{profit:.10f}")
                    print(f"  by updates {here.last_update_id} and {there.last_update_id}")
                self.best[way] = max(profit, self.best.get(way, profit))
            elif way in self.best:
                why = "a book is not live" if profit is None else "prices met"
                print(f"  over, {why}; at best +{self.best.pop(way):.10f}", flush=True)

    async def follow(self, symbol: str, settings: k2trio.Settings) -> None:
        async with k2trio.open_feed([streams.depth(symbol, "100ms")], settings) as feed:
            books = k2trio.books(feed)
            self.books.append(books[symbol])
            async for _ in books:
                self.look()


def settings_of(urls: list[str], symbol: str, stack: ExitStack) -> list[k2trio.Settings]:
    """Settings of each venue, with no endpoint to fail over to: that could be the other one."""
    if urls:
        return [k2trio.load_settings(websocket_url=url, failover_urls=[]) for url in urls]
    found: list[k2trio.Settings] = []
    for host in ("127.0.0.1", "localhost"):  # a venue that is not known is called by its host
        served = stack.enter_context(simulator("--symbols", symbol, "--rate", "20"))
        websocket, rest = (served[name].replace("127.0.0.1", host) for name in ("a", "rest"))
        found.append(k2trio.load_settings(
            websocket_url=websocket, failover_urls=[], rest_urls=[rest], shared_budget="off"
        ))  # fmt: skip
    return found


async def main(
    seconds: float, symbol: str, monitor: Monitor, venues: list[k2trio.Settings]
) -> None:
    with trio.move_on_after(seconds):
        async with trio.open_nursery() as nursery:
            for settings in venues:
                nursery.start_soon(monitor.follow, symbol, settings)
    print(f"{monitor.found} opportunities in {seconds:g} s")


if __name__ == "__main__":
    parser = options(__doc__, seconds=20)
    parser.add_argument("urls", nargs="*", help="endpoints, one a venue")
    parser.add_argument("--symbol", default="LTCUSDT")
    parser.add_argument("--quantity", type=Decimal, default=Decimal("0.001"))
    parser.add_argument("--fee", type=Decimal, default=Decimal("0.5"), help="basis points")
    given = parser.parse_args()
    monitor = Monitor(given.quantity, given.fee / 10_000)
    with ExitStack() as stack:
        venues = settings_of(given.urls, given.symbol, stack)
        trio.run(main, given.seconds, given.symbol, monitor, venues)
