"""One shard, as a member of the group sees it: held by others, being taken over, or its own."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, NamedTuple

import trio

from ..errors import ConnectionFailed, SinkError
from ..observe.standing import ShardStanding
from .warm import Warm

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from ..client.feed import Feed
    from ..continuity.items import Item
    from ..continuity.positions import Key, Position
    from ..kafka.sink import KafkaSink
    from ..settings import Settings

RETRY_S = 1.0
"""Between two attempts to take a shard over (s)."""
HANDOVER_S = 5.0
"""How long others wait for a shard that is taken from this member (s): its last commit's bound."""


class Takeover(NamedTuple):
    """That a shard was taken over.

    :ivar seconds: from when it was given until it could be written to.
    :ivar begun_anew: streams that are repaired, or start with what comes.
    """

    shard: int
    seconds: float
    begun_anew: int


class Shard:
    """A shard and its streams.

    :param make_sink: the sink that writes it, unopened.
    :param on_the_way: takes back what the member has of streams, and has not handed on yet.
    :param took_over: is told when it is ours.
    """

    def __init__(
        self,
        number: int,
        streams: Sequence[str],
        feed: Feed,
        settings: Settings,
        make_sink: Callable[[], KafkaSink],
        on_the_way: Callable[[Collection[Key]], list[Item]],
        took_over: Callable[[Takeover], object],
        tell: Callable[..., object],
    ) -> None:
        self.number: int = number
        self.streams: Sequence[str] = streams
        self.sink: KafkaSink | None = None
        """Where it is written; None while it is not ours."""
        self.warm: Warm | None = None
        if settings.standby == "hot":
            limit = settings.hot_buffer_bytes // settings.shards
            self.warm = Warm(settings.hot_buffer, limit, settings.unit)
        self._feed = feed
        self._make_sink = make_sink
        self._on_the_way = on_the_way
        self._took_over = took_over
        self._tell = tell
        self._one_holding = trio.Lock()
        self._scope = trio.CancelScope()
        self._let_go = trio.Event()
        self._waiting: Sequence[Item] = ()
        """What waits for room in the sink."""
        self._stand_by()

    @property
    def warm_bytes(self) -> int:
        """Memory for what others write of it."""
        return 0 if self.warm is None else self.warm.bytes

    def standing(self, now: float) -> ShardStanding:
        """How it stands, as this member sees it."""
        sink = self.sink
        return ShardStanding(self.number, owned=False) if sink is None else sink.standing(now)

    async def hold(self) -> None:
        """Take it over and write it, until :meth:`give_up` or :meth:`lose`.

        :raises Fenced: if another process writes it although it is ours.
        :raises SinkError: if the brokers refuse for good.
        """
        given_at = trio.current_time()
        scope, let_go = trio.CancelScope(), trio.Event()
        self._scope, self._let_go = scope, let_go
        try:
            async with self._one_holding:
                with scope:
                    await self._take_over(given_at, let_go)
                let_go.set()
                if self.warm is None:
                    await self._unsubscribe()
        finally:
            let_go.set()

    async def give_up(self) -> None:
        """Commit what was taken, and write no more; returns when others may write."""
        self._tell("shard_given_up", shard=self.number)
        let_go = self._let_go
        self._scope.cancel()
        with trio.move_on_after(HANDOVER_S):
            await let_go.wait()

    def lose(self) -> None:
        """Others write it already; what was not committed is theirs to fetch."""
        self._tell("shard_lost", shard=self.number)
        if self.sink is not None:
            self._take_back(self.sink)
            self.sink = None
        self._scope.cancel()

    async def take(self, items: Sequence[Item]) -> None:
        """Take what came of its streams."""
        sink = self.sink
        if sink is None:
            self._keep(items)
            return
        self._waiting = items
        try:
            await sink.write(items)
        except SinkError:
            if sink is self.sink:
                raise
        finally:
            self._waiting = ()
        self._renew_books(sink)

    def _stand_by(self) -> None:
        """While others write it, they repair it: a budget is for what somebody gets."""
        if self.warm is not None:
            self._feed.stand_by(self.streams, self._began_anew)

    def _began_anew(self, key: Key, on_the_way: Sequence[Item]) -> None:
        """Something of a stream is missing, which whoever writes it repairs."""
        if self.warm is not None:
            now = trio.current_time()
            self.warm.add([*self._on_the_way([key]), *on_the_way], now)
            self.warm.cut(key, now)

    def _keep(self, items: Sequence[Item]) -> None:
        """Keep what this member does not write, for the time when it does."""
        if self.warm is not None:
            self.warm.add(items, trio.current_time())

    def _renew_books(self, sink: KafkaSink) -> None:
        """Books that go on from another venue than they are at in the log want a snapshot."""
        if sink.moved:
            self._feed.resync(*sink.moved)
            sink.moved.clear()

    async def _take_over(self, given_at: float, let_go: trio.Event) -> None:
        while True:
            sink = self._make_sink()
            try:
                positions = await sink.positions()
            except SinkError as error:
                self._tell("takeover_failed", shard=self.number, detail=str(error))
            else:
                await self._write(sink, positions, given_at, let_go)
            finally:
                await sink.aclose()
            await trio.sleep(RETRY_S)

    async def _write(
        self,
        sink: KafkaSink,
        positions: Mapping[Key, Position],
        given_at: float,
        let_go: trio.Event,
    ) -> None:
        """Write what there is already, and what comes, until cancelled."""
        mine = {key: one for key, one in positions.items() if one.stream in self.streams}
        anew = list(mine.values())
        came: list[Item] = []
        # From here to where the sink is set nothing else runs, so nothing falls in between.
        if self.warm is not None:
            self._feed.attend(self.streams)
            tail = self.warm.take(mine)
            sink.committed = self.warm.pass_by
            sink.put(tail.items)
            self._renew_books(sink)
            anew, came = tail.uncovered, tail.later
        if anew:
            came += self._on_the_way({(one.venue, one.stream) for one in anew})
            self._feed.begin(anew, came)
        self.sink = sink
        try:
            now = trio.current_time()
            self._took_over(Takeover(self.number, now - given_at, len(anew)))
            async with trio.open_nursery() as nursery:
                nursery.start_soon(sink.tend)
                if self.warm is None:
                    await self._subscribe()
        finally:
            self.sink = None
            await self._finish(sink)
            self._stand_by()
            let_go.set()

    async def _finish(self, sink: KafkaSink) -> None:
        """Commit what was taken; what cannot be is for the next owner to fetch."""
        try:
            await sink.flush()
        except SinkError as error:
            self._tell("not_committed", shard=self.number, detail=str(error))
        self._take_back(sink)

    def _take_back(self, sink: KafkaSink) -> None:
        """Keep what was not written; what has come since is behind it."""
        left = [*sink.abandon(), *self._waiting]
        self._waiting = ()
        if self.warm is not None:
            self.warm.put_back(left, trio.current_time())

    async def _subscribe(self) -> None:
        with contextlib.suppress(ConnectionFailed):  # the next connection subscribes to them
            await self._feed.subscribe(*self.streams)

    async def _unsubscribe(self) -> None:
        with contextlib.suppress(ConnectionFailed):  # the next connection does not know them
            await self._feed.unsubscribe(*self.streams)
        self._feed.forget(self.streams)
