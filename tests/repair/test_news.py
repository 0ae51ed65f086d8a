"""What a venue tells, and whether a silent connection is to blame for it."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from msgspec import structs
from numbered import NOW_MS, NOW_S, TRADES, Bench, trade

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
