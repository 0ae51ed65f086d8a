"""A log as a course of items: what its topics hold now, and, if that is wanted, what comes."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..dataset.courses import TOGETHER, told_at
from ..errors import Unreadable
from .client import REFRESH_S, SILENCE_TIMEOUT_S
from .merging import Merge
from .reading import item_of_record, line_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from confluent_kafka import Message

    from ..dataset.courses import Course
    from ..dataset.wanted import Wanted
    from ..market.streams import Kind
    from .client import LogClient, Stretch
    from .merging import Lane


@dataclass
class _Partition:
    """A partition that is read."""

    stretch: Stretch
    lane: Lane
    latest: float = -math.inf
    """When what came last of it was received; Unix time."""
    paused: bool = False


class Following:
    """Reads stretches of partitions: what is there by time, and then as it comes.

    :param wanted: what of them.
    :param kinds: of the topics that are wanted; None: all.
    :param follow: whether to go on behind the stretches, and with topics that are new.
    """

    def __init__(
        self,
        client: LogClient,
        stretches: Iterable[Stretch],
        wanted: Wanted,
        kinds: frozenset[Kind] | None,
        *,
        follow: bool,
    ) -> None:
        self._client = client
        self._wanted = wanted
        self._kinds = kinds
        self._follow = follow
        self._merge = Merge()
        self._partitions: dict[tuple[str, int], _Partition] = {}
        client.read(self._opened(stretches))

    def course(self) -> Course:
        """The items; empty lists where nothing has come for a moment.

        :raises Unreadable: where something is none of ours, or cannot be read any more; after what
            was before that.
        """
        quiet_s, refreshed = 0.0, time.monotonic()
        while self._follow or self._merge.awaited:
            began = time.monotonic()
            messages = self._client.poll()
            quiet_s = 0.0 if messages else quiet_s + time.monotonic() - began
            for message in messages:
                self._take(message)
            while items := self._merge.take(TOGETHER):
                yield items
            self._make_room()
            if self._merge.awaited and quiet_s > SILENCE_TIMEOUT_S:
                raise self._client.silent("read what is there")
            if self._follow and began - refreshed > REFRESH_S:
                self._read_new()
                refreshed = time.monotonic()
            yield []
        while items := self._merge.take(TOGETHER):
            yield items

    def close(self) -> None:
        """Let go of the brokers."""
        self._client.close()

    def _opened(self, stretches: Iterable[Stretch]) -> list[Stretch]:
        """Make lanes for stretches, and tell those that are to be read."""
        read: list[Stretch] = []
        for stretch in stretches:
            lane = self._merge.open()
            lane.awaited = stretch.begin < stretch.end
            self._partitions[stretch.topic, stretch.partition] = _Partition(stretch, lane)
            if lane.awaited or self._follow:
                read.append(stretch)
        return read

    def _read_new(self) -> None:
        """Read partitions that were not there before, from their beginning.

        :raises BrokerUnavailable: if no broker answers any more.
        """
        there = self._client.partitions(self._kinds, SILENCE_TIMEOUT_S)
        new = [named for named in there if named not in self._partitions]
        if new:
            self._client.read_besides(self._opened(self._client.stretches(new)))

    def _take(self, message: Message) -> None:
        """Put a record into its lane, if it is wanted."""
        partition = self._partitions[str(message.topic()), int(message.partition() or 0)]
        lane, offset = partition.lane, int(message.offset() or 0)
        if offset >= partition.stretch.end:
            lane.awaited = False
        at_end = message.error() is not None
        if at_end or lane.error is not None or not (lane.awaited or self._follow):
            return
        try:
            line = line_of(message)
            told = line.received if line.is_message else told_at(line, partition.latest)
            partition.latest = told
            if self._wanted.takes(line.stream, told):
                item = item_of_record(message, line)
                if item is not None:
                    lane.add(item, len(message.value() or b""))
        except Unreadable as error:
            lane.error, lane.awaited = error, False

    def _make_room(self) -> None:
        """Have no more fetched of what has enough that waits for others."""
        room = self._merge.room
        full: list[_Partition] = []
        free: list[_Partition] = []
        for partition in self._partitions.values():
            lane = partition.lane
            over = not lane.awaited and not self._follow
            if not partition.paused and (lane.size > room or over):
                full.append(partition)
            elif partition.paused and lane.size < room // 2 and not over:
                free.append(partition)
        for partition in full:
            partition.paused = True
        for partition in free:
            partition.paused = False
        if full:
            self._client.pause(partition.stretch for partition in full)
        if free:
            self._client.resume(partition.stretch for partition in free)
