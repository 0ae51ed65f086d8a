"""The log of a run: it takes whole transactions of whoever may write a shard, or nothing.

Kafka cannot run in virtual time. This is not it, but what k2trio holds to have of it: messages and
the positions behind them are committed together or not at all; whoever opens a shard fences who
wrote it before; and whether an attempt was done that nobody answered is known at the next one.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

import msgspec
import trio

from k2trio.continuity.positions import Position, positions_after
from k2trio.kafka.positions_topic import Standing
from k2trio.kafka.transactions import Fenced, Unavailable

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Sequence

    from k2trio.continuity.items import Item
    from k2trio.continuity.positions import Key
    from k2trio.market.units import TimeUnit

UNANSWERED = 0.02
"""Share of the attempts that nobody answers; half of them were done."""


class Log:
    """What was committed, and when.

    :param away: times (s) from which on it takes nothing, and for how long.
    """

    def __init__(self, rng: random.Random, away: Sequence[tuple[float, float]]) -> None:
        self.items: list[Item] = []
        self.times: list[float] = []
        self.positions: dict[int, dict[Key, Position]] = defaultdict(dict)
        self.writers: dict[int, Writer] = {}
        self._rng = rng
        self._away = away

    def check_answers(self) -> None:
        """Refuse to do anything now and then.

        :raises Unavailable: because nobody answers.
        """
        now = trio.current_time()
        if any(since <= now < since + lasts for since, lasts in self._away):
            raise Unavailable("nobody answers")

    def is_unanswered(self) -> bool:
        """Whether an attempt gets no answer."""
        return self._rng.random() < UNANSWERED

    def may_be_done(self) -> bool:
        """Whether one without an answer was done."""
        return self._rng.random() < 0.5


class Writer:
    """Stands where :class:`~k2trio.kafka.transactions.Transactions` does, of one process.

    :param lives: whether its process does: nothing gets out of a dead one.
    """

    def __init__(self, log: Log, shard: int, unit: TimeUnit, lives: Callable[[], bool]) -> None:
        self.shard = shard
        self.name = f"log-{shard}"
        self._log = log
        self._unit = unit
        self._lives = lives
        self._in_doubt: bool | None = None
        """Whether the attempt that nobody answered was done."""

    def make_positions_topic(self) -> None:
        """It is there."""

    def open(self) -> Standing:
        """See :meth:`Transactions.open`."""
        self._check_lives()
        self._log.check_answers()
        self._log.writers[self.shard] = self
        told = self._log.positions[self.shard].values()
        read = [msgspec.json.decode(msgspec.json.encode(one), type=Position) for one in told]
        return Standing({(one.venue, one.stream): one for one in read}, None)

    def attempt(self, items: Sequence[Item]) -> None:
        """See :meth:`Transactions.attempt`."""
        self._check_lives()
        self._log.check_answers()
        if self._log.writers.get(self.shard) is not self:
            raise Fenced(f"{self.name} is written by another process now")
        done, self._in_doubt = self._in_doubt, None
        if done:
            return
        if self._log.is_unanswered():
            self._in_doubt = self._log.may_be_done()
            if self._in_doubt:
                self._commit(items)
            raise Unavailable("nobody answered")
        self._commit(items)

    def close(self) -> None:
        """There is nothing to close."""

    def _commit(self, items: Sequence[Item]) -> None:
        self._log.items += items
        self._log.times += [trio.current_time()] * len(items)
        positions = self._log.positions[self.shard]
        for key, one in positions_after(items, self._unit).items():
            positions.pop(key, None)
            positions[key] = one

    def _check_lives(self) -> None:
        if not self._lives():
            raise Fenced("the process is dead")
