"""Where a log goes on at another venue than it was at, that is told; and only there."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from msgspec import structs
from numbered import TRADES, block, trade

from k2trio.continuity.items import Gap, Item, VenueChanged
from k2trio.continuity.positions import Position, positions_after
from k2trio.continuity.whereabouts import Whereabouts

if TYPE_CHECKING:
    from k2trio.market.payloads import Event

BLOCKS = "btcusdt@blockTrade"


def at(venue: str, event: Event) -> Event:
    return structs.replace(event, venue=venue)


def behind(*items: Item) -> Whereabouts:
    return Whereabouts(positions_after(items).values())


def test_the_first_message_of_another_venue_has_the_change_before_it() -> None:
    last, first, second = trade(7, 7), at("w", trade(90, 9)), at("w", trade(91, 10))
    whereabouts, moved = behind(last), list[str]()
    change = VenueChanged("w", TRADES, "v", last.received, first.received)
    assert whereabouts.told([first, second], moved) == [change, first, second]
    assert moved == [TRADES]


def test_what_a_feed_tells_of_changes_of_its_own_is_not_taken_for_the_logs() -> None:
    whereabouts, moved = behind(trade(7, 7)), list[str]()
    back = VenueChanged("v", TRADES, "w", 1.0, 2.0)
    assert whereabouts.told([back, trade(8, 8)], moved) == [trade(8, 8)]
    assert moved == []


def test_what_a_feed_tells_is_the_logs_where_it_is_so_there() -> None:
    """Also where the change and the message behind it come one after the other."""
    whereabouts, moved = behind(trade(7, 7)), list[str]()
    there, back = VenueChanged("w", TRADES, "v", 8.0, 9.0), VenueChanged("v", TRADES, "w", 9.0, 9.5)
    assert whereabouts.told([trade(8, 8), there], moved) == [trade(8, 8)]
    first, again = at("w", trade(90, 9)), trade(9, 10)
    assert whereabouts.told([first], moved) == [there, first]
    assert whereabouts.told([back, again], moved) == [back, again]
    assert moved == []


def test_what_is_taken_again_behind_what_a_standby_kept_has_a_change_of_the_log() -> None:
    """The feed had told it before, between messages that were not behind the log's position."""
    whereabouts, moved = behind(at("w", trade(80, 1)), trade(7, 7)), list[str]()
    kept = [trade(8, 8), trade(9, 9)]
    assert whereabouts.told(kept, moved) == kept
    again = [at("w", trade(90, 5)), at("w", trade(91, 6))]
    change = VenueChanged("w", TRADES, "v", kept[0].received, again[0].received)
    assert whereabouts.told(again, moved) == [change, *again]
    assert moved == [TRADES]


def test_streams_may_be_at_several_venues_for_long() -> None:
    whereabouts, moved = behind(), list[str]()
    assert whereabouts.told([trade(1, 1), block(7, 1)], moved) == [trade(1, 1), block(7, 1)]
    there = at("w", block(50, 2))
    assert whereabouts.told([trade(2, 2), there], moved)[-1] == there
    assert moved == [BLOCKS]
    mixed = [trade(3, 3), at("w", block(51, 3))]
    assert whereabouts.told(mixed, moved) == mixed
    follows = at("w", trade(90, 4))
    change = VenueChanged("w", TRADES, "v", trade(3, 3).received, follows.received)
    assert whereabouts.told([follows], moved) == [change, follows]
    alone = [at("w", trade(91, 5)), at("w", block(52, 5))]
    assert whereabouts.told(alone, moved) == alone
    back = trade(4, 6)
    assert whereabouts.told([back], moved)[0] == VenueChanged(
        "v", TRADES, "w", alone[0].received, back.received
    )


def test_a_gap_is_of_no_new_venue() -> None:
    gap = Gap("w", TRADES, 1, 5, "jump")
    assert behind(trade(7, 7)).told([gap, trade(8, 8)], []) == [gap, trade(8, 8)]


def test_of_several_venues_the_one_counts_that_was_written_last() -> None:
    """However old the message was: a hot standby keeps some."""
    before = [trade(7, 7), at("w", trade(90, 2))]
    assert behind(*before).told([at("w", trade(91, 9))], []) == [at("w", trade(91, 9))]
    moved: list[str] = []
    behind(trade(6, 6), *reversed(before)).told([at("w", trade(91, 9))], moved)
    assert moved == [TRADES]


def test_without_a_time_in_the_log_the_change_begins_with_the_message() -> None:
    first, moved = at("w", trade(90, 9)), list[str]()
    whereabouts = Whereabouts([Position("v", TRADES, 7)])
    change = VenueChanged("w", TRADES, "v", first.received, first.received)
    assert whereabouts.told([first], moved) == [change, first]


@pytest.mark.parametrize("beside", [[], [block(8, 9)]], ids=["alone", "beside another"])
def test_a_stream_that_went_alone_is_known_to_be_elsewhere(beside: list[Item]) -> None:
    whereabouts, moved = behind(trade(7, 7), block(7, 7)), list[str]()
    there, back = at("w", trade(90, 9)), trade(8, 10)
    whereabouts.told([there, *beside], moved)
    change = VenueChanged("v", TRADES, "w", there.received, back.received)
    assert whereabouts.told([back], moved) == [change, back]
