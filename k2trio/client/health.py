"""How a feed and its lines are, as values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .line import Line

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


def line_status(line: Line) -> LineStatus:
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


def stream_problem(what: str, streams: Sequence[str]) -> list[str]:
    """One problem that names some of the streams that have it; none if no stream does."""
    if not streams:
        return []
    names = ", ".join(streams[:NAMED_STREAMS])
    more = f" and {len(streams) - NAMED_STREAMS} more" if len(streams) > NAMED_STREAMS else ""
    return [f"{what}: {names}{more}"]
