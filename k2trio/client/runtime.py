"""What the sessions and lines of a feed share with it."""

from __future__ import annotations

import random
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from .suspend import suspended_s

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from ..compiled.interface import Run
    from ..continuity.held import Source
    from ..market.payloads import Event
    from ..observe.transitions import Observer
    from ..policy.failover import Endpoint
    from ..repair.staleness import Verdict
    from ..settings import Settings
    from ..wire.dialer import Dialer


@dataclass(frozen=True)
class Runtime:
    """See the module.

    :ivar deliver: takes a batch of events of a connection to a venue, with when it was read and
        when decoding it began, and what is known of it already; never waits.
    :ivar full: whether the consumer has enough to do.
    :ivar room: returns when it has not.
    :ivar interrupted: told when no line carries some streams of a venue any more.
    :ivar settled: whether every message of some streams that a retiring session could still bring
        has been accounted for; asked before it is retired.
    :ivar verify: asks whether there is news on streams that are silent since some time, on a
        connection that is open since some time.
    :ivar emit: tells the observers.
    :ivar take_dial: takes an attempt from the budget of an endpoint's venue, if one is left now.
    :ivar freeze: told until when a venue wants to be left alone.
    :ivar dial: the network.
    """

    settings: Settings
    deliver: Callable[[Source, str, Sequence[Event], float, float, Sequence[Run]], None]
    full: Callable[[], bool]
    room: Callable[[], Awaitable[None]]
    interrupted: Callable[[str, Sequence[str]], None]
    settled: Callable[[Sequence[str]], bool]
    verify: Callable[[str, Sequence[str], float, float], Awaitable[Verdict]]
    emit: Observer
    take_dial: Callable[[Endpoint], Awaitable[bool]]
    freeze: Callable[[str, float], None]
    dial: Dialer
    rng: random.Random = field(default_factory=random.Random)
    wall_clock: Callable[[], float] = time.time
    suspended_s: Callable[[], float] = suspended_s
