"""Where the time goes between the exchange and the consumer, to the microsecond."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import trio
from world import fault, open_world

from k2trio.client.watchdog import MEASURE_EVERY_S
from k2trio.observe import transitions as on

if TYPE_CHECKING:
    from k2trio.observe.latency import Spread


def spread(found: Spread | None) -> Spread:
    assert found is not None
    return found


async def test_a_quick_consumer_and_a_slow_one(autojump_clock: Any) -> None:
    """Virtual time stands still while something is computed: only waiting takes any."""
    async with open_world(rate=1, consume=False) as world:
        for handling_s in (0.25, 0.25, 0.25, 3.0, 0.25):
            await world.feed.next_batch()
            await trio.sleep(handling_s)
        await world.feed.next_batch()
        latency = world.feed.latency()
    assert spread(latency.handler).count == 5
    assert spread(latency.handler).p50_s == pytest.approx(0.25)
    assert spread(latency.handler).max_s == pytest.approx(3.0)
    # What came first while it slept for 3 s has waited for nearly as long.
    assert 1.0 < spread(latency.queue).max_s < 3.0
    assert spread(latency.decode).max_s == 0
    assert spread(latency.exchange).max_s == pytest.approx(0, abs=0.001)


async def test_what_waits_in_front_of_a_full_outbox_is_in_the_queue_too(
    autojump_clock: Any,
) -> None:
    settings = {"max_buffered_messages": 1, "max_buffered_bytes": 1 << 16}
    async with open_world(rate=5, consume=False, settings=settings) as world:
        await world.feed.next_batch()
        await trio.sleep(20)
        for _ in range(40):
            await world.feed.next_batch()
        latency = world.feed.latency()
    assert 15 < spread(latency.queue).max_s < 20
    assert spread(latency.decode).max_s == 0


async def test_a_stall_of_the_network_shows_as_the_way_from_the_exchange(
    autojump_clock: Any,
) -> None:
    held = fault(30, "half_open", "a", duration=0.0)
    async with open_world([held], endpoints=["a"], rate=5) as world:
        await trio.sleep(25)
        assert spread(world.feed.latency().exchange).max_s < 0.1
        await trio.sleep(75)
        assert spread(world.feed.latency().queue).max_s < 0.1


async def test_the_network_is_measured_once_a_minute_while_data_flows(autojump_clock: Any) -> None:
    async with open_world(rate=10) as world:
        await trio.sleep(3.5 * MEASURE_EVERY_S)
        latency = world.feed.latency()
    assert world.times(on.PingMeasured) == [60, 120, 180]
    assert spread(latency.network).count >= 1
    assert spread(latency.network).max_s == 0


async def test_an_answer_that_waited_for_the_consumer_measures_nothing(
    autojump_clock: Any,
) -> None:
    settings = {"max_buffered_messages": 1, "max_buffered_bytes": 1 << 16}
    async with open_world(rate=50, consume=False, settings=settings) as world:
        with trio.move_on_after(300):
            while True:
                await world.feed.next_batch()
                await trio.sleep(2)
    assert all(what.round_trip_s < 1 for _, what in world.of(on.PingMeasured))


async def test_a_scrape_shows_what_the_feed_measured(autojump_clock: Any) -> None:
    async with open_world(rate=5) as world:
        await trio.sleep(60)
        batches = spread(world.feed.latency().decode).count
        shown = world.metric("k2_binance_latency_seconds_count", part="decode")
    assert shown == batches > 100
