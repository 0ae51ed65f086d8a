"""Where a stream goes on from another venue, that is told before its first message from there."""

from __future__ import annotations

from msgspec import structs
from numbered import NOW_S, TRADES, agg, block, diff, trade

from k2trio.continuity.arbiter import Arbiter
from k2trio.continuity.books import BookTrack
from k2trio.continuity.items import Gap, Item, VenueChanged
from k2trio.continuity.positions import Position
from k2trio.continuity.venues import Venues
from k2trio.market.payloads import DepthSnapshot, Event

BLOCKS, DEPTH = "btcusdt@blockTrade", "btcusdt@depth"


class Feed:
    """An arbiter, and what a feed makes of what comes out of it."""

    def __init__(self, *begun: Position) -> None:
        self.arbiter = Arbiter(100)
        self.venues = Venues(self.arbiter, begun)
        for one in begun:
            self.arbiter.begin(one.venue, one.stream).resume(one.position, 100)

    def take(self, *events: Event) -> list[Item]:
        return self.marked(self.arbiter.offer(events[0].venue, events, 0.0).items)

    def marked(self, items: list[Item]) -> list[Item]:
        same = not items or self.venues.only == items[0].venue
        return items if same else self.venues.marked(items)


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


def test_what_a_repair_brought_was_at_its_venue_too() -> None:
    """REST brings what was missed, and the line fails over before it speaks."""
    feed = Feed()
    feed.take(block(7, 1))
    track = feed.arbiter.track("v", TRADES)
    track.resume(10, 100)
    assert feed.take(trade(13, 2)) == []
    out: list[Item] = []
    track.repair(structs.replace(trade(11, 2), origin="backfill"), out)
    assert feed.marked(out) == out != []
    first = at("w", trade(90, 9))
    assert feed.take(first) == [
        VenueChanged("w", TRADES, "v", first.received, first.received),
        first,
    ]


def test_a_snapshot_alone_was_at_its_venue_too() -> None:
    feed = Feed()
    feed.take(block(7, 1))
    track = feed.arbiter.track("v", DEPTH)
    assert isinstance(track, BookTrack)
    track.resume(10, 100)
    assert feed.take(diff(14, 15, 2)) == []
    snapshot = Event(DepthSnapshot(15, [], []), DEPTH, "v", NOW_S, b"", "snapshot")
    out: list[Item] = []
    assert track.snapshot(snapshot, out)
    assert [type(item) for item in feed.marked(out)] == [Gap, Event]
    first = at("w", diff(90, 91, 9))
    assert feed.take(first)[0] == VenueChanged("w", DEPTH, "v", first.received, first.received)


def test_a_run_that_begins_at_another_venue_than_the_last_one_ended_tells_so() -> None:
    feed = Feed(Position("v", TRADES, 7), Position("v", BLOCKS, 3))
    assert feed.venues.only == "v"
    first, other = at("w", trade(90, 9)), block(4, 9)
    assert feed.take(first) == [
        VenueChanged("w", TRADES, "v", first.received, first.received),
        first,
    ]
    assert feed.take(other) == [other]
    back = trade(8, 10)
    assert feed.take(back)[0] == VenueChanged("v", TRADES, "w", first.received, back.received)


def test_a_run_goes_on_from_the_venue_at_which_each_stream_was_last() -> None:
    positions = [Position("w", TRADES, 90), Position("v", BLOCKS, 3), Position("v", TRADES, 7)]
    feed = Feed(*positions, Position("w", BLOCKS, 40))
    assert feed.venues.only is None
    same = trade(8, 1)
    assert feed.take(same) == [same]
    moved = block(4, 2)
    assert feed.take(moved)[0] == VenueChanged("v", BLOCKS, "w", moved.received, moved.received)
    assert feed.venues.only == "v"
