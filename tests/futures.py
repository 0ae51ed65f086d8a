"""A small exchange of USD-M futures in memory: two routes, and silence on the wrong one."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import httpx2
import trio
import wsproto
from wsproto.events import AcceptConnection, Ping, Pong, Request, TextMessage

from k2trio.market.streams import parse_stream
from k2trio.simulator import memory_pair

if TYPE_CHECKING:
    from k2trio.policy.failover import Endpoint

START_MS = 1_767_225_600_000
HOST = "wss://futures.test/stream"
VENUE = "futures.test-usdm"

Teller = Callable[[str, int, int], dict[str, Any]]
"""Makes a payload of symbol, number of the message (from 1 on) and time in milliseconds."""


def agg_trade(symbol: str, n: int, ms: int) -> dict[str, Any]:
    """Of which trades are left out, as those of liquidations are."""
    price = {"p": "100.1", "q": "2", "nq": "1"}
    keys = {"a": n, "f": 3 * n, "l": 3 * n + n % 3}
    return {"e": "aggTrade", "E": ms, "s": symbol, **keys, **price, "T": ms, "m": True}


def depth(symbol: str, n: int, ms: int) -> dict[str, Any]:
    """Of which each goes on after the one before, with ids of others in between."""
    ids = {"U": 1000 * n + 7, "u": 1000 * n + 9, "pu": 1000 * (n - 1) + 9}
    levels = {"b": [[f"{100 + n % 5}.5", str(n)]], "a": [["200.5", str(n)]]}
    return {"e": "depthUpdate", "E": ms, "T": ms, "s": symbol, **ids, **levels}


def mark_price(symbol: str, _n: int, ms: int) -> dict[str, Any]:
    prices = {"p": "100.12345678", "i": "100.1", "P": "100.2", "r": "", "T": 0}
    return {"e": "markPriceUpdate", "E": ms, "s": symbol, **prices}


TELLERS: dict[str, Teller] = {
    "aggTrade": agg_trade,
    "depth@100ms": depth,
    "markPrice@1s": mark_price,
}


@dataclass
class Futures:
    """The exchange; each stream has a message a second, whoever hears it.

    :ivar moved: streams that come on another route than the documents say.
    :ivar lost: (stream, number) of messages that no connection brings.
    :ivar targets: of upgrades.
    :ivar asked: of REST: path and query.
    """

    nursery: trio.Nursery
    moved: dict[str, str] = field(default_factory=dict)
    lost: set[tuple[str, int]] = field(default_factory=set)
    targets: list[str] = field(default_factory=list)
    asked: list[tuple[str, dict[str, str]]] = field(default_factory=list)

    def ms(self) -> int:
        """Unix time; milliseconds."""
        return START_MS + round(trio.current_time() * 1000)

    def number(self) -> int:
        """Of the newest message of each stream."""
        return int(trio.current_time())

    def payload(self, stream: str, n: int) -> dict[str, Any]:
        """The message of a stream with a number."""
        symbol, _, suffix = stream.partition("@")
        return TELLERS[suffix](symbol.upper(), n, START_MS + 1000 * n)

    async def dial(self, _endpoint: Endpoint) -> trio.abc.Stream:
        """See :class:`~k2trio.wire.dialer.Dialer`."""
        await trio.lowlevel.checkpoint()
        ours, theirs = memory_pair()
        self.nursery.start_soon(self.serve, theirs)
        return ours

    async def serve(self, stream: trio.abc.Stream) -> None:
        """Serve a connection until it ends."""
        async with trio.open_nursery() as nursery:
            await self._heed(stream, nursery)
            nursery.cancel_scope.cancel()

    async def _heed(self, stream: trio.abc.Stream, nursery: trio.Nursery) -> None:
        """Do what a client asks for, until it is gone."""
        connection = wsproto.WSConnection(wsproto.ConnectionType.SERVER)
        subscribed: set[str] = set()
        while True:
            try:
                data = bytes(await stream.receive_some())
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                return
            if not data:
                return
            connection.receive_data(data)
            for event in connection.events():
                answers: list[Any] = []
                if isinstance(event, Request):
                    target = unquote(event.target)
                    self.targets.append(target)
                    path, _, query = target.partition("?")
                    route = path.removesuffix("/stream").strip("/")
                    subscribed.update(filter(None, query.removeprefix("streams=").split("/")))
                    answers.append(AcceptConnection())
                    nursery.start_soon(self._tell, stream, connection, route, subscribed)
                elif isinstance(event, Ping):
                    answers.append(event.response())
                elif isinstance(event, TextMessage):
                    asked = json.loads(event.data)
                    names = set(asked.get("params", ()))
                    subscribed |= names if asked["method"] == "SUBSCRIBE" else set()
                    subscribed -= names if asked["method"] == "UNSUBSCRIBE" else set()
                    answers.append(TextMessage(json.dumps({"result": None, "id": asked["id"]})))
                elif not isinstance(event, Pong):
                    return  # a goodbye
                for answer in answers:
                    await stream.send_all(connection.send(answer))

    async def _tell(
        self,
        stream: trio.abc.Stream,
        connection: wsproto.WSConnection,
        route: str,
        subscribed: set[str],
    ) -> None:
        while True:
            await trio.sleep_until(self.number() + 1)
            n = self.number()
            for name in sorted(subscribed):
                if self.moved.get(name, parse_stream(name, "usdm").route) != route:
                    continue  # taken, and silent
                if (name, n) not in self.lost:
                    text = json.dumps({"stream": name, "data": self.payload(name, n)})
                    try:
                        await stream.send_all(connection.send(TextMessage(text)))
                    except (trio.BrokenResourceError, trio.ClosedResourceError):
                        return

    def answer(self, request: httpx2.Request) -> httpx2.Response:
        """What REST says."""
        query = dict(request.url.params)
        self.asked.append((request.url.path, query))
        symbol = query.get("symbol", "")
        match request.url.path:
            case "/fapi/v1/aggTrades":
                first = int(query.get("fromId", self.number()))
                until = min(self.number(), first + int(query["limit"]) - 1)
                rows = [self.payload(f"{symbol}@aggTrade", n) for n in range(first, until + 1)]
                return httpx2.Response(200, json=[{k: row[k] for k in "apqflTm"} for row in rows])
            case "/fapi/v1/depth":
                row = self.payload(f"{symbol}@depth@100ms", self.number())
                book = {"lastUpdateId": row["u"], "E": self.ms(), "T": self.ms()}
                return httpx2.Response(200, json={**book, "bids": row["b"], "asks": row["a"]})
            case "/fapi/v1/trades":
                row = {"id": self.number(), "price": "1", "qty": "1", "quoteQty": "1"}
                return httpx2.Response(200, json=[{**row, "time": self.ms(), "isBuyerMaker": True}])
            case _:
                return httpx2.Response(404)
