"""Rows of many streams, told apart: in memory up to a bound, beyond it on the disk.

What is on the disk lies in a file without a name, so a crash leaves nothing of it.
"""

from __future__ import annotations

import mmap
import tempfile
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Generic, NamedTuple, Self, TypeVar

import pyarrow as pa

from .. import files
from ..errors import SinkError
from .merging import joined, keys_of, merged, sorted_by

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from types import TracebackType

    from .merging import Block

HELD_BYTES = 64 << 20
"""Rows that are held in memory before they go to the disk."""
BLOCK_ROWS = 1 << 12
"""Batches that are smaller on average are made one, since each costs as well."""

_Key = TypeVar("_Key")


class _Held(NamedTuple):
    """Rows in memory; see :class:`merging.Block`."""

    first: int
    last: int
    rows: int
    size: int
    batch: pa.RecordBatch

    def read(self) -> pa.RecordBatch:
        return self.batch


class _Aside:
    """A file without a name, which is appended to and read where it was written.

    :raises OSError: if the disk does not take it; so do its methods.
    """

    def __init__(self, folder: Path) -> None:
        self._file = tempfile.TemporaryFile(dir=folder, buffering=0)  # noqa: SIM115 - see close
        self._size = 0
        self._map: mmap.mmap | None = None
        self._looked_at = 0

    def keep(self, block: _Held) -> _Spilled:
        """Write rows."""
        data = block.batch.serialize()
        rest = memoryview(data)
        while rest:
            rest = rest[self._file.write(rest) :]
        at, self._size = self._size, self._size + data.size
        first, last, rows, _, batch = block
        return _Spilled(first, last, rows, data.size, self, at, batch.schema)

    def read(self, at: int, size: int) -> pa.Buffer:
        """What was appended, not copied."""
        if self._map is None or len(self._map) < at + size:
            self._map = mmap.mmap(self._file.fileno(), self._size, access=mmap.ACCESS_READ)
        self._looked_at += size
        if self._looked_at > HELD_BYTES:
            self._looked_at = 0
            self._map.madvise(mmap.MADV_DONTNEED)  # the disk has it; memory need not
        return pa.py_buffer(self._map).slice(at, size)

    def close(self) -> None:
        """Let the disk have its room again."""
        self._map = None
        self._file.close()


class _Spilled(NamedTuple):
    """Rows on the disk; see :class:`merging.Block`."""

    first: int
    last: int
    rows: int
    size: int
    aside: _Aside
    at: int
    schema: pa.Schema

    def read(self) -> pa.RecordBatch:
        return pa.ipc.read_record_batch(self.aside.read(self.at, self.size), self.schema)


@dataclass
class _Section:
    """What belongs together, in the order in which it came."""

    column: str
    held: list[pa.RecordBatch] = field(default_factory=list[pa.RecordBatch])
    blocks: list[_Spilled] = field(default_factory=list[_Spilled])

    def sorted(self) -> list[_Held]:
        """What is held, as blocks that are not too small."""
        rows = sum(batch.num_rows for batch in self.held)
        large = rows >= BLOCK_ROWS * len(self.held)
        return [
            _block(batch, self.column) for batch in (self.held if large else [joined(self.held)])
        ]


def _block(batch: pa.RecordBatch, column: str) -> _Held:
    batch = sorted_by(batch, column)
    keys = keys_of(batch, column)
    return _Held(int(keys[0]), int(keys[-1]), batch.num_rows, batch.nbytes, batch)


class Spill(Generic[_Key]):
    """See the module. A context manager; what was read of it must not be used behind it.

    :param folder: on whose disk the rows lie.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._held = 0
        self._sections: dict[_Key, _Section] = {}
        self._aside: _Aside | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._sections.clear()
        if self._aside is not None:
            self._aside.close()

    def add(self, key: _Key, batch: pa.RecordBatch, column: str) -> None:
        """Take rows.

        :param column: by which they are to be read again.
        :raises SinkError: if the disk does not take them.
        """
        section = self._sections.get(key)
        if section is None:
            section = self._sections[key] = _Section(column)
        section.held.append(batch)
        self._held += batch.nbytes
        if self._held > HELD_BYTES:
            self._write()

    def keys(self) -> list[_Key]:
        """What there are rows of."""
        return list(self._sections)

    def rows(self, key: _Key) -> Iterator[pa.RecordBatch]:
        """The rows by their column; those with equal values in the order in which they came."""
        section = self._sections[key]
        blocks: list[Block] = [*section.blocks]
        if section.held:
            blocks += section.sorted()
        return merged(blocks, section.column)

    def _write(self) -> None:
        try:
            if self._aside is None:
                self._aside = _Aside(self._folder)
            for section in self._sections.values():
                if section.held:
                    section.blocks += map(self._aside.keep, section.sorted())
                    section.held = []
        except OSError as error:
            raise SinkError(f"cannot write aside in {self._folder}: {files.why(error)}") from error
        self._held = 0
