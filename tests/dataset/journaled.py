"""Journals made by hand, and everything that a dataset holds."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from k2trio.dataset.catalogue import open_dataset
from k2trio.dataset.linesfile import LinesFile

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from k2trio.dataset.linesfile import Source

VENUE = "binance.com"
NOON = 1_764_158_400
"""2025-11-26T12:00:00Z as Unix time in seconds."""
ID = "20251126T12-1"
WRITER = "a test"

Row = tuple[str, str, str, str]
"""Venue, table, stream, and the values, as text that can be compared and sorted."""


def line(stream: str, data: Any, received: float = NOON + 0.25, **more: Any) -> str:
    """A message as the sink writes it."""
    told = {"venue": VENUE, "stream": stream, "received": received, "origin": "live", **more}
    return json.dumps({**told, "data": data}, separators=(",", ":"), ensure_ascii=False) + "\n"


def trade(number: int, seconds: float = 0.0, symbol: str = "BTCUSDT", **more: Any) -> str:
    """A line of a trade, so many seconds after noon."""
    made = round((NOON + seconds) * 1000)
    data = {"e": "trade", "E": made + 1, "s": symbol, "t": number, "p": f"{90000 + number % 7}.50",
            "q": "0.01000000", "T": made, "m": number % 2 == 0, "M": True}  # fmt: skip
    return line(f"{symbol.lower()}@trade", data, NOON + seconds + 0.004, **more)


def remark(stream: str, what: str, **body: Any) -> str:
    """A line that is no message."""
    return json.dumps({"venue": VENUE, "stream": stream, what: body}) + "\n"


def gap(stream: str, first: int, last: int, reason: str = "not_repaired") -> str:
    """A line of a gap."""
    return remark(stream, "gap", first=first, last=last, reason=reason, since=None, until=NOON + 1)


def journal(root: Path, lines: Iterable[str], name: str = ID) -> Path:
    """A journal of a dataset, which nobody has open."""
    folder = root / "_journal"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.jsonl"
    path.write_text("".join(lines))
    return path


def rows_of(sources: Iterable[Source]) -> list[Row]:
    """All rows, sorted."""
    return sorted(
        (piece.venue, piece.table.name, piece.stream, repr(row))
        for source in sources
        for piece in source.pieces()
        for row in piece.batch.to_pylist()
    )


def everything(root: Path, folder: Path | None = None) -> list[Row]:
    """What a dataset holds, wherever it lies."""
    return rows_of(open_dataset(root, folder).sources)


def journaled(path: Path) -> list[Row]:
    """What a journal holds."""
    return rows_of([LinesFile(path)])


def leftovers(root: Path) -> list[str]:
    """Files that are neither sealed, nor a seal, nor a journal."""
    whole = {".parquet", ".json", ".jsonl"}
    return sorted(
        str(path.relative_to(root))
        for path in root.rglob("*")
        if path.is_file() and (path.suffix not in whole or path.name.startswith("."))
    )
