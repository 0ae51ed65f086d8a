"""Serves the application of ``web`` over HTTP, beside the feed.

Hypercorn speaks HTTP on each connection. The socket is opened before the feed is: a busy port is
then one clear error instead of an exception from deep inside a server.
"""

from __future__ import annotations

import errno
import logging
import socket
from typing import TYPE_CHECKING, Any, cast

import trio
from hypercorn.config import Config
from hypercorn.trio.tcp_server import TCPServer
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import ConnectionState
from hypercorn.utils import wrap_app  # pyright: ignore[reportUnknownVariableType]

from .errors import ConfigError

if TYPE_CHECKING:
    from hypercorn.typing import Framework  # pyright: ignore[reportUnknownVariableType]
    from starlette.applications import Starlette

log = logging.getLogger(__name__)

LISTEN_BACKLOG = 128
MAX_CONNECTIONS = 256
"""Connections that may be open; further ones are closed at once."""
LIFE_S = 3600.0
"""How long one connection may last, whatever it does."""
MAX_HEAD_BYTES = 16 * 1024
"""Room for a request's line and headers."""
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
    clients = _Clients(app)
    task_status.started(f"http://{f'[{host}]' if ':' in host else host}:{port}")
    await trio.serve_listeners(
        clients.serve, [trio.SocketListener(trio.socket.from_stdlib_socket(listener))]
    )


class _Clients:
    """Serves each connection for itself, so that what one client does can end only its own.

    Hypercorn's own accept loop lets an error in one connection end all of them, and with them the
    program: a byte too many after a request, at the wrong moment, is enough for that.
    """

    def __init__(self, app: Starlette) -> None:
        framework = cast("Framework", app)  # pyright: ignore[reportUnknownVariableType]
        self._app: Any = wrap_app(framework, 0, "asgi")  # pyright: ignore[reportUnknownArgumentType]
        self._config = _config()
        self._context = WorkerContext(None)
        self._open = 0

    async def serve(self, stream: trio.SocketStream) -> None:
        """Serve one connection to its end, within its bounds."""
        if self._open >= MAX_CONNECTIONS:
            await stream.aclose()
            return
        self._open += 1
        plain: Any = stream  # Hypercorn takes it as well, but says that it wants TLS
        server = TCPServer(self._app, self._config, self._context, ConnectionState({}), plain)
        try:
            with trio.move_on_after(LIFE_S):
                await server
        except* Exception as errors:  # noqa: BLE001 - whatever it is, the feed goes on
            log.warning("a connection to the exporter failed: %r", errors.exceptions)
        finally:
            self._open -= 1


def _config() -> Config:
    config = Config()
    config.accesslog = None
    config.errorlog = None
    config.keep_alive_timeout = IDLE_S
    config.h11_max_incomplete_size = MAX_HEAD_BYTES
    config.include_server_header = False
    return config
