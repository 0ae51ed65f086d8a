"""REST repair: the budget, the hosts and what they answer, in virtual time."""

from __future__ import annotations

from typing import Any

import httpx2
import msgspec
import pytest
import trio
from rest import (
    HOSTS,
    VENUE,
    Drip,
    Rest,
    agg_rows,
    asked,
    kline_rows,
    make_backfill,
    ok,
    status,
    trade_rows,
)
from world import fault, open_world

from k2trio.market.decoder import decode_payload
from k2trio.market.payloads import PAYLOADS, DepthSnapshot, Event, Level
from k2trio.market.streams import Stream, parse_stream
from k2trio.repair import asking as module
from k2trio.repair import hosts as module_hosts
from k2trio.repair.hosts import BackfillError, rest_venue_of
from k2trio.repair.rest import Backfill, Newest
from k2trio.settings import Settings

TRADES, AGGS = parse_stream("btcusdt@trade"), parse_stream("btcusdt@aggTrade")
DEPTH, MINUTES = parse_stream("btcusdt@depth"), parse_stream("btcusdt@kline_1m")


def aggs(request: httpx2.Request) -> Any:
    first, limit = asked(request)
    return agg_rows(range(first, first + limit))


async def page(backfill: Backfill, stream: Stream = AGGS, first: int = 1, last: int = 9) -> Any:
    return (await backfill.page(VENUE, stream, first, last)).events


# -- what is asked, and what comes out ----------------------------------------------------------


async def test_one_row_more_than_the_gap_is_asked_for() -> None:
    """It proves that nothing is left in between."""
    rest = Rest(aggs)
    events = await page(make_backfill(rest), AGGS, 5, 9)
    ((_, _, path, query),) = rest.requests
    assert path == "/api/v3/aggTrades"
    assert query == {"symbol": "BTCUSDT", "limit": "6", "fromId": "5"}
    assert [event.data.agg_id for event in events] == [5, 6, 7, 8, 9, 10]


async def test_a_page_is_a_thousand_rows_at_most() -> None:
    rest = Rest(aggs)
    await page(make_backfill(rest), AGGS, 1, 5000)
    assert rest.requests[0][3]["limit"] == "1000"


@pytest.mark.parametrize(
    ("stream", "rows", "path", "key"),
    [
        (AGGS, agg_rows([7, 5, 6]), "aggTrades", "agg_id"),
        (TRADES, trade_rows([7, 5, 6]), "historicalTrades", "trade_id"),
    ],
)
async def test_rows_become_events_of_the_streams_own_shape_in_order(
    stream: Stream, rows: Any, path: str, key: str
) -> None:
    rest = Rest(lambda _: rows)
    events = await page(make_backfill(rest), stream, 5, 6)
    assert rest.requests[0][2] == f"/api/v3/{path}"
    assert [getattr(event.data, key) for event in events] == [5, 6, 7]
    for event in events:
        assert isinstance(event, Event)
        assert (event.stream, event.venue, event.origin) == (stream.name, VENUE, "backfill")
        assert isinstance(event.data, PAYLOADS[stream.kind])
        # What a sink writes is what the stream would have said, save times that REST lacks.
        assert decode_payload(stream.kind, event.raw) == event.data
        assert event.received == 1000.0


async def test_bars_are_asked_for_without_an_end() -> None:
    rest = Rest(lambda _: kline_rows([120_000, 60_000]))
    events = await page(make_backfill(rest), MINUTES, 60_000, 119_999)
    assert rest.requests[0][3] == {
        "symbol": "BTCUSDT", "interval": "1m", "startTime": "60000", "limit": "1000",
    }  # fmt: skip
    assert [event.data.bar.open_time for event in events] == [60_000, 120_000]
    first = events[0].data
    assert (first.bar.closed, first.bar.close_time, first.event_time) == (True, 119_999, 120_000)
    assert (first.bar.open, first.bar.high, first.bar.low, first.bar.close) == (
        "1", "2", "0.5", "1.5",
    )  # fmt: skip
    assert (first.bar.volume, first.bar.quote_volume, first.bar.trades) == ("10", "15", 7)
    assert (first.bar.taker_volume, first.bar.taker_quote_volume) == ("5", "7")
    written = msgspec.json.decode(events[0].raw)["k"]
    assert (written["V"], written["Q"]) == ("5", "7")


async def test_a_bar_whose_row_ends_early_says_nothing_of_takers() -> None:
    rest = Rest(lambda _: [row[:9] for row in kline_rows([60_000])])
    (event,) = await page(make_backfill(rest), MINUTES, 60_000, 119_999)
    assert not {"V", "Q"} & set(msgspec.json.decode(event.raw)["k"])


@pytest.mark.parametrize(("trades", "ids"), [(0, {"f": -1, "L": -1}), (7, {})])
async def test_which_trades_a_bar_of_rest_has_is_told_where_that_is_known(
    trades: int, ids: dict[str, int]
) -> None:
    (row,) = kline_rows([60_000])
    row[8] = trades
    (event,) = await page(make_backfill(Rest(lambda _: [row])), MINUTES, 60_000, 119_999)
    assert (event.data.bar.first_trade_id, event.data.bar.last_trade_id) == (
        ids.get("f"),
        ids.get("L"),
    )
    written = msgspec.json.decode(event.raw)["k"]
    assert {key: written[key] for key in ("f", "L") if key in written} == ids


async def test_bars_of_the_other_time_zone_are_asked_for_in_it() -> None:
    rest = Rest(lambda _: [])
    await page(make_backfill(rest), parse_stream("btcusdt@kline_1d@+08:00"), 0, 1)
    assert rest.requests[0][3]["timeZone"] == "8"


async def test_a_snapshot_is_as_deep_as_wanted_with_its_own_bytes() -> None:
    book = {"lastUpdateId": 77, "bids": [["1", "2"]], "asks": []}
    rest = Rest(lambda _: book)
    event = await make_backfill(rest).snapshot(VENUE, DEPTH, 5000, 250)
    assert rest.requests[0][2:] == ("/api/v3/depth", {"symbol": "BTCUSDT", "limit": "5000"})
    assert event.origin == "snapshot"
    assert event.data == DepthSnapshot(77, [Level("1", "2")], [])
    assert event.data.asked == 5000
    assert msgspec.json.decode(event.raw) == book


@pytest.mark.parametrize("kind", ["ticker", "bookTicker", "avgPrice", "depth"])
async def test_kinds_without_history_are_not_asked_for(kind: str) -> None:
    rest = Rest(aggs)
    with pytest.raises(BackfillError, match="has no history"):
        await page(make_backfill(rest), parse_stream(f"btcusdt@{kind}"))
    assert rest.requests == []


@pytest.mark.parametrize(
    ("kind", "answer", "expected"),
    [
        ("aggTrade", agg_rows([4]), Newest(4, 4)),
        ("trade", trade_rows([4]), Newest(4, 4)),
        ("kline_1m", trade_rows([4]), Newest(4, 4)),
        ("ticker", trade_rows([4, 6, 5]), Newest(6, 6)),
        ("depth", {"lastUpdateId": 9, "bids": [], "asks": []}, Newest(9, None)),
        ("trade", [], None),
    ],
)
async def test_the_newest_is_asked_for_in_one_cheap_request(
    kind: str, answer: Any, expected: Newest | None
) -> None:
    rest = Rest(lambda _: answer)
    newest = await make_backfill(rest).newest(VENUE, parse_stream(f"btcusdt@{kind}"))
    assert newest == expected
    assert len(rest.requests) == 1
    assert rest.requests[0][3]["limit"] == "1"


async def test_kinds_that_cannot_be_verified_are_not_asked_about() -> None:
    with pytest.raises(BackfillError, match="cannot be asked"):
        await make_backfill(Rest(aggs)).newest(VENUE, parse_stream("btcusdt@avgPrice"))


# -- which host ---------------------------------------------------------------------------------


def test_rest_hosts_belong_to_venues_as_websocket_hosts_do() -> None:
    assert rest_venue_of("https://api3.binance.com") == "binance.com"
    assert rest_venue_of("https://data-api.binance.vision") == "binance.com"
    assert rest_venue_of("https://api.binance.us") == "binance.us"
    assert rest_venue_of("https://other.test:81/x") == "other.test"


async def test_another_venue_is_never_asked() -> None:
    rest = Rest(aggs)
    chosen = Settings(
        websocket_url="wss://v.test:9/stream",
        failover_urls=["wss://w.test:9/stream"],
        rest_urls=["https://w.test"],
    )
    backfill = Backfill(["v.test", "w.test"], chosen, transport=rest)
    assert (backfill.serves("v.test"), backfill.serves("w.test")) == (False, True)
    with pytest.raises(BackfillError, match=r"no REST host of v\.test is known"):
        await backfill.page("v.test", AGGS, 1, 2)
    assert rest.requests == []


@pytest.mark.parametrize(
    "failure",
    [
        httpx2.ConnectError("refused"),
        httpx2.ConnectTimeout("slow"),
        httpx2.RemoteProtocolError("half an answer"),
        status(500),
        status(403),
        status(302, location="https://v.test:3/api/v3/aggTrades"),
        httpx2.Response(200, content=b"<html>captive portal</html>"),
        httpx2.Response(200, content=b'[{"a":"not a number"}]'),
        httpx2.Response(200, content=b'{"code":0}'),
        httpx2.Response(200, content=b'[{"a":1,"p":"\xff"}]'),
        httpx2.Response(200, content=b"[" * 100_000),
        httpx2.Response(200, content=b""),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else str(value),
)
async def test_the_next_host_is_asked_on_failure(failure: Any) -> None:
    """Also when the answer is none, or a redirect, which is not followed."""
    rest = Rest(lambda request: failure if request.url.port == 1 else aggs(request))
    assert len(await page(make_backfill(rest))) == 10
    assert rest.ports == [1, 2]


async def test_a_host_that_fails_three_times_is_left_alone_for_30_s(autojump_clock: Any) -> None:
    """Each host has a breaker of its own; garbage counts as a failure."""
    rest = Rest(lambda request: ok("garbage") if request.url.port == 1 else aggs(request))
    backfill = make_backfill(rest)
    for _ in range(5):
        await page(backfill)
    assert rest.ports == [1, 2, 1, 2, 1, 2, 2, 2]
    await trio.sleep(30)
    await page(backfill)
    assert rest.ports[8:] == [1, 2]


async def test_when_every_host_fails_the_last_reason_is_told() -> None:
    rest = Rest(lambda _: status(503))
    with pytest.raises(BackfillError, match=r"no REST host of v\.test answered: .*HTTP 503"):
        await page(make_backfill(rest))
    assert rest.ports == [1, 2, 3]


async def test_a_wrong_question_blames_no_host(autojump_clock: Any) -> None:
    """A delisted symbol must not take the hosts away from all the others."""
    rest = Rest(lambda request: status(400) if "ETH" in str(request.url) else aggs(request))
    backfill = make_backfill(rest)
    for _ in range(10):
        with pytest.raises(BackfillError, match="HTTP 400"):
            await page(backfill, parse_stream("ethusdt@aggTrade"))
    assert rest.ports == [1] * 10
    await page(backfill)
    assert rest.ports[10:] == [1]


async def test_a_host_that_lacks_the_data_is_passed_over_without_blame() -> None:
    rest = Rest(lambda request: status(404) if request.url.port == 1 else aggs(request))
    backfill = make_backfill(rest)
    for _ in range(5):
        await page(backfill)
    assert rest.ports == [1, 2] * 5


@pytest.mark.parametrize("refusal", [status(405), status(410), status(414), status(422)],
                         ids=lambda refusal: str(refusal.status_code))  # fmt: skip
async def test_a_host_that_refuses_the_question_is_in_good_health(refusal: httpx2.Response) -> None:
    """Another one may like it better."""
    rest = Rest(lambda request: refusal if request.url.port == 1 else aggs(request))
    backfill = make_backfill(rest)
    for _ in range(5):
        await page(backfill)
    assert rest.ports == [1, 2] * 5


# -- what wants a key ---------------------------------------------------------------------------


WANTS_KEY = pytest.mark.parametrize(
    "refusal",
    [status(401), status(401, -2014), status(401, -2015), status(403, -2015), status(400, -2014)],
    ids=["401", "401 -2014", "401 -2015", "403 -2015", "400 -2014"],
)


@WANTS_KEY
async def test_where_history_wants_a_key_the_last_thousand_trades_are_taken(
    autojump_clock: Any, refusal: httpx2.Response
) -> None:
    """Each host is asked once an hour for what it does not give, and keeps its good name."""

    def answer(request: httpx2.Request) -> Any:
        if "historicalTrades" in request.url.path:
            return refusal
        return trade_rows(range(5, 1005)) if "trades" in request.url.path else aggs(request)

    rest = Rest(answer)
    backfill = make_backfill(rest, HOSTS[:2])
    for _ in range(4):
        found = await backfill.page(VENUE, TRADES, 3, 7)
        assert found.begins == 5
        assert [event.data.trade_id for event in found.events] == list(range(5, 1005))
    assert len(await page(backfill)) == 10
    asked_for = [(port, path.removeprefix("/api/v3/")) for _, port, path, _ in rest.requests]
    assert asked_for == [
        (1, "historicalTrades"), (2, "historicalTrades"), *[(1, "trades")] * 4, (1, "aggTrades"),
    ]  # fmt: skip
    assert rest.requests[2][3] == {"symbol": "BTCUSDT", "limit": "1000"}
    await trio.sleep(module_hosts.KEY_MEMORY_S)
    await page(backfill, TRADES)
    assert rest.requests[-2][2] == "/api/v3/historicalTrades"


async def test_a_host_that_wants_no_key_is_found(autojump_clock: Any) -> None:
    rest = Rest(lambda request: status(401) if request.url.port == 1 else trade_rows(range(1, 11)))
    backfill = make_backfill(rest)
    for _ in range(3):
        await page(backfill, TRADES)
    assert rest.ports == [1, 2, 2, 2]
    assert {path for _, _, path, _ in rest.requests} == {"/api/v3/historicalTrades"}


async def test_where_no_host_knows_history_the_last_trades_are_taken() -> None:
    """As with hosts for market data only."""
    rest = Rest(lambda request: status(404) if "hist" in request.url.path else trade_rows([1, 2]))
    assert len(await page(make_backfill(rest), TRADES)) == 2


async def test_a_key_that_something_else_wants_takes_no_host_away(autojump_clock: Any) -> None:
    rest = Rest(lambda request: status(401) if "agg" in request.url.path else trade_rows([1]))
    backfill = make_backfill(rest)
    for _ in range(5):
        with pytest.raises(BackfillError, match=r"HTTP 401|wants an API key"):
            await page(backfill)
    assert rest.ports == [1, 2, 3]
    await page(backfill, TRADES)
    assert rest.ports == [1, 2, 3, 1]


# -- a frozen host ------------------------------------------------------------------------------


async def test_a_frozen_host_does_not_keep_the_next_one_from_being_asked(
    autojump_clock: Any,
) -> None:
    """It accepts and never answers: overtaken three times, it is left alone for 30 s."""

    async def answer(request: httpx2.Request) -> Any:
        if request.url.port == 1:
            await trio.sleep_forever()
        return aggs(request)

    rest = Rest(answer)
    backfill = make_backfill(rest)
    took: list[float] = []
    for _ in range(5):
        began_at = trio.current_time()
        assert len(await page(backfill)) == 10
        took.append(trio.current_time() - began_at)
    assert took == [1, 1, 1, 0, 0]
    assert rest.ports == [1, 2, 1, 2, 1, 2, 2, 2]
    assert rest.running == 0
    await trio.sleep(30)
    await page(backfill)
    assert rest.ports[8:] == [1, 2]


async def test_a_host_that_is_slow_but_first_keeps_its_good_name(autojump_clock: Any) -> None:
    async def answer(request: httpx2.Request) -> Any:
        await trio.sleep(1.5 if request.url.port == 1 else 3)
        return aggs(request)

    rest = Rest(answer)
    backfill = make_backfill(rest)
    for _ in range(6):
        await page(backfill)
    assert trio.current_time() == 9
    assert rest.ports == [1, 2] * 6


async def test_no_second_host_is_asked_beside_the_first_when_the_budget_cannot_pay(
    autojump_clock: Any,
) -> None:
    async def answer(request: httpx2.Request) -> Any:
        await trio.sleep(3)
        return aggs(request)

    rest = Rest(answer)
    backfill = make_backfill(rest, rest_weight_limit=100)
    async with trio.open_nursery() as nursery:
        for _ in range(24):
            nursery.start_soon(page, backfill)
    assert rest.ports == [1] * 24 + [2]
    assert trio.current_time() == 3
    # The 23 that waited for weight meanwhile have given their wishes back.
    assert backfill.waiting == 0


# -- bounds -------------------------------------------------------------------------------------


async def test_a_huge_body_is_cut_off_early() -> None:
    drip = Drip(b" " * (1 << 20), 1000)
    rest = Rest(lambda _: httpx2.Response(200, stream=drip))
    with pytest.raises(BackfillError, match="sent more than 16777216 bytes"):
        await page(make_backfill(rest, HOSTS[:1]))
    assert drip.sent == 17


@pytest.mark.parametrize("pause_s", [1.0, 60.0])
async def test_a_request_may_take_5_s_as_a_whole(autojump_clock: Any, pause_s: float) -> None:
    rest = Rest(lambda _: httpx2.Response(200, stream=Drip(b" ", 1000, pause_s)))
    with pytest.raises(BackfillError, match="did not answer within 5 s"):
        await page(make_backfill(rest, HOSTS[:1]))
    assert trio.current_time() == 5


async def test_silent_hosts_are_asked_side_by_side_and_given_up_after_5_s_each(
    autojump_clock: Any,
) -> None:
    async def silent(request: httpx2.Request) -> Any:
        await trio.sleep_forever()

    rest = Rest(silent)
    with pytest.raises(BackfillError, match="did not answer within 5 s"):
        await page(make_backfill(rest))
    assert rest.times == [0, 1, 2]
    assert trio.current_time() == 7
    assert rest.running == 0


async def test_the_simulated_exchange_is_asked_as_the_real_one(autojump_clock: Any) -> None:
    """A REST side that hangs for a while, and then knows the trades that the stream told."""
    hang = fault(5, "rest_hang", "venue.rest", count=1)
    async with open_world([hang], endpoints=["a"]) as world:
        await trio.sleep(10)
        backfill = make_backfill(world.network.rest_transport(), ["https://venue.test"])
        first = world.items[0][1]
        assert isinstance(first, Event)
        with pytest.raises(BackfillError, match=r"timed out|Timeout|within 5 s"):
            await backfill.page("venue.test", TRADES, first.data.trade_id, first.data.trade_id)
        assert trio.current_time() == 15
        rows = (
            await backfill.page("venue.test", TRADES, first.data.trade_id, first.data.trade_id)
        ).events
    assert rows[0].data.trade_id == first.data.trade_id
    assert rows[0].data.price == first.data.price
    assert [rows[1].data.trade_id] == [first.data.trade_id + 1]


# -- weight -------------------------------------------------------------------------------------


async def test_the_budget_of_a_minute_is_spent_exactly(autojump_clock: Any) -> None:
    """100 a minute: 25 requests of weight 4, and the next when the first is 60 s old."""
    rest = Rest(aggs)
    backfill = make_backfill(rest, rest_weight_limit=100)
    for _ in range(24):
        await page(backfill)
    await trio.sleep(7)
    for _ in range(27):
        await page(backfill)
    assert rest.times == [0] * 24 + [7] + [60] * 24 + [67] + [120]


async def test_a_request_heavier_than_the_budget_waits_for_all_of_it(autojump_clock: Any) -> None:
    rest = Rest(lambda _: {"lastUpdateId": 1, "bids": [], "asks": []})
    backfill = make_backfill(rest, rest_weight_limit=100)
    for _ in range(3):
        await backfill.snapshot(VENUE, DEPTH, 5000, 250)
    assert rest.times == [0, 60, 120]


async def test_failed_requests_cost_as_much_as_others(autojump_clock: Any) -> None:
    rest = Rest(lambda request: status(500) if request.url.port == 1 else trade_rows([1]))
    backfill = make_backfill(rest, rest_weight_limit=112)
    for _ in range(3):
        await page(backfill, TRADES)
    assert rest.times == [0, 0, 0, 0, 60, 60]


async def test_waiting_requests_share_the_budget(autojump_clock: Any) -> None:
    rest = Rest(lambda _: trade_rows([1]))
    backfill = make_backfill(rest, rest_weight_limit=112)
    async with trio.open_nursery() as nursery:
        for _ in range(10):
            nursery.start_soon(page, backfill, TRADES)
    assert rest.times == [0] * 4 + [60] * 4 + [120] * 2


@pytest.mark.parametrize(("used", "waits"), [("4500", 0), ("4501", 60), ("6000", 60)])
async def test_what_others_on_this_address_used_is_respected(
    autojump_clock: Any, used: str, waits: float
) -> None:
    """With 3000 of 6000 for us, half of what is left is kept free."""
    rest = Rest(lambda request: ok(aggs(request), **{"X-MBX-USED-WEIGHT-1M": used}))
    backfill = make_backfill(rest)
    await page(backfill)
    await page(backfill)
    assert rest.times == [0, waits]


@pytest.mark.parametrize("nonsense", ["", "many", "²", "9" * 5000, "-1", "1.5", "nan"])
async def test_nonsensical_headers_are_ignored(autojump_clock: Any, nonsense: str) -> None:
    def answer(request: httpx2.Request) -> Any:
        if len(rest.requests) > 1:
            return aggs(request)
        raw = [(b"X-MBX-USED-WEIGHT-1M", nonsense.encode("latin-1")),
               (b"Retry-After", nonsense.encode("latin-1"))]  # fmt: skip
        return httpx2.Response(429, headers=raw)

    rest = Rest(answer)
    await page(make_backfill(rest))
    assert rest.times == [0, module.DEFAULT_FREEZE_S]


@pytest.mark.parametrize("code", [429, 418])
async def test_retry_after_freezes_every_host_of_the_venue(autojump_clock: Any, code: int) -> None:
    rest = Rest(
        lambda request: status(code, Retry_After="17") if request.url.port == 1 else aggs(request)
    )
    backfill = make_backfill(rest)
    async with trio.open_nursery() as nursery:
        for _ in range(2):
            nursery.start_soon(page, backfill)
    assert rest.ports == [1, 1, 2, 2]
    assert rest.times == [0, 0, 17, 17]


async def test_retry_after_does_not_freeze_another_venue(autojump_clock: Any) -> None:
    rest = Rest(lambda request: status(429, Retry_After="100") if request.url.host == VENUE
                else aggs(request))  # fmt: skip
    chosen = Settings(
        websocket_url="wss://v.test:9/stream",
        failover_urls=["wss://w.test:9/stream"],
        rest_urls=["https://v.test:1", "https://w.test:2"],
    )
    backfill = Backfill([VENUE, "w.test"], chosen, transport=rest)
    with pytest.raises(BackfillError):
        await page(backfill)
    await backfill.page("w.test", AGGS, 1, 2)
    assert rest.times == [0, 0]


async def test_the_longest_ban_is_three_days(autojump_clock: Any) -> None:
    rest = Rest(
        lambda request: (
            status(418, Retry_After="9" * 18) if request.url.port == 1 else aggs(request)
        )
    )
    await page(make_backfill(rest))
    assert rest.times == [0, 3 * 86_400]


async def test_closing_ends_idle_connections() -> None:
    closed: list[bool] = []

    class Transport(Rest):
        async def aclose(self) -> None:
            closed.append(True)

    await make_backfill(Transport(aggs)).aclose()
    assert closed == [True]


@pytest.mark.parametrize(
    ("product", "chosen", "limits"),
    [
        ("spot", {}, [3000, 1200]),
        ("usdm", {}, [3000, 1200]),
        ("spot", {"rest_weight_limit": 100}, [100, 1200]),
        ("usdm", {"rest_weight_limit": 100}, [3000, 100]),
    ],
)
async def test_each_venue_has_the_budget_of_its_product(
    product: str, chosen: dict[str, Any], limits: list[int]
) -> None:
    """A set that is healed may hold both."""
    venues = ["binance.com", "binance.com-usdm"]
    backfill = Backfill(venues, Settings(product=product, shared_budget="off", **chosen))
    assert [backfill.budget(venue).limit for venue in venues] == limits
    await backfill.aclose()
