"""The unit of the exchange's times: milliseconds, or microseconds where they are asked for.

The unit is a property of the feed. An endpoint or a REST host that does not know the question tells
milliseconds all the same. That is recognised by the times themselves, which lie a thousandfold
apart, and they are converted: so whoever opened the feed in a unit gets every time in it.

Source: Binance spot API docs, "WebSocket Streams" (``timeUnit``) and "General API Information"
(``X-MBX-TIME-UNIT``).
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from ..errors import UnknownStreamError
from .futures_payloads import Liquidation
from .payloads import Bar, frame_of, type_of
from .spot import SPOT
from .streams import Kind, parse_stream

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_NEAR = 0.1
"""How far a time of now may be from the clock to tell its unit, as a share of the years since 1970:
five years, and a thousandth of what tells the units apart."""
MOST_LOOKS = 100
"""Times that are looked at to tell their unit. If none of them is near the clock, the clock is
wrong by years, and the unit is believed to be what was asked for."""
US_FROM = 10**14
"""Times of any day: in milliseconds this is the year 5138, in microseconds 1973."""
_TIMES = frozenset(
    {
        "event_time",
        "trade_time",
        "transaction_time",
        "last_trade_time",
        "open_time",
        "close_time",
        "time",
    }
)
"""The fields of payloads that are times."""


class TimeUnit(NamedTuple):
    """A unit.

    :ivar name: as the settings have it.
    :ivar word: as the exchange calls it.
    """

    name: str
    per_second: int
    word: str

    @property
    def per_ms(self) -> int:
        """Units a millisecond."""
        return self.per_second // MS.per_second

    def of(self, time: int) -> int:
        """A time of any day, in whatever unit it is told, in this one."""
        told = US if time >= US_FROM else MS
        return convert(time, told, self)


MS = TimeUnit("ms", 1_000, "MILLISECOND")
US = TimeUnit("us", 1_000_000, "MICROSECOND")
UNITS = {unit.name: unit for unit in (MS, US)}


def convert(time: int, told: TimeUnit, wanted: TimeUnit) -> int:
    """A time in another unit."""
    return time * wanted.per_second // told.per_second


def unit_near(time: int, received: float) -> TimeUnit | None:
    """The unit in which a time is near the clock; None if it is in neither.

    :param received: Unix time in seconds.
    """
    for unit in (MS, US):
        now = received * unit.per_second
        if abs(time - now) <= _NEAR * now:
            return unit
    return None


class UnitWatch:
    """In which unit a connection tells its times, as far as its messages have shown.

    :param wanted: what was asked for.
    :ivar fits: whether that is known to be what it tells.
    :ivar differs: whether it is known to tell another unit.
    :ivar told: what it tells, as far as is known.
    """

    def __init__(self, wanted: TimeUnit) -> None:
        self.fits: bool = False
        self.differs: bool = False
        self.told: TimeUnit = wanted
        self._wanted = wanted
        self._looks_left = MOST_LOOKS

    def look(self, times: Iterable[int | None], received: float) -> None:
        """Look at times of messages, until one of them shows the unit."""
        for time in times:
            if time is None:
                continue
            self._looks_left -= 1
            told = unit_near(time, received)
            if told is None and not self._looks_left:
                told = self._wanted
            if told is not None:
                self.told = told
                self.fits = told is self._wanted
                self.differs = not self.fits
                return

    def converted(self, frame: bytes) -> bytes:
        """A frame in the unit that was asked for."""
        return frame_in_unit(frame, self.told, self._wanted)


def frame_in_unit(
    frame: bytes,
    told: TimeUnit,
    wanted: TimeUnit,
    later_ms: int = 0,
    product: str = SPOT.product,
) -> bytes:
    """A combined frame as the exchange would have sent it in another unit.

    :param later_ms: by how much later; milliseconds.
    :param product: in whose dialect the frame is.

    What is none, or of no stream that is known, comes back as it is.
    """
    try:
        combined = _decode_combined(frame)
        stream = parse_stream(combined.stream, product)
        keys = _time_keys(type_of(stream))
        later = later_ms * wanted.per_ms
        rows = combined.data if isinstance(combined.data, list) else [combined.data]
        for row in rows:
            _convert_row(row, keys, told, wanted, later)
            if stream.kind in (Kind.KLINE, Kind.CONTINUOUS_KLINE):
                bar = row["k"]
                bar[_BAR_END] += 1  # what follows the bar begins on a whole millisecond
                _convert_row(bar, _BAR_TIMES, told, wanted, later)
                bar[_BAR_END] -= 1
            elif stream.kind in (Kind.FORCED_ORDER, Kind.ALL_FORCED_ORDERS):
                _convert_row(row["o"], _ORDER_TIMES, told, wanted, later)
    except (msgspec.MsgspecError, UnknownStreamError, RecursionError, UnicodeDecodeError):
        return frame
    except (LookupError, TypeError):
        return frame  # not what its stream carries, as the decoder will say
    return frame_of(combined.stream, _encode(combined.data))


def _convert_row(
    row: dict[str, Any], keys: Sequence[str], told: TimeUnit, wanted: TimeUnit, later: int
) -> None:
    for key in keys:
        time = row[key]
        if type(time) is not int:
            raise TypeError
        row[key] = convert(time, told, wanted) + later


class _Combined(msgspec.Struct):
    stream: str
    data: dict[str, Any] | list[dict[str, Any]]


def _times_of(payload: Any) -> tuple[str, ...]:
    """The wire names of a payload's times."""
    return tuple(
        item.encode_name for item in msgspec.structs.fields(payload) if item.name in _TIMES
    )


@functools.cache
def _time_keys(payload: Any) -> tuple[str, ...]:
    return _times_of(getattr(payload, "__args__", (payload,))[0])


_BAR_END = "T"
_BAR_TIMES = _times_of(Bar)
_ORDER_TIMES = _times_of(Liquidation)
_decode_combined = msgspec.json.Decoder(_Combined).decode
_encode = msgspec.json.Encoder().encode
