"""The REST hosts of each venue: asked in turn, within the weight that the venue admits.

Each host has a circuit breaker of its own. Requests are counted against the venue's weight before
they are sent, corrected by what the venue says it has counted, and stopped for as long as
``Retry-After`` asks. Nothing is ever fetched from another venue.

Source: Binance spot API docs, "General API Information" and "Limits".
"""

from __future__ import annotations

from collections import deque
from contextlib import aclosing
from typing import TYPE_CHECKING, TypeAlias, TypeVar
from urllib.parse import urlsplit

import httpx2
import msgspec
import trio

from ..errors import CircuitOpen, K2Error
from ..policy.breaker import CircuitBreaker
from ..policy.failover import DEFAULT_FREEZE_S, venue_of

if TYPE_CHECKING:
    import ssl
    from collections.abc import Sequence

    from ..settings import Settings

_T = TypeVar("_T")
Query: TypeAlias = dict[str, str | int]

REQUEST_TIMEOUT_S = 5.0
"""For a whole request: a host that drips its answer is as bad as a silent one."""
MAX_BODY_BYTES = 16 << 20
WEIGHT_WINDOW_S = 60.0
VENUE_WEIGHT_PER_MINUTE = 6000
"""What the exchange admits per address and minute."""
MAX_FREEZE_S = 3 * 86_400.0
"""The longest ban that the exchange documents."""
LONGEST_NUMBER = 18
"""Digits of a header that are read."""


_OK = 200
_BAD_REQUEST = 400
_ANSWERS = frozenset({_OK, _BAD_REQUEST, 404})
"""Statuses of a host in good health: 404 where it has no such data, as market-data-only hosts."""
_TOO_MANY = frozenset({429, 418})

REST_HOSTS: dict[str, tuple[str, ...]] = {
    "binance.com": (
        "https://api.binance.com",
        "https://api-gcp.binance.com",
        "https://api1.binance.com",
        "https://api2.binance.com",
        "https://api3.binance.com",
        "https://api4.binance.com",
    ),
    "binance.us": ("https://api.binance.us",),
    "binance.com-testnet": ("https://testnet.binance.vision",),
}
_VENUE_OF_HOST = {
    urlsplit(url).hostname: venue for venue, urls in REST_HOSTS.items() for url in urls
} | {"data-api.binance.vision": "binance.com"}


class BackfillError(K2Error):
    """A request for repair did not succeed; it may be tried again."""


def rest_venue_of(url: str) -> str:
    """The venue that a REST URL belongs to; as for WebSocket hosts, an unknown one is its own."""
    host = urlsplit(url).hostname or ""
    return _VENUE_OF_HOST.get(host) or venue_of(host)


class Venue:
    """REST hosts of one venue, and what it has counted against us."""

    def __init__(self, urls: Sequence[str], limit: int) -> None:
        self.hosts = [(url, CircuitBreaker(urlsplit(url).netloc)) for url in urls]
        self.limit = limit
        self.frozen_until = float("-inf")
        self._spent: deque[tuple[float, int]] = deque()
        self._spent_sum = 0

    async def spend(self, weight: int) -> None:
        """Take weight from the budget; waits until there is some."""
        while True:
            now = trio.current_time()
            while self._spent and self._spent[0][0] <= now - WEIGHT_WINDOW_S:
                self._spent_sum -= self._spent.popleft()[1]
            if now < self.frozen_until:
                await trio.sleep_until(self.frozen_until)
            elif self._spent and self._spent_sum + weight > self.limit:
                await trio.sleep_until(self._spent[0][0] + WEIGHT_WINDOW_S)
            else:
                break
        self._spent.append((now, weight))
        self._spent_sum += weight

    def counted(self, used: int) -> None:
        """The venue's own count: others on this address may have used some of it."""
        if used > VENUE_WEIGHT_PER_MINUTE - (VENUE_WEIGHT_PER_MINUTE - self.limit) // 2:
            self.freeze(WEIGHT_WINDOW_S)

    def freeze(self, seconds: float) -> None:
        until = trio.current_time() + min(seconds, MAX_FREEZE_S)
        self.frozen_until = max(self.frozen_until, until)


class Hosts:
    """All REST hosts that a feed may ask.

    :param venues: the venues in use.
    :param verify: TLS context of the program.
    :param transport: stands in for the network in tests.
    """

    def __init__(
        self,
        venues: Sequence[str],
        settings: Settings,
        verify: ssl.SSLContext | bool,
        transport: httpx2.AsyncBaseTransport | None,
    ) -> None:
        self._client = httpx2.AsyncClient(
            transport=transport,
            timeout=REQUEST_TIMEOUT_S,
            follow_redirects=False,
            trust_env=False,
            verify=verify,
        )
        urls: dict[str, list[str]] = {}
        for url in settings.rest_urls:
            urls.setdefault(rest_venue_of(url), []).append(url)
        self._venues: dict[str, Venue] = {}
        for venue in dict.fromkeys(venues):
            hosts = urls.get(venue) or REST_HOSTS.get(venue, ())
            if hosts:
                self._venues[venue] = Venue(hosts, settings.rest_weight_limit)

    async def aclose(self) -> None:
        """Close idle connections."""
        await self._client.aclose()

    def serve(self, venue: str) -> bool:
        """Whether a host of the venue is known."""
        return venue in self._venues

    async def get(
        self, venue: str, path: str, query: Query, weight: int, shape: type[_T]
    ) -> tuple[_T, bytes]:
        """Ask the venue's hosts in turn until one gives an answer of the given shape.

        :returns: the answer, and its bytes.
        :raises BackfillError: if no host of the venue gave one.
        """
        place = self._venues.get(venue)
        if place is None:
            raise BackfillError(f"no REST host of {venue} is known")
        why: Exception | None = None
        for url, breaker in place.hosts:
            try:
                async with breaker.attempt():
                    await place.spend(weight)
                    status, body = await self._ask(place, url + path, query)
                    answer = _rows(body, shape) if status == _OK else None
            except (BackfillError, CircuitOpen) as error:
                why = error
                continue
            if answer is not None:
                return answer, body
            why = BackfillError(f"{url}{path} answered HTTP {status}")
            if status == _BAD_REQUEST:
                break  # it is the question that is wrong, and no other host will like it better
        raise BackfillError(f"no REST host of {venue} answered: {why}") from why

    async def _ask(self, place: Venue, url: str, query: Query) -> tuple[int, bytes]:
        """Status and body of an answer that says something about the question, not the host."""
        with trio.move_on_after(REQUEST_TIMEOUT_S):
            try:
                async with self._client.stream("GET", url, params=query) as response:
                    self._heed(place, response)
                    if response.status_code not in _ANSWERS:
                        raise BackfillError(f"{url} answered HTTP {response.status_code}")
                    body = bytearray()
                    async with aclosing(response.aiter_bytes()) as chunks:
                        async for chunk in chunks:
                            body += chunk
                            if len(body) > MAX_BODY_BYTES:
                                raise BackfillError(f"{url} sent more than {MAX_BODY_BYTES} bytes")
                    return response.status_code, bytes(body)
            except httpx2.HTTPError as error:
                raise BackfillError(f"{url}: {error or type(error).__name__}") from error
        raise BackfillError(f"{url} did not answer within {REQUEST_TIMEOUT_S:g} s")

    def _heed(self, place: Venue, response: httpx2.Response) -> None:
        """Take note of how much the venue has counted, and of how long it wants no more."""
        used = _number(response.headers.get("X-MBX-USED-WEIGHT-1M"))
        if used is not None:
            place.counted(used)
        if response.status_code in _TOO_MANY:
            after = _number(response.headers.get("Retry-After"))
            place.freeze(DEFAULT_FREEZE_S if after is None else after)


def _number(text: str | None) -> int | None:
    """A header's number, if it is one."""
    if text and len(text) <= LONGEST_NUMBER and text.isascii() and text.isdecimal():
        return int(text)
    return None


def _rows(body: bytes, shape: type[_T]) -> _T:
    try:
        return msgspec.json.decode(body, type=shape)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise BackfillError(f"the answer is not what was asked for: {error}") from error
