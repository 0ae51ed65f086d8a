"""Sinks of a run that take items as JSON lines."""

from __future__ import annotations

import abc
from typing import TYPE_CHECKING

from .lines import encode_lines
from .target_sink import TargetSink

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..continuity.items import Item


class LineSink(TargetSink):
    """A :class:`Sink` of JSON lines."""

    whole: int

    async def write(self, items: Sequence[Item]) -> None:
        """See :class:`Sink`."""
        self.whole = 0
        self.check()
        await self.append(encode_lines(items), len(items))

    @abc.abstractmethod
    async def append(self, data: bytes, lines: int) -> None:
        """Write so many lines that are made already; see :meth:`Sink.write`."""
