"""At which venue each stream of a log is, whoever writes it.

A feed tells when a stream goes on from another venue, but knows only of what it brought itself, and
in the order in which it came. What a log is written from may be parted otherwise: some of it was
kept by a standby, some is taken again. So a change is told where it is one of the log.
"""

from __future__ import annotations

from operator import attrgetter
from typing import TYPE_CHECKING, Any, NamedTuple

from ..market.payloads import Event
from .items import VenueChanged

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from .items import Item
    from .positions import Position

_venue_of, _stream_of = attrgetter("venue"), attrgetter("stream")


class _Place(NamedTuple):
    """The venue of a stream, and when its last message was received, or not long before that."""

    venue: str
    received: float | None


class Whereabouts:
    """Of the streams of a log.

    :param positions: of the log, in the order in which they were written: of several of a stream
        the last one tells. Clocks do not: what a hot standby kept may be older than what it goes on
        behind.
    """

    def __init__(self, positions: Iterable[Position]) -> None:
        self._last = {one.stream: _Place(one.venue, one.received) for one in positions}
        self._told: dict[str, VenueChanged] = {}
        """What the feed has told of the next message of a stream."""
        self._only = self._only_venue()
        """The venue at which all streams are, if it is one."""

    def told(self, items: Sequence[Item], moved: list[str]) -> Sequence[Item]:
        """The items, with each change of venue as it is in the log; where the feed knows nothing of
        it, its stream is added to ``moved``.
        """
        if set(map(type, items)) == {Event} and set(map(_venue_of, items)) == {self._only}:
            first = items[0]
            assert isinstance(first, Event)  # noqa: S101 - all of them are
            place = _Place(first.venue, first.received)
            self._last.update(dict.fromkeys(map(_stream_of, items), place))
            return items
        out: list[Item] = []
        elsewhere = False
        for item in items:
            if isinstance(item, VenueChanged):
                self._told[item.stream] = item
                continue
            if isinstance(item, Event):
                last = self._last.get(item.stream)
                elsewhere |= last is None or last.venue != item.venue
                out += self._change(last, item, moved)
                self._last[item.stream] = _Place(item.venue, item.received)
            out.append(item)
        if elsewhere:
            self._only = self._only_venue()
        return out

    def _change(
        self, last: _Place | None, event: Event[Any], moved: list[str]
    ) -> Iterable[VenueChanged]:
        """The change that is to be told before a message, of a stream that was there last."""
        told = self._told.pop(event.stream, None)
        if last is None or last.venue == event.venue:
            return ()
        if told is not None and (told.venue, told.previous) == (event.venue, last.venue):
            return (told,)
        moved.append(event.stream)
        since = event.received if last.received is None else last.received
        return (VenueChanged(event.venue, event.stream, last.venue, since, event.received),)

    def _only_venue(self) -> str | None:
        venues = {place.venue for place in self._last.values()}
        return venues.pop() if len(venues) == 1 else None
