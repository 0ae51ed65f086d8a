"""Where things are in a dataset's folder, and what they are called.

    _journal/20261126T13-1.jsonl          what was received in an hour, until it is sealed
    _journal/20261126T13-1.plan           what is being made of it; there for as long as that lasts
    _sealed/20261126T13-1.json            what sealing made of it, written last: the seal itself
    venue=…/kind=…/symbol=…/date=…/20261126T13-1.trade.parquet

The number behind the hour tells the journals of an hour apart. It is made of the time and of
chance, so that nobody has to look what there was before: not a collector whose bucket does not
answer, nor one of two that write to the same.

A sealed file holds one stream (of gaps and the like: one symbol). It counts when its seal is there,
and until then its journal does; so nothing is ever there twice, or missing. What begins with ``_``
is passed over by those who look for Parquet files in a folder.
"""

from __future__ import annotations

import re
import secrets
import urllib.parse
from datetime import UTC, datetime
from pathlib import PurePosixPath
from typing import NamedTuple, Self

from ..errors import UnknownStreamError
from ..market.streams import any_stream
from .rotated import ENDING
from .schema import ALL_SYMBOLS, REMARKS, TABLES, Table

HOUR_FORMAT = "%Y%m%dT%H"
JOURNAL_ENDING = ".jsonl"
SEAL_ENDING = ".json"
HEALED = "heal-"
"""How the ids of what was fetched later begin: it stands in no journal."""

_JOURNAL_ID = re.compile(r"(?P<hour>\d{8}T\d{2})-(?P<number>\d+)\Z")
_SAFE = "!"
_CHANCES = 10**9
"""How many numbers there are for the journals that are begun in a millisecond."""


class JournalId(NamedTuple):
    """An hour of receipt, and which of its journals; in the order in which they were begun."""

    hour: datetime
    number: int

    @classmethod
    def new(cls, now: float) -> Self:
        """One that there has never been.

        :param now: Unix time in seconds.
        """
        hour = hour_of(now)
        milliseconds = int((now - hour.timestamp()) * 1000)
        return cls(hour, milliseconds * _CHANCES + secrets.randbelow(_CHANCES))

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


def hour_of(now: float) -> datetime:
    """The UTC hour of a Unix time in seconds."""
    return datetime.fromtimestamp(now // 3600 * 3600, UTC)


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
    symbol = symbol_of(stream)
    if table in REMARKS:
        label = table.name
    else:
        label = stream if symbol == ALL_SYMBOLS else stream.partition("@")[2]
    return Place(venue, table.name, symbol, date, batch, label)


def symbol_of(stream: str) -> str:
    """The symbol of a stream; ``ALL`` where it has none."""
    try:
        return any_stream(stream).symbol or ALL_SYMBOLS
    except UnknownStreamError:
        return ALL_SYMBOLS


def stream_of(place: Place) -> str | None:
    """The stream whose messages a sealed file holds; None for gaps and the like."""
    if place.table in REMARKS:
        return None
    if place.symbol == ALL_SYMBOLS:
        return place.label
    return f"{place.symbol.lower()}@{place.label}"
