"""One connection as the exchange sees it, once its upgrade is decided on.

Three tasks: the inbox, the outbox and the keeper of deadlines; when the inbox or the outbox is
done, the connection is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from k2trio.errors import UnknownStreamError

from .. import wire
from ..refusals import Refusal
from ..venue.broadcast import wrapped
from .ailments import Ailments
from .control import TooManyStreams
from .delivery import Delivery
from .inbox import Inbox
from .keeper import Keeper
from .outbox import Outbox
from .subscriptions import Subscriptions

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    import wsproto

    from ..market.message import Message
    from ..venue.broadcast import Shape
    from ..venue.venue import Venue
    from .upgrade import Upgrade


class Session:
    """One connection.

    :param opened_at: when its stream was; seconds.
    :param route: on which it came.
    :ivar number: of this connection, counted by the venue from 1.
    :ivar names: endpoint and venue: what faults call this connection by.
    """

    def __init__(
        self,
        venue: Venue,
        stream: trio.abc.Stream,
        ws: wsproto.WSConnection,
        endpoint: str,
        number: int,
        shape: Shape,
        opened_at: float,
        route: str = "",
    ) -> None:
        self.number = number
        self.endpoint = endpoint
        self.names: tuple[str, str] = (endpoint, venue.name)
        beside = venue.truth.open_connections > 0
        self.ailments: Ailments = Ailments(venue.faults, self.names, beside=beside)
        venue.truth.begin(number, endpoint, route)
        self.outbox: Outbox = Outbox(stream, venue.limits, self.ailments)
        delivery = Delivery(self.outbox, self.ailments, number, venue.truth, venue.rng)
        self.subscriptions: Subscriptions = Subscriptions(
            venue, number, shape, delivery.deliver, self.ailments, route
        )
        now_us = venue.broadcast.pace.now_us
        self._keeper = Keeper(self.outbox, venue.limits, opened_at, now_us)
        self._inbox = Inbox(
            venue,
            number,
            stream,
            ws,
            self.subscriptions,
            self.ailments,
            self.outbox,
            self._keeper,
        )

    def subscribe(self, names: Sequence[str]) -> None:
        """Add streams, see :class:`.control.Target`."""
        self.subscriptions.subscribe(names)

    def unsubscribe(self, names: Sequence[str]) -> None:
        """Remove streams; the client is not told."""
        self.subscriptions.unsubscribe(names)

    def tell(self, message: Message) -> None:
        """Send a message that the market did not make, if its stream is subscribed."""
        streams = self.subscriptions
        if message.stream not in streams.attached() or self.outbox.closing:
            return
        content = message.render(streams.unit)
        if streams.combined:
            content = wrapped(message.stream, content)
        self.outbox.push(wire.text(content))

    async def open(self, upgrade: Upgrade, streams: Sequence[str]) -> bool:
        """Answer the upgrade: it is accepted if there is what the client asks for."""
        try:
            self.subscribe(streams)
        except (UnknownStreamError, TooManyStreams):
            await upgrade.refuse(Refusal(400))
            return False
        await upgrade.accept()
        return True

    async def run(self) -> None:
        """Serve the connection until it ends."""
        async with trio.open_nursery() as nursery:
            self.outbox.nursery = nursery
            nursery.start_soon(self._until_done, self._inbox.run)
            nursery.start_soon(self._until_done, self.outbox.run)
            nursery.start_soon(self._keeper.run)
            self.ailments.refresh()

    async def _until_done(self, work: Callable[[], Awaitable[None]]) -> None:
        try:
            await work()
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            if self.outbox.cause == "client":
                self.outbox.cause = "client broke"
        if self.outbox.nursery is not None:
            self.outbox.nursery.cancel_scope.cancel()
