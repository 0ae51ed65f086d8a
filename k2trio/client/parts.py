"""What a feed is made of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from ..continuity.arbiter import Arbiter
    from ..observe.latency import Meter
    from ..observe.transitions import Transition
    from ..policy.failover import Endpoints
    from ..repair.gaps import Repairs
    from ..repair.rest import Backfill
    from ..repair.staleness import StalenessCheck
    from ..sharing.sharing import Sharing
    from .delivery import Delivery
    from .outbox import Outbox
    from .resume import Resume
    from .shards import Shards


@dataclass(frozen=True)
class Parts:
    """What a feed is made of.

    :ivar tasks: what runs beside the lines for as long as the feed does.
    :ivar emit: tells observers of a transition.
    """

    arbiter: Arbiter
    outbox: Outbox
    delivery: Delivery
    endpoints: Endpoints
    sharing: Sharing | None
    shards: Shards
    resume: Resume
    rest: Backfill
    repairs: Repairs
    staleness: StalenessCheck
    latency: Meter
    tasks: Sequence[Callable[[], Awaitable[None]]]
    emit: Callable[[Transition], None]
