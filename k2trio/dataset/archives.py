"""The exchange's public archives as rows: CSV files of trades, aggregate trades and bars, zipped.

They are called as at data.binance.vision: ``BTCUSDT-trades-2026-11-25.zip``, or without a day for a
whole month. Files of futures begin with a line of names, those of spot do not. Nobody received what
is in them: the time of receipt is that of the exchange again.

Source: "Binance Public Data", https://github.com/binance/binance-public-data.
"""

from __future__ import annotations

import re
import zipfile
import zlib
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Any, NamedTuple, Self

import numpy as np
import pyarrow as pa
import pyarrow.csv as csv

from .. import files
from ..errors import Unreadable
from ..market.streams import KLINE_INTERVALS_MS, Kind
from ..market.units import MS, US, US_FROM
from .columns import Piece
from .linesfile import Source, open_local, size_of
from .schema import DECIMAL, MESSAGES

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Sequence
    from pathlib import Path

CHUNK_BYTES = 8 << 20
"""Text that is parsed at once."""
CHECKSUM = ".CHECKSUM"
"""Ends the name of the file beside an archive that tells its SHA-256."""
SPOT, USDM, COINM = "binance.com", "binance.com-usdm", "binance.com-coinm"
"""The venues: each product has ids of its own."""

_NAME = re.compile(r"(?P<symbol>[^-]+)-(?P<what>\w+)-(?P<date>\d{4}-\d\d(-\d\d)?)\.(zip|csv)\Z")
_MONTH = "1mo"
"""What bars of a month are called there."""
_NS_PER_US = 1_000
_BROKEN = (
    OSError,
    EOFError,
    zipfile.BadZipFile,
    zlib.error,
    pa.ArrowException,
    NotImplementedError,
)
"""What is raised where a file is cut, or no such file at all."""

_INT, _BOOL = pa.int64(), pa.bool_()
_LAYOUTS: dict[Kind, tuple[tuple[str, pa.DataType], ...]] = {
    Kind.TRADE: (
        ("trade_id", _INT), ("price", DECIMAL), ("quantity", DECIMAL), ("quote", DECIMAL),
        ("time", _INT), ("buyer_is_maker", _BOOL), ("best_match", _BOOL),
    ),
    Kind.AGG_TRADE: (
        ("agg_id", _INT), ("price", DECIMAL), ("quantity", DECIMAL), ("first_trade_id", _INT),
        ("last_trade_id", _INT), ("time", _INT), ("buyer_is_maker", _BOOL), ("best_match", _BOOL),
    ),
    Kind.KLINE: (
        ("open_time", _INT), ("open", DECIMAL), ("high", DECIMAL), ("low", DECIMAL),
        ("close", DECIMAL), ("volume", DECIMAL), ("close_time", _INT), ("quote_volume", DECIMAL),
        ("trades", _INT), ("taker_volume", DECIMAL), ("taker_quote_volume", DECIMAL),
        ("ignored", pa.string()),
    ),
}  # fmt: skip
"""The columns of the files, in their order; those of futures lack the last one or two."""


class ArchiveName(NamedTuple):
    """What an archive is called.

    :ivar interval: of bars.
    """

    symbol: str
    kind: Kind
    interval: str | None

    @classmethod
    def parse(cls, name: str) -> Self | None:
        """What a file's name says; None if no archive is called so."""
        match = _NAME.match(name)
        if match is None:
            return None
        symbol, what = match["symbol"], match["what"]
        if what == "trades":
            return cls(symbol, Kind.TRADE, None)
        if what == "aggTrades":
            return cls(symbol, Kind.AGG_TRADE, None)
        interval = "1M" if what == _MONTH else what
        return cls(symbol, Kind.KLINE, interval) if interval in KLINE_INTERVALS_MS else None

    @property
    def stream(self) -> str:
        """The stream that carries the same."""
        what = self.kind if self.interval is None else f"{self.kind}_{self.interval}"
        return f"{self.symbol.lower()}@{what}"


class Archive(Source):
    """One file of the exchange's.

    :param called: what its name says.
    """

    done: int

    archive = True

    def __init__(self, path: Path, called: ArchiveName) -> None:
        super().__init__(str(path), size_of(path))
        self.path: Path = path
        self.called: ArchiveName = called

    def open(self) -> IO[bytes]:
        """See :class:`Source`."""
        return open_local(self.path)

    def told_sha256(self) -> str | None:
        """The SHA-256 that the file beside it tells, in hexadecimal; None if there is none.

        :raises Unreadable: if it tells something else.
        """
        beside = self.path.with_name(self.path.name + CHECKSUM)
        try:
            words = files.read(beside).decode("ascii", "replace").split()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise Unreadable(f"cannot read {beside}: {files.why(error)}") from error
        if not words or not re.fullmatch(r"[0-9a-fA-F]{64}", words[0]):
            raise Unreadable(f"{beside} holds no SHA-256")
        return words[0].lower()

    def pieces(self, columns: Sequence[str] | None = None) -> Iterator[Piece]:
        """See :class:`Source`."""
        rows = 0
        table = MESSAGES[self.called.kind]
        names = [name for name in table.schema.names if columns is None or name in columns]
        schema = pa.schema([table.schema.field(name) for name in names], table.schema.metadata)
        try:
            with self.open() as raw, self._text(raw) as text:
                first = text.readline()
            if not first.strip():
                return
            headed = not first[:1].isdigit()
            venue = self._venue(headed=headed)
            with self.open() as raw, self._text(raw) as text:
                for batch in self._batches(text, len(first.split(b",")), int(headed), names):
                    self.done = raw.tell()
                    made = [self._column(name, batch, rows) for name in names]
                    rows += batch.num_rows
                    made_batch = pa.RecordBatch.from_arrays(made, schema=schema)
                    yield Piece(table, venue, self.called.stream, made_batch)
        except _BROKEN as error:
            raise Unreadable(f"{self.name}, after {rows} rows: {error}") from error

    def _venue(self, *, headed: bool) -> str:
        if "cm" in self.path.parts:
            return COINM
        return USDM if headed or "um" in self.path.parts else SPOT

    @contextmanager
    def _text(self, raw: IO[bytes]) -> Generator[IO[bytes]]:
        if self.path.suffix == ".csv":
            yield raw
            return
        with zipfile.ZipFile(raw) as packed:
            members = packed.namelist()
            if len(members) != 1:
                raise Unreadable(f"{self.name} holds {len(members)} files instead of one")
            with packed.open(members[0]) as text:
                yield text

    def _batches(
        self, text: IO[bytes], width: int, skip: int, names: Sequence[str]
    ) -> Iterator[pa.RecordBatch]:
        layout = _LAYOUTS[self.called.kind][:width]
        needed = {"time"} | {_OF.get(name, name) for name in names}
        wanted = [name for name, _ in layout if name in needed]
        reader = csv.open_csv(
            text,
            csv.ReadOptions(
                use_threads=False,
                block_size=CHUNK_BYTES,
                skip_rows=skip,
                column_names=[name for name, _ in layout],
            ),
            convert_options=csv.ConvertOptions(
                column_types=dict(layout), include_columns=wanted, strings_can_be_null=False
            ),
        )
        yield from (batch for batch in reader if batch.num_rows)

    def _column(self, name: str, batch: pa.RecordBatch, rows: int) -> pa.Array:
        """A column of the table.

        :param rows: how many there were before.
        """
        type_ = MESSAGES[self.called.kind].schema.field(name).type
        make = _MADE.get(name)
        if make is not None:
            return pa.array(make(batch, rows), type_)
        told = batch.schema.names
        if name in {"time", "event_time", "received_ns"}:
            time = self._time(batch)
            return pa.array(time * _NS_PER_US if name == "received_ns" else time, _INT).cast(type_)
        if name in {"open_time", "close_time"}:
            return pa.array(_microseconds(batch.column(name)), _INT).cast(type_)
        if name in told:
            return batch.column(name)
        constant = {"stream": self.called.stream, "interval": self.called.interval}.get(name)
        return pa.repeat(pa.scalar(constant, type_), batch.num_rows)

    def _time(self, batch: pa.RecordBatch) -> Any:
        """When the exchange made each; of a bar where it ends, as a repair has it."""
        if self.called.kind is Kind.KLINE:
            return (_microseconds(batch.column("close_time")) // US.per_ms + 1) * US.per_ms
        return _microseconds(batch.column("time"))


def _microseconds(column: pa.Array) -> Any:
    told = column.to_numpy(zero_copy_only=False)
    return np.where(told < US_FROM, told * (US.per_second // MS.per_second), told)


_OF = {"time": "close_time", "event_time": "close_time", "received_ns": "close_time"}
"""What of a bar these are made of."""
_MADE: dict[str, Callable[[pa.RecordBatch, int], Any]] = {
    "origin": lambda batch, _: ["backfill"] * batch.num_rows,
    "closed": lambda batch, _: [True] * batch.num_rows,
    "sequence": lambda batch, rows: np.arange(rows, rows + batch.num_rows),
}
