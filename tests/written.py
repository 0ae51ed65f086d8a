"""Frames as the exchange writes them, of every kind that the compiled core has a layout of."""

from __future__ import annotations

import itertools
import json
import random
from typing import TYPE_CHECKING, Any

import pytest

from k2trio.compiled import core
from k2trio.market.payloads import frame_of

if TYPE_CHECKING:
    from collections.abc import Iterator

needs_core = pytest.mark.skipif(core is None, reason="the compiled core was not built")

STREAMS = (
    "btcusdt@trade",
    "ethusdt@trade",
    "btcusdt@aggTrade",
    "btcusdt@bookTicker",
    "btcusdt@depth@100ms",
    "btcusdt@depth20@100ms",
    "btcusdt@kline_1m",
    "币安人生usdt@trade",
    "btcusdt@avgPrice",  # of which there is no layout
)
FUTURES = (
    "btcusdt@aggTrade",
    "btcusdt@bookTicker",
    "btcusdt@depth@100ms",
    "btcusdt@kline_1m",
    "btcusdt@markPrice",  # of which there is no layout
)
VENUE, FUTURES_VENUE = "venue", "binance.com-usdm"
FIRST_TIME_MS = 1_790_000_000_000


def decimal(rng: random.Random) -> str:
    return f"{rng.randrange(10**6)}.{rng.randrange(10**8):08d}"


def levels(rng: random.Random) -> list[list[str]]:
    return [[decimal(rng), decimal(rng)] for _ in range(rng.choice((0, 1, 2, 20)))]


def bar(rng: random.Random, number: int, time: int) -> dict[str, Any]:
    traded = rng.random() < 0.5
    texts = {key: decimal(rng) for key in "ochlv"}
    more = {key: decimal(rng) for key in "qVQ"}
    ids = {"f": number if traded else -1, "L": number + 3 if traded else -1}
    begin = time - time % 60_000
    named = {"s": "BTCUSDT", "i": "1m"}
    ends = {"n": 4 if traded else 0, "x": False}
    return {"t": begin, "T": begin + 59_999, **named, **ids, **texts, **ends, **more, "B": "0"}


def payload(kind: str, symbol: str, number: int, rng: random.Random) -> dict[str, Any]:
    """The message with that number of its stream."""
    time = FIRST_TIME_MS + 10 * number
    named = {"E": time + rng.randrange(3), "s": symbol}
    price = {"p": decimal(rng), "q": decimal(rng)}
    made = {"T": time, "m": rng.random() < 0.5, "M": True}
    match kind:
        case "trade":
            return {"e": "trade", **named, "t": number, **price, **made}
        case "aggTrade":
            trades = {"f": 2 * number, "l": 2 * number + 1}
            return {"e": "aggTrade", **named, "a": number, **price, **trades, **made}
        case "bookTicker":
            sides = {key: decimal(rng) for key in "bBaA"}
            return {"u": number, "s": symbol, **sides}
        case "depth@100ms":
            ids = {"U": 3 * number, "u": 3 * number + 2}
            return {"e": "depthUpdate", **named, **ids, "b": levels(rng), "a": levels(rng)}
        case "depth20@100ms":
            return {"lastUpdateId": number, "bids": levels(rng), "asks": levels(rng)}
        case "kline_1m":
            return {"e": "kline", **named, "k": bar(rng, number, time)}
        case _:
            return {"e": "avgPrice", **named, "i": "5m", "w": decimal(rng), "T": time}


def payload_of_futures(kind: str, symbol: str, number: int, rng: random.Random) -> dict[str, Any]:
    """The same where futures are traded."""
    said = payload(kind, symbol, number, rng)
    time = FIRST_TIME_MS + 10 * number
    match kind:
        case "aggTrade":
            shown = {"nq": decimal(rng)}
            parts = [said, shown, said]
            keys = [("e", "E", "s", "a", "p", "q"), ("nq",), ("f", "l", "T", "m")]
            return {key: part[key] for part, of in zip(parts, keys, strict=True) for key in of}
        case "bookTicker":
            return {"e": "bookTicker", **said, "T": time, "E": time + 1}
        case "depth@100ms":
            head = {"e": said["e"], "E": said["E"], "T": time, "s": symbol}
            ids = {"U": 5 * number, "u": 5 * number + 2, "pu": 5 * number - 3}
            return {**head, **ids, "b": said["b"], "a": said["a"]}
        case "markPrice":
            prices = {key: decimal(rng) for key in "piP"}
            return {"e": "markPriceUpdate", "E": time, "s": symbol, **prices, "r": "0.1", "T": time}
        case _:
            return said


def frames(seed: int, streams: tuple[str, ...] = STREAMS) -> Iterator[bytes]:
    """Frames without end, each the next one of its stream."""
    write = payload_of_futures if streams is FUTURES else payload
    rng = random.Random(seed)
    numbers = {stream: itertools.count(rng.choice((1, 10**6, 10**12))) for stream in streams}
    while True:
        stream = rng.choice(streams)
        symbol, _, kind = stream.partition("@")
        said = write(kind, symbol.upper(), next(numbers[stream]), rng)
        text = json.dumps(said, separators=(",", ":"), ensure_ascii=False)
        yield frame_of(stream, text.encode())
