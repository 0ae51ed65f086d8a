"""How gaps are closed: when REST is asked, what is believed, what is declared and when."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import trio
from repairs import (
    AGGS,
    DEPTH,
    MINUTE,
    MINUTES,
    OTHER,
    agg,
    diff,
    having,
    minute,
    number_of,
    open_bench,
)
from rest import HOSTS, VENUE, agg_rows, kline_rows, status, trade_rows
from world import START_MS, SUBJECT, fault, open_world

from k2trio.continuity.items import Gap, Outage
from k2trio.market.payloads import Event, Trade
from k2trio.observe import transitions as on

if TYPE_CHECKING:
    from collections.abc import Callable

    import httpx2

    from k2trio.continuity.items import Item
    from k2trio.continuity.track import Track


# -- block trades -------------------------------------------------------------------------------


async def test_block_trades_lost_on_the_way_are_repaired(autojump_clock: Any) -> None:
    stream = "btcusdt@blockTrade"
    lost = fault(100, "outage", "*", duration=150)
    settings = {"streams": [stream]}
    async with open_world([lost], endpoints=["a"], rate=30, settings=settings) as world:
        await trio.sleep(500)
        rows = [row for _, row in world.items if row.stream == stream]
        ((first, last),) = world.exchange.truth.ranges(stream)
        payloads = {n: world.exchange.truth.payload(stream, n) for n in range(first, last + 1)}
    assert all(isinstance(row, Event) for row in rows)
    events = [row for row in rows if isinstance(row, Event)]
    got = [event.data.trade_id for event in events]
    assert got == list(range(got[0], last + 1))
    assert len(got) > 15
    repaired = [event for event in events if event.origin == "backfill"]
    assert len(repaired) >= 5
    # What a sink writes is byte for byte what the stream would have said.
    assert all(event.raw == payloads[event.data.trade_id] for event in events)


# -- the plain case -----------------------------------------------------------------------------


async def test_a_gap_waits_for_another_connection_and_then_asks(autojump_clock: Any) -> None:
    async with open_bench(having()) as (bench, rest):
        bench.offer(agg(1), agg(5), agg(6))
        await trio.sleep(10)
    assert rest.times == [0.2]
    assert bench.lines() == [1, -2, -3, -4, 5, 6]
    assert bench.ended() == {"repaired": 1}
    assert bench.metrics.registry.get_sample_value("k2_binance_repaired_messages_total") == 3


async def test_a_gap_without_another_connection_is_asked_for_at_once(autojump_clock: Any) -> None:
    async with open_bench(having(), redundant=False) as (bench, rest):
        bench.offer(agg(1), agg(5))
        await trio.sleep(10)
    assert rest.times == [0.0]
    assert bench.lines() == [1, -2, -3, -4, 5]


async def test_another_connection_in_time_spares_the_request(autojump_clock: Any) -> None:
    async with open_bench(having()) as (bench, rest):
        bench.offer(agg(1), agg(5))
        await trio.sleep(0.19)
        bench.offer(agg(2), agg(3), agg(4))
        await trio.sleep(10)
    assert rest.requests == []
    assert bench.lines() == [1, 2, 3, 4, 5]
    assert bench.ended() == {"joined": 1}


async def test_only_what_another_connection_left_is_asked_for(autojump_clock: Any) -> None:
    async with open_bench(having()) as (bench, rest):
        bench.offer(agg(1), agg(9))
        await trio.sleep(0.1)
        bench.offer(agg(2), agg(3), agg(7), agg(8))
        await trio.sleep(10)
    assert rest.requests[0][3] == {"symbol": "BTCUSDT", "limit": "4", "fromId": "4"}
    assert bench.lines() == [1, 2, 3, -4, -5, -6, 7, 8, 9]


async def test_a_gap_that_is_filled_while_it_is_fetched(autojump_clock: Any) -> None:
    async def slow(request: httpx2.Request) -> Any:
        await trio.sleep(3)
        return having()(request)

    async with open_bench(slow) as (bench, _):
        bench.offer(agg(1), agg(5))
        await trio.sleep(1)
        bench.offer(agg(2), agg(3))
        await trio.sleep(10)
        assert bench.lines() == [1, 2, 3, -4, 5]
        bench.offer(agg(8))
        await trio.sleep(1)
        bench.offer(agg(6), agg(7))
        await trio.sleep(10)
    assert bench.lines() == [1, 2, 3, -4, 5, 6, 7, 8]
    assert bench.ended() == {"repaired": 1, "joined": 1}
    assert not any(isinstance(item, Gap) for _, item in bench.told)


async def test_a_gap_of_several_pages(autojump_clock: Any) -> None:
    async with open_bench(having()) as (bench, rest):
        bench.offer(agg(1), agg(2503))
        await trio.sleep(10)
    assert [query["fromId"] for *_, query in rest.requests] == ["2", "1002", "2002"]
    assert [query["limit"] for *_, query in rest.requests] == ["1000", "1000", "502"]
    assert [abs(number) for number in bench.lines()] == list(range(1, 2504))
    assert rest.times == [0.2] * 3


async def test_two_gaps_of_a_stream_are_closed_one_after_the_other(autojump_clock: Any) -> None:
    async with open_bench(having()) as (bench, _):
        bench.offer(agg(1), agg(3), agg(6))
        await trio.sleep(10)
    assert bench.lines() == [1, -2, 3, -4, -5, 6]
    assert bench.ended() == {"repaired": 2}


async def test_without_rest_the_gap_is_declared_after_the_hold(autojump_clock: Any) -> None:
    async with open_bench(having(), hosts=["https://elsewhere.test"]) as (bench, rest):
        bench.offer(agg(1), agg(5))
        await trio.sleep(10)
    assert bench.gaps() == [(0.2, Gap(VENUE, AGGS, 2, 4, "not_repairable", 1, 5))]
    assert rest.requests == []


# -- holes of the venue -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("missing", "expected"),
    [
        ({2, 3}, [(2, 3, "venue_missing"), -4, -5, -6, -7, -8, -9]),
        ({5}, [-2, -3, -4, (5, 5, "venue_missing"), -6, -7, -8, -9]),
        ({8, 9}, [-2, -3, -4, -5, -6, -7, (8, 9, "venue_missing")]),
        ({2, 9}, [(2, 2, "venue_missing"), -3, -4, -5, -6, -7, -8, (9, 9, "venue_missing")]),
        ({2, 4, 6}, [(2, 2, "venue_missing"), -3, (4, 4, "venue_missing"), -5,
                     (6, 6, "venue_missing"), -7, -8, -9]),
        ({2, 3, 4, 5, 6, 7, 8, 9}, [(2, 9, "venue_missing")]),
        ({*range(2, 30)}, [(2, 9, "venue_missing")]),
    ],
    ids=["start", "middle", "end", "both ends", "several", "all", "beyond the gap"],
)  # fmt: skip
async def test_ids_that_the_venue_lacks_are_declared_in_their_place(
    autojump_clock: Any, missing: set[int], expected: list[Any]
) -> None:
    async with open_bench(having(missing)) as (bench, _):
        bench.offer(agg(1), agg(10))
        await trio.sleep(10)
    assert bench.lines() == [1, *expected, 10]
    assert bench.ended() == {"declared": 1}
    coverage = bench.arbiter.track(VENUE, AGGS).coverage()
    assert coverage.missing == len(missing & set(range(2, 10)))
    assert coverage.live + coverage.repaired + coverage.missing == 10


async def test_a_hole_is_believed_only_after_a_second_look(autojump_clock: Any) -> None:
    """The first page skips ids that the second one has: nothing is declared."""
    answers = [agg_rows([2, 3, 6, 7, 8, 9, 10]), agg_rows([4, 5, 6, 7, 8, 9, 10])]
    async with open_bench(lambda _: answers.pop(0)) as (bench, rest):
        bench.offer(agg(1), agg(10))
        await trio.sleep(10)
    assert bench.lines() == [1, -2, -3, -4, -5, -6, -7, -8, -9, 10]
    assert rest.times == [0.2, 0.7]


async def test_each_hole_gets_a_second_look_of_its_own(autojump_clock: Any) -> None:
    """Short pages: the hole at 8 shows for the first time when that at 4 is believed."""
    pages = [
        agg_rows([2, 3, 5, 6]),
        agg_rows([5, 6, 7, 9, 10]),
        agg_rows([8, 9, 10]),
    ]
    async with open_bench(lambda _: pages.pop(0)) as (bench, rest):
        bench.offer(agg(1), agg(10))
        await trio.sleep(5)
    assert bench.lines() == [1, -2, -3, (4, 4, "venue_missing"), -5, -6, -7, -8, -9, 10]
    assert len(rest.requests) == 3


async def test_many_holes_need_two_pages_and_no_more(autojump_clock: Any) -> None:
    missing = set(range(4, 900, 7))
    async with open_bench(having(missing)) as (bench, rest):
        bench.offer(agg(1), agg(902))
        await trio.sleep(10)
    assert len(rest.requests) <= 3
    declared = [line for line in bench.lines() if isinstance(line, tuple)]
    assert declared == [(number, number, "venue_missing") for number in sorted(missing)]


async def test_a_hole_that_another_connection_fills_is_not_declared(autojump_clock: Any) -> None:
    async with open_bench(having({5})) as (bench, rest):
        bench.offer(agg(1), agg(10))
        await trio.sleep(0.4)
        bench.offer(agg(5))
        await trio.sleep(10)
    assert bench.lines() == [1, -2, -3, -4, 5, -6, -7, -8, -9, 10]
    assert len(rest.requests) <= 2


async def test_where_history_wants_a_key_the_rows_of_the_last_trades_are_used(
    autojump_clock: Any,
) -> None:
    """What lies before them is out of reach: declared when its hold is over, and no more."""

    def answer(request: httpx2.Request) -> Any:
        if "historicalTrades" in request.url.path:
            return status(401, -2014)
        return trade_rows(range(6, 20)) if "trades" in request.url.path else having()(request)

    async with open_bench(answer, redundant=False) as (bench, _):
        stream = "btcusdt@trade"
        bench.offer(trade(1, stream), trade(9, stream), trade(11, stream))
        bench.offer(agg(1), agg(4))
        await trio.sleep(30)
    numbers = [
        (item.first, item.last, item.reason) if isinstance(item, Gap) else item.data.trade_id  # type: ignore[union-attr]
        for _, item in bench.told
        if item.stream == stream
    ]
    assert numbers == [1, (2, 5, "not_repaired"), 6, 7, 8, 9, 10, 11]
    assert [at for at, _ in bench.gaps()] == [10]
    assert bench.lines(AGGS) == [1, -2, -3, 4]


# -- answers that are no help -------------------------------------------------------------------


async def test_pages_shorter_than_asked_for(autojump_clock: Any) -> None:
    def short(request: httpx2.Request) -> Any:
        return having()(request)[:2]

    async with open_bench(short) as (bench, _):
        bench.offer(agg(1), agg(10))
        await trio.sleep(10)
    assert bench.lines() == [1, *range(-2, -10, -1), 10]


async def test_rows_in_any_order_and_twice(autojump_clock: Any) -> None:
    async with open_bench(lambda _: agg_rows([9, 3, 5, 2, 4, 3, 8, 6, 7, 2, 10, 1])) as (bench, _):
        bench.offer(agg(1), agg(10))
        await trio.sleep(10)
    assert bench.lines() == [1, *range(-2, -10, -1), 10]


async def test_a_rest_side_that_lags_is_asked_until_it_has_caught_up(autojump_clock: Any) -> None:
    """It has what is older than the gap, then a part, then all: nothing is declared."""

    def lagging(request: httpx2.Request) -> Any:
        newest = int(trio.current_time() * 2)
        rows: Any = having(until=newest)(request)
        return rows or agg_rows([newest])

    async with open_bench(lagging) as (bench, rest):
        bench.offer(agg(1), agg(10))
        await trio.sleep(10)
    assert bench.lines() == [1, *range(-2, -10, -1), 10]
    assert len(rest.requests) > 5
    assert bench.ended() == {"repaired": 1}


@pytest.mark.parametrize("answer", [[], agg_rows([1])], ids=["nothing", "older rows"])
async def test_without_progress_the_gap_is_declared_exactly_when_the_hold_ends(
    autojump_clock: Any, answer: Any
) -> None:
    async with open_bench(lambda _: answer, repair_hold=7.3) as (bench, _):
        await trio.sleep(100)
        bench.offer(agg(1), agg(10), agg(11))
        await trio.sleep(20)
    assert bench.gaps() == [(107.3, Gap(VENUE, AGGS, 2, 9, "not_repaired", 1, 10))]
    assert bench.lines()[-2:] == [10, 11]
    assert bench.ended() == {"declared": 1}


async def test_a_hanging_request_does_not_prolong_the_hold(autojump_clock: Any) -> None:
    async def hanging(_: httpx2.Request) -> Any:
        await trio.sleep_forever()

    async with open_bench(hanging) as (bench, rest):
        bench.offer(agg(1), agg(10))
        await trio.sleep(20)
    assert [at for at, _ in bench.gaps()] == [10]
    assert rest.running == 0


async def test_progress_prolongs_the_hold(autojump_clock: Any) -> None:
    """A row every 8 s, then none: declared 10 s after the last one.

    The pauses between the requests grow, but a last one is made just before the hold is over.
    """

    def trickle(request: httpx2.Request) -> Any:
        return having(until=min(4, 1 + int(trio.current_time() // 8)))(request)

    async with open_bench(trickle) as (bench, _):
        bench.offer(agg(1), agg(10))
        await trio.sleep(100)
    repaired = [at for at, item in bench.told if isinstance(item, Event) and item.origin != "live"]
    assert repaired == [9, 16.5, 24]
    assert bench.gaps() == [(34, Gap(VENUE, AGGS, 5, 9, "not_repaired", 1, 10))]


async def test_a_slow_consumer_does_not_use_up_the_hold(autojump_clock: Any) -> None:
    async with open_bench(having()) as (bench, _):
        bench.pause_s = 100
        bench.offer(agg(1), agg(3005))
        await trio.sleep(1000)
    assert bench.gaps() == []
    assert [abs(number) for number in bench.lines()] == list(range(1, 3006))


async def test_a_gap_behind_a_long_repair_has_a_hold_of_its_own(autojump_clock: Any) -> None:
    """It opened long ago, but could not be asked for before the one in front was closed."""

    def trickle(request: httpx2.Request) -> Any:
        return having(until=1 + int(trio.current_time() // 2))(request)

    async with open_bench(trickle) as (bench, _):
        bench.offer(agg(1), agg(20), agg(30))
        await trio.sleep(100)
    assert bench.gaps() == []
    assert [abs(number) for number in bench.lines()] == list(range(1, 31))


async def test_a_new_gap_is_not_declared_for_the_old_ones_lack_of_progress(
    autojump_clock: Any,
) -> None:
    """The first gap is closed by another connection just before its hold ends."""
    async with open_bench(lambda _: []) as (bench, _):
        bench.offer(agg(1), agg(3))
        await trio.sleep(9.9)
        bench.offer(agg(2), agg(5))
        await trio.sleep(20)
    assert bench.gaps() == [(19.9, Gap(VENUE, AGGS, 4, 4, "not_repaired", 3, 5))]


async def test_the_next_host_is_asked_and_another_venues_never(autojump_clock: Any) -> None:
    def answer(request: httpx2.Request) -> Any:
        return status(500) if request.url.port == 1 else having()(request)

    async with open_bench(answer, hosts=[*HOSTS[:2], "https://w.test"]) as (bench, rest):
        bench.offer(agg(1), agg(4))
        await trio.sleep(10)
    assert rest.ports == [1, 2]
    assert bench.lines() == [1, -2, -3, 4]


# -- several gaps -------------------------------------------------------------------------------


async def test_one_request_serves_every_gap_up_to_the_last_held_message(
    autojump_clock: Any,
) -> None:
    async with open_bench(having()) as (bench, rest):
        bench.offer(agg(1), agg(3))
        await trio.sleep(0.1)
        bench.offer(agg(6), agg(7), agg(11))
        await trio.sleep(10)
    assert rest.requests == [
        (0.2, 1, "/api/v3/aggTrades", {"symbol": "BTCUSDT", "fromId": "2", "limit": "10"})
    ]
    assert bench.lines() == [1, -2, 3, -4, -5, 6, 7, -8, -9, -10, 11]
    assert bench.ended() == {"repaired": 3}


async def test_a_gap_out_of_reach_of_the_page_gets_a_page_of_its_own(autojump_clock: Any) -> None:
    async with open_bench(having(), redundant=False) as (bench, rest):
        bench.offer(*map(agg, range(1, 1999, 2)))
        await trio.sleep(10)
    assert [(query["fromId"], query["limit"]) for *_, query in rest.requests] == [
        ("2", "1000"), ("1002", "996"),
    ]  # fmt: skip
    assert [abs(number) for number in bench.lines()] == list(range(1, 1998))


@pytest.mark.parametrize("how", ["refused", "hanging"])
async def test_without_rest_each_gap_is_declared_at_the_end_of_its_own_hold(
    autojump_clock: Any, how: str
) -> None:
    """Not ten seconds after the gap before it; and no request is begun anew for each of them."""

    async def answer(_: httpx2.Request) -> Any:
        if how == "hanging":
            await trio.sleep_forever()
        return status(503)

    async with open_bench(answer) as (bench, rest):
        bench.offer(agg(1))
        for number in range(3, 403, 4):
            bench.offer(agg(number), agg(number + 1))
            await trio.sleep(0.5)
        await trio.sleep(20)
    assert [at for at, _ in bench.gaps()] == [10 + 0.5 * step for step in range(100)]
    assert {gap.reason for _, gap in bench.gaps()} == {"not_repaired"}
    assert bench.ended() == {"declared": 100}
    assert len(rest.requests) < 30


async def test_a_message_that_fills_a_gap_in_part_gives_the_rest_of_it_no_new_hold(
    autojump_clock: Any,
) -> None:
    async with open_bench(lambda _: []) as (bench, _):
        bench.offer(agg(1), agg(9))
        await trio.sleep(9)
        bench.offer(agg(5))
        await trio.sleep(20)
    assert bench.gaps() == [
        (10, Gap(VENUE, AGGS, 2, 4, "not_repaired", 1, 5)),
        (10, Gap(VENUE, AGGS, 6, 8, "not_repaired", 5, 9)),
    ]


async def test_what_rest_did_bring_is_delivered_when_the_hold_of_a_gap_ends(
    autojump_clock: Any,
) -> None:
    """It skips ids, and then fails: they are not proven to be missing at the venue."""
    answers = [agg_rows([2, 5, 6, 9, 10])]
    async with open_bench(lambda _: answers.pop() if answers else status(503)) as (bench, _):
        bench.offer(agg(1), agg(8))
        bench.offer(agg(10))
        await trio.sleep(30)
    assert bench.lines() == [
        1, -2, (3, 4, "not_repaired"), -5, -6, (7, 7, "not_repaired"), 8, -9, 10,
    ]  # fmt: skip
    assert [at for at, _ in bench.gaps()] == [10.2, 10.2]


async def test_messages_that_wait_too_long_are_a_problem(autojump_clock: Any) -> None:
    async with open_bench(lambda _: []) as (bench, _):
        bench.offer(agg(1), agg(4))
        await trio.sleep(5)
        assert bench.repairs.problems(trio.current_time()) == []
        await trio.sleep(1)
        assert bench.repairs.problems(trio.current_time()) == [
            "messages wait behind a gap for 6.0 s"
        ]
        await trio.sleep(5)
        assert bench.repairs.problems(trio.current_time()) == []


# -- the budget ---------------------------------------------------------------------------------


async def test_rest_that_has_nothing_is_asked_at_growing_pauses(autojump_clock: Any) -> None:
    """A last time just before the gap is declared. Each request costs what others could have."""
    async with open_bench(lambda _: []) as (bench, rest):
        bench.offer(agg(1), agg(4))
        await trio.sleep(30)
    assert rest.times == [0.2, 0.7, 1.7, 3.7, 7.7, 9]


def trade(number: int, stream: str) -> Event:
    data = Trade(number, "BTCUSDT", number, "1", "1", number, False)
    return Event(data, stream, VENUE, float(number), b"{}")


async def test_waiting_for_the_budget_is_not_failing_for_one_window(autojump_clock: Any) -> None:
    """Three pages a minute can be paid, and seven streams want one.

    Who gets none in the second minute either is declared, a hold and a window after it opened.
    """
    answer = lambda request: trade_rows(range(2, 5))  # noqa: E731
    async with open_bench(answer, redundant=False, rest_weight_limit=100) as (bench, rest):
        for number in range(7):
            stream = f"sym{number}usdt@trade"
            bench.offer(trade(1, stream), trade(4, stream))
        await trio.sleep(300)
    assert rest.times == [0, 0, 0, 60, 60, 60]
    assert [at for at, _ in bench.gaps()] == [70]


async def test_waiting_is_no_excuse_while_rest_does_not_answer(autojump_clock: Any) -> None:
    async with open_bench(
        lambda _: status(503), hosts=HOSTS, redundant=False, rest_weight_limit=100
    ) as (bench, _):
        for number in range(9):
            stream = f"sym{number}usdt@trade"
            bench.offer(trade(1, stream), trade(4, stream))
        await trio.sleep(300)
    assert [at for at, _ in bench.gaps()] == [10] * 9


async def test_nor_while_the_venue_has_banned_us_for_longer(autojump_clock: Any) -> None:
    async with open_bench(
        lambda _: status(418, Retry_After="600"), hosts=HOSTS, redundant=False
    ) as (bench, rest):
        bench.offer(agg(1), agg(4))
        await trio.sleep(300)
    assert [at for at, _ in bench.gaps()] == [10]
    assert rest.times == [0]


async def test_a_stream_that_asks_often_collects_gaps_when_the_budget_is_short(
    autojump_clock: Any,
) -> None:
    """3 % of 100 messages a second are lost for a minute; one page of trades weighs 25 of 3000."""
    lost = fault(5, "dropped", "*", duration=60.0, share=0.03)
    async with open_world([lost], endpoints=["a"], rate=67) as world:
        await trio.sleep(90)
        assert world.feed.status().problems == ()
    events = [item for _, item in world.items if isinstance(item, Event)]
    assert [item for _, item in world.items if isinstance(item, Gap)] == []
    ids = [item.data.trade_id for item in events]
    assert ids == list(range(ids[0], ids[0] + len(ids)))
    repaired = [item for item in events if item.origin == "backfill"]
    assert len(repaired) > 150
    asked = [target for _, _, target, _ in world.rest.requests if "historical" in target]
    assert len(asked) < 110
    waited = max(
        at - (item.received - START_MS / 1000)
        for at, item in world.items
        if isinstance(item, Event) and item.origin == "live"
    )
    assert waited < 3


# -- several streams ----------------------------------------------------------------------------


async def test_streams_are_repaired_at_the_same_time_within_the_limit(autojump_clock: Any) -> None:
    async def slow(request: httpx2.Request) -> Any:
        await trio.sleep(1)
        return having()(request)

    async with open_bench(slow, repair_concurrency=3) as (bench, rest):
        for number in range(8):
            stream = f"sym{number}@aggTrade"
            bench.offer(agg(1, stream), agg(4, stream))
        await trio.sleep(20)
    assert rest.most_running == 3
    assert rest.times == [0.2] * 3 + [1.2] * 3 + [2.2] * 2
    for number in range(8):
        assert bench.lines(f"sym{number}@aggTrade") == [1, -2, -3, 4]


async def test_one_stream_does_not_wait_for_another(autojump_clock: Any) -> None:
    async def stuck(request: httpx2.Request) -> Any:
        if request.url.params["symbol"] == "BTCUSDT":
            await trio.sleep_forever()
        return having()(request)

    async with open_bench(stuck) as (bench, _):
        bench.offer(agg(1), agg(4), agg(1, OTHER), agg(4, OTHER))
        await trio.sleep(1)
        assert bench.lines(OTHER) == [1, -2, -3, 4]
        assert bench.lines(AGGS) == [1]


async def test_gaps_of_one_stream_at_two_venues_are_two_gaps(autojump_clock: Any) -> None:
    async with open_bench(having(), hosts=["https://v.test:1", "https://w.test:2"]) as (
        bench,
        rest,
    ):
        bench.offer(agg(1), agg(4), agg(70, venue="w.test"), agg(72, venue="w.test"))
        await trio.sleep(1)
    assert sorted((port, query["fromId"]) for _, port, _, query in rest.requests) == [
        (1, "2"), (2, "71"),
    ]  # fmt: skip
    by_venue = [(item.venue, number_of(item)) for _, item in bench.told if isinstance(item, Event)]
    assert sorted(by_venue) == [("v.test", n) for n in (1, 2, 3, 4)] + [
        ("w.test", n) for n in (70, 71, 72)
    ]


# -- klines -------------------------------------------------------------------------------------


async def test_missing_closes_are_fetched_and_the_open_bar_is_not_taken_for_closed(
    autojump_clock: Any,
) -> None:
    """A REST side that lags shows bar 2 as it was before it closed, as its last row."""
    answers = [kline_rows([0, MINUTE, 2 * MINUTE]), kline_rows([2 * MINUTE, 3 * MINUTE])]
    async with open_bench(lambda _: answers.pop(0)) as (bench, rest):
        bench.offer(minute(0), minute(3))
        await trio.sleep(10)
    assert bench.lines() == [0, 0, -1, -2, 3]
    assert [query["startTime"] for *_, query in rest.requests] == ["0", "120000"]


async def test_bars_that_the_venue_never_made_are_declared(autojump_clock: Any) -> None:
    rows = kline_rows([0, 3 * MINUTE, 4 * MINUTE])
    answer = lambda request: [row for row in rows if row[0] >= int(request.url.params["startTime"])]  # noqa: E731
    async with open_bench(answer) as (bench, _):
        bench.offer(minute(0), minute(4))
        await trio.sleep(10)
    assert bench.lines() == [0, 0, (MINUTE, 2 * MINUTE, "venue_missing"), -3, 4]


async def test_the_time_without_updates_is_declared_when_a_repair_ends_it(
    autojump_clock: Any,
) -> None:
    async with open_bench(lambda _: kline_rows(range(0, 9 * MINUTE, MINUTE))) as (bench, _):
        bench.offer(minute(0))
        bench.arbiter.interrupt(VENUE, [MINUTES])
        bench.offer(minute(3))
        await trio.sleep(10)
    (outage,) = [item for _, item in bench.told if isinstance(item, Outage)]
    assert outage.until - outage.since == 180


# -- as a whole ---------------------------------------------------------------------------------


@pytest.mark.parametrize("streams", [["btcusdt@aggTrade"], ["btcusdt@kline_1s"]])
async def test_an_outage_is_repaired_from_the_simulated_exchange(
    autojump_clock: Any, streams: list[str]
) -> None:
    settings = {"streams": streams}
    async with open_world([fault(20, "outage", "*", duration=90)], rate=5, settings=settings) as w:
        await trio.sleep(300)
    assert not any(isinstance(item, Gap) for _, item in w.items)
    keys = [
        item.data.agg_id if "agg" in streams[0] else item.data.bar.open_time // 1000
        for _, item in w.items
        if isinstance(item, Event) and ("agg" in streams[0] or item.data.bar.closed)
    ]
    assert keys == list(range(keys[0], keys[0] + len(keys)))
    assert len(keys) > 250


async def test_holes_that_stay_are_declared_and_the_rest_is_repaired(autojump_clock: Any) -> None:
    faults = [
        fault(20, "outage", "*", duration=60),
        fault(20, "rest_truncated", "venue.rest", duration=1e6, size=100),
    ]
    async with open_world(faults, rate=10) as world:
        await trio.sleep(300)
    ids: list[int] = []
    for _, item in world.items:
        if isinstance(item, Gap):
            assert item.reason == "venue_missing"
            assert (item.stream, item.first) == (SUBJECT, ids[-1] + 1)
            ids += range(item.first, item.last + 1)
        elif isinstance(item, Event):
            ids.append(item.data.trade_id)
    assert ids == list(range(ids[0], world.exchange.truth.ranges(SUBJECT)[0][1] + 1))
    coverage = world.feed.coverage()[0]
    assert coverage.repaired > 50
    assert coverage.missing > 50


@pytest.mark.parametrize(("old_s", "new_s"), [(0.5, 0.5), (1.0, 0.01), (0.01, 1.0)])
async def test_a_rotation_over_a_slow_network_leaves_nothing_to_repair(
    autojump_clock: Any, old_s: float, new_s: float
) -> None:
    """Dialling takes time, and what is on its way on the old connection is waited for."""
    shutdown = fault(20, "server_shutdown", duration=15.0)
    settings = {"rest_urls": (), "arbitration_hold": 3, "streams": [SUBJECT, "ethusdt@trade"]}
    async with open_world(endpoints=["a"], rate=20, settings=settings, consume=False) as world:
        world.network.latency_s = old_s
        items: list[Item] = []
        with trio.move_on_after(19 + old_s):
            async for batch in world.feed.batches():
                items += batch
        world.network.latency_s = new_s
        world.network.faults.add([shutdown])
        with trio.move_on_after(60):
            async for batch in world.feed.batches():
                items += batch
    (rotated,) = world.of(on.Rotated)
    assert rotated[1].reason == "server_shutdown"
    assert world.of(on.ConnectionLost) == []
    for stream in settings["streams"]:  # type: ignore[attr-defined]
        ids = [item.data.trade_id for item in items if item.stream == stream]  # type: ignore[union-attr]
        assert ids == list(range(ids[0], ids[0] + len(ids)))


@pytest.mark.parametrize(("redundancy", "held_s"), [(1, 0.0), (2, 0.2)])
async def test_only_a_feed_with_another_connection_waits_for_it(
    redundancy: int, held_s: float, autojump_clock: Any
) -> None:
    """The venue itself skips messages; what reveals it waits for nothing but the repair."""
    skip = fault(20, "dropped", "*", duration=1.0, symbol="BTCUSDT", share=1.0)
    async with open_world([skip], rate=20, settings={"redundancy": redundancy}) as world:
        await trio.sleep(40)
    waited = [
        at - (item.received - START_MS / 1000)
        for at, item in world.items
        if isinstance(item, Event) and item.origin == "live"
    ]
    assert any(item.origin == "backfill" for _, item in world.items if isinstance(item, Event))
    assert max(waited) == pytest.approx(held_s, abs=0.001)


# -- streams that are left to others ------------------------------------------------------------


async def test_what_others_repair_begins_anew_and_asks_for_nothing(autojump_clock: Any) -> None:
    async with open_bench(having(), redundant=False) as (bench, rest):
        bench.repairs.leave([AGGS], bench.arbiter.end)
        bench.offer(agg(1), agg(5))
        await trio.sleep(10)
        bench.offer(agg(6), agg(7))
        await trio.sleep(10)
    assert rest.requests == []
    assert bench.lines() == [1, 6, 7]
    assert bench.ended() == {}


async def test_each_stream_that_is_left_to_others_has_its_own_way_to_begin_anew(
    autojump_clock: Any,
) -> None:
    begun: list[tuple[str, str]] = []

    def beginner(name: str) -> Callable[[Track], None]:
        def begin_anew(track: Track) -> None:
            begun.append((name, track.stream.name))
            bench.arbiter.end(track)

        return begin_anew

    async with open_bench(having(), redundant=False) as (bench, _):
        bench.repairs.leave([AGGS], beginner("one"))
        bench.repairs.leave([OTHER], beginner("other"))
        bench.offer(agg(1), agg(1, OTHER), agg(5), agg(5, OTHER))
        await trio.sleep(1)
    assert sorted(begun) == [("one", AGGS), ("other", OTHER)]


async def test_what_others_repair_waits_for_another_connection(autojump_clock: Any) -> None:
    async with open_bench(having()) as (bench, rest):
        bench.repairs.leave([AGGS], bench.arbiter.end)
        bench.offer(agg(1), agg(4))
        await trio.sleep(0.19)
        bench.offer(agg(2), agg(3))
        await trio.sleep(10)
    assert rest.requests == []
    assert bench.lines() == [1, 2, 3, 4]


async def test_a_gap_that_was_left_to_others_is_repaired_by_who_takes_over(
    autojump_clock: Any,
) -> None:
    async with open_bench(having()) as (bench, rest):
        bench.repairs.leave([AGGS], bench.arbiter.end)
        bench.offer(agg(1), agg(4))
        await trio.sleep(0.1)
        bench.repairs.attend([AGGS])
        await trio.sleep(10)
    assert len(rest.requests) == 1
    assert bench.lines() == [1, -2, -3, 4]


async def test_a_repair_under_way_ends_when_the_stream_is_left_to_others(
    autojump_clock: Any,
) -> None:
    async def slow(request: httpx2.Request) -> Any:
        await trio.sleep(5)
        return having()(request)

    async with open_bench(slow, redundant=False) as (bench, _):
        bench.offer(agg(1), agg(4))
        await trio.sleep(1)
        bench.repairs.leave([AGGS], bench.arbiter.end)
        await trio.sleep(10)
        bench.offer(agg(5), agg(6))
        await trio.sleep(10)
    assert bench.lines() == [1, 5, 6]


async def test_books_that_others_repair_go_on_without_a_snapshot(autojump_clock: Any) -> None:
    async with open_bench(having(), redundant=False, snapshots=True) as (bench, rest):
        bench.repairs.leave([DEPTH], bench.arbiter.end)
        bench.offer(diff(1, 2), diff(3, 4))
        await trio.sleep(10)
    assert rest.requests == []
    assert bench.lines() == [2, 4]
