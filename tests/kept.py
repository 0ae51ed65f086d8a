"""Streams of every kind, and what of a payload is in no field of what it was decoded to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from k2trio.market.payloads import IGNORED

if TYPE_CHECKING:
    from k2trio.market.payloads import Event

STREAMS = (
    "btcusdt@trade",
    "btcusdt@aggTrade",
    "btcusdt@blockTrade",
    "btcusdt@depth@100ms",
    "btcusdt@depth5",
    "btcusdt@bookTicker",
    "btcusdt@kline_1m",
    "btcusdt@kline_1s",
    "btcusdt@miniTicker",
    "!miniTicker@arr",
    "btcusdt@ticker",
    "btcusdt@ticker_1h",
    "!ticker_4h@arr",
    "btcusdt@avgPrice",
    "btcusdt@referencePrice",
)
"""One of every kind, at least."""

_PART = {"k": "bar", "o": "order"}
"""Key of a payload's object → the attribute that holds it decoded."""


def lost_of(event: Event) -> dict[str, Any]:
    """The values of the event's payload, by their place, that are neither kept nor ignored."""
    return _lost("", msgspec.json.decode(event.raw), event.data)


def _lost(place: str, said: Any, data: Any) -> dict[str, Any]:
    lost: dict[str, Any] = {}
    if isinstance(said, list):
        if len(said) != len(data):
            return {place: said}
        for number, (row, one) in enumerate(zip(said, data, strict=True)):
            lost |= _lost(f"{place}{number}.", row, one)
        return lost
    kept = msgspec.to_builtins(data)
    ignored = IGNORED.get(type(data), {})
    for key, value in said.items():
        if isinstance(value, dict):
            lost |= _lost(f"{place}{key}.", value, getattr(data, _PART[key]))
        elif key not in ignored and (key not in kept or kept[key] != value):
            lost[place + key] = value
    return lost
