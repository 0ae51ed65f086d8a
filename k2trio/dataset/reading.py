"""Recorded files as Arrow record batches, for pandas, polars, DuckDB and whatever else takes them.

pyarrow is imported when something is read, so that who reads nothing does without it.
"""

from __future__ import annotations

from datetime import UTC, datetime
from os import PathLike
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from ..errors import UsageError
from ..extras import require
from ..market.streams import Kind, parse_symbol
from ..wording import unknown

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import pyarrow as pa

    from .columns import Piece
    from .linesfile import Source
    from .sources import SealedFile


class RecordBatches(Protocol):
    """What :func:`read` returns: a ``pyarrow.RecordBatchReader``, whose package tells no types.

    Whatever knows the Arrow C stream interface takes it as it is.
    """

    @property
    def schema(self) -> Any:
        """The ``pyarrow.Schema`` of all batches."""
        ...

    def __iter__(self) -> Iterator[Any]:
        """Each ``pyarrow.RecordBatch``, as it is read."""
        ...

    def read_all(self) -> Any:
        """All of them as one ``pyarrow.Table``."""
        ...

    def read_pandas(self) -> Any:
        """All of them as one ``pandas.DataFrame``."""
        ...

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        """The Arrow PyCapsule interface."""
        ...


class _Wanted(NamedTuple):
    """What is asked for.

    :ivar schema: of what comes out.
    :ivar symbols: upper-case; None for all.
    :ivar start: first time that is wanted; None for no bound.
    :ivar end: first time that is not.
    """

    table: str
    schema: pa.Schema
    symbols: frozenset[str] | None
    start: datetime | None
    end: datetime | None


def read(
    paths: str | PathLike[str] | Iterable[str | PathLike[str]],
    *,
    kind: Kind | str = Kind.TRADE,
    symbol: str | Iterable[str] | None = None,
    start: datetime | str | None = None,
    end: datetime | str | None = None,
) -> RecordBatches:
    """Read the rows of one table out of recorded files.

    Batches come as they are read, so a set of any size can be gone through. Those of a stream are
    in the order of its files; in a sealed file rows are sorted by id. Files, parts of files and
    columns that cannot hold what is asked for are passed over.

    :param paths: JSON lines, compressed or not, datasets' folders (also ``s3://…``), the exchange's
        archives, or folders of those; one or several.
    :param kind: the table: a kind of streams (``"trade"``, ``"depth"``, ``"kline"``, …), or
        ``"gap"``, ``"outage"``, ``"venueChanged"``, ``"other"``.
    :param symbol: one symbol or several; by default all.
    :param start: the first ``time`` that is wanted, as a ``datetime`` or ISO 8601; UTC where it
        says no zone.
    :param end: the first ``time`` that is not wanted.
    :returns: the columns ``venue`` and ``symbol``, and those of the table.
    :raises ConfigError: if pyarrow is not installed, or a path leads nowhere.
    :raises UsageError: for a table, a symbol or a time that is none.
    :raises Unreadable: when it is read, where a file is not what it should be.
    """
    require("pyarrow", "parquet", "k2trio.read")
    import pyarrow as pa

    from .catalogue import find
    from .schema import TABLES

    if kind not in TABLES:
        raise UsageError(unknown(str(kind), TABLES, "a table"))
    schema = TABLES[kind].schema
    for position, name in enumerate(("venue", "symbol")):
        schema = schema.insert(position, pa.field(name, pa.string(), nullable=False))
    names = [symbol] if isinstance(symbol, str) else symbol
    symbols = None if names is None else frozenset(map(parse_symbol, names))
    wanted = _Wanted(str(kind), schema, symbols, _time(start), _time(end))
    sources = find([paths] if isinstance(paths, str | PathLike) else paths)
    reader: RecordBatches = pa.RecordBatchReader.from_batches(schema, _batches(sources, wanted))
    return reader


def _time(value: datetime | str | None) -> datetime | None:
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            raise UsageError(f"{value!r} is no time; write it like 2026-11-26T13:00") from None
    if value is not None and not isinstance(value, datetime):  # pyright: ignore[reportUnnecessaryIsInstance] - not everybody checks types
        raise UsageError(f"{value!r} is no time; give a datetime, or a text like 2026-11-26T13:00")
    if value is None or value.tzinfo is not None:
        return value
    return value.replace(tzinfo=UTC)


def _batches(sources: Iterable[Source], wanted: _Wanted) -> Iterator[pa.RecordBatch]:
    from .sources import SealedFile

    for source in sources:
        pieces = _sealed(source, wanted) if isinstance(source, SealedFile) else source.pieces()
        for piece in pieces:
            if piece.table.name != wanted.table:
                continue
            batch = _selected(piece, wanted)
            if batch.num_rows:
                yield batch


def _sealed(file: SealedFile, wanted: _Wanted) -> Iterator[Piece]:
    """The pieces of a sealed file that may hold what is asked for: of the rest nothing is read."""
    place = file.place
    if place.kind != wanted.table or not _asked_for(place.symbol, wanted):
        return iter(())
    if wanted.start is not None and place.date < f"{wanted.start.astimezone(UTC):%Y-%m-%d}":
        return iter(())
    if wanted.end is not None and place.date > f"{wanted.end.astimezone(UTC):%Y-%m-%d}":
        return iter(())
    return file.pieces(between=(wanted.start, wanted.end))


def _asked_for(symbol: str, wanted: _Wanted) -> bool:
    return wanted.symbols is None or symbol in wanted.symbols


def _selected(piece: Piece, wanted: _Wanted) -> pa.RecordBatch:
    """The rows of a piece that are asked for, with the columns that say whose they are."""
    import pyarrow as pa
    import pyarrow.compute as pc

    from .layout import symbol_of

    batch = piece.batch
    symbol = symbol_of(piece.stream)
    if not _asked_for(symbol, wanted):
        return pa.RecordBatch.from_pylist([], schema=wanted.schema)
    times = batch.column("time")
    if wanted.start is not None:
        batch = batch.filter(pc.greater_equal(times, pa.scalar(wanted.start, times.type)))
        times = batch.column("time")
    if wanted.end is not None:
        batch = batch.filter(pc.less(times, pa.scalar(wanted.end, times.type)))
    owners = [
        pa.repeat(pa.scalar(text, pa.string()), batch.num_rows) for text in (piece.venue, symbol)
    ]
    return pa.RecordBatch.from_arrays([*owners, *batch.columns], schema=wanted.schema)
