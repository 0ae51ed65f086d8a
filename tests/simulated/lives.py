"""Connections as the client had them, each with what the exchange told it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from k2trio.market.streams import Kind, parse_stream
from k2trio.observe import transitions as on

from .world import FIRST_PORT

if TYPE_CHECKING:
    from k2trio.simulator import Truth

    from .run import Run

SAME_MOMENT_S = 0.001
MANY = 20_000
"""The exchange forgets what it told a connection before so many messages."""


@dataclass
class Life:
    """One connection, from the upgrade to its end or its retirement.

    :ivar told: when the market made what the exchange told it; seconds. None if the exchange
        cannot say which connection it was, or has forgotten.
    :ivar stable: whether the client called it so.
    """

    venue: str
    endpoint: str
    line: str
    since: float
    until: float
    told: list[float] | None = None
    stable: bool = False


def lives(run: Run) -> list[Life]:
    """Every connection of the client."""
    every: list[Life] = []
    current: dict[str, Life | None] = {}
    coming: dict[str, Life | None] = {}
    rotating: set[str] = set()

    def end(of: dict[str, Life | None], line: str, at: float) -> None:
        life = of.get(line)
        if life is not None:
            life.until = at
        of[line] = None

    def hand_over(line: str, at: float) -> None:
        end(current, line, at)
        current[line], coming[line] = coming.get(line), None

    for at, what in run.diary:
        match what:
            case on.Rotating():
                rotating.add(what.line)
            case on.Dialing() if what.line not in rotating:
                end(current, what.line, at)
            case on.Connected():
                life = Life(what.venue, what.endpoint, what.line, at, run.plan.horizon_s)
                every.append(life)
                which = coming if current.get(what.line) else current
                which[what.line] = life
            case on.Rotated():
                rotating.discard(what.line)
                hand_over(what.line, at)
            case on.RotationFailed():
                rotating.discard(what.line)
                end(coming, what.line, at)
            case on.ConnectionLost(carrying=True):
                hand_over(what.line, at)
            case on.ConnectionLost():
                one, other = coming.get(what.line), current.get(what.line)
                if one is not None and one.endpoint == what.endpoint:
                    end(coming, what.line, at)
                elif other is not None and other.endpoint == what.endpoint:
                    end(current, what.line, at)
            case _:
                pass
    for life in every:
        life.told = _told(run, life)
    return every


def _told(run: Run, life: Life) -> list[float] | None:
    exchange = run.exchange(life.venue)
    letter = chr(int(life.endpoint.rpartition(":")[2]) - FIRST_PORT)
    route, _ = run.plan.carried(life.line)
    found = [
        told
        for told in exchange.truth.told.values()
        if (told.endpoint, told.route) == (letter, route)
        and abs(told.since - life.since) < SAME_MOMENT_S
    ]
    if len(found) != 1 or len(found[0].times) == MANY:
        return None
    start_us = exchange.market.start_us
    return [(time - start_us) / 1e6 for time in found[0].times]


def _news_of(truth: Truth, stream: str, product: str) -> list[int]:
    """When messages were emitted; that say something new, where the same may be said again."""
    if parse_stream(stream, product).kind is not Kind.PARTIAL_DEPTH:
        return [time for time, _ in truth.sent_ids(stream)]
    return [message.time_us for message in truth.watch(stream).messages if not message.retold]


class News:
    """When the venues had something to tell on each line."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._times: dict[tuple[str, str], list[float]] = {}

    def of(self, life: Life) -> list[float]:
        """All that its connection could have been told, had it been there; seconds."""
        route, streams = self._run.plan.carried(life.line)
        known = self._times.get((life.venue, route))
        if known is None:
            exchange = self._run.exchange(life.venue)
            start_us = exchange.market.start_us
            known = self._times[life.venue, route] = sorted(
                (time - start_us) / 1e6
                for stream in streams
                if stream in self._run.plan.known_streams
                for time in _news_of(exchange.truth, stream, self._run.plan.product)
            )
        return known
