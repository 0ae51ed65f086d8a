"""Block trades: what REST lists was lost, what it leaves out never was."""

from __future__ import annotations

from msgspec import structs
from numbered import block

from k2trio.continuity.arbiter import Arbiter
from k2trio.continuity.items import Gap, Item
from k2trio.market.payloads import Event

STREAM = "btcusdt@blockTrade"


class Bench:
    """An arbiter, and what came out of it."""

    def __init__(self, *numbers: int) -> None:
        self.arbiter = Arbiter(100)
        self.out: list[Item] = []
        self.offer(*numbers)

    def offer(self, *numbers: int) -> None:
        for number in numbers:
            self.out += self.arbiter.offer("v", [block(number, number)], float(number)).items

    def told(self) -> list[object]:
        return [
            item.data.trade_id if isinstance(item, Event) else (item.first, item.last, item.reason)
            for item in self.out
            if isinstance(item, Event | Gap)
        ]


def test_a_skipped_id_is_asked_for() -> None:
    bench = Bench(1, 2, 5)
    assert bench.told() == [1, 2]
    assert bench.arbiter.track("v", STREAM).gap == (3, 4)


def test_what_the_venue_lists_is_repaired_and_what_it_leaves_out_is_not_missing() -> None:
    bench = Bench(1, 2, 9)
    track = bench.arbiter.track("v", STREAM)
    track.repair(structs.replace(block(5, 5), origin="backfill"), bench.out)
    track.declare(8, "venue_missing", bench.out)
    assert bench.told() == [1, 2, 5, 9]
    ledger = track.coverage()
    assert (ledger.live, ledger.repaired, ledger.missing) == (3, 1, 0)


def test_what_nobody_can_be_asked_about_is_declared() -> None:
    bench = Bench(1, 2, 5)
    bench.arbiter.track("v", STREAM).abandon("not_repaired", bench.out)
    assert bench.told() == [1, 2, (3, 4, "not_repaired"), 5]
    assert bench.arbiter.track("v", STREAM).coverage().missing == 2


def test_ids_that_the_venue_never_used_are_forgotten_with_their_numbering() -> None:
    bench = Bench(1_000, 1_004)
    bench.arbiter.track("v", STREAM).declare(1_003, "venue_missing", bench.out)
    for number in range(1, 5):
        bench.out += bench.arbiter.offer("v", [block(number, 2_000 + number)], 2_000.0).items
    assert bench.told() == [1_000, 1_004, (1_005, 1_005, "reset"), 1, 2, 3, 4]
    assert bench.arbiter.track("v", STREAM).coverage().live == 4


def test_one_id_alone_that_the_venue_left_out_is_not_missing() -> None:
    bench = Bench(1, 2, 4)
    bench.arbiter.track("v", STREAM).declare(3, "venue_missing", bench.out)
    assert bench.told() == [1, 2, 4]


def test_what_the_venue_left_out_before_is_of_no_interest_any_more() -> None:
    bench = Bench(1, 2)
    track = bench.arbiter.track("v", STREAM)
    track.declare(1, "venue_missing", bench.out)
    bench.offer(2, 3)
    assert bench.told() == [1, 2, 3]
    assert track.coverage().live == 3
