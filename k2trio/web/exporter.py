"""Serves the application of ``web`` over HTTP, beside the feed.

The socket is opened before the feed is: a busy port is then one clear error instead of an exception
from deep inside a server.
"""

from __future__ import annotations

import errno
import resource
import socket
from typing import TYPE_CHECKING

import trio

from ..errors import ConfigError
from .httpserver import Bounds, serve_http

if TYPE_CHECKING:
    from starlette.applications import Starlette

LISTEN_BACKLOG = 128
FEED_DESCRIPTORS = 64
"""Open files that are the feed's own, whoever else asks: sockets, the output, the state."""
MIN_CONNECTIONS = 4
"""So that metrics are seen all the same where there are hardly more files than the feed needs."""


def affordable_connections(open_files: int) -> int:
    """How many connections the exporter may have where the process may open so many files."""
    if open_files == resource.RLIM_INFINITY:
        return Bounds().connections
    share = (open_files - FEED_DESCRIPTORS) // 2
    return max(MIN_CONNECTIONS, min(Bounds().connections, share))


BOUNDS = Bounds(affordable_connections(resource.getrlimit(resource.RLIMIT_NOFILE)[0]))
"""What the clients of the exporter may take."""
SEND_BUFFER_BYTES = 1 << 20
"""Room in the kernel for answers, so that a client that does not read keeps no task waiting."""
UNREAD_MS = 1000
"""After this time without a byte taken by the client, the kernel ends its connection (Linux)."""


SETTINGS = "K2_BINANCE_METRICS_PORT / --metrics-port or K2_BINANCE_METRICS_HOST / --metrics-host"


def open_socket(host: str, port: int, settings: str = SETTINGS) -> socket.socket:
    """Bind and listen.

    :param settings: what host and port are set with.
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
        raise ConfigError(f"port {port} on {host} {why}; {cure} with {settings}") from error
    return listener


async def serve_app(
    app: Starlette,
    listener: socket.socket,
    *,
    task_status: trio.TaskStatus[str] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve until cancelled; starts with the base URL, and closes the socket at the end."""
    host, port = listener.getsockname()[:2]
    task_status.started(f"http://{f'[{host}]' if ':' in host else host}:{port}")
    await serve_http(app, listener, BOUNDS, "the exporter")
