"""The keys of a payload: what orders the messages of a stream, and when the exchange made one."""

from __future__ import annotations

import functools
import operator
from typing import TYPE_CHECKING, Any

import msgspec

from .payloads import PAYLOADS
from .streams import TABLE, Kind

if TYPE_CHECKING:
    from collections.abc import Callable


@functools.cache
def key_getters(kind: Kind) -> tuple[Callable[[Any], int], Callable[[Any], int]]:
    """Functions from a payload of the kind to its first and last key (see ``streams.TABLE``)."""
    order = TABLE[kind]
    payload = PAYLOADS[kind]
    if kind in (Kind.ALL_MINI_TICKERS, Kind.ALL_WINDOW_TICKERS):
        return _array_event_time, _array_event_time
    names = {item.encode_name: item.name for item in msgspec.structs.fields(payload)}
    return operator.attrgetter(names[order.first]), operator.attrgetter(names[order.last])


@functools.cache
def time_getter(kind: Kind) -> Callable[[Any], int | None]:
    """A function from a payload of the kind to when the exchange made it; None where none tells.

    Of a trade it is the time of the trade itself, which is the same on every connection.
    """
    if kind in (Kind.ALL_MINI_TICKERS, Kind.ALL_WINDOW_TICKERS):
        return _array_event_time
    fields = getattr(PAYLOADS[kind], "__struct_fields__", ())
    for name in ("trade_time", "event_time", "time"):
        if name in fields:
            return operator.attrgetter(name)
    return _no_time


ID_KEYED = frozenset(
    {
        Kind.TRADE,
        Kind.AGG_TRADE,
        Kind.BLOCK_TRADE,
        Kind.DEPTH,
        Kind.PARTIAL_DEPTH,
        Kind.BOOK_TICKER,
    }
)
"""Kinds whose key is a number that the venue gives out. The others' is a time."""
TIMELESS = frozenset({Kind.PARTIAL_DEPTH, Kind.BOOK_TICKER})
"""Kinds whose payloads tell no time."""


def grow(keys: list[int]) -> bool:
    """Whether each key is higher than the one before."""
    return all(map(operator.lt, keys, keys[1:]))


def _no_time(_data: object) -> None:
    return None


def _array_event_time(rows: list[Any]) -> int:
    # An empty array carries no time; it is older than anything, so it is dropped as a duplicate.
    return max((int(row.event_time) for row in rows), default=-1)
