"""Streams that come and go: lines that end with their last one, and begin with a first one."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
import trio
from world import SUBJECT, fault, open_world

from k2trio.continuity.positions import Position
from k2trio.errors import ConnectionFailed
from k2trio.market.payloads import Event
from k2trio.observe import transitions as on

AGGS, ETHS = "btcusdt@aggTrade", "ethusdt@trade"


def streams_since(world: Any, at: int) -> set[str]:
    return {item.stream for _, item in world.items[at:] if isinstance(item, Event)}


async def test_a_feed_without_streams_is_well_and_has_no_connection(autojump_clock: Any) -> None:
    async with open_world(rate=5, may_be_empty=True) as world:
        await trio.sleep(5)
        await world.feed.unsubscribe(*world.feed.streams)
        await trio.sleep(1)
        told = len(world.items)
        await trio.sleep(600)
        assert world.feed.lines == []
        assert len(world.items) == told
        assert world.feed.status().problems == ()
        assert world.feed.status().connected
        assert world.of(on.ConnectionLost) == []
        await world.feed.subscribe(SUBJECT)
        await trio.sleep(10)
        assert streams_since(world, told) == {SUBJECT}
        assert [line.name for line in world.feed.lines] == ["1"], "no name is used twice"


async def test_streams_beyond_a_connection_that_ends_are_carried_all_the_same(
    autojump_clock: Any,
) -> None:
    faults = [fault(10, "half_open", "*", duration=30)]
    settings = {"streams": [SUBJECT], "streams_per_connection": 2}
    async with open_world(faults, rate=5, settings=settings) as world:
        await trio.sleep(11)
        with pytest.raises(ConnectionFailed):
            await world.feed.subscribe(AGGS, ETHS)
        assert set(world.feed.streams) == {SUBJECT, AGGS, ETHS}
        told = len(world.items)
        await trio.sleep(200)
        assert streams_since(world, told) == {SUBJECT, AGGS, ETHS}


async def test_a_stream_that_begins_anew_goes_on_behind_the_position(autojump_clock: Any) -> None:
    async with open_world(rate=5, settings={"streams": [SUBJECT, ETHS]}) as world:
        await trio.sleep(20)
        mine = [item for _, item in world.items if item.stream == SUBJECT]
        back = mine[10]
        told = len(world.items)
        position = Position(back.venue, SUBJECT, back.data.trade_id, back.data.trade_time)
        world.feed.begin([position])
        await trio.sleep(20)
    again = [item for _, item in world.items[told:] if item.stream == SUBJECT]
    ids = [item.data.trade_id for item in again]
    assert ids == list(range(back.data.trade_id + 1, ids[-1] + 1))
    assert again[0].origin == "backfill"
    others = [item.data.trade_id for _, item in world.items if item.stream == ETHS]
    assert others == list(range(others[0], others[-1] + 1)), "they are not concerned"


async def test_what_is_forgotten_begins_like_a_new_stream(autojump_clock: Any) -> None:
    async with open_world(rate=5, settings={"streams": [SUBJECT, ETHS]}) as world:
        await trio.sleep(10)
        await world.feed.unsubscribe(SUBJECT)
        world.feed.forget([SUBJECT])
        assert all(track.stream.name == ETHS for track in world.feed.tracks)
        received = world.feed.received
        await trio.sleep(10)
        told = len(world.items)
        await world.feed.subscribe(SUBJECT)
        await trio.sleep(10)
        assert world.feed.received > received
    again = [item for _, item in world.items[told:] if item.stream == SUBJECT]
    assert again
    assert all(isinstance(item, Event) and item.origin == "live" for item in again)
    assert not math.isinf(again[0].received)


async def test_what_has_come_of_a_stream_that_begins_anew_is_not_fetched_again(
    autojump_clock: Any,
) -> None:
    async with open_world(rate=5, settings={"streams": [SUBJECT, ETHS]}) as world:
        await trio.sleep(20)
        mine = [item for _, item in world.items if item.stream == SUBJECT]
        back, came = mine[10], mine[40:]
        told = len(world.items)
        position = Position(back.venue, SUBJECT, back.data.trade_id, back.data.trade_time)
        world.feed.begin([position], mine[:5] + came)
        await trio.sleep(20)
        again = [item for _, item in world.items[told:] if item.stream == SUBJECT]
    assert [item.origin for item in again] == ["backfill"] * 29 + ["live"] * (len(again) - 29)
    first = back.data.trade_id + 1
    assert [item.data.trade_id for item in again] == list(range(first, first + len(again)))
    assert [item.received for item in again[29:]][: len(came)] == [one.received for one in came]


async def test_a_stream_that_is_left_to_others_begins_anew_behind_what_it_lacks(
    autojump_clock: Any,
) -> None:
    begun: list[Any] = []
    async with open_world([fault(20, "outage", "*", duration=10)], rate=5) as world:
        world.feed.stand_by([SUBJECT], lambda key, items: begun.append((key, items)))
        await trio.sleep(60)
        requests = world.metric("k2_binance_repaired_messages_total")
    ids = [item.data.trade_id for _, item in world.items if isinstance(item, Event)]
    assert len(ids) == len(world.items), "nothing is declared"
    assert [b - a for a, b in itertools.pairwise(ids) if b != a + 1] != []
    assert begun == [((world.items[0][1].venue, SUBJECT), [])]
    assert not requests
