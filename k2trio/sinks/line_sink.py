"""Sinks of a run that take items as JSON lines."""

from __future__ import annotations

import abc
from typing import TYPE_CHECKING

from ..continuity.ahead import Ahead
from .lines import encode_lines
from .target_sink import TargetSink

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ..continuity.items import Item
    from ..continuity.positions import Key, Position
    from ..market.units import TimeUnit


class LineSink(TargetSink):
    """A :class:`Sink` of JSON lines."""

    whole: int

    def __init__(self) -> None:
        super().__init__()
        self.ahead: Ahead = Ahead({})
        """Of the streams of which it has more than comes."""

    def leave_out(self, there: Mapping[Key, Position], unit: TimeUnit) -> None:
        """Leave out of what comes the items that are in it already.

        :param there: how far the streams are of which it has more than will be the first to come.
        :param unit: of the times in messages.
        """
        self.ahead = Ahead(there, unit)

    async def write(self, items: Sequence[Item]) -> None:
        """See :class:`Sink`."""
        new = self._begin(items)
        try:
            await self.append(encode_lines(new), len(new))
        finally:
            self._end(items, new)

    def _begin(self, items: Sequence[Item]) -> Sequence[Item]:
        """Those of a write that are not left out."""
        self.whole = 0
        self.check()
        return self.ahead.rest(items) if self.ahead else items

    def _end(self, items: Sequence[Item], new: Sequence[Item]) -> None:
        # Of so many first items none is new that is not whole, whatever was left out.
        self.whole = len(items) if self.whole == len(new) else self.whole

    @abc.abstractmethod
    async def append(self, data: bytes, lines: int) -> None:
        """Write so many lines that are made already; see :meth:`Sink.write`."""
