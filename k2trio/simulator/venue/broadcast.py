"""The broadcast of a market: who listens to which stream, and in which shape it gets there."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from .. import wire
from .pace import AT_ONCE, Pace, Tempo

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from ..market.contract import VenueMarket
    from ..market.message import Message
    from .truth import Truth


class Shape(NamedTuple):
    """How a connection wants its messages.

    :ivar combined: whether they are wrapped as ``{"stream", "data"}``.
    :ivar unit: time unit of the payloads in microseconds.
    """

    combined: bool
    unit: int


def wrapped(stream: str, payload: bytes) -> bytes:
    """A payload as combined streams carry it."""
    return b'{"stream":"%b","data":%b}' % (stream.encode(), payload)


class Broadcast:
    """Hands what a market emits to the connections that subscribed to it.

    :param truth: told of everything that is emitted.
    :param tick_s: see :class:`.pace.Pace`; ``tempo`` too.
    :ivar pace: when the market emits.
    """

    def __init__(
        self, market: VenueMarket, truth: Truth, tick_s: float, tempo: Tempo = AT_ONCE
    ) -> None:
        self._market = market
        self._truth = truth
        self.pace: Pace = Pace(market, self.publish, tick_s, tempo)
        self._listeners: dict[
            str, dict[Shape, dict[int, Callable[[bytes, bytes, Message], None]]]
        ] = {}

    def publish(self, messages: Iterable[Message]) -> None:
        """Hand messages to those who subscribed."""
        for message in messages:
            if message.stream in self._truth.emitted:
                self._truth.note(message)
            shapes = self._listeners.get(message.stream)
            if not shapes:
                continue
            for shape, listeners in shapes.items():
                content = message.render(shape.unit)
                if shape.combined:
                    content = wrapped(message.stream, content)
                frame = wire.text(content)
                for deliver in listeners.values():
                    deliver(frame, content, message)

    def attach(
        self,
        stream: str,
        shape: Shape,
        number: int,
        deliver: Callable[[bytes, bytes, Message], None],
    ) -> None:
        """Give a connection the messages of a stream from now on.

        :param number: of the connection.
        :param deliver: takes each message: its frame, what the frame holds, and what it is.
        """
        if stream not in self._truth.emitted:
            self.pace.catch_up()
            self._truth.watch(stream)
            self._market.watch(stream)
            self.pace.look_again()
        self.pace.begin()
        self._listeners.setdefault(stream, {}).setdefault(shape, {})[number] = deliver

    def detach(self, stream: str, shape: Shape, number: int) -> None:
        """The opposite of :meth:`attach`."""
        self._listeners.get(stream, {}).get(shape, {}).pop(number, None)
