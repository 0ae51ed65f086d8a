"""Messages that books are made of, written short."""

from __future__ import annotations

from typing import Any

from k2trio.market.payloads import (
    BookTicker,
    Depth,
    DepthSnapshot,
    Event,
    Level,
    PartialDepth,
)

STREAM, TICKER, PARTIAL = "btcusdt@depth@100ms", "btcusdt@bookTicker", "btcusdt@depth5"


def levels(side: dict[str, str]) -> list[Level]:
    return [Level(price, quantity) for price, quantity in side.items()]


def snapshot(last: int, bids: dict[str, str], asks: dict[str, str], venue: str = "v") -> Event[Any]:
    data = DepthSnapshot(last, levels(bids), levels(asks))
    return Event(data, STREAM, venue, 1.0, b"", "snapshot")


def diff(
    first: int, last: int, bids: dict[str, str], asks: dict[str, str], venue: str = "v"
) -> Event[Any]:
    data = Depth(last * 10, "BTCUSDT", first, last, levels(bids), levels(asks))
    return Event(data, STREAM, venue, float(last), b"")


def ticker(number: int, bid: tuple[str, str], ask: tuple[str, str], venue: str = "v") -> Event[Any]:
    return Event(BookTicker(number, "BTCUSDT", *bid, *ask), TICKER, venue, 1.0, b"")


def partial(number: int, bids: dict[str, str], asks: dict[str, str]) -> Event[Any]:
    return Event(PartialDepth(number, levels(bids), levels(asks)), PARTIAL, "v", 1.0, b"")
