"""Messages of one stream as plain arrays: their keys, times and places."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ..schema import KEYED, TIME

if TYPE_CHECKING:
    from ..columns import Piece
    from .runs import Flags, Integers

COLUMNS = (
    *sorted({key for table in KEYED for key in (table.first, table.last)}),
    *("received_ns", "origin", "sequence", "stream", "payload"),
    *("first_trade_id", "last_trade_id", "open_time", "close_time", "closed"),
    *("reason", "first", "last", "since", "until"),
)
"""What a proof needs of any table."""
SUMMED = ("quantity", "trades", "volume")
"""What it needs besides, where trades are to be compared with bars."""

_NS_PER_US = 1_000


class Rows(NamedTuple):
    """Messages.

    :ivar first: key.
    :ivar last: key; but for books the same as ``first``.
    :ivar time: when the exchange made it; microseconds.
    :ivar received: microseconds.
    :ivar live: whether it came over a connection.
    :ivar sequence: place in the order of delivery.
    :ivar batch: all columns that were read.
    """

    first: Integers
    last: Integers
    time: Integers
    received: Integers
    live: Flags
    sequence: Integers
    batch: pa.RecordBatch

    def __len__(self) -> int:
        return len(self.first)

    def where(self, which: Flags) -> Rows:
        """Some of them."""
        if which.all():
            return self
        return Rows(
            self.first[which],
            self.last[which],
            self.time[which],
            self.received[which],
            self.live[which],
            self.sequence[which],
            self.batch.filter(pa.array(which)),
        )

    def followed_by(self, other: Rows) -> Rows:
        """These and then those."""
        batches = pa.Table.from_batches([self.batch, other.batch]).combine_chunks().to_batches()
        return Rows(
            np.concatenate((self.first, other.first)),
            np.concatenate((self.last, other.last)),
            np.concatenate((self.time, other.time)),
            np.concatenate((self.received, other.received)),
            np.concatenate((self.live, other.live)),
            np.concatenate((self.sequence, other.sequence)),
            batches[0] if batches else self.batch,
        )

    def column(self, name: str) -> Any:
        """A column as integers or flags; absent values are -1."""
        return integers(self.batch.column(name))

    def has(self, name: str) -> bool:
        """Whether a column was read."""
        return name in self.batch.schema.names


def rows_of(piece: Piece) -> Rows:
    """The rows of a piece of messages."""
    table, batch = piece.table, piece.batch
    first = integers(batch.column(table.first))
    last = first if table.last == table.first else integers(batch.column(table.last))
    if table.chained:  # what follows the message before; of a snapshot there is none
        first = np.where(first < 0, first, first + 1)
    received = integers(batch.column("received_ns")) // _NS_PER_US
    live = pc.equal(batch.column("origin"), "live").to_numpy(zero_copy_only=False)
    time = integers(batch.column("time"))
    return Rows(first, last, time, received, live, integers(batch.column("sequence")), batch)


def integers(column: pa.Array) -> Any:
    """A column as numpy has it; absent values are -1, times microseconds."""
    if column.type == TIME:
        column = column.view(pa.int64())
    if column.null_count:
        column = pc.fill_null(column, -1)
    return column.to_numpy(zero_copy_only=False)
