"""The REST hosts of each venue, and the weight that the venue admits.

Each host has a circuit breaker of its own, and remembers what it answers only with an API key. All
of a venue share one budget (``policy/budget.py`` says who may ask next), which is corrected by what
the venue says it has counted, and stands still for as long as ``Retry-After`` asks. Other processes
of this address may share it too (``sharing/``).

Source: Binance spot API docs, "General API Information" and "Limits".
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import trio

from ..errors import K2Error
from ..market.spot import SPOT
from ..market.venues import dialect_of, rest_of, venue_of
from ..policy.breaker import CircuitBreaker
from ..policy.budget import UNDER_WAY_S, WEIGHT_WINDOW_S, Budget, Wish
from ..sharing.sharing import LOOK_S, WEIGHT

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..sharing.sharing import Sharing

KEY_MEMORY_S = 3600.0
"""How long a host that wants a key for a path is not asked for it again."""
MAX_FREEZE_S = 3 * 86_400.0
"""The longest ban that the exchange documents."""


class BackfillError(K2Error):
    """A request for repair did not succeed; it may be tried again."""


class NotServedError(BackfillError):
    """The venue's hosts do not answer this kind of question, or only with an API key."""


class UnknownSymbolError(BackfillError):
    """The venue has no such symbol."""


def rest_venue_of(url: str, product: str = SPOT.product) -> str:
    """The venue that a REST URL belongs to.

    :param product: what a host that is not known is asked about.
    """
    return venue_of(urlsplit(url).hostname or "", product)


def rest_urls_of(venue: str, given: Sequence[str]) -> Sequence[str]:
    """The URLs of a venue's hosts: those given that are of it, or its own public ones."""
    product = dialect_of(venue).product
    chosen = [url for url in given if rest_venue_of(url, product) == venue]
    return chosen or rest_of(venue)


class Host:
    """One host, its breaker, and what it answers only with a key."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.breaker: CircuitBreaker = CircuitBreaker(urlsplit(url).netloc)
        self._key_wanted_until: dict[str, float] = {}

    def wants_key(self, path: str) -> None:
        """Remember that a path is for holders of an API key."""
        self._key_wanted_until[path] = trio.current_time() + KEY_MEMORY_S

    def serves(self, path: str) -> bool:
        """Whether the host may be asked for a path."""
        return self._key_wanted_until.get(path, -math.inf) <= trio.current_time()


class Venue:
    """REST hosts of one venue, and what it has counted against us.

    :param sharing: joins the budget to those of other processes.
    """

    def __init__(
        self, name: str, urls: Sequence[str], limit: int, sharing: Sharing | None = None
    ) -> None:
        self.hosts: list[Host] = [Host(url) for url in urls]
        window_s = WEIGHT_WINDOW_S + (0.0 if sharing is None else UNDER_WAY_S)
        rest = dialect_of(name).rest
        self.budget: Budget = Budget(limit, window_s, rest.weight_per_minute, rest.depths)
        self.answers = True
        """Whether the last request was answered, be it by a refusal."""
        self._granted: dict[Wish, trio.Event] = {}
        joined = sharing is not None and sharing.join(
            WEIGHT, name, urls[0], self.budget, self._grant
        )
        self._sharing = sharing if joined else None
        self._alone = self._sharing is None
        """Whether this process counts for itself: nothing is shared, or it cannot be just now."""

    async def spend(self, weight: int, leaves: float = 0.0) -> Wish:
        """Take weight from the budget, and leave a share of it to others; waits for its turn."""
        wish = self.budget.wish(weight, trio.current_time(), leaves)
        granted = self._granted[wish] = trio.Event()
        try:
            while True:
                look_at = await self._settle()
                if granted.is_set():
                    return wish
                with trio.move_on_at(look_at):
                    await granted.wait()
        except trio.Cancelled:
            self._granted.pop(wish, None)
            self.give_back(wish)
            raise

    def give_back(self, wish: Wish) -> None:
        """Weight that was not used, or is waited for no more."""
        self.budget.give_back(wish)
        if self._alone:
            self._grant(self.budget.admit(trio.current_time()))

    async def _settle(self) -> float:
        """Grant the wishes whose turn it is; when to look again."""
        self._alone = self._sharing is None or not await self._sharing.settle()
        if not self._alone:
            now = trio.current_time()
            return max(now + LOOK_S, self.budget.frozen_until)
        now = trio.current_time()
        self._grant(self.budget.admit(now))
        return self.budget.next_look(now)

    def _grant(self, wishes: Sequence[Wish]) -> None:
        for wish in wishes:
            self._granted.pop(wish).set()

    @property
    def frozen(self) -> bool:
        """Whether the venue wants no requests now."""
        return trio.current_time() < self.budget.frozen_until

    def counted(self, used: int) -> None:
        """The venue's own count: others on this address may have used some of it."""
        self.budget.counted(used, trio.current_time())

    def freeze(self, seconds: float) -> None:
        """The venue wants no more requests for a while."""
        self.budget.freeze(trio.current_time() + min(seconds, MAX_FREEZE_S))
        if self._sharing is not None:
            self._sharing.hurry()


class Turn:
    """Leave to send one request now; each further one for the same question waits for its own."""

    def __init__(self, place: Venue, weight: int, wish: Wish | None = None) -> None:
        self._place = place
        self._weight = weight
        self._wish = wish

    async def take(self) -> None:
        """Wait until a request may be sent."""
        if self._place.frozen:  # since the turn came
            self.give_back()
        if self._wish is None:
            await self._place.spend(self._weight)
        self._wish = None

    def give_back(self) -> None:
        """Return what was not used."""
        if self._wish is not None:
            self._place.give_back(self._wish)
            self._wish = None
