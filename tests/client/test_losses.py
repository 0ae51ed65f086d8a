"""What is missing, and what was repaired, is told to observers: all of it, and once a batch."""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING, Any

import pytest
import structlog
import trio
from world import SUBJECT, fault, open_world

from k2trio.continuity.items import Gap, Outage
from k2trio.market.payloads import Event
from k2trio.observe import logs
from k2trio.observe import transitions as on

if TYPE_CHECKING:
    from collections.abc import Iterator

    from world import World

TICKER, BOOK, BARS = "btcusdt@bookTicker", "btcusdt@depth@100ms", "btcusdt@kline_1s"
LOSSES = fault(10, "dropped", "*", share=0.3, duration=60)
NO_REST: dict[str, Any] = {"rest_urls": ["https://nobody.test"]}
REST_IS_DOWN = fault(0, "rest_refused", "venue", duration=1000)
A_HOLE = fault(10, "dropped", "*", share=1, duration=1)


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    yield
    structlog.reset_defaults()


def got(world: World, kind: type[Any]) -> list[Any]:
    return [item for _, item in world.items if isinstance(item, kind)]


def told(world: World, kind: type[Any]) -> list[Any]:
    return [what for _, what in world.of(kind)]


async def test_every_gap_is_told_with_its_stream_ids_and_reason(autojump_clock: Any) -> None:
    settings = {"streams": [SUBJECT, BARS], **NO_REST}
    async with open_world([LOSSES], rate=20, settings=settings) as world:
        await trio.sleep(150)
    gaps, tellings = got(world, Gap), told(world, on.GapDeclared)
    assert len(gaps) > 26
    assert {gap.stream for gap in gaps} == {SUBJECT, BARS}
    assert sum(telling.gaps for telling in tellings) == len(gaps)
    for gap in gaps:
        assert any(
            (what.venue, what.stream, what.reason) == (gap.venue, gap.stream, gap.reason)
            and what.first <= gap.first <= gap.last <= what.last
            for what in tellings
        )


@pytest.mark.parametrize("repaired", [False, True], ids=["none repaired", "some repaired"])
async def test_a_gap_says_when_the_live_messages_around_it_were_received(
    autojump_clock: Any, *, repaired: bool
) -> None:
    faults = [LOSSES, fault(30, "rest_refused", "venue", duration=30)]
    streams = [SUBJECT, BARS, "btcusdt@aggTrade"]
    settings = {"streams": streams, **({} if repaired else NO_REST)}
    async with open_world(faults, rate=20, settings=settings) as world:
        await trio.sleep(150)
    gaps = 0
    for stream in streams:
        before: float | None = None
        waiting: list[Gap] = []
        for item in (item for _, item in world.items if item.stream == stream):
            if isinstance(item, Gap):
                assert item.since == before
                waiting.append(item)
                gaps += 1
            elif isinstance(item, Event) and item.origin == "live":
                before = item.received
                assert all(gap.until == before for gap in waiting)
                waiting.clear()
    assert gaps > 26


async def test_a_gap_is_told_when_it_is_declared_whether_or_not_it_is_read(
    autojump_clock: Any,
) -> None:
    async with open_world([A_HOLE, REST_IS_DOWN], rate=20, consume=False) as world:
        await trio.sleep(60)
        (at,) = world.times(on.GapDeclared)
    assert at == pytest.approx(11 + world.settings.repair_hold, abs=0.5)


async def test_a_leap_of_ids_is_told_in_the_batch_that_brings_it(autojump_clock: Any) -> None:
    async with open_world([fault(10, "ids_reset", "venue")], rate=20) as world:
        await trio.sleep(60)
    gaps = got(world, Gap)
    assert gaps
    assert [(what.first, what.last, what.reason) for what in told(world, on.GapDeclared)] == [
        (gap.first, gap.last, gap.reason) for gap in gaps
    ]


async def test_every_outage_is_told_with_its_time_and_counted(autojump_clock: Any) -> None:
    faults = [fault(10, "outage", "*", duration=20), fault(50, "rst", "*")]
    streams = [TICKER, "ethusdt@bookTicker", SUBJECT, BARS]
    async with open_world(faults, rate=20, settings={"streams": streams}) as world:
        await trio.sleep(100)
        unproven_s = world.metric("k2_binance_unproven_seconds_total")
    outages, tellings = got(world, Outage), told(world, on.OutageDeclared)
    assert {item.stream for item in outages} == {TICKER, "ethusdt@bookTicker", BARS}
    assert sorted((what.stream, what.since, what.until) for what in tellings) == sorted(
        (item.stream, item.since, item.until) for item in outages
    )
    assert unproven_s == pytest.approx(sum(item.until - item.since for item in outages))


async def test_every_repair_is_told(autojump_clock: Any) -> None:
    settings = {"streams": [SUBJECT, BOOK]}
    async with open_world([LOSSES], rate=20, settings=settings) as world:
        await trio.sleep(120)
    brought = [item for item in got(world, Event) if item.origin != "live"]
    assert {item.origin for item in brought} == {"backfill", "snapshot"}
    for origin in ("backfill", "snapshot"):
        messages = sum(what.messages for what in told(world, on.Repaired) if what.origin == origin)
        assert messages == sum(item.origin == origin for item in brought)
    assert len(told(world, on.Repaired)) < len(brought) / 2


async def test_what_a_slow_consumer_loses_is_told_once_a_batch(autojump_clock: Any) -> None:
    settings = {"overflow": "drop", "max_buffered_messages": 20, "streams": [SUBJECT, TICKER]}
    async with open_world(rate=200, settings=settings, consume=False) as world:
        await trio.sleep(20)
        dropped = world.metric("k2_binance_dropped_messages_total") or 0
        received = sum(track.received for track in world.feed.tracks)
    gaps, outages = told(world, on.GapDeclared), told(world, on.OutageDeclared)
    assert {what.reason for what in gaps} == {"overflow"}
    lost = sum(what.gaps for what in gaps) + sum(what.outages for what in outages)
    assert lost == dropped > received / 2
    at = [at for at, what in world.of(on.GapDeclared) if what.stream == SUBJECT]
    assert len(at) == len(set(at))


async def test_a_gap_that_the_end_leaves_open_is_told(autojump_clock: Any) -> None:
    async with open_world([A_HOLE, REST_IS_DOWN], rate=20, consume=False) as world:
        await trio.sleep(15)
        assert told(world, on.GapDeclared) == []
        (gap,) = [item for item in world.feed.drain() if isinstance(item, Gap)]
        assert told(world, on.GapDeclared) == [
            on.GapDeclared(
                gap.venue, gap.stream, gap.first, gap.last, "shutdown", gap.since, gap.until
            )
        ]


async def test_the_log_names_every_loss_and_repeats_itself_once_in_ten_seconds(
    autojump_clock: Any,
) -> None:
    out = io.StringIO()
    logs.configure("info", "json", out)
    log = logs.transition_log(logs.get_logger())
    settings = {"streams": [SUBJECT, "ethusdt@trade"], **NO_REST}
    async with (
        log.summing_up(),
        open_world([LOSSES], rate=50, settings=settings, observers=[log]) as world,
    ):
        await trio.sleep(90)
    lines = [json.loads(line) for line in out.getvalue().splitlines()]
    gaps = [line for line in lines if line["event"] == "gap_declared"]
    assert sum(line["gaps"] for line in gaps) == len(got(world, Gap)) > 500
    for stream in settings["streams"]:
        of_stream = [line for line in gaps if line["stream"] == stream]
        assert {line["level"] for line in of_stream} == {"warning"}
        assert "over_s" not in of_stream[0]
        assert all(10 <= line["over_s"] <= 11 for line in of_stream[1:-1])
        assert 7 <= len(of_stream) <= 9


async def test_a_standby_that_never_brought_anything_excuses_no_loss(autojump_clock: Any) -> None:
    """It was dead from its beginning, and the only one left when tickers were sent."""
    ticker = "btcusdt@ticker"
    faults = [
        fault(20, "subscribe_dead", "*", count=1),
        fault(20, "rst", "a"),
        fault(50, "refused", "*", duration=8),
        fault(50, "rst", "b"),
    ]
    settings = {"streams": [ticker], "redundancy": 2}
    async with open_world(faults, rate=5, settings=settings) as world:
        await trio.sleep(120)
    (outage,) = (item for item in got(world, Outage))
    told = [item.data.event_time for item in got(world, Event)]
    missing = set(range(told[0], told[-1], 1000)) - set(told)
    assert len(missing) >= 8
    assert outage.since * 1000 < min(missing) < max(missing) < outage.until * 1000
