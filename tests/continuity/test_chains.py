"""Books of futures, whose updates name the one before; and streams of many symbols; pure."""

from __future__ import annotations

import random
from typing import Any

import pytest

from k2trio.book.order_book import BookState, OrderBook
from k2trio.continuity.arbiter import Arbiter
from k2trio.continuity.books import BookTrack
from k2trio.continuity.items import Gap, Item
from k2trio.continuity.positions import position_after
from k2trio.market.decoder import Decoder
from k2trio.market.payloads import DepthSnapshot, Event, FuturesDepth, Level, frame_of
from k2trio.market.streams import Rule

VENUE, DEPTH = "x-usdm", "btcusdt@depth@100ms"
NOW_MS = 1_800_000_000_000


def update(previous: int, first: int, last: int) -> Event[FuturesDepth]:
    """An update of the ids ``first … last``, behind one that ended with ``previous``."""
    bids = [Level("100", str(last))]
    time = NOW_MS + last
    data = FuturesDepth(time, "BTCUSDT", first, last, bids, [], time, previous)
    return Event(data, DEPTH, VENUE, time / 1000, b"")


def snapshot(last: int) -> Event[DepthSnapshot]:
    data = DepthSnapshot(last, [Level("100", str(last))], [Level("200", "1")])
    return Event(data, DEPTH, VENUE, NOW_MS / 1000, b"", "snapshot")


CHAIN = [
    update(90, 95, 100),
    update(100, 130, 140),
    update(140, 141, 150),
    update(150, 900, 1_000),
    update(1_000, 5_000_000, 5_000_010),
    update(5_000_010, 5_000_020, 5_000_030),
]
"""Each names the one before; between them lie ids of other symbols."""


class Bench:
    """An arbiter of one stream; ``told`` is what was delivered."""

    def __init__(self, *, snapshots: bool = False) -> None:
        self.arbiter = Arbiter(100, snapshots=snapshots)
        self.items: list[Item] = []

    @property
    def track(self) -> BookTrack:
        track = self.arbiter.track(VENUE, DEPTH)
        assert isinstance(track, BookTrack)
        return track

    def offer(self, *events: Event[Any]) -> None:
        for event in events:
            self.items += self.arbiter.offer(VENUE, [event], event.received).items

    @property
    def told(self) -> list[object]:
        return [
            (item.first, item.last, item.reason) if isinstance(item, Gap) else item
            for item in self.items
        ]


def test_a_chain_is_whole_though_ids_are_left_out() -> None:
    bench = Bench()
    bench.offer(*CHAIN)
    assert bench.told == CHAIN
    assert bench.track.stream.order.rule is Rule.CHAINED
    assert bench.track.coverage().missing == 0


def test_a_chain_is_taken_as_a_batch_as_well() -> None:
    bench = Bench()
    bench.offer(CHAIN[0])
    bench.items += bench.arbiter.offer(VENUE, CHAIN[1:], CHAIN[-1].received).items
    assert bench.told == CHAIN


@pytest.mark.parametrize("lost", range(1, len(CHAIN) - 1))
def test_a_lost_update_is_noticed_and_its_ids_are_named(lost: int) -> None:
    bench = Bench()
    bench.offer(*CHAIN[:lost], *CHAIN[lost + 1 :])
    gap = CHAIN[lost - 1].data.last_update_id + 1, CHAIN[lost].data.last_update_id
    assert (bench.track.gap, bench.told) == (gap, CHAIN[:lost])
    bench.offer(CHAIN[lost])  # another connection brings it
    assert bench.told == CHAIN


def test_a_lost_update_that_nobody_brings_is_declared() -> None:
    bench = Bench()
    bench.offer(CHAIN[0], CHAIN[2], CHAIN[3])
    bench.track.abandon("not_repairable", bench.items)
    assert bench.told == [CHAIN[0], (101, 140, "not_repairable"), CHAIN[2], CHAIN[3]]
    assert bench.track.wants_snapshot


def test_copies_and_what_another_server_cut_otherwise_are_no_losses() -> None:
    bench = Bench()
    other = update(100, 130, 150)  # two updates in one
    bench.offer(CHAIN[0], CHAIN[1], other, CHAIN[1], CHAIN[2], CHAIN[3])
    assert bench.told == [CHAIN[0], CHAIN[1], other, CHAIN[3]]


@pytest.mark.parametrize("last", [140, 145, 150, 160])
def test_a_snapshot_for_a_lost_update_is_joined(last: int) -> None:
    """``U ≤ lastUpdateId ≤ u``, or the snapshot ends where the next update goes on."""
    bench = Bench()
    bench.offer(CHAIN[0], CHAIN[2], CHAIN[3])
    assert bench.track.snapshot(snapshot(last), bench.items)
    gap = (101, last, "snapshot")
    joined = [event for event in CHAIN[2:4] if event.data.last_update_id > last]
    assert bench.told == [CHAIN[0], gap, snapshot(last), *joined]


def test_a_snapshot_that_is_older_than_what_is_missing_is_not_joined() -> None:
    bench = Bench()
    bench.offer(CHAIN[0], CHAIN[2])
    assert not bench.track.snapshot(snapshot(139), bench.items)


def test_a_book_begins_with_a_snapshot_and_goes_on_by_the_chain() -> None:
    bench, book = Bench(snapshots=True), OrderBook(DEPTH)
    bench.offer(*CHAIN[:3])
    assert bench.told == []
    assert bench.track.snapshot(snapshot(135), bench.items)
    bench.offer(*CHAIN[3:])
    assert bench.told == [CHAIN[0], snapshot(135), *CHAIN[1:]]
    for item in bench.items:
        book.apply(item)
    assert (book.state, book.last_update_id) == (BookState.LIVE, 5_000_030)
    assert book.best_bid == Level("100", "5000030")


def test_a_book_without_a_gap_told_notices_itself() -> None:
    book = OrderBook(DEPTH)
    for item in (snapshot(100), CHAIN[1], CHAIN[3]):
        book.apply(item)
    assert book.state is BookState.UNPROVEN
    assert book.problem == "updates 141 to 150 are missing"


def test_a_restart_goes_on_by_the_chain() -> None:
    before, after = Bench(), Bench()
    before.offer(*CHAIN[:3])
    position = position_after(CHAIN[2])
    after.track.resume(position.position, 100, position.time, position.received)
    after.offer(*CHAIN[2:])
    assert after.told == CHAIN[3:]


def test_whatever_is_lost_is_declared_and_nothing_else() -> None:
    rng = random.Random(4)
    chain, at = list[Event[Any]](), 1_000
    for _ in range(300):
        first = at + rng.randint(1, 50)
        last = first + rng.randint(0, 20)
        chain.append(update(at, first, last))
        at = last
    bench = Bench()
    kept = [event for place, event in enumerate(chain) if place == 0 or rng.random() < 0.8]
    for event in kept:
        bench.offer(event)
        bench.track.abandon("not_repairable", bench.items)
    due = chain[0].data.covers_from
    for item in bench.items:
        first = item.first if isinstance(item, Gap) else item.data.covers_from
        assert first == due
        due = (item.last if isinstance(item, Gap) else item.data.last_update_id) + 1
    assert [item for item in bench.items if not isinstance(item, Gap)] == kept


# -- streams of many symbols -----------------------------------------------------------------------


def liquidation(symbol: str, time: int) -> bytes:
    order = b'"S":"SELL","o":"LIMIT","f":"IOC","q":"1","p":"1","ap":"1","X":"NEW","l":"1","z":"1"'
    return frame_of(
        "!forceOrder@arr",
        b'{"e":"forceOrder","E":%d,"o":{"s":"%s",%s,"T":1}}' % (time, symbol.encode(), order),
    )


def test_symbols_that_share_a_stream_do_not_hide_each_other() -> None:
    frames = [
        liquidation("BTCUSDT", NOW_MS + 1000),
        liquidation("ETHUSDT", NOW_MS + 1000),
        liquidation("ETHUSDT", NOW_MS + 2000),
        liquidation("BTCUSDT", NOW_MS + 1500),
    ]
    events, _ = Decoder(VENUE).decode(frames, NOW_MS / 1000 + 2)
    arbiter = Arbiter(100)
    for _line in range(2):  # each comes over both
        batches = [arbiter.offer(VENUE, [event], event.received) for event in events]
        expected = 4 if not _line else 0
        assert sum(len(batch.items) for batch in batches) == expected
    assert arbiter.track(VENUE, "!forceOrder@arr").coverage().duplicates == 4
    again, _ = Decoder(VENUE).decode([liquidation("BTCUSDT", NOW_MS + 3000)] * 9, NOW_MS / 1000 + 3)
    assert arbiter.offer(VENUE, again, again[0].received).items == again[:1]


def test_copies_are_told_where_this_machines_clock_is_behind() -> None:
    """No time is believed then; nor is one that is absurd, which keeps out nothing."""
    times = [NOW_MS + 1000, NOW_MS + 10**9, NOW_MS + 2000, NOW_MS + 3000]
    frames = [liquidation("BTCUSDT", time) for time in times]
    for late_s in (0.0, 3600.0):
        events, _ = Decoder(VENUE).decode(frames, NOW_MS / 1000 + 3 - late_s)
        arbiter = Arbiter(100)
        first, second = (
            [arbiter.offer(VENUE, [event], event.received).items for event in events]
            for _line in range(2)
        )
        assert first == [[event] for event in events]
        assert second == [[]] * 4


def test_the_aggregates_of_futures_need_not_tell_of_every_trade() -> None:
    raws = [
        b'{"e":"aggTrade","E":1,"s":"BTCUSDT","a":%d,"p":"1","q":"1","f":%d,"l":%d,"T":1,"m":true}'
        % ids
        for ids in [(1, 10, 12), (2, 15, 15), (4, 17, 17)]
    ]
    events, _ = Decoder(VENUE).decode([frame_of("btcusdt@aggTrade", raw) for raw in raws], 1.0)
    arbiter = Arbiter(100)
    decisions = [arbiter.offer(VENUE, [event], 1.0).items for event in events]
    assert decisions == [events[:1], events[1:2], []]
    assert arbiter.track(VENUE, "btcusdt@aggTrade").gap == (3, 3)
