"""The gate of an endpoint: a listening port, which faults close, reopen, or make a black hole."""

from __future__ import annotations

import contextlib
import socket
from typing import TYPE_CHECKING

import trio

from ..connection.transport import abort
from ..faults.kinds import DIAL_KINDS, FaultKind

if TYPE_CHECKING:
    import ssl

    from ..exchange import Exchange
    from ..faults.fault import Fault
    from .configuration import EndpointConfig

BACKLOG = 1024
TLS_HANDSHAKE_S = 10.0
ACCEPT_PAUSE_S = 0.1
BLACK_HOLE_FILLERS = 4
"""Connections that fill the accept queue, so that the kernel drops every further SYN."""


def listen(host: str, port: int) -> socket.socket:
    """A listening socket.

    :raises OSError: if the port is taken.
    """
    listening = socket.socket()
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
        listening.listen(BACKLOG)
        listening.setblocking(False)
    except OSError:
        listening.close()
        raise
    return listening


class Gate:
    """One listening port, which faults can close, reopen, or make a black hole.

    :raises OSError: if the port is taken.
    """

    def __init__(
        self, config: EndpointConfig, exchange: Exchange, host: str, tls: ssl.SSLContext | None
    ) -> None:
        self.config = config
        self._exchange = exchange
        self._host = host
        self._tls = tls
        self._names = (config.name, config.venue)
        self._fillers: list[socket.socket] = []
        self._accepting = trio.CancelScope()
        self._opened = trio.Event()
        self._socket: trio.socket.SocketType | None = None
        self._port = config.port
        self._open()

    @property
    def url(self) -> str:
        """Base URL."""
        return f"{'wss' if self._tls else 'ws'}://{self._host}:{self._port}"

    def _open(self) -> None:
        listening = listen(self._host, self._port)
        self._port = listening.getsockname()[1]
        self._socket = trio.socket.from_stdlib_socket(listening)
        self._opened.set()

    def close(self) -> None:
        """Stop listening: further dials are refused."""
        for filler in self._fillers:
            filler.close()
        self._fillers.clear()
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        self._stop_accepting()

    def _stop_accepting(self) -> None:
        if self._opened.is_set():
            self._opened = trio.Event()
        self._accepting.cancel()

    def fault_begins(self, fault: Fault) -> None:
        """Refuse, or swallow, dials for the fault's duration."""
        if not fault.duration or fault.count is not None or not fault.hits(self._names):
            return
        if fault.kind in {FaultKind.REFUSED, FaultKind.OUTAGE}:
            self.close()
        elif fault.kind is FaultKind.BLACK_HOLE and self._socket is not None:
            self._stop_accepting()
            self._socket.listen(0)
            for _ in range(BLACK_HOLE_FILLERS):
                filler = socket.socket()
                filler.setblocking(False)
                filler.connect_ex((self._host, self._port))
                self._fillers.append(filler)

    def fault_ends(self, fault: Fault) -> None:
        """Listen again, on the same port, once nothing forbids it."""
        kinds = (FaultKind.REFUSED, FaultKind.OUTAGE, FaultKind.BLACK_HOLE)
        if fault.kind not in kinds or not fault.hits(self._names):
            return
        if any(other.duration for other in self._exchange.faults.active(self._names, kinds)):
            return
        self.close()
        self._open()

    async def run(self) -> None:
        """Accept connections, for ever."""
        try:
            async with trio.open_nursery() as nursery:
                while True:
                    while not self._opened.is_set():  # a fault may close it before we run again
                        await self._opened.wait()
                    with trio.CancelScope() as self._accepting:
                        await self._accept(nursery)
        finally:
            self.close()

    async def _accept(self, nursery: trio.Nursery) -> None:
        while self._socket is not None:
            try:
                accepted, address = await self._socket.accept()
            except trio.ClosedResourceError:
                return
            except OSError:  # no descriptors left, or the peer was gone before we took it
                await trio.sleep(ACCEPT_PAUSE_S)
                continue
            nursery.start_soon(self._serve, trio.SocketStream(accepted), str(address[0]))

    async def _serve(self, stream: trio.SocketStream, client: str) -> None:
        fault = self._exchange.faults.take(self._names, DIAL_KINDS)
        if fault is not None:
            self._exchange.truth.note_attempt(self.config.name, client, fault.kind.value)
            if fault.kind is FaultKind.BLACK_HOLE:
                with contextlib.suppress(trio.BrokenResourceError):
                    while await stream.receive_some(1024):
                        pass
            abort(stream)
            return
        served: trio.abc.Stream = stream
        if self._tls is not None:
            secure = trio.SSLStream(stream, self._tls, server_side=True)
            try:
                with trio.fail_after(TLS_HANDSHAKE_S):
                    await secure.do_handshake()
            except (trio.BrokenResourceError, trio.TooSlowError):
                await trio.aclose_forcefully(stream)
                return
            served = secure
        await self._exchange.serve_stream(served, self.config.name, client)
