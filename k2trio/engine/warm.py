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
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from ..continuity.items import Item
    from ..continuity.positions import Key, Position
    from ..market.units import TimeUnit


class Hole(NamedTuple):
    """Something of a stream is missing here: what follows begins anew."""

    venue: str
    stream: str


class Kept(NamedTuple):
    """An item, when it came, and the memory that it takes."""

    at: float
    bytes: int
    item: Item | Hole


class Tail(NamedTuple):
    """What is there behind somebody's positions.

    :ivar items: in their order.
    :ivar uncovered: positions from which on something is not there: those that were asked for, or
        behind the items.
    :ivar later: what came of these streams after that.
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
        self._kept.extend(self._counted(items, now))
        self._limit(now)

    def put_back(self, items: Sequence[Item], now: float) -> None:
        """Keep items that came before those that are here, as they could not be written."""
        self._kept.extendleft(self._counted(reversed(items), now))
        self._limit(now)

    def _counted(self, items: Iterable[Item], now: float) -> Iterator[Kept]:
        """Items to be kept, whose memory counts from here on."""
        for item in items:
            cost = cost_of_item(item)
            self.bytes += cost
            yield Kept(now, cost, item)

    def _limit(self, now: float) -> None:
        oldest = now - self._keep_s
        while self._kept and (self._kept[0].at < oldest or self.bytes > self._keep_bytes):
            gone = self._kept.popleft()
            self.bytes -= gone.bytes
            if isinstance(gone.item, Event | Gap):
                self._before[key_of(gone.item)] = position_after(gone.item, self._unit)
            elif isinstance(gone.item, Hole):
                self._before.pop(gone.item, None)

    def pass_by(self, items: Sequence[Item]) -> None:
        """Items that are written, and need not be kept: what follows goes on behind them."""
        self._before.update(positions_after(items, self._unit))

    def cut(self, key: Key, now: float) -> None:
        """Note that something of a stream is missing between what is here and what comes next."""
        self._kept.append(Kept(now, 0, Hole(*key)))

    def take(self, positions: Mapping[Key, Position]) -> Tail:
        """Hand everything over that lies behind positions, and forget it.

        Of streams without a position that is all there is.
        """
        items = [one.item for one in self._kept]
        starts = {key: self._start(items, key, one) for key, one in positions.items()}
        uncovered = {key: positions[key] for key, start in starts.items() if start is None}
        last: dict[Key, Event | Gap] = {}
        tail: list[Item] = []
        later: list[Item] = []
        for place, item in enumerate(items):
            key = item.venue, item.stream
            if key in uncovered:
                if not isinstance(item, Hole):
                    later.append(item)
            elif place < (starts.get(key) or 0):
                continue
            elif not isinstance(item, Hole):
                tail.append(item)
                if isinstance(item, Event | Gap):
                    last[key] = item
            elif key in last:
                uncovered[key] = position_after(last[key], self._unit)
            elif key in positions:
                uncovered[key] = positions[key]
        self._kept.clear()
        self._before.clear()
        self.bytes = 0
        return Tail(tail, list(uncovered.values()), later)

    def _start(self, items: Sequence[Item | Hole], key: Key, position: Position) -> int | None:
        """Where in the items a stream goes on behind a position; None if that is not there."""
        overlapping = None
        for place in range(len(items) - 1, -1, -1):
            item = items[place]
            if not isinstance(item, Event | Gap) or key_of(item) != key:
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
