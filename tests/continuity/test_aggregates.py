"""Aggregates that share an id: each is delivered once, or named."""

from __future__ import annotations

from typing import Any

import pytest
from numbered import AGGS, Bench, agg

from k2trio.continuity.items import Item, Outage
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
    bench.offer(missing)
    assert bench.items == [agg(4, 49, 49, 0), *SHARED]


@pytest.mark.parametrize("offer", [Bench.offer, Bench.at_once])
def test_an_aggregate_that_shared_its_id_and_was_lost_is_named(offer: Any) -> None:
    bench = Bench()
    offer(bench, SHARED[0], SHARED[2], SHARED[3], agg(8, 61, 61, 5))
    assert told(bench.items) == [(5, 50), "shared_id", (6, 53), (7, 54), (8, 61)]


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
    bench.arbiter.track("v", AGGS).repair(SHARED[2], bench.items)
    assert told(bench.items) == [(5, 50), "shared_id", (6, 53), (7, 54)]
