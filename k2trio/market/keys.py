"""The keys of a payload: what orders the messages of a stream, and when the exchange made one."""

from __future__ import annotations

import functools
import operator
from typing import TYPE_CHECKING, Any

import msgspec

from .kinds import Kind, Rule
from .payloads import payload_of
from .products import DIALECTS
from .spot import SPOT

if TYPE_CHECKING:
    from collections.abc import Callable


@functools.cache
def key_getters(
    kind: Kind, product: str = SPOT.product
) -> tuple[Callable[[Any], int], Callable[[Any], int]]:
    """Functions from a payload of the kind to its first and last key (see ``kinds.Order``)."""
    order = DIALECTS[product].orders[kind]
    payload = payload_of(kind, product)
    if _is_array(payload):
        return _array_event_time, _array_event_time
    names = {item.encode_name: item.name for item in msgspec.structs.fields(payload)}
    last = operator.attrgetter(names[order.last])
    if order.rule is Rule.CHAINED:
        return operator.attrgetter("covers_from"), last
    return operator.attrgetter(names[order.first]), last


@functools.cache
def time_getter(kind: Kind, product: str = SPOT.product) -> Callable[[Any], int | None]:
    """A function from a payload of the kind to when the exchange made it; None where none tells.

    Of a trade it is the time of the trade itself, and of the books of futures that of the change:
    these are the same on every connection.
    """
    payload = payload_of(kind, product)
    if _is_array(payload):
        return _array_event_time
    fields = getattr(payload, "__struct_fields__", ())
    for name in ("trade_time", "transaction_time", "event_time", "time"):
        if name in fields:
            return operator.attrgetter(name)
    return _no_time


def is_timeless(kind: Kind, product: str = SPOT.product) -> bool:
    """Whether payloads of a kind tell no time."""
    return time_getter(kind, product) is _no_time


def _is_array(payload: Any) -> bool:
    return getattr(payload, "__origin__", None) is list


def grow(keys: list[int]) -> bool:
    """Whether each key is higher than the one before."""
    return all(map(operator.lt, keys, keys[1:]))


def _no_time(_data: object) -> None:
    return None


def _array_event_time(rows: list[Any]) -> int:
    # An empty array carries no time; it is older than anything, so it is dropped as a duplicate.
    return max((int(row.event_time) for row in rows), default=-1)
