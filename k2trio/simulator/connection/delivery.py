"""The delivery of a market's messages to one connection, as well as its ailments allow."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from .. import wire
from ..faults.kinds import FaultKind
from ..venue.truth import Loss
from .outbox import How

if TYPE_CHECKING:
    import random

    from ..market.message import Message
    from ..venue.truth import Truth
    from .ailments import Ailments
    from .outbox import Outbox


class Delivery:
    """Puts messages into an outbox; what goes wrong on purpose is written down.

    :param number: of the connection.
    :param rng: decides which messages a fault hits.
    """

    def __init__(
        self, outbox: Outbox, ailments: Ailments, number: int, truth: Truth, rng: random.Random
    ) -> None:
        self._outbox = outbox
        self._ailments = ailments
        self._number = number
        self._truth = truth
        self._rng = rng
        self._swapped: bytes | None = None
        self._told = truth.told[number].times

    def deliver(self, frame: bytes, content: bytes, message: Message) -> None:
        """Send one message of a stream; ``frame`` holds ``content``."""
        outbox, ailments = self._outbox, self._ailments
        if outbox.closing:
            return
        if ailments.sound:
            self._told.append(message.time_us)
            outbox.push(frame)
        else:
            self._deliver_badly(frame, content, message)

    def _deliver_badly(self, frame: bytes, content: bytes, message: Message) -> None:
        symbol = message.stream.partition("@")[0].upper()
        ailments, outbox = self._ailments, self._outbox
        copies = 1
        for fault in ailments.faults:
            if fault.symbol is not None and fault.symbol.upper() != symbol:
                continue
            match fault.kind:
                case FaultKind.STALL | FaultKind.SILENT_SYMBOL:
                    self._lose(message, "stalled")
                    return
                case FaultKind.DROPPED if self._chance(fault.share):
                    self._lose(message, "dropped")
                    return
                case FaultKind.DUPLICATED if self._chance(fault.share):
                    self._lose(message, "duplicated")
                    copies = 2
                case FaultKind.REORDERED if self._swapped is None and self._chance(fault.share):
                    self._lose(message, "reordered")
                    self._swapped = frame
                    return
                case FaultKind.FRAGMENTED:
                    frame = wire.fragments(content)
                case _:
                    pass
        if ailments.muted or message.stream in ailments.lost:
            self._lose(message, "stalled")
            return
        if not ailments.dark:
            self._told.append(message.time_us)
        outbox.push(frame * copies)
        if self._swapped is not None:
            outbox.push(self._swapped)
            self._swapped = None
        if ailments.left is not None:
            ailments.left -= 1
            if ailments.left <= 0:
                outbox.end(How.FIN, FaultKind.FLAPPING.value)

    def _chance(self, share: float) -> bool:
        return self._rng.random() < share

    def _lose(self, message: Message, deed: str) -> None:
        self._truth.losses.append(
            Loss(
                trio.current_time(), self._number, message.stream, message.first, message.last, deed
            )
        )
