"""Builds the reports of ``/status`` and ``/trends`` when somebody asks.

What they say of the time before, a look at the counters once a second remembers.
"""

from __future__ import annotations

import heapq
import itertools
import math
import time
from collections import deque
from typing import TYPE_CHECKING, NamedTuple, cast

import msgspec
import trio

from ..continuity.books import BookTrack
from ..market.streams import any_stream
from ..observe import trends
from ..observe.report import (
    MAX_ROWS,
    BreakerState,
    BufferReport,
    CoverageReport,
    EndpointReport,
    GapReport,
    LatencyReport,
    LineReport,
    LineState,
    LogReport,
    MessagesReport,
    NotShown,
    State,
    Status,
    StreamReport,
    StreamTrend,
    TrendsReport,
)
from .books import book_report, most_doubtful

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ..client.books import FeedBooks
    from ..client.feed import Feed
    from ..client.health import FeedStatus
    from ..client.line import Line
    from ..continuity.track import Track
    from ..observe.history import History
    from ..observe.latency import Latency, Spread
    from ..policy.failover import Endpoint

RATE_WINDOW_S = 5.0
"""Rates are averaged over at least so long, and a look longer at most; or since the start."""
LOOK_S = 1.0
"""Between two looks at the counters."""
BACKLOG_SHARE = 0.8
"""A buffer this full is worth a warning."""


class _Look(NamedTuple):
    """Messages received of each stream until then."""

    at: float
    received: dict[Track, int]
    total: int


class Reporter:
    """Reports what a feed is doing; remembers earlier looks at the counters, for the rates.

    :ivar books: those that the program keeps of the feed, if it does.
    :ivar log: what shards it writes to Kafka, if it does; any number of them.
    :ivar output_problem: says what is not as it should be with where messages go, if something is.
    """

    def __init__(
        self,
        feed: Feed,
        history: History,
        *,
        version: str,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._feed = feed
        self._history = history
        self._version = version
        self._wall_clock = wall_clock
        self._started_at = trio.current_time()
        self.books: FeedBooks | None = None
        self.log: Callable[[], LogReport | None] = lambda: None
        self.output_problem: Callable[[], str | None] = lambda: None
        self._looks = deque([_Look(self._started_at, {}, 0)])
        self._trends: trends.Trends[Track] = trends.Trends(self._started_at)

    async def watch(self) -> None:
        """Look at the counters, for ever; without it, rates are since the start."""
        while True:
            await trio.sleep(LOOK_S)
            look = _look(trio.current_time(), self._feed)
            self._looks.append(look)
            self._forget(look.at)
            if look.at - self._trends.at >= trends.STEP_S:
                self._trends.note(look.at, look.received)

    def report(self) -> Status:
        """The report of this moment."""
        now = trio.current_time()
        feed, history = self._feed, self._history
        tracks, lines, endpoints = feed.tracks, feed.lines, feed.endpoints.all
        look = _look(now, feed)
        self._forget(now)
        before = self._looks[0]
        health = feed.status()
        warnings = [*_warnings(feed, health, now), *filter(None, [self.output_problem()])]
        streams = _streams(tracks, lines)
        books = [] if self.books is None else self.books.standings()
        log = self.log()
        return Status(
            state=_state(
                health,
                warnings,
                feed.settings.health_check_timeout,
                silent=not (look.total or history.outages),
            ),
            problems=list(health.problems[:MAX_ROWS]),
            warnings=warnings[:MAX_ROWS],
            at=self._wall_clock(),
            uptime_s=now - self._started_at,
            version=self._version,
            messages=MessagesReport(
                received=look.total,
                rate=_rate(look.total - before.total, look, before),
                window_s=look.at - before.at,
                silence_s=health.silence_s if look.total else None,
            ),
            buffer=BufferReport(
                waiting=health.buffered,
                limit=feed.settings.max_buffered_messages,
                held=sum(len(track.held) for track in tracks),
            ),
            lines=[self._line(line, now) for line in lines[:MAX_ROWS]],
            endpoints=[self._endpoint(endpoint, now) for endpoint in endpoints[:MAX_ROWS]],
            reconnects=dict(history.reconnects),
            rotations=dict(history.rotations),
            outages=list(history.recent()[:MAX_ROWS]),
            losses=list(history.recent_losses()[:MAX_ROWS]),
            coverage=_coverage(tracks),
            latency=_latency(feed.latency()),
            streams=[_stream(row, look, before) for row in _most_troubled(streams)],
            not_shown=NotShown(
                lines=max(0, len(lines) - MAX_ROWS),
                endpoints=max(0, len(endpoints) - MAX_ROWS),
                streams=max(0, len(streams) - MAX_ROWS),
                outages=max(0, history.outages - MAX_ROWS),
                losses=max(0, history.losses - MAX_ROWS),
                books=max(0, len(books) - MAX_ROWS),
                shards=0 if log is None else max(0, len(log.shards) - MAX_ROWS),
            ),
            books=[book_report(*row) for row in most_doubtful(books)],
            log=None if log is None else _bounded(log),
        )

    def trends(self) -> TrendsReport:
        """How the rates were of late, of the streams that the report of this moment shows."""
        feed, kept = self._feed, self._trends
        rows = _most_troubled(_streams(feed.tracks, feed.lines))
        shown = [row.track for row in rows if row.track is not None]
        return TrendsReport(
            at=self._wall_clock() - (trio.current_time() - kept.at),
            step_s=trends.STEP_S,
            keep_s=trends.KEEP_S,
            rates=kept.all,
            streams=[
                StreamTrend(track.venue, track.stream.name, kept.of(track)) for track in shown
            ],
        )

    def _forget(self, now: float) -> None:
        """Drop the looks that no rate is measured from any more."""
        looks = self._looks
        while len(looks) > 1 and looks[1].at <= now - RATE_WINDOW_S:
            looks.popleft()

    def _line(self, line: Line, now: float) -> LineReport:
        session = line.current
        connection = None if session is None else session.connection
        heard_at = None if session is None else session.last_data_at
        return LineReport(
            name=line.name,
            state=_line_state(line),
            stable=session is not None and line.connected and session.stable,
            endpoint=None if session is None else session.endpoint.name,
            venue=None if session is None else session.endpoint.venue,
            streams=len(line.streams),
            connected_s=now - connection.opened_at if connection and line.connected else None,
            silence_s=None if heard_at is None else now - heard_at,
            retry_in_s=self._history.retry_in(line.name, now),
        )

    def _endpoint(self, endpoint: Endpoint, now: float) -> EndpointReport:
        endpoints = self._feed.endpoints
        admitted_at = endpoints.admitted_from(endpoint, now)
        users = [
            line.name
            for line in self._feed.lines
            if line.connected and line.current is not None and line.current.endpoint is endpoint
        ]
        return EndpointReport(
            name=endpoint.name,
            venue=endpoint.venue,
            lines=users[:MAX_ROWS],
            breaker=cast("BreakerState", endpoint.breaker.state.name.lower()),
            admits_in_s=None if admitted_at == math.inf else admitted_at - now,
            connect_budget_left=endpoints.budget_left(endpoint.venue, now),
        )


class _Row(NamedTuple):
    """A stream to report on; one that has brought nothing yet has no track."""

    name: str
    subscribed: bool
    track: Track | None


def _look(now: float, feed: Feed) -> _Look:
    return _Look(now, {track: track.received for track in feed.tracks}, feed.received)


def _rate(messages: int, look: _Look, before: _Look) -> float:
    return messages / (look.at - before.at) if look.at > before.at else 0.0


def _state(health: FeedStatus, warnings: Sequence[str], limit_s: float, *, silent: bool) -> State:
    """The verdict; not ready is not the same as down, as one stream may be what is wrong."""
    if silent and health.problems:
        return "starting"
    if not health.connected or 0 < limit_s <= health.silence_s:
        return "down"
    return "degraded" if health.problems or warnings else "ok"


def _latency(latency: Latency) -> list[LatencyReport]:
    return [
        LatencyReport("exchange", *_spread(latency.exchange)),
        LatencyReport("network", *_spread(latency.network)),
        LatencyReport("decode", *_spread(latency.decode)),
        LatencyReport("queue", *_spread(latency.queue)),
        LatencyReport("handler", *_spread(latency.handler)),
    ]


def _spread(spread: Spread | None) -> tuple[int, float | None, float | None, float | None]:
    if spread is None:
        return 0, None, None, None
    return spread.count, spread.p50_s, spread.p99_s, spread.max_s


def _line_state(line: Line) -> LineState:
    session = line.current
    if session is None or session.failure is not None:
        return "waiting"
    if not session.connected:
        return "connecting"
    return "connected" if session.first_data_at is None else "streaming"


def _warnings(feed: Feed, health: FeedStatus, now: float) -> list[str]:
    """What is not as it should be while data flows, one sentence each."""
    home = feed.endpoints.all[0].venue
    found = [
        f"line {line.name} is on {line.endpoint} of {line.venue}, not of {home}"
        for line in health.lines
        if line.connected and line.venue != home
    ]
    if health.connected:
        # Whatever line is down then is a standby; else it is among the problems.
        found += [
            f"line {line.name} is not connected" for line in health.lines if not line.connected
        ]
    # One that would admit a probe, which nobody needs to make, stays as it is for hours.
    found += [
        f"the circuit breaker of {endpoint.name} is {_words(endpoint.breaker.state.name)}"
        for endpoint in feed.endpoints.all
        if not endpoint.breaker.admits(now)
    ]
    if gapped := sum(1 for track in feed.tracks if track.held):
        found.append(f"{gapped} {'stream waits' if gapped == 1 else 'streams wait'} for a repair")
    if why := feed.unshared:
        found.append(f"the budgets are not shared with other processes of this address: {why}")
    limit = feed.settings.max_buffered_messages
    if health.buffered >= BACKLOG_SHARE * limit:
        found.append(f"the consumer is slow: {health.buffered} of {limit} messages wait for it")
    return found


def _words(name: str) -> str:
    return name.lower().replace("_", "-")


def _coverage(tracks: Sequence[Track]) -> CoverageReport:
    return CoverageReport(
        live=sum(track.live for track in tracks),
        repaired=sum(track.ledger.repaired for track in tracks),
        missing=sum(track.ledger.missing for track in tracks),
        gaps=sum(len(track.ledger.missing_ranges) for track in tracks),
        open_gaps=sum(1 for track in tracks if track.held),
        duplicates=sum(track.duplicates for track in tracks),
        interruptions=sum(track.outages for track in tracks),
        lost=sum(_lost(track) for track in tracks),
    )


def _streams(tracks: Sequence[Track], lines: Sequence[Line]) -> list[_Row]:
    """Every stream that is subscribed, or was and brought something."""
    subscribed = {name for line in lines for name in line.streams}
    rows = [_Row(track.stream.name, track.stream.name in subscribed, track) for track in tracks]
    heard = {row.name for row in rows}
    return rows + [_Row(name, True, None) for name in sorted(subscribed - heard)]


def _most_troubled(rows: Sequence[_Row]) -> list[_Row]:
    """As many as are shown, by name; if there are more, those with trouble first."""
    if len(rows) > MAX_ROWS:
        rows = heapq.nsmallest(MAX_ROWS, rows, key=lambda row: (not _troubled(row), row.name))
    return sorted(rows, key=lambda row: row.name)


def _bounded(log: LogReport) -> LogReport:
    """As many shards as are shown; if there are more, those of this process first."""
    shards = log.shards
    if len(shards) > MAX_ROWS:
        shards = heapq.nsmallest(MAX_ROWS, shards, key=lambda one: (not one.owned, one.shard))
    return msgspec.structs.replace(log, shards=sorted(shards, key=lambda one: one.shard))


def _troubled(row: _Row) -> bool:
    track = row.track
    return track is None or bool(track.held or _lost(track))


def _lost(track: Track) -> int:
    """The ids that are missing, and no snapshot of the book has stood for since."""
    if not isinstance(track, BookTrack):
        return track.ledger.missing
    if not track.wants_snapshot:
        return 0
    since = itertools.takewhile(
        lambda missing: missing.reason != "snapshot", reversed(track.ledger.missing_ranges)
    )
    return sum(missing.last - missing.first + 1 for missing in since)


def _stream(row: _Row, look: _Look, before: _Look) -> StreamReport:
    track = row.track
    if track is None:
        return StreamReport(
            venue=None,
            stream=row.name,
            symbol=any_stream(row.name).symbol,
            subscribed=row.subscribed,
        )
    gaps = track.ledger.missing_ranges
    return StreamReport(
        venue=track.venue,
        stream=row.name,
        symbol=track.stream.symbol,
        subscribed=row.subscribed,
        received=track.received,
        rate=_rate(track.received - before.received.get(track, 0), look, before),
        silence_s=look.at - track.seen_at if track.received else None,
        last=track.position,
        live=track.live,
        repaired=track.ledger.repaired,
        missing=track.ledger.missing,
        gaps=len(gaps),
        held=len(track.held),
        duplicates=track.duplicates,
        interruptions=track.outages,
        last_gap=GapReport(*gaps[-1]) if gaps else None,
        lost=_lost(track),
    )
