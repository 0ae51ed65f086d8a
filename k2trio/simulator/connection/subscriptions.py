"""The subscriptions of one connection, and which of them bring anything."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from k2trio.errors import UnknownStreamError
from k2trio.market.streams import parse_stream

from ..venue.broadcast import Shape
from .control import TooManyStreams

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ..market.message import Message
    from ..venue.venue import Venue
    from .ailments import Ailments


class Subscriptions:
    """The streams of one connection, as control messages change them (:class:`.control.Target`).

    :param number: of the connection.
    :param deliver: takes the messages of the streams.
    :param route: on which it came; streams of another one stay silent.
    :ivar combined: whether messages are wrapped as ``{"stream", "data"}``.
    :ivar unit: time unit of the payloads in microseconds.
    """

    def __init__(
        self,
        venue: Venue,
        number: int,
        shape: Shape,
        deliver: Callable[[bytes, bytes, Message], None],
        ailments: Ailments,
        route: str,
    ) -> None:
        self._route = route
        self._venue = venue
        self._number = number
        self._deliver = deliver
        self._ailments = ailments
        self._live: dict[str, bool] = {}
        self.combined: bool
        self.unit: int
        self.combined, self.unit = shape

    def subscribe(self, names: Sequence[str]) -> None:
        """Add streams; see :class:`.control.Target`."""
        known = self._known(names)
        if len(self._live.keys() | known.keys()) > self._venue.limits.streams:
            raise TooManyStreams
        for name, exists in known.items():
            if name not in self._live:
                self._live[name] = exists and not self._ailments.dead
                if self._live[name]:
                    self._attach(name)

    def _known(self, names: Sequence[str]) -> dict[str, bool]:
        """Canonical stream names, and whether each exists.

        :raises UnknownStreamError: for one that does not, if symbols are strict.
        """
        found: dict[str, bool] = {}
        for name in names:
            try:
                stream = parse_stream(name, self._venue.market.product)
                if stream.symbol and self._venue.market.symbol(stream.symbol) is None:
                    raise UnknownStreamError(f"unknown symbol {stream.symbol[:40]}")
                route = self._venue.moved.get(stream.name, stream.route)
                found[stream.name] = route == self._route
            except UnknownStreamError:
                if self._venue.strict_symbols:
                    raise
                found[name] = False
        return found

    def unsubscribe(self, names: Sequence[str]) -> None:
        """Remove streams."""
        for name in names:
            with contextlib.suppress(UnknownStreamError):
                name = parse_stream(name, self._venue.market.product).name
            self._ailments.lost.discard(name)
            if self._live.pop(name, False):
                self._detach(name)

    def subscriptions(self) -> list[str]:
        """The streams in the order of subscription."""
        return list(self._live)

    def attached(self) -> list[str]:
        """The streams that this connection really gets."""
        return [name for name, live in self._live.items() if live]

    def set_combined(self, combined: bool) -> None:
        """Switch the shape of messages."""
        for name in self.attached():
            self._detach(name)
        self.combined = combined
        for name in self.attached():
            self._attach(name)

    def leave(self) -> None:
        """Get no more messages, whatever is subscribed."""
        for name in self.attached():
            self._detach(name)

    def _attach(self, name: str) -> None:
        shape = Shape(self.combined, self.unit)
        self._venue.broadcast.attach(name, shape, self._number, self._deliver)

    def _detach(self, name: str) -> None:
        self._venue.broadcast.detach(name, Shape(self.combined, self.unit), self._number)
