"""TIME_UNIT through a whole feed: live, repaired, and where the exchange does not heed it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import trio
from world import START_MS, fault, open_world

from k2trio.continuity.items import Gap, Outage
from k2trio.market.payloads import Bar, Event
from k2trio.market.units import UNITS
from k2trio.observe import transitions as on

if TYPE_CHECKING:
    from collections.abc import Iterable

    from world import World

MINUTES = "btcusdt@kline_1m"
STREAMS = ["btcusdt@trade", "btcusdt@aggTrade", MINUTES, "ethusdt@ticker", "!miniTicker@arr"]


def events_of(world: World, stream: str) -> list[Event]:
    return [item for _, item in world.items if isinstance(item, Event) and item.stream == stream]


def closed_bars(world: World) -> list[Bar]:
    return [e.data.bar for e in events_of(world, MINUTES) if e.data.bar.closed]


def times_of(event: Event) -> Iterable[int]:
    rows = event.data if isinstance(event.data, list) else [event.data]
    for row in [*rows, *(row.bar for row in rows if hasattr(row, "bar"))]:
        for name in row.__struct_fields__:
            if name.endswith("time"):
                yield getattr(row, name)


@pytest.mark.parametrize("unit", ["ms", "us"])
@pytest.mark.parametrize("knows", [True, False], ids=["the stream knows", "it does not"])
@pytest.mark.parametrize("rest_knows", [True, False], ids=["REST knows", "it does not"])
async def test_all_times_are_in_the_unit_and_nothing_is_lost_or_misjudged(
    autojump_clock: Any, unit: str, knows: bool, rest_knows: bool
) -> None:
    away = [fault(200, "outage", "*", duration=150), fault(400, "dropped", share=0.1, duration=60)]
    settings = {"streams": STREAMS, "time_unit": unit}
    async with open_world(
        away,
        rate=3,
        endpoints=["a"],
        settings=settings,
        knows_time_unit=knows,
        rest_knows_time_unit=rest_knows,
    ) as world:
        await trio.sleep(599)
        lag = world.metric("k2_binance_event_lag_seconds")
        truth = world.exchange.truth
        ranges = {name: truth.ranges(name) for name in STREAMS[:2]}
        problems = world.feed.status().problems
    assert (problems, lag) == ((), pytest.approx(0, abs=0.1))
    assert [item for _, item in world.items if isinstance(item, Gap)] == []
    for stream, key in zip(STREAMS, ("trade_id", "agg_id"), strict=False):
        got = [getattr(event.data, key) for event in events_of(world, stream)]
        assert got == list(range(got[0], ranges[stream][0][1] + 1))
    bars = closed_bars(world)
    step = 60_000 * UNITS[unit].per_ms
    assert [bar.open_time for bar in bars] == [
        START_MS * UNITS[unit].per_ms + n * step for n in range(9)
    ]
    assert {bar.close_time + 1 - bar.open_time for bar in bars} == {step}
    start, end = (UNITS[unit].per_ms * (START_MS + at) for at in (-86_400_000, 700_000))
    events = [item for _, item in world.items if isinstance(item, Event)]
    assert {event.origin for event in events} == {"live", "backfill"}
    assert all(start <= time <= end for event in events for time in times_of(event))
    outages = [item for _, item in world.items if isinstance(item, Outage)]
    assert all(150 < outage.until - outage.since < 200 for outage in outages)
    connections = len(world.of(on.Connected))
    told = [what.told for _, what in world.of(on.TimeUnitDiffers)]
    assert told == ([] if knows or unit == "ms" else ["MILLISECOND"] * connections)


@pytest.mark.parametrize("knows", [True, False], ids=["known", "ignored"])
async def test_microseconds_are_told_where_the_exchange_knows_them(
    autojump_clock: Any, knows: bool
) -> None:
    settings = {"time_unit": "us"}
    async with open_world(rate=5, settings=settings, knows_time_unit=knows) as world:
        await trio.sleep(60)
    finer = {event.data.trade_time % 1000 for event in events_of(world, "btcusdt@trade")}
    assert (len(finer) > 10) is knows
