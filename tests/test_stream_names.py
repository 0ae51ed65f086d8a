"""The names of ``k2trio.streams``: what they promise of their streams is what is decoded."""

from __future__ import annotations

from typing import Any, get_args, get_type_hints

import pytest
import trio
from world import open_world

from k2trio import Event, UnknownStreamError, futures, streams
from k2trio.market.payloads import PAYLOADS, DepthSnapshot, type_of
from k2trio.market.streams import KLINE_INTERVALS_MS, TABLE, TICKER_WINDOWS, Kind, parse_stream
from k2trio.market.usdm import USDM

NAMES = [
    streams.trade("BTCUSDT"),
    streams.agg_trade("BTCUSDT"),
    streams.block_trade("BTCUSDT"),
    streams.depth("BTCUSDT"),
    streams.partial_depth("BTCUSDT", 5),
    streams.book_ticker("BTCUSDT"),
    streams.kline("BTCUSDT", "1m"),
    streams.mini_ticker("BTCUSDT"),
    streams.all_mini_tickers(),
    streams.ticker("BTCUSDT"),
    streams.window_ticker("BTCUSDT", "1h"),
    streams.all_window_tickers("4h"),
    streams.avg_price("BTCUSDT"),
    streams.reference_price("BTCUSDT"),
]
MAKERS = [streams.trade, streams.agg_trade, streams.block_trade, streams.depth,
    streams.partial_depth, streams.book_ticker, streams.kline, streams.mini_ticker,
    streams.all_mini_tickers, streams.ticker, streams.window_ticker, streams.all_window_tickers,
    streams.avg_price, streams.reference_price]  # fmt: skip


def test_every_kind_has_a_name_of_its_own() -> None:
    assert [parse_stream(name).kind for name in NAMES] == list(TABLE)


@pytest.mark.parametrize(("make", "name"), [*zip(MAKERS, NAMES, strict=True)], ids=NAMES)
def test_a_name_promises_the_type_that_its_stream_is_decoded_to(make: Any, name: str) -> None:
    (promised,) = get_args(get_type_hints(make)["return"])
    decoded = PAYLOADS[parse_stream(name).kind]
    if name.endswith("@depth"):
        decoded |= DepthSnapshot
    assert promised == decoded


@pytest.mark.parametrize("speed", ["100ms", "1000ms"])
def test_books_come_at_either_speed(speed: Any) -> None:
    assert parse_stream(streams.depth("btcusdt", speed)).kind is Kind.DEPTH
    assert parse_stream(streams.partial_depth("btcusdt", 20, speed)).levels == 20


def test_intervals_and_windows_are_all_that_the_exchange_has() -> None:
    assert get_args(streams.KlineInterval) == tuple(KLINE_INTERVALS_MS)
    assert get_args(streams.TickerWindow) == TICKER_WINDOWS


def test_a_name_that_cannot_be_is_refused_where_it_is_made() -> None:
    with pytest.raises(UnknownStreamError, match="BTC/USDT"):
        streams.trade("BTC/USDT")


FUTURES = [
    futures.depth("BTCUSDT"),
    futures.rpi_depth("BTCUSDT"),
    futures.partial_depth("BTCUSDT", 5),
    futures.book_ticker("BTCUSDT"),
    futures.all_book_tickers(),
    futures.mark_price("BTCUSDT"),
    futures.all_mark_prices("1000ms"),
    futures.forced_orders("BTCUSDT"),
    futures.all_forced_orders(),
    futures.ticker("BTCUSDT"),
    futures.all_tickers(),
    futures.continuous_kline("BTCUSDT", "perpetual", "1m"),
    futures.composite_index("DEFIUSDT"),
    futures.asset_index("ADAUSD"),
    futures.all_asset_indexes(),
    futures.contract_info(),
    futures.trading_session(),
]
FUTURES_MAKERS = [futures.depth, futures.rpi_depth, futures.partial_depth, futures.book_ticker,
    futures.all_book_tickers, futures.mark_price, futures.all_mark_prices, futures.forced_orders,
    futures.all_forced_orders, futures.ticker, futures.all_tickers, futures.continuous_kline,
    futures.composite_index, futures.asset_index, futures.all_asset_indexes, futures.contract_info,
    futures.trading_session]  # fmt: skip


@pytest.mark.parametrize(
    ("make", "name"), [*zip(FUTURES_MAKERS, FUTURES, strict=True)], ids=FUTURES
)
def test_a_name_of_futures_promises_the_type_that_its_stream_is_decoded_to(
    make: Any, name: str
) -> None:
    (promised,) = get_args(get_type_hints(make)["return"])
    decoded = type_of(parse_stream(name, "usdm"))
    if name.endswith("@depth"):
        decoded |= DepthSnapshot
    assert promised == decoded


def test_every_kind_of_futures_has_a_name_here_or_there() -> None:
    of_spot = {
        parse_stream(name).kind
        for name in (streams.trade("a"), streams.agg_trade("a"), streams.kline("a", "1m"),
            streams.mini_ticker("a"), streams.all_mini_tickers())
    }  # fmt: skip
    kinds = {parse_stream(name, "usdm").kind for name in FUTURES}
    assert not kinds & of_spot
    assert kinds | of_spot == set(USDM.orders)


@pytest.mark.parametrize("speed", get_args(futures.BookSpeed))
def test_books_of_futures_come_at_each_speed(speed: Any) -> None:
    assert parse_stream(futures.depth("btcusdt", speed), "usdm").kind is Kind.DEPTH
    assert parse_stream(futures.partial_depth("btcusdt", 20, speed), "usdm").levels == 20


async def test_a_feed_takes_such_names_as_it_takes_strings(autojump_clock: Any) -> None:
    names = [streams.trade("BTCUSDT"), streams.all_mini_tickers()]
    parse_stream.cache_clear()  # the first that asks for a name says of what type it is kept
    async with open_world(settings={"streams": names[:1]}) as world:
        await world.feed.subscribe(names[1])
        await trio.sleep(10)
    seen = {item.stream: type(item.stream) for _, item in world.items if isinstance(item, Event)}
    assert seen == {"btcusdt@trade": str, "!miniTicker@arr": str}
