"""The receiving half of one connection: what the client sends is counted, and answered.

Incoming bytes go through wsproto.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

import trio
import wsproto
import wsproto.connection
import wsproto.events

from .. import wire
from ..faults.kinds import FaultKind
from ..venue.truth import ClientMessage
from . import control
from .transport import RECEIVE_BYTES

if TYPE_CHECKING:
    from ..venue.venue import Venue
    from .ailments import Ailments
    from .keeper import Keeper
    from .outbox import Outbox


class Inbox:
    """Takes what the client sends.

    :param number: of the connection.
    :param ws: the state of the protocol, the upgrade done.
    :param target: what control messages change.
    """

    def __init__(
        self,
        venue: Venue,
        number: int,
        stream: trio.abc.Stream,
        ws: wsproto.WSConnection,
        target: control.Target,
        ailments: Ailments,
        outbox: Outbox,
        keeper: Keeper,
    ) -> None:
        self._venue = venue
        self._number = number
        self._stream = stream
        self._ws = ws
        self._target = target
        self._ailments = ailments
        self._outbox = outbox
        self._keeper = keeper
        self._deaf = False
        self._text: list[str] = []
        self._text_chars = 0
        self._recent: deque[float] = deque(maxlen=venue.limits.client_messages_per_s)

    async def run(self) -> None:
        """Receive until the client ends."""
        while True:
            await self._ailments.recovered(FaultKind.ZERO_WINDOW)
            data = await self._stream.receive_some(RECEIVE_BYTES)
            if not data:
                return
            await self._ailments.light()
            if self._ailments.dark_for_ever or self._deaf:
                continue
            self._ws.receive_data(bytes(data))
            for event in self._ws.events():
                self._on_event(event)

    def _on_event(self, event: wsproto.events.Event) -> None:
        outbox = self._outbox
        match event:
            case wsproto.events.TextMessage(data=data, message_finished=finished):
                self._text.append(data)
                self._text_chars += len(data)
                if self._text_chars > self._venue.limits.client_message_bytes:
                    outbox.begin_close(1009, "message too big", "client message too big")
                elif finished:
                    text = "".join(self._text)
                    self._text.clear()
                    self._text_chars = 0
                    self._on_text(text)
            case wsproto.events.BytesMessage(message_finished=finished):
                if finished and self._count("binary"):
                    outbox.begin_close(1003, "binary is not supported", "binary")
            case wsproto.events.Ping(payload=payload):
                if self._count("ping") and not outbox.closing:
                    outbox.push(wire.pong(bytes(payload)))
            case wsproto.events.Pong(payload=payload):
                # An answer to a flood that we made ourselves is not held against the client.
                self._count("pong", free=bytes(payload).startswith(b"flood"))
                self._keeper.on_pong(bytes(payload))
            case wsproto.events.CloseConnection(code=code):
                self._deaf = True
                # wsproto reports a broken frame as a close, but stays open itself.
                if self._ws.state is wsproto.connection.ConnectionState.OPEN:
                    outbox.begin_close(int(code), "protocol error", "client protocol error")
                else:
                    self._note("close", str(int(code)))
                    outbox.finish_close(int(code))
            case _:
                pass

    def _note(self, kind: str, detail: str) -> None:
        self._venue.truth.client_messages.append(
            ClientMessage(trio.current_time(), self._number, kind, detail)
        )

    def _count(self, kind: str, detail: str = "", *, free: bool = False) -> bool:
        """Note a client message; False if the client sends too many and is being cut off."""
        self._note(kind, detail)
        if free:
            return True
        now = trio.current_time()
        over = len(self._recent) == self._recent.maxlen and now - self._recent[0] < 1.0
        self._recent.append(now)
        if over:
            self._outbox.begin_close(1008, "Too many requests", "too many client messages")
        return not over

    def _on_text(self, text: str) -> None:
        reply = None
        if not self._outbox.closing:
            reply = control.answer(text, self._target, wrapped_errors=self._venue.wrapped_errors)
        if self._count("text", reply.method if reply else "") and reply is not None:
            if reply.code is not None:
                self._venue.truth.refused_controls[reply.code] += 1
            self._outbox.push(wire.text(reply.data))
