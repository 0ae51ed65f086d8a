"""Several sinks as one: each gets every item, and what all of them have whole is whole."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from ..continuity.positions import earlier
from ..errors import SinkError
from .line_sink import LineSink
from .lines import encode_lines

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from ..continuity.items import Item
    from ..continuity.positions import Key, Position
    from ..market.units import TimeUnit
    from .target_sink import TargetSink


class FanOut(LineSink):
    """Writes to each of its sinks, which it closes in the end.

    When one fails, the others have the batch whole, and then nothing more is written.

    :param sinks: open ones.
    """

    whole: int

    def __init__(self, sinks: Sequence[TargetSink]) -> None:
        super().__init__()
        self.sinks: Sequence[TargetSink] = sinks

    async def positions(self) -> Mapping[Key, Position] | None:
        """See :class:`TargetSink`; the earliest of those that remember some."""
        found: dict[Key, Position] = {}
        remembered = [await sink.positions() for sink in self.sinks]
        for one in filter(None, remembered):
            for key, position in one.items():
                found[key] = earlier(position, found.get(key, position))
        return found if any(one is not None for one in remembered) else None

    async def beyond(self, begin: Mapping[Key, Position], unit: TimeUnit) -> Mapping[Key, Position]:
        """See :class:`TargetSink`: what all of them have; those that have more leave that out."""
        found = [await sink.beyond(begin, unit) for sink in self.sinks]
        common = {
            key: _least([there.get(key, one) for there in found], one) for key, one in begin.items()
        }
        for sink, there in zip(self.sinks, found, strict=True):
            if isinstance(sink, LineSink):
                more = {key: one for key, one in there.items() if one != common.get(key)}
                sink.leave_out(more, unit)
        return common

    async def write(self, items: Sequence[Item]) -> None:
        """See :class:`Sink`."""
        lines = encode_lines(items)  # made once for all that take all of them

        async def write(sink: TargetSink) -> None:
            if isinstance(sink, LineSink) and not sink.ahead:
                await sink.append(lines, len(items))
            else:
                await sink.write(items)

        await self._write_to_each(write)

    async def append(self, data: bytes, lines: int) -> None:
        """See :class:`LineSink`; of sinks that all take lines."""

        async def append(sink: TargetSink) -> None:
            if isinstance(sink, LineSink):
                await sink.append(data, lines)

        await self._write_to_each(append)

    async def _write_to_each(self, write: Callable[[TargetSink], Awaitable[None]]) -> None:
        self.whole = 0
        self.check()
        errors: list[SinkError] = []
        cancelled: trio.Cancelled | None = None
        for sink in self.sinks:
            try:
                await write(sink)
            except SinkError as error:
                errors.append(error)
            except trio.Cancelled as raised:
                cancelled = raised  # each one finishes what it is given first, within its bound
        self.whole = min(sink.whole for sink in self.sinks)
        _raise(errors)
        if cancelled is not None:
            raise cancelled

    @property
    def problem(self) -> str | None:
        """See :class:`TargetSink`; the first of them."""
        return next(filter(None, (sink.problem for sink in self.sinks)), None)

    def check(self) -> None:
        """See :class:`Sink`."""
        self._of_each(lambda sink: sink.check())

    def sync(self) -> None:
        """See :class:`Sink`."""
        self._of_each(lambda sink: sink.sync())

    async def flush(self) -> None:
        """See :class:`Sink`; all at the same time."""
        errors: list[SinkError] = []

        async def flush(sink: TargetSink) -> None:
            try:
                await sink.flush()
            except SinkError as error:
                errors.append(error)

        with trio.CancelScope(shield=True):  # each has a bound of its own
            async with trio.open_nursery() as nursery:
                for sink in self.sinks:
                    nursery.start_soon(flush, sink)
        _raise(errors)

    def reopen(self) -> None:
        """See :class:`TargetSink`."""
        self._of_each(lambda sink: sink.reopen())

    async def tend(self) -> None:
        """See :class:`TargetSink`."""
        async with trio.open_nursery() as nursery:
            for sink in self.sinks:
                nursery.start_soon(sink.tend)

    def close(self) -> None:
        """See :class:`TargetSink`."""
        self._of_each(lambda sink: sink.close())

    def _of_each(self, action: Callable[[TargetSink], None]) -> None:
        """Do something with every sink, whatever it does with the others."""
        errors: list[SinkError] = []
        for sink in self.sinks:
            try:
                action(sink)
            except SinkError as error:
                errors.append(error)
        _raise(errors)


def _least(found: Sequence[Position], begin: Position) -> Position:
    """Of positions to which a stream came from one begin that with the most to come.

    Where ids are lower than at the beginning, they have begun anew since.
    """
    return min(
        found,
        key=lambda one: (one.position < begin.position, one.position, one.time or -1),
    )


def _raise(errors: Sequence[SinkError]) -> None:
    """Raise what went wrong, if something did: one line each."""
    if errors:
        raise SinkError("\n".join(map(str, errors))) from errors[0]
