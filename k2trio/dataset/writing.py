"""Rows of one part of a dataset become a Parquet file that is small and can be skipped in.

Rows come in the order of their keys, so ids and times are differences of little, and a row group
holds a short time: whoever asks for a time reads the groups, and in them the pages, that it is in.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ..market.streams import BOOK_KINDS
from .layout import stream_of
from .schema import TABLES, TIME
from .seals import SealedPart

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from .layout import Place
    from .schema import Table
    from .stores import Store

GROUP_ROWS = 1 << 16
"""Rows of a row group, at most."""
GROUP_BYTES = 32 << 20
"""Bytes of a row group before it is encoded, at most but for one batch of rows."""
ZSTD_LEVEL = 3
PREFIX = "k2trio-"
"""How the keys of the footer begin."""


def put_rows(
    store: Store, place: Place, batches: Iterable[pa.RecordBatch], writer: str, *, ordered: bool
) -> SealedPart:
    """Write a sealed file.

    :param batches: of its table, in the order in which they are to be.
    :param writer: what to name in the footer as having written it.
    :param ordered: whether that is the order of the keys throughout.
    :raises SinkError: if it cannot be written.
    """
    table = place.table
    schema = _schema(place, writer)
    span = _Span(table)
    with store.new(place.path) as file, pq.ParquetWriter(
        file, schema, **_OPTIONS, **_ENCODINGS[table.name],
        sorting_columns=_sorting(schema, span.column) if ordered else None,
    ) as parquet:  # fmt: skip
        for group in _groups(batches):
            span.add(group)
            parquet.write_table(group.replace_schema_metadata(schema.metadata), GROUP_ROWS)
    stream = stream_of(place) or ""
    return SealedPart(
        str(place.path), place.venue, stream, place.kind,
        span.rows, span.first, span.last, file.size, file.sha256,
    )  # fmt: skip


def order_column(table: Table) -> str:
    """By which the rows of a table are in order: the last key of a message, else their place.

    Of updates of books it is the last one since snapshots, among which they are, have no other.
    """
    return table.last or "sequence"


class _Span:
    """Counts rows, and looks at their keys."""

    def __init__(self, table: Table) -> None:
        self.column = order_column(table)
        self.rows = 0
        self.first: int | None = None
        self.last: int | None = None
        self._table = table

    def add(self, batch: pa.Table) -> None:
        self.rows += batch.num_rows
        if not self._table.first:
            return
        for name in {self._table.first, self._table.last}:
            lowest, highest = pc.min_max(batch.column(name).cast(pa.int64())).as_py().values()
            if lowest is None:
                continue
            self.first = lowest if self.first is None else min(self.first, lowest)
            self.last = highest if self.last is None else max(self.last, highest)


def _groups(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.Table]:
    """Batches as large as a row group."""
    held: list[pa.RecordBatch] = []
    rows = size = 0
    for batch in batches:
        row_bytes = batch.nbytes // batch.num_rows
        while batch.num_rows:
            part = batch.slice(0, GROUP_ROWS - rows)
            batch = batch.slice(part.num_rows)
            held.append(part)
            rows += part.num_rows
            size += row_bytes * part.num_rows
            if rows == GROUP_ROWS or size >= GROUP_BYTES:
                yield pa.Table.from_batches(held)
                held, rows, size = [], 0, 0
    if held:
        yield pa.Table.from_batches(held)


def _schema(place: Place, writer: str) -> pa.Schema:
    """With a footer that tells what it is wherever the file may be."""
    schema = place.table.schema
    told = {
        "venue": place.venue,
        "kind": place.kind,
        "symbol": place.symbol,
        "stream": stream_of(place) or "",
        "journal": place.batch,
        "writer": writer,
    }
    footer = {f"{PREFIX}{key}".encode(): value.encode() for key, value in told.items()}
    return schema.with_metadata({**schema.metadata, **footer})


def _sorting(schema: pa.Schema, column: str) -> list[pq.SortingColumn]:
    columns: list[pq.SortingColumn] = pq.SortingColumn.from_ordering(
        schema, [(column, "ascending")]
    )
    return columns


def _leaves(field: pa.Field, path: str = "") -> Iterator[tuple[str, pa.DataType]]:
    """The columns that Parquet makes of a field: their paths and types."""
    path = f"{path}.{field.name}" if path else field.name
    kind = field.type
    if pa.types.is_list(kind):
        yield from _leaves(kind.value_field.with_name("element"), f"{path}.list")
    elif pa.types.is_struct(kind):
        for child in kind:
            yield from _leaves(child, path)
    else:
        yield path, kind


def _encoding(table: Table, path: str, kind: pa.DataType) -> str | None:
    """How a column is encoded: integers as differences; None for a dictionary of what repeats.

    Prices repeat, and of trades the sizes do. Those of a book hardly do: of them the bytes are put
    apart by their weight, of which the heavy ones are alike. (On books made by chance that was a
    tenth smaller, and quicker.)
    """
    if kind in (pa.int64(), TIME):
        return "DELTA_BINARY_PACKED"
    if table.name in BOOK_KINDS and path.endswith("quantity"):
        return "BYTE_STREAM_SPLIT"
    return None


def _encodings(table: Table) -> dict[str, Any]:
    leaves = [leaf for field in table.schema for leaf in _leaves(field)]
    encoded = {
        path: encoding for path, kind in leaves if (encoding := _encoding(table, path, kind))
    }
    return {
        "column_encoding": encoded,
        "use_dictionary": [path for path, _ in leaves if path not in encoded],
    }


_ENCODINGS = {name: _encodings(table) for name, table in TABLES.items()}
_OPTIONS: dict[str, Any] = {
    "compression": "zstd",
    "compression_level": ZSTD_LEVEL,
    "data_page_version": "2.0",
    "write_page_index": True,
}
