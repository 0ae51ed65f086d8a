"""Control requests of one connection: sent no faster than allowed, each with its reply.

Source: Binance API docs of spot and of USD-M futures, "Live Subscribing/Unsubscribing to streams".
"""

from __future__ import annotations

import math
from collections import deque
from typing import TYPE_CHECKING

import msgspec
import trio

from ..errors import ConnectionFailed, Dropped, ProtocolViolation, SubscriptionRejected

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Sequence

    from ..market.control import Reply
    from ..market.dialect import Dialect

CONTROL_SHARE = 0.5
"""Of the messages that the exchange admits: pings and pongs are the rest, and are few."""
REPLY_TIMEOUT_S = 10.0
"""How long a reply to a control message is waited for."""
MAX_NAMES_BYTES = 3840
"""Names of streams in one SUBSCRIBE message, as JSON: with what stands around them the message
stays below 4096 bytes, above which the exchange, or a proxy before it, ends the connection."""


class Requests:
    """Sends control messages and pairs them with their replies.

    :param send: writes one message: method, parameters, id.
    :param dialect: says how many messages the exchange takes.
    :param lagging: whether what has arrived waits for the consumer, and with it maybe a reply.
    """

    def __init__(
        self,
        send: Callable[[str, Sequence[str], int], Awaitable[None]],
        dialect: Dialect,
        lagging: Callable[[], bool],
    ) -> None:
        self._send = send
        self._spacing_s = 1 / (CONTROL_SHARE * dialect.client_messages_per_s)
        self._lagging = lagging
        self._replies: dict[int, tuple[trio.Event, list[Reply]]] = {}
        self._last_id = 0
        self._next_send_at = -math.inf
        self._ended: ConnectionFailed | None = None

    def take(self, reply: Reply) -> bool:
        """Hand over a reply that arrived; False if nobody waits for it."""
        if reply.id is None or reply.id not in self._replies:
            return False
        arrived, box = self._replies[reply.id]
        box.append(reply)
        arrived.set()
        return True

    def end(self, failure: ConnectionFailed | None) -> None:
        """No reply will come any more: the connection failed, or was replaced (None)."""
        self._ended = failure or Dropped("the connection was replaced first")
        for arrived, _ in self._replies.values():
            arrived.set()

    async def request(self, method: str, params: Sequence[str]) -> Reply:
        """Send a control message, no faster than the exchange allows, and wait for its reply.

        :raises ConnectionFailed: if the connection ends first, or no reply comes.
        """
        self._last_id += 1
        request_id = self._last_id
        send_at = max(trio.current_time(), self._next_send_at)
        self._next_send_at = send_at + self._spacing_s
        await trio.sleep_until(send_at)
        arrived = trio.Event()
        box: list[Reply] = []
        self._replies[request_id] = arrived, box
        try:
            await self._send(method, params, request_id)
            while not box and self._ended is None:
                with trio.move_on_after(REPLY_TIMEOUT_S):
                    await arrived.wait()
                if not self._lagging():
                    break  # else the reply may be among what waits for the consumer
        finally:
            del self._replies[request_id]
        if box:
            return box[0]
        raise self._ended or ProtocolViolation(f"no reply to {method} within {REPLY_TIMEOUT_S:g} s")

    async def subscribe(self, streams: Sequence[str]) -> None:
        """Subscribe in chunks; a refused chunk is halved until the refused stream is known.

        :raises SubscriptionRejected: naming the refused streams, after all others were subscribed.
        :raises ConnectionFailed: if the connection ends first.
        """
        chunks = deque(_chunks(streams))
        refused: list[str] = []
        last: Reply | None = None
        while chunks:
            chunk = chunks.popleft()
            reply = await self.request("SUBSCRIBE", chunk)
            if reply.code is None:
                continue
            last = reply
            if len(chunk) == 1:
                refused.append(chunk[0])
            else:
                half = len(chunk) // 2
                chunks.extendleft((chunk[half:], chunk[:half]))
        if last is not None and refused:
            raise SubscriptionRejected(tuple(refused), last.code, last.message)

    async def subscriptions(self) -> frozenset[str]:
        """The streams that the exchange says are subscribed.

        :raises ConnectionFailed: if the connection ends first, or the reply is no such list.
        """
        reply = await self.request("LIST_SUBSCRIPTIONS", ())
        try:
            return frozenset(msgspec.json.decode(reply.result, type=list[str]))
        except msgspec.MsgspecError as error:
            raise ProtocolViolation(f"bad reply to LIST_SUBSCRIPTIONS: {error}") from error


def _chunks(streams: Sequence[str]) -> Iterator[Sequence[str]]:
    """The names in order, so many at a time as one message may carry."""
    start = size = 0
    for at, name in enumerate(streams):
        length = len(msgspec.json.encode(name)) + len(", ")
        if size + length > MAX_NAMES_BYTES and at > start:
            yield streams[start:at]
            start, size = at, 0
        size += length
    if streams:
        yield streams[start:]
