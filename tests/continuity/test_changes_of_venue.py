"""Where a stream goes on from another venue, that is told before its first message from there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import structs
from numbered import TRADES, agg, block, trade

from k2trio.continuity.arbiter import Arbiter
from k2trio.continuity.items import Gap, Item, VenueChanged
from k2trio.continuity.venues import Venues

if TYPE_CHECKING:
    from k2trio.market.payloads import Event

BLOCKS = "btcusdt@blockTrade"


class Feed:
    """An arbiter, and what a feed makes of what comes out of it."""

    def __init__(self) -> None:
        self.arbiter = Arbiter(100)
        self.venues = Venues(self.arbiter)

    def take(self, *events: Event) -> list[Item]:
        items = self.arbiter.offer(events[0].venue, events, 0.0).items
        return items if self.venues.only == events[0].venue else self.venues.marked(items)


def at(venue: str, event: Event) -> Event:
    return structs.replace(event, venue=venue)


def test_the_first_message_of_each_stream_from_another_venue_has_the_change_before_it() -> None:
    feed = Feed()
    assert feed.venues.only is None
    last, other = trade(2, 2), block(7, 3)
    assert feed.take(trade(1, 1), last, other) == [trade(1, 1), last, other]
    assert feed.venues.only == "v"
    first, second = at("w", trade(90, 9)), at("w", trade(91, 10))
    assert feed.take(first, second) == [
        VenueChanged("w", TRADES, "v", last.received, first.received),
        first,
        second,
    ]
    assert feed.venues.only is None, "the other stream is there still"
    moved = at("w", block(50, 11))
    assert feed.take(moved) == [
        VenueChanged("w", BLOCKS, "v", other.received, moved.received),
        moved,
    ]
    assert feed.venues.only == "w"


def test_a_stream_may_go_back() -> None:
    feed = Feed()
    feed.take(trade(1, 1), block(7, 1), agg(5, 8, 9))
    there, back = at("w", trade(90, 9)), trade(2, 12)
    feed.take(there)
    assert feed.take(back) == [VenueChanged("v", TRADES, "w", there.received, back.received), back]
    assert feed.venues.only == "v"
    again = at("w", trade(91, 15))
    assert feed.take(again)[0] == VenueChanged("w", TRADES, "v", back.received, again.received)


def test_a_stream_of_which_nothing_came_before_has_not_changed() -> None:
    feed = Feed()
    feed.take(trade(1, 1))
    feed.arbiter.track("v", BLOCKS)
    first = at("w", block(50, 2))
    assert feed.take(first) == [first]
    assert feed.venues.only is None


def test_gaps_are_no_change_yet() -> None:
    feed = Feed()
    feed.take(trade(1, 1))
    gap = Gap("w", TRADES, 5, 6, "not_repaired")
    assert feed.venues.marked([gap]) == [gap]


def test_after_a_restart_the_change_begins_with_the_message_where_nothing_is_known() -> None:
    """A position without a time is all that the run before has left of the stream."""
    feed = Feed()
    feed.take(block(7, 1))
    feed.take(at("w", trade(90, 2)))
    feed.arbiter.begin("w", TRADES)
    first = trade(1, 5)
    assert feed.take(first)[0] == VenueChanged("v", TRADES, "w", first.received, first.received)
