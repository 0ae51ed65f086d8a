"""Samples of books in the output of a run, in place of the messages that make them.

They are taken between two batches of the feed, by the task that writes: what a sample shows had
been received before, and nothing is written at the same time. Samples are no messages: only those
are acknowledged, whether they have a line or not.
"""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING

import trio

from ..market.payloads import Event
from ..market.streams import BOOK_KINDS, any_stream
from ..sinks.samples import encode_missed, encode_sample
from .grid import Grid

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ..client.books import FeedBooks
    from ..continuity.items import Item
    from ..sinks.line_sink import LineSink

TELL_INTERVAL_S = 10.0
"""The log tells of missed samples this often at most; the output of each."""


class Sampler:
    """An output whose books are sampled.

    Of streams that carry books, messages are not written; what is missing of them is told as ever.

    :param sink: takes the lines.
    :param tell: is told of samples that were missed, and of a clock that was set back, as an event
        with its context.
    :param wall_clock: Unix time, whose multiples are the times of the samples.
    :ivar whole: how many items of the last write are dealt with.
    """

    def __init__(
        self,
        sink: LineSink,
        books: FeedBooks,
        levels: int,
        interval_s: float,
        tell: Callable[..., object],
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self.whole: int = 0
        self._sink = sink
        self._books = books
        self._levels = levels
        self._tell = tell
        self._wall_clock = wall_clock
        self._grid = Grid(interval_s, wall_clock())
        self._lines: list[bytes] = []
        self._written: dict[str, bool] = {}
        """Stream → whether its messages are written."""
        self._missed, self._told_at = 0, -math.inf

    @property
    def look_at(self) -> float:
        """When to call :meth:`take` again, if no batch comes before."""
        return trio.current_time() + self._grid.wait_s(self._wall_clock())

    def take(self, batch: Sequence[Item]) -> None:
        """Take the samples that are due, and only then what came."""
        due = self._grid.look(self._wall_clock())
        if due is not None:
            if due.set_back_s:
                self._tell("clock_set_back", by_s=round(due.set_back_s, 3))
            for book, standing in self._books.standings():
                if due.missed is not None:
                    self._lines.append(encode_missed(book, *due.missed))
                if due.time is not None:
                    line = encode_sample(
                        book, standing, time=due.time, late_s=due.late_s, levels=self._levels
                    )
                    self._lines.append(line)
            if due.missed is not None:
                self._tell_missed(due.missed[2])
        self._books.take(batch)

    async def write(self, items: Sequence[Item]) -> None:
        """Write what is to be written of items.

        :raises SinkError: if not all of it was; ``whole`` says how far it came.
        """
        self.whole = 0
        self._sink.check()
        places = [place for place, item in enumerate(items) if self._is_written(item)]
        if places:
            try:
                await self._sink.write([items[place] for place in places])
            finally:
                lines = self._sink.whole
                self.whole = len(items) if lines == len(places) else places[lines]
        else:
            self.whole = len(items)

    async def write_samples(self) -> None:
        """Write the samples that were taken.

        :raises SinkError: if not all of them were written.
        """
        lines, self._lines = self._lines, []
        if lines:
            await self._sink.append(b"".join(lines), len(lines))

    def check(self) -> None:
        """See :class:`Sink`."""
        self._sink.check()

    def sync(self) -> None:
        """See :class:`Sink`."""
        self._sink.sync()

    async def flush(self) -> None:
        """See :class:`Sink`."""
        await self._sink.flush()

    def _is_written(self, item: Item) -> bool:
        if not isinstance(item, Event):
            return True
        written = self._written.get(item.stream)
        if written is None:
            written = any_stream(item.stream).kind not in BOOK_KINDS
            self._written[item.stream] = written
        return written

    def _tell_missed(self, count: int) -> None:
        self._missed += count
        now = trio.current_time()
        if now - self._told_at >= TELL_INTERVAL_S:
            self._tell("book_samples_missed", times=self._missed)
            self._missed, self._told_at = 0, now
