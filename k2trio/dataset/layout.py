"""Where things are in a dataset's folder, and what they are called.

    _journal/20261126T13-1.jsonl          what was received in an hour, until it is sealed
    _sealed/20261126T13-1.json            what sealing made of it, written last: the seal itself
    venue=…/kind=…/symbol=…/date=…/20261126T13-1.trade.parquet

A sealed file holds one stream (of gaps and the like: one symbol). As long as its journal is there
without a seal, the journal counts and the file does not; so nothing is ever there twice. What
begins with ``_`` is passed over by those who look for Parquet files in a folder.
"""

from __future__ import annotations

import re
import urllib.parse
from datetime import UTC, datetime
from pathlib import PurePosixPath
from typing import NamedTuple, Self

from ..errors import UnknownStreamError
from ..market.streams import Kind, parse_stream
from .rotated import JOURNAL as JOURNAL
from .schema import ALL_SYMBOLS, REMARKS, TABLES, Table

SEALED = "_sealed"
"""Folder of the seals."""
HOUR_FORMAT = "%Y%m%dT%H"
ENDING = ".parquet"
HEALED = "heal-"
"""How the ids of what was fetched later begin: it stands in no journal."""

_JOURNAL_ID = re.compile(r"(?P<hour>\d{8}T\d{2})-(?P<number>\d+)\Z")
_SAFE = "!"


class JournalId(NamedTuple):
    """An hour of receipt, and which of its journals."""

    hour: datetime
    number: int

    def __str__(self) -> str:
        return f"{self.hour:{HOUR_FORMAT}}-{self.number}"

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """The id that a text is, or None."""
        match = _JOURNAL_ID.match(text)
        if match is None:
            return None
        try:
            hour = datetime.strptime(match["hour"], HOUR_FORMAT).replace(tzinfo=UTC)
        except ValueError:
            return None
        return cls(hour, int(match["number"]))


class Place(NamedTuple):
    """Which part of a dataset a sealed file holds.

    :ivar kind: the table.
    :ivar symbol: upper-case symbol, or ``ALL``.
    :ivar date: UTC day of the column ``time``, as ``2026-11-26``.
    :ivar batch: the id of the journal, or of the healing, that it was made of.
    :ivar label: of the stream, what stands behind the symbol; of remarks the table's name.
    """

    venue: str
    kind: str
    symbol: str
    date: str
    batch: str
    label: str

    @property
    def path(self) -> PurePosixPath:
        """Relative to the dataset's folder."""
        folders = {
            "venue": self.venue,
            "kind": self.kind,
            "symbol": self.symbol,
            "date": self.date,
        }
        parts = [f"{key}={urllib.parse.quote(value, _SAFE)}" for key, value in folders.items()]
        name = f"{self.batch}.{urllib.parse.quote(self.label, _SAFE)}{ENDING}"
        return PurePosixPath(*parts, name)

    @classmethod
    def parse(cls, path: PurePosixPath) -> Self | None:
        """The place that the end of a path tells, or None."""
        if path.suffix != ENDING or len(path.parts) < 5:
            return None
        *folders, name = path.parts[-5:]
        keys, values = zip(*(folder.partition("=")[::2] for folder in folders), strict=True)
        if keys != ("venue", "kind", "symbol", "date"):
            return None
        batch, dot, label = name.removesuffix(ENDING).partition(".")
        if not dot or values[1] not in TABLES:
            return None
        venue, kind, symbol, date = map(urllib.parse.unquote, values)
        return cls(venue, kind, symbol, date, batch, urllib.parse.unquote(label))

    @property
    def table(self) -> Table:
        """Its table."""
        return TABLES[self.kind]


def place_of(table: Table, venue: str, stream: str, date: str, batch: str) -> Place:
    """Where rows of a stream belong."""
    try:
        parsed = parse_stream(stream)
        symbol, label = parsed.symbol or ALL_SYMBOLS, _label(parsed.kind, stream)
    except UnknownStreamError:
        symbol, label = ALL_SYMBOLS, stream
    if table in REMARKS:
        label = table.name
    return Place(venue, table.name, symbol, date, batch, label)


def _label(kind: Kind, stream: str) -> str:
    if kind in (Kind.ALL_MINI_TICKERS, Kind.ALL_WINDOW_TICKERS):
        return stream
    return stream.partition("@")[2]


def stream_of(place: Place) -> str | None:
    """The stream whose messages a sealed file holds; None for gaps and the like."""
    if place.table in REMARKS:
        return None
    if place.symbol == ALL_SYMBOLS:
        return place.label
    return f"{place.symbol.lower()}@{place.label}"
