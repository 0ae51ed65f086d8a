"""Whether the REST hosts answer from here: each is asked for the time, by itself."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple

import msgspec
import trio

from ..errors import ProxyFailed
from ..market.units import US
from ..market.venues import dialect_of
from ..sharing.sharing import open_sharing
from .asking import Hosts
from .hosts import BackfillError, rest_urls_of, rest_venue_of

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterable

    import httpx2

    from ..settings import Settings

CLOCK_ASKS = 5
"""How often a venue is asked for its time: the first answer has to wait for a connection."""
CLOSE_TIMEOUT_S = 1.0
"""Bound on closing the connections, whatever was cancelled."""


class RestHost:
    """A host, and what was found.

    :ivar took_s: how long the answer took; None if there was none.
    :ivar problem: why there was none.
    :ivar failed_proxy: the same, if the proxy on the way there is to blame.
    """

    def __init__(self, url: str, venue: str) -> None:
        self.url = url
        self.venue = venue
        self.took_s: float | None = None
        self.problem: str = ""
        self.failed_proxy: str = ""

    async def ask(
        self,
        settings: Settings,
        *,
        verify: ssl.SSLContext | bool = True,
        transport: httpx2.AsyncBaseTransport | None = None,
    ) -> None:
        """Ask for the time, and take note of what comes.

        :param verify: TLS context of the program.
        :param transport: stands in for the network in tests.
        """
        alone = settings.model_copy(update={"rest_urls": (self.url,)})
        hosts = Hosts([self.venue], alone, verify, transport, open_sharing(settings))
        began_at = trio.current_time()
        try:
            path, weight, _ = dialect_of(self.venue).rest.clock
            await hosts.get(self.venue, path, {}, weight, _Time)
            self.took_s = trio.current_time() - began_at
        except BackfillError as error:
            cause = error.__cause__ or error
            self.problem = str(cause)
            if isinstance(cause.__cause__, ProxyFailed):
                self.problem = self.failed_proxy = str(cause.__cause__)
        finally:
            with trio.CancelScope(shield=True, deadline=trio.current_time() + CLOSE_TIMEOUT_S):
                await hosts.aclose()


class ClockOffset(NamedTuple):
    """How the clocks of this machine and of a venue differ.

    :ivar ahead_s: by how much this machine's is ahead (s); negative where it is behind.
    :ivar within_s: how exactly that is known (s): the answer may have been made at any time between
        the question and its arrival.
    """

    ahead_s: float
    within_s: float


async def clock_offset(
    venue: str,
    settings: Settings,
    *,
    verify: ssl.SSLContext | bool = True,
    transport: httpx2.AsyncBaseTransport | None = None,
    wall_clock: Callable[[], float] = time.time,
) -> ClockOffset:
    """Ask a venue for its time, some times; the quickest answer tells most.

    :param verify: TLS context of the program.
    :param transport: stands in for the network in tests.
    :raises BackfillError: if it does not answer.
    """
    tells_units = dialect_of(venue).tells_units
    finest = settings.model_copy(update={"time_unit": US.name}) if tells_units else settings
    hosts = Hosts([venue], finest, verify, transport, open_sharing(settings))
    path, weight, _ = dialect_of(venue).rest.clock
    found: list[ClockOffset] = []
    try:
        for _ in range(CLOCK_ASKS):
            asked_at, began_at = wall_clock(), trio.current_time()
            answer, _ = await hosts.get(venue, path, {}, weight, _Time)
            within_s = (trio.current_time() - began_at) / 2
            exact_s = US.of(answer.serverTime) / US.per_second
            found.append(ClockOffset(asked_at + within_s - exact_s, within_s))
    finally:
        with trio.CancelScope(shield=True, deadline=trio.current_time() + CLOSE_TIMEOUT_S):
            await hosts.aclose()
    return min(found, key=lambda offset: offset.within_s)


class _Time(msgspec.Struct):
    serverTime: int  # noqa: N815 - the wire's name


def rest_hosts(settings: Settings, venues: Iterable[str]) -> list[RestHost]:
    """Every host that would be asked for one of the venues."""
    return [
        RestHost(url, venue)
        for venue in dict.fromkeys(venues)
        for url in rest_urls_of(venue, settings.rest_urls)
    ]


def never_asked(settings: Settings, venues: Iterable[str]) -> list[str]:
    """The URLs of the settings that are of no venue in use."""
    used, product = set(venues), settings.dialect.product
    return [url for url in settings.rest_urls if rest_venue_of(url, product) not in used]
