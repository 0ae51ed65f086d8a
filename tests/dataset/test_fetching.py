"""What REST still has of holes, against the simulated exchange, in virtual time."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
import trio
from rest import Rest, agg_rows, asked, make_backfill
from world import fault, open_world

from k2trio.continuity.items import Gap
from k2trio.dataset.fetching import ATTEMPTS, Fetcher, NotAskedError, Span
from k2trio.market.units import MS, US
from k2trio.repair.rest import Backfill

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    import httpx2
    from world import World

    from k2trio.continuity.items import Item
    from k2trio.simulator import Fault

VENUE = "venue.test"
MINUTE_US = 60_000_000


@asynccontextmanager
async def exchange(*faults: Fault, **options: Any) -> AsyncGenerator[tuple[World, Backfill]]:
    """An exchange that has traded for two and a half minutes, and what asks its REST."""
    async with open_world(faults, rate=20, consume=False, **options) as world:
        await trio.sleep(150)
        backfill = Backfill([VENUE], world.settings, transport=world.network.rest_transport())
        try:
            yield world, backfill
        finally:
            await backfill.aclose()


def spans(*ranges: tuple[int, int]) -> list[Span]:
    return [Span(first, last, 1.0, 2.0) for first, last in ranges]


async def fetch(
    backfill: Backfill, stream: str, ranges: Sequence[tuple[int, int]], unit: Any = MS
) -> list[Item]:
    fetcher = Fetcher(backfill, VENUE, stream, spans(*ranges), unit)
    items = [item async for batch in fetcher.items() for item in batch]
    assert fetcher.left == []
    return items


def ids_of(items: Sequence[Item]) -> list[int]:
    return [item.data.trade_id for item in items if not isinstance(item, Gap)]


def first_trade(world: World) -> int:
    return world.exchange.truth.ranges("btcusdt@trade")[0][0]


async def test_every_id_of_every_hole_is_fetched_once_and_in_order(autojump_clock: object) -> None:
    async with exchange() as (world, backfill):
        first = first_trade(world) + 10
        ranges = [(first, first), (first + 3, first + 5), (first + 700, first + 2900)]
        items = await fetch(backfill, "btcusdt@trade", ranges)
        assert ids_of(items) == [i for low, high in ranges for i in range(low, high + 1)]
        assert {item.origin for item in items} == {"backfill"}  # type: ignore[union-attr]
        # One page for what lies within a thousand ids of the first hole, and two for the rest.
        assert len(world.rest.requests) == 3


async def test_payloads_are_the_venues_own(autojump_clock: object) -> None:
    async with exchange() as (world, backfill):
        first = first_trade(world) + 10
        (item,) = await fetch(backfill, "btcusdt@trade", [(first, first)])
        truth = world.exchange.truth.payload("btcusdt@trade", first)
    assert item.raw == truth  # type: ignore[union-attr]


async def test_bars_are_fetched_in_the_unit_of_the_settings(autojump_clock: object) -> None:
    for unit in (MS, US):
        async with exchange(settings={"time_unit": unit.name}) as (world, backfill):
            start_us = 1_767_225_600_000_000 + MINUTE_US
            ranges = [(start_us, start_us + 2 * MINUTE_US - 1)]
            items = await fetch(backfill, "btcusdt@kline_1m", ranges, unit)
            del world
        opens = [item.data.bar.open_time for item in items]  # type: ignore[union-attr]
        assert opens == [(start_us + n * MINUTE_US) // (1_000 if unit is MS else 1) for n in (0, 1)]


async def test_what_two_pages_leave_out_is_declared_to_be_missing_at_the_venue(
    autojump_clock: object,
) -> None:
    there = sorted({*range(3000)} - {1005, 1006, 1010})

    def answer(request: httpx2.Request) -> list[dict[str, Any]]:
        first, count = asked(request)
        return agg_rows([number for number in there if number >= first][:count])

    rest = Rest(answer)
    backfill = make_backfill(rest)
    fetcher = Fetcher(backfill, "v.test", "btcusdt@aggTrade", spans((1004, 1011)), MS)
    told = [
        (item.first, item.last, item.reason) if isinstance(item, Gap) else item.data.agg_id
        async for batch in fetcher.items()
        for item in batch
    ]
    await backfill.aclose()
    missing = "venue_missing"
    assert told == [1004, (1005, 1006, missing), 1007, 1008, 1009, (1010, 1010, missing), 1011]
    assert len(rest.requests) == 2


async def test_holes_of_one_page_are_not_believed(autojump_clock: object) -> None:
    once = fault(0, "rest_holes", "venue.rest", count=1)
    async with exchange(once) as (world, backfill):
        first = first_trade(world) + 10
        items = await fetch(backfill, "btcusdt@trade", [(first, first + 20)])
    assert ids_of(items) == list(range(first, first + 21))


async def test_without_an_api_key_what_is_too_old_stays_named_as_not_repaired(
    autojump_clock: object,
) -> None:
    key = fault(0, "rest_key", "venue.rest", duration=1e6)
    async with exchange(key) as (world, backfill):
        ids = world.exchange.truth.ranges("btcusdt@trade")[0]
        newest = ids[1]
        old, recent = (ids[0], ids[0] + 4), (newest - 300, newest - 298)
        items = await fetch(backfill, "btcusdt@trade", [old, recent])
    assert items[0] == Gap(VENUE, "btcusdt@trade", *old, "not_repaired", 1.0, 2.0)
    assert ids_of(items) == list(range(recent[0], recent[1] + 1))


async def test_a_kind_without_history_is_declared_at_once(autojump_clock: object) -> None:
    async with exchange() as (_, backfill):
        items = await fetch(backfill, "btcusdt@depth@100ms", [(5, 9)])
    assert items == [Gap(VENUE, "btcusdt@depth@100ms", 5, 9, "not_repairable", 1.0, 2.0)]


async def test_a_symbol_that_is_gone_is_declared_to_be_missing_at_the_venue(
    autojump_clock: object,
) -> None:
    async with exchange() as (_, backfill):
        items = await fetch(backfill, "gonebtc@trade", [(5, 9), (11, 11)])
    assert [item.reason for item in items] == ["venue_missing"] * 2  # type: ignore[union-attr]


async def test_a_host_that_comes_back_in_time_is_waited_for(autojump_clock: object) -> None:
    down = fault(150, "rest_refused", "venue.rest", duration=3)
    async with exchange(down) as (world, backfill):
        first = first_trade(world) + 10
        assert ids_of(await fetch(backfill, "btcusdt@trade", [(first, first + 1)])) == [
            first,
            first + 1,
        ]
        assert trio.current_time() == 153  # 1 s after the first attempt, 2 s after the second


async def test_what_could_not_be_asked_for_is_left_as_it_is(autojump_clock: object) -> None:
    down = fault(150, "rest_refused", "venue.rest", duration=1e6)
    async with exchange(down) as (world, backfill):
        first = first_trade(world) + 10
        fetcher = Fetcher(backfill, VENUE, "btcusdt@trade", spans((first, first + 1)), MS)
        began_at = trio.current_time()
        with pytest.raises(NotAskedError, match="no REST host"):
            async for _ in fetcher.items():
                pass
        assert fetcher.left == spans((first, first + 1))
        assert trio.current_time() - began_at < 2**ATTEMPTS + 60


async def test_half_of_it_stays_when_the_venue_stops_answering(autojump_clock: object) -> None:
    async with exchange() as (world, backfill):
        first = first_trade(world) + 10
        fetcher = Fetcher(backfill, VENUE, "btcusdt@trade", spans((first, first + 2000)), MS)
        got: list[Item] = []

        async def take_all() -> None:
            async for batch in fetcher.items():
                got.extend(batch)
                world.network.faults.add([fault(0, "rest_refused", "venue.rest", duration=1e6)])

        with pytest.raises(NotAskedError):
            await take_all()
        assert len(got) > 900
        assert ids_of(got) == list(range(first, fetcher.left[0].first))
        assert fetcher.left == spans((first + len(got), first + 2000))
