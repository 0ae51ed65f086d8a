"""Shards: the streams of a feed in sets, each carried by one line, or by two for hot standby."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..market.streams import shard
from ..observe.transitions import Closed
from .line import Line

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from ..continuity.track import Track
    from ..policy.failover import Endpoints
    from .runtime import Runtime
    from .session import Session


class Shards:
    """All lines of a feed.

    :param streams: names; :data:`Settings.streams_per_connection` of them make a shard.
    """

    def __init__(self, streams: Sequence[str], endpoints: Endpoints, runtime: Runtime) -> None:
        self._endpoints = endpoints
        self._runtime = runtime
        self._per_line = runtime.settings.streams_per_connection
        self._shards: list[list[Line]] = []
        self._made = 0
        for names in shard(streams, self._per_line):
            self._add(names)

    @property
    def lines(self) -> list[Line]:
        """Every line, shard by shard."""
        return [line for lines in self._shards for line in lines]

    @property
    def sessions(self) -> list[Session]:
        """The current session of every line that has one."""
        return [line.current for line in self.lines if line.current is not None]

    def disconnected(self) -> list[str]:
        """The shards, by their first line's name, for which no data can flow.

        One line of a shard is enough: the other one is the standby.
        """
        return [
            lines[0].name for lines in self._shards if not any(line.connected for line in lines)
        ]

    def connected(self) -> bool:
        """Whether data can flow for every shard."""
        return not self.disconnected()

    def redundant(self, track: Track) -> bool:
        """Whether more than one connection carries a stream of a venue."""
        carriers = (line for line in self.lines if track.stream.name in line.streams)
        return sum(line.connections(track.venue) for line in carriers) > 1

    async def subscribe(self, streams: Sequence[str]) -> list[Line]:
        """Add streams to the lines that have room; the others get new lines.

        :returns: the new lines, which want to be run.
        :raises SubscriptionRejected: if the exchange refuses one; the others stay.
        :raises ConnectionFailed: if the connection ends first; the streams are kept.
        """
        known = {name for line in self.lines for name in line.streams}
        new = [name for name in dict.fromkeys(streams) if name not in known]
        for lines in self._shards:
            room = self._per_line - len(lines[0].streams)
            take, new = new[:room], new[room:]
            if take:
                for line in lines:
                    await line.subscribe(take)
        return [line for rest in shard(new, self._per_line) for line in self._add(rest)]

    async def unsubscribe(self, streams: Collection[str]) -> None:
        """Remove streams; a line that is left with none ends.

        :raises ConnectionFailed: if the connection ends first; the streams are removed anyhow.
        """
        for lines in list(self._shards):
            if set(lines[0].streams) <= set(streams):
                self._shards.remove(lines)
                for line in lines:
                    line.end()
                    self._tell_closed(line)
        for line in self.lines:
            if going := [name for name in line.streams if name in streams]:
                await line.unsubscribe(going)

    def close(self) -> None:
        """No line runs any more: their connections have been closed."""
        for line in self.lines:
            self._tell_closed(line)

    def _tell_closed(self, line: Line) -> None:
        session = line.current
        if session is not None and session.connected:
            session.retire()
            where = session.endpoint
            self._runtime.emit(Closed(line.name, where.name, where.venue))

    def _add(self, streams: Sequence[str]) -> list[Line]:
        number, self._made = self._made, self._made + 1
        names = [str(number)]
        if self._runtime.settings.redundancy > 1:
            names = [f"{number}{letter}" for letter in "ab"[: self._runtime.settings.redundancy]]
        lines = [
            Line(name, streams, self._endpoints, self._runtime, place)
            for place, name in enumerate(names)
        ]
        for line in lines:
            line.companions = [other for other in lines if other is not line]
        self._shards.append(lines)
        return lines
