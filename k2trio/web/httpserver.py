"""Serves an ASGI application over HTTP such that no client can end more than its own connection.

Hypercorn speaks HTTP on each connection; the accept loop is Trio's. Hypercorn's own loop lets an
error in one connection end all of them, and with them the program: a byte too many after a request,
at the wrong moment, is enough for that.

Whoever asks for HTTP/2 is answered in it: Hypercorn has no switch for that. A connection may then
have one request open at a time, as in HTTP/1.1, so that all bounds here stay what they are.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import trio
from hypercorn.config import Config
from hypercorn.trio.tcp_server import TCPServer
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import ConnectionState
from hypercorn.utils import wrap_app  # pyright: ignore[reportUnknownVariableType]

if TYPE_CHECKING:
    import socket

    from hypercorn.typing import Framework  # pyright: ignore[reportUnknownVariableType]
    from starlette.types import ASGIApp

log: logging.Logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Bounds:
    """What clients may take.

    :ivar connections: that may be open; further ones are closed at once.
    :ivar life_s: how long one connection may last, whatever it does.
    :ivar idle_s: how long a connection may stay without a complete request.
    :ivar head_bytes: room for a request's line and headers.
    """

    connections: int = 256
    life_s: float = 3600.0
    idle_s: float = 10.0
    head_bytes: int = 16 * 1024


async def serve_http(app: ASGIApp, listener: socket.socket, bounds: Bounds, name: str) -> None:
    """Serve until cancelled, and close the listening socket at the end.

    :param name: what it is that is served, for the log.
    """
    await trio.serve_listeners(
        _Clients(app, bounds, name).serve,
        [trio.SocketListener(trio.socket.from_stdlib_socket(listener))],
    )


class _Clients:
    """Serves each connection for itself."""

    def __init__(self, app: ASGIApp, bounds: Bounds, name: str) -> None:
        framework = cast("Framework", app)  # pyright: ignore[reportUnknownVariableType]
        self._app: Any = wrap_app(framework, 0, "asgi")  # pyright: ignore[reportUnknownArgumentType]
        self._bounds = bounds
        self._name = name
        self._config = Config()
        self._config.accesslog = None
        self._config.errorlog = None
        self._config.keep_alive_timeout = bounds.idle_s
        self._config.h11_max_incomplete_size = bounds.head_bytes
        self._config.include_server_header = False
        self._config.h2_max_concurrent_streams = 1
        self._context = WorkerContext(None)
        self._open = 0

    async def serve(self, stream: trio.SocketStream) -> None:
        """Serve one connection to its end, within its bounds."""
        if self._open >= self._bounds.connections:
            await stream.aclose()
            return
        self._open += 1
        plain: Any = stream  # Hypercorn takes it as well, but says that it wants TLS
        server = TCPServer(self._app, self._config, self._context, ConnectionState({}), plain)
        try:
            with trio.move_on_after(self._bounds.life_s):
                await server
        except* Exception as errors:  # noqa: BLE001 - whatever it is, the others go on
            log.warning("a connection to %s failed: %r", self._name, errors.exceptions)
        finally:
            self._open -= 1
