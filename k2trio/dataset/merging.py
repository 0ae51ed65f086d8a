"""Puts blocks of rows into the order of their keys, in bounded memory.

What a feed delivers is in order but for what a crash let it deliver again. So the blocks of a
stream are a few *runs*, each in order within, and nearly always a single one, which is handed on as
it is. Several are merged window by window: from every run what is not above the lowest of the keys
that stand a window ahead.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import pyarrow as pa

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

MERGED_BYTES = 128 << 20
"""Rows that are sorted at once where runs are merged; beyond it one of each run."""


class Block(Protocol):
    """Rows in the order of their keys.

    :ivar first: the lowest key.
    :ivar last: the highest one.
    """

    @property
    def first(self) -> int: ...
    @property
    def last(self) -> int: ...
    @property
    def rows(self) -> int: ...
    @property
    def size(self) -> int:
        """In bytes."""
        ...

    def read(self) -> pa.RecordBatch:
        """The rows."""
        ...


def keys_of(batch: pa.RecordBatch, column: str) -> Any:
    """The values of a column of integers or times, as integers."""
    return batch.column(column).view(pa.int64()).to_numpy()


def sorted_by(batch: pa.RecordBatch, column: str) -> pa.RecordBatch:
    """The rows by a column; those with equal values stay in their order."""
    keys = keys_of(batch, column)
    if (keys[1:] >= keys[:-1]).all():
        return batch
    return batch.take(pa.array(np.argsort(keys, kind="stable")))


def merged(blocks: Sequence[Block], column: str) -> Iterator[pa.RecordBatch]:
    """All rows by a column; those with equal values in the order of their blocks."""
    runs = [_Run(run, column) for run in _runs(blocks)]
    row_bytes = max(1, sum(block.size for block in blocks) // sum(block.rows for block in blocks))
    while len(runs) > 1:
        window = max(1, MERGED_BYTES // row_bytes // len(runs))
        ahead = [key for run in runs if (key := run.key_after(window)) is not None]
        bound = min(ahead, default=None)
        parts = [part for run in runs for part in run.take(bound)]
        yield sorted_by(joined(parts), column)
        runs = [run for run in runs if run.blocks]
    for run in runs:
        while run.blocks:
            yield run.next_part()


def joined(batches: Sequence[pa.RecordBatch]) -> pa.RecordBatch:
    """Batches as a single one."""
    if len(batches) == 1:
        return batches[0]
    return pa.Table.from_batches(batches).combine_chunks().to_batches()[0]


def _runs(blocks: Sequence[Block]) -> list[list[Block]]:
    runs: list[list[Block]] = []
    for block in blocks:
        if not runs or block.first < runs[-1][-1].last:
            runs.append([])
        runs[-1].append(block)
    return runs


class _Run:
    """Blocks that follow each other, of which the first may be taken in part.

    :ivar blocks: what is left.
    """

    def __init__(self, blocks: Sequence[Block], column: str) -> None:
        self.blocks = deque(blocks)
        self._column = column
        self._taken = 0
        """Rows of the first block that are taken."""

    def key_after(self, count: int) -> int | None:
        """The key of the row behind so many; None if it ends before."""
        at = self._taken + count
        for block in self.blocks:
            if at < block.rows:
                return int(keys_of(block.read(), self._column)[at])
            at -= block.rows
        return None

    def take(self, bound: int | None) -> Iterator[pa.RecordBatch]:
        """What is not above a key, or all."""
        while self.blocks:
            block = self.blocks[0]
            if bound is None or block.last <= bound:
                yield self.next_part()
                continue
            batch = block.read()
            end = int(np.searchsorted(keys_of(batch, self._column), bound, side="right"))
            if end > self._taken:
                yield batch.slice(self._taken, end - self._taken)
                self._taken = end
            return

    def next_part(self) -> pa.RecordBatch:
        """What is left of the first block."""
        batch = self.blocks.popleft().read()
        start, self._taken = self._taken, 0
        return batch.slice(start)
