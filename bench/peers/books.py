"""Order books of libraries, each behind the same few calls; run in the environment of its library.

    python books.py LIBRARY FILE

FILE is what ``book.py`` wrote: a snapshot and updates, as decoded JSON. Prints figures as JSON.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from pathlib import Path
from typing import Any

TOP = 20
"""Levels a side that a reader looks at."""

Rows = list[list[str]]


class K2trio:
    """Ours: exact, with the rule of ids, states and a look for crossed sides at each update."""

    def __init__(self, snapshot: dict[str, Any]) -> None:
        from k2trio import DepthSnapshot, Event, OrderBook

        self.book = OrderBook("btcusdt@depth")
        data = DepthSnapshot(snapshot["lastUpdateId"], *self._sides(snapshot, "bids", "asks"))
        self.book.apply(Event(data, "btcusdt@depth", "v", 1.0, b"", "snapshot"))

    @staticmethod
    def _sides(message: dict[str, Any], *names: str) -> list[Any]:
        import msgspec

        from k2trio import Level

        return [
            msgspec.json.decode(msgspec.json.encode(message[name]), type=list[Level])
            for name in names
        ]

    def prepare(self, update: dict[str, Any]) -> Any:
        """As a feed hands it out: what is read of it is the book's to pay for."""
        from k2trio.market.decoder import Decoder
        from k2trio.market.payloads import frame_of

        payload = json.dumps({"e": "depthUpdate", **update}, separators=(",", ":"))
        decoder = Decoder("v")
        decoder.expect(["btcusdt@depth"])
        ((event,), _) = decoder.decode([frame_of("btcusdt@depth", payload.encode())], 1.0)
        return event

    def apply(self, update: Any) -> None:
        self.book.apply(update)

    def top(self) -> tuple[Any, Any]:
        return self.book.bids(TOP), self.book.asks(TOP)

    def best(self) -> tuple[str, str]:
        bids, asks = self.top()
        return bids[0].price, asks[0].price


class Plain:
    """What the others have in common: messages as dictionaries."""

    def prepare(self, update: dict[str, Any]) -> Any:
        return update

    def best(self) -> tuple[Any, Any]:
        bids, asks = self.top()  # type: ignore[attr-defined]
        return bids[0][0], asks[0][0]


class OrderBook(Plain):
    """order-book, which cryptofeed uses; prices as Decimal, as cryptofeed has them."""

    def __init__(self, snapshot: dict[str, Any]) -> None:
        from decimal import Decimal

        from order_book import OrderBook as Book

        self.number = Decimal
        self.book = Book()
        for side, name in ((self.book.bids, "bids"), (self.book.asks, "asks")):
            for price, quantity in snapshot[name]:
                side[Decimal(price)] = Decimal(quantity)

    def apply(self, update: Any) -> None:
        number = self.number
        for side, name in ((self.book.bids, "b"), (self.book.asks, "a")):
            for price, quantity in update[name]:
                key, amount = number(price), number(quantity)
                if amount:
                    side[key] = amount
                elif key in side:
                    del side[key]

    def top(self) -> tuple[Any, Any]:
        bids, asks = self.book.bids, self.book.asks
        return [bids.index(n) for n in range(TOP)], [asks.index(n) for n in range(TOP)]


class SortedContainers(Plain):
    """A SortedDict a side, prices as Decimal: what one writes by hand."""

    def __init__(self, snapshot: dict[str, Any]) -> None:
        from decimal import Decimal

        from sortedcontainers import SortedDict

        self.number = Decimal
        self.sides = [
            SortedDict({Decimal(price): quantity for price, quantity in snapshot[name]})
            for name in ("bids", "asks")
        ]

    def apply(self, update: Any) -> None:
        number = self.number
        for side, name in zip(self.sides, ("b", "a"), strict=True):
            for price, quantity in update[name]:
                key = number(price)
                if number(quantity):
                    side[key] = quantity
                else:
                    side.pop(key, None)

    def top(self) -> tuple[Any, Any]:
        bids, asks = self.sides
        return bids.items()[: -TOP - 1 : -1], asks.items()[:TOP]


class PythonBinance(Plain):
    """python-binance's DepthCache, prices as float by default; it sorts when it is read."""

    def __init__(self, snapshot: dict[str, Any]) -> None:
        from binance.ws.depthcache import DepthCache

        self.book = DepthCache("BTCUSDT")
        for bid in snapshot["bids"]:
            self.book.add_bid(bid)
        for ask in snapshot["asks"]:
            self.book.add_ask(ask)

    def apply(self, update: Any) -> None:
        for bid in update["b"]:
            self.book.add_bid(bid)
        for ask in update["a"]:
            self.book.add_ask(ask)

    def top(self) -> tuple[Any, Any]:
        return self.book.get_bids()[:TOP], self.book.get_asks()[:TOP]


class Ccxt(Plain):
    """ccxt's OrderBook: floats in sorted lists."""

    def __init__(self, snapshot: dict[str, Any]) -> None:
        from ccxt.async_support.base.ws.order_book import OrderBook as Book

        rows = {
            name: [[float(number) for number in row] for row in snapshot[name]]
            for name in ("bids", "asks")
        }
        self.book = Book(rows)

    def apply(self, update: Any) -> None:
        bids, asks = self.book["bids"], self.book["asks"]
        for price, quantity in update["b"]:
            bids.storeArray([float(price), float(quantity)])
        for price, quantity in update["a"]:
            asks.storeArray([float(price), float(quantity)])

    def top(self) -> tuple[Any, Any]:
        return self.book["bids"][:TOP], self.book["asks"][:TOP]


class Unicorn(Plain):
    """unicorn-binance-local-depth-cache's updates and reads, without its threads and streams."""

    def __init__(self, snapshot: dict[str, Any]) -> None:
        import threading

        from unicorn_binance_local_depth_cache.manager import BinanceLocalDepthCacheManager

        book = self.book = BinanceLocalDepthCacheManager.__new__(BinanceLocalDepthCacheManager)
        book.depth_caches = {"btcusdt": {"bids": {}, "asks": {}}}
        book.threading_lock_ask = {"btcusdt": threading.Lock()}
        book.threading_lock_bid = {"btcusdt": threading.Lock()}
        self.apply({"b": snapshot["bids"], "a": snapshot["asks"]})

    def apply(self, update: Any) -> None:
        for bid in update["b"]:
            if float(bid[1]) or bid[0] in self.book.depth_caches["btcusdt"]["bids"]:
                self.book._add_bid(bid, market="btcusdt")  # noqa: SLF001 - what its own thread calls
        for ask in update["a"]:
            if float(ask[1]) or ask[0] in self.book.depth_caches["btcusdt"]["asks"]:
                self.book._add_ask(ask, market="btcusdt")  # noqa: SLF001 - what its own thread calls

    def top(self) -> tuple[Any, Any]:
        select = self.book._select_from_depthcache  # noqa: SLF001 - what it reads by
        sides = self.book.depth_caches["btcusdt"]
        return (
            select(items=sides["bids"], limit_count=TOP, reverse=True),
            select(items=sides["asks"], limit_count=TOP, reverse=False),
        )


LIBRARIES = {
    "k2trio": K2trio,
    "order-book": OrderBook,
    "sortedcontainers": SortedContainers,
    "python-binance": PythonBinance,
    "ccxt": Ccxt,
    "unicorn-binance-local-depth-cache": Unicorn,
}


def timed(book: Any, updates: list[Any], read_every: int) -> float:
    """Microseconds of CPU time an update; the top is read after every so many, 0: never."""
    begun = time.process_time()
    for number, update in enumerate(updates, 1):
        book.apply(update)
        if read_every and number % read_every == 0:
            book.top()
    return (time.process_time() - begun) / len(updates) * 1e6


def main() -> None:
    """Measure one library."""
    library = LIBRARIES[sys.argv[1]]
    data = json.loads(Path(sys.argv[2]).read_text())
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    kept = [library(data["snapshot"]) for _ in range(20)]
    memory_kb = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / len(kept)
    book = library(data["snapshot"])
    third = len(data["updates"]) // 3
    parts = [
        [book.prepare(update) for update in data["updates"][third * n : third * (n + 1)]]
        for n in range(3)
    ]
    timed(book, parts[0], 100)  # warms up
    update_us = timed(book, parts[1], 0)
    both_us = timed(book, parts[2], 1)
    begun = time.process_time()
    reads = 200
    for _ in range(reads):
        book.top()
    read_us = (time.process_time() - begun) / reads * 1e6
    bid, ask = book.best()
    print(
        json.dumps(
            {"update_us": update_us, "both_us": both_us, "read_us": read_us,
             "memory_kb": memory_kb, "best": [float(bid), float(ask)]}
        )
    )  # fmt: skip


if __name__ == "__main__":
    main()
