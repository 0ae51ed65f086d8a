"""Who may dial now: the connect budgets of a feed's venues, shared with other processes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from .sharing import DIALS, LOOK_S

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..policy.budget import Wish
    from ..policy.failover import Endpoint, Endpoints
    from .sharing import Sharing

LAST_DIALS = 0.05
"""Share of a venue's dials; who has made that many leaves the last so many to others.

Else one process that flaps would take from all others, for minutes, the one dial that they need.
"""


class Dials:
    """Takes attempts from the budgets.

    :param sharing: joins the budgets to those of other processes.
    """

    def __init__(self, endpoints: Endpoints, sharing: Sharing | None) -> None:
        self._endpoints = endpoints
        self._sharing = sharing
        self._shared: set[str] = set()
        for venue, budget in endpoints.budgets.items():
            url = next(endpoint.url for endpoint in endpoints.all if endpoint.venue == venue)
            if sharing is not None and sharing.join(DIALS, venue, url, budget, _nothing):
                budget.reserve = LAST_DIALS
                self._shared.add(venue)

    async def take(self, endpoint: Endpoint) -> bool:
        """Take an attempt, if the endpoint may be dialled now."""
        now = trio.current_time()
        if self._endpoints.admitted_from(endpoint, now) > now:
            return False
        if self._sharing is None or endpoint.venue not in self._shared:
            self._endpoints.dialled(endpoint, now)
            return True
        budget = self._endpoints.budgets[endpoint.venue]
        wish = budget.wish(1, now, budget.leaving)
        try:
            if not await self._sharing.settle():
                budget.admit(trio.current_time())
        except trio.Cancelled:
            budget.give_back(wish)
            raise
        if wish.spent is not None:
            return True
        budget.give_back(wish)
        self._endpoints.postpone(endpoint.venue, trio.current_time() + LOOK_S)
        return False

    def freeze(self, venue: str, until: float) -> None:
        """Dial no endpoint of a venue before the given time (``Retry-After``)."""
        self._endpoints.freeze(venue, until)
        if self._sharing is not None:
            self._sharing.hurry()


def _nothing(wishes: Sequence[Wish]) -> None:
    """Each attempt looks for itself."""
