"""What a shard of somebody else has brought lately: a hot standby takes it over out of this."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, NamedTuple

from ..continuity.items import Gap
from ..continuity.positions import key_of, position_after, positions_after
from ..market.cost import cost_of_item
from ..market.keys import key_getters
from ..market.payloads import Event
from ..market.streams import stream_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ..continuity.items import Item
    from ..continuity.positions import Key, Position
    from ..market.units import TimeUnit


class Kept(NamedTuple):
    """An item, when it came, and the memory that it takes."""

    at: float
    bytes: int
    item: Item


class Tail(NamedTuple):
    """What is there behind somebody's positions.

    :ivar items: in their order.
    :ivar uncovered: positions from which on something is not there.
    :ivar later: what is there all the same of the streams of those.
    """

    items: list[Item]
    uncovered: list[Position]
    later: list[Item]


class Warm:
    """The last items of a shard.

    :param keep_s: how long they are kept (s).
    :param keep_bytes: memory for them; the oldest go first.
    """

    def __init__(self, keep_s: float, keep_bytes: int, unit: TimeUnit) -> None:
        self.bytes: int = 0
        self._keep_s = keep_s
        self._keep_bytes = keep_bytes
        self._unit = unit
        self._kept: deque[Kept] = deque()
        self._before: dict[Key, Position] = {}
        """Where streams are behind the last item that is no longer kept."""

    def add(self, items: Sequence[Item], now: float) -> None:
        """Keep items, and let go of old ones."""
        for item in items:
            cost = cost_of_item(item)
            self._kept.append(Kept(now, cost, item))
            self.bytes += cost
        self._limit(now)

    def put_back(self, items: Sequence[Item], now: float) -> None:
        """Keep items that came before those that are here, as they could not be written."""
        for item in reversed(items):
            cost = cost_of_item(item)
            self._kept.appendleft(Kept(now, cost, item))
            self.bytes += cost
        self._limit(now)

    def _limit(self, now: float) -> None:
        oldest = now - self._keep_s
        while self._kept and (self._kept[0].at < oldest or self.bytes > self._keep_bytes):
            gone = self._kept.popleft()
            self.bytes -= gone.bytes
            if isinstance(gone.item, Event | Gap):
                self._before[key_of(gone.item)] = position_after(gone.item, self._unit)

    def pass_by(self, items: Sequence[Item]) -> None:
        """Items that are written, and need not be kept: what follows goes on behind them."""
        self._before.update(positions_after(items, self._unit))

    def drop(self, key: Key) -> None:
        """Forget a stream: something of it is missing, and what comes does not go on from here."""
        self.bytes -= sum(one.bytes for one in self._kept if key_of(one.item) == key)
        self._kept = deque(one for one in self._kept if key_of(one.item) != key)
        self._before.pop(key, None)

    def take(self, positions: Mapping[Key, Position]) -> Tail:
        """Hand everything over that lies behind positions, and forget it.

        Of streams without a position that is all there is.
        """
        items = [one.item for one in self._kept]
        starts = {key: self._start(items, key, one) for key, one in positions.items()}
        tail: list[Item] = []
        later: list[Item] = []
        for place, item in enumerate(items):
            start = starts.get(key_of(item), 0)
            if start is None:
                later.append(item)
            elif place >= start:
                tail.append(item)
        self._kept.clear()
        self._before.clear()
        self.bytes = 0
        uncovered = [positions[key] for key, start in starts.items() if start is None]
        return Tail(tail, uncovered, later)

    def _start(self, items: Sequence[Item], key: Key, position: Position) -> int | None:
        """Where in the items a stream goes on behind a position; None if that is not there."""
        overlapping = None
        for place in range(len(items) - 1, -1, -1):
            item = items[place]
            if key_of(item) != key or not isinstance(item, Event | Gap):
                continue
            after = position_after(item, self._unit)
            if _is_at(after, position):
                return place + 1
            newer = None in (after.time, position.time) or (after.time or 0) >= (position.time or 0)
            if overlapping is None and newer and _goes_over(item, position):
                overlapping = place  # another server has cut it differently
        if overlapping is not None:
            return overlapping
        before = self._before.get(key)
        return 0 if before is not None and _is_at(before, position) else None


def _is_at(one: Position, other: Position) -> bool:
    """Whether both are behind the same message; when it was received nobody else knows."""
    return (
        one.position == other.position
        and _may_be_same(one.time, other.time)
        and _may_be_same(one.trade, other.trade)
    )


def _may_be_same(one: int | None, other: int | None) -> bool:
    return one == other or None in (one, other)


def _goes_over(item: Event | Gap, position: Position) -> bool:
    """Whether a message begins at or before what comes next, and ends behind it."""
    stream = stream_of(position.venue, position.stream)
    if not isinstance(item, Event) or not stream.order.rule.proves:
        return False
    if item.origin == "snapshot":
        return False
    first_of, last_of = key_getters(stream.kind, stream.product)
    return first_of(item.data) <= position.position + 1 <= last_of(item.data)
