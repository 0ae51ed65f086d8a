"""How far streams are in what was written already, from where they are known to have been.

A state file lags behind the outputs. What these hold behind its positions need not be fetched, nor
written, again: as far as one item follows the other, so that nothing can be missing in between.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..market.keys import key_getters
from ..market.payloads import Event
from ..market.streams import Kind, stream_of
from ..market.units import MS, unit_near
from .grid import grid_of
from .items import Gap
from .positions import earlier, key_of, position_after

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from ..market.units import TimeUnit
    from .items import Item
    from .positions import Key, Position


class Reached:
    """Follows streams through what was written, in the order in which it was.

    :param begin: where each stream of a venue is known to have been; others are passed over.
    :param unit: of the times in messages.
    """

    def __init__(self, begin: Mapping[Key, Position], unit: TimeUnit = MS) -> None:
        self._begin = begin
        self._unit = unit
        self._walks: dict[Key, _Walk | _BarWalk] = {
            key: walk for key, one in begin.items() if (walk := _walk_of(one, unit)) is not None
        }

    def is_beyond(self, item: Item) -> bool | None:
        """Whether an item lies behind where its stream was; None if that cannot be told of it.

        So it is with the bar that was open: all its updates, and what closes the bar before, are
        at one position.
        """
        walk = self._walks.get(key_of(item))
        if walk is None or not isinstance(item, Event | Gap) or _is_snapshot(item):
            return None
        begin, after = self._begin[key_of(item)], position_after(item, self._unit)
        if isinstance(walk, _BarWalk) and after.position == begin.position:
            return None
        return earlier(after, begin) is not after

    def take(self, items: Iterable[Item]) -> None:
        """What was written next."""
        for item in items:
            walk = self._walks.get(key_of(item))
            if walk is not None and isinstance(item, Event | Gap):
                walk.take(item)

    def positions(self) -> dict[Key, Position]:
        """Where each stream is now: at the beginning still, or behind it."""
        found = dict(self._begin)
        for key, walk in self._walks.items():
            at = walk.at
            if at.time is not None and at.received is not None:
                told = unit_near(at.time, at.received)
                if told is not None and told is not self._unit:
                    continue  # a run with another TIME_UNIT wrote that
            if at.position != found[key].position:
                found[key] = at
        return found


class _Walk:
    """A stream whose ids step by one.

    It is joined where it holds the item at which it is known to have been, or the one that comes
    next; and followed from there for as long as each begins where the one before ended.

    :ivar at: where it is.
    """

    def __init__(self, begin: Position, unit: TimeUnit) -> None:
        self.at: Position = begin
        self._begin = begin
        self._unit = unit
        self._joined = self._broken = self._renumbered = False
        self._before: Position | None = None
        """Where what was written last ends."""
        stream = stream_of(begin.venue, begin.stream)
        self._first_of = key_getters(stream.kind, stream.product)[0]

    def take(self, item: Event[Any] | Gap) -> None:
        """What was written next."""
        after = position_after(item, self._unit)
        if _is_snapshot(item):
            self._take_snapshot(after)
        else:
            self._follow(item, after)
            self._before = after

    def _take_snapshot(self, after: Position) -> None:
        """It may be the item at which the stream is known to have been, behind updates that came
        before it and are not in it. Else it is as if it was not there.
        """
        if (after.position, after.time) == (self._begin.position, self._begin.time):
            before = self._before
            self._joined, self._broken, self._renumbered = True, False, False
            newer = before is not None and before.position > after.position
            self.at = before if before is not None and newer else self._begin

    def _follow(self, item: Event[Any] | Gap, after: Position) -> None:
        reset = isinstance(item, Gap) and item.reason == "reset"
        if after.position == self._begin.position and self._fits(after):
            self._joined, self._broken, self._renumbered = True, False, reset
            self.at = self._begin
        elif not self._joined:
            first = self._begin.position + 1
            if not reset and self._first(item) <= first <= after.position and self._follows(after):
                self._joined, self.at = True, after
        elif self._broken:
            pass
        elif reset:
            self._renumbered, self.at = True, after
        elif self._renumbered:
            self._renumbered, self.at = False, after
        elif self._first(item) > self.at.position + 1:
            self._broken = True
        elif after.position >= self.at.position:  # two aggregates may share an id
            self.at = after

    def _first(self, item: Event[Any] | Gap) -> int:
        return item.first if isinstance(item, Gap) else self._first_of(item.data)

    def _fits(self, after: Position) -> bool:
        """Whether it may be the item that it is known to have been at: the time tells."""
        return None in (after.time, self._begin.time) or after.time == self._begin.time

    def _follows(self, after: Position) -> bool:
        return after.time is None or self._begin.time is None or after.time >= self._begin.time


class _BarWalk:
    """Klines, of which every bar's close follows that of the bar before.

    :ivar at: where it is.
    """

    def __init__(self, begin: Position, unit: TimeUnit) -> None:
        self.at: Position = begin
        self._unit = unit
        self._grid = grid_of(stream_of(begin.venue, begin.stream).interval or "", unit)
        self._broken = False

    def take(self, item: Event[Any] | Gap) -> None:
        """What was written next."""
        reset = isinstance(item, Gap) and item.reason == "reset"
        opens = item.first if isinstance(item, Gap) else int(item.data.bar.open_time)
        if self._broken or opens < self.at.position:
            return
        self._broken = reset or self._grid.whole_bars(self.at.position, opens) > 0
        if not self._broken:
            self.at = position_after(item, self._unit)


def _walk_of(begin: Position, unit: TimeUnit) -> _Walk | _BarWalk | None:
    """None for a kind of which nothing tells what is missing: of it nothing is fetched either."""
    stream = stream_of(begin.venue, begin.stream)
    if stream.kind is Kind.KLINE:
        return _BarWalk(begin, unit)
    return _Walk(begin, unit) if stream.order.rule.proves else None


def _is_snapshot(item: Event[Any] | Gap) -> bool:
    """Whether it stands for updates that were declared before it, or came."""
    return isinstance(item, Event) and item.origin == "snapshot"
