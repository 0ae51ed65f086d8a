"""Finds the addresses of a server by DNS, and remembers them for when DNS fails."""

from __future__ import annotations

import ipaddress
import socket
from typing import TYPE_CHECKING, Any, TypeAlias

import trio

from ..errors import NameResolutionError

if TYPE_CHECKING:
    from collections.abc import Sequence

RESOLVE_TIMEOUT_S = 3.0
"""A look-up that takes longer, or half of the time left, is answered with the last good addresses,
if there are any."""
MAX_RESOLVER_THREADS = 8
"""Look-ups at once. Hung ones must not use up the threads that the whole program shares."""

Address: TypeAlias = "tuple[socket.AddressFamily, Any]"
"""A family and what ``connect`` takes for it."""


class Resolver:
    """Asks the system, in threads of its own, and remembers the last good addresses."""

    def __init__(self) -> None:
        self._threads = trio.CapacityLimiter(MAX_RESOLVER_THREADS)
        self._known: dict[tuple[str, int], list[Address]] = {}

    async def addresses(self, host: str, port: int) -> list[Address]:
        """Where the server may be reached, in the order to try it in.

        :raises NameResolutionError: if it has no address, or none in time.
        """
        if literal := _literal(host, port):
            return literal
        failure: OSError | UnicodeError | None = None
        rows: Sequence[Any] = ()
        left_s = trio.current_effective_deadline() - trio.current_time()
        patience_s = min(RESOLVE_TIMEOUT_S, left_s / 2)
        with trio.move_on_after(patience_s):
            try:
                rows = await trio.to_thread.run_sync(
                    lambda: socket.getaddrinfo(host, port, type=socket.SOCK_STREAM),
                    limiter=self._threads,
                    abandon_on_cancel=True,
                )
            except (OSError, UnicodeError) as error:  # the latter: no name that DNS could hold
                failure = error
        found = list(dict.fromkeys((row[0], row[4]) for row in rows))
        if found:
            self._known[host, port] = found
            return found
        if known := self._known.get((host, port)):
            return known
        why = failure or f"no answer within {patience_s:g} s"
        raise NameResolutionError(f"DNS gives no address of {host}: {why}") from failure


def _literal(host: str, port: int) -> list[Address]:
    """A host that is an address already, for which nobody has to be asked."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return []
    if isinstance(address, ipaddress.IPv4Address):
        return [(socket.AF_INET, (host, port))]
    # The system knows the number of a named scope.
    return [] if address.scope_id else [(socket.AF_INET6, (host, port, 0, 0))]
