"""Asks the hosts of a venue: in turn, and beside one another where one is slow.

A host that does not answer soon is not waited for: the next one is asked beside it, and the first
answer counts. Who was overtaken so has failed, as has a host that cannot be reached, is in trouble
or sends garbage. A host that refuses the *question* is in good health; where it wants an API key
that we have not, it is not asked this kind of question again for a while.

Source: Binance spot API docs, "General API Information" and "Error codes".
"""

from __future__ import annotations

from contextlib import aclosing, asynccontextmanager
from typing import TYPE_CHECKING, Generic, NamedTuple, TypeAlias, TypeVar

import httpx2
import msgspec
import trio

from ..errors import CircuitOpen, ProxyFailed
from ..market.units import MS
from ..market.venues import dialect_of
from ..policy.failover import DEFAULT_FREEZE_S
from ..wire.tunnel import usable_proxies
from .hosts import (
    BackfillError,
    NotServedError,
    Turn,
    UnknownSymbolError,
    Venue,
    rest_urls_of,
)
from .routes import RoutedTransport

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncGenerator, Sequence

    from ..policy.budget import Budget
    from ..settings import Settings
    from ..sharing.sharing import Sharing
    from .hosts import Host

_T = TypeVar("_T")
Query: TypeAlias = dict[str, str | int]

REQUEST_TIMEOUT_S = 5.0
"""For a whole request: a host that drips its answer is as bad as a silent one."""
HEDGE_AFTER_S = 1.0
"""How long a host is waited for before the next one is asked beside it."""
MAX_BODY_BYTES = 16 << 20
LONGEST_NUMBER = 18
"""Digits of a header that are read."""

_OK, _BAD_REQUEST, _UNAUTHORIZED, _FORBIDDEN = 200, 400, 401, 403
_SERVER_ERRORS_FROM = 500
_ABOUT_THE_HOST = frozenset({403, 408, 418, 425, 429, 451})
"""The 4xx that say nothing of the question: too many, too late, or not from here."""
_KEY_CODES = frozenset({-2014, -2015})
"""Error codes of a question that wants an API key."""
UNKNOWN_SYMBOL = -1121
"""Error code of a question about a symbol that the venue does not have."""
_TOO_MANY = frozenset({429, 418})


class _Refusal(msgspec.Struct):
    """The body of an answer that is none."""

    code: int = 0


class _Answer(NamedTuple):
    """What a host said about a question."""

    status: int
    body: bytes

    @property
    def wants_key(self) -> bool:
        """Whether the question is for holders of an API key."""
        if self.status == _UNAUTHORIZED:
            return True
        return self.status in (_BAD_REQUEST, _FORBIDDEN) and self._code in _KEY_CODES

    @property
    def knows_no_symbol(self) -> bool:
        """Whether the venue has no such symbol."""
        return self.status == _BAD_REQUEST and self._code == UNKNOWN_SYMBOL

    @property
    def _code(self) -> int:
        try:
            return _decoded(self.body, _Refusal).code
        except BackfillError:
            return 0

    @property
    def blames_host(self) -> bool:
        """Whether it says that the host is not well, rather than the question."""
        if self.status < _BAD_REQUEST:
            return self.status != _OK
        if self.status in _ABOUT_THE_HOST:
            return not self.wants_key
        return self.status >= _SERVER_ERRORS_FROM


class Hosts:
    """All REST hosts that a feed may ask.

    :param venues: the venues in use.
    :param verify: TLS context of the program.
    :param transport: stands in for the network in tests.
    :param sharing: joins the budgets to those of other processes.
    :raises ConfigError: if a proxy that leads to one of them cannot be used.
    """

    def __init__(
        self,
        venues: Sequence[str],
        settings: Settings,
        verify: ssl.SSLContext | bool,
        transport: httpx2.AsyncBaseTransport | None,
        sharing: Sharing | None = None,
    ) -> None:
        self._sharing = sharing
        self._venues: dict[str, Venue] = {}
        for venue in dict.fromkeys(venues):
            if hosts := rest_urls_of(venue, settings.rest_urls):
                self._venues[venue] = Venue(venue, hosts, _limit_of(venue, settings), sharing)
        if transport is None:
            asked = [host.url for place in self._venues.values() for host in place.hosts]
            transport = RoutedTransport(usable_proxies(settings, asked), verify)
        unit = settings.unit
        self._client = httpx2.AsyncClient(
            headers={} if unit is MS else {"X-MBX-TIME-UNIT": unit.word},
            transport=transport,
            timeout=REQUEST_TIMEOUT_S,
            follow_redirects=False,
            trust_env=False,
        )

    async def aclose(self) -> None:
        """Close idle connections; others learn of a ban that was met."""
        if self._sharing is not None and any(place.frozen for place in self._venues.values()):
            await self._sharing.settle()
        await self._client.aclose()

    def serve(self, venue: str) -> bool:
        """Whether a host of the venue is known."""
        return venue in self._venues

    def budget(self, venue: str) -> Budget:
        """The budget of a venue that is served; to look at."""
        return self._venues[venue].budget

    def answers(self, venue: str) -> bool:
        """Whether the last request to the venue was answered, be it by a refusal."""
        return self._venues[venue].answers

    @property
    def waiting(self) -> int:
        """Requests that wait for weight, at all venues."""
        return sum(place.budget.waiting for place in self._venues.values())

    @asynccontextmanager
    async def turn(self, venue: str, weight: int, leaves: float) -> AsyncGenerator[Turn]:
        """Wait for a turn of a venue that is served; what is not taken of it is given back."""
        place = self._venues[venue]
        turn = Turn(place, weight, await place.spend(weight, leaves))
        try:
            yield turn
        finally:
            turn.give_back()

    async def get(
        self,
        venue: str,
        path: str,
        query: Query,
        weight: int,
        shape: type[_T],
        turn: Turn | None = None,
    ) -> tuple[_T, bytes]:
        """Ask the venue's hosts until one gives an answer of the given shape.

        :param turn: has been waited for already.
        :returns: the answer, and its bytes.
        :raises UnknownSymbolError: if the venue has no such symbol.
        :raises NotServedError: if no host gave one, and one that is well has nothing of this kind.
        :raises BackfillError: if no host of the venue gave one.
        """
        place = self._venues.get(venue)
        if place is None:
            raise BackfillError(f"no REST host of {venue} is known")
        race = _Race(self._client, place, path, query, shape)
        body = await race.run(Turn(place, weight) if turn is None else turn)
        if body is None:
            raise race.kind(f"no REST host of {venue} answered: {race.why}") from race.why
        return body


class _Race(Generic[_T]):
    """One question to the hosts of a venue; each has ``HEDGE_AFTER_S`` before the next one starts.

    :ivar lacking: whether one that is well has nothing of this kind to tell us.
    :ivar unknown: whether the venue has no such symbol.
    :ivar why: the last failure.
    """

    def __init__(
        self, client: httpx2.AsyncClient, place: Venue, path: str, query: Query, shape: type[_T]
    ) -> None:
        self.lacking = False
        self.unknown = False
        self.why: Exception | None = None
        self._client = client
        self._place = place
        self._path = path
        self._query = query
        self._shape = shape
        self._won: tuple[_T, bytes] | None = None
        self._over = False
        """No further host needs to be asked."""
        self._running: dict[Host, float] = {}
        """Since when each host is being asked."""
        self._ended = trio.Event()

    @property
    def kind(self) -> type[BackfillError]:
        """What it means that there is no answer."""
        if self.unknown:
            return UnknownSymbolError
        return NotServedError if self.lacking else BackfillError

    async def run(self, turn: Turn) -> tuple[_T, bytes] | None:
        """The answer and its bytes; None if there is none."""
        async with trio.open_nursery() as nursery:
            for host in self._place.hosts:
                now = trio.current_time()
                if not host.serves(self._path):
                    self.lacking = True
                    self.why = BackfillError(f"{host.url}{self._path} wants an API key")
                elif not host.breaker.admits(now):
                    self.why = CircuitOpen(host.breaker.name, host.breaker.admits_from(now))
                else:
                    await turn.take()
                    nursery.start_soon(self._attempt, host, nursery.cancel_scope)
                    await self._wait_for_news()
                if self._over:
                    break
        return self._won

    async def _wait_for_news(self) -> None:
        self._ended = trio.Event()
        with trio.move_on_after(HEDGE_AFTER_S):
            await self._ended.wait()

    async def _attempt(self, host: Host, race: trio.CancelScope) -> None:
        began_at = self._running[host] = trio.current_time()
        try:
            async with host.breaker.attempt():
                answer = await self._ask(host.url + self._path)
                found = _decoded(answer.body, self._shape) if answer.status == _OK else None
        except BackfillError as error:
            self._place.answers = False
            self.why = error
        except CircuitOpen as error:
            self.why = error
        else:
            self._place.answers = True
            if found is not None:
                self._won = found, answer.body
                self._over = True
            else:
                self._refused(host, answer)
        finally:
            del self._running[host]
            self._ended.set()
        if self._over:
            self._blame_the_overtaken(began_at)
            race.cancel()

    def _refused(self, host: Host, answer: _Answer) -> None:
        self.why = BackfillError(f"{host.url}{self._path} answered HTTP {answer.status}")
        self.unknown = answer.knows_no_symbol
        if answer.wants_key:
            host.wants_key(self._path)
        if answer.wants_key or answer.status != _BAD_REQUEST:
            self.lacking = True
        else:
            self._over = True  # the question is wrong, and no other host will like it better

    def _blame_the_overtaken(self, began_at: float) -> None:
        """Those that were asked so much earlier and have not answered yet."""
        for host, since in self._running.items():
            if began_at >= since + HEDGE_AFTER_S:
                host.breaker.record_failure()

    async def _ask(self, url: str) -> _Answer:
        """An answer that says something about the question, not the host."""
        with trio.move_on_after(REQUEST_TIMEOUT_S):
            try:
                async with self._client.stream("GET", url, params=self._query) as response:
                    _heed(self._place, response)
                    body = bytearray()
                    async with aclosing(response.aiter_bytes()) as chunks:
                        async for chunk in chunks:
                            body += chunk
                            if len(body) > MAX_BODY_BYTES:
                                raise BackfillError(f"{url} sent more than {MAX_BODY_BYTES} bytes")
            except (httpx2.HTTPError, ProxyFailed) as error:
                raise BackfillError(f"{url}: {error or type(error).__name__}") from error
            answer = _Answer(response.status_code, bytes(body))
            if answer.blames_host:
                raise BackfillError(f"{url} answered HTTP {answer.status}")
            return answer
        raise BackfillError(f"{url} did not answer within {REQUEST_TIMEOUT_S:g} s")


def _limit_of(venue: str, settings: Settings) -> int:
    """Weight a minute: what the settings say is of their product, and others admit less or more."""
    dialect = dialect_of(venue)
    if dialect is settings.dialect:
        return settings.rest_weight_limit
    return dialect.rest.default_limit


def _heed(place: Venue, response: httpx2.Response) -> None:
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


def _decoded(body: bytes, shape: type[_T]) -> _T:
    try:
        return msgspec.json.decode(body, type=shape)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise BackfillError(f"the answer is not what was asked for: {error}") from error
