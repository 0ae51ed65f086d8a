"""Where bars open and end, by their interval and the unit of times."""

from __future__ import annotations

import datetime as dt

import pytest

from k2trio.continuity.grid import Grid
from k2trio.market.payloads import Bar
from k2trio.market.units import MS, US, TimeUnit

MINUTE = 60_000
DAY = 86_400_000


def utc(year: int, month: int) -> int:
    return int(dt.datetime(year, month, 1, tzinfo=dt.UTC).timestamp() * 1000)


@pytest.mark.parametrize("unit", [MS, US], ids=["ms", "us"])
def test_bars_step_by_their_interval(unit: TimeUnit) -> None:
    minutes, months = Grid("1m", unit), Grid("1M", unit)
    start, end = utc(2026, 11) * unit.per_ms, utc(2027, 2) * unit.per_ms
    assert minutes.after(start) == start + MINUTE * unit.per_ms
    assert minutes.at(start, 5) == start + 5 * MINUTE * unit.per_ms
    assert months.at(start, 3) == end
    assert months.after(end) == utc(2027, 3) * unit.per_ms


@pytest.mark.parametrize("unit", [MS, US], ids=["ms", "us"])
def test_only_whole_bars_are_counted(unit: TimeUnit) -> None:
    minutes, months = Grid("1m", unit), Grid("1M", unit)
    start, end = utc(2026, 11) * unit.per_ms, utc(2027, 2) * unit.per_ms
    assert minutes.whole_bars(start, start + 3 * MINUTE * unit.per_ms) == 3
    assert minutes.whole_bars(start, start + 3 * MINUTE * unit.per_ms - 1) == 2
    assert minutes.whole_bars(start, start) == minutes.whole_bars(start, start - 1) == 0
    assert [months.whole_bars(start, end + more) for more in (-1, 0, DAY * unit.per_ms)] == [
        2,
        3,
        3,
    ]


@pytest.mark.parametrize(
    ("close_time", "end"),
    [
        (MINUTE - 1, MINUTE),
        (MINUTE // 2 - 1, MINUTE // 2),
        (2 * MINUTE, MINUTE),
        (-1, MINUTE),
        (-MINUTE, MINUTE),
    ],
    ids=["whole", "short", "too long", "empty", "before it opens"],
)
def test_a_bar_ends_where_it_says_if_it_can_be_so(close_time: int, end: int) -> None:
    bar = Bar(0, close_time, "BTCUSDT", "1m", *"11111", 1, True, "1")
    assert Grid("1m").end_of(bar) == end
