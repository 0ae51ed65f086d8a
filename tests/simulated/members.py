"""Members that write the log of a run in turn: each is killed, ended, robbed and started again."""

from __future__ import annotations

import contextlib
import random
from typing import TYPE_CHECKING, Any, NamedTuple

import trio

from k2trio.client.opening import open_feed
from k2trio.engine.member import Member
from k2trio.engine.warm import Hole, Warm
from k2trio.kafka.sink import KafkaSink
from k2trio.kafka.transactions import Fenced

from .log import Writer

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping, Sequence

    from k2trio.client.feed import Feed
    from k2trio.client.opening import FeedOptions
    from k2trio.continuity.items import Item
    from k2trio.continuity.positions import Key, Position
    from k2trio.engine.shard import Takeover
    from k2trio.engine.warm import Tail
    from k2trio.observe.transitions import Transition
    from k2trio.settings import Settings

    from .log import Log
    from .takeovers import Handover, Takeovers

MEMBERS = 2
JOIN_S = 3.0
"""Until the group has room for one more (s)."""
BLOCKS_S = (0.001, 0.2)
"""How long a call to the log blocks, at least and mostly (s)."""
BLOCKS_LONG_S = 5.0


class Taken(NamedTuple):
    """What a hot standby took over out of its memory.

    :ivar committed: how many items the log had then.
    :ivar kept: all that it could have had there, and when it came.
    """

    at: float
    committed: int
    positions: Mapping[Key, Position]
    kept: Sequence[tuple[float, Item | Hole]]
    tail: Tail


class _Watched(Warm):
    """The memory of a hot standby, and a list beside it of all that it was given."""

    def watch(self, log: Log, taken: list[Taken]) -> None:
        """Begin to write down."""
        self._log = log
        self._taken = taken
        self._given: list[tuple[float, Item | Hole]] = []

    def add(self, items: Sequence[Item], now: float) -> None:
        """See :meth:`Warm.add`."""
        super().add(items, now)
        self._given += [(now, item) for item in items]

    def put_back(self, items: Sequence[Item], now: float) -> None:
        """See :meth:`Warm.put_back`."""
        super().put_back(items, now)
        self._given = [(now, item) for item in items] + self._given

    def cut(self, key: Key, now: float) -> None:
        """See :meth:`Warm.cut`."""
        super().cut(key, now)
        self._given.append((now, Hole(*key)))

    def take(self, positions: Mapping[Key, Position]) -> Tail:
        """See :meth:`Warm.take`."""
        tail = super().take(positions)
        now = trio.current_time()
        self._taken.append(Taken(now, len(self._log.items), positions, self._given, tail))
        self._given = []
        return tail


class Process:
    """A member from its start to its end; it is the place in the group that Kafka would give.

    :ivar shards: that the group has given it.
    :ivar joined: it can be given some.
    :ivar deaf: the group has given it up, and it does not know.
    """

    def __init__(self, group: Group, number: int) -> None:
        self.shards: set[int] = set()
        self.joined = False
        self.deaf = False
        self.lives = True
        self.ended = trio.Event()
        self.down_s = JOIN_S
        self.member: Any = None
        self.feed: Feed | None = None
        self._group = group
        self._number = number
        self._scope = trio.CancelScope()

    async def run(self) -> None:
        """Live until it is killed, told to stop, or shut out by who writes its shards now."""
        group, settings = self._group, self._group.settings
        options: Any = {
            **group.options,
            "rng": random.Random(f"jitter/{self._number}"),
            "observers": [self._observe],
        }
        streams = settings.stream_names if settings.standby == "hot" else ()
        try:
            with self._scope:
                async with open_feed(
                    streams, settings=settings, may_be_empty=True, **options
                ) as feed:
                    self.feed = feed
                    self.member = Member(
                        feed,
                        settings,
                        None,
                        self._make_sink,
                        self._took_over,
                        lambda *_, **__: None,  # type: ignore[arg-type]
                    )
                    self.member._membership = self
                    for shard in self.member.shards:
                        if shard.warm is not None:
                            shard.warm = _Watched(
                                settings.hot_buffer,
                                settings.hot_buffer_bytes // settings.shards,
                                settings.unit,
                            )
                            shard.warm.watch(group.log, group.taken)
                    await self.member.run()
        except* Fenced:
            pass  # it ends with exit code 1, and is started again
        finally:
            self.joined, self.lives = False, False
            self.ended.set()

    async def keep(self) -> None:
        """Be in the group; see :meth:`Membership.keep`."""
        await trio.sleep(JOIN_S)
        self.joined = True
        self._group.join(self)
        await trio.sleep_forever()

    def kill(self) -> None:
        """Die: nothing gets out any more."""
        self.lives = False
        self.stop()

    def stop(self) -> None:
        """End, and commit what there is."""
        self.joined = False
        self._scope.cancel()

    def _make_sink(self, shard: int) -> KafkaSink:
        settings = self._group.settings
        writer: Any = Writer(self._group.log, shard, settings.unit, lambda: self.lives)
        return KafkaSink(
            writer,
            interval_s=settings.kafka_commit_interval,
            max_records=settings.kafka_commit_records,
            buffer_bytes=settings.kafka_buffer_bytes,
            unit=settings.unit,
            tell=lambda *_, **__: None,
        )

    def _observe(self, what: Transition) -> None:
        self._group.diary.append((trio.current_time(), self._number, what))

    def _took_over(self, takeover: Takeover) -> None:
        self._group.takeovers.append((trio.current_time(), takeover))


class Group:
    """All members, and who has which shard.

    :ivar takeovers: (time, takeover) of all.
    :ivar taken: what hot standbys took out of their memory.
    :ivar diary: (time, number of the process, transition) of everything that happened to feeds.
    """

    def __init__(
        self, seed: int, plan: Takeovers, settings: Settings, log: Log, options: FeedOptions
    ) -> None:
        self.settings = settings
        self.options = options
        self.log = log
        self.takeovers: list[tuple[float, Takeover]] = []
        self.taken: list[Taken] = []
        self.diary: list[tuple[float, int, Transition]] = []
        self.processes: list[Process] = []
        self._rng = random.Random(f"group/{seed}")
        self._plan = plan
        self._orphans = set(range(plan.shards))
        self._open = True
        self._made = 0

    @property
    def last_feed(self) -> Feed:
        """Of whoever writes the first shard at the end."""
        owner = next((one for one in self.processes if 0 in one.shards), self.processes[0])
        assert owner.feed is not None
        return owner.feed

    async def run(self, until: float) -> None:
        """Live through all handovers, and end in order at a time (s)."""
        async with trio.open_nursery() as nursery:
            for number in range(MEMBERS):
                nursery.start_soon(self._supervise, 2.0 * number)
            for one in self._plan.handovers:
                nursery.start_soon(self._hand_over, one)
            await trio.sleep_until(until)
            self._open = False
            for process in list(self.processes):
                process.stop()
            for process in list(self.processes):
                await process.ended.wait()
            nursery.cancel_scope.cancel()

    def join(self, process: Process) -> None:
        """It has just become a member, or is one again."""
        process.deaf = False
        self._assign(set())

    async def _supervise(self, wait_s: float) -> None:
        while self._open:
            await trio.sleep(wait_s)
            process = Process(self, self._made)
            self._made += 1
            self.processes.append(process)
            await process.run()
            if not self._open:
                return
            self.processes.remove(process)
            if process.shards:  # it ended by itself
                shards, process.shards = process.shards, set()
                self._assign(shards)
            wait_s = process.down_s

    def _assign(self, shards: set[int], besides: Process | None = None) -> None:
        shards |= self._orphans
        able = [
            one
            for one in self.processes
            if one.joined and one.lives and not one.deaf and one is not besides
        ]
        if not able:
            self._orphans = shards
            return
        self._orphans = set()
        for shard in sorted(shards):
            process = self._rng.choice(able)
            process.shards.add(shard)
            process.member.given([shard])

    async def _hand_over(self, one: Handover) -> None:
        await trio.sleep_until(one.at)
        able = [process for process in self.processes if process.joined and not process.deaf]
        if not able:
            return
        process = max(able, key=lambda process: len(process.shards))
        process.down_s = one.down_s
        shards = set(process.shards)
        match one.deed:
            case "kill":
                process.shards = set()
                process.kill()
                await trio.sleep(one.unheard_s)
                self._assign(shards)
            case "end":
                process.shards = set()
                process.stop()
                await process.ended.wait()
                self._assign(shards)
            case "move" if len(able) > 1:
                process.deaf, process.shards = True, set()
                await process.member.taken(sorted(shards))
                self._assign(shards, process)
                if process.joined:
                    self.join(process)
            case "lose" if len(able) > 1:
                process.deaf, process.shards = True, set()
                self._assign(shards, process)
                await trio.sleep(one.unheard_s)
                if process.joined:
                    process.member.lost(sorted(shards))
                    self.join(process)
            case _:
                pass


@contextlib.contextmanager
def blocking_calls_in_virtual_time(seed: int) -> Generator[None]:
    """Do what blocks in place, and let it take virtual time, before or after it is done."""
    rng = random.Random(f"blocks/{seed}")
    saved = trio.to_thread.run_sync

    async def run_sync(call: Callable[..., Any], *args: Any, **_: Any) -> Any:
        with trio.CancelScope(shield=True):
            await trio.sleep(_blocks_s(rng))
            try:
                return call(*args)
            finally:
                await trio.sleep(_blocks_s(rng))

    trio.to_thread.run_sync = run_sync
    try:
        yield
    finally:
        trio.to_thread.run_sync = saved


def _blocks_s(rng: random.Random) -> float:
    return rng.uniform(0, BLOCKS_LONG_S) if rng.random() < 0.01 else rng.uniform(*BLOCKS_S)
