"""What a venue tells, and whether a silent connection is to blame for it."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from msgspec import structs
from numbered import NOW_MS, NOW_S, TRADES, Bench, quote, trade

from k2trio.market.payloads import DepthSnapshot, Level
from k2trio.market.quotes import Quote, quote_of
from k2trio.market.streams import parse_stream
from k2trio.repair.news import News, Silence
from k2trio.repair.rest import Newest

LAST = 100
"""The last trade that was delivered; made at ``NOW_MS``."""


def told(number: int, later_ms: int = 0) -> Newest:
    return Newest(number, NOW_MS + later_ms)


@pytest.fixture
def bench() -> Bench:
    """Delivered: trades until ``LAST``."""
    bench = Bench()
    bench.offer(*[trade(number, 0) for number in (LAST - 1, LAST)])
    return bench


async def blames(bench: Bench, newest: Newest, last_time: int | None = None) -> bool:
    track = bench.arbiter.track("v", TRADES)
    return News().speaks_against(Silence(0, last_time), track, newest)


@pytest.mark.parametrize("held", [LAST + 3, LAST + 5_000_000], ids=["behind a gap", "a suspect"])
async def test_what_has_come_and_waits_is_no_news(bench: Bench, held: int) -> None:
    assert bench.offer(trade(held, 0.005)) == []
    assert not await blames(bench, told(held, 5))
    assert await blames(bench, told(held + 1, 5))
    assert await blames(bench, told(held, 6))  # the id of another message


async def test_ids_that_began_anew_and_are_not_yet_believed_are_no_news(bench: Bench) -> None:
    assert bench.offer(trade(7, 0.005)) == []
    assert not await blames(bench, told(7, 5))
    assert await blames(bench, told(8, 6))
    assert not await blames(bench, told(7, 0))  # as old as the last that was delivered


@pytest.mark.parametrize(("later_ms", "news"), [(-1, False), (0, True), (1, True)])
async def test_what_was_made_before_the_last_message_is_no_news(
    bench: Bench, later_ms: int, news: bool
) -> None:
    assert await blames(bench, told(LAST + 1, 50 + later_ms), NOW_MS + 50) is news


async def test_what_was_told_before_is_news_for_those_who_were_there_already(
    bench: Bench, autojump_clock: Any
) -> None:
    track = bench.arbiter.track("v", TRADES)
    news = News()
    await trio.sleep(10)
    assert news.speaks_against(Silence(0), track, told(LAST + 1))
    await trio.sleep(10)
    assert news.speaks_against(Silence(5), track, told(LAST + 1))
    assert not news.speaks_against(Silence(15), track, told(LAST + 1))
    assert news.speaks_against(Silence(15), track, told(LAST + 2))
    # A host that lags tells nothing new, nor does the one that does not after it.
    await trio.sleep(10)
    assert not news.speaks_against(Silence(25), track, told(LAST + 1))
    assert not news.speaks_against(Silence(25), track, told(LAST + 2))
    # Ids that began anew do.
    assert news.speaks_against(Silence(25), track, told(1, 1))


async def test_a_time_that_cannot_be_believed_dates_no_silence(bench: Bench) -> None:
    track = bench.arbiter.track("v", TRADES)
    assert track.last_time == NOW_MS
    ahead = structs.replace(trade(LAST + 1, 60), received=NOW_S)
    bench.offer(ahead)
    assert track.last_time is None


QUOTES = "btcusdt@bookTicker"
SAID = Quote((("1", "1"),), (("2", "1"),))
"""What every quote of this bench says."""
OTHER = Quote((("1", "1"),), (("2", "3"),))
ANOTHER = Quote((("3", "1"),), (("2", "3"),))


async def says(bench: Bench, news: News, newest: int, quote: Quote, since: float = 0) -> bool:
    track = bench.arbiter.track("v", QUOTES)
    return news.speaks_against(Silence(since), track, Newest(newest, None, quote))


def test_best_prices_are_equal_however_many_zeros_they_end_with() -> None:
    book = DepthSnapshot(7, [Level("1.000", "1.0"), Level("0.9", "5")], [Level("2", "1.00")])
    ticker, partial = parse_stream(QUOTES), parse_stream("btcusdt@depth5")
    assert quote_of(ticker, book) == SAID
    assert quote_of(partial, book) == Quote((("1", "1"), ("0.9", "5")), (("2", "1"),))


def test_a_side_of_zeros_is_a_side_without_levels() -> None:
    ticker = structs.replace(quote(5, 0).data, bid="0.000", bid_quantity="0.00")
    book = DepthSnapshot(7, [], [Level("2", "1")])
    assert quote_of(parse_stream(QUOTES), ticker) == quote_of(parse_stream(QUOTES), book)


async def test_best_prices_that_were_said_are_no_news_by_whatever_id(bench: Bench) -> None:
    bench.offer(quote(5, 0), quote(7, 1))
    for newest in (6, 7, 8, 9):
        assert not await says(bench, News(), newest, SAID)
    assert not await says(bench, News(), 6, OTHER)  # a host that lags, as far as one knows
    assert await says(bench, News(), 8, OTHER)


async def test_other_best_prices_by_ids_that_began_anew_are_news_if_they_move(
    bench: Bench,
) -> None:
    bench.offer(quote(5, 0))
    news = News()
    assert not await says(bench, news, 1, OTHER)
    assert not await says(bench, news, 2, OTHER)
    assert await says(bench, news, 3, ANOTHER)


async def test_best_prices_that_wait_to_be_believed_were_said(bench: Bench) -> None:
    far = quote(5_000_000, 1)
    data = structs.replace(far.data, ask_quantity=OTHER.asks[0][1])
    assert len(bench.offer(quote(5, 0), structs.replace(far, data=data))) == 1
    assert not await says(bench, News(), 5_000_001, OTHER)
    assert await says(bench, News(), 5_000_001, ANOTHER)


async def test_the_same_best_prices_are_told_first_but_once(
    bench: Bench, autojump_clock: Any
) -> None:
    bench.offer(quote(5, 0))
    news = News()
    assert await says(bench, news, 8, OTHER)
    await trio.sleep(10)
    assert not await says(bench, news, 9, OTHER, since=5)
    assert await says(bench, news, 9, ANOTHER, since=5)


async def test_after_a_restart_best_prices_are_compared_with_those_told_before(
    bench: Bench,
) -> None:
    """Where it goes on is known by its id, but not what was said there."""
    bench.arbiter.track("v", QUOTES).resume(5, 1000)
    news = News()
    assert not await says(bench, news, 8, SAID)
    assert not await says(bench, news, 9, SAID)
    assert await says(bench, news, 10, OTHER)


@pytest.mark.parametrize("at_once", [False, True], ids=["one by one", "at once"])
async def test_what_was_said_last_is_known_however_it_came(bench: Bench, at_once: bool) -> None:
    last = quote(20, 2)
    data = structs.replace(last.data, ask_quantity=OTHER.asks[0][1])
    events = [*(quote(number, 1) for number in range(5, 20)), structs.replace(last, data=data)]
    bench.offer(quote(4, 0))
    offer = bench.at_once if at_once else bench.offer
    assert len(offer(*events)) == 16
    assert not await says(bench, News(), 30, OTHER)
    assert await says(bench, News(), 30, SAID)


@pytest.mark.parametrize("stream", ["btcusdt@ticker", QUOTES, "btcusdt@depth5"])
async def test_of_a_stream_that_never_spoke_it_is_news_what_was_told_for_the_second_time(
    bench: Bench, autojump_clock: Any, stream: str
) -> None:
    track, news = bench.arbiter.track("v", stream), News()
    quoted = stream != "btcusdt@ticker"

    def told(number: int, quote: Quote) -> Newest:
        return Newest(number, None, quote if quoted else None)

    assert not news.moves_unheard(Silence(0), track, told(5, SAID))
    await trio.sleep(30)
    assert not news.moves_unheard(Silence(0), track, told(5, SAID))
    assert not news.moves_unheard(Silence(0), track, told(4, OTHER))  # a host that lags
    assert news.moves_unheard(Silence(0), track, told(6, SAID)) is not quoted
    assert news.moves_unheard(Silence(0), track, told(7, OTHER))
    # A connection that was opened since is not to blame for what was told before.
    await trio.sleep(30)
    assert not news.moves_unheard(Silence(40), track, told(7, OTHER))
    assert not news.moves_unheard(Silence(40), track, told(7, OTHER))
    assert news.moves_unheard(Silence(40), track, told(8, SAID))
