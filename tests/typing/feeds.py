"""What a type checker knows of a feed, of what it brings and of names of streams.

Nothing here runs: mypy and pyright read it (``nox -s types``). Where a line is wrong on purpose,
its ``type: ignore`` is one that both would report if there were nothing to ignore.
"""

# pyright: strict, reportUnnecessaryTypeIgnoreComment=true

from __future__ import annotations

from typing import TYPE_CHECKING, assert_type

import k2trio
from k2trio import (
    AggTrade,
    Coverage,
    Depth,
    DepthSnapshot,
    Event,
    Feed,
    FeedStatus,
    Gap,
    GapReason,
    Item,
    Kline,
    MiniTicker,
    Observer,
    Origin,
    Outage,
    Payload,
    StreamName,
    Trade,
    Transition,
    VenueChanged,
    streams,
    transitions,
)

if TYPE_CHECKING:
    from collections.abc import Sequence


async def plain_names_make_a_feed_of_any_payload(names: Sequence[str]) -> None:
    async with k2trio.open_feed(["btcusdt@trade"]) as feed:
        assert_type(feed, Feed[Payload])
        async for item in feed:
            assert_type(item, Event[Payload] | Gap | Outage | VenueChanged)
    async with k2trio.open_feed() as feed:
        assert_type(feed, Feed)
    async with k2trio.open_feed(names, k2trio.load_settings()) as feed:
        assert_type(feed, Feed)
        await feed.subscribe("ethusdt@depth", streams.trade("ethusdt"))


async def names_of_one_kind_make_a_feed_of_that_kind(symbols: list[str]) -> None:
    async with k2trio.open_feed([streams.trade("btcusdt")]) as feed:
        assert_type(feed, Feed[Trade])
        async for item in feed:
            assert_type(item, Event[Trade] | Gap | Outage | VenueChanged)
        async for batch in feed.batches():
            assert_type(batch, list[Item[Trade]])
        assert_type(feed.drain(), list[Item[Trade]])
        await feed.subscribe(streams.trade("ethusdt"))
        await feed.subscribe("ethusdt@depth")  # type: ignore[arg-type]
        await feed.subscribe(streams.depth("ethusdt"))  # type: ignore[arg-type]
        await feed.unsubscribe("btcusdt@trade")
    async with k2trio.open_feed([streams.kline(name, "1m") for name in symbols]) as bars:
        assert_type(bars, Feed[Kline])
    async with k2trio.open_feed([streams.depth("btcusdt")]) as changes:
        async for book, change in k2trio.books(changes):
            assert_type(book, k2trio.OrderBook | None)
            assert_type(change, Item)
    async with k2trio.open_feed([streams.trade("btcusdt"), "ethusdt@depth"]) as mixed:
        assert_type(mixed, Feed)


def matching_tells_the_payload(item: Item, trade: Item[Trade]) -> None:
    match item:
        case Event(data=Trade(price=price, trade_id=number), origin=origin):
            assert_type(price, str)
            assert_type(number, int)
            assert_type(origin, Origin)
        case Event(data=Depth(bids=[best, *_])):
            assert_type(best, k2trio.Level)
        case Event(data=data):
            assert_type(data, Payload)
            _ = data.event_time  # type: ignore[union-attr]
        case Gap(first=first, reason=reason):
            assert_type(first, int)
            assert_type(reason, GapReason)
        case Outage(since=since) | VenueChanged(since=since):
            assert_type(since, float)
    match trade:
        case Event(data=data):
            assert_type(data, Trade)
            assert_type(data.buyer_is_maker, bool)
            _ = data.agg_id  # type: ignore[attr-defined]
        case _:
            assert_type(trade, Gap | Outage | VenueChanged)


def an_event_is_read_as_one_of_a_wider_kind(trade: Event[Trade]) -> Event[Trade | AggTrade]:
    trade.stream = "ethusdt@trade"  # type: ignore[misc]
    return trade


def names_say_what_their_streams_carry() -> None:
    assert_type(streams.trade("btcusdt"), StreamName[Trade])
    assert_type(streams.depth("btcusdt", "100ms"), StreamName[Depth | DepthSnapshot])
    assert_type(streams.all_mini_tickers(), StreamName[list[MiniTicker]])
    streams.kline("btcusdt", "2m")  # type: ignore[arg-type]
    _name: str = streams.trade("btcusdt")


def observers_and_views(feed: Feed) -> None:
    def observe(transition: Transition) -> None:
        match transition:
            case transitions.ConnectionLost(detail=detail, silence_s=silence):
                assert_type(detail, str)
                assert_type(silence, float)
            case _:
                pass

    observer: Observer = observe
    k2trio.open_feed(["btcusdt@trade"], observers=[observer])
    k2trio.open_feed(["btcusdt@trade"], observers=[len])  # type: ignore[list-item]
    k2trio.open_feed(["btcusdt@trade"], observer=observer)  # type: ignore[call-overload]
    k2trio.open_feed("btcusdt@trade", metrics=1)  # type: ignore[call-overload]
    assert_type(feed.coverage(), list[Coverage])
    assert_type(feed.status(), FeedStatus)
