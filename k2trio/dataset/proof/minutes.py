"""Trades against bars: in each minute as many, and as much, as the exchange itself says.

Sums are exact: quantities are integers of 10⁻⁸, which may need more than 64 bits, so each is added
up in three parts. Only minutes that both sides hold wholly are compared.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Self

import numpy as np

from ...market.units import US

if TYPE_CHECKING:
    import pyarrow as pa

    from .rows import Rows
    from .runs import Integers, Ranges

MINUTE_US = 60 * US.per_second
MINUTES_A_DAY = 1440
MAX_DAYS = 4000
"""Days that are kept of a symbol: ten years, 320 MB. Of more, the oldest are not compared."""
NO_ID = 2**63 - 1
"""Stands where the first trade of a minute is not known."""
_SPOILT = -(1 << 62)
"""Stands for the messages of a minute that cannot be summed up, however many there are."""
_LOW = (1 << 32) - 1


class Mismatch(NamedTuple):
    """A minute in which trades and bar differ.

    :ivar minute: its start; Unix time in microseconds.
    :ivar trades: how many were recorded.
    :ivar bar_trades: how many the bar has.
    :ivar volume: of what was recorded; in 10⁻⁸ of the base asset.
    :ivar bar_volume: of the bar.
    :ivar ids: the first and the last trade of what was recorded.
    :ivar bar_ids: those of the bar; None where it does not tell.
    """

    minute: int
    trades: int
    bar_trades: int
    volume: int
    bar_volume: int
    ids: tuple[int, int] | None
    bar_ids: tuple[int, int] | None


class Amounts(NamedTuple):
    """What is summed up of messages.

    :ivar trades: how many each stands for.
    :ivar quantity: decimals of 8 places.
    :ivar first: the first trade that each stands for; -1 where that is not told.
    :ivar last: the last one.
    """

    trades: Integers
    quantity: pa.Array
    first: Integers
    last: Integers


class Sums:
    """Count and volume of each minute: of trades, of aggregates, or of bars.

    :ivar days_left_out: days that :data:`MAX_DAYS` left no room for.
    """

    def __init__(self) -> None:
        self.days_left_out: int = 0
        self._days: dict[int, Day] = {}

    def add(self, time: Integers, amounts: Amounts) -> None:
        """Add messages; of bars ``time`` is when they open."""
        if not len(time):
            return
        minutes = time // MINUTE_US
        starts = np.concatenate(([0], np.flatnonzero(np.diff(minutes)) + 1))
        parts = _parts(amounts.quantity)
        values = np.stack((np.ones(len(time), np.int64), amounts.trades, *parts))
        sums = np.add.reduceat(values, starts, axis=1)
        told = np.where(amounts.first < 0, NO_ID, amounts.first)
        first = np.minimum.reduceat(told, starts)
        last = np.maximum.reduceat(amounts.last, starts)
        days = minutes[starts] // MINUTES_A_DAY
        for number in np.unique(days).tolist():
            of_day = days == number
            place = minutes[starts][of_day] - number * MINUTES_A_DAY
            day = self._day(number)
            # A minute may come in several parts.
            np.add.at(day.sums.T, place, sums[:, of_day].T)
            np.minimum.at(day.first, place, first[of_day])
            np.maximum.at(day.last, place, last[of_day])

    def spoil(self, time: Integers) -> None:
        """Leave out the minutes of messages whose volume is not known."""
        for minute in np.unique(time // MINUTE_US).tolist():
            number, place = divmod(minute, MINUTES_A_DAY)
            self._day(number).sums[0, place] = _SPOILT

    def compared(self, bars: Sums, covered: Ranges) -> tuple[int, list[Mismatch]]:
        """How many minutes could be compared, and those that differ.

        :param covered: the runs of the trades; a minute counts if a run begins before it and ends
            after it.
        """
        count = 0
        wrong: list[Mismatch] = []
        for number, theirs in sorted(bars._days.items()):
            ours = self._days.get(number, _EMPTY)
            starts = (number * MINUTES_A_DAY + np.arange(MINUTES_A_DAY)) * MINUTE_US
            both = (theirs.sums[0] > 0) & (ours.sums[0] >= 0) & _inside(starts, covered)
            count += int(both.sum())
            told = (theirs.last >= 0) & (ours.last >= 0)
            differs = (ours.sums[1:] != theirs.sums[1:]).any(axis=0)
            differs |= told & ((ours.first != theirs.first) | (ours.last != theirs.last))
            for place in np.flatnonzero(both & differs).tolist():
                one, other = ours.at(place), theirs.at(place)
                if one[:2] != other[:2] or (told[place] and one[2] != other[2]):
                    trades, bar_trades = one[0], other[0]
                    volumes = one[1], other[1]
                    ids = one[2], other[2]
                    minute = int(starts[place])
                    wrong.append(Mismatch(minute, trades, bar_trades, *volumes, *ids))
        return count, wrong

    def _day(self, number: int) -> Day:
        if number not in self._days:
            if len(self._days) >= MAX_DAYS:
                del self._days[min(self._days)]
                self.days_left_out += 1
            self._days[number] = Day.empty()
        return self._days[number]


class Day(NamedTuple):
    """A number for each minute of a day.

    :ivar sums: five rows: messages, trades, and the volume in three parts.
    :ivar first: the first trade; ``NO_ID`` where there is none, or it is not told.
    :ivar last: the last one; -1 where there is none.
    """

    sums: Any
    first: Integers
    last: Integers

    @classmethod
    def empty(cls) -> Self:
        """A day without messages."""
        sums = np.zeros((5, MINUTES_A_DAY), np.int64)
        return cls(sums, np.full(MINUTES_A_DAY, NO_ID), np.full(MINUTES_A_DAY, -1))

    def at(self, place: int) -> tuple[int, int, tuple[int, int] | None]:
        """Trades, volume, and the first and the last trade of a minute."""
        trades, low, middle, high = (int(part) for part in self.sums[1:, place])
        ids = int(self.first[place]), int(self.last[place])
        volume = low + (middle << 32) + (high << 64)
        return trades, volume, ids if ids[1] >= 0 else None


_EMPTY = Day.empty()


def amounts_of(rows: Rows) -> Amounts | None:
    """What is to be summed up of messages; None if that was not read."""
    if rows.has("closed"):
        if not rows.has("volume"):
            return None
        ids = rows.column("first_trade_id"), rows.column("last_trade_id")
        return Amounts(rows.column("trades"), rows.batch.column("volume"), *ids)
    if not rows.has("quantity"):
        return None
    quantity = rows.batch.column("quantity")
    if not rows.has("last_trade_id"):
        return Amounts(np.ones(len(rows), np.int64), quantity, rows.first, rows.first)
    first, last = rows.column("first_trade_id"), rows.column("last_trade_id")
    return Amounts(last - first + 1, quantity, first, last)


def _inside(starts: Integers, runs: Ranges) -> Any:
    """Which minutes lie in a run, with a message before and one after."""
    if not len(runs):
        return np.zeros(len(starts), np.bool_)
    place = np.searchsorted(runs.began, starts) - 1
    return (place >= 0) & (runs.ended[np.maximum(place, 0)] >= starts + MINUTE_US)


def _parts(quantity: pa.Array) -> tuple[Integers, Integers, Integers]:
    """The unscaled integers of decimals, in three parts: 32 bits, 32 bits, and what is above."""
    words = np.frombuffer(quantity.buffers()[1], np.int64)
    words = words[2 * quantity.offset : 2 * (quantity.offset + len(quantity))].reshape(-1, 2)
    low = words[:, 0]
    return low & _LOW, (low.view(np.uint64) >> np.uint64(32)).astype(np.int64), words[:, 1]
