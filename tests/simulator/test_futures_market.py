"""The simulated exchange of USD-M futures: what it says, on which route, and by REST; and a feed
of it, through faults."""

from __future__ import annotations

import functools
import random
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import httpx2
import pytest
import trio
from kept import lost_of
from world import World, fault, open_world

from k2trio.book.books import Books
from k2trio.book.order_book import BookState
from k2trio.continuity.items import Gap
from k2trio.errors import UnknownStreamError
from k2trio.market.decoder import Decoder
from k2trio.market.payloads import Event, FuturesDepth, frame_of
from k2trio.market.streams import Kind, stream_of
from k2trio.observe import transitions as on
from k2trio.simulator import FaultKind, Market
from k2trio.simulator.connection.address import read_address
from k2trio.simulator.refusals import Refusal

if TYPE_CHECKING:
    from k2trio.book.audit import Verdict

VENUE = "venue.test-usdm"
AGGS, DEPTH, TICKER = "btcusdt@aggTrade", "btcusdt@depth@100ms", "btcusdt@bookTicker"
MARK = "btcusdt@markPrice@1s"
PLAYED = (
    AGGS,
    "btcusdt@trade",
    DEPTH,
    "btcusdt@depth",
    "btcusdt@depth10@500ms",
    TICKER,
    "!bookTicker",
    "btcusdt@kline_1m",
    "btcusdt@miniTicker",
    "!miniTicker@arr",
    "btcusdt@ticker",
    "!ticker@arr",
    MARK,
    "btcusdt@markPrice",
    "!markPrice@arr@1s",
    "btcusdt@forceOrder",
    "!forceOrder@arr",
)


@functools.cache
def told(seconds: int = 200, rate: float = 20) -> list[Event[Any]]:
    market = Market(["BTCUSDT", "ETHUSDT"], seed=3, rate=rate, product="usdm")
    for name in PLAYED:
        market.watch(name)
    messages = market.advance(market.start_us + seconds * 1_000_000)
    frames = [frame_of(message.stream, message.render(1000)) for message in messages]
    events, control = Decoder(VENUE).decode(frames, market.now_us / 1e6)
    assert control == []
    return events


def test_everything_it_says_is_understood() -> None:
    events = told()
    assert {event.stream for event in events} == set(PLAYED)
    assert [lost for event in events if (lost := lost_of(event))] == []


def test_updates_are_chained_and_their_ids_are_not_consecutive() -> None:
    updates = [event.data for event in told() if event.stream == DEPTH]
    assert all(isinstance(update, FuturesDepth) for update in updates)
    assert all(b.previous_update_id == a.last_update_id for a, b in pairwise(updates))
    assert any(b.first_update_id > a.last_update_id + 1 for a, b in pairwise(updates))


def test_aggregates_are_consecutive_and_the_trades_in_them_are_not() -> None:
    aggs = [event.data for event in told() if event.stream == AGGS]
    assert all(b.agg_id == a.agg_id + 1 for a, b in pairwise(aggs))
    assert any(b.first_trade_id > a.last_trade_id + 1 for a, b in pairwise(aggs))
    trades = [event.data.trade_id for event in told() if event.stream == "btcusdt@trade"]
    assert any(b > a + 1 for a, b in pairwise(trades))


def test_one_liquidation_a_second_is_told_of_a_symbol() -> None:
    events = [event for event in told(rate=100) if event.stream == "!forceOrder@arr"]
    times = [event.data.event_time for event in events if event.data.symbol == "BTCUSDT"]
    assert len(times) > 100
    assert all(b - a >= 1000 for a, b in pairwise(times))


def test_a_mark_price_is_told_every_second_or_every_three() -> None:
    market = Market(["BTCUSDT"], rate=0, product="usdm")
    for name in (MARK, "btcusdt@markPrice"):
        market.watch(name)
    messages = market.advance(market.start_us + 30_000_000)
    counts = [sum(one.stream == name for one in messages) for name in (MARK, "btcusdt@markPrice")]
    assert counts == [30, 10]


@pytest.mark.parametrize("name", ["btcusdt@avgPrice", "btcusdt@compositeIndex", "solusdt@trade"])
def test_what_it_has_not_is_refused(name: str) -> None:
    with pytest.raises(UnknownStreamError):
        Market(["BTCUSDT"], product="usdm").watch(name)


# -- a feed of it --------------------------------------------------------------------------------


async def rest(world: World, path: str, **query: Any) -> httpx2.Response:
    async with httpx2.AsyncClient(transport=world.network.rest_transport()) as client:
        return await client.get(f"https://venue.test{path}", params=query)


async def test_rest_is_that_of_futures(autojump_clock: Any) -> None:
    async with open_world(product="usdm", settings={"streams": [AGGS]}, rate=20) as world:
        await trio.sleep(20)
        rows = (await rest(world, "/fapi/v1/aggTrades", symbol="BTCUSDT", limit=5)).json()
        assert rows[0].keys() == set("apqflTm")
        book = await rest(world, "/fapi/v1/depth", symbol="BTCUSDT", limit=20)
        assert book.json().keys() == {"lastUpdateId", "E", "T", "bids", "asks"}
        assert len(book.json()["bids"]) == 20
        odd = await rest(world, "/fapi/v1/depth", symbol="BTCUSDT", limit=7)
        assert (odd.status_code, odd.json()["code"]) == (400, -4021)
        keyed = await rest(world, "/fapi/v1/historicalTrades", symbol="BTCUSDT")
        assert (keyed.status_code, keyed.json()["code"]) == (401, -2014)
        assert (await rest(world, "/api/v3/time")).status_code == 404
        info = (await rest(world, "/fapi/v1/exchangeInfo")).json()
        assert info["rateLimits"][0]["limit"] == 2400


async def test_a_stream_on_the_wrong_route_is_acknowledged_and_silent(autojump_clock: Any) -> None:
    async with open_world(product="usdm", settings={"streams": [MARK]}, rate=20) as world:
        await trio.sleep(5)
        (session,) = world.exchange.sessions.values()
        session.subscribe([DEPTH])  # as a control message of a client would, on /market
        assert session.subscriptions.subscriptions() == [MARK, DEPTH]
        assert session.subscriptions.attached() == [MARK]
        await world.feed.subscribe(DEPTH)
        await trio.sleep(5)
        routes = [session.subscriptions.attached() for session in world.exchange.sessions.values()]
        assert sorted(routes) == [[DEPTH], [MARK]]


def test_what_is_private_is_a_route_too_on_which_nothing_comes() -> None:
    """A client may open it for nothing."""
    assert read_address("/private/stream", product="usdm").route == "private"
    assert all(stream_of(VENUE, name).route != "private" for name in PLAYED)
    for path in ("/elsewhere/stream", "/private", "/private/public/stream"):
        with pytest.raises(Refusal):
            read_address(path, product="usdm")


FAULTS = [
    (3, FaultKind.RST),
    (9, FaultKind.DROPPED),
    (14, FaultKind.DUPLICATED),
    (18, FaultKind.IDS_JUMP),
    (25, FaultKind.FIN),
    (33, FaultKind.STALL),
    (60, FaultKind.RST),
]


@pytest.mark.parametrize("seed", range(2))
async def test_a_feed_of_it_loses_nothing_and_its_books_are_right(
    autojump_clock: Any, seed: int
) -> None:
    rng = random.Random(seed)
    streams = [AGGS, DEPTH, TICKER, MARK, "btcusdt@kline_1m", "!forceOrder@arr", "ethusdt@depth"]
    faults = [
        fault(at + rng.random(), kind, duration=4.0, by=1000, share=0.3)
        if kind in (FaultKind.DROPPED, FaultKind.DUPLICATED, FaultKind.STALL)
        else fault(at + rng.random(), kind, by=1000)
        if kind is FaultKind.IDS_JUMP
        else fault(at + rng.random(), kind)
        for at, kind in FAULTS
    ]
    verdicts: list[Verdict] = []
    books = Books(streams, verdicts.append)
    async with open_world(
        faults, product="usdm", settings={"streams": streams}, rate=20, seed=seed
    ) as world:
        await trio.sleep(100)
        items = [item for _, item in world.items]
        for item in items:
            books.apply(item)
        emitted = world.exchange.truth.ranges(AGGS)
    aggs = [item.data.agg_id for item in items if isinstance(item, Event) and item.stream == AGGS]
    gaps = [item for item in items if isinstance(item, Gap) and item.stream == AGGS]
    assert len(aggs) > 500
    assert aggs == sorted(set(aggs))
    within = {
        number
        for first, last in emitted
        for number in range(max(first, aggs[0]), min(last, aggs[-1]) + 1)
    }
    declared = {number for gap in gaps for number in range(gap.first, gap.last + 1)}
    assert within - set(aggs) <= declared
    assert not declared & set(aggs)
    due: int | None = None
    for item in items:
        if item.stream != DEPTH:
            continue
        if isinstance(item, Gap):
            due = item.last + 1
        elif isinstance(item, Event) and item.origin == "snapshot":
            due = due if due is not None else item.data.last_update_id + 1
        elif isinstance(item, Event):
            assert due is None or item.data.covers_from <= due <= item.data.last_update_id
            due = item.data.last_update_id + 1
    assert all(verdict.equal for verdict in verdicts)
    assert len(verdicts) > 20
    assert {book.state for book in books.all} == {BookState.LIVE}
    assert {item.venue for item in items} == {VENUE}
    assert world.of(on.ConnectionLost)
    kinds = {stream_of(VENUE, item.stream).kind for item in items}
    assert kinds >= {
        Kind.AGG_TRADE,
        Kind.DEPTH,
        Kind.MARK_PRICE,
        Kind.ALL_FORCED_ORDERS,
        Kind.KLINE,
    }
