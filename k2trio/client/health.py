"""How a feed and its lines are, as values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..settings import Settings
    from .line import Line
    from .parts import Parts

NAMED_STREAMS = 3
"""Streams that one problem names."""


@dataclass(frozen=True)
class LineStatus:
    """What one line is doing."""

    name: str
    endpoint: str | None
    venue: str | None
    connected: bool
    stable: bool
    streams: int


@dataclass(frozen=True)
class FeedStatus:
    """What a feed is doing.

    :ivar connected: data can flow on every line.
    :ivar silence_s: seconds since the last data message, or since the start if there was none.
    :ivar breakers: state name per endpoint.
    :ivar buffered: messages that wait for the consumer.
    :ivar problems: what is not as it should be, one sentence each; empty when all is well.
    """

    connected: bool
    silence_s: float
    lines: tuple[LineStatus, ...]
    breakers: dict[str, str]
    buffered: int
    duplicates: int
    missing: int
    problems: tuple[str, ...]


def feed_status(parts: Parts, settings: Settings, started_at: float, now: float) -> FeedStatus:
    """What a feed is doing now.

    :param started_at: when it was opened.
    """
    last_data_at = parts.delivery.last_data_at
    silence = now - (started_at if last_data_at is None else last_data_at)
    lines, tracks = parts.shards.lines, parts.arbiter.tracks
    disconnected = parts.shards.disconnected()
    problems = [f"line {name} is not connected" for name in disconnected]
    if lines and last_data_at is None:
        problems.append("no data has arrived yet")
    elif lines and settings.health_check_timeout and silence >= settings.health_check_timeout:
        problems.append(f"no data for {silence:.1f} s")
    if parts.resume.problem is not None:
        problems.append(parts.resume.problem)
    problems += parts.repairs.problems(now)
    barren = [track.stream.name for track in parts.arbiter.barren(now)]
    problems += _stream_problem("all that comes is old and dropped", barren)
    problems += _stream_problem("the exchange has no such symbol", parts.staleness.unknown)
    return FeedStatus(
        connected=not disconnected,
        silence_s=silence,
        lines=tuple(map(_line_status, lines)),
        breakers={
            endpoint.name: endpoint.breaker.state.name.lower() for endpoint in parts.endpoints.all
        },
        buffered=parts.outbox.size,
        duplicates=sum(track.duplicates for track in tracks),
        missing=sum(track.ledger.missing for track in tracks),
        problems=tuple(problems),
    )


def _line_status(line: Line) -> LineStatus:
    """What a line is doing now."""
    session = line.current
    if session is None:
        return LineStatus(line.name, None, None, False, False, len(line.streams))
    where = session.endpoint
    return LineStatus(
        line.name,
        where.name,
        where.venue,
        line.connected,
        line.connected and session.stable,
        len(line.streams),
    )


def _stream_problem(what: str, streams: Sequence[str]) -> list[str]:
    """One problem that names some of the streams that have it; none if no stream does."""
    if not streams:
        return []
    names = ", ".join(streams[:NAMED_STREAMS])
    more = f" and {len(streams) - NAMED_STREAMS} more" if len(streams) > NAMED_STREAMS else ""
    return [f"{what}: {names}{more}"]
