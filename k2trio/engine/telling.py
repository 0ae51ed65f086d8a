"""What a member tells of itself: to its metrics, its status page and its log."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import trio

from ..observe.report import MAX_ROWS, LogReport, ShardReport, TakeoverReport

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from ..observe.metrics import Metrics
    from ..observe.standing import ShardStanding
    from ..settings import Settings
    from .shard import Shard, Takeover


class Telling:
    """Of one member.

    :param tell: writes to its log: an event with its context.
    """

    def __init__(self, settings: Settings, metrics: Metrics, tell: Callable[..., object]) -> None:
        self.shards: Sequence[Shard] = ()
        self._settings = settings
        self._metrics = metrics
        self._tell = tell
        self._last: TakeoverReport | None = None
        # The clock itself: metrics may be scraped when Trio has ended.
        self._now = trio.lowlevel.current_clock().current_time
        metrics.watch_log(self._standings)
        metrics.watch_hot_buffer(lambda: sum(shard.warm_bytes for shard in self.shards))

    def took_over(self, takeover: Takeover) -> None:
        """A shard was taken over."""
        at, standby = time.time(), self._settings.standby
        self._last = TakeoverReport(at, takeover.seconds, takeover.shard)
        self._metrics.took_over(standby, takeover.seconds, at)
        self._tell(
            "shard_taken_over",
            shard=takeover.shard,
            standby=standby,
            seconds=round(takeover.seconds, 3),
            begun_anew=takeover.begun_anew,
        )

    def problem(self) -> str | None:
        """Why something is not committed, in a sentence; None if all is."""
        sinks = (shard.sink for shard in self.shards)
        return next((sink.problem for sink in sinks if sink is not None and sink.problem), None)

    def report(self) -> LogReport:
        """What ``/status`` says."""
        rows = [
            ShardReport(
                one.shard,
                one.owned,
                len(self.shards[one.shard].streams),
                one.uncommitted,
                one.lag_s,
                one.commit_s,
            )
            for one in sorted(self._standings(), key=lambda one: (not one.owned, one.shard))
        ]
        settings = self._settings
        return LogReport(settings.group, settings.standby, rows[:MAX_ROWS], self._last)

    def _standings(self) -> Iterable[ShardStanding]:
        now = self._now()
        return [shard.standing(now) for shard in self.shards]
