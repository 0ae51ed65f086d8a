"""The upgrade of one connection: the client's request, and the answer to it, good or bad."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio
import wsproto
import wsproto.events
import wsproto.utilities

from .. import wire
from ..faults.kinds import UPGRADE_KINDS, FaultKind
from ..refusals import Refusal
from .address import Address, read_address
from .transport import RECEIVE_BYTES, abort, end_in_order, send_fin

if TYPE_CHECKING:
    from ..faults.fault import Fault
    from ..venue.venue import Venue


class Upgrade:
    """One upgrade.

    :param endpoint: that the connection came in by.
    :param client: who it is, for the limit of connects.
    :ivar ws: the state of the protocol.
    """

    def __init__(self, venue: Venue, stream: trio.abc.Stream, endpoint: str, client: str) -> None:
        self._venue = venue
        self._stream = stream
        self._endpoint = endpoint
        self._client = client
        self.ws: wsproto.WSConnection = wsproto.WSConnection(wsproto.ConnectionType.SERVER)

    async def address(self) -> Address | None:
        """What the client asks for, to be accepted or refused; None if it got its answer."""
        target: str | None = None
        with trio.move_on_after(self._venue.limits.upgrade_timeout_s):
            target = await self._target()
        if target is None:
            return None
        fault = self._venue.faults.take((self._endpoint, self._venue.name), UPGRADE_KINDS)
        if fault is not None:
            self._note(fault.kind.value)
            await self._break(fault)
            return None
        try:
            self._venue.admission.admit(self._client)
            knows_unit, product = self._venue.knows_time_unit, self._venue.market.product
            return read_address(target, knows_time_unit=knows_unit, product=product)
        except Refusal as refusal:
            await self.refuse(refusal)
            return None

    async def _target(self) -> str | None:
        while True:
            data = await self._stream.receive_some(RECEIVE_BYTES)
            if not data:
                return None
            try:
                self.ws.receive_data(bytes(data))
                for event in self.ws.events():
                    if isinstance(event, wsproto.events.Request):
                        return event.target
            except wsproto.utilities.RemoteProtocolError:
                await self.refuse(Refusal(400))
                return None

    async def accept(self) -> None:
        """Switch to WebSocket."""
        self._note("accepted")
        await self._stream.send_all(self.ws.send(wsproto.events.AcceptConnection()))

    async def refuse(self, refusal: Refusal) -> None:
        """Answer with an HTTP status, and hang up."""
        self._note(f"http_{refusal.status}")
        data = wire.http_refusal(refusal.status, refusal.retry_after, complete=True)
        await self._stream.send_all(data)
        await self._hang_up()

    def _note(self, outcome: str) -> None:
        self._venue.truth.note_attempt(self._endpoint, self._client, outcome)

    async def _break(self, fault: Fault) -> None:
        stream = self._stream
        match fault.kind:
            case FaultKind.UPGRADE_FIN:
                await send_fin(stream)
                await self._wait_for_client()
            case FaultKind.UPGRADE_RST:
                abort(stream)
            case FaultKind.HTTP_STATUS:
                data = wire.http_refusal(fault.status, fault.retry_after, complete=not fault.held)
                await stream.send_all(data)
                await (self._wait_for_client() if fault.held else self._hang_up())
            case FaultKind.REDIRECT:
                await stream.send_all(wire.redirect(fault.location))
                await self._hang_up()
            case FaultKind.BAD_ACCEPT:
                await stream.send_all(wire.switch("bm90IHRoZSByaWdodCBrZXkgYXQgYWxs"))
                await self._wait_for_client()
            case FaultKind.NOT_HTTP:
                await stream.send_all(wire.NOT_HTTP)
                await self._wait_for_client()
            case FaultKind.UPGRADE_DRIP:
                for byte in self.ws.send(wsproto.events.AcceptConnection()):
                    await stream.send_all(bytes((byte,)))
                    await trio.sleep(fault.interval)
                await self._wait_for_client()
            case _:
                await self._wait_for_client()

    async def _hang_up(self) -> None:
        """End, then wait a little for them, so that the answer is not lost to a reset."""
        await end_in_order(self._stream)
        with trio.move_on_after(self._venue.limits.close_grace_s):
            await self._wait_for_client()

    async def _wait_for_client(self) -> None:
        """Say nothing more and keep the connection until the client gives up."""
        while await self._stream.receive_some(RECEIVE_BYTES):
            pass
