"""Where a log goes on at another venue than it was at, that is told; and only there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import structs
from numbered import TRADES, trade

from k2trio.continuity.items import Gap, Item, VenueChanged
from k2trio.continuity.positions import Position, positions_after
from k2trio.continuity.whereabouts import Whereabouts

if TYPE_CHECKING:
    from k2trio.market.payloads import Event


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
    assert not whereabouts


def test_what_a_feed_tells_of_changes_of_its_own_is_not_taken_for_the_logs() -> None:
    whereabouts, moved = behind(trade(7, 7)), list[str]()
    back = VenueChanged("v", TRADES, "w", 1.0, 2.0)
    assert whereabouts.told([back, trade(8, 8)], moved) == [trade(8, 8)]
    later = VenueChanged("w", TRADES, "v", 8.0, 9.0)
    assert whereabouts.told([later], moved) == [later], "from then on the feed knows"
    assert moved == []


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
    assert whereabouts
    change = VenueChanged("w", TRADES, "v", first.received, first.received)
    assert whereabouts.told([first], moved) == [change, first]
