"""Shards: the streams of a feed in sets, each carried by one line, or by two for hot standby.

Where the exchange parts its streams by routes, a shard has streams of one route.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from ..errors import ConnectionFailed, SubscriptionRejected
from ..market.streams import by_route, shard
from ..observe.transitions import Closed
from .line import Line

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence

    from ..continuity.track import Track
    from ..policy.failover import Endpoints
    from .runtime import Runtime
    from .session import Session


class Shards:
    """All lines of a feed.

    :param streams: names; :data:`Settings.streams_per_connection` of them make a shard.
    :param left: told of streams that no line carries.
    :param may_be_empty: whether a line ends with its last stream; else it waits for others.
    :ivar carriers: every stream → its lines; whenever the streams change, it is another mapping.
    """

    def __init__(
        self,
        streams: Sequence[str],
        endpoints: Endpoints,
        runtime: Runtime,
        left: Callable[[Collection[str]], None],
        *,
        may_be_empty: bool,
    ) -> None:
        self._endpoints = endpoints
        self._left = left
        self._may_be_empty = may_be_empty
        self._runtime = runtime
        self._per_line = runtime.settings.streams_per_connection
        self._shards: list[list[Line]] = []
        self._made = 0
        self.carriers: Mapping[str, Sequence[Line]] = {}
        self._product = runtime.settings.dialect.product
        for route, routed in by_route(streams, self._product).items():
            for names in shard(routed, self._per_line):
                self._add(names, route)
        self._note_streams()

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
        carriers = self.carriers.get(track.stream.name, ())
        return sum(line.connections(track.venue) for line in carriers) > 1

    async def subscribe(self, streams: Sequence[str], run: Callable[[Line], object]) -> None:
        """Add streams to the lines that have room; the others get new lines.

        :param run: starts a new line.
        :raises SubscriptionRejected: if the exchange refuses one; the others stay.
        :raises ConnectionFailed: if the connection ends first; the streams are kept.
        """
        new = [name for name in dict.fromkeys(streams) if name not in self.carriers]
        self._left(new)  # whatever is known of them is of a time before
        first: ConnectionFailed | SubscriptionRejected | None = None
        try:
            routed = by_route(new, self._product)
            for lines in self._shards:
                waiting = routed.get(lines[0].route, [])
                room = self._per_line - len(lines[0].streams)
                take = waiting[:room]
                del waiting[:room]
                if take:
                    self.carriers = {**self.carriers, **dict.fromkeys(take, lines)}
                    try:
                        await _ask_all(lines, functools.partial(Line.subscribe, streams=take))
                    except (ConnectionFailed, SubscriptionRejected) as failure:
                        first = first or failure  # the others are carried all the same
            for route, waiting in routed.items():
                for rest in shard(waiting, self._per_line):
                    for line in self._add(rest, route):
                        run(line)
        finally:
            self._note_streams()
        if first is not None:
            raise first

    async def unsubscribe(self, streams: Collection[str]) -> None:
        """Remove streams.

        :raises ConnectionFailed: if the connection ends first; the streams are removed anyhow.
        """
        staying = {name: lines for name, lines in self.carriers.items() if name not in streams}
        going = [name for name in self.carriers if name not in staying]
        self.carriers = staying
        emptied = [one for one in self._shards if set(one[0].streams) <= set(streams)]
        for lines in emptied if self._may_be_empty else ():
            self._shards.remove(lines)
            for line in lines:
                line.end()
                self._tell_closed(line)

        async def leave(line: Line) -> None:
            if names := [name for name in line.streams if name in streams]:
                await line.unsubscribe(names)

        try:
            await _ask_all(self.lines, leave)
        finally:
            self._left(going)
            self._note_streams()

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

    def _note_streams(self) -> None:
        self.carriers = {name: lines for lines in self._shards for name in lines[0].streams}

    def _add(self, streams: Sequence[str], route: str) -> list[Line]:
        number, self._made = self._made, self._made + 1
        names = [str(number)]
        if self._runtime.settings.redundancy > 1:
            names = [f"{number}{letter}" for letter in "ab"[: self._runtime.settings.redundancy]]
        lines = [
            Line(name, streams, self._endpoints, self._runtime, place, route)
            for place, name in enumerate(names)
        ]
        for line in lines:
            line.companions = [other for other in lines if other is not line]
        self._shards.append(lines)
        return lines


async def _ask_all(lines: Sequence[Line], ask: Callable[[Line], Awaitable[None]]) -> None:
    """Ask every line, also where one of them fails.

    :raises SubscriptionRejected: as the first of them that failed.
    :raises ConnectionFailed: the same.
    """
    first: ConnectionFailed | SubscriptionRejected | None = None
    for line in lines:
        try:
            await ask(line)
        except (ConnectionFailed, SubscriptionRejected) as failure:
            first = first or failure
    if first is not None:
        raise first
