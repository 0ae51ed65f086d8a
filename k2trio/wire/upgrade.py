"""Upgrades a byte stream to a WebSocket whose URL names the streams."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast
from urllib.parse import quote

import trio
import trio_websocket

from ..errors import HandshakeTimeout
from ..market.units import MS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..market.units import TimeUnit
    from ..policy.failover import Endpoint
    from .tap import FrameTap

MAX_TARGET_BYTES = 4096
"""Streams go into the URL while the request target stays below this; else SUBSCRIBE is used."""

SHORT_TARGET_BYTES = 512
"""A target that no server, proxy or firewall takes for too long."""
_OF_LENGTH = frozenset({400, 404, 413, 414, 431})
"""What a long target is refused with: URI Too Long (RFC 9110, 15.5.15), Request Header Fields Too
Large (RFC 6585, 5), or by proxies as just a bad request."""


def is_refusal_of_length(status: int, target: str) -> bool:
    """Whether a refusal may be for the length of the target, so that a shorter one is worth it."""
    return status in _OF_LENGTH and len(target) > SHORT_TARGET_BYTES


def stream_target(
    path: str, streams: Sequence[str], unit: TimeUnit = MS, *, long: bool = True
) -> tuple[str, Sequence[str]]:
    """The request target for the streams, and those that did not fit and need SUBSCRIBE.

    Names may be non-ASCII and are percent-encoded; so is ``+`` (of a time zone), which a server
    may read as a space.

    :param unit: of times; the exchange's default is not asked for, as not all venues know how.
    :param long: whether the server takes more than :data:`SHORT_TARGET_BYTES`.
    """
    limit = MAX_TARGET_BYTES if long else SHORT_TARGET_BYTES
    names = "streams=" + "/".join(quote(name, safe="@!_:") for name in streams)
    times = () if unit is MS else (f"timeUnit={unit.word}",)
    target = f"{path}?{'&'.join((names, *times))}"
    if streams and len(target) <= limit:
        return target, ()
    return "?".join((path, *times)), streams


async def upgrade(
    nursery: trio.Nursery, tap: FrameTap, endpoint: Endpoint, target: str, deadline: float
) -> trio_websocket.WebSocketConnection:
    """Ask for the target by the deadline; trio-websocket's reader then runs in the nursery.

    :raises ConnectionFailed: of the kind that fits.
    """
    websocket: trio_websocket.WebSocketConnection | None = None
    with trio.CancelScope(deadline=deadline) as scope:

        async def give_up_when_down() -> None:
            # trio-websocket waits for its handshake event even when its reader has ended.
            await tap.down.wait()
            scope.cancel()

        nursery.start_soon(give_up_when_down)
        websocket = await trio_websocket.wrap_client_stream(
            nursery,
            cast("trio.SocketStream", tap),  # it uses no more than trio.abc.Stream has
            endpoint.name,
            target,
        )
    if websocket is not None:
        return websocket  # if it has failed already, messages may have come before that
    if tap.failure is not None:
        raise tap.failure
    raise HandshakeTimeout(f"{endpoint.name} did not answer the upgrade in time")
