"""Serves the application of ``web`` over HTTP, beside the feed.

Hypercorn's Trio worker runs the server. The socket is opened before it starts: a busy port is then
one clear error instead of an exception from deep inside a server.
"""

from __future__ import annotations

import errno
import functools
import socket
from typing import TYPE_CHECKING, cast

import hypercorn.config
import hypercorn.trio
import trio

from .errors import ConfigError

if TYPE_CHECKING:
    from hypercorn.typing import Framework  # pyright: ignore[reportUnknownVariableType]
    from starlette.applications import Starlette

LISTEN_BACKLOG = 128
GRACE_S = 0.5
"""How long requests under way may take at shutdown."""
IDLE_S = 10.0
"""How long a connection may stay without a complete request."""
SEND_BUFFER_BYTES = 1 << 20
"""Room in the kernel for answers, so that a client that does not read keeps no task waiting."""
UNREAD_MS = 1000
"""After this time without a byte taken by the client, the kernel ends its connection (Linux)."""


def open_socket(host: str, port: int) -> socket.socket:
    """Bind and listen.

    :raises ConfigError: naming the address and the setting, if that is not possible.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, socket.SOCK_STREAM)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            # Accepted connections inherit both. Hypercorn sends in a shield and without a bound,
            # so a client that does not read would otherwise hold up the shutdown for ever.
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
            if hasattr(socket, "TCP_USER_TIMEOUT"):
                listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNREAD_MS)
            listener.bind(address)
            listener.listen(LISTEN_BACKLOG)
            listener.setblocking(False)
        except BaseException:
            listener.close()
            raise
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            why, cure = "is in use", "stop the other program, or choose another port"
        else:
            why, cure = f"cannot be opened ({error.strerror or error})", "choose another address"
        raise ConfigError(
            f"port {port} on {host} {why}; {cure} with K2_BINANCE_METRICS_PORT / --metrics-port "
            "or K2_BINANCE_METRICS_HOST / --metrics-host"
        ) from error
    return listener


async def serve_app(
    app: Starlette,
    listener: socket.socket,
    *,
    task_status: trio.TaskStatus[str] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve until cancelled; starts with the base URL, and closes the socket at the end."""
    host, port = listener.getsockname()[:2]
    asgi = cast("Framework", app)  # pyright: ignore[reportUnknownVariableType]
    serve = functools.partial(hypercorn.trio.serve, asgi, _config(listener), mode="asgi")  # pyright: ignore[reportUnknownMemberType]
    async with trio.open_nursery() as nursery:
        await nursery.start(serve)
        task_status.started(f"http://{f'[{host}]' if ':' in host else host}:{port}")


def _config(listener: socket.socket) -> hypercorn.config.Config:
    config = hypercorn.config.Config()
    # Hypercorn makes a socket object of its own from the descriptor and closes it at the end, so
    # ours must let go: two owners would close it twice, and the second time it may be another's.
    config.bind = [f"fd://{listener.detach()}"]
    config.accesslog = None
    config.errorlog = None
    config.graceful_timeout = GRACE_S
    config.shutdown_timeout = GRACE_S
    config.keep_alive_timeout = IDLE_S
    config.h11_max_incomplete_size = 16 * 1024
    config.include_server_header = False
    return config
