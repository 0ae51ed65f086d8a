"""What a feed delivered becomes what the simulated exchange tells."""

from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import trio

from ...continuity.items import Gap
from ...dataset.courses import due_times
from ...errors import ConfigError
from ...market.keys import key_getters, time_getter
from ...market.payloads import AggTrade, Bar, BlockTrade, Depth, DepthSnapshot, Event, Kline, Trade
from ...market.streams import stream_of
from ...market.units import MS, US, TimeUnit, frame_in_unit
from ...simulator import Entry, Levels, Message
from ...simulator.market import bars, records

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ...continuity.items import Item
    from ...dataset.recording import RecordedBatches
    from ...market.payloads import Level
    from ...market.streams import Stream
    from ...simulator.recorded.entry import Record

AT_ONCE = 200
"""Items that are made entries between two turns of the connections, about 5 ms of work."""
PLACES = 8
"""Decimals of the exchange's amounts."""
NO_TRADE = -1


class Counted(NamedTuple):
    """What of a recording is not told.

    :ivar gaps: what was missing when it was recorded.
    :ivar strangers: messages of other venues.
    """

    gaps: int = 0
    strangers: int = 0


class Entries:
    """Iterates a recording as what happens at one venue.

    :param venue: whose messages are told; None: that of the first.
    :ivar start_us: when the first of them is told; microseconds, known after :meth:`begin`.
    :ivar left_out: what was not told until now.
    """

    def __init__(self, batches: RecordedBatches, venue: str | None) -> None:
        self.start_us: int = 0
        self.left_out: Counted = Counted()
        self._batches = batches
        self._venue = venue
        self._later_ms = 0
        self._latest = -math.inf
        self._items: list[Item] = []
        self._due: list[float] = []

    async def begin(self, shift_to_s: float | None) -> str:
        """Look for the first message; returns its venue.

        :param shift_to_s: let it be of this minute, and all others as much later; Unix time in
            seconds. None: all are of the time at which they were recorded.
        :raises ConfigError: if there is none.
        """
        async for items in self._batches:
            self._take(items)
            for due, item in zip(self._due, self._items, strict=True):
                if self._is_told(item) and due > -math.inf:
                    if shift_to_s is not None:
                        # Whole minutes: bars, but for those of hours and days, stay on their grid.
                        self._later_ms = int((shift_to_s - due) // 60) * 60_000
                    self.start_us = self._due_us(due)
                    self._venue = item.venue
                    return item.venue
        whose = "" if self._venue is None else f" of {self._venue}"
        raise ConfigError(f"there is no message{whose} in what is to be replayed")

    def __aiter__(self) -> Entries:
        return self

    async def __anext__(self) -> Sequence[Entry]:
        if not self._items:
            self._take(await anext(self._batches))
        else:
            await trio.lowlevel.checkpoint()
        items, self._items = self._items[:AT_ONCE], self._items[AT_ONCE:]
        due, self._due = self._due[:AT_ONCE], self._due[AT_ONCE:]
        self._count(items)
        return [
            entry_of(item, self._due_us(at), self._later_ms)
            for at, item in zip(due, items, strict=True)
            if isinstance(item, Event) and self._is_told(item)
        ]

    def _take(self, items: list[Item]) -> None:
        self._items, self._due = items, due_times(items, self._latest)
        self._latest = self._due[-1]

    def _is_told(self, item: Item) -> bool:
        return isinstance(item, Event) and self._venue in (None, item.venue)

    def _due_us(self, due: float) -> int:
        if due == -math.inf:
            return self.start_us
        return max(self.start_us, round(due * 1e6) + self._later_ms * 1000)

    def _count(self, items: Sequence[Item]) -> None:
        gaps = sum(isinstance(item, Gap) and item.venue == self._venue for item in items)
        strangers = sum(isinstance(item, Event) and not self._is_told(item) for item in items)
        self.left_out = Counted(self.left_out.gaps + gaps, self.left_out.strangers + strangers)


def entry_of(event: Event, due_us: int, later_ms: int = 0) -> Entry:
    """What a venue does when it tells a message.

    :param later_ms: by how much later than it was recorded; whole milliseconds.
    """
    stream, data = stream_of(event.venue, event.stream), event.data
    record = _record(stream, data, later_ms)
    if event.origin == "snapshot":
        return Entry(due_us, event.stream, None, record)
    time = time_getter(stream.kind, stream.product)(data)
    told = MS if time is None or MS.of(time) == time else US
    render = functools.partial(_render, event.frame, told, later_ms, stream.product)
    first, last = (get(data) for get in key_getters(stream.kind, stream.product))
    if stream.order.timed:
        first, last = MS.of(first) + later_ms, MS.of(last) + later_ms
    closed = None
    if isinstance(data, Kline) and data.bar.closed:
        closed = MS.of(data.bar.open_time) + later_ms
    message = Message(event.stream, first, last, due_us, render, closed)
    return Entry(due_us, event.stream, message, record)


class _Carrier(msgspec.Struct):
    data: msgspec.Raw


_cut = msgspec.json.Decoder(_Carrier).decode


def _render(frame: bytes, told: TimeUnit, later_ms: int, product: str, unit_us: int) -> bytes:
    wanted = US if unit_us == 1 else MS
    if wanted is not told or later_ms:
        frame = frame_in_unit(frame, told, wanted, later_ms, product)
    return bytes(_cut(frame).data)


def _record(stream: Stream, data: Any, later_ms: int) -> Record | None:
    """What REST can tell of a message; None if nothing, or not exactly."""
    try:
        match data:
            case Trade() | BlockTrade():
                price, quantity = _amount(data.price), _amount(data.quantity)
                time_us = US.of(data.trade_time) + later_ms * 1000
                return records.Trade(data.trade_id, price, quantity, time_us, data.buyer_is_maker)
            case AggTrade():
                price, quantity = _amount(data.price), _amount(data.quantity)
                time_us = US.of(data.trade_time) + later_ms * 1000
                trades = data.first_trade_id, data.last_trade_id
                return records.AggTrade(
                    data.agg_id, price, quantity, *trades, time_us, data.buyer_is_maker
                )
            case Kline() if stream.name.endswith(f"kline_{stream.interval}"):
                return _bar(data.bar, later_ms)
            case Depth():
                sides = _levels(data.bids), _levels(data.asks)
                return Levels(data.covers_from, data.last_update_id, *sides)
            case DepthSnapshot():
                return Levels(None, data.last_update_id, _levels(data.bids), _levels(data.asks))
            case _:
                return None
    except ValueError:
        return None


def _bar(bar: Bar, later_ms: int) -> bars.Bar:
    return bars.Bar(
        open_ms=MS.of(bar.open_time) + later_ms,
        open=_amount(bar.open),
        high=_amount(bar.high),
        low=_amount(bar.low),
        close=_amount(bar.close),
        first_id=NO_TRADE if bar.first_trade_id is None else bar.first_trade_id,
        last_id=NO_TRADE if bar.last_trade_id is None else bar.last_trade_id,
        count=bar.trades,
        volume=_amount(bar.volume),
        quote=_amount(bar.quote_volume),
        taker_volume=_amount(bar.taker_volume or "0"),
        taker_quote=_amount(bar.taker_quote_volume or "0"),
    )


def _levels(levels: Sequence[Level]) -> list[tuple[int, int]]:
    return [(_amount(level.price), _amount(level.quantity)) for level in levels]


def _amount(text: str) -> int:
    """An amount in units of 10⁻⁸.

    :raises ValueError: if it is none, or finer than that.
    """
    whole, _, part = text.partition(".")
    if len(part) > PLACES or not whole.isdigit():
        raise ValueError(text)
    return int(whole + part.ljust(PLACES, "0"))
