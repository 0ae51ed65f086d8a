"""The feed in virtual time: what happens when, exactly, and what is delivered."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import trio
import trio_websocket
from world import SUBJECT, World, fault, make_settings, name, open_world

import k2trio
import k2trio.client.requests
import k2trio.wire.upgrade
from k2trio import ConfigError, open_feed
from k2trio.continuity.items import Gap, Outage
from k2trio.market.payloads import Event, Trade
from k2trio.observe import transitions as on
from k2trio.simulator import Fault, Limits, MemoryNetwork

A, B, C = name("a"), name("b"), name("c")
NO_REST: dict[str, Any] = {"rest_urls": ()}


def ids(world: World, stream: str = SUBJECT) -> list[int]:
    """Trade ids in the order of delivery."""
    return [
        item.data.trade_id
        for _, item in world.items
        if isinstance(item, Event) and item.stream == stream
    ]


def gaps(world: World) -> list[Gap]:
    return [item for _, item in world.items if isinstance(item, Gap)]


def emitted(world: World, stream: str = SUBJECT) -> range:
    ((first, last),) = world.exchange.truth.ranges(stream)
    return range(first, last + 1)


def assert_complete(world: World) -> None:
    """Everything from the first delivered id to the last emitted one came, once and in order."""
    got = ids(world)
    assert got == list(range(got[0], emitted(world)[-1] + 1))
    assert gaps(world) == []


# -- reconnect ----------------------------------------------------------------------------------


async def test_backoff_is_5_10_20_40_60_60_while_nothing_answers(autojump_clock: Any) -> None:
    """One endpoint, no breaker: the nominal series, to the microsecond."""
    settings = {"enable_circuit_breaker": False}
    refuse = fault(0, "refused", duration=1e6)
    async with open_world([refuse], endpoints=["a"], settings=settings) as world:
        await trio.sleep(400)
    assert world.times(on.Dialing) == [0, 5, 15, 35, 75, 135, 195, 255, 315, 375]
    delays = [what.delay_s for _, what in world.of(on.Reconnecting)]
    assert delays == [5, 10, 20, 40, 60, 60, 60, 60, 60, 60]


async def test_a_name_that_dns_does_not_know_is_told_as_that(autojump_clock: Any) -> None:
    """The counter's label has four values only; what people read says more."""
    async with open_world([fault(0, "dns_failure", duration=60)], endpoints=["a"]) as world:
        await trio.sleep(1)
        (_, failed), *_ = world.of(on.DialFailed)
        assert (failed.reason, failed.error_type) == ("websocket_error", "dns")
        assert failed.detail.startswith("DNS gives no address of venue.test: ")
        labels = {"reason": "websocket_error"}
        assert world.metric("k2_binance_reconnects_total", **labels) == 1


async def test_three_failures_open_the_breaker_and_the_probe_waits_for_it(
    autojump_clock: Any,
) -> None:
    """0, 5, 15 fail and open it until 45; the 20 s of backoff end earlier and must wait."""
    refuse = fault(0, "refused", duration=1e6)
    async with open_world([refuse], endpoints=["a"]) as world:
        await trio.sleep(100)
    assert world.times(on.Dialing)[:4] == [0, 5, 15, 45]
    changes = [(at, what.old, what.new) for at, what in world.of(on.BreakerChanged)]
    assert changes[:3] == [
        (15, "closed", "open"),
        (45, "open", "half_open"),
        (45, "half_open", "open"),
    ]
    assert world.metric("k2_circuit_breaker_state", name=A) == 1


async def test_failover_rotates_in_list_order(autojump_clock: Any) -> None:
    refuse = fault(0, "refused", "*", duration=60)
    async with open_world([refuse], endpoints=["a", "b", "c"]) as world:
        await trio.sleep(30)
    assert [(at, what.endpoint) for at, what in world.of(on.Dialing)] == [(0, A), (5, B), (15, C)]


async def test_the_first_retry_after_a_stable_connection_is_immediate(autojump_clock: Any) -> None:
    async with open_world([fault(20, "rst")]) as world:
        await trio.sleep(30)
    (lost_at, lost), (again_at, _) = world.of(on.ConnectionLost)[0], world.of(on.Dialing)[1]
    assert (lost_at, again_at) == (20, 20)
    assert (lost.error_type, lost.reason) == ("reset", "websocket_error")


async def test_an_endpoint_that_accepts_and_drops_is_not_hammered(autojump_clock: Any) -> None:
    """Flapping: a message flows each time, yet the count goes on, since nothing became stable."""
    settings = {"enable_circuit_breaker": False}
    flap = fault(0, "flapping", duration=1e6)
    async with open_world([flap], endpoints=["a"], settings=settings, rate=50) as world:
        await trio.sleep(190)
    delays = [what.delay_s for _, what in world.of(on.Reconnecting)]
    assert delays == [5, 10, 20, 40, 60, 60]


@pytest.mark.parametrize("code", [1000, 1001, 1012])
async def test_a_clean_close_that_we_did_not_ask_for_is_a_failure(
    autojump_clock: Any, code: int
) -> None:
    async with open_world([fault(20, "close", code=code)]) as world:
        await trio.sleep(40)
    ((at, lost),) = world.of(on.ConnectionLost)
    assert (at, lost.error_type, lost.reason) == (20, "dropped", "connection_closed")
    assert world.of(on.Dialing)[1][1].endpoint == B
    assert world.metric("k2_binance_reconnects_total", reason="connection_closed") == 1


async def test_giving_up_comes_after_the_last_event_and_is_not_silent(autojump_clock: Any) -> None:
    faults = [fault(20, "rst", "*"), fault(20, "refused", "*", duration=1e6)]
    settings = {"max_reconnect_attempts": 3, "enable_circuit_breaker": False}
    async with open_world(faults, settings=settings) as world:
        await trio.sleep(100)
    assert isinstance(world.error, k2trio.GaveUp)
    assert world.error.attempts == 3
    assert "gave up after 3 reconnect attempts" in str(world.error)
    # immediate, then 5, then 10 s later
    assert world.times(on.Dialing) == [0, 20, 25, 35]
    assert world.of(on.GivingUp)[0][0] == 35
    assert world.items


@pytest.mark.parametrize(
    ("streams", "complaint"),
    [
        ([], "no streams to open; name some, e.g. ['btcusdt@trade']"),
        ("btcusdt@trade", "streams are named in a list: write ['btcusdt@trade']"),
    ],
)
async def test_what_is_no_list_of_streams_opens_nothing(streams: Any, complaint: str) -> None:
    with pytest.raises(ConfigError) as error:
        async with open_feed(streams, make_settings(["wss://venue.test:1/stream"])):
            pass
    assert str(error.value) == complaint


async def test_never_gives_up_with_zero_attempts(autojump_clock: Any) -> None:
    refuse = fault(0, "refused", "*", duration=7200)
    async with open_world([refuse], settings={"max_reconnect_attempts": 0}) as world:
        await trio.sleep(8000)
        assert world.feed.status().connected
    assert world.error is None


async def test_retry_after_freezes_every_endpoint_of_the_venue(autojump_clock: Any) -> None:
    busy = fault(0, "http_status", status=429, retry_after=100.0)
    async with open_world([busy]) as world:
        await trio.sleep(200)
    assert world.of(on.VenueFrozen) == [(0, on.VenueFrozen("venue.test", 100.0, 429))]
    assert [(at, what.endpoint) for at, what in world.of(on.Dialing)][:2] == [(0, A), (100, B)]


async def test_a_429_that_names_no_time_holds_the_venue_for_a_minute(autojump_clock: Any) -> None:
    busy = fault(0, "http_status", status=429)
    async with open_world([busy]) as world:
        await trio.sleep(100)
    assert world.of(on.VenueFrozen) == [(0, on.VenueFrozen("venue.test", 60.0, 429))]
    assert [(at, what.endpoint) for at, what in world.of(on.Dialing)][:2] == [(0, A), (60, B)]


async def test_retry_after_does_not_freeze_another_venue(autojump_clock: Any) -> None:
    busy = fault(0, "http_status", status=418, retry_after=100.0)
    venues = {"a": "one", "b": "two"}
    async with open_world([busy], venues=venues) as world:
        await trio.sleep(20)
    dialled = [(at, what.endpoint) for at, what in world.of(on.Dialing)]
    assert dialled == [(0, name("a", "one")), (5, name("b", "two"))]


@pytest.mark.parametrize("status", [403, 451])
async def test_forbidden_and_legal_refusals_open_the_breaker_at_once(
    autojump_clock: Any, status: int
) -> None:
    async with open_world([fault(0, "http_status", status=status)]) as world:
        await trio.sleep(1)
    assert world.of(on.BreakerChanged) == [
        (0, on.BreakerChanged(A, "closed", "open", "tripped")),
    ]


async def test_close_1008_doubles_the_cooldown(autojump_clock: Any) -> None:
    """It is the third failure that opens the breaker: open for 60 s instead of 30."""
    faults = [fault(0, "refused", duration=14.0), fault(16, "close", code=1008)]
    async with open_world(faults, endpoints=["a"], rate=50) as world:
        await trio.sleep(120)
    assert world.times(on.Dialing) == [0, 5, 15, 76]
    changes = [(at, what.new) for at, what in world.of(on.BreakerChanged)]
    assert changes[:2] == [(16, "open"), (76, "half_open")]


async def test_at_most_300_dials_in_five_minutes(autojump_clock: Any) -> None:
    settings = {
        "reconnect_delay": 0.01,
        "max_reconnect_delay": 0.01,
        "max_reconnect_attempts": 0,
        "enable_circuit_breaker": False,
    }
    async with open_world([fault(0, "refused", "*", duration=1e6)], settings=settings) as world:
        await trio.sleep(304)
    times = world.times(on.Dialing)
    assert sum(at <= 300 for at in times) == 300
    assert times[300] == 303  # the first may have arrived later than it was begun


# -- fail-back and rotation ---------------------------------------------------------------------


async def test_fail_back_comes_30_s_after_the_last_failure_beside_the_running_connection(
    autojump_clock: Any,
) -> None:
    async with open_world([fault(20, "rst")], rate=10) as world:
        await trio.sleep(80)
    ((at, rotating),) = world.of(on.Rotating)
    assert (at, rotating.endpoint, rotating.to_endpoint, rotating.reason) == (50, B, A, "fail_back")
    assert len(world.times(on.Rotated)) == 1
    assert world.feed.status().lines[0].endpoint == A
    assert_complete(world)


async def test_fail_back_from_a_foreign_venue_keeps_the_ids_apart(autojump_clock: Any) -> None:
    venues = {"a": "one", "b": "two"}
    async with open_world([fault(20, "rst")], venues=venues, rate=10) as world:
        await trio.sleep(120)
    by_venue: dict[str, list[int]] = {}
    events = [item for _, item in world.items if isinstance(item, Event)]
    for item in events:
        by_venue.setdefault(item.venue, []).append(item.data.trade_id)
    assert list(by_venue) == ["one.test", "two.test"]
    for venue, got in by_venue.items():
        ((first, last),) = world.exchanges[venue.removesuffix(".test")].truth.ranges(SUBJECT)
        assert got == list(range(got[0], got[-1] + 1)), venue
        assert first <= got[0]
        assert got[-1] <= last
    # Back on the first venue, what was missed there meanwhile was repaired.
    assert by_venue["one.test"][-1] == world.exchanges["one"].truth.ranges(SUBJECT)[0][1]
    assert {item.venue for item in events if item.origin == "backfill"} == {"one.test"}
    others = [item.previous for _, item in world.items if not isinstance(item, Event)]  # type: ignore[union-attr]
    assert others == ["one.test", "two.test"]


async def test_after_a_fail_back_the_next_stay_at_the_foreign_venue_begins_with_an_outage(
    autojump_clock: Any,
) -> None:
    """What that venue said meanwhile has no ids that could prove it missing."""
    ticker, venues = "btcusdt@bookTicker", {"a": "one", "b": "two"}
    faults = [fault(20, "rst"), fault(150, "rst")]
    async with open_world(faults, venues=venues, rate=10, settings={"streams": [ticker]}) as world:
        await trio.sleep(300)
    stays = [
        (venue, [item for _, item in items])
        for venue, items in itertools.groupby(world.items, lambda entry: entry[1].venue)
    ]
    assert [venue for venue, _ in stays] == ["one.test", "two.test"] * 2 + ["one.test"]
    outages = [sum(isinstance(item, Outage) for item in items) for _, items in stays]
    assert outages == [0, 0, 1, 1, 1]
    assert all(isinstance(items[0], Outage) for _, items in stays[2:])


@pytest.mark.parametrize("streams", [[SUBJECT], [SUBJECT, "ethusdt@trade"]])
async def test_server_shutdown_rotates_at_once_and_loses_nothing(
    autojump_clock: Any, streams: list[str]
) -> None:
    shutdown = fault(20, "server_shutdown", duration=10.0)
    settings = {"streams": streams, **NO_REST}
    async with open_world([shutdown], rate=20, settings=settings) as world:
        await trio.sleep(60)
    ((at, rotating),) = world.of(on.Rotating)
    assert (at, rotating.to_endpoint, rotating.reason) == (20, A, "server_shutdown")
    assert world.of(on.ConnectionLost) == []
    assert_complete(world)


async def test_the_old_connection_is_retired_only_when_every_stream_has_joined(
    autojump_clock: Any,
) -> None:
    """Trades join at once, the kline two seconds later: until then both connections live."""
    settings = {"streams": [SUBJECT, "btcusdt@kline_1m"], **NO_REST}
    shutdown = fault(20.5, "server_shutdown", duration=10.0)
    async with open_world([shutdown], rate=20, settings=settings) as world:
        await trio.sleep(29)
        ended_at = [round(ending.time, 6) for ending in world.exchange.truth.endings]
    (rotated_at,) = world.times(on.Rotated)
    assert world.times(on.Flowing)[1] < rotated_at
    assert ended_at == [rotated_at]


async def test_a_connection_is_replaced_before_its_24_hours_end(autojump_clock: Any) -> None:
    limits = Limits(lifetime_s=1000)
    settings = {"rotate_after": 900, **NO_REST}
    async with open_world(limits=limits, rate=2, settings=settings) as world:
        await trio.sleep(4000)
    assert world.of(on.ConnectionLost) == []
    rotated = world.of(on.Rotated)
    assert {what.reason for _, what in rotated} == {"lifetime"}
    assert len(rotated) == 4
    assert_complete(world)


async def test_the_old_connection_stays_when_the_replacement_fails(autojump_clock: Any) -> None:
    faults = [fault(20, "server_shutdown", duration=60.0), fault(19, "refused", "*", duration=10)]
    async with open_world(faults, rate=5, settings=NO_REST) as world:
        await trio.sleep(50)
    assert [at for at, _ in world.of(on.RotationFailed)] == [20, 25]
    assert [at for at, _ in world.of(on.Rotating)] == [20, 25, 35]
    assert world.of(on.ConnectionLost) == []
    assert_complete(world)


# -- breaker ------------------------------------------------------------------------------------


async def test_a_healthy_probe_closes_the_breaker_by_itself(autojump_clock: Any) -> None:
    """Success 1 when data has flowed for 5 s, success 2 after the health interval."""
    refuse = fault(0, "refused", duration=40)
    async with open_world([refuse], endpoints=["a"], rate=50) as world:
        await trio.sleep(120)
    opened = world.of(on.Connected)[0][0]
    assert opened == 45
    changes = [(at, what.new) for at, what in world.of(on.BreakerChanged)]
    assert changes == [(15, "open"), (45, "half_open"), (75, "closed")]


async def test_no_dial_while_every_breaker_is_open(autojump_clock: Any) -> None:
    refuse = fault(0, "refused", "*", duration=1e6)
    async with open_world([refuse], settings={"max_reconnect_attempts": 0}) as world:
        await trio.sleep(2000)
    open_until: dict[str, float] = {}
    for at, what in world.diary:
        if isinstance(what, on.BreakerChanged) and what.new == "open":
            open_until[what.name] = at + 30
        if isinstance(what, on.Dialing):
            assert at >= open_until.get(what.endpoint, 0)


# -- watchdog -----------------------------------------------------------------------------------


async def test_no_data_for_60_s_is_stale_when_rest_cannot_be_asked(autojump_clock: Any) -> None:
    async with open_world([fault(20, "stall")], rate=50, settings=NO_REST) as world:
        await trio.sleep(120)
    ((at, lost),) = world.of(on.ConnectionLost)
    last_data = max(when for when, _ in world.items if when <= 20)
    assert at == pytest.approx(last_data + 60, abs=1e-6)
    assert (lost.error_type, lost.reason) == ("stale_data", "health_check_timeout")
    assert world.metric("k2_binance_reconnects_total", reason="health_check_timeout") == 1


async def test_no_bytes_for_45_s_is_stale_however_quiet_the_market(autojump_clock: Any) -> None:
    async with open_world([fault(70.0, "half_open")], rate=0, settings={"streams": [SUBJECT]}) as w:
        await trio.sleep(106)
    ((at, lost),) = w.of(on.ConnectionLost)
    # The last bytes were the exchange's ping at 60 s.
    assert (at, lost.error_type) == (105, "stale_transport")


async def test_a_quiet_market_is_not_stale(autojump_clock: Any) -> None:
    """Hours without a trade, verified over REST: no reconnect."""
    async with open_world(rate=0.001) as world:
        await trio.sleep(3 * 3600)
    assert world.of(on.ConnectionLost) == []
    assert len(world.of(on.Dialing)) == 1


async def test_zero_disables_the_data_tier(autojump_clock: Any) -> None:
    settings = {"health_check_timeout": 0, **NO_REST}
    async with open_world(rate=0, settings=settings) as world:
        await trio.sleep(1000)
    assert world.of(on.ConnectionLost) == []


async def test_silence_is_answered_by_a_ping_after_30_s(autojump_clock: Any) -> None:
    async with open_world(rate=0, settings=NO_REST) as world:
        await trio.sleep(31)
    assert [at for at, _ in world.of(on.PingMeasured)] == [30]


async def test_a_slow_consumer_is_not_a_stale_peer(autojump_clock: Any) -> None:
    settings = {"max_buffered_messages": 10, "max_buffered_bytes": 65536}
    async with open_world(rate=10, consume=False, settings=settings) as world:
        await trio.sleep(300)
        assert world.of(on.ConnectionLost) == []
        # The bound, and the batch that passed it; the rest waits as bytes.
        assert 10 <= world.feed.status().buffered < 30
    assert world.metric("k2_binance_consumer_blocked_seconds_total") == 0  # still blocked


async def test_a_suspended_machine_reconnects(autojump_clock: Any) -> None:
    async with open_world(
        rate=10, suspended=lambda: 500.0 if trio.current_time() > 33 else 0.0
    ) as world:
        await trio.sleep(60)
    ((at, lost),) = world.of(on.ConnectionLost)
    assert (at, lost.error_type) == (35, "stale_suspend")


async def test_a_dead_subscription_among_live_ones_is_found_and_mended(
    autojump_clock: Any,
) -> None:
    """One symbol falls silent for good on this connection; the others go on."""
    silent = fault(100, "silent_symbol", symbol="ETHUSDT")
    settings = {"streams": [SUBJECT, "ethusdt@trade"]}
    async with open_world([silent], rate=5, settings=settings) as world:
        await trio.sleep(600)
    found = world.of(on.StreamSilent)
    assert [what.action for _, what in found[:2]] == ["resubscribe", "reconnect"]
    assert {what.stream for _, what in found} == {"ethusdt@trade"}
    assert found[0][0] <= 100 + 60 + 30
    got = ids(world, "ethusdt@trade")
    assert got == list(range(got[0], emitted(world, "ethusdt@trade")[-1] + 1))


# -- continuity ---------------------------------------------------------------------------------


async def test_trades_of_an_outage_are_repaired_in_order(autojump_clock: Any) -> None:
    outage: list[Fault] = [fault(20, "outage", "*", duration=100)]
    async with open_world(outage, rate=10) as world:
        await trio.sleep(400)
    assert_complete(world)
    origins = [item.origin for _, item in world.items if isinstance(item, Event)]
    assert origins.count("backfill") > 500
    assert world.metric("k2_binance_repaired_messages_total") == origins.count("backfill")
    assert world.feed.status().missing == 0


async def test_without_rest_the_gap_is_declared_in_its_place(autojump_clock: Any) -> None:
    async with open_world([fault(20, "outage", "*", duration=100)], rate=10, settings=NO_REST) as w:
        await trio.sleep(400)
    (gap,) = gaps(w)
    assert gap.reason == "not_repairable"
    got = ids(w)
    before = got.index(gap.first - 1)
    assert got[before + 1] == gap.last + 1
    assert len(got) + (gap.last - gap.first + 1) == len(range(got[0], emitted(w)[-1] + 1))


async def test_other_streams_flow_while_one_is_repaired(autojump_clock: Any) -> None:
    """The venue loses one symbol's message; REST hangs; the other symbol does not wait."""
    faults = [
        fault(20, "dropped", duration=1.0, symbol="BTCUSDT", share=1.0),
        fault(0, "rest_hang", "venue.rest", duration=40),
    ]
    settings = {"streams": [SUBJECT, "ethusdt@trade"]}
    async with open_world(faults, rate=20, settings=settings) as world:
        await trio.sleep(60)
    by_time = [at for at, item in world.items if isinstance(item, Event) and item.stream != SUBJECT]
    assert max(late - early for early, late in itertools.pairwise(by_time)) < 2
    (gap,) = gaps(world)
    assert (gap.stream, gap.reason) == (SUBJECT, "not_repaired")


@pytest.mark.parametrize("kind", ["rest_unordered", "rest_short", "rest_status"])
async def test_repair_gets_over_a_difficult_rest_api(autojump_clock: Any, kind: str) -> None:
    faults = [
        fault(20, "outage", "*", duration=100),
        fault(120, kind, "venue.rest", duration=3.0, status=500, size=7),
    ]
    async with open_world(faults, rate=10) as world:
        await trio.sleep(400)
    assert_complete(world)


async def test_depth_is_rebased_on_a_snapshot_that_the_diffs_join(autojump_clock: Any) -> None:
    settings = {"streams": ["btcusdt@depth@100ms"]}
    async with open_world([fault(20, "outage", "*", duration=30)], rate=10, settings=settings) as w:
        await trio.sleep(200)
    items = [item for _, item in w.items]
    at = next(n for n, item in enumerate(items) if isinstance(item, Gap))
    gap, snapshot, diff = items[at : at + 3]
    assert isinstance(gap, Gap)
    assert gap.reason == "snapshot"
    assert isinstance(snapshot, Event)
    assert snapshot.origin == "snapshot"
    assert isinstance(snapshot.data, k2trio.DepthSnapshot)
    assert gap.last == snapshot.data.last_update_id
    assert isinstance(diff, Event)
    assert diff.data.first_update_id <= snapshot.data.last_update_id + 1
    assert diff.data.last_update_id > snapshot.data.last_update_id
    assert snapshot.data.bids


async def test_closed_bars_of_an_outage_are_repaired(autojump_clock: Any) -> None:
    settings = {"streams": ["btcusdt@kline_1m"], "max_reconnect_attempts": 0}
    async with open_world([fault(90, "outage", "*", duration=400)], settings=settings) as world:
        await trio.sleep(1500)
    closed = [
        item.data.bar.open_time
        for _, item in world.items
        if isinstance(item, Event) and item.data.bar.closed
    ]
    assert closed == list(range(closed[0], closed[-1] + 1, 60_000))
    assert any(item.origin == "backfill" for _, item in world.items if isinstance(item, Event))


async def test_kinds_without_ids_declare_the_time(autojump_clock: Any) -> None:
    settings = {"streams": ["btcusdt@ticker"]}
    async with open_world(
        [fault(20.5, "outage", "*", duration=100)], rate=9, settings=settings
    ) as w:
        await trio.sleep(400)
    ((_, outage),) = [(at, item) for at, item in w.items if isinstance(item, Outage)]
    assert outage.until - outage.since >= 100
    assert w.metric("k2_binance_unproven_seconds_total") == pytest.approx(
        outage.until - outage.since
    )


async def test_a_jump_of_the_ids_is_declared_and_not_fetched(autojump_clock: Any) -> None:
    async with open_world([fault(20, "ids_jump", "venue", by=5_000_000)], rate=10) as world:
        await trio.sleep(60)
    (gap,) = gaps(world)
    assert (gap.reason, gap.last - gap.first + 1) == ("jump", 5_000_000)


async def test_dropping_declares_what_was_dropped(autojump_clock: Any) -> None:
    settings = {"max_buffered_messages": 20, "overflow": "drop", **NO_REST}
    async with open_world(rate=10, consume=False, settings=settings) as world:
        await trio.sleep(60)
        items = world.feed.drain()
        await trio.sleep(10)
        items += world.feed.drain()
    due = None
    lost = 0
    for item in items:
        if isinstance(item, Gap):
            assert item.reason == "overflow"
            first, last = item.first, item.last
            lost += last - first + 1
        else:
            assert isinstance(item, Event)
            first = last = item.data.trade_id
        assert due in (None, first)
        due = last + 1
    assert lost == world.metric("k2_binance_dropped_messages_total")
    assert lost > 100


# -- hot standby --------------------------------------------------------------------------------


async def test_with_two_lines_the_loss_of_one_is_invisible(autojump_clock: Any) -> None:
    faults = [fault(20, "rst"), fault(40, "stall", duration=100.0), fault(200, "close", "b")]
    settings = {"redundancy": 2, **NO_REST}
    async with open_world(faults, rate=20, settings=settings) as world:
        await trio.sleep(300)
        assert world.metric("k2_binance_connection_status", symbols="BTCUSDT") == 1
    assert_complete(world)
    arrivals = [at for at, _ in world.items]
    assert max(late - early for early, late in itertools.pairwise(arrivals)) < 1


async def test_a_line_that_has_never_brought_anything_does_not_vouch_for_a_stream(
    autojump_clock: Any,
) -> None:
    """The one connection dies while the other one is new, and silent as it turns out."""
    ticker = "btcusdt@bookTicker"
    settings = {"redundancy": 2, "streams": [ticker]}
    faults = [
        fault(20, "rst", "b"),
        fault(20, "replacement_dead", "b", duration=1),
        fault(30, "rst", "a"),
        fault(30, "replacement_dead", "a", duration=1),
    ]
    async with open_world(faults, rate=5, settings=settings) as world:
        await trio.sleep(200)
    arrivals = [at for at, item in world.items if isinstance(item, Event)]
    silences = [(a, b) for a, b in itertools.pairwise(arrivals) if b - a > 10]
    outages = [item for _, item in world.items if isinstance(item, Outage)]
    assert len(silences) == 1
    assert [round(one.until - one.since) for one in outages] == [round(b - a) for a, b in silences]


async def test_two_lines_start_on_different_endpoints_of_one_venue(autojump_clock: Any) -> None:
    venues = {"a": "one", "b": "two", "c": "one"}
    settings = {"redundancy": 2}
    async with open_world(
        endpoints=["a", "b", "c"], venues=venues, rate=5, settings=settings
    ) as world:
        await trio.sleep(10)
    assert {what.endpoint for _, what in world.of(on.Connected)} == {
        name("a", "one"),
        name("c", "one"),
    }


async def test_two_lines_are_never_on_two_venues(autojump_clock: Any) -> None:
    """The first line's endpoints fail; while the second line lives it may not go abroad."""
    venues = {"a": "one", "b": "two", "c": "one"}
    faults = [fault(20, "rst", "a"), fault(20, "refused", "a", duration=200)]
    async with open_world(
        faults, endpoints=["a", "b", "c"], venues=venues, rate=5, settings={"redundancy": 2}
    ) as world:
        await trio.sleep(300)
    assert {what.venue for _, what in world.of(on.Connected)} == {"one.test"}


# -- subscriptions ------------------------------------------------------------------------------


async def test_streams_can_be_added_and_removed_while_it_runs(autojump_clock: Any) -> None:
    async with open_world([fault(60, "rst")], rate=5) as world:
        await trio.sleep(20)
        await world.feed.subscribe("ethusdt@trade", "ethusdt@bookTicker")
        await trio.sleep(20)
        await world.feed.unsubscribe("ethusdt@bookTicker")
        await trio.sleep(60)
    streams = {item.stream for at, item in world.items if at < 41}
    assert streams == {SUBJECT, "ethusdt@trade", "ethusdt@bookTicker"}
    # After the reconnect at 60 s what was added is there, and what was removed is not.
    assert {item.stream for at, item in world.items if at > 61} == {SUBJECT, "ethusdt@trade"}


async def test_a_rejected_subscription_names_the_stream(autojump_clock: Any) -> None:
    async with open_world(rate=5) as world:
        await trio.sleep(5)
        with pytest.raises(k2trio.SubscriptionRejected, match="nosuch@trade"):
            await world.feed.subscribe("ethusdt@trade", "nosuch@trade")
        await trio.sleep(20)
    assert "ethusdt@trade" in {item.stream for _, item in world.items}
    ((_, refused),) = world.of(on.SubscriptionRefused)
    assert refused.streams == ("nosuch@trade",)


async def test_the_streams_that_are_not_rejected_are_carried_by_both_lines(
    autojump_clock: Any,
) -> None:
    async with open_world(rate=5, settings={"redundancy": 2}) as world:
        await trio.sleep(5)
        with pytest.raises(k2trio.SubscriptionRejected):
            await world.feed.subscribe("ethusdt@trade", "nosuch@trade")
        carried = [list(line.streams) for line in world.feed.lines]
        assert carried == [[SUBJECT, "ethusdt@trade"]] * 2
        assert list(world.feed.streams) == carried[0]


async def test_a_stream_that_was_left_for_a_while_says_so_when_it_comes_again(
    autojump_clock: Any,
) -> None:
    """Nothing numbers the messages of a ticker, so the time without them is named."""
    ticker = "btcusdt@bookTicker"
    async with open_world(rate=5, settings={"streams": [SUBJECT, ticker]}) as world:
        await trio.sleep(20)
        await world.feed.unsubscribe(ticker)
        await trio.sleep(20)
        await world.feed.subscribe(ticker)
        await trio.sleep(20)
    ((at, outage),) = [(at, item) for at, item in world.items if isinstance(item, k2trio.Outage)]
    assert (outage.stream, round(at)) == (ticker, 40)
    assert round(outage.until - outage.since) == 20


@pytest.mark.parametrize("rotates", [False, True], ids=["the first one", "one beside another"])
async def test_streams_changed_while_a_connection_is_opened_are_carried_by_it(
    autojump_clock: Any, monkeypatch: pytest.MonkeyPatch, rotates: bool
) -> None:
    """What its URL asks for was decided before."""
    at_once = MemoryNetwork.dial

    async def slowly(*place: Any) -> trio.abc.Stream:
        await trio.sleep(1)
        return await at_once(*place)

    monkeypatch.setattr(MemoryNetwork, "dial", slowly)
    async with open_world(rate=5, settings={"rotate_after": 20}) as world:
        while len(world.of(on.Dialing)) < 1 + rotates:  # noqa: ASYNC110 - jitter decides when
            await trio.sleep(0.3)
        await world.feed.subscribe("ethusdt@trade")
        await world.feed.unsubscribe(SUBJECT)
        began_at = trio.current_time() + 2
        await trio.sleep(15)
    late = [item.stream for at, item in world.items if at > began_at]
    assert set(late) == {"ethusdt@trade"}
    assert len(late) > 50


async def test_many_streams_are_subscribed_in_paced_chunks(
    autojump_clock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Too many for the URL: SUBSCRIBE messages, at most five client messages in any second."""
    monkeypatch.setattr(k2trio.wire.upgrade, "MAX_TARGET_BYTES", 100)
    monkeypatch.setattr(k2trio.client.requests, "MAX_NAMES_BYTES", 60)
    streams = [
        f"{symbol}@{kind}"
        for symbol in ("btcusdt", "ethusdt")
        for kind in ("trade", "aggTrade", "depth", "bookTicker", "kline_1s", "ticker", "miniTicker")
    ]
    async with open_world(rate=1, settings={"streams": streams}) as world:
        await trio.sleep(60)
    messages = list(world.exchange.truth.client_messages)
    subscribes = [message.time for message in messages if message.detail == "SUBSCRIBE"]
    assert subscribes == pytest.approx([0, 0.4, 0.8, 1.2, 1.6])
    times = [message.time for message in messages]
    assert all(late - early >= 1 for early, late in zip(times, times[5:], strict=False))
    assert len({item.stream for _, item in world.items}) == len(streams)


async def test_a_refused_long_url_is_asked_for_without_streams_and_never_again(
    autojump_clock: Any,
) -> None:
    """Something on the way takes no long URLs (414): that is no failure of the endpoint."""
    streams = [f"{symbol}@kline_{step}" for symbol in ("btcusdt", "ethusdt")
               for step in ("1s", "1m", "3m", "5m", "15m", "30m", "1h", "2h", "4h", "6h", "8h",
                            "12h", "1d", "3d", "1w", "1M")]  # fmt: skip
    faults = [fault(0, "http_status", status=414), fault(50, "fin", "a")]
    settings = {"streams": [*streams, SUBJECT]}
    async with open_world(faults, endpoints=["a"], rate=5, settings=settings) as world:
        await trio.sleep(100)
    outcomes = [(round(attempt.time), attempt.outcome) for attempt in world.exchange.truth.attempts]
    assert outcomes == [(0, "http_status"), (0, "accepted"), (50, "accepted")]
    assert world.of(on.DialFailed) == []
    assert len({item.stream for _, item in world.items}) == len(streams) + 1
    assert ids(world) == list(emitted(world))[-len(ids(world)) :]


async def test_no_subscribe_message_is_longer_than_4096_bytes(
    autojump_clock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However long the names are: a symbol need not be of letters of one byte."""
    sent: list[int] = []
    send_message = trio_websocket.WebSocketConnection.send_message

    async def measured(self: trio_websocket.WebSocketConnection, message: str) -> None:
        sent.append(len(message.encode()))
        await send_message(self, message)

    monkeypatch.setattr(trio_websocket.WebSocketConnection, "send_message", measured)
    streams = [f"币安人生{n}usdt@depth20@100ms" for n in range(400)]
    async with open_world(rate=1, settings={"streams": [SUBJECT, *streams]}) as world:
        await trio.sleep(60)
        assert world.feed.status().connected
    assert len(sent) > 1
    assert max(sent) <= 4096


async def test_more_streams_than_a_connection_carries_make_more_lines(autojump_clock: Any) -> None:
    settings = {"streams": [SUBJECT, "ethusdt@trade", "btcusdt@aggTrade"],
                "streams_per_connection": 2}  # fmt: skip
    async with open_world(rate=5, settings=settings) as world:
        await trio.sleep(20)
    assert [line.streams for line in world.feed.status().lines] == [2, 1]
    assert len({item.stream for _, item in world.items}) == 3


async def test_lost_subscriptions_are_found_by_listing_them(autojump_clock: Any) -> None:
    settings = {"list_subscriptions_interval": 30, "streams": [SUBJECT, "ethusdt@trade"], **NO_REST}
    async with open_world(rate=5, settings=settings) as world:
        await trio.sleep(10)
        (session,) = world.exchange.sessions.values()
        session.unsubscribe(["ethusdt@trade"])
        await trio.sleep(60)
    ((at, refused),) = world.of(on.SubscriptionRefused)
    assert (at, refused.streams) == (30, ("ethusdt@trade",))
    assert max(at for at, item in world.items if item.stream == "ethusdt@trade") > 60


# -- bad messages -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "error_type"),
    [
        ("bad_json", "bad_json"),
        ("deep_json", "bad_payload"),
        ("huge_number", "bad_payload"),
        ("wrong_types", "bad_payload"),
        ("unknown_event", "bad_payload"),
    ],
)
async def test_a_malformed_message_is_counted_and_not_fatal(
    autojump_clock: Any, kind: str, error_type: str
) -> None:
    async with open_world([fault(20, kind)], rate=10) as world:
        await trio.sleep(60)
    (first, *_) = [what for _, what in world.of(on.MalformedMessage)]
    assert len(first.excerpt) <= 1000
    assert world.of(on.ConnectionLost) == []
    assert_complete(world)
    assert (world.metric("k2_binance_message_errors_total", error_type=error_type) or 0) >= 1


async def test_a_stream_that_was_not_subscribed_is_not_let_in(autojump_clock: Any) -> None:
    async with open_world(rate=10) as world:
        await trio.sleep(10)
        (session,) = world.exchange.sessions.values()
        session.subscribe(["ethusdt@trade"])
        await trio.sleep(3)
    assert {item.stream for _, item in world.items} == {SUBJECT}
    assert {what.error_type for _, what in world.of(on.MalformedMessage)} == {"unknown_stream"}


async def test_a_flood_of_malformed_messages_is_a_violation(autojump_clock: Any) -> None:
    faults = [fault(20 + n / 100, "bad_json") for n in range(150)]
    async with open_world(faults, rate=10) as world:
        await trio.sleep(60)
    ((at, lost),) = world.of(on.ConnectionLost)
    assert (round(at, 2), lost.error_type) == (20.99, "protocol_violation")


@pytest.mark.parametrize(
    ("kind", "error_type"),
    [
        ("garbage", "protocol_violation"),
        ("binary", "protocol_violation"),
        ("masked", "protocol_violation"),
        ("reserved_bits", "protocol_violation"),
        ("bad_utf8", "protocol_violation"),
        ("oversize", "message_too_big"),
    ],
)
async def test_a_broken_frame_ends_the_connection_at_once(
    autojump_clock: Any, kind: str, error_type: str
) -> None:
    async with open_world([fault(20, kind)], rate=10) as world:
        await trio.sleep(100)
    ((at, lost),) = world.of(on.ConnectionLost)
    assert (at, lost.error_type) == (20, error_type)
    assert_complete(world)


# -- status, metrics and the library ------------------------------------------------------------


async def test_status_is_0_the_moment_data_can_no_longer_flow(autojump_clock: Any) -> None:
    faults = [fault(20, "rst"), fault(20, "refused", "*", duration=10)]
    async with open_world(faults, rate=10) as world:
        await trio.sleep(19.99)
        assert world.metric("k2_binance_connection_status", symbols="BTCUSDT") == 1
        assert world.feed.status().problems == ()
        await trio.sleep(0.02)
        assert world.metric("k2_binance_connection_status", symbols="BTCUSDT") == 0
        assert world.feed.status().problems == ("line 0 is not connected",)


async def test_counts_equal_what_was_delivered(autojump_clock: Any) -> None:
    async with open_world(rate=20) as world:
        await trio.sleep(60)
        got = len(world.items)
        assert world.metric("k2_binance_messages_received_total", symbol="BTCUSDT") == got
        stamp = world.metric("k2_binance_last_message_timestamp_seconds", symbols="BTCUSDT")
        assert stamp == world.items[-1][1].received


async def test_events_are_typed_and_carry_the_exchanges_own_bytes(autojump_clock: Any) -> None:
    async with open_world(rate=5) as world:
        await trio.sleep(20)
    event = world.items[0][1]
    assert isinstance(event, Event)
    assert isinstance(event.data, Trade)
    assert (event.stream, event.venue, event.origin) == (SUBJECT, "venue.test", "live")
    assert event.raw == world.exchange.truth.payload(SUBJECT, event.data.trade_id)


async def test_batches_and_single_events_share_one_sequence(autojump_clock: Any) -> None:
    async with open_world(rate=50, consume=False) as world:
        first = await anext(world.feed)
        rest = []
        async for batch in world.feed.batches():
            rest += batch
            if len(rest) > 100:
                break
    got = [item.data.trade_id for item in [first, *rest]]
    assert got == list(range(got[0], got[0] + len(got)))


async def test_the_bodys_own_error_comes_out_as_it_went_in(autojump_clock: Any) -> None:
    async def never(_: object) -> Any:
        await trio.sleep_forever()

    with pytest.raises(ZeroDivisionError):
        async with k2trio.open_feed([SUBJECT], k2trio.Settings(), dial=never):
            raise ZeroDivisionError


async def test_leaving_the_feed_sends_close_frames_and_ends_within_the_bound(
    autojump_clock: Any,
) -> None:
    async with open_world(rate=5) as world:
        await trio.sleep(10)
    ((time, *_, cause),) = world.exchange.truth.endings
    assert (time, cause) == (10, "client")


async def test_a_silent_peer_cannot_hold_up_the_shutdown(autojump_clock: Any) -> None:
    async with trio.open_nursery() as nursery:
        async with open_world([fault(5, "half_open")], rate=5) as world:
            await trio.sleep(10)
            leaving_at = trio.current_time()
        assert trio.current_time() - leaving_at <= world.settings.close_timeout
        nursery.cancel_scope.cancel()
