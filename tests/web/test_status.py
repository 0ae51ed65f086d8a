"""The status: what it says of a known scenario, exactly."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
import trio
import trio.testing
from world import START_MS, fault, name, open_world

from k2trio.client.books import FeedBooks
from k2trio.market.payloads import Event, Level, PartialDepth
from k2trio.observe import transitions as on
from k2trio.observe.history import MAX_DETAIL, History, presentable
from k2trio.observe.report import (
    MAX_ROWS,
    EndpointReport,
    GapReport,
    LineReport,
    LogReport,
    OutageReport,
    ShardReport,
    Status,
    TakeoverReport,
)
from k2trio.web import status as status_module
from k2trio.web.status import Reporter

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from world import World

    from k2trio.simulator import Fault

START = START_MS / 1000
A, B, C = name("a"), name("b"), name("c")


@dataclass
class Watched:
    """A world, and its status."""

    world: World
    reporter: Reporter

    def status(self) -> Status:
        return self.reporter.report()


@asynccontextmanager
async def watched(faults: Sequence[Fault] = (), **values: Any) -> AsyncGenerator[Watched]:
    def wall_clock() -> float:
        return START + trio.current_time()

    history = History(wall_clock)
    async with open_world(faults, observers=[history.observe], **values) as world:
        reporter = Reporter(world.feed, history, version="9", wall_clock=wall_clock)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(reporter.watch)
            yield Watched(world, reporter)
            nursery.cancel_scope.cancel()


def rounded(value: Any) -> Any:
    """As a JSON reader sees it, times to the millisecond."""
    match value:
        case float():
            return round(value, 3)
        case dict():
            return {key: rounded(item) for key, item in value.items()}
        case list():
            return [rounded(item) for item in value]
        case msgspec.Struct():
            return rounded(msgspec.to_builtins(value))
        case _:
            return value


async def test_a_feed_is_starting_until_its_first_message(autojump_clock: Any) -> None:
    async with watched() as seen:
        status = seen.status()
    assert status.state == "starting"
    assert status.problems == ["line 0 is not connected", "no data has arrived yet"]
    assert [line.state for line in status.lines] == ["waiting"]
    (stream,) = status.streams
    assert (stream.stream, stream.symbol, stream.venue) == ("btcusdt@trade", "BTCUSDT", None)
    assert (stream.received, stream.silence_s, stream.subscribed) == (0, None, True)


async def test_all_is_well_while_nothing_goes_wrong(autojump_clock: Any) -> None:
    async with watched() as seen:
        await trio.sleep(30)
        status = seen.status()
        delivered = len(seen.world.items)
    assert (status.state, status.problems, status.warnings) == ("ok", [], [])
    assert (status.at, status.uptime_s, status.version) == (START + 30, 30, "9")
    assert status.messages.received == status.coverage.live == delivered > 20
    assert status.lines[0].state == "streaming"
    assert status.lines[0].stable
    assert (status.outages, status.reconnects, status.rotations) == ([], {}, {})
    assert (status.buffer.waiting, status.buffer.held) == (0, 0)


async def test_latencies_are_those_of_the_feed(autojump_clock: Any) -> None:
    async with watched(rate=5) as seen:
        before = seen.status().latency
        await trio.sleep(70)
        parts = {row.part: row for row in seen.status().latency}
        feed = seen.world.feed.latency()
    assert [(row.part, row.count, row.p50_s) for row in before] == [
        (part, 0, None) for part in ("exchange", "network", "decode", "queue", "handler")
    ]
    assert feed.queue is not None
    assert rounded(parts["queue"]) == rounded(
        {
            "part": "queue",
            "count": feed.queue.count,
            "p50_s": feed.queue.p50_s,
            "p99_s": feed.queue.p99_s,
            "max_s": feed.queue.max_s,
        }
    )
    assert parts["network"].count == 1


async def test_the_line_and_its_endpoints_are_told_exactly(autojump_clock: Any) -> None:
    async with watched() as seen:
        await trio.sleep(30)
        line, endpoints = seen.status().lines, seen.status().endpoints
        session = seen.world.feed.lines[0].current
        assert session is not None
        assert session.connection is not None
        opened_at, heard_at = session.connection.opened_at, session.last_data_at
        assert heard_at is not None
    assert line == [
        LineReport(
            name="0",
            state="streaming",
            stable=True,
            endpoint=A,
            venue="venue.test",
            streams=1,
            connected_s=30 - opened_at,
            silence_s=30 - heard_at,
            retry_in_s=None,
        )
    ]
    assert endpoints == [
        EndpointReport(A, "venue.test", ["0"], "closed", 0, 299),
        EndpointReport(B, "venue.test", [], "closed", 0, 299),
    ]


async def test_the_books_that_the_program_keeps_are_told_and_no_others(
    autojump_clock: Any,
) -> None:
    depth, ticker = "btcusdt@depth@100ms", "btcusdt@bookTicker"
    streams = [depth, ticker, "ethusdt@depth"]
    async with watched(
        [fault(20, "outage", "*", duration=5)],
        rate=20,
        consume=False,
        settings={"streams": streams, "book_audit_interval": 10},
    ) as seen:
        assert seen.status().books == []
        kept = FeedBooks(seen.world.feed, lambda: START + trio.current_time())
        seen.reporter.books = kept
        begun = seen.status().books
        with trio.move_on_after(15):
            async for _ in kept:
                pass
        live, known = seen.status().books, kept["BTCUSDT"].known_bids
        with trio.move_on_after(8):
            async for _ in kept:
                pass
        during = seen.status().books
    assert [(row.symbol, row.stream, row.state, row.venue) for row in begun] == [
        ("BTCUSDT", depth, "empty", None),
        ("ETHUSDT", "ethusdt@depth", "empty", None),
    ]
    (bitcoin, ether), book = live, kept["BTCUSDT"]
    assert (bitcoin.state, bitcoin.problem, bitcoin.venue) == ("live", None, "venue.test")
    assert bitcoin.bid is not None
    assert bitcoin.ask is not None
    assert bitcoin.spread is not None
    assert Decimal(bitcoin.spread) == Decimal(bitcoin.ask.price) - Decimal(bitcoin.bid.price) > 0
    assert bitcoin.age_s is not None
    assert 0 <= bitcoin.age_s < 1
    assert bitcoin.known == known
    assert bitcoin.audit is not None
    assert (bitcoin.audit.witness, bitcoin.audit.equal) == ("ticker", True)
    assert bitcoin.audit.ago_s < 1
    assert ether.audit is not None
    assert (ether.audit.witness, round(ether.audit.ago_s)) == ("snapshot", 5)
    assert {(row.state, row.problem) for row in during} == {
        ("unproven", "its stream is not connected")
    }
    assert during[0].update_id == book.last_update_id
    assert during[0].age_s is not None
    assert 3 <= during[0].age_s < 4


async def test_of_many_books_those_that_are_not_live_come_first(autojump_clock: Any) -> None:
    symbols = [f"a{number:03}usdt" for number in range(MAX_ROWS + 7)]
    async with watched(
        settings={"streams": [f"{symbol}@depth20" for symbol in symbols]},
        strict_symbols=False,
        consume=False,
    ) as seen:
        await trio.sleep(5)
        seen.reporter.books = kept = FeedBooks(seen.world.feed)
        for symbol in symbols[:-3]:
            image = PartialDepth(1, [Level("1", "1")], [Level("2", "1")])
            kept.take([Event(image, f"{symbol}@depth20", "venue.test", 0.0, b"")])
        status = seen.status()
    assert len(status.books) == MAX_ROWS
    assert status.not_shown.books == 7
    assert [row.state for row in status.books[-3:]] == ["empty"] * 3


async def test_an_outage_is_told_while_it_lasts_and_after(autojump_clock: Any) -> None:
    async with watched([fault(10, "outage", "*", duration=20)], rate=20) as seen:
        await trio.sleep(19)
        during = seen.status()
        (lost,) = seen.world.of(on.ConnectionLost)
        await trio.sleep(40)
        after = seen.status()
        (flowing,) = [what for what in seen.world.of(on.Flowing) if what[1].outage_s is not None]
        retries = seen.world.of(on.Reconnecting)
    began = START + lost[0] - lost[1].silence_s
    (outage,) = during.outages
    assert during.state == "down"
    assert "line 0 is not connected" in during.problems
    assert (outage.began, outage.ended) == (pytest.approx(began, abs=1e-3), None)
    assert outage.duration_s == pytest.approx(START + 19 - began, abs=1e-3)
    assert during.lines[0].retry_in_s == pytest.approx(
        next(at + what.wait_s for at, what in reversed(retries) if at <= 19) - 19
    )
    assert rounded(after.outages) == rounded(
        [
            OutageReport(
                line="0",
                began=began,
                ended=START + flowing[0],
                duration_s=flowing[1].outage_s or 0,
                reason=retries[0][1].reason,
                error_type=lost[1].error_type,
                detail=lost[1].detail,
                endpoint=A,
                recovered_on=flowing[1].endpoint,
                attempts=len(retries),
            )
        ]
    )
    assert sum(after.reconnects.values()) == len(retries)
    assert after.lines[0].retry_in_s is None


async def test_an_open_breaker_tells_how_long_it_stays_so(autojump_clock: Any) -> None:
    faults = [fault(0, "refused", "a", duration=1000)]
    async with watched(faults, settings={"failure_threshold": 1}) as seen:
        await trio.sleep(20)
        status = seen.status()
        (opened,) = [at for at, what in seen.world.of(on.BreakerChanged) if what.new == "open"]
    first, second = status.endpoints
    assert (first.breaker, first.lines) == ("open", [])
    assert first.admits_in_s == pytest.approx(opened + 30 - 20)
    assert (second.breaker, second.lines, second.admits_in_s) == ("closed", ["0"], 0)
    assert status.state == "degraded"
    assert status.warnings == [f"the circuit breaker of {A} is open"]


async def test_a_breaker_that_would_admit_a_probe_is_no_warning(autojump_clock: Any) -> None:
    faults = [fault(0, "refused", "b", duration=1000), fault(10, "refused", "a", duration=1)]
    faults.append(fault(10, "rst", "a"))
    settings = {"failure_threshold": 1, "recovery_timeout": 30}
    async with watched(faults, settings=settings) as seen:
        await trio.sleep(30)
        during = seen.status()
        await trio.sleep(120)
        after = seen.status()
    assert during.warnings
    assert after.endpoints[1].breaker == "open"
    assert (after.state, after.warnings) == ("ok", [])


async def test_a_foreign_venue_in_use_is_a_warning(autojump_clock: Any) -> None:
    faults = [fault(0, "refused", "a", duration=1000)]
    async with watched(faults, venues={"a": "home", "b": "abroad"}) as seen:
        await trio.sleep(20)
        status = seen.status()
    assert status.warnings == [
        f"line 0 is on {name('b', 'abroad')} of abroad.test, not of home.test"
    ]


async def test_what_is_missing_and_repaired_adds_up_to_the_ledger(autojump_clock: Any) -> None:
    faults = [fault(10, "dropped", "*", share=0.5, duration=10)]
    async with watched(faults, rate=20) as seen:
        await trio.sleep(60)
        status = seen.status()
        (row,) = seen.world.feed.coverage()
    (stream,) = status.streams
    assert (stream.live, stream.repaired, stream.missing) == (row.live, row.repaired, row.missing)
    assert row.repaired > 0
    assert status.coverage.repaired == row.repaired
    assert stream.last == row.last
    assert stream.duplicates == row.duplicates


async def test_a_gap_that_is_not_repaired_is_named(autojump_clock: Any) -> None:
    faults = [fault(10, "dropped", "*", share=0.5, duration=2)]
    async with watched(faults, rate=20, settings={"rest_urls": ["https://nobody.test"]}) as seen:
        await trio.sleep(60)
        (stream,) = seen.status().streams
        (row,) = seen.world.feed.coverage()
    assert row.missing_ranges
    assert stream.gaps == len(row.missing_ranges)
    assert stream.last_gap == GapReport(*row.missing_ranges[-1])


async def test_rates_are_measured_from_five_seconds_ago_whoever_asked_then(
    autojump_clock: Any,
) -> None:
    async with watched(rate=20) as seen:
        await trio.sleep(20.5)
        (track,) = seen.world.feed.tracks
        before = track.received
        await trio.sleep(5)
        status = seen.status()
        received = track.received - before
    assert status.messages.window_s == 5.5
    assert status.messages.rate == status.streams[0].rate
    assert received / 5.5 <= status.messages.rate <= (received + 20) / 5.5


async def test_rates_of_a_program_that_has_just_begun_are_since_its_start(
    autojump_clock: Any,
) -> None:
    async with watched(rate=20) as seen:
        await trio.sleep(3)
        status = seen.status()
    assert status.messages.window_s == 3
    assert status.messages.rate == status.messages.received / 3 > 0


async def test_nothing_is_said_to_flow_ten_seconds_into_an_outage(autojump_clock: Any) -> None:
    async with watched([fault(100, "outage", "*", duration=60)], rate=20) as seen:
        await trio.sleep(110)
        status = seen.status()
    assert status.state == "down"
    assert status.messages.rate == 0
    assert [stream.rate for stream in status.streams] == [0]
    assert status.messages.silence_s == pytest.approx(10, abs=0.5)


async def test_one_stream_that_brings_nothing_does_not_make_the_others_look_dead(
    autojump_clock: Any,
) -> None:
    """It is not ready, but not down: all else flows."""
    streams = ["btcusdt@trade", "btcusd@trade"]
    async with watched(rate=20, strict_symbols=False, settings={"streams": streams}) as seen:
        await trio.sleep(200)
        status = seen.status()
    assert status.problems == ["the exchange has no such symbol: btcusd@trade"]
    assert status.state == "degraded"
    assert status.messages.rate > 0


async def test_where_no_message_ever_came_there_is_no_last_one(autojump_clock: Any) -> None:
    async with watched([fault(0, "refused", "*", duration=1000)]) as seen:
        await trio.sleep(49)
        status = seen.status()
    assert (status.state, status.messages.silence_s) == ("down", None)


async def test_the_looks_that_are_remembered_are_few_however_often_somebody_asks(
    autojump_clock: Any,
) -> None:
    async with watched(rate=20) as seen:
        for _ in range(300):
            await trio.sleep(0.1)
            seen.status()
        looks = len(seen.reporter._looks)
    assert looks <= status_module.RATE_WINDOW_S / status_module.LOOK_S + 2


# -- the time before -------------------------------------------------------------------------------


async def test_whoever_comes_late_sees_the_rates_of_the_time_before(autojump_clock: Any) -> None:
    streams = ["btcusdt@trade", "ethusdt@bookTicker"]
    faults = [fault(100, "outage", "*", duration=50)]
    async with watched(faults, rate=20, settings={"streams": streams}) as seen:
        await trio.sleep(202)
        trends = seen.reporter.trends()
        received = {track.stream.name: track.received for track in seen.world.feed.tracks}
    assert (trends.at, trends.step_s, trends.keep_s) == (START + 200, 5, 600)
    assert {trend.stream for trend in trends.streams} == set(streams)
    for trend in trends.streams:
        assert len(trend.rates) == 40
        assert [rate > 0 for rate in trend.rates[1:20]] == [True] * 19
        assert trend.rates[21:30] == [0] * 9
        assert sum(trend.rates) * 5 == pytest.approx(received[trend.stream], abs=100)
    both = zip(*(trend.rates for trend in trends.streams), strict=True)
    assert trends.rates == pytest.approx([sum(pair) for pair in both], abs=0.02)


async def test_rates_are_kept_for_ten_minutes_and_no_longer(autojump_clock: Any) -> None:
    async with watched(rate=1) as seen:
        await trio.sleep(900)
        trends = seen.reporter.trends()
    assert len(trends.rates) * trends.step_s == trends.keep_s == 600
    assert [len(trend.rates) for trend in trends.streams] == [120]


async def test_the_trend_of_a_stream_begins_with_it(autojump_clock: Any) -> None:
    async with watched(rate=20) as seen:
        await trio.sleep(62)
        await seen.world.feed.subscribe("ethusdt@trade")
        await trio.sleep(39)
        trends = seen.reporter.trends()
    lengths = {trend.stream: len(trend.rates) for trend in trends.streams}
    assert lengths == {"btcusdt@trade": 20, "ethusdt@trade": 8}


# -- losses and repairs ----------------------------------------------------------------------------

BOOK = "btcusdt@depth@100ms"


async def test_a_gap_of_a_book_is_no_loss_once_a_snapshot_has_closed_it(
    autojump_clock: Any,
) -> None:
    faults = [
        fault(20, "dropped", "*", share=1, duration=1),
        fault(60, "dropped", "*", share=1, duration=1),
        fault(60, "rest_refused", "venue", duration=40),
    ]
    async with watched(faults, rate=20, settings={"streams": [BOOK]}) as seen:
        await trio.sleep(50)
        closed = seen.status()
        await trio.sleep(45)
        broken = seen.status()
        await trio.sleep(60)
        healed = seen.status()
    (stream,) = closed.streams
    assert stream.missing > 0
    assert (stream.lost, closed.coverage.lost, closed.state) == (0, 0, "ok")
    (stream,) = broken.streams
    assert stream.lost == stream.missing - closed.coverage.missing > 0
    assert broken.coverage.lost == stream.lost
    (stream,) = healed.streams
    assert (stream.lost, healed.coverage.lost) == (0, 0)


async def test_what_is_missing_of_trades_stays_lost(autojump_clock: Any) -> None:
    faults = [fault(10, "dropped", "*", share=0.5, duration=2)]
    async with watched(faults, rate=20, settings={"rest_urls": ["https://nobody.test"]}) as seen:
        await trio.sleep(60)
        status = seen.status()
    assert status.streams[0].lost == status.coverage.lost == status.coverage.missing > 0


async def test_losses_and_repairs_are_listed_newest_first(autojump_clock: Any) -> None:
    streams = ["btcusdt@trade", "ethusdt@bookTicker"]
    faults = [
        fault(20, "dropped", "*", share=0.5, duration=2),
        fault(100, "dropped", "*", share=0.5, duration=2),
        fault(100, "rest_refused", "venue", duration=60),
        fault(200, "outage", "*", duration=20),
    ]
    async with watched(faults, rate=20, settings={"streams": streams}) as seen:
        await trio.sleep(300)
        status = seen.status()
        gaps = [what for _, what in seen.world.of(on.GapDeclared)]
        (outage,) = [what for _, what in seen.world.of(on.OutageDeclared)]
        repaired = [(at, what.messages) for at, what in seen.world.of(on.Repaired)]
    kinds = [(loss.kind, loss.stream) for loss in status.losses]
    assert sorted(kinds[:2]) == [("outage", "ethusdt@bookTicker"), ("repair", "btcusdt@trade")]
    assert kinds[2:] == [("gap", "btcusdt@trade"), ("repair", "btcusdt@trade")]
    *_, gap, repair = status.losses
    assert gap.count == sum(what.gaps for what in gaps) > 5
    assert (gap.reason, gap.first, gap.last) == ("not_repaired", gaps[0].first, gaps[-1].last)
    early = [(at, messages) for at, messages in repaired if at < 100]
    assert repair.count == sum(messages for _, messages in early)
    assert rounded([repair.began, repair.ended]) == [
        round(START + early[0][0], 3),
        round(START + early[-1][0], 3),
    ]
    unproven = next(loss for loss in status.losses if loss.kind == "outage")
    assert unproven.unproven_s == outage.until - outage.since


async def test_losses_are_remembered_up_to_a_bound(autojump_clock: Any) -> None:
    history = History(lambda: trio.current_time())
    for number in range(MAX_ROWS + 5):
        history.observe(on.GapDeclared("v", f"s{number}", 1, 1, "jump"))
        history.observe(on.GapDeclared("v", f"s{number}", 5, 9, "jump"))
    losses = history.recent_losses()
    assert len(losses) == MAX_ROWS
    assert (losses[0].stream, losses[0].count) == (f"s{MAX_ROWS + 4}", 2)
    assert (losses[0].first, losses[0].last) == (1, 9)
    assert history.losses == MAX_ROWS + 5


async def test_losses_with_a_long_pause_between_them_are_two(autojump_clock: Any) -> None:
    history = History(lambda: trio.current_time())
    for _ in range(2):
        history.observe(on.GapDeclared("v", "s", 1, 1, "jump"))
        await trio.sleep(61)
    assert [loss.count for loss in history.recent_losses()] == [1, 1]


async def test_of_many_streams_those_with_trouble_are_shown_and_the_rest_is_counted(
    autojump_clock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(status_module, "MAX_ROWS", 2)
    calm = ["btcusdt@bookTicker", "ethusdt@bookTicker", "btcusdt@miniTicker"]
    streams = [*calm, "btcusdt@trade", "ethusdt@trade"]
    faults = [fault(10, "dropped", "*", share=0.5, duration=2)]
    settings = {"streams": streams, "rest_urls": ["https://nobody.test"]}
    async with watched(faults, rate=20, settings=settings) as seen:
        await trio.sleep(60)
        status = seen.status()
    assert [stream.stream for stream in status.streams] == ["btcusdt@trade", "ethusdt@trade"]
    assert status.not_shown.streams == len(calm)


async def test_a_backlog_near_its_bound_is_a_warning(autojump_clock: Any) -> None:
    settings = {"max_buffered_messages": 50}
    async with watched(rate=50, consume=False, settings=settings) as seen:
        await trio.sleep(20)
        status = seen.status()
    waiting = status.buffer.waiting
    assert status.buffer.limit == 50
    assert waiting >= 50
    assert status.warnings == [f"the consumer is slow: {waiting} of 50 messages wait for it"]


async def test_outages_are_remembered_up_to_a_bound(autojump_clock: Any) -> None:
    history = History(lambda: trio.current_time())
    for number in range(MAX_ROWS + 5):
        await trio.sleep(10)
        lost = on.ConnectionLost(
            "0", "e", 0, "v", "connection_closed", "dropped", f"{number}", 5, 1, carrying=True
        )
        history.observe(lost)
        history.observe(on.Reconnecting("0", "e", 0, "connection_closed", 1, 0, 0))
        history.observe(on.Flowing("0", "e", 0, "v", 1.5))
    assert len(history.recent()) == MAX_ROWS
    assert history.recent()[0].detail == f"{MAX_ROWS + 4}"
    assert history.outages == MAX_ROWS + 5


async def test_a_failed_rotation_is_no_outage(autojump_clock: Any) -> None:
    history = History()
    history.observe(on.DialFailed("0", "e", 0, "v", "websocket_error", "refused", "no", 1))
    assert list(history.recent()) == []


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("wss://me:secret@host:1/stream", "wss://…@host:1/stream"),
        ("GET https://host/x?token=secret failed", "GET https://host/x?… failed"),
        ("really? yes", "really? yes"),
        ("two\nlines\x1b[31m", "two lines [31m"),
        ("x" * 1000, "x" * (MAX_DETAIL - 1) + "…"),
    ],
)
def test_what_a_failure_says_is_shown_short_and_without_secrets(text: str, shown: str) -> None:
    assert presentable(text) == shown


# -- the log --------------------------------------------------------------------------------------


def log_of(*shards: ShardReport) -> LogReport:
    return LogReport("g", "hot", list(shards), TakeoverReport(START, 0.5, 3))


async def test_a_run_without_shards_has_no_log(autojump_clock: Any) -> None:
    async with watched() as seen:
        assert seen.status().log is None


async def test_the_log_is_told_as_it_is_when_somebody_asks(autojump_clock: Any) -> None:
    lags = iter([0.1, 0.2])
    async with watched() as seen:
        seen.reporter.log = lambda: log_of(ShardReport(0, True, 2, 7, next(lags), 0.05))
        first, second = seen.status(), seen.status()
    assert first.log is not None
    assert msgspec.to_builtins(first.log) == {
        "group": "g",
        "standby": "hot",
        "shards": [
            {
                "shard": 0,
                "owned": True,
                "streams": 2,
                "uncommitted": 7,
                "lag_s": 0.1,
                "last_commit_s": 0.05,
            }
        ],
        "last_takeover": {"at": START, "seconds": 0.5, "shard": 3},
    }
    assert second.log is not None
    assert second.log.shards[0].lag_s == 0.2
    assert first.not_shown.shards == 0


async def test_of_many_shards_those_of_this_process_are_shown(autojump_clock: Any) -> None:
    many = [ShardReport(shard, shard % 2 == 1, 1) for shard in range(MAX_ROWS + 7)]
    async with watched() as seen:
        seen.reporter.log = lambda: log_of(*many)
        status = seen.status()
    assert status.log is not None
    shown = [one.shard for one in status.log.shards]
    assert (len(shown), status.not_shown.shards) == (MAX_ROWS, 7)
    assert shown == sorted(shown)
    assert {one.shard for one in many if one.owned} <= set(shown)
