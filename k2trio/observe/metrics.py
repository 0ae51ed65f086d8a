"""What a feed reports of itself, as metrics; the table of them is in ``families.py``."""

from __future__ import annotations

import math
import platform
from typing import TYPE_CHECKING

from ..errors import ConfigError
from ..policy.breaker import State
from .families import Families
from .latency import NOTHING
from .movements import Movements
from .stderr import dropped_lines

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from prometheus_client import CollectorRegistry, Counter

    from .latency import Histogram
    from .standing import ShardStanding
    from .transitions import Transition

OTHER = "other"
"""Label for symbols that were not configured: what the exchange sends must not make labels."""


class Metrics:
    """The feed's metrics in one registry; :meth:`observe` is an observer of transitions.

    :param symbols: the configured symbols; they bound the label sets.
    :param registry: where to register; a fresh one by default.
    :raises ConfigError: if a registry has the metrics of another feed.
    """

    def __init__(
        self,
        symbols: Sequence[str],
        *,
        version: str = "",
        registry: CollectorRegistry | None = None,
    ) -> None:
        from prometheus_client import CollectorRegistry  # not before: see ``rows.py``

        self.registry: CollectorRegistry = CollectorRegistry() if registry is None else registry
        try:
            self._families = families = Families(self.registry)
        except ValueError as error:
            raise ConfigError(
                "this registry has the metrics of another feed, which have the same names; "
                "give each feed a registry of its own, and serve them on different paths or ports"
            ) from error
        self._symbols = (*symbols, OTHER)
        label = ",".join(symbols)
        self._movements = Movements(families, label)
        self._connected = families.connected.labels(label)
        self.watch_received(tuple)
        self.watch_latency(lambda: NOTHING)
        # Batches come thousands of times as often as scrapes, so these two are set by the latter.
        self._last_received = self._lag_s = 0.0
        families.last_message.labels(label).set_function(lambda: self._last_received)
        families.lag.set_function(lambda: self._lag_s)
        # Each batch moves these, so they are one look-up away.
        self._duplicates = families.duplicates
        self._lines: dict[str, tuple[Counter, Counter]] = {}
        """Line → messages that it brought first, and late."""
        families.log_dropped.set_function(lambda: {"": dropped_lines()})
        families.build.labels(version, platform.python_version()).set(1)

    def add_breaker(self, name: str) -> None:
        """Show a breaker from its start, not only after its first change."""
        self._families.breaker_state.labels(name).set(State.CLOSED)

    def add_endpoint(self, name: str, venue: str, rank: int) -> None:
        """Show an endpoint of the failover list, before it is ever dialled."""
        self._families.rank.labels(name, venue).set(rank)
        self._families.dials.labels(name)
        self._families.connects.labels(name)

    def set_limits(self, retries: int, buffered: int) -> None:
        """Show what the settings allow: retries in a row (0: any), and a backlog in messages."""
        self._families.attempts_limit.set(retries or math.inf)
        self._families.buffer_limit.set(buffered)

    def watch_budget(self, venue: str, left: Callable[[], int]) -> None:
        """Show the venue's connect budget; ``left`` is called at each scrape."""
        self._families.budget.labels(venue).set_function(left)

    def watch_rest_budget(self, venue: str, left: Callable[[], int]) -> None:
        """Show the venue's REST weight; ``left`` is called at each scrape."""
        self._families.rest_budget.labels(venue).set_function(left)

    def watch_sharing(self, problem: Callable[[], str]) -> None:
        """Show whether budgets that should be shared are not; called at each scrape."""
        self._families.budget_unshared.set_function(lambda: bool(problem()))

    def watch_sealing(self, problem: Callable[[], str | None]) -> None:
        """Show whether journals of a dataset cannot be sealed; called at each scrape."""
        self._families.unsealed.set_function(lambda: problem() is not None)

    def watch_log(self, shards: Callable[[], Iterable[ShardStanding]]) -> None:
        """Show the shards of the log, those of others too; ``shards`` is called at each scrape."""

        def show(of: Callable[[ShardStanding], float | None]) -> Callable[[], dict[str, float]]:
            return lambda: {
                str(shard.shard): value for shard in shards() if (value := of(shard)) is not None
            }

        to = self._families
        to.shard_owned.set_function(show(lambda shard: shard.owned))
        to.log_uncommitted.set_function(show(lambda shard: shard.uncommitted))
        to.log_lag.set_function(show(lambda shard: shard.lag_s))
        to.log_commit.set_function(show(lambda shard: shard.commit_s))
        to.log_retries.set_function(show(lambda shard: shard.retries))

    def took_over(self, standby: str, seconds: float, at: float) -> None:
        """Note a shard that is written now.

        :param standby: how it was waited for, ``cold`` or ``hot``.
        :param seconds: from being given the shard until its first commit.
        :param at: Unix time in seconds of that commit.
        """
        self._families.takeovers.labels(standby).inc()
        self._families.takeover.set(seconds)
        self._families.takeover_at.set(at)

    def watch_hot_buffer(self, size: Callable[[], int]) -> None:
        """Show the memory that is kept of others' shards (bytes); called at each scrape."""
        self._families.hot_buffer.set_function(size)

    def watch_buffer(self, size: Callable[[], int]) -> None:
        """Show the consumer's backlog; ``size`` is called at each scrape."""
        self._families.buffered.set_function(size)

    def watch_connected(self, connected: Callable[[], bool]) -> None:
        """Show whether data can flow on every line; ``connected`` is called at each scrape."""
        self._connected.set_function(connected)

    def watch_received(self, counts: Callable[[], Iterable[tuple[str | None, int]]]) -> None:
        """Show what was received; at a scrape, ``counts`` gives symbol and messages per stream.

        The feed counts them per stream anyway. To move a counter for each message, or for each
        stream of a batch, would be the dearest step of all where a batch is of many streams.
        """
        self._families.received.set_function(lambda: self._by_symbol(counts()))

    def received(self, at: float, lag_s: float | None, duplicates: int) -> None:
        """Note a batch of data messages.

        :param at: Unix time in seconds at which it was read.
        :param lag_s: how long before the exchange made the last of them, if that one tells.
        :param duplicates: how many of them were duplicates.
        """
        self._last_received = at
        if lag_s is not None:
            self._lag_s = lag_s
        if duplicates:
            self._duplicates.inc(duplicates)

    def repaired(self) -> None:
        """Count a message that a repair brought."""
        self._families.repaired.inc()

    def line_delivered(self, line: str, first: int, late: int) -> None:
        """Count messages that a line brought before the others, and after them."""
        counters = self._lines.get(line)
        if counters is None:
            to = self._families
            counters = self._lines[line] = to.line_first.labels(line), to.line_late.labels(line)
        counters[0].inc(first)
        counters[1].inc(late)

    def line_lost(self, line: str, ids: int) -> None:
        """Count ids that a line skipped, whoever else brought them."""
        self._families.line_lost.labels(line).inc(ids)

    def dropped(self, messages: int) -> None:
        """Count messages dropped for a slow consumer."""
        self._families.dropped.inc(messages)

    def watch_latency(self, histograms: Callable[[], Mapping[str, Histogram]]) -> None:
        """Show how long the parts of the way take; ``histograms`` is called at each scrape."""
        self._families.latency.set_function(histograms)

    def watch_held(self, size: Callable[[], int]) -> None:
        """Show how many messages wait behind gaps; ``size`` is called at each scrape."""
        self._families.held.set_function(size)

    def watch_oldest_gap(self, age_s: Callable[[], float]) -> None:
        """Show for how long the oldest gap has been open; ``age_s`` is called at each scrape."""
        self._families.oldest_gap.set_function(age_s)

    def watch_repairs(self, waiting: Callable[[], int], broken_books: Callable[[], int]) -> None:
        """Show how many requests wait, and how many books; both are called at each scrape."""
        self._families.repairs_waiting.set_function(waiting)
        self._families.broken_books.set_function(broken_books)

    def watch_barren(self, streams: Callable[[], int]) -> None:
        """Show of how many streams nothing is delivered; ``streams`` is called at each scrape."""
        self._families.barren_streams.set_function(streams)

    def watch_unknown(self, streams: Callable[[], int]) -> None:
        """Show how many streams are of symbols that their venue does not have."""
        self._families.unknown_streams.set_function(streams)

    def gap(self, outcome: str) -> None:
        """Count a gap that ended: repaired, joined by another connection, or declared."""
        self._families.gaps.labels(outcome).inc()

    def book_audited(self, witness: str) -> None:
        """Count a comparison of a book with a ticker, a partial depth or a second snapshot."""
        self._families.book_audits.labels(witness).inc()

    def consumer_blocked(self, seconds: float) -> None:
        """Add time for which receiving waited for the consumer."""
        self._families.blocked.inc(seconds)

    def observe(self, transition: Transition) -> None:
        """Move the metrics that a transition concerns."""
        self._movements.observe(transition)

    def _by_symbol(self, counts: Iterable[tuple[str | None, int]]) -> dict[str, int]:
        total = dict.fromkeys(self._symbols, 0)  # shown from the start, so that rates have a zero
        for symbol, count in counts:
            # An all-market stream has no symbol; others may never have been configured.
            total[symbol if symbol is not None and symbol in total else OTHER] += count
        return total
