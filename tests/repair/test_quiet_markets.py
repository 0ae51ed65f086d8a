"""Sound connections in markets that have nothing to say: none is cut for what it cannot bring."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import trio
from world import SUBJECT, SleepTimes, fault, open_world

from k2trio.continuity.items import Gap
from k2trio.market.payloads import Event
from k2trio.observe import transitions as on

if TYPE_CHECKING:
    from world import World

ETH = "ethusdt@trade"
QUOTED = pytest.mark.parametrize(
    ("product", "stream"),
    [
        (product, f"btcusdt@{name}")
        for product in ("spot", "usdm")
        for name in ("bookTicker", "depth5@100ms")
    ],
)
"""Streams that tell of the best levels; how many, and whether of deeper ones, is up to them."""


def burst(at: float, symbol: str = "BTCUSDT", count: int = 1) -> Any:
    """Taker orders at that time; otherwise nothing happens in these markets."""
    return fault(at, "burst", "*", symbol=symbol, count=count)


def told(world: World, stream: str = SUBJECT) -> list[int]:
    return [
        item.data.trade_id
        for _, item in world.items
        if isinstance(item, Event) and item.stream == stream
    ]


def sent(world: World, stream: str = SUBJECT) -> list[int]:
    """The ids that the exchange gave to messages, on any connection or none."""
    trades = world.exchange.market.symbols[stream.partition("@")[0].upper()].trades
    return [trade.id for trade in trades.records]


def requote(world: World, depth: int = 0) -> None:
    """Change the quantity of the bid that lies so many places behind the best one."""
    world.exchange.catch_up()
    whole, market = world.exchange.market, world.exchange.market.symbols["BTCUSDT"]
    bids = market.book.bids
    price = bids.at(depth)
    market._change(bids, price, bids.quantities[price] + market.spec.step)
    market._tell_top(whole.now_us)
    world.exchange.publish(whole._take_out())
    world.exchange.look_again()


def cuts(world: World) -> list[str]:
    return [what.error_type for _, what in world.of(on.ConnectionLost)]


@pytest.mark.parametrize("kind", ["ids_jump", "ids_reset"])
async def test_a_message_that_waits_for_others_to_speak_for_it_has_come(
    autojump_clock: Any, kind: str
) -> None:
    """REST tells of the first message of another numbering, which is here, and not yet believed."""
    faults = [burst(20, count=3), fault(100, kind, "*"), burst(110), burst(3000, count=3)]
    async with open_world(faults, rate=0) as world:
        await trio.sleep(2900)
        assert len(world.feed._arbiter.track("venue.test", SUBJECT).doubts or ()) == 1
        await trio.sleep(200)
    assert cuts(world) == []
    (gap,) = (item for _, item in world.items if isinstance(item, Gap))
    assert gap.reason == kind.removeprefix("ids_")
    # A reset takes away what REST knew of the ids before it.
    assert told(world)[-len(sent(world)) :] == sent(world)


async def test_what_was_said_while_no_connection_was_there_costs_one_connection_at_most(
    autojump_clock: Any,
) -> None:
    """Nobody knows at first whether it was said before the connection opened; then everybody does.

    What it was is fetched as soon as the next message shows that it is missing.
    """
    faults = [
        burst(20, count=3),
        fault(100, "outage", "*", duration=30),
        burst(110),
        burst(3000, count=2),
    ]
    async with open_world(faults, rate=0) as world:
        await trio.sleep(3100)
    assert cuts(world).count("stale_data") == 1
    assert told(world) == sent(world)


async def test_what_was_said_before_the_last_message_is_no_news_for_a_silent_connection(
    autojump_clock: Any,
) -> None:
    """A stream lost a message while no connection was there; another one has spoken since."""
    faults = [
        burst(20, count=3),
        burst(21, "ETHUSDT", count=3),
        fault(100, "outage", "*", duration=30),
        burst(110, "ETHUSDT"),
        burst(170),
        burst(3000, "ETHUSDT", count=2),
    ]
    async with open_world(faults, rate=0, settings={"streams": [SUBJECT, ETH]}) as world:
        await trio.sleep(3100)
    assert cuts(world).count("stale_data") == 0
    assert told(world, ETH) == sent(world, ETH)


async def test_a_stream_that_was_subscribed_anew_is_not_blamed_for_what_was_said_before(
    autojump_clock: Any,
) -> None:
    """One message is lost with a dead subscription, and no other follows."""
    faults = [burst(at) for at in range(20, 3600, 20)]
    faults += [burst(at, "ETHUSDT") for at in range(10, 50, 10)]
    faults += [fault(60, "lost_stream", "a", stream=ETH), burst(70, "ETHUSDT")]
    async with open_world(
        faults, rate=0, endpoints=["a"], settings={"streams": [SUBJECT, ETH]}
    ) as world:
        await trio.sleep(3600)
    assert [what.action for _, what in world.of(on.StreamSilent)] == ["resubscribe"]
    assert cuts(world) == []


@pytest.mark.parametrize("spoken_after", [(40.0,), (46.0, 49.0)])
async def test_a_probe_of_a_quiet_market_has_the_time_that_its_proof_takes(
    autojump_clock: Any, spoken_after: tuple[float, ...]
) -> None:
    """A first message late, and then a silence that is asked about later still."""
    probed_at = 205.0
    faults = [burst(20, count=3), fault(60, "outage", "a", duration=100)]
    faults += [burst(probed_at + after) for after in spoken_after]
    async with open_world(faults, rate=0, endpoints=["a"]) as world:
        await trio.sleep(1200)
    states = [what.new for _, what in world.of(on.BreakerChanged)]
    assert "open" in states
    assert states[-1] != "open"
    assert world.times(on.Connected)[1:] == [probed_at]
    assert cuts(world) == ["reset"]


async def test_a_replacement_waits_for_its_first_message_without_looking_at_the_clock(
    autojump_clock: Any,
) -> None:
    """Minutes, where the market is quiet. What the old connection brings is told at once."""
    settings = {
        "rotate_after": 100,
        "health_check_timeout": 0,
        "health_check_interval": 600,
        "depth_snapshot_levels": 0,  # nor is it looked for quiet books
    }
    faults = [burst(20, count=3), burst(3000)]
    async with open_world(faults, rate=0, endpoints=["a"], settings=settings) as world:
        await trio.sleep(1000)
        assert len(world.of(on.Rotating)) == 1
        with SleepTimes() as sleeps:
            await trio.sleep(1000)
        await trio.sleep(1100)
    assert len(sleeps.seen) < 2000  # one look a second would make 3500 more
    ((at, _),) = world.of(on.Rotated)
    assert at == pytest.approx(3000, abs=1)
    assert cuts(world) == []


@QUOTED
async def test_best_prices_that_stay_are_quiet_whatever_lies_below_them(
    autojump_clock: Any, product: str, stream: str
) -> None:
    """REST tells a new id each time that it is asked, but no other best prices."""
    settings = {"streams": [stream]}
    async with open_world(rate=0, settings=settings, product=product, retells=False) as world:
        await trio.sleep(10)
        requote(world)
        for _ in range(300):
            await trio.sleep(10)
            requote(world, depth=5)
        assert cuts(world) == []
        requote(world)
        await trio.sleep(1)
    assert len([item for _, item in world.items if isinstance(item, Event)]) == 2
    assert len(world.items) == 2


@QUOTED
async def test_best_prices_that_were_told_to_nobody_cost_one_connection(
    autojump_clock: Any, product: str, stream: str
) -> None:
    """They changed while no connection was there, and stay; the ids go on."""
    settings = {"streams": [stream]}
    faults = [fault(100, "outage", "*", duration=30)]
    async with open_world(
        faults, rate=0, settings=settings, product=product, retells=False
    ) as world:
        await trio.sleep(10)
        requote(world)
        await trio.sleep(100)
        requote(world)
        for _ in range(300):
            await trio.sleep(10)
            requote(world, depth=5)
        assert cuts(world).count("stale_data") == 1


@QUOTED
async def test_best_prices_that_a_dead_connection_did_not_bring_are_news(
    autojump_clock: Any, product: str, stream: str
) -> None:
    settings = {"streams": [stream]}
    faults = [fault(100, "dead_standby", "a")]
    async with open_world(
        faults, rate=0, settings=settings, product=product, retells=False
    ) as world:
        await trio.sleep(10)
        requote(world)
        await trio.sleep(100)
        requote(world)
        await trio.sleep(70)
        assert cuts(world) == ["stale_data"]


@pytest.mark.parametrize("product", ["spot", "usdm"])
async def test_a_level_within_a_partial_book_is_news_that_a_dead_connection_did_not_bring(
    autojump_clock: Any, product: str
) -> None:
    """The best prices stay; the tenth level is one of twenty."""
    settings = {"streams": ["btcusdt@depth20"]}
    faults = [fault(100, "dead_standby", "a")]
    async with open_world(
        faults, rate=0, settings=settings, product=product, retells=False
    ) as world:
        await trio.sleep(10)
        requote(world)
        await trio.sleep(100)
        requote(world, depth=9)
        await trio.sleep(70)
        assert cuts(world) == ["stale_data"]
