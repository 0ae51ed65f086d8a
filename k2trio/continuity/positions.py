"""Positions: how far a stream of a venue has been dealt with, so that somebody else can go on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import msgspec

from ..market.keys import key_getters, time_getter
from ..market.payloads import Event, Integer
from ..market.streams import Kind, Stream, stream_of
from ..market.units import MS
from .grid import grid_of
from .items import Gap

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ..market.units import TimeUnit
    from .items import Item


Key: TypeAlias = tuple[str, str]
"""A venue and a stream: what ids belong to."""


def key_of(item: Item) -> Key:
    """Of which stream an item is."""
    return item.venue, item.stream


class Position(msgspec.Struct, frozen=True, omit_defaults=True):
    """Where a stream of a venue is, and what :meth:`Track.resume` takes to go on.

    :ivar position: the last id that was dealt with; of klines where the bar opens that is not
        closed yet.
    :ivar time: when the exchange made the last message, where that is known: by it, ids that began
        anew meanwhile are told from copies. Of klines the event time of the last update.
    :ivar received: Unix time in seconds at which the last message was received; from then on an
        outage is declared where nothing proves what came meanwhile.
    :ivar trade: the last trade of an aggregate: another one may have the same id.
    """

    venue: str
    stream: str
    position: Annotated[int, msgspec.Meta(ge=-1, le=2**63 - 1)]
    time: Integer | None = None
    received: float | None = None
    trade: Integer | None = None


def is_behind(one: Position, other: Position) -> bool:
    """Whether a position of a stream is further on than another one of the same numbering."""
    return (one.position, one.time or 0) > (other.position, other.time or 0)


def position_after(item: Event[Any] | Gap, unit: TimeUnit = MS) -> Position:
    """Where its stream is when an item has been dealt with, and nothing after it.

    :param unit: of the times in messages.
    """
    stream = stream_of(item.venue, item.stream)
    if isinstance(item, Gap):
        last = item.last
        if stream.kind is Kind.KLINE:
            last = grid_of(stream.interval or "", unit).after(last)
        return Position(item.venue, item.stream, last, received=item.until)
    if item.origin == "snapshot":
        # It tells no time, but was taken before it came: updates that it contains, and that are
        # still on their way, are not of a new numbering.
        last = int(item.data.last_update_id)
        taken = int(item.received * unit.per_second)
        return Position(item.venue, item.stream, last, taken, item.received)
    time, last = _time_and_last(stream, item.data, unit)
    trade: int | None = None
    if stream.kind is Kind.AGG_TRADE and 0 <= item.data.first_trade_id <= item.data.last_trade_id:
        trade = item.data.last_trade_id
    return Position(item.venue, item.stream, last, time, item.received, trade)


def _time_and_last(stream: Stream, data: Any, unit: TimeUnit) -> tuple[int | None, int]:
    if stream.kind is Kind.KLINE:
        bar = data.bar
        grid = grid_of(stream.interval or "", unit)
        return data.event_time, grid.end_of(bar) if bar.closed else int(bar.open_time)
    kind, product = stream.kind, stream.product
    time = None if stream.order.timed else time_getter(kind, product)(data)
    return time, key_getters(kind, product)[1](data)


def earlier(one: Position, other: Position) -> Position:
    """Of two positions of a stream that with more to come.

    The times tell, where both are known: ids may have begun anew between the two.
    """
    if one.time is not None and other.time is not None and one.time != other.time:
        return min(one, other, key=lambda position: position.time or 0)
    return min(one, other, key=lambda position: position.position)


def positions_after(items: Iterable[Item], unit: TimeUnit = MS) -> dict[tuple[str, str], Position]:
    """Where each stream of a venue is behind items: by venue and stream, of those in them, in the
    order of their last items.
    """
    last: dict[Key, Event[Any] | Gap] = {}
    for item in reversed(list(items)):
        if isinstance(item, Event | Gap):
            last.setdefault(key_of(item), item)
    last = dict(reversed(last.items()))
    return {key: position_after(item, unit) for key, item in last.items()}
