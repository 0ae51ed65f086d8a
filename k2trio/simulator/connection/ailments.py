"""The ailments of one connection: which faults it suffers from right now."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import trio

from ..faults.kinds import DATA_KINDS, SESSION_KINDS, FaultKind

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..faults.board import FaultBoard
    from ..faults.fault import Fault


class Ailments:
    """What is wrong with one connection.

    :param names: endpoint and venue: what faults call the connection by.
    :param beside: whether another connection is open already.
    :ivar faults: what is wrong with its data, as of the last :meth:`refresh`.
    :ivar lost: streams of which nothing is told, though they are subscribed.
    :ivar darkened: packets were lost, and may still be.
    :ivar muted: nothing can be told, for a message has begun that does not end.
    :ivar left: messages until it is dropped; None: it is not.
    :ivar dead: subscriptions are accepted and bring nothing.
    """

    def __init__(self, board: FaultBoard, names: Sequence[str], *, beside: bool) -> None:
        self._board = board
        self._names = names
        self._own: list[Fault] = []
        self._dark_until = -1.0
        self._refreshed = trio.lowlevel.ParkingLot()
        self.faults: list[Fault] = []
        self.lost: set[str] = set()
        self.darkened: bool = False
        self.muted = False
        self.left: int | None = None
        self.dead: bool = False
        if beside and board.take(names, (FaultKind.REPLACEMENT_DEAD,)) is not None:
            self.dead = True
            return
        inborn = board.take(names, SESSION_KINDS)
        self.left = 1 if inborn is not None and inborn.kind is FaultKind.FLAPPING else None
        self.dead = inborn is not None and inborn.kind is FaultKind.SUBSCRIBE_DEAD

    # Data

    def add(self, fault: Fault) -> None:
        """A data fault for the rest of this connection's life; counts from :meth:`refresh` on."""
        self._own.append(fault)

    def refresh(self) -> None:
        """Look again at what is wrong with this connection's data."""
        windows = self._board.active(self._names, DATA_KINDS)
        self.faults = [
            fault for fault in (*self._own, *windows) if fault.kind is not FaultKind.HALF_OPEN
        ]
        self._refreshed.unpark_all()

    def suffers(self, kind: FaultKind) -> bool:
        """Whether a data fault of this kind is at work."""
        return any(fault.kind is kind for fault in self.faults)

    async def recovered(self, kind: FaultKind) -> None:
        """Wait while a data fault of this kind is at work."""
        while self.suffers(kind):
            await self._refreshed.park()

    @property
    def sound(self) -> bool:
        """Whether every message is told as it comes."""
        return not (
            self.faults or self.lost or self.muted or self.darkened or self.left is not None
        )

    # The network under the connection

    def darken(self, until: float) -> None:
        """Lose all packets until then."""
        self._dark_until = max(self._dark_until, until)
        self.darkened = True

    @property
    def dark(self) -> bool:
        """Whether packets are being lost."""
        return self._dark_until > trio.current_time()

    @property
    def dark_for_ever(self) -> bool:
        """Whether nothing will ever move again."""
        return self._dark_until == math.inf

    async def light(self) -> None:
        """While packets are lost for a time, nothing moves; afterwards TCP catches up."""
        if trio.current_time() < self._dark_until < math.inf:
            await trio.sleep_until(self._dark_until)
