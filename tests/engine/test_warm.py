"""What a hot standby keeps, and what of it goes on behind somebody's positions."""

from __future__ import annotations

import pytest
from msgspec import structs
from numbered import MINUTES, TRADES, agg, bar, trade

from k2trio.continuity.items import Gap, Item, Outage
from k2trio.continuity.positions import Position, position_after, positions_after
from k2trio.engine.parting import part, shard_of
from k2trio.engine.warm import Warm
from k2trio.market.cost import cost_of
from k2trio.market.payloads import BookTicker, Depth, Event
from k2trio.market.units import MS

BOOK, DEPTH = "btcusdt@bookTicker", "btcusdt@depth"
PLENTY = 1 << 30


def quote(number: int) -> Event:
    return Event(BookTicker(number, "BTCUSDT", "1", "1", "2", "1"), BOOK, "v", 1.0, b"")


def diff(first: int, last: int) -> Event:
    return Event(Depth(last, "BTCUSDT", first, last, [], []), DEPTH, "v", 1.0, b"")


def warm(*items: Item, keep_s: float = 60, keep_bytes: int = PLENTY) -> Warm:
    buffer = Warm(keep_s, keep_bytes, MS)
    for at, item in enumerate(items):
        buffer.add([item], float(at))
    return buffer


def behind(*items: Event | Gap) -> dict[tuple[str, str], Position]:
    """The positions of somebody else, who received these at other times."""
    return {key: structs.replace(one, received=0.0) for key, one in positions_after(items).items()}


def test_what_lies_behind_each_position_is_handed_over_in_its_order() -> None:
    items = [trade(1, 1), quote(5), trade(2, 2), quote(9), trade(3, 3)]
    tail = warm(*items).take(behind(trade(1, 1), quote(9)))
    assert tail.items == [trade(2, 2), trade(3, 3)]
    assert tail.uncovered == []


def test_streams_that_nobody_wrote_are_handed_over_whole() -> None:
    assert warm(trade(1, 1), trade(2, 2)).take({}).items == [trade(1, 1), trade(2, 2)]


def test_what_does_not_reach_back_is_uncovered() -> None:
    position = behind(trade(1, 1))
    tail = warm(trade(3, 3), quote(7)).take(position)
    assert tail.items == [quote(7)], "the others' streams are not concerned"
    assert tail.uncovered == list(position.values())
    assert tail.later == [trade(3, 3)]


def test_the_next_id_is_enough() -> None:
    assert warm(trade(2, 2)).take(behind(trade(1, 1))).items == [trade(2, 2)]


def test_a_position_among_ids_that_began_anew_since_is_found() -> None:
    items = [trade(500, 1), Gap("v", TRADES, 501, 501, "reset"), trade(1, 2), trade(2, 3)]
    assert warm(*items).take(behind(trade(1, 2))).items == [trade(2, 3)]
    assert warm(*items).take(behind(trade(500, 1))).items == items[1:]


def test_the_same_id_at_another_time_is_another_message() -> None:
    assert warm(trade(500, 1), trade(501, 2)).take(behind(trade(500, 900))).uncovered


def test_updates_of_a_book_may_be_cut_differently_elsewhere() -> None:
    assert warm(diff(1, 4), diff(5, 9)).take(behind(diff(1, 6))).items == [diff(5, 9)]


def test_of_two_aggregates_of_one_id_the_second_is_handed_over() -> None:
    first, second, third = agg(6, 52, 52, 2), agg(6, 53, 53, 2), agg(7, 54, 60, 4)
    assert warm(first, second, third).take(behind(first)).items == [second, third]
    assert warm(first, second, third).take(behind(second)).items == [third]


def test_gaps_are_positions_too() -> None:
    gap = Gap("v", TRADES, 5, 9, "not_repaired")
    tail = warm(trade(4, 4), gap, Outage("v", BOOK, 1, 2), trade(10, 10)).take(behind(gap))
    assert tail.items == [Outage("v", BOOK, 1, 2), trade(10, 10)]


def test_bars_go_on_behind_the_last_update() -> None:
    items = [bar(1, 62), bar(1, 64), bar(1, 66)]
    assert warm(*items).take(behind(bar(1, 64))).items == [bar(1, 66)]


def test_old_items_go_and_quiet_streams_are_covered_all_the_same() -> None:
    buffer = warm(trade(1, 1), trade(2, 2), quote(5), keep_s=10)
    buffer.add([quote(6)], 100.0)
    assert buffer.bytes == cost_of(quote(6))
    tail = buffer.take(behind(trade(2, 2), quote(6)))
    assert (tail.items, tail.uncovered) == ([], [])


def test_memory_is_bounded_whatever_the_time() -> None:
    room = 3 * cost_of(trade(1, 1))
    buffer = warm(*(trade(n, n) for n in range(1, 100)), keep_bytes=room)
    assert buffer.bytes <= room
    assert buffer.take(behind(trade(97, 97))).items == [trade(98, 98), trade(99, 99)]


def test_what_was_written_by_ourselves_is_where_the_next_ones_go_on() -> None:
    buffer = warm()
    buffer.pass_by([trade(7, 7)])
    assert buffer.take(behind(trade(7, 7))).uncovered == []
    buffer.pass_by([trade(7, 7)])
    assert buffer.take(behind(trade(8, 8))).uncovered == [
        structs.replace(position_after(trade(8, 8)), received=0.0)
    ]


def test_taking_empties_it() -> None:
    buffer = warm(trade(1, 1))
    buffer.take({})
    assert buffer.bytes == 0
    assert buffer.take({}).items == []


def test_streams_of_a_symbol_share_a_shard() -> None:
    names = [f"{symbol}@{kind}" for symbol in ("btcusdt", "ethusdt") for kind in ("trade", "depth")]
    for count in range(1, 9):
        parts = part([*names, "!miniTicker@arr"], count)
        assert sorted(name for one in parts for name in one) == sorted([*names, "!miniTicker@arr"])
        for symbol in ("btcusdt", "ethusdt"):
            assert len({shard_of(f"{symbol}@{kind}", count) for kind in ("trade", "depth")}) == 1


@pytest.mark.parametrize(
    ("stream", "shard"), [("btcusdt@trade", 3), ("ethusdt@trade", 0), (MINUTES, 3)]
)
def test_shards_are_the_same_in_every_version(stream: str, shard: int) -> None:
    """Another number would move streams away from their positions."""
    assert shard_of(stream, 4) == shard


KEY = ("v", trade(1, 1).stream)


def test_a_stream_is_handed_over_up_to_where_it_began_anew_and_what_came_then_apart() -> None:
    buffer = warm(trade(1, 1), quote(5), trade(2, 2))
    buffer.cut(KEY, 3.0)
    buffer.add([trade(7, 7), quote(6), trade(8, 8)], 3.0)
    tail = buffer.take(behind(trade(1, 1), quote(5)))
    assert tail.items == [trade(2, 2), quote(6)]
    assert tail.uncovered == [position_after(trade(2, 2))]
    assert tail.later == [trade(7, 7), trade(8, 8)]


def test_a_position_behind_where_a_stream_began_anew_is_covered() -> None:
    buffer = warm(trade(1, 1))
    buffer.cut(KEY, 1.0)
    buffer.add([trade(7, 7), trade(8, 8)], 1.0)
    assert buffer.take(behind(trade(7, 7))) == ([trade(8, 8)], [], [])


def test_a_position_just_before_where_a_stream_began_anew_is_not_covered() -> None:
    buffer = warm(trade(1, 1))
    buffer.cut(KEY, 1.0)
    buffer.add([trade(7, 7)], 1.0)
    position = behind(trade(1, 1))
    assert buffer.take(position) == ([], list(position.values()), [trade(7, 7)])


def test_what_is_no_longer_kept_is_not_before_where_a_stream_began_anew() -> None:
    buffer = warm(trade(1, 1), keep_s=5)
    buffer.cut(KEY, 1.0)
    buffer.add([trade(7, 7)], 8.0)
    tail = buffer.take(behind(trade(1, 1)))
    assert (tail.items, tail.later) == ([], [trade(7, 7)])


def test_what_could_not_be_written_stands_before_what_has_come_meanwhile() -> None:
    buffer = warm(trade(3, 3))
    buffer.put_back([trade(1, 1), trade(2, 2)], 1.0)
    assert buffer.take(behind(trade(1, 1))).items == [trade(2, 2), trade(3, 3)]
