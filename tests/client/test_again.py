"""What has come of streams is taken once more, where they begin anew: at a takeover, or a hole."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from world import START_MS, SUBJECT, fault, open_world

from k2trio.continuity.items import Gap, Outage
from k2trio.continuity.positions import Position, position_after
from k2trio.market.futures_payloads import FuturesBookTicker
from k2trio.market.payloads import BookTicker, Event, Trade
from k2trio.observe import transitions as on

VENUE = "venue.test"
QUOTES, ALL_QUOTES, TRADES = "btcusdt@bookTicker", "!bookTicker", "bnbusdt@trade"
START_S = START_MS / 1000
ETHS = "ethusdt@trade"


def quote(number: int, received: float) -> Event:
    return Event(BookTicker(number, "BTCUSDT", "1", "1", "2", "1"), QUOTES, VENUE, received, b"")


def quote_of(venue: str, symbol: str, number: int, at_ms: int) -> Event:
    time = START_MS + at_ms
    data = FuturesBookTicker(number, symbol, "1", "1", "2", "1", time, time)
    return Event(data, ALL_QUOTES, venue, time / 1000, b"")


def trade(number: int, at_ms: int) -> Event:
    time = START_MS + at_ms
    data = Trade(time, "BTCUSDT", number, "1", "1", time, False)
    return Event(data, TRADES, VENUE, time / 1000, b"")


def of(stream: str, world: Any, since: int = 0) -> list[Any]:
    return [item for _, item in world.items[since:] if item.stream == stream]


async def test_an_outage_between_what_came_is_told_again(autojump_clock: Any) -> None:
    came = [quote(10, 110.0), quote(11, 111.0), Outage(VENUE, QUOTES, 111.0, 115.0)]
    async with open_world(rate=5) as world:
        await trio.sleep(5)
        position = Position(VENUE, QUOTES, 3, received=103.0)
        world.feed.begin([position], [*came, quote(15, 115.0)])
        await trio.sleep(1)
        outages = [item for item in of(QUOTES, world) if isinstance(item, Outage)]
    assert [(one.since, one.until) for one in outages] == [(103.0, 110.0), (111.0, 115.0)]


async def test_an_interruption_that_lasts_is_told_though_the_stream_begins_anew_in_it(
    autojump_clock: Any,
) -> None:
    """The connection has ended, and another one comes later than what is taken again."""
    away = fault(20, "outage", "*", duration=3)
    async with open_world([away], rate=5, settings={"streams": [QUOTES]}) as world:
        await trio.sleep(22)
        mine = of(QUOTES, world)
        last, told = mine[-1], len(world.items)
        assert last.received < START_S + 21
        world.feed.begin([position_after(mine[-10])], mine[-9:])
        await trio.sleep(10)
        again = of(QUOTES, world, told)
    outages = [item for item in again if isinstance(item, Outage)]
    (_, after) = (again[again.index(item) + 1] for item in outages)
    assert after.received > START_S + 23
    assert (outages[1].since, outages[1].until) == (last.received, after.received)


async def test_what_was_dropped_of_a_stream_that_begins_anew_is_told(autojump_clock: Any) -> None:
    settings = {"overflow": "drop", "max_buffered_messages": 4, "streams": [QUOTES]}
    async with open_world(rate=5, consume=False, settings=settings) as world:
        await trio.sleep(10)  # nobody reads: some wait, the others are dropped
        (first, *_) = world.feed._outbox._batches[0][0]
        (dropped,) = world.feed._outbox._lost.values()
        position = Position(VENUE, QUOTES, first.data.update_id - 1, received=first.received - 0.5)
        world.feed.begin([position])
        got: list[Any] = []
        for _ in range(2):
            while (batch := world.feed.take()) is not None:
                got += batch
            await trio.sleep(1)
    outages = [item for item in got if isinstance(item, Outage)]
    assert any(one.since <= dropped[0].since and one.until >= dropped[0].until for one in outages)


async def test_symbols_of_one_stream_have_orders_of_their_own(autojump_clock: Any) -> None:
    settings = {"streams": ["btcusdt@aggTrade"]}
    async with open_world(rate=5, product="usdm", settings=settings) as world:
        await trio.sleep(5)
        venue = world.items[0][1].venue
        came = [
            quote_of(venue, "AUSDT", 101, 1100),
            quote_of(venue, "BUSDT", 99, 1100),
            quote_of(venue, "AUSDT", 102, 1200),
            quote_of(venue, "BUSDT", 100, 1300),
        ]
        world.feed.begin([Position(venue, ALL_QUOTES, 100, received=START_S + 1)], came)
        await trio.sleep(1)
        assert [item for item in of(ALL_QUOTES, world) if isinstance(item, Event)] == came


async def test_ids_that_began_anew_among_what_came_are_followed(autojump_clock: Any) -> None:
    anew = [trade(number, 1200 + number) for number in range(1, 6)]
    came = [
        trade(1001, 1000),
        trade(1002, 1100),
        Gap(VENUE, TRADES, 1003, 1003, "reset", START_S + 1.1, START_S + 1.2),
        *anew,
    ]
    async with open_world(rate=5) as world:
        await trio.sleep(5)
        world.feed.begin([position_after(trade(1000, 900))], came)
        await trio.sleep(1)
        ids = [item.data.trade_id for item in of(TRADES, world) if isinstance(item, Event)]
    assert ids == [1001, 1002, 1, 2, 3, 4, 5]


async def test_what_waits_behind_a_gap_is_taken_again_too(autojump_clock: Any) -> None:
    async with open_world(rate=5) as world:
        await trio.sleep(5)
        world.feed.begin(
            [position_after(trade(4, 0))], [trade(5, 100), trade(8, 400), trade(9, 500)]
        )
        told = len(world.items)
        world.feed.begin([position_after(trade(8, 400))], [trade(5, 100)])
        await trio.sleep(1)
        ids = [item.data.trade_id for item in of(TRADES, world, told) if isinstance(item, Event)]
    assert ids == [9]


@pytest.mark.parametrize("again", [False, True])
async def test_a_stream_that_was_taken_again_and_falls_silent_is_found(
    again: bool, autojump_clock: Any
) -> None:
    lost = fault(60, "lost_stream", "*", duration=600)
    settings = {"streams": [SUBJECT, ETHS]}
    async with open_world([lost], rate=5, endpoints=["a"], settings=settings) as world:
        await trio.sleep(20)
        for stream in (SUBJECT, ETHS) if again else ():
            mine = of(stream, world)
            world.feed.begin([position_after(mine[40])], mine[41:])
        await trio.sleep(300)
        assert world.of(on.StreamSilent)


@pytest.mark.parametrize("again", [False, True])
async def test_a_stream_of_a_standby_that_falls_silent_is_found(
    again: bool, autojump_clock: Any
) -> None:
    faults = [
        fault(20, "outage", "*", duration=10),
        fault(100, "lost_stream", "*", duration=600),
    ]
    settings = {"streams": [SUBJECT, ETHS]}
    async with open_world(faults, rate=5, endpoints=["a"], settings=settings) as world:
        if again:
            world.feed.stand_by([SUBJECT, ETHS], lambda key, items: None)
        await trio.sleep(400)
        assert world.of(on.StreamSilent)


async def test_messages_are_counted_once_however_often_they_are_taken(autojump_clock: Any) -> None:
    async with open_world([fault(20, "outage", "*", duration=10)], rate=5) as world:
        await trio.sleep(60)
        mine = [item for item in of(SUBJECT, world) if isinstance(item, Event)]
        for place in (5, 10, 15):
            before = world.feed.received
            world.feed.begin([position_after(mine[place])], mine)
            assert world.feed.received == before
            await trio.sleep(20)
        await trio.sleep(100)
        assert world.feed._arbiter._shared.memory.used == 0
