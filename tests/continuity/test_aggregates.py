"""Aggregates that share an id: each is delivered once, or named."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec import structs
from numbered import AGGS, NOW_MS, NOW_S, Bench, Line, agg

from k2trio.continuity.items import Gap, Item, Outage
from k2trio.market.payloads import Event

SHARED = [agg(5, 50, 51, 1), agg(6, 52, 52, 2), agg(6, 53, 53, 3), agg(7, 54, 60, 4)]


def told(items: list[Item]) -> list[Any]:
    return [
        (item.data.agg_id, item.data.first_trade_id) if isinstance(item, Event) else item.reason
        for item in items
        if not isinstance(item, Outage)
    ]


@pytest.mark.parametrize("offer", [Bench.offer, Bench.at_once])
def test_two_aggregates_of_one_id_are_both_delivered(offer: Any) -> None:
    bench = Bench()
    offer(bench, *SHARED)
    assert bench.items == SHARED


@pytest.mark.parametrize(
    "order", [[0, 0, 1, 1, 2, 2, 3, 3], [0, 1, 2, 0, 1, 2, 3, 3], [0, 1, 0, 1, 2, 3, 2]]
)
def test_copies_of_aggregates_that_share_an_id_are_duplicates(order: list[int]) -> None:
    bench = Bench(redundant=True)
    bench.offer(*[SHARED[at] for at in order])
    assert bench.items == SHARED
    assert bench.arbiter.track("v", AGGS).coverage().duplicates == len(order) - 4


def test_aggregates_of_one_id_that_wait_behind_a_gap_are_both_kept() -> None:
    bench = Bench()
    missing, *rest = SHARED
    bench.offer(agg(4, 49, 49, 0), *rest, *rest)
    assert bench.arbiter.track("v", AGGS).duplicates == len(rest)
    bench.offer(missing)
    assert bench.items == [agg(4, 49, 49, 0), *SHARED]


def test_aggregates_that_come_behind_a_gap_out_of_order_are_put_in_order() -> None:
    bench = Bench(redundant=True)
    five, six, other_six, seven = [
        agg(*one) for one in ((5, 50, 51), (6, 52, 52), (6, 53, 53), (7, 54, 60))
    ]
    bench.offer(agg(4, 49, 49), seven)
    bench.now = 3.0
    bench.offer(other_six, six)
    track = bench.arbiter.track("v", AGGS)
    assert track.opened_at == 0.0, "the gap was known of since the first of them came"
    bench.offer(six, other_six, five)
    assert bench.items == [agg(4, 49, 49), five, six, other_six, seven]
    assert track.duplicates == 2


@pytest.mark.parametrize("offer", [Bench.offer, Bench.at_once])
def test_an_aggregate_that_shared_its_id_and_was_lost_is_named(offer: Any) -> None:
    bench = Bench()
    offer(bench, SHARED[0], SHARED[2], SHARED[3], agg(8, 61, 61, 5))
    assert told(bench.items) == [(5, 50), "shared_id", (6, 53), (7, 54), (8, 61)]
    before, after = SHARED[0].received, SHARED[2].received
    assert bench.items[1] == Gap("v", AGGS, 6, 6, "shared_id", before, after)


@pytest.mark.parametrize("offer", [Bench.offer, Bench.at_once])
def test_an_aggregate_that_names_no_trades_says_nothing_of_those(offer: Any) -> None:
    """Old history of REST has some, with -1 for their trades."""
    items = offer(Bench(), agg(1, 10, 11), agg(2, -1, -1), agg(3, 12, 12))
    assert told(items) == [(1, 10), (2, -1), (3, 12)]


def test_a_gap_in_the_ids_says_enough_of_the_trades() -> None:
    bench = Bench()
    bench.offer(SHARED[0], agg(7, 70, 70, 4))
    bench.arbiter.track("v", AGGS).abandon("not_repaired", bench.items)
    assert told(bench.items) == [(5, 50), "not_repaired", (7, 70)]


def test_a_repair_over_aggregates_that_share_an_id_names_the_one_it_lacks() -> None:
    bench = Bench()
    bench.offer(SHARED[0], SHARED[3])
    repaired = structs.replace(SHARED[2], origin="backfill", received=NOW_S + 100)
    bench.arbiter.track("v", AGGS).repair(repaired, bench.items)
    assert told(bench.items) == [(5, 50), "shared_id", (6, 53), (7, 54)]
    before, after = SHARED[0].received, SHARED[3].received
    assert bench.items[1] == Gap("v", AGGS, 6, 6, "shared_id", before, after)


def test_an_id_that_is_skipped_is_missing_though_the_trades_go_on() -> None:
    bench = Bench()
    bench.offer(SHARED[0], agg(7, 52, 53, 2))
    assert bench.arbiter.track("v", AGGS).gap == (6, 6)
    assert told(bench.items) == [(5, 50)]


def test_trades_are_numbered_from_0_on() -> None:
    bench = Bench()
    bench.offer(agg(1, 0, 1), agg(2, 3, 3))
    assert told(bench.items) == [(1, 0), "shared_id", (2, 3)]
    assert bench.arbiter.track("v", AGGS).coverage().first == 1


def test_what_was_declared_before_says_nothing_of_the_trades_to_come() -> None:
    bench = Bench()
    bench.offer(SHARED[0])
    bench.arbiter.track("v", AGGS).declare(5, "not_repaired", bench.items)
    bench.offer(SHARED[2])
    assert told(bench.items) == [(5, 50), "shared_id", (6, 53)]


@pytest.mark.parametrize("trades", [(55, 56), (53, 54)])
def test_an_older_aggregate_of_the_last_id_with_trades_of_its_own_is_a_stray(
    trades: tuple[int, int],
) -> None:
    bench, line = Bench(), Line()
    bench.offer(*SHARED[:3])
    bench.offer(agg(6, *trades, 2), source=line)
    assert bench.items == SHARED[:3]
    assert [(stray.event.data.first_trade_id, stray.source) for stray in bench.strays] == [
        (trades[0], line)
    ]
    assert bench.arbiter.track("v", AGGS).duplicates == 0


def test_where_no_trades_are_known_an_older_aggregate_of_the_last_id_is_a_stray() -> None:
    bench = Bench()
    bench.offer(agg(2, -1, -1, 3), agg(2, -1, -1, 2))
    assert told(bench.items) == [(2, -1)]
    assert bench.refuted == [2]
    assert bench.arbiter.track("v", AGGS).coverage().first == 2


def test_an_absurd_aggregate_is_refuted_by_the_one_that_follows_in_ids_and_trades() -> None:
    bench = Bench()
    bench.offer(SHARED[0], agg(2**62, 52, 52, 1.5), SHARED[1])
    assert bench.items == SHARED[:2]
    assert bench.refuted == [2**62]


def test_after_a_restart_ids_that_began_anew_are_told_with_the_time_since_the_run_before() -> None:
    bench = Bench()
    track = bench.arbiter.track("v", AGGS)
    track.resume(100, 10, NOW_MS, NOW_S, 200)
    new = [agg(1, 1, 1, 10), agg(2, 2, 2, 11), agg(3, 3, 3, 12)]
    bench.offer(agg(100, 199, 200, -1), *new)
    assert bench.items == [
        Gap("v", AGGS, 101, 101, "reset", NOW_S, new[0].received),
        Outage("v", AGGS, NOW_S, new[0].received),
        *new,
    ]
    assert track.duplicates == 1


def test_after_a_restart_the_one_that_shared_its_id_is_named_with_the_time_since() -> None:
    bench = Bench()
    bench.arbiter.track("v", AGGS).resume(5, 10, NOW_MS, NOW_S, 51)
    bench.offer(SHARED[2])
    after = SHARED[2].received
    assert bench.items == [Gap("v", AGGS, 6, 6, "shared_id", NOW_S, after), SHARED[2]]
