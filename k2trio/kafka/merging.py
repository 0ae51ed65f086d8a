"""Items of several partitions told together by when they were received, in bounded memory.

Each partition has a lane. An item is handed out when every lane that is awaited has one that could
come before it.
"""

from __future__ import annotations

import heapq
import math
from collections import deque
from typing import TYPE_CHECKING

from ..market.payloads import Event

if TYPE_CHECKING:
    from ..continuity.items import Item
    from ..errors import Unreadable

AHEAD_BYTES = 32 << 20
"""Values that wait in all lanes together, but for what comes at once."""
LEAST_BYTES = 64 << 10
"""What a lane may have however many there are."""


class Lane:
    """What has come of one partition and waits for its turn.

    :ivar awaited: whether more is to come that others have to wait for.
    :ivar size: bytes of values that wait.
    :ivar error: why nothing comes behind that, if so.
    """

    def __init__(self) -> None:
        self.awaited: bool = True
        self.size: int = 0
        self.error: Unreadable | None = None
        self._waiting: deque[tuple[float, int, Item]] = deque()
        self._latest = -math.inf

    def __bool__(self) -> bool:
        return bool(self._waiting)

    @property
    def due(self) -> float:
        """When what is next was received; what is not live goes with the message before it."""
        return self._waiting[0][0]

    def add(self, item: Item, size: int) -> None:
        """Put an item behind the others.

        :param size: of its record's value; bytes.
        """
        if isinstance(item, Event) and item.origin == "live":
            self._latest = max(self._latest, item.received)
        self._waiting.append((self._latest, size, item))
        self.size += size

    def take(self) -> Item:
        """The next one."""
        _, size, item = self._waiting.popleft()
        self.size -= size
        return item


class Merge:
    """Several lanes."""

    def __init__(self) -> None:
        self._lanes: list[Lane] = []

    @property
    def room(self) -> int:
        """Bytes that a lane may have; one that has more is to have no more fetched."""
        return max(AHEAD_BYTES // max(len(self._lanes), 1), LEAST_BYTES)

    @property
    def awaited(self) -> bool:
        """Whether a lane is."""
        return any(lane.awaited for lane in self._lanes)

    def open(self) -> Lane:
        """One more lane."""
        self._lanes.append(Lane())
        return self._lanes[-1]

    def take(self, most: int) -> list[Item]:
        """What is next, as far as that is known; so many at most.

        :raises Unreadable: if that is why there is no more.
        """
        empty = [lane for lane in self._lanes if not lane]
        for lane in empty:
            if lane.error is not None:
                raise lane.error
        items: list[Item] = []
        if any(lane.awaited for lane in empty):
            return items
        heads = [(lane.due, place) for place, lane in enumerate(self._lanes) if lane]
        heapq.heapify(heads)
        while heads and len(items) < most:
            place = heads[0][1]
            lane = self._lanes[place]
            items.append(lane.take())
            if lane:
                heapq.heapreplace(heads, (lane.due, place))
            elif lane.awaited or lane.error is not None:
                break
            else:
                heapq.heappop(heads)
        return items
