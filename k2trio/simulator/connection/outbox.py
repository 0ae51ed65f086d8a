"""The sending half of one connection: what waits to be sent, and the end that comes after it.

Frames are built by hand, once for all connections, and those that wait are sent together.
"""

from __future__ import annotations

import enum
import math
from typing import TYPE_CHECKING

import trio

from .. import wire
from ..faults.kinds import FaultKind
from .transport import abort, end_in_order, send_fin

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from ..venue.limits import Limits
    from .ailments import Ailments

PING_BURST_S = 0.1
CHECKPOINTS_PER_BYTE = 3
"""Turns that a reader in the same program gets to take one byte before the next one comes."""


class How(enum.Enum):
    """How the exchange ends a connection, once what it has sent is out."""

    CLOSED = "closed"  # the closing handshake is done: TLS is ended in order as well
    FIN = "fin"
    RST = "rst"


class Outbox:
    """Sends what the exchange has to say on one connection, and ends it.

    :ivar nursery: runs what happens on the connection later; None until the upgrade is done.
    :ivar closing: nothing that a client would count as data is sent any more.
    :ivar cause: why the connection ends, or did.
    :ivar idle: whether everything is sent.
    """

    def __init__(self, stream: trio.abc.Stream, limits: Limits, ailments: Ailments) -> None:
        self._stream = stream
        self._limits = limits
        self._ailments = ailments
        self.nursery: trio.Nursery | None = None
        self.closing: bool = False
        self.cause: str = "client"
        self.idle: bool = True
        self._held_open = False
        self._ending: How | None = None
        self._waiting: list[bytes] = []
        self._waiting_bytes = 0
        self._lot = trio.lowlevel.ParkingLot()

    def spawn(self, work: Callable[..., Awaitable[None]], *arguments: object) -> None:
        """Run ``work`` for as long as the connection lives."""
        if self.nursery is not None:
            self.nursery.start_soon(work, *arguments)

    # Data

    def push(self, data: bytes) -> None:
        """Send bytes as they are; the connection is dropped if the client is too slow."""
        self._waiting.append(data)
        self._waiting_bytes += len(data)
        if self.idle:
            self._wake()
        if self._waiting_bytes > self._limits.buffer_bytes and self._ending is None:
            self.end(How.RST, "slow reader")

    def _wake(self) -> None:
        self.idle = False
        self._lot.unpark()

    async def run(self) -> None:
        """Send until the end, and end."""
        ailments = self._ailments
        while True:
            if not self._waiting:
                if self._ending is not None and not ailments.dark:
                    await self._finish(self._ending)
                    return
                self.idle = True
                await self._lot.park()
                continue
            await ailments.light()
            data = b"".join(self._waiting)
            self._waiting.clear()
            self._waiting_bytes = 0
            if ailments.dark_for_ever:
                continue
            if ailments.suffers(FaultKind.SEGMENTED):
                for byte in data:
                    await self._stream.send_all(bytes((byte,)))
                    for _ in range(CHECKPOINTS_PER_BYTE):
                        await trio.lowlevel.checkpoint()
            else:
                await self._stream.send_all(data)

    def darken(self, duration: float) -> None:
        """Lose all packets for ``duration`` seconds; 0: for ever."""
        until = trio.current_time() + duration if duration else math.inf
        self._ailments.darken(until)
        if duration:
            self.spawn(self._relight, until)

    async def _relight(self, until: float) -> None:
        await trio.sleep_until(until)
        self._wake()

    # The end

    def begin_close(self, code: int, reason: str, cause: str, *, held: bool = False) -> None:
        """Send a close frame, then FIN when the client has answered, or after a grace time.

        :param held: keep TCP open, whatever the client answers.
        """
        if self.closing:
            return
        self.cause = cause
        self.closing = True
        self._held_open = held
        self.push(wire.close(code, reason))
        if not held:
            self.spawn(self._end_after_grace)

    async def _end_after_grace(self) -> None:
        await trio.sleep(self._limits.close_grace_s)
        self.end(How.RST, self.cause)

    def finish_close(self, code: int) -> None:
        """Answer the client's close frame, or take it as the answer to ours."""
        if self._held_open:
            return
        if self.closing:
            self.end(How.CLOSED, self.cause)
            return
        self.cause = "client close"
        self.closing = True
        answer = wire.close(code if code not in (1005, 1006, 1015) else 1000)
        if self._ailments.suffers(FaultKind.PING_WHILE_CLOSING):
            self.spawn(self._close_with_pings, answer)
        else:
            self.push(answer)
            self.end(How.CLOSED, self.cause)

    async def _close_with_pings(self, answer: bytes) -> None:
        self.push(wire.ping(b"flood while closing"))
        await trio.sleep(PING_BURST_S)
        self.push(wire.ping(b"flood while closing") + answer)
        self.end(How.CLOSED, self.cause)

    def end(self, how: How, cause: str) -> None:
        """End the connection: by RST at once, by FIN when everything is sent."""
        self.cause = cause
        self.closing = True
        self._ending = how
        if self._ailments.dark:
            return
        if how is How.RST:
            abort(self._stream)
        self._wake()

    async def _finish(self, how: How) -> None:
        if how is How.RST:
            abort(self._stream)
        elif how is How.FIN:
            await send_fin(self._stream)
        else:
            await end_in_order(self._stream)
        # The reader sees the client's end; one that holds on is cut off.
        await trio.sleep(self._limits.close_grace_s)
