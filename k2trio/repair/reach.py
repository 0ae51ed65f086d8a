"""Whether the REST hosts answer from here: each is asked for the time, by itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import trio

from ..errors import ProxyFailed
from ..sharing.sharing import open_sharing
from .asking import Hosts
from .hosts import BackfillError, rest_urls_of, rest_venue_of

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterable

    import httpx2

    from ..settings import Settings

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
            await hosts.get(self.venue, "/api/v3/time", {}, 1, _Time)
            self.took_s = trio.current_time() - began_at
        except BackfillError as error:
            cause = error.__cause__ or error
            self.problem = str(cause)
            if isinstance(cause.__cause__, ProxyFailed):
                self.problem = self.failed_proxy = str(cause.__cause__)
        finally:
            with trio.CancelScope(shield=True, deadline=trio.current_time() + CLOSE_TIMEOUT_S):
                await hosts.aclose()


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
    used = set(venues)
    return [url for url in settings.rest_urls if rest_venue_of(url) not in used]
