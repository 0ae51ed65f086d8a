"""Who is dialled next, and when: endpoints, rotation, backoff, fail-back and the connect budget.

Everything here is decided by plain functions of the time that is passed in; ``line.py`` acts on it.

*When.* A retry waits ``reconnect_delay · 2ⁿ`` seconds, capped: 5, 10, 20, 40, 60, 60 … The count
starts anew only when a connection has become stable (data flowed for ``stable_after``), never when
a socket merely opened: an endpoint that accepts and drops would otherwise be hammered. The first
retry after a stable connection is immediate, since most drops are single events. Jitter keeps many
clients from returning in step.

*Who.* The next endpoint in list order, after the one that failed, whose breaker admits, whose venue
has not frozen us out and has connect budget left. If there is none, the earliest to become so.

*Fail-back.* While a line runs on another endpoint than the first of the list, it returns there as
soon as the first one's breaker admits, but not before ``recovery_timeout`` after its last failure:
a breaker that is still closed after one drop would otherwise send the line straight back.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from ..errors import ConnectionFailed, GaveUp
from ..market.spot import SPOT
from ..market.venues import venue_of
from .budget import UNDER_WAY_S, Budget, Wish

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Sequence

    from ..settings import Settings
    from .breaker import CircuitBreaker

CONNECTS_PER_WINDOW = 300
CONNECT_WINDOW_S = 300.0 + UNDER_WAY_S
"""The exchange admits 300 connection attempts per 5 minutes and address (exchange docs)."""

DEFAULT_FREEZE_S = 60.0
"""How long to leave a venue alone after a 429 or 418 that names no time."""
RECHECK_S = 1.0
"""How soon to look again when only another line's probe stands in the way (s)."""


@dataclass(eq=False)
class Endpoint:
    """One URL of the failover list.

    :ivar index: its place in the list, 0 is the first choice.
    :ivar name: ``host:port``, the label in logs and metrics.
    :ivar takes_long_urls: whether streams may be named in the URL, however many; learnt.
    """

    url: str
    index: int
    venue: str
    name: str
    host: str
    port: int
    secure: bool
    path: str
    breaker: CircuitBreaker
    takes_long_urls: bool = True

    @classmethod
    def from_url(
        cls,
        url: str,
        index: int,
        breaker: Callable[[str], CircuitBreaker],
        product: str = SPOT.product,
    ) -> Endpoint:
        """Parse a validated WebSocket URL; ``breaker`` makes the breaker of that name.

        :param product: what is asked for at a host that is not known.
        """
        parts = urlsplit(url)
        host = parts.hostname or ""
        secure = parts.scheme == "wss"
        port = parts.port or (443 if secure else 80)
        name = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        return cls(
            url,
            index,
            venue_of(host, product),
            name,
            host,
            port,
            secure,
            parts.path or "/",
            breaker(name),
        )

    def path_of(self, route: str) -> str:
        """The path of a route; of an exchange without routes there is one only."""
        head, _, last = self.path.rpartition("/")
        return f"{head}/{route}/{last}" if route else self.path


class Endpoints:
    """The failover list, shared by all lines of a feed."""

    def __init__(self, endpoints: Sequence[Endpoint], recovery_timeout: float) -> None:
        self._all = list(endpoints)
        self._recovery_timeout = recovery_timeout
        self.budgets: dict[str, Budget] = {
            endpoint.venue: Budget(CONNECTS_PER_WINDOW, CONNECT_WINDOW_S) for endpoint in endpoints
        }
        """Venue → attempts, each of weight 1."""
        self._postponed_until: dict[str, float] = {}
        self._failed_at: dict[Endpoint, float] = {}

    @property
    def all(self) -> Sequence[Endpoint]:
        """In order of preference."""
        return self._all

    def admitted_from(self, endpoint: Endpoint, now: float) -> float:
        """The earliest time not before ``now`` at which the endpoint may be dialled."""
        earliest = max(now, self._postponed_until.get(endpoint.venue, now))
        earliest = self.budgets[endpoint.venue].payable_from(1, earliest)
        return max(earliest, endpoint.breaker.admits_from(earliest))

    def dialled(self, endpoint: Endpoint, now: float) -> None:
        """Take one attempt from the venue's connect budget."""
        self.budgets[endpoint.venue].spend(Wish(1, now), now)

    def postpone(self, venue: str, until: float) -> None:
        """Dial no endpoint of the venue before: it is the turn of another process."""
        self._postponed_until[venue] = until

    def budget_left(self, venue: str, now: float) -> int:
        """Connection attempts that the venue still admits in the current window."""
        return self.budgets[venue].left(now)

    def failed(self, endpoint: Endpoint, now: float) -> None:
        """Remember the failure: fail-back keeps its distance from it."""
        self._failed_at[endpoint] = now

    def freeze(self, venue: str, until: float) -> None:
        """Dial no endpoint of the venue before the given time (``Retry-After``)."""
        self.budgets[venue].freeze(until)

    def order(self, place: int) -> Sequence[Endpoint]:
        """The list as the line at the given place among its companions prefers it.

        Lines that carry the same streams start on different endpoints of the first venue.
        """
        home = [endpoint for endpoint in self._all if endpoint.venue == self._all[0].venue]
        turn = place % len(home)
        others = [endpoint for endpoint in self._all if endpoint not in home]
        return [*home[turn:], *home[:turn], *others]

    def fail_back_from(self, current: Endpoint, now: float, first: Endpoint | None = None) -> float:
        """When a line on ``current`` may try its first endpoint again; infinite if it is there."""
        first = self._all[0] if first is None else first
        if current is first:
            return math.inf
        calm = self._failed_at.get(first, -math.inf) + self._recovery_timeout
        at = self.admitted_from(first, max(now, calm))
        return now + RECHECK_S if at == math.inf else at


@dataclass(frozen=True, slots=True)
class Dial:
    """A planned attempt.

    :ivar at: when to start it.
    :ivar attempt: number of the retry since data last flowed; 0 is the very first try.
    :ivar delay_s: nominal backoff, before jitter and breakers.
    """

    endpoint: Endpoint
    at: float
    attempt: int
    delay_s: float


class Retries:
    """The reconnect schedule of one line.

    :param order: the endpoints as this line prefers them; by default the list's order.
    :param rank: None for an endpoint that must not be used now, else a number: among those that
        may be dialled equally soon the lowest is taken, then the next in order.
    """

    def __init__(
        self,
        endpoints: Endpoints,
        settings: Settings,
        rng: random.Random,
        order: Sequence[Endpoint] | None = None,
        rank: Callable[[Endpoint], int | None] = lambda _: 0,
    ) -> None:
        self.order: list[Endpoint] = list(endpoints.all if order is None else order)
        self._rank = rank
        self._endpoints = endpoints
        self._settings = settings
        self._rng = rng
        self._retries = 0
        self._failures = 0
        self._last: Endpoint | None = None
        self._last_error: ConnectionFailed | None = None

    def stable(self) -> None:
        """Data has flowed for long enough: the counts start anew."""
        self._retries = self._failures = 0

    def failed(self, endpoint: Endpoint, error: ConnectionFailed, *, stable: bool) -> None:
        """Note a failed attempt or a lost connection; ``stable`` if it had become so."""
        self._last, self._last_error = endpoint, error
        if not stable:
            self._failures += 1

    def first(self, now: float) -> Dial:
        """The very first attempt of the line."""
        return self._dial(now, 0, 0)

    def next(self, now: float) -> Dial:
        """The next retry.

        :raises GaveUp: when ``max_reconnect_attempts`` retries have failed.
        """
        limit = self._settings.max_reconnect_attempts
        if limit and self._retries >= limit:
            error = self._last_error or ConnectionFailed("no attempt was made")
            raise GaveUp(self._retries, error) from error
        self._retries += 1
        delay = self.nominal_delay(self._failures)
        jitter = self._settings.reconnect_jitter
        wait = delay * (1 + jitter * self._rng.uniform(-1, 1))
        return self._dial(now + wait, self._retries, delay)

    def refused(self, now: float, planned: Dial) -> Dial:
        """Plan the same retry anew: its endpoint stopped admitting before it was dialled."""
        return self._dial(now, planned.attempt, planned.delay_s)

    def nominal_delay(self, failures: int) -> float:
        """Backoff in seconds after so many failures since a connection was last stable."""
        if failures == 0:
            return 0
        doublings = min(failures - 1, 40)  # 2⁴⁰ s is beyond any cap; avoids overflow
        delay: float = self._settings.reconnect_delay * 2.0**doublings
        return min(delay, self._settings.max_reconnect_delay)

    def after(self, endpoint: Endpoint | None) -> list[Endpoint]:
        """All endpoints in the order in which to try them after the given one failed."""
        start = 0 if endpoint is None else self.order.index(endpoint) + 1
        return self.order[start:] + self.order[:start]

    def _dial(self, at: float, attempt: int, delay: float) -> Dial:
        order = self.after(self._last)
        usable = [endpoint for endpoint in order if self._rank(endpoint) is not None] or order
        choices = [
            (self._endpoints.admitted_from(endpoint, at), self._rank(endpoint) or 0, place)
            for place, endpoint in enumerate(usable)
        ]
        earliest, _, place = min(choices)
        if earliest == math.inf:
            earliest = at + RECHECK_S
        return Dial(usable[place], earliest, attempt, delay)
