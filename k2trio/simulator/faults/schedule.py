"""A schedule of faults drawn at random, the same for the same seed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .fault import Fault
from .kinds import REST_STATE_KINDS, SCOPE, FaultKind, Scope

if TYPE_CHECKING:
    import random
    from collections.abc import Sequence

DRAWN_KINDS: tuple[FaultKind, ...] = tuple(
    kind
    for kind in FaultKind
    if kind
    not in {
        FaultKind.DNS_HANG,
        FaultKind.BURST,
        FaultKind.IDS_JUMP,
        FaultKind.IDS_RESET,
        FaultKind.ABSURD_KEY,
        FaultKind.SHARED_ID,
        FaultKind.HALT,
        FaultKind.ZERO_WINDOW,
        FaultKind.REST_HOLES,
    }
)
"""Kinds of :func:`draw_schedule`; left out are those that end a run or that cannot be repaired."""


def draw_schedule(
    rng: random.Random,
    endpoints: Sequence[str],
    horizon_s: float,
    *,
    mean_interval_s: float = 120.0,
    max_duration_s: float = 60.0,
    kinds: Sequence[FaultKind] = DRAWN_KINDS,
    rest: Sequence[str] = (),
) -> list[Fault]:
    """Draw faults at random times until ``horizon_s``; the same generator state, the same faults.

    :param endpoints: names that connections' faults are drawn for.
    :param rest: names that REST faults are drawn for; none: no REST faults.
    """
    usable = [kind for kind in kinds if rest or not kind.startswith("rest_")]
    faults: list[Fault] = []
    at = rng.expovariate(1 / mean_interval_s)
    while at < horizon_s:
        kind = usable[rng.randrange(len(usable))]
        names = rest if kind.startswith("rest_") else endpoints
        scope = SCOPE[kind]
        lasts = scope is not Scope.STRIKE or kind is FaultKind.HALT
        duration = 0.0 if not lasts else rng.uniform(1.0, max_duration_s)
        if scope is Scope.ATTEMPT and kind not in REST_STATE_KINDS and rng.random() < 0.5:
            duration = 0.0
        faults.append(
            Fault(
                at=at,
                endpoint=names[rng.randrange(len(names))],
                kind=kind,
                duration=duration,
                status=_draw_status(rng, kind),
                retry_after=float(rng.randrange(1, 30)) if rng.random() < 0.5 else None,
                code=(1000, 1001, 1008, 1012, 1013)[rng.randrange(5)],
                share=rng.uniform(0.01, 0.5),
                by=_draw_distance(rng, kind),
                lag=rng.choice([0.5, 5.0, 25.0, 60.0]),
            )
        )
        at += rng.expovariate(1 / mean_interval_s)
    return faults


def _draw_distance(rng: random.Random, kind: FaultKind) -> int:
    """Ids (or milliseconds), any order of magnitude alike; a jump is always one of millions."""
    if kind is FaultKind.IDS_JUMP:
        return 5_000_000
    return round(10 ** rng.uniform(0.0, 10.0))


def _draw_status(rng: random.Random, kind: FaultKind) -> int:
    if kind is FaultKind.REST_STATUS:
        return (429, 418, 500, 502, 503)[rng.randrange(5)]
    return (429, 418, 403, 451, 503)[rng.randrange(5)]
