"""A stream that goes on from another venue says so, once, before the first message from there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import trio
from msgspec import structs
from numbered import TRADES, trade
from world import SUBJECT, World, fault, open_world

from k2trio.client.outbox import Outbox
from k2trio.continuity.arbiter import Arbiter
from k2trio.continuity.items import VenueChanged
from k2trio.continuity.venues import Venues
from k2trio.market.payloads import Event
from k2trio.observe import transitions as on
from k2trio.sinks.lines import encode_lines

if TYPE_CHECKING:
    from pathlib import Path

    from k2trio.continuity.items import Item
    from k2trio.simulator import Fault

ETH = "ethusdt@trade"
TWO = {"a": "home", "b": "abroad"}
BOTH: dict[str, Any] = {"streams": [SUBJECT, ETH]}


def of_stream(world: World, stream: str) -> list[Item]:
    return [item for _, item in world.items if item.stream == stream]


async def test_a_failover_to_another_venue_and_back_is_told_for_each_stream(
    autojump_clock: Any,
) -> None:
    away = fault(20, "outage", "a", duration=60)
    async with open_world([away], venues=TWO, rate=5, settings=BOTH) as world:
        await trio.sleep(300)
    for stream in (SUBJECT, ETH):
        items = of_stream(world, stream)
        places = [n for n, item in enumerate(items) if isinstance(item, VenueChanged)]
        abroad, home = (items[n] for n in places)
        assert isinstance(abroad, VenueChanged)
        assert (abroad.previous, abroad.venue) == ("home.test", "abroad.test")
        assert isinstance(home, VenueChanged)
        assert (home.previous, home.venue) == ("abroad.test", "home.test")
        for n in places:
            change, before, after = items[n], items[n - 1], items[n + 1]
            assert isinstance(change, VenueChanged)
            assert isinstance(before, Event)
            assert isinstance(after, Event)
            assert (before.venue, after.venue) == (change.previous, change.venue)
            assert (before.received, after.received) == (change.since, change.until)
    switched = [what for _, what in world.of(on.VenueSwitched)]
    assert sum(what.streams for what in switched) == 4
    assert {(what.previous, what.venue) for what in switched} == {
        ("home.test", "abroad.test"),
        ("abroad.test", "home.test"),
    }


async def test_another_endpoint_of_the_same_venue_is_no_change(autojump_clock: Any) -> None:
    async with open_world([fault(20, "outage", "a", duration=60)], rate=5, settings=BOTH) as world:
        await trio.sleep(300)
    assert not any(isinstance(item, VenueChanged) for _, item in world.items)


@pytest.mark.usefixtures("disk_at_once")
@pytest.mark.parametrize(
    ("faults", "ends", "begins"),
    [
        ([], "home", "abroad"),
        ([fault(20, "outage", "a", duration=600)], "abroad", "abroad"),
        ([fault(20, "outage", "a", duration=60)], "home", "home"),
    ],
)
async def test_a_run_that_begins_elsewhere_than_the_one_before_ended_tells_so(
    faults: list[Fault], ends: str, begins: str, tmp_path: Path, autojump_clock: Any
) -> None:
    settings = BOTH | {"state": tmp_path / "state.json", "state_interval": 60}
    async with open_world(faults, venues=TWO, rate=0.3, settings=settings) as world:
        await trio.sleep(300)
    assert {item.venue for item in of_stream(world, SUBJECT)[-3:]} == {f"{ends}.test"}
    away = fault(0, "outage", "a", duration=600)
    async with open_world(
        [away][: begins == "abroad"], venues=TWO, rate=0.3, settings=settings
    ) as world:
        await trio.sleep(500)
    for stream in (SUBJECT, ETH):
        items = of_stream(world, stream)
        changes = [item for item in items if isinstance(item, VenueChanged)]
        assert [(one.previous, one.venue) for one in changes] == [
            (f"{ends}.test", f"{begins}.test")
        ][: ends != begins]
        if changes:
            before = items[: items.index(changes[0])]
            assert not any(isinstance(item, Event) for item in before)


async def test_what_is_dropped_does_not_take_the_change_with_it(autojump_clock: Any) -> None:
    settings = {"max_buffered_messages": 5, "overflow": "drop", "rest_urls": ()}
    away = fault(20, "outage", "a", duration=60)
    async with open_world([away], venues=TWO, rate=5, consume=False, settings=settings) as world:
        await trio.sleep(60)
        items = world.feed.drain()
    (change,) = (item for item in items if isinstance(item, VenueChanged))
    assert (change.previous, change.venue) == ("home.test", "abroad.test")


def message(number: int, venue: str) -> Event:
    return structs.replace(trade(number, 0), venue=venue)


def change(previous: str, venue: str) -> VenueChanged:
    return VenueChanged(venue, TRADES, previous, 1.0, 2.0)


@pytest.mark.parametrize(
    ("dropped", "told"),
    [
        ([change("x", "y"), change("y", "x")], []),
        ([change("x", "y"), change("y", "z")], [("x", "z")]),
        ([change("x", "y"), change("y", "x"), change("x", "y")], [("x", "y")]),
    ],
)
async def test_of_several_changes_that_are_dropped_the_one_that_they_make_is_told(
    dropped: list[VenueChanged], told: list[tuple[str, str]]
) -> None:
    arbiter = Arbiter(10)
    outbox = Outbox(1, 10**9, lambda event: arbiter.track(event.venue, event.stream).lose(event))
    outbox.put([message(1, "x")])
    for one in dropped:
        outbox.put([one, message(2, one.venue)])
    items = outbox.drain()
    changes = [item for item in items if isinstance(item, VenueChanged)]
    assert [(item.previous, item.venue) for item in changes] == told
    assert items[len(items) - len(changes) :] == changes  # right before what comes next


async def test_what_is_released_at_the_end_says_that_it_is_of_the_venue_before(
    autojump_clock: Any,
) -> None:
    faults = [
        fault(20, "dropped", "a", share=1, duration=1),
        fault(20, "rest_refused", "home.rest", duration=1000),
        fault(22, "outage", "a", duration=1000),
    ]
    settings = {"repair_hold": 60}
    async with open_world(faults, venues=TWO, rate=5, settings=settings) as world:
        await trio.sleep(30)
        items = [item for _, item in world.items] + world.feed.drain()
    at = None
    for item in items:
        if isinstance(item, VenueChanged):
            assert item.previous == at
            at = item.venue
        elif isinstance(item, Event):
            assert at in (None, item.venue)
            at = item.venue
    assert [item.venue for item in items if isinstance(item, VenueChanged)] == [
        "abroad.test",
        "home.test",
    ]


def test_streams_that_change_one_by_one_are_told_one_by_one() -> None:
    arbiter = Arbiter(10)
    venues = Venues(arbiter)

    def put(venue: str, *streams: str) -> list[str]:
        events = [structs.replace(trade(1, 0), venue=venue, stream=name) for name in streams]
        arbiter.offer(venue, events, 0.0)
        if venue == venues.only:
            return []
        items = venues.marked(events)
        return [item.stream for item in items if isinstance(item, VenueChanged)]

    assert put("x", "a@trade", "b@trade") == []
    assert put("y", "a@trade", "c@trade") == ["a@trade"]
    assert put("x", "b@trade") == []
    assert put("y", "b@trade") == ["b@trade"]
    assert venues.only == "y"
    assert put("y", "a@trade", "b@trade") == []
    assert put("x", "b@trade", "c@trade", "a@trade") == ["b@trade", "c@trade", "a@trade"]


def test_a_change_is_a_line_of_its_own() -> None:
    change = VenueChanged("binance.us", TRADES, "binance.com", 1.5, 2.5)
    assert encode_lines([change]) == (
        b'{"venue":"binance.us","stream":"btcusdt@trade",'
        b'"venue_changed":{"previous":"binance.com","since":1.5,"until":2.5}}\n'
    )
