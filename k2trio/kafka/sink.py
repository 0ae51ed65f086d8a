"""The sink of a shard: items are gathered, and committed to Kafka every so often."""

from __future__ import annotations

import errno
import functools
import itertools
import threading
from collections import deque
from typing import TYPE_CHECKING, TypeVar

import trio

from ..continuity.ahead import Ahead
from ..continuity.whereabouts import Whereabouts
from ..errors import SinkError
from ..market.cost import cost_of_item
from ..observe.standing import ShardStanding
from ..sinks.target_sink import TargetSink
from .ownership import Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from ..continuity.items import Item
    from ..continuity.positions import Key, Position
    from ..market.units import TimeUnit
    from .transactions import Transactions

T = TypeVar("T")

OPEN_TIMEOUT_S = 30.0
"""How long it may take until the brokers let us write (s)."""
RETRY_S = 0.1
"""Between two attempts, at first; doubles each time (s)."""
MAX_RETRY_S = 2.0
"""Between two attempts, at most (s)."""
FLUSH_TIMEOUT_S = 4.0
"""How long the last commit may take (s)."""
CLOSE_TIMEOUT_S = 2.0
"""How long the library may take to end its threads (s); then they end by themselves."""
SYNC_TIMEOUT_S = 30.0
"""How long a state file waits for what it is to speak of (s)."""


class KafkaSink(TargetSink):
    """Writes to Kafka what it is given, each item once; see :class:`Sink`.

    Items are whole when they are taken; :meth:`sync` and :meth:`flush` return when they are
    committed. Run :meth:`tend` beside whatever writes: it commits.

    :param transactions: of one shard.
    :param interval_s: between commits, while items come.
    :param max_records: of one transaction.
    :param buffer_bytes: memory for what is not committed; more has to wait.
    :param unit: of the times in messages.
    :ivar moved: streams that went on from another venue than they were at in the log; for the one
        who takes care of their books to clear.
    """

    whole: int

    def __init__(
        self,
        transactions: Transactions,
        *,
        interval_s: float,
        max_records: int,
        buffer_bytes: int,
        unit: TimeUnit,
        tell: Callable[..., object],
    ) -> None:
        super().__init__()
        self.name: str = transactions.name
        self.committed: Callable[[Sequence[Item]], object] | None = None
        """Called with items that were committed."""
        self._one_thread = trio.CapacityLimiter(1)
        self.moved: list[str] = []
        self._commit_s: float | None = None
        self._retries = 0
        self._transactions = transactions
        self._interval_s = interval_s
        self._max_records = max_records
        self._buffer_bytes = buffer_bytes
        self._unit = unit
        self._tell = tell
        self._standing: Mapping[Key, Position] = {}
        self._ahead = Ahead({}, unit)
        self._whereabouts = Whereabouts(())
        self._pending: deque[Item] = deque()
        self._costs: deque[int] = deque()
        self._bytes = 0
        self._attempted = 0
        """How many of those a transaction is made of that is not committed yet."""
        self._since = 0.0
        self._changed = trio.Event()
        self._one_commit = trio.Lock()
        self._broken: SinkError | None = None
        self._over = False
        self._problem: str | None = None
        self._taken = self._committed = 0
        self._progress = threading.Condition()

    @property
    def problem(self) -> str | None:
        """See :class:`TargetSink`."""
        return self._problem

    def standing(self, now: float) -> ShardStanding:
        """How the shard stands that it writes."""
        return ShardStanding(
            self._transactions.shard,
            owned=True,
            uncommitted=len(self._pending),
            lag_s=now - self._since if self._pending else 0.0,
            commit_s=self._commit_s,
            retries=self._retries,
        )

    def make_positions_topic(self) -> None:
        """See :class:`Transactions`; blocks."""
        self._transactions.make_positions_topic()

    async def positions(self) -> Mapping[Key, Position]:
        """See :class:`TargetSink`: whoever wrote the shard before is fenced.

        :raises ConfigError: if the group has another number of shards.
        :raises SinkError: if the brokers do not let us write within a bound.
        """
        await self._in_thread(self.make_positions_topic)
        standing, pause_s = None, RETRY_S
        why = ""
        with trio.move_on_after(OPEN_TIMEOUT_S):
            while standing is None:
                try:
                    standing = await self._in_thread(self._transactions.open)
                except Unavailable as error:
                    why = str(error)
                    await trio.sleep(pause_s)
                    pause_s = min(2 * pause_s, MAX_RETRY_S)
        if standing is None:
            raise SinkError(f"cannot write to Kafka within {OPEN_TIMEOUT_S:g} s: {why}")
        self._standing = standing.positions
        self._ahead = Ahead(standing.positions, self._unit)
        self._whereabouts = Whereabouts(standing.positions.values())
        return standing.positions

    async def beyond(self, begin: Mapping[Key, Position], unit: TimeUnit) -> Mapping[Key, Position]:
        """See :class:`TargetSink`: what the log remembers."""
        return {key: self._standing.get(key, one) for key, one in begin.items()}

    async def write(self, items: Sequence[Item]) -> None:
        """See :class:`Sink`; waits while there is no room.

        :raises Fenced: if another process writes the shard.
        """
        self.whole = 0
        self.check()
        while self._bytes >= self._buffer_bytes and not self._over:
            await self._change()
            self.check()
        self.put(items)

    def put(self, items: Sequence[Item]) -> None:
        """Take items without waiting for room; :meth:`write` does not exceed it by more than one
        batch. When it was abandoned, nothing is whole.
        """
        if self._over:
            return
        new = self._ahead.rest(items) if self._ahead else items
        new = self._whereabouts.told(new, self.moved)
        if new and not self._pending:
            self._since = trio.current_time()
        costs = list(map(cost_of_item, new))
        self._pending += new
        self._costs += costs
        self._bytes += sum(costs)
        self._taken += len(new)
        self.whole = len(items)
        self._tell_change()

    def check(self) -> None:
        """See :class:`Sink`."""
        if self._broken is not None:
            raise self._broken

    def sync(self) -> None:
        """See :class:`Sink`.

        :raises TimeoutError: if it takes too long; that may be tried again.
        """
        with self._progress:
            taken = self._taken
            done = self._progress.wait_for(
                lambda: self._committed >= taken or self._broken is not None, SYNC_TIMEOUT_S
            )
        self.check()
        if not done:
            why = f"Kafka did not commit within {SYNC_TIMEOUT_S:g} s: {self._problem}"
            raise TimeoutError(errno.ETIMEDOUT, why)

    async def flush(self) -> None:
        """See :class:`Sink`."""
        with trio.move_on_after(FLUSH_TIMEOUT_S, shield=True):
            while self._pending and self._broken is None:
                await self._commit_some()
        self.check()
        if self._pending:
            why = self._problem or "it is slow"
            raise self._break(
                SinkError(
                    f"{len(self._pending)} messages are not in Kafka, which did not commit them "
                    f"within {FLUSH_TIMEOUT_S:g} s ({why}); the next start fetches them again"
                )
            )

    def abandon(self) -> list[Item]:
        """Take and commit nothing more; returns what is not committed, for somebody else to do."""
        self._over = True
        left = list(self._pending)
        self._pending.clear()
        self._costs.clear()
        self._bytes = self._attempted = 0
        self._tell_change()
        return left

    async def aclose(self) -> None:
        """Let go of the library's threads without waiting for them on this one."""
        with trio.move_on_after(CLOSE_TIMEOUT_S, shield=True):
            await trio.to_thread.run_sync(self._transactions.close, abandon_on_cancel=True)

    def reopen(self) -> None:
        """See :class:`TargetSink`; there is no file."""

    async def tend(self) -> None:
        """Commit what comes, until cancelled.

        :raises Fenced: if another process writes the shard.
        :raises SinkError: if the brokers refuse for good.
        """
        while True:
            while not self._pending:
                await self._change()
            with trio.move_on_at(self._since + self._interval_s):
                while len(self._pending) < self._max_records:
                    await self._change()
            await self._commit_some()

    def close(self) -> None:
        """See :class:`TargetSink`."""
        self._transactions.close()

    async def _commit_some(self) -> None:
        """Commit what waits, or as much as a transaction takes; as often as it needs."""
        async with self._one_commit:
            count = self._attempted or min(len(self._pending), self._max_records)
            if not count:
                return
            self._attempted = count
            began, gathered = trio.current_time(), list(itertools.islice(self._pending, count))
            pause_s = RETRY_S
            while True:
                try:
                    await self._in_thread(functools.partial(self._transactions.attempt, gathered))
                except Unavailable as error:
                    if not self._pending:
                        return  # it was abandoned meanwhile
                    self._note_problem(str(error))
                    self._retries += 1
                    await trio.sleep(pause_s)
                    pause_s = min(2 * pause_s, MAX_RETRY_S)
                except SinkError as error:
                    raise self._break(error) from error
                else:
                    break
            if self.committed is not None and self._pending:
                self.committed(gathered)
            self._forget(count, began)

    def _forget(self, count: int, began: float) -> None:
        """So many are committed."""
        now = trio.current_time()
        for _ in range(min(count, len(self._pending))):  # none, if they were abandoned
            self._pending.popleft()
            self._bytes -= self._costs.popleft()
        self._commit_s = now - began
        self._attempted = 0
        self._since = began  # what came meanwhile is not older
        self._note_problem(None)
        with self._progress:
            self._committed += count
            self._progress.notify_all()
        self._tell_change()

    def _note_problem(self, why: str | None) -> None:
        if why is None and self._problem is not None:
            self._tell("log_writes_again", shard=self.name)
        elif why is not None and self._problem is None:
            self._tell("log_does_not_write", shard=self.name, detail=why)
        self._problem = None if why is None else f"Kafka does not take {self.name}: {why}"

    def _break(self, error: SinkError) -> SinkError:
        self._broken = error
        with self._progress:
            self._progress.notify_all()
        self._tell_change()
        return error

    async def _in_thread(self, work: Callable[[], T]) -> T:
        """Run what blocks in steps of a second, between which it hears a cancellation."""
        return await trio.to_thread.run_sync(work, limiter=self._one_thread)

    async def _change(self) -> None:
        await self._changed.wait()

    def _tell_change(self) -> None:
        self._changed.set()
        self._changed = trio.Event()
