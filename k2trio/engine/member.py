"""A member: one process of those that write a log together."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import trio

from ..continuity.positions import key_of
from .membership import Membership
from .parting import part, shard_of
from .shard import Shard

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from ..client.feed import Feed
    from ..continuity.items import Item
    from ..continuity.positions import Key
    from ..kafka.cluster import Cluster
    from ..kafka.sink import KafkaSink
    from ..settings import Settings
    from .shard import Takeover


WARM_UP_S = 5.0
"""A hot standby that gets no data does not wait for it any longer (s)."""
LOOK_S = 0.1
"""How often to see whether data comes (s)."""


class Member:
    """Writes the shards that it is given out of one feed.

    :param feed: of the streams of all shards, if the standby is hot; else of none.
    :param make_sink: the sink of a shard.
    :param took_over: is told of each shard that was taken over.
    :param tell: is told what happens, as an event with its context.
    """

    def __init__(
        self,
        feed: Feed,
        settings: Settings,
        cluster: Cluster,
        make_sink: Callable[[int], KafkaSink],
        took_over: Callable[[Takeover], object],
        tell: Callable[..., object],
    ) -> None:
        self._feed = feed
        self._hot = settings.standby == "hot"
        self._session_timeout_s = settings.kafka_session_timeout
        self._tell = tell
        self.shards: Sequence[Shard] = [
            Shard(
                number,
                streams,
                feed,
                settings,
                functools.partial(make_sink, number),
                functools.partial(self._take_back, number),
                took_over,
                tell,
            )
            for number, streams in enumerate(part(settings.stream_names, settings.shards))
        ]
        self._membership = Membership(
            cluster,
            settings.group,
            f"{settings.group}.positions",
            settings.kafka_session_timeout,
            self,
        )
        self._nursery: trio.Nursery | None = None
        self._shard_of = {name: shard_of(name, settings.shards) for name in settings.stream_names}
        self._on_the_way: dict[int, list[Item]] = {}

    async def run(self) -> None:
        """Be a member until cancelled; then what was taken is committed, and the shards let go.

        :raises Fenced: if a shard of this process's is written by another one.
        :raises GaveUp: when the feed has ended.
        """
        # The others are not to have a shard before its last commit: membership ends last.
        staying = trio.CancelScope(shield=True)
        async with trio.open_nursery() as outer:
            outer.start_soon(self._stay, staying)
            try:
                async with trio.open_nursery() as nursery:
                    self._nursery = nursery
                    nursery.start_soon(self._route_all)
            finally:
                self._nursery = None
                staying.cancel()

    async def _stay(self, staying: trio.CancelScope) -> None:
        with staying:
            if self._hot:
                await self._warm_up()
            await self._membership.keep()

    async def _warm_up(self) -> None:
        """Wait until this member can go on where a dead one has ended.

        Whoever has been killed and comes back would be given its own shards, and have least of
        what was sent meanwhile. After the time in which its death is noticed the others have them.
        """
        for _ in range(round(WARM_UP_S / LOOK_S)):
            if self._feed.flowing:
                break
            await trio.sleep(LOOK_S)
        await trio.sleep(self._session_timeout_s)

    def given(self, shards: Sequence[int]) -> None:
        """See :class:`~k2trio.engine.membership.Listener`."""
        self._tell("shards_given", shards=shards)
        for number in shards:
            if self._nursery is not None:
                self._nursery.start_soon(self.shards[number].hold)

    async def taken(self, shards: Sequence[int]) -> None:
        """See :class:`~k2trio.engine.membership.Listener`."""
        async with trio.open_nursery() as nursery:
            for number in shards:
                nursery.start_soon(self.shards[number].give_up)

    def lost(self, shards: Sequence[int]) -> None:
        """See :class:`~k2trio.engine.membership.Listener`."""
        for number in shards:
            self.shards[number].lose()

    async def _route_all(self) -> None:
        async for batch in self._feed.batches():
            for item in batch:
                self._on_the_way.setdefault(self._shard_of[item.stream], []).append(item)
            while self._on_the_way:
                number, items = self._on_the_way.popitem()
                await self.shards[number].take(items)

    def _take_back(self, number: int, keys: Collection[Key]) -> list[Item]:
        """Take back what is on its way to a shard, of streams of it that begin anew."""
        items = self._on_the_way.get(number, [])
        if items:
            self._on_the_way[number] = [item for item in items if key_of(item) not in keys]
        return [item for item in items if key_of(item) in keys]
