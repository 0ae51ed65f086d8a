"""Silence and what it means: the venue's answer, each stream's rhythm, and the two steps after."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import pytest
import trio
from msgspec import structs
from rest import Rest, agg_rows, make_backfill, status, trade_rows
from world import SUBJECT, World, fault, name, open_world

from k2trio.continuity.arbiter import Arbiter
from k2trio.continuity.items import Outage
from k2trio.market.payloads import (
    AggTrade,
    BlockTrade,
    BookTicker,
    Event,
    MiniTicker,
    PartialDepth,
    ReferencePrice,
    Trade,
)
from k2trio.market.units import UNITS
from k2trio.observe import transitions as on
from k2trio.repair.staleness import IN_FLIGHT_S, RARE_MESSAGES, StalenessCheck, Verdict
from k2trio.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable

    import httpx2

AGGS, ETH = "btcusdt@aggTrade", "ethusdt@trade"
BLOCKS = "btcusdt@blockTrade"
MINI_TICKERS = "!miniTicker@arr"
VENUE = "v.test"


def trade(number: int, stream: str = SUBJECT) -> Event:
    data = Trade(number, "BTCUSDT", number, "1", "1", number, False)
    return Event(data, stream, VENUE, 0.0, b"")


def agg(number: int) -> Event:
    data = AggTrade(number, "BTCUSDT", number, "1", "1", number, number, number, False)
    return Event(data, AGGS, VENUE, 0.0, b"")


def mini(at: int) -> Event:
    data = MiniTicker(at, "BTCUSDT", *"111111")
    return Event(data, "btcusdt@miniTicker", VENUE, 0.0, b"")


def quote(number: int) -> Event:
    data = BookTicker(number, "BTCUSDT", "1", "1", "2", "1")
    return Event(data, "btcusdt@bookTicker", VENUE, 0.0, b"")


def top(number: int) -> Event:
    return Event(PartialDepth(number, [], []), "btcusdt@depth5", VENUE, 0.0, b"")


def block(number: int) -> Event:
    data = BlockTrade(number, "BTCUSDT", number, "1", "1", number, False)
    return Event(data, BLOCKS, VENUE, 0.0, b"")


def block_row(number: int) -> dict[str, Any]:
    (row,) = trade_rows([number])
    del row["isBestMatch"]
    return row


class Bench:
    """A staleness check, the arbiter it looks at, and the venue it asks."""

    def __init__(self, answer: Callable[[httpx2.Request], Any], **values: Any) -> None:
        self.rest = Rest(answer)
        hosts = values.pop("hosts", ["https://v.test:1"])
        chosen = Settings(websocket_url="wss://v.test:9/stream", **values)
        self.arbiter = Arbiter(100, unit=chosen.unit)
        self.check = StalenessCheck(
            self.arbiter,
            make_backfill(self.rest, hosts, time_unit=chosen.time_unit),
            chosen,
            lambda _: None,
        )

    def offer(self, *events: Event) -> None:
        self.arbiter.offer(VENUE, events, trio.current_time())

    async def verify(self, *streams: str, since: float | None = None) -> Verdict:
        silent_since = trio.current_time() if since is None else since
        return await self.check.verify(VENUE, streams or [SUBJECT], silent_since, open_since=0)


# -- what the venue says ------------------------------------------------------------------------


@pytest.mark.parametrize(("newest", "verdict"), [(7, Verdict.QUIET), (8, Verdict.NEWS)])
async def test_an_id_that_we_do_not_have_is_news(
    autojump_clock: Any, newest: int, verdict: Verdict
) -> None:
    bench = Bench(lambda _: trade_rows([newest]))
    bench.offer(trade(6), trade(7))
    assert await bench.verify() is verdict


async def test_a_lower_id_on_a_later_trade_is_news(autojump_clock: Any) -> None:
    """Ids may begin anew while a connection is silent."""
    row = trade_rows([3])[0] | {"time": 8}
    bench = Bench(lambda _: [row])
    bench.offer(trade(6), trade(7))
    assert await bench.verify() is Verdict.NEWS


async def test_a_book_whose_low_id_moves_between_two_questions_is_news(
    autojump_clock: Any,
) -> None:
    """By its levels: of one that tells no others the id says nothing."""
    told = iter([(90, "1"), (90, "1"), (91, "1"), (92, "2")])

    def book(_: Any) -> dict[str, Any]:
        number, quantity = next(told)
        return {"lastUpdateId": number, "bids": [["1", quantity]], "asks": []}

    bench = Bench(book)
    bench.offer(top(100))
    verdicts = [await bench.verify("btcusdt@depth5") for _ in range(4)]
    assert verdicts == [Verdict.QUIET, Verdict.QUIET, Verdict.QUIET, Verdict.NEWS]


async def test_what_a_book_said_before_the_last_message_proves_nothing(
    autojump_clock: Any,
) -> None:
    ids = iter([90, 100])
    bench = Bench(lambda _: {"lastUpdateId": next(ids), "bids": [], "asks": []})
    bench.offer(quote(100))
    assert await bench.verify("btcusdt@bookTicker") is Verdict.QUIET
    bench.offer(quote(101))
    assert await bench.verify("btcusdt@bookTicker") is Verdict.QUIET


@pytest.mark.parametrize("unit", ["ms", "us"])
@pytest.mark.parametrize("told", [1, 1000], ids=["REST in ms", "REST in us"])
@pytest.mark.parametrize(("later_ms", "verdict"), [(0, Verdict.QUIET), (1, Verdict.NEWS)])
async def test_times_are_compared_in_the_unit_of_the_feed(
    autojump_clock: Any, unit: str, told: int, later_ms: int, verdict: Verdict
) -> None:
    now_ms = 1_800_000_000_000
    row = trade_rows([7])[0] | {"time": (now_ms + later_ms) * told}
    bench = Bench(lambda _: [row], time_unit=unit)
    time = now_ms * UNITS[unit].per_ms
    bench.offer(structs.replace(mini(time), received=now_ms / 1000))
    assert await bench.verify("btcusdt@miniTicker") is verdict


async def test_the_last_trade_is_no_news_where_rest_tells_its_time_more_finely(
    autojump_clock: Any,
) -> None:
    now_us = 1_800_000_000_000_000
    row = trade_rows([7])[0] | {"time": now_us + 999}
    bench = Bench(lambda _: [row], time_unit="us")
    told = structs.replace(trade(7).data, event_time=now_us, trade_time=now_us)
    bench.offer(structs.replace(trade(7), data=told, received=now_us / 1e6))
    assert await bench.verify() is Verdict.QUIET


@pytest.mark.parametrize(("traded_at", "verdict"), [(999, Verdict.QUIET), (1001, Verdict.NEWS)])
async def test_kinds_that_speak_of_trades_are_compared_by_time(
    autojump_clock: Any, traded_at: int, verdict: Verdict
) -> None:
    bench = Bench(lambda _: trade_rows([traded_at]))
    bench.offer(mini(1000))
    assert await bench.verify("btcusdt@miniTicker") is verdict


async def test_news_that_arrives_within_3_s_was_only_on_its_way(autojump_clock: Any) -> None:
    bench = Bench(lambda _: trade_rows([8]))
    bench.offer(trade(7))
    async with trio.open_nursery() as nursery:

        async def deliver() -> None:
            await trio.sleep(IN_FLIGHT_S - 0.1)
            bench.offer(trade(8))

        nursery.start_soon(deliver)
        assert await bench.verify() is Verdict.QUIET
    assert trio.current_time() == IN_FLIGHT_S


async def test_a_venue_that_does_not_answer_within_10_s_proves_no_quiet(
    autojump_clock: Any,
) -> None:
    async def silent(_: object) -> Any:
        await trio.sleep_forever()

    bench = Bench(silent, hosts=[f"https://v.test:{n}" for n in range(1, 9)])
    bench.offer(trade(7))
    assert await bench.verify() is Verdict.NEWS
    assert trio.current_time() == 10


@pytest.mark.parametrize("answer", [status(500), "garbage", []], ids=["500", "garbage", "empty"])
async def test_an_answer_that_says_nothing_proves_no_quiet(
    autojump_clock: Any, answer: Any
) -> None:
    bench = Bench(lambda _: answer)
    bench.offer(trade(7))
    assert await bench.verify() is Verdict.NEWS


@pytest.mark.parametrize("stream", ["btcusdt@avgPrice", "!miniTicker@arr", "!ticker_1h@arr"])
async def test_the_silence_of_a_periodic_kind_is_acted_on_once(
    autojump_clock: Any, stream: str
) -> None:
    """Nobody can be asked about it. What one reconnect does not mend, ten do not either."""
    bench = Bench(lambda _: trade_rows([7]))
    bench.offer(trade(7))
    assert await bench.verify(SUBJECT, stream) is Verdict.NEWS
    assert await bench.verify(SUBJECT, stream) is Verdict.UNPROVEN
    assert await bench.verify(SUBJECT, stream) is Verdict.UNPROVEN


async def test_a_periodic_kind_that_spoke_again_may_be_silent_once_more(
    autojump_clock: Any,
) -> None:
    bench = Bench(lambda _: [])
    assert await bench.verify(MINI_TICKERS) is Verdict.NEWS
    assert await bench.verify(MINI_TICKERS) is Verdict.UNPROVEN
    bench.offer(Event([mini(5).data], MINI_TICKERS, VENUE, 0.0, b""))
    assert await bench.verify(MINI_TICKERS) is Verdict.NEWS


@pytest.mark.parametrize(
    ("answer", "verdict"),
    [
        ([7], Verdict.QUIET),
        ([7, 9], Verdict.NEWS),
        ([], Verdict.UNPROVEN),
        (status(404), Verdict.UNPROVEN),
    ],
    ids=["nothing newer", "newer", "not even the last one", "not served"],
)
async def test_block_trades_are_asked_about_from_the_last_one_on(
    autojump_clock: Any, answer: Any, verdict: Verdict
) -> None:
    """Without an answer their silence proves nothing, as they may have nothing to say for hours."""
    rows = [block_row(number) for number in answer] if isinstance(answer, list) else answer
    bench = Bench(lambda _: rows)
    bench.offer(block(6), block(7))
    assert await bench.verify(BLOCKS) is verdict
    assert {request[2:][0] for request in bench.rest.requests} == {"/api/v3/historicalBlockTrades"}
    assert bench.rest.requests[0][3] == {"symbol": "BTCUSDT", "fromId": "7", "limit": "1000"}


@pytest.mark.parametrize(("besides", "verdict"), [([], Verdict.QUIET), ([9], Verdict.NEWS)])
async def test_block_trades_that_wait_are_no_news_and_hide_none(
    autojump_clock: Any, besides: list[int], verdict: Verdict
) -> None:
    """One lies so far ahead that it is not believed; the exchange lists it, and what came after."""
    far = 5_000_007
    data = structs.replace(block(far).data, trade_time=8)
    rows = [block_row(7), block_row(far) | {"time": 8}]
    rows += [block_row(far + one) | {"time": 8 + one} for one in besides]
    bench = Bench(lambda request: rows[: int(request.url.params["limit"])])
    bench.offer(block(6), block(7), structs.replace(block(far), data=data))
    assert await bench.verify(BLOCKS) is verdict


@pytest.mark.parametrize("stream", ["btcusdt@blockTrade", "btcusdt@referencePrice"])
async def test_a_rare_kind_may_be_silent_for_ever(autojump_clock: Any, stream: str) -> None:
    bench = Bench(lambda _: trade_rows([7]))
    bench.offer(trade(7))
    assert await bench.verify(stream) is Verdict.QUIET
    assert bench.rest.requests == []
    assert await bench.verify(SUBJECT, stream) is Verdict.QUIET


async def test_who_can_say_nothing_does_not_keep_the_others_from_proving_quiet(
    autojump_clock: Any,
) -> None:
    """A symbol that is not there, and a rare kind without an answer."""

    def answer(request: httpx2.Request) -> Any:
        if request.url.params["symbol"] == "GHOSTUSDT":
            return status(400, -1121)
        return [] if "lock" in request.url.path else trade_rows([7])

    bench = Bench(answer)
    bench.offer(trade(7), block(7))
    assert await bench.verify(SUBJECT, "ghostusdt@trade", BLOCKS) is Verdict.QUIET
    assert await bench.verify("ghostusdt@trade", BLOCKS) is Verdict.UNPROVEN


@pytest.mark.parametrize(
    ("brought_at", "verdict"),
    [(40 + IN_FLIGHT_S, Verdict.QUIET), (40.1 + IN_FLIGHT_S, Verdict.NEWS)],
)
async def test_what_another_connection_brought_later_is_news_without_a_question(
    autojump_clock: Any, brought_at: float, verdict: Verdict
) -> None:
    """Unless it may be the copy of the last message that this connection brought, at 40 s."""
    bench = Bench(lambda _: trade_rows([7]))
    await trio.sleep(brought_at)
    bench.offer(trade(7))
    await trio.sleep_until(100)
    assert await bench.verify(since=40) is verdict
    assert len(bench.rest.requests) == (verdict is Verdict.QUIET)
    assert trio.current_time() == 100


async def test_what_another_connection_has_just_brought_may_be_on_its_way_here(
    autojump_clock: Any,
) -> None:
    bench = Bench(lambda _: trade_rows([7]))
    await trio.sleep(99)
    bench.offer(trade(7))
    await trio.sleep_until(100)
    assert await bench.verify(since=40) is Verdict.NEWS
    assert trio.current_time() == 99 + IN_FLIGHT_S


async def test_without_a_rest_host_nothing_is_proven(autojump_clock: Any) -> None:
    bench = Bench(lambda _: trade_rows([7]), hosts=["https://elsewhere.test"])
    bench.offer(trade(7))
    assert await bench.verify() is Verdict.NEWS


async def test_the_liveliest_streams_are_asked_about_five_at_most(autojump_clock: Any) -> None:
    streams = [f"sym{n}@trade" for n in range(9)]
    bench = Bench(lambda _: trade_rows([5]))
    for n, stream in enumerate(streams):
        bench.offer(*[trade(5 - n + k, stream) for k in range(n + 1)])
    assert await bench.verify(*streams) is Verdict.QUIET
    asked = [query["symbol"] for *_, query in bench.rest.requests]
    assert sorted(asked) == ["SYM4", "SYM5", "SYM6", "SYM7", "SYM8"]


async def test_one_stream_with_news_is_enough(autojump_clock: Any) -> None:
    bench = Bench(
        lambda request: agg_rows([9]) if "aggTrades" in request.url.path else trade_rows([7])
    )
    bench.offer(trade(7), agg(7))
    assert await bench.verify(SUBJECT, AGGS) is Verdict.NEWS


async def test_before_the_first_message_the_answer_becomes_the_measure(
    autojump_clock: Any,
) -> None:
    """The first question proves nothing; the second one tells news by what the first one said."""
    newest = [50, 50, 51]
    bench = Bench(lambda _: trade_rows([newest.pop(0)]))
    assert await bench.verify() is Verdict.UNPROVEN
    assert await bench.verify() is Verdict.QUIET
    assert await bench.verify() is Verdict.NEWS
    # And the first message that does come proves whether one was missed before it.
    bench.offer(trade(53))
    assert bench.arbiter.track(VENUE, SUBJECT).gap == (51, 52)


async def test_a_kind_without_ids_stays_unproven_until_it_speaks(autojump_clock: Any) -> None:
    bench = Bench(lambda _: trade_rows([50]))
    for _ in range(3):
        assert await bench.verify("btcusdt@miniTicker") is Verdict.UNPROVEN


# -- one silent stream among others -------------------------------------------------------------


def silences(world: World) -> list[tuple[float, str, str]]:
    return [(at, what.stream, what.action) for at, what in world.of(on.StreamSilent)]


async def test_a_silent_stream_is_subscribed_anew_and_then_the_connection_replaced(
    autojump_clock: Any,
) -> None:
    """Looked at every 30 s, suspicious 60 s after its last message, 30 s between the steps."""
    silent = fault(100, "silent_symbol", symbol="ETHUSDT")
    settings = {"streams": [SUBJECT, ETH]}
    async with open_world([silent], endpoints=["a"], rate=5, settings=settings) as world:
        await trio.sleep(400)
    (at, *first), (later, *second) = silences(world)
    assert (first, second) == ([ETH, "resubscribe"], [ETH, "reconnect"])
    assert at == 180 + IN_FLIGHT_S
    # The watcher sleeps for another interval when it has looked; two messages are paced 0.4 s.
    assert later == pytest.approx(at + 0.4 + 30 + IN_FLIGHT_S)
    ((lost_at, lost),) = world.of(on.ConnectionLost)
    assert (lost_at, lost.error_type) == (later, "stale_stream")
    got = [item.data.trade_id for _, item in world.items if item.stream == ETH]
    assert got == list(range(got[0], got[0] + len(got)))
    assert got[-1] == world.exchange.truth.ranges(ETH)[0][1]


async def test_a_dead_subscription_that_subscribing_anew_mends_costs_no_connection(
    autojump_clock: Any,
) -> None:
    settings = {"streams": [SUBJECT, ETH]}
    async with open_world(endpoints=["a"], rate=5, settings=settings) as world:
        await trio.sleep(50)
        (session,) = world.exchange.sessions.values()
        session.unsubscribe([ETH])
        await trio.sleep(300)
    assert [what[1:] for what in silences(world)] == [(ETH, "resubscribe")]
    assert world.of(on.ConnectionLost) == []
    got = [item.data.trade_id for _, item in world.items if item.stream == ETH]
    assert got == list(range(got[0], world.exchange.truth.ranges(ETH)[0][1] + 1))


async def test_a_quiet_stream_is_left_alone(autojump_clock: Any) -> None:
    """A trade every few minutes, verified: no resubscription, no reconnect."""
    settings = {"streams": [SUBJECT, ETH, "ethusdt@kline_1h", "btcusdt@miniTicker"]}
    async with open_world(rate=0.005, settings=settings) as world:
        await trio.sleep(3 * 3600)
    assert silences(world) == []
    assert world.of(on.ConnectionLost) == []


@pytest.mark.parametrize(("per_hour", "patience_s"), [(3600, 60), (60, 1200), (6, 12_000)])
async def test_the_patience_with_a_stream_follows_its_rhythm(
    autojump_clock: Any, per_hour: int, patience_s: float
) -> None:
    """Twenty mean intervals, and never less than the health check timeout."""
    bench = Bench(lambda _: [])
    for number in range(50):
        bench.offer(trade(number))
        await trio.sleep(3600 / per_hour)
    track = bench.arbiter.track(VENUE, SUBJECT)
    patience = bench.check._patience(track, trio.current_time())
    assert patience == pytest.approx(patience_s, rel=0.03)


async def test_a_stream_that_has_hardly_spoken_is_judged_by_the_connections_age(
    autojump_clock: Any,
) -> None:
    bench = Bench(lambda _: [])
    track = bench.arbiter.track(VENUE, SUBJECT)
    assert bench.check._patience(track, 100) == 60
    assert bench.check._patience(track, 72_000) == 3600


PERIODIC = ["ethusdt@avgPrice", "!miniTicker@arr", "!ticker_1h@arr"]


@pytest.mark.parametrize("stream", PERIODIC)
async def test_a_silent_stream_that_nobody_can_be_asked_about_is_judged_by_its_rhythm(
    autojump_clock: Any, stream: str
) -> None:
    """Subscribed anew, then the connection replaced, once; and the time is named in the end."""
    silent = fault(100, "silent_symbol", symbol=stream.partition("@")[0], duration=900)
    settings = {"streams": [SUBJECT, stream]}
    async with open_world([silent], endpoints=["a"], rate=5, settings=settings) as world:
        await trio.sleep(1200)
    assert [what[1:] for what in silences(world)] == [
        (stream, "resubscribe"),
        (stream, "reconnect"),
    ]
    assert [what.error_type for _, what in world.of(on.ConnectionLost)] == ["stale_stream"]
    (outage,) = (item for _, item in world.items if isinstance(item, Outage))
    assert outage.stream == stream
    assert outage.until - outage.since == pytest.approx(900, abs=5)


@pytest.mark.slow
async def test_a_rare_stream_that_breaks_its_rhythm_is_subscribed_anew(autojump_clock: Any) -> None:
    """Block trades come by chance here, every few seconds, and then not at all."""
    stream = "ethusdt@blockTrade"
    settings = {"streams": [SUBJECT, stream]}
    silent = fault(2000, "silent_symbol", symbol="ETHUSDT")
    async with open_world([silent], endpoints=["a"], rate=5, settings=settings) as world:
        await trio.sleep(8000)
    assert [what[1:] for what in silences(world)] == [
        (stream, "resubscribe"),
        (stream, "reconnect"),
    ]
    heard = [at for at, item in world.items if item.stream == stream and at < 2000]
    rhythm = (heard[-1] - heard[0]) / len(heard)
    assert silences(world)[0][0] - heard[-1] >= 20 * rhythm


async def test_few_messages_of_a_rare_kind_are_no_rhythm_on_however_many_lines(
    autojump_clock: Any,
) -> None:
    """Nobody can be asked about liquidations, of which there may be none for hours."""
    orders = "!forceOrder@arr"
    settings = {"streams": ["btcusdt@aggTrade", orders], "redundancy": 2}
    async with open_world(rate=1, settings=settings, product="usdm") as world:
        await trio.sleep(60)
        assert 0 < len([item for _, item in world.items if item.stream == orders]) < 10
        world.exchange.market.set_rate(0)
        for at in range(200):  # trades, of which few are those of a liquidation
            await trio.sleep(20)
            world.exchange.publish(world.exchange.market.burst(at < 3))
        assert silences(world) == []
        assert world.of(on.ConnectionLost) == []


async def test_a_rare_kind_has_a_rhythm_after_many_messages(autojump_clock: Any) -> None:
    """Copies do not count."""
    bench = Bench(lambda _: [])
    track = bench.arbiter.track(VENUE, "btcusdt@referencePrice")
    for number in range(RARE_MESSAGES):
        assert bench.check._patience(track, 100_000) == math.inf
        await trio.sleep(30)
        data = ReferencePrice("BTCUSDT", "1", 1000 * number)
        for _ in range(2):
            bench.offer(Event(data, track.stream.name, VENUE, 30.0 * number, b""))
    rhythm = 30 * (RARE_MESSAGES - 1) / RARE_MESSAGES
    assert bench.check._patience(track, 100_000) == pytest.approx(20 * rhythm)


async def test_a_quiet_stream_beside_others_stays_while_nobody_answers(autojump_clock: Any) -> None:
    """And is told as an outage when it speaks again, as nobody can say what it had."""
    settings = {"streams": [SUBJECT, "ethusdt@bookTicker"], "rest_urls": ["https://nowhere.test"]}
    silent = fault(100, "silent_symbol", symbol="ETHUSDT", duration=1100)
    async with open_world([silent], endpoints=["a"], rate=5, settings=settings) as world:
        await trio.sleep(1500)
    assert silences(world) == []
    assert world.of(on.ConnectionLost) == []
    (outage,) = (item for _, item in world.items if isinstance(item, Outage))
    assert outage.stream == "ethusdt@bookTicker"
    assert outage.until - outage.since == pytest.approx(1100, abs=5)


async def test_nothing_is_suspected_while_the_check_is_switched_off(autojump_clock: Any) -> None:
    silent = fault(100, "silent_symbol", symbol="ETHUSDT")
    settings = {"streams": [SUBJECT, ETH], "health_check_timeout": 0}
    async with open_world([silent], endpoints=["a"], rate=5, settings=settings) as world:
        await trio.sleep(600)
    assert silences(world) == []


# -- a whole connection -------------------------------------------------------------------------


async def test_a_silent_connection_whose_venue_has_news_is_cut_60_s_after_the_last_message(
    autojump_clock: Any,
) -> None:
    async with open_world([fault(20, "stall")], rate=50) as world:
        await trio.sleep(120)
    ((at, lost),) = world.of(on.ConnectionLost)
    last_data = max(when for when, _ in world.items if when <= 20)
    assert at == pytest.approx(last_data + 60, abs=1e-6)
    assert lost.error_type == "stale_data"
    # What the silence swallowed has been repaired.
    ids = [item.data.trade_id for _, item in world.items]
    assert ids == list(range(ids[0], world.exchange.truth.ranges(SUBJECT)[0][1] + 1))


@pytest.mark.parametrize("limit", [4, 10, 60])
async def test_staleness_is_exact_at_the_limit_whatever_it_is(
    autojump_clock: Any, limit: float
) -> None:
    settings = {"health_check_timeout": limit, "health_check_interval": min(30, limit)}
    async with open_world([fault(7, "stall", "a")], rate=20, settings=settings) as world:
        await trio.sleep(limit + 20)
    last_data = max(when for when, _ in world.items if when <= 7)
    dials = [(at, what.endpoint) for at, what in world.of(on.Dialing)]
    assert dials[1] == (pytest.approx(last_data + limit, abs=1e-6), name("b"))


async def test_a_message_that_comes_after_the_question_is_a_sign_of_life(
    autojump_clock: Any,
) -> None:
    """The venue has news 47 s after the last message, and that comes before the limit."""
    late = fault(20, "stall", "a", duration=38)
    async with open_world([late], rate=50, settings={"stable_after": 5}) as world:
        await trio.sleep(200)
    assert world.of(on.ConnectionLost) == []


async def test_a_quiet_market_is_asked_about_once_a_timeout(autojump_clock: Any) -> None:
    async with open_world(rate=0) as world:
        await trio.sleep(3600)
        server = world.network.rest_server("venue.test")
    assert server is not None
    assert world.of(on.ConnectionLost) == []
    # Once a minute for the connection, and by the stream's own rhythm.
    assert len(server.requests) <= 60 + 120


async def test_a_connection_that_never_carried_anything_in_a_lively_market_is_cut(
    autojump_clock: Any,
) -> None:
    """Its first question sets the measure, its second one proves it dead."""
    dead = fault(0, "subscribe_dead", "a", count=1)
    async with open_world([dead], endpoints=["a"], rate=5) as world:
        await trio.sleep(300)
    ((at, lost),) = world.of(on.ConnectionLost)
    assert lost.error_type == "stale_data"
    assert at <= 120
    assert len(world.items) > 100


async def test_a_connection_of_rare_streams_is_left_alone(autojump_clock: Any) -> None:
    settings = {"streams": ["btcusdt@blockTrade"], "max_reconnect_attempts": 3}
    async with open_world(rate=0, endpoints=["a"], settings=settings) as world:
        await trio.sleep(3 * 3600)
        assert world.feed.status().connected
    assert world.error is None
    assert world.of(on.ConnectionLost) == []


async def test_a_symbol_that_the_venue_does_not_have_is_named_once_and_nobody_is_left_for_it(
    autojump_clock: Any,
) -> None:
    """The exchange accepts such a subscription and stays silent; REST knows better."""
    settings = {"streams": [SUBJECT, "btcusd@trade", "ghostusdt@bookTicker"]}
    async with open_world(
        endpoints=["a"], rate=0.02, strict_symbols=False, settings=settings
    ) as world:
        await trio.sleep(1800)
        (problem,) = world.feed.status().problems
        shown = world.metric("k2_binance_unknown_streams")
    assert problem == "the exchange has no such symbol: btcusd@trade, ghostusdt@bookTicker"
    assert shown == 2
    named = [
        (*what.streams, what.code, what.detail) for _, what in world.of(on.SubscriptionRefused)
    ]
    assert named == [
        ("btcusd@trade", -1121, "BTCUSD is not a symbol of venue.test; did you mean BTCUSDT?"),
        ("ghostusdt@bookTicker", -1121, "GHOSTUSDT is not a symbol of venue.test"),
    ]
    assert silences(world) == []
    assert world.of(on.ConnectionLost) == []


async def test_a_symbol_is_unknown_to_a_venue_only_while_that_one_is_in_use(
    autojump_clock: Any,
) -> None:
    settings = {"streams": [SUBJECT, "btcusd@trade"]}
    venues = {"a": "home", "b": "abroad"}
    away = fault(200, "outage", "a", duration=1000)
    async with open_world(
        [away], venues=venues, rate=5, strict_symbols=False, settings=settings
    ) as world:
        for wait in (150, 400):
            await trio.sleep(wait)
            assert world.metric("k2_binance_unknown_streams") == 1
    assert len(world.of(on.SubscriptionRefused)) == 2


# -- two connections ----------------------------------------------------------------------------


async def test_a_dead_standby_is_replaced_although_its_companion_has_everything(
    autojump_clock: Any,
) -> None:
    async with open_world([fault(20, "stall", "b")], rate=5, settings={"redundancy": 2}) as world:
        await trio.sleep(300)
        server = world.network.rest_server("venue.test")
    ((at, lost),) = world.of(on.ConnectionLost)
    assert (lost.line, lost.error_type) == ("0b", "stale_data")
    assert at == pytest.approx(20 + 60, abs=1)
    assert server is not None
    assert list(server.requests) == []
    got = [item.data.trade_id for _, item in world.items]
    assert got == list(range(got[0], world.exchange.truth.ranges(SUBJECT)[0][1] + 1))


async def test_a_standby_that_is_dead_from_the_start_never_counts_as_stable(
    autojump_clock: Any,
) -> None:
    dead = fault(0, "subscribe_dead", "b", count=1)
    async with open_world([dead], rate=5, settings={"redundancy": 2}) as world:
        await trio.sleep(60)
        assert [line.stable for line in world.feed.status().lines] == [True, False]
        await trio.sleep(60)
    ((at, lost),) = world.of(on.ConnectionLost)
    assert (lost.line, lost.error_type) == ("0b", "stale_data")
    assert at == 60


async def test_one_stream_that_only_one_line_misses_is_noticed(autojump_clock: Any) -> None:
    settings = {"streams": [SUBJECT, ETH], "redundancy": 2}
    async with open_world(rate=5, settings=settings) as world:
        await trio.sleep(50)
        session = list(world.exchange.sessions.values())[-1]
        session.unsubscribe([ETH])
        await trio.sleep(300)
        assert all(
            ETH in session.subscriptions.subscriptions()
            for session in world.exchange.sessions.values()
        )
    assert [what[1:] for what in silences(world)] == [(ETH, "resubscribe")]
    assert world.of(on.ConnectionLost) == []


async def test_a_replacement_that_is_dead_on_arrival_does_not_take_over(
    autojump_clock: Any,
) -> None:
    """The old connection goes on, and the rotation is tried again."""
    dead = fault(90, "subscribe_dead", "a", count=1)
    settings = {"rotate_after": 100}
    async with open_world([dead], endpoints=["a"], rate=5, settings=settings) as world:
        await trio.sleep(180)
    ((failed_at, failed),) = world.of(on.RotationFailed)
    assert failed.error_type == "stale_data"
    ((rotated_at, _),) = world.of(on.Rotated)[:1]
    ((began_at, _), *_) = world.of(on.Rotating)
    assert failed_at - began_at == pytest.approx(10 + IN_FLIGHT_S, abs=1)
    assert rotated_at > failed_at
    ids = [item.data.trade_id for _, item in world.items]
    assert ids == list(range(ids[0], world.exchange.truth.ranges(SUBJECT)[0][1] + 1))


async def test_what_is_taken_again_is_no_sign_that_another_connection_lives(
    autojump_clock: Any,
) -> None:
    bench = Bench(lambda _: trade_rows([7]))
    six, seven = (structs.replace(trade(n), received=trio.current_time()) for n in (6, 7))
    bench.offer(six, seven)
    since = trio.current_time()
    await trio.sleep(20)
    bench.arbiter.end(bench.arbiter.track(VENUE, SUBJECT))
    bench.arbiter.offer_again([six, seven], trio.current_time())
    assert await bench.verify(since=since) is Verdict.QUIET
