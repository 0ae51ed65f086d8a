"""TLS over a byte stream, made for reading many small records.

An exchange sends each message in a record of its own. :class:`trio.SSLStream` gives one record per
call, each with its own checkpoint, so a burst costs a pass through the whole client per message.
:class:`TlsStream` decrypts everything that one read of the transport brought, and gives it at once.
And it can resume a session, which saves a reconnect the certificates and their verification.

The protocol itself is OpenSSL's, by :class:`ssl.SSLObject`. As HTTPS allows, the end of the
transport is the end of the stream, with or without a ``close_notify``: WebSocket has a closing
handshake of its own.
"""

from __future__ import annotations

import os
import ssl
from contextlib import suppress
from typing import TYPE_CHECKING

import trio

from ..errors import ConfigError
from .tcp import TcpStream

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..settings import Settings

TRANSPORT_BYTES = 128 * 1024
"""One read of the transport. Records have overhead, so what comes out of it is a little less."""
RECORD_BYTES = 16 * 1024
"""What one record brings at most (RFC 8446, 5.1)."""


def make_ssl_context(settings: Settings) -> ssl.SSLContext:
    """TLS ≥ 1.2 with verification, which no setting turns off; ``ca_file`` adds authorities.

    :raises ConfigError: if a file that it is made of cannot be used.
    """
    try:
        context = ssl.create_default_context()
    except OSError as error:  # the only file that it opens and does not pass over if it cannot
        raise ConfigError(
            f"cannot write to SSLKEYLOGFILE {os.environ.get('SSLKEYLOGFILE')}: {error.strerror}; "
            "unset it, or name a file that this user may write"
        ) from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION  # what TlsStream relies on
    if settings.ca_file is not None:
        try:
            context.load_verify_locations(settings.ca_file)
        except OSError as error:  # ssl.SSLError is one
            raise ConfigError(
                f"CA_FILE {settings.ca_file} cannot be used: {error.strerror or error}; "
                "it must be a PEM file of certificates that this user may read"
            ) from error
    return context


class TlsStream(trio.abc.Stream):
    """The client's side of a TLS connection, for one reader and any number of writers.

    :param transport: carries the records; it is closed with this stream.
    :param context: must refuse renegotiation (``OP_NO_RENEGOTIATION``), so that sending never has
        to wait for the peer's answer.
    :param session: of an earlier connection to the same server, to be resumed if the server likes.
    :param remember: told the session once the server has had the chance to send its tickets.

    Methods raise :class:`trio.BrokenResourceError`, caused by the :class:`ssl.SSLError` where
    there is one, and :class:`trio.ClosedResourceError` as the transport does.
    """

    def __init__(
        self,
        transport: trio.abc.Stream,
        context: ssl.SSLContext,
        server_hostname: str,
        *,
        session: ssl.SSLSession | None = None,
        remember: Callable[[ssl.SSLSession], None] | None = None,
    ) -> None:
        self._transport = transport
        self._tcp = transport if isinstance(transport, TcpStream) else None
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(
            self._incoming, self._outgoing, server_hostname=server_hostname, session=session
        )
        self._remember = remember
        self._send_lock = trio.Lock()
        self._ended = False
        self._more = False
        """Whether there may be more to decrypt."""

    def proven(self) -> None:
        """To be called when a WebSocket was opened on it."""
        if self._tcp is not None:
            self._tcp.proven()

    @property
    def resumed(self) -> bool:
        """Whether the handshake resumed a session."""
        return bool(self._tls.session_reused)

    async def do_handshake(self) -> None:
        """Agree on keys and verify the server; needed before anything is sent or received."""
        while True:
            failure: ssl.SSLError | None = None
            try:
                self._tls.do_handshake()
            except ssl.SSLError as error:
                failure = error
            if failure is None or isinstance(failure, ssl.SSLWantReadError):
                await self._flush()
            else:
                with suppress(trio.BrokenResourceError):
                    await self._flush()  # the alert that tells the server why
                raise trio.BrokenResourceError from failure
            if failure is None:
                return
            await self._fill()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """Everything that one read of the transport brought; empty at the end of the stream."""
        limit = TRANSPORT_BYTES if max_bytes is None else max_bytes
        while not self._ended:
            data = self._decrypt(limit)
            if self._outgoing.pending and not self._ended:  # the answer to a key update
                await self._flush()
            if data:
                await trio.lowlevel.checkpoint()
                return data
            if not self._ended:
                await self._fill()
        return b""

    @property
    def ready(self) -> TlsStream | None:
        """Itself, if it can be read as :class:`~.ready.Ready` says."""
        return None if self._tcp is None else self

    @property
    def hosted(self) -> bool:
        """See :class:`~.ready.Ready`."""
        waits = not self._more and not self._outgoing.pending
        return waits and self._tcp is not None and self._tcp.hosted

    def fileno(self) -> int:
        """Of the socket; -1 when it is closed."""
        return -1 if self._tcp is None else self._tcp.fileno()

    async def readable(self) -> None:
        """Return when :meth:`read_now` is worth a try, after a checkpoint."""
        if self._outgoing.pending:  # the answer to a key update
            await self._flush()
        if self._more or self._tcp is None:
            await trio.lowlevel.checkpoint()
        else:
            await self._tcp.readable()

    def read_now(self) -> bytes | None:
        """What has arrived; empty at the end of the stream, None if nothing has."""
        if not self._more:
            data = None if self._tcp is None else self._tcp.read_now(TRANSPORT_BYTES)
            if data is None:
                return None
            if data:
                self._incoming.write(data)
            else:
                self._incoming.write_eof()
        plain = self._decrypt(self._incoming.pending + RECORD_BYTES)
        return plain if plain or self._ended else None

    def _decrypt(self, limit: int) -> bytes:
        parts: list[bytes] = []
        size = 0
        try:
            while size < limit:
                part = self._tls.read(limit - size)
                if not part:
                    self._ended = True
                    break
                parts.append(part)
                size += len(part)
                if not self._incoming.pending and not self._tls.pending():
                    break  # instead of asking for more, which is an exception
        except ssl.SSLWantReadError:
            pass
        except (ssl.SSLEOFError, ssl.SSLZeroReturnError):
            self._ended = True
        except ssl.SSLError as error:
            raise trio.BrokenResourceError from error
        self._more = size >= limit
        if parts and self._remember is not None and (session := self._tls.session) is not None:
            self._remember(session)
            self._remember = None
        return parts[0] if len(parts) == 1 else b"".join(parts)

    async def _fill(self) -> None:
        data = await self._transport.receive_some(TRANSPORT_BYTES)
        if data:
            self._incoming.write(data)
        else:
            self._incoming.write_eof()

    async def _flush(self) -> None:
        async with self._send_lock:
            if data := self._outgoing.read():
                await self._transport.send_all(data)

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Encrypt and send."""
        try:
            self._tls.write(data)
        except ssl.SSLError as error:
            raise trio.BrokenResourceError from error
        await self._flush()

    async def wait_send_all_might_not_block(self) -> None:
        """As the transport does."""
        await self._transport.wait_send_all_might_not_block()

    async def aclose(self) -> None:
        """Close the transport."""
        await self._transport.aclose()
