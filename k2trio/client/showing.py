"""What the metrics of a feed look at whenever they are scraped."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..continuity.arbiter import Arbiter
    from ..observe.metrics import Metrics
    from ..policy.failover import Endpoints
    from ..repair.rest import Backfill
    from ..settings import Settings
    from ..sharing.sharing import Sharing
    from .outbox import Outbox
    from .shards import Shards


def show(
    metrics: Metrics,
    settings: Settings,
    arbiter: Arbiter,
    outbox: Outbox,
    endpoints: Endpoints,
    shards: Shards,
    now: Callable[[], float],
) -> None:
    """Let the metrics look at what is there anyway, whenever they are scraped."""

    for endpoint in endpoints.all:
        metrics.add_breaker(endpoint.name)
        metrics.add_endpoint(endpoint.name, endpoint.venue, endpoint.index)
    metrics.set_limits(settings.max_reconnect_attempts, settings.max_buffered_messages)
    metrics.watch_connected(shards.connected)
    metrics.watch_received(lambda: arbiter.received)
    metrics.watch_buffer(lambda: outbox.size)
    metrics.watch_held(lambda: sum(len(track.held) for track in arbiter.tracks))
    metrics.watch_oldest_gap(lambda: arbiter.oldest_gap_s(now()))
    metrics.watch_barren(lambda: len(arbiter.barren(now())))


def show_budgets(
    metrics: Metrics,
    endpoints: Endpoints,
    rest: Backfill,
    sharing: Sharing | None,
    now: Callable[[], float],
) -> None:
    """Let the metrics look at what may be spent; where it is shared, of what all leave."""

    def dials_left(venue: str) -> int:
        return endpoints.budget_left(venue, now())

    def weight_left(venue: str) -> int:
        return rest.budget(venue).left(now())

    for venue in endpoints.budgets:
        metrics.watch_budget(venue, functools.partial(dials_left, venue))
        if rest.serves(venue):
            metrics.watch_rest_budget(venue, functools.partial(weight_left, venue))
    metrics.watch_sharing(lambda: "" if sharing is None else sharing.problem)
