"""How gaps are closed: when REST is asked, what is believed, what is declared and when."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
import trio
from rest import HOSTS, VENUE, Rest, agg_rows, asked, kline_rows, make_backfill, status
from world import START_MS, SUBJECT, fault, open_world

from k2trio.continuity.arbiter import Arbiter
from k2trio.continuity.items import Gap, Item, Outage
from k2trio.market.payloads import AggTrade, Bar, Depth, Event, Kline
from k2trio.observe import transitions as on
from k2trio.observe.metrics import Metrics
from k2trio.repair.gaps import Repairs
from k2trio.settings import Settings

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    import httpx2

AGGS, OTHER, DEPTH = "btcusdt@aggTrade", "ethusdt@aggTrade", "btcusdt@depth"
MINUTES = "btcusdt@kline_1m"
MINUTE = 60_000


def agg(number: int, stream: str = AGGS, venue: str = VENUE) -> Event:
    data = AggTrade(number, "BTCUSDT", number, "1", "1", number, number, number, False)
    return Event(data, stream, venue, float(number), b"{}")


def diff(first: int, last: int) -> Event:
    return Event(Depth(last, "BTCUSDT", first, last, [], []), DEPTH, VENUE, 0.0, b"{}")


def minute(number: int, *, closed: bool = False) -> Event:
    start = number * MINUTE
    at = start + (MINUTE if closed else 2000)
    bar = Bar(start, start + MINUTE - 1, "BTCUSDT", "1m", *"11111", 1, closed, "1")
    return Event(Kline(at, "BTCUSDT", bar), MINUTES, VENUE, at / 1000, b"{}")


@dataclass
class Bench:
    """An arbiter and the repairs behind it; ``told`` is what a consumer got, and when."""

    arbiter: Arbiter
    metrics: Metrics
    repairs: Repairs
    told: list[tuple[float, Item]] = field(default_factory=list)
    pause_s: float = 0.0

    def offer(self, *events: Event) -> None:
        now = trio.current_time()
        for event in events:
            items = self.arbiter.offer(event.venue, [event], now).items
            self.told += [(now, item) for item in items]
        if self.arbiter.gap_opened:
            self.arbiter.gap_opened = False
            self.repairs.notice()

    async def publish(self, items: list[Item]) -> None:
        now = round(trio.current_time(), 6)
        self.told += [(now, item) for item in items]
        await trio.sleep(self.pause_s)

    def lines(self, stream: str | None = None) -> list[Any]:
        """What was told: ids (repaired ones negative) and gaps, with times where they changed."""
        out: list[Any] = []
        for _, item in self.told:
            if stream not in (None, item.stream):
                continue
            if isinstance(item, Gap):
                out.append((item.first, item.last, item.reason))
            elif isinstance(item, Event):
                out.append(number_of(item) * (-1 if item.origin == "backfill" else 1))
        return out

    def gaps(self) -> list[tuple[float, Gap]]:
        return [(at, item) for at, item in self.told if isinstance(item, Gap)]

    def ended(self) -> dict[str, float]:
        found = {
            outcome: self.metrics.registry.get_sample_value(
                "k2_binance_gaps_total", {"outcome": outcome}
            )
            for outcome in ("joined", "repaired", "declared")
        }
        return {outcome: count for outcome, count in found.items() if count}


def number_of(event: Event) -> int:
    data = event.data
    if isinstance(data, AggTrade):
        return data.agg_id
    return int(data.bar.open_time // MINUTE if isinstance(data, Kline) else data.last_update_id)


@asynccontextmanager
async def open_bench(
    answer: Callable[[httpx2.Request], Any], **values: Any
) -> AsyncGenerator[tuple[Bench, Rest]]:
    rest = Rest(answer)
    hosts = values.pop("hosts", HOSTS[:1])
    redundant = values.pop("redundant", True)
    chosen = Settings(websocket_url="wss://v.test:9/stream", rest_urls=hosts, **values)
    arbiter = Arbiter(1000)
    metrics = Metrics(["BTCUSDT"])

    async def publish(items: list[Item]) -> None:
        await bench.publish(items)

    backfill = make_backfill(rest, hosts, **values)
    repairs = Repairs(arbiter, backfill, chosen, publish, metrics, lambda _: redundant)
    bench = Bench(arbiter, metrics, repairs)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(repairs.run)
        yield bench, rest
        nursery.cancel_scope.cancel()


def having(missing: set[int] | None = None, until: int = 10**9) -> Callable[[httpx2.Request], Any]:
    """A venue that has every id up to ``until``, save the missing ones."""

    def answer(request: httpx2.Request) -> Any:
        first, limit = asked(request)
        found: list[int] = []
        number = first
        while len(found) < limit and number <= until:
            if number not in (missing or ()):
                found.append(number)
            number += 1
        return agg_rows(found)

    return answer


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
    assert bench.gaps() == [(0.2, Gap(VENUE, AGGS, 2, 4, "not_repairable"))]
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
    assert bench.gaps() == [(107.3, Gap(VENUE, AGGS, 2, 9, "not_repaired"))]
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
    """A row every 8 s, then none: declared 10 s after the last one."""

    def trickle(request: httpx2.Request) -> Any:
        return having(until=min(4, 1 + int(trio.current_time() // 8)))(request)

    async with open_bench(trickle) as (bench, _):
        bench.offer(agg(1), agg(10))
        await trio.sleep(100)
    repaired = [at for at, item in bench.told if isinstance(item, Event) and item.origin != "live"]
    assert [round(at) for at in repaired] == [8, 16, 24]
    ((at, gap),) = bench.gaps()
    assert at == pytest.approx(repaired[-1] + 10, abs=1e-6)
    assert (gap.first, gap.last) == (5, 9)


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
    ((at, gap),) = bench.gaps()
    assert (gap.first, gap.last) == (4, 4)
    assert at == 20  # the task noticed it at 10


async def test_the_next_host_is_asked_and_another_venues_never(autojump_clock: Any) -> None:
    def answer(request: httpx2.Request) -> Any:
        return status(500) if request.url.port == 1 else having()(request)

    async with open_bench(answer, hosts=[*HOSTS[:2], "https://w.test"]) as (bench, rest):
        bench.offer(agg(1), agg(4))
        await trio.sleep(10)
    assert rest.ports == [1, 2]
    assert bench.lines() == [1, -2, -3, 4]


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


# -- depth --------------------------------------------------------------------------------------


def book(last: int) -> dict[str, Any]:
    return {"lastUpdateId": last, "bids": [["1", "1"]], "asks": []}


async def test_a_snapshot_that_is_too_old_is_fetched_again(autojump_clock: Any) -> None:
    books = [book(6), book(8), book(11)]
    async with open_bench(lambda _: books.pop(0)) as (bench, rest):
        bench.offer(diff(1, 2), diff(10, 12))
        await trio.sleep(20)
    assert rest.times == [0.2, 0.7, 1.2]
    assert bench.lines() == [2, (3, 11, "snapshot"), 11, 12]
    assert [item.origin for _, item in bench.told if isinstance(item, Event)] == [
        "live", "snapshot", "live",
    ]  # fmt: skip


async def test_a_book_that_never_catches_up_is_declared_when_the_hold_ends(
    autojump_clock: Any,
) -> None:
    async with open_bench(lambda _: book(6)) as (bench, _):
        bench.offer(diff(1, 2), diff(10, 12))
        await trio.sleep(20)
    assert bench.gaps() == [(10, Gap(VENUE, DEPTH, 3, 9, "not_repaired"))]
    assert bench.ended() == {"declared": 1}


async def test_diffs_that_come_while_the_snapshot_does_spare_it(autojump_clock: Any) -> None:
    async def slow(_: httpx2.Request) -> Any:
        await trio.sleep(3)
        return book(50)

    async with open_bench(slow) as (bench, _):
        bench.offer(diff(1, 2), diff(10, 12))
        await trio.sleep(1)
        bench.offer(diff(3, 9))
        await trio.sleep(20)
    assert bench.lines() == [2, 9, 12]
    assert bench.ended() == {"joined": 1}


async def test_a_consumer_that_is_slow_to_take_a_snapshot_is_waited_for(
    autojump_clock: Any,
) -> None:
    async with open_bench(lambda _: book(11)) as (bench, _):
        bench.pause_s = 100
        bench.offer(diff(1, 2), diff(10, 12))
        await trio.sleep(1000)
    assert bench.ended() == {"repaired": 1}


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


async def test_the_time_without_updates_is_counted_when_a_repair_ends_it(
    autojump_clock: Any,
) -> None:
    async with open_bench(lambda _: kline_rows(range(0, 9 * MINUTE, MINUTE))) as (bench, _):
        bench.offer(minute(0))
        bench.arbiter.interrupt(VENUE, [MINUTES])
        bench.offer(minute(3))
        await trio.sleep(10)
    (outage,) = [item for _, item in bench.told if isinstance(item, Outage)]
    unproven = bench.metrics.registry.get_sample_value("k2_binance_unproven_seconds_total")
    assert unproven == outage.until - outage.since == 180


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
