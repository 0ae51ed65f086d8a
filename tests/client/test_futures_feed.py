"""A feed of USD-M futures: its routes, repairs and silences, beside one of spot."""

from __future__ import annotations

import random
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import httpx2
import pytest
import trio
from futures import HOST, START_MS, VENUE, Futures
from world import open_world

import k2trio.client.requests
import k2trio.wire.upgrade
from k2trio.book.books import Books
from k2trio.book.order_book import BookState
from k2trio.client.opening import open_feed
from k2trio.continuity.items import Gap, Item
from k2trio.market.payloads import Event
from k2trio.observe import transitions as on
from k2trio.repair.staleness import ASK_AHEAD_S, IN_FLIGHT_S
from k2trio.settings import Settings

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from k2trio.client.feed import Feed

AGGS, DEPTH, MARK = "btcusdt@aggTrade", "btcusdt@depth@100ms", "btcusdt@markPrice@1s"


class Bench:
    """An exchange, a feed of it, and what the feed brought and told."""

    def __init__(self, exchange: Futures) -> None:
        self.exchange = exchange
        self.items: list[Item] = []
        self.told: list[tuple[float, on.Transition]] = []
        self.feed: Feed

    async def read(self, for_s: float) -> None:
        with trio.move_on_after(for_s):
            async for batch in self.feed.batches():
                self.items += batch

    def of(self, stream: str) -> list[Item]:
        return [item for item in self.items if item.stream == stream]

    def when(self, kind: type[Any]) -> list[tuple[float, Any]]:
        return [(at, one) for at, one in self.told if isinstance(one, kind)]


@asynccontextmanager
async def bench(*streams: str, **settings: Any) -> AsyncGenerator[Bench]:
    chosen = {
        "product": "usdm",
        "websocket_url": HOST,
        "failover_urls": (),
        "rest_urls": ("https://futures.test",),
        "shared_budget": "off",
        "streams": streams,
        **settings,
    }
    async with trio.open_nursery() as nursery:
        run = Bench(Futures(nursery))
        async with open_feed(
            settings=Settings(**chosen),
            dial=run.exchange.dial,
            backfill_transport=httpx2.MockTransport(run.exchange.answer),
            observers=[lambda one: run.told.append((trio.current_time(), one))],
            rng=random.Random(1),
            wall_clock=lambda: START_MS / 1000 + trio.current_time(),
            suspended=lambda: 0.0,
        ) as run.feed:
            yield run
        nursery.cancel_scope.cancel()


async def test_streams_are_asked_for_on_their_routes(autojump_clock: Any) -> None:
    async with bench(AGGS, DEPTH, MARK) as run:
        await run.read(10)
        assert sorted(run.exchange.targets) == [
            f"/market/stream?streams={AGGS}/{MARK}",
            f"/public/stream?streams={DEPTH}",
        ]
        assert {item.stream for item in run.items} == {AGGS, DEPTH, MARK}
        assert {item.venue for item in run.items} == {VENUE}
        await run.feed.subscribe("ethusdt@markPrice@1s")  # joins the line of its route
        await run.feed.subscribe("ethusdt@depth@100ms")
        await run.read(10)
        assert len(run.exchange.targets) == 2
        assert run.of("ethusdt@markPrice@1s")
        assert run.of("ethusdt@depth@100ms")


async def test_many_streams_are_asked_for_as_fast_as_futures_admit(
    autojump_clock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ten client messages a second, where spot takes five."""
    monkeypatch.setattr(k2trio.wire.upgrade, "MAX_TARGET_BYTES", 100)
    monkeypatch.setattr(k2trio.client.requests, "MAX_NAMES_BYTES", 60)
    streams = [
        f"{symbol}@{kind}"
        for symbol in ("btcusdt", "ethusdt")
        for kind in ("aggTrade", "kline_1m", "kline_1h", "ticker", "miniTicker", "markPrice@1s")
    ]
    async with open_world(product="usdm", settings={"streams": streams}) as world:
        await trio.sleep(120)
    messages = [m for m in world.exchange.truth.client_messages if m.detail == "SUBSCRIBE"]
    assert [m.time for m in messages] == pytest.approx([0, 0.2, 0.4, 0.6, 0.8], abs=0.01)
    assert world.of(on.ConnectionLost) == []
    assert len({item.stream for _, item in world.items}) == len(streams)


async def test_a_stream_of_a_new_route_gets_a_line(autojump_clock: Any) -> None:
    async with bench(AGGS) as run:
        await run.read(5)
        await run.feed.subscribe(DEPTH)
        await run.read(5)
        assert run.exchange.targets[1:] == [f"/public/stream?streams={DEPTH}"]
        assert run.of(DEPTH)
        await run.feed.unsubscribe(AGGS)  # its line stays, for others of its route
        await run.feed.subscribe("ethusdt@depth@100ms", MARK)
        await run.read(5)
        assert len(run.exchange.targets) == 2
        assert run.of(MARK)


async def test_lost_aggregates_are_fetched_from_the_rest_of_futures(autojump_clock: Any) -> None:
    async with bench(AGGS) as run:
        run.exchange.lost = {(AGGS, 10), (AGGS, 11)}
        await run.read(30)
        events = [item for item in run.of(AGGS) if isinstance(item, Event)]
        ids = [event.data.agg_id for event in events]
        assert ids == list(range(ids[0], ids[-1] + 1))
        repaired = [event for event in events if event.origin == "backfill"]
        assert [event.data.agg_id for event in repaired] == [10, 11]
        assert all(b'"M"' not in event.raw for event in repaired)
        assert {path for path, _ in run.exchange.asked} == {"/fapi/v1/aggTrades"}


async def test_a_book_begins_loses_an_update_and_is_healed(autojump_clock: Any) -> None:
    async with bench(DEPTH) as run:
        run.exchange.lost = {(DEPTH, 20)}
        await run.read(60)
        books = Books([DEPTH])
        for item in run.items:
            books.apply(item)
        snapshots = [item for item in run.items if getattr(item, "origin", "") == "snapshot"]
        gaps = [item for item in run.items if isinstance(item, Gap)]
        assert len(snapshots) == 2
        assert [gap.reason for gap in gaps] == ["snapshot"]
        assert gaps[0].first == 19_010
        book = books["BTCUSDT"]
        assert (book.state, book.faults) == (BookState.LIVE, 0)
        assert (book.last_update_id or 0) >= 59_009
        asked = [query for path, query in run.exchange.asked if path == "/fapi/v1/depth"]
        assert {query["limit"] for query in asked} <= {"1000", "5"}


async def test_a_stream_that_moved_to_another_route_is_noticed_and_named(
    autojump_clock: Any,
) -> None:
    async with bench(AGGS, MARK) as run:
        run.exchange.moved = {MARK: "public"}
        await run.read(100)
        silences = run.when(on.StreamSilent)
        assert [one.stream for _, one in silences][:1] == [MARK]
        at, _ = silences[0]
        settings = run.feed.settings
        assert at <= settings.health_check_timeout + settings.health_check_interval + 1


async def test_a_connection_whose_streams_all_moved_is_cut_in_time_and_they_are_named(
    autojump_clock: Any,
) -> None:
    async with bench(MARK) as run:
        run.exchange.moved = {MARK: "public"}
        await run.read(70)
        (lost, *_) = run.when(on.ConnectionLost)
        at, why = lost
        assert at == pytest.approx(run.feed.settings.health_check_timeout, abs=1)
        assert why.detail == (
            "no data message arrived for 60 s on route /market; perhaps these have moved to"
            f" another one: {MARK}"
        )


async def test_the_silent_wrong_route_of_the_simulated_exchange_is_noticed_and_named(
    autojump_clock: Any,
) -> None:
    """Beside another stream by itself, and alone with its connection; REST has news of both."""
    settings = {"streams": [AGGS, "btcusdt@ticker", DEPTH], "depth_snapshot_levels": 0}
    moved = {"btcusdt@ticker": "public", DEPTH: "market"}
    async with open_world(
        product="usdm", rate=5, endpoints=["a"], settings=settings, moved=moved
    ) as world:
        await trio.sleep(130)
        assert {item.stream for _, item in world.items} == {AGGS}
        assert not world.exchange.truth.refused_controls
    chosen = world.settings
    (silent, *_), (lost, *_) = world.of(on.StreamSilent), world.of(on.ConnectionLost)
    assert silent[1].stream == "btcusdt@ticker"
    # Neither has ever spoken, so it takes two questions to know that it should have.
    most = chosen.health_check_timeout + 2 * chosen.health_check_interval + IN_FLIGHT_S
    assert silent[0] <= most + 1
    assert lost[0] == pytest.approx(2 * chosen.health_check_timeout - ASK_AHEAD_S, abs=1)
    assert lost[1].detail.endswith(
        f"on route /public; perhaps these have moved to another one: {DEPTH}"
    )


async def test_two_products_in_one_program_are_two_feeds(autojump_clock: Any) -> None:
    async with bench(DEPTH, AGGS) as run, open_world(settings={"streams": [DEPTH, AGGS]}) as world:
        await run.read(20)
        futures = {item.venue for item in run.items}
        spot = {item.venue for _, item in world.items}
        assert (futures, bool(spot & futures)) == ({VENUE}, False)
        assert len(spot) == 1
