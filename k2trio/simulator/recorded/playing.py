"""A recording is played: entries go to its market as there is room for them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from ..faults.kinds import MARKET_KINDS, FaultKind
from .market import RecordedMarket

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Sequence

    from ..faults.fault import Fault
    from .entry import Entry

NOT_OF_RECORDINGS = (*MARKET_KINDS, FaultKind.ABSURD_KEY)
"""Kinds of faults that would have to make up what happened."""


class Player:
    """Plays a recording on a market of its own.

    :param entries: what happened, in lists; read when there is room for them.
    :param start_us: when the first of them is due; microseconds.
    :param history: trades of each kind kept per symbol for REST.
    :param product: what was traded.
    :ivar market: belongs to one exchange.
    """

    def __init__(
        self,
        entries: AsyncIterator[Sequence[Entry]],
        start_us: int,
        history: int,
        product: str = "spot",
    ) -> None:
        self.market: RecordedMarket = RecordedMarket(
            start_us, history=history, product=product, on_room=self._wake
        )
        self._entries = entries
        self._room = trio.Event()

    def _wake(self) -> None:
        self._room.set()

    async def run(self, look_again: Callable[[], object]) -> None:
        """Play to the end, and return when everything was told.

        :param look_again: called when the market knows more.
        """
        async for entries in self._entries:
            while not self.market.has_room:
                await self._wait()
            self.market.add(entries)
            look_again()
        self.market.end()
        while not self.market.is_over:
            await self._wait()

    async def _wait(self) -> None:
        self._room = trio.Event()
        await self._room.wait()


def refuse_made_up(faults: Iterable[Fault]) -> None:
    """A recording is as it is.

    :raises ValueError: naming the first fault that would change it.
    """
    for fault in faults:
        if fault.kind in NOT_OF_RECORDINGS:
            raise ValueError(
                f"{fault.kind.value!r} would make up what happened, and a recording is as it is; "
                "use 'simulate' for it"
            )
