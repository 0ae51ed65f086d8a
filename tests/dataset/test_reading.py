"""Recorded files as Arrow record batches."""

from __future__ import annotations

from datetime import UTC
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import duckdb
import pytest
import recording as rec

import k2trio
from k2trio.dataset.rotated import JOURNAL
from k2trio.dataset.sealing import seal_all
from k2trio.errors import ConfigError, UsageError
from k2trio.sinks.lines import encode_lines

if TYPE_CHECKING:
    from pathlib import Path

    from k2trio.continuity.items import Item

ITEMS: list[Item] = [*rec.trades(1, 50), rec.gap(51, 52), *rec.trades(53, 60), rec.quote(1, 1)]


@pytest.fixture(params=["lines", "journal", "sealed"])
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """The same, in each of the forms that there are."""
    if request.param == "lines":
        file = tmp_path / "out.jsonl"
        file.write_bytes(encode_lines(ITEMS))
        return file
    folder = tmp_path / "market"
    journals = folder / JOURNAL
    journals.mkdir(parents=True)
    (journals / "20261126T08-1.jsonl").write_bytes(encode_lines(ITEMS))
    if request.param == "sealed":
        (outcome,) = seal_all(folder, journals, "a test")
        assert outcome.problem is None
    return folder


def ids(path: Path, **wanted: Any) -> list[int]:
    return [row["trade_id"] for row in k2trio.read(path, **wanted).read_all().to_pylist()]


def test_rows_of_a_table_come_with_whose_they_are(path: Path) -> None:
    table = k2trio.read(path, kind="trade").read_all()
    first = table.slice(0, 1).to_pylist()[0]
    assert table.num_rows == 58
    assert (first["venue"], first["symbol"], first["stream"]) == (
        rec.VENUE,
        "BTCUSDT",
        "btcusdt@trade",
    )
    assert isinstance(first["price"], Decimal)
    assert [row["reason"] for row in k2trio.read(path, kind="gap").read_all().to_pylist()] == [
        "not_repaired"
    ]


def test_parts_of_the_time_and_symbols(path: Path) -> None:
    rows = k2trio.read(path).read_all().to_pylist()
    start, end = rows[10]["time"], rows[20]["time"]
    assert ids(path, start=start, end=end) == [row["trade_id"] for row in rows[10:20]]
    naive = start.astimezone(UTC).replace(tzinfo=None).isoformat()
    assert ids(path, start=naive) == [row["trade_id"] for row in rows[10:]]
    assert ids(path, start="2030-01-01") == []
    assert ids(path, symbol="btcusdt") == [row["trade_id"] for row in rows]
    assert ids(path, symbol=["ETHUSDT"]) == []


def test_duckdb_takes_it_as_it_is(path: Path) -> None:
    trades = k2trio.read(path)
    with duckdb.connect() as connection:
        connection.register("trades", trades)
        (row,) = connection.execute("SELECT count(*), max(trade_id) FROM trades").fetchall()
    assert row == (58, 60)


@pytest.mark.parametrize(
    ("wanted", "error", "why"),
    [
        ({"kind": "trades"}, UsageError, "trades is not a table; did you mean trade?"),
        ({"start": "tomorrow"}, UsageError, "'tomorrow' is no time; write it like"),
        ({"start": 5}, UsageError, "5 is no time; give a datetime, or a text like"),
        ({"symbol": "btcusdt@trade"}, ConfigError, "is not a symbol"),
    ],
)
def test_what_cannot_be_meant_is_refused(
    path: Path, wanted: dict[str, Any], error: type[Exception], why: str
) -> None:
    with pytest.raises(error, match=why):
        k2trio.read(path, **wanted)


def test_a_path_that_leads_nowhere_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no"):
        k2trio.read(tmp_path / "nowhere")
