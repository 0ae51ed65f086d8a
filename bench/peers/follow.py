"""Followers: what a user of each library writes to stay connected, one function each.

Every message is printed with its trade ids and the time at which the user had it; the benchmark
breaks the connection meanwhile. Libraries that reconnect by themselves do it their way, with their
defaults. For those that do not, the loop is the plain one: dial again at once, and after a failed
dial every 50 ms.

    python follow.py --variant NAME --url URL --ca FILE
"""

# Each library is imported where it is used: every one lives in an environment of its own.

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import ssl
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

STREAM = "btcusdt@trade"
REDIAL_S = 0.05


def arrived(first: int, last: int) -> None:
    """The user has these trades."""
    os.write(1, b"%d %d %d\n" % (first, last, time.perf_counter_ns()))


def flowing() -> None:
    """The library has received the first message of a new connection."""
    os.write(1, b"flowing %d\n" % time.perf_counter_ns())


def take_frame(frame: str | bytes) -> None:
    """A combined frame, for libraries that decode nothing."""
    text = frame if isinstance(frame, bytes) else frame.encode()
    start = text.index(b'"t":') + 4
    number = int(text[start : text.index(b",", start)])
    arrived(number, number)


def take_dict(message: dict[str, Any]) -> None:
    """A trade as a dict; error messages of the library are not of interest here."""
    number = message.get("data", {}).get("t")
    if number is not None:
        arrived(number, number)


def aiohttp_loop() -> None:
    """aiohttp, on uvloop."""
    import aiohttp
    import uvloop

    async def main() -> None:
        async with aiohttp.ClientSession() as session:
            while True:
                try:
                    async with session.ws_connect(URL, ssl=context()) as websocket:
                        async for message in websocket:
                            take_frame(message.data)
                except aiohttp.ClientError:
                    await asyncio.sleep(REDIAL_S)

    uvloop.run(main())


def picows_loop() -> None:
    """picows, on uvloop."""
    import uvloop
    from picows import WSError, WSListener, WSMsgType, ws_connect

    class Take(WSListener):
        def on_ws_frame(self, transport: Any, frame: Any) -> None:
            if frame.msg_type == WSMsgType.TEXT:
                take_frame(frame.get_payload_as_bytes())
            elif frame.msg_type == WSMsgType.CLOSE:
                transport.send_close(frame.get_close_code())
                transport.disconnect()

    async def main() -> None:
        while True:
            try:
                transport, _ = await ws_connect(Take, URL, ssl_context=context())
                await transport.wait_disconnected()
            except (OSError, WSError, TimeoutError):
                await asyncio.sleep(REDIAL_S)

    uvloop.run(main())


def websockets_loop() -> None:
    """websockets with its reconnecting iterator."""
    from websockets.asyncio.client import connect
    from websockets.exceptions import ConnectionClosed

    async def main() -> None:
        async for websocket in connect(URL, ssl=context()):
            try:
                async for frame in websocket:
                    take_frame(frame)
            except ConnectionClosed:
                continue

    asyncio.run(main())


def websocket_rs_loop() -> None:
    """websocket-rs, blocking."""
    from websocket_rs.sync.client import connect

    errors = (OSError, RuntimeError)
    while True:
        try:
            websocket = connect(URL)
        except errors:
            time.sleep(REDIAL_S)
            continue
        with contextlib.suppress(*errors):
            while True:
                take_frame(websocket.recv())


def trio_websocket_loop() -> None:
    """trio-websocket."""
    import trio
    from trio_websocket import ConnectionClosed, HandshakeError, open_websocket_url

    async def main() -> None:
        while True:
            try:
                async with open_websocket_url(URL, context()) as websocket:
                    while True:
                        take_frame(await websocket.get_message())
            except* ConnectionClosed:
                pass
            except* (HandshakeError, OSError, trio.BrokenResourceError):
                await trio.sleep(REDIAL_S)

    trio.run(main)


def python_binance() -> None:
    """python-binance, which reconnects."""
    from binance import AsyncClient, BinanceSocketManager

    async def main() -> None:
        manager = BinanceSocketManager(AsyncClient())
        manager.STREAM_URL = BASE + "/"
        async with manager.multiplex_socket([STREAM]) as socket:
            while True:
                take_dict(await socket.recv())

    asyncio.run(main())


def unicorn() -> None:
    """unicorn-binance-websocket-api, which reconnects."""
    from unicorn_binance_websocket_api import BinanceWebSocketApiManager

    manager = BinanceWebSocketApiManager(
        exchange="binance.com",
        websocket_base_uri=BASE + "/",
        output_default="dict",
        warn_on_update=False,
        process_stream_data=take_dict,
    )
    manager.create_stream(["trade"], ["btcusdt"])
    while True:
        time.sleep(1)


def binance_sdk() -> None:
    """binance-sdk-spot, which reconnects."""
    from binance_sdk_spot.spot import ConfigurationWebSocketStreams, Spot

    async def main() -> None:
        configuration = ConfigurationWebSocketStreams(stream_url=BASE, https_agent=context())
        connection = await Spot(
            config_ws_streams=configuration
        ).websocket_streams.create_connection()
        stream = await connection.trade(symbol="btcusdt")
        stream.on("message", lambda trade: arrived(trade.t, trade.t))
        await asyncio.Event().wait()

    asyncio.run(main())


def ccxt() -> None:
    """ccxt: after an error the user calls again."""
    import ccxt.pro

    exchange = ccxt.pro.binance({"newUpdates": True, "cafile": CA})
    exchange.urls["api"]["ws"]["spot"] = BASE + "/ws"
    market = {
        "id": "BTCUSDT", "lowercaseId": "btcusdt", "symbol": "BTC/USDT", "base": "BTC",
        "quote": "USDT", "baseId": "BTC", "quoteId": "USDT", "type": "spot", "spot": True,
        "active": True, "precision": {"amount": 1e-5, "price": 0.01},
    }  # fmt: skip
    exchange.set_markets([exchange.safe_market_structure(market)])

    async def main() -> None:
        pause_s = 0.0
        while True:
            try:
                trades = await exchange.watch_trades("BTC/USDT")
            except ccxt.NetworkError:
                await asyncio.sleep(pause_s)
                pause_s = REDIAL_S
                continue
            pause_s = 0.0
            for trade in trades:
                arrived(int(trade["id"]), int(trade["id"]))

    asyncio.run(main())


def cryptofeed() -> None:
    """cryptofeed, which reconnects; its trades are aggregate trades."""
    from cryptofeed import FeedHandler
    from cryptofeed.connection import WebsocketEndpoint
    from cryptofeed.defines import TRADES
    from cryptofeed.exchanges import Binance
    from cryptofeed.symbols import Symbols

    async def take(trade: Any, _: float) -> None:
        arrived(trade.raw["f"], trade.raw["l"])

    Symbols.set(Binance.id, {"BTC-USDT": "BTCUSDT"}, {"tick_size": {}, "instrument_type": {}})
    Binance.websocket_endpoints = [WebsocketEndpoint(BASE)]
    handler = FeedHandler(config={"log": {"disabled": True}})
    handler.add_feed(Binance(symbols=["BTC-USDT"], channels=[TRADES], callbacks={TRADES: take}))
    handler.run()


def k2trio(**settings: Any) -> None:
    """k2trio with its second endpoint and REST, as everyone has them."""
    import trio

    from k2trio import Event, Settings, open_feed
    from k2trio.observe.transitions import Flowing

    def observe(transition: object) -> None:
        if isinstance(transition, Flowing):
            flowing()

    async def main() -> None:
        given = Settings(
            websocket_url=f"{BASE}/stream",
            failover_urls=tuple(f"{url}/stream" for url in OPTIONS.failover),
            rest_urls=tuple(OPTIONS.rest),
            streams=(STREAM,),
            ca_file=CA,
            stable_after=0.2,  # by default 5 s; so that trials may follow each other soon
            **settings,
        )
        async with open_feed(settings=given, observers=[observe]) as feed:
            async for item in feed:
                if isinstance(item, Event):
                    arrived(item.data.trade_id, item.data.trade_id)

    trio.run(main)


FOLLOWERS: dict[str, Callable[[], None]] = {
    "aiohttp": aiohttp_loop,
    "binance-sdk-spot": binance_sdk,
    "ccxt": ccxt,
    "cryptofeed": cryptofeed,
    "k2trio": k2trio,
    "k2trio two lines": lambda: k2trio(redundancy=2),
    "k2trio 1 s limit": lambda: k2trio(transport_timeout=1.0),
    "picows": picows_loop,
    "python-binance": python_binance,
    "trio-websocket": trio_websocket_loop,
    "unicorn": unicorn,
    "websocket-rs": websocket_rs_loop,
    "websockets": websockets_loop,
}


def context() -> ssl.SSLContext:
    """The usual verification, with the server's authority."""
    return ssl.create_default_context(cafile=CA)


if __name__ == "__main__":
    PARSER = argparse.ArgumentParser()
    PARSER.add_argument("--variant", choices=FOLLOWERS, required=True)
    PARSER.add_argument("--url", required=True)
    PARSER.add_argument("--failover", nargs="*", default=[])
    PARSER.add_argument("--rest", nargs="*", default=[])
    PARSER.add_argument("--ca", required=True)
    OPTIONS = PARSER.parse_args()
    BASE, CA = OPTIONS.url, OPTIONS.ca
    URL = f"{BASE}/stream?streams={STREAM}"
    FOLLOWERS[OPTIONS.variant]()
