"""The exchange's archives, as they lie at data.binance.vision."""

from __future__ import annotations

import hashlib
import zipfile
from typing import TYPE_CHECKING

import pytest
import recording as rec

from k2trio.dataset.archives import USDM, Archive, ArchiveName
from k2trio.dataset.catalogue import find
from k2trio.dataset.proof.digests import Digests
from k2trio.dataset.proof.proof import prove
from k2trio.dataset.proof.sealed import Findings, check_archives
from k2trio.errors import Unreadable
from k2trio.market.streams import Kind

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

DAY_US = 1_795_651_200_000_000  # 2026-11-26
TRADES_HEADER = "id,price,qty,quote_qty,time,is_buyer_maker"


def pack(path: Path, rows: Iterable[str]) -> Path:
    """A zip of one CSV file."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr(f"{path.stem}.csv", "".join(f"{row}\n" for row in rows))
    return path


def trade_rows(first: int, last: int, unit: int = 1, *, leave_out: int = -1) -> list[str]:
    """One trade a second of 0.5; with ``unit`` 1000 in milliseconds."""
    return [
        f"{n},65000.10000000,0.50000000,32500.05000000,{(DAY_US + n * 10**6) // unit},True,True"
        for n in range(first, last + 1)
        if n != leave_out
    ]


def bar_row(minute: int, trades: int, volume: str, unit: int = 1) -> str:
    start = DAY_US + minute * 60 * 10**6
    end = (start + 60 * 10**6) // unit - 1
    return f"{start // unit},1.0,1.0,1.0,1.0,{volume},{end},3.0,{trades},1.0,1.0,0"


@pytest.mark.parametrize(
    ("name", "called"),
    [
        ("BTCUSDT-trades-2026-11-25.zip", ArchiveName("BTCUSDT", Kind.TRADE, None)),
        ("BTCUSDT-aggTrades-2026-11.csv", ArchiveName("BTCUSDT", Kind.AGG_TRADE, None)),
        ("BTCUSDT-1m-2026-11-25.zip", ArchiveName("BTCUSDT", Kind.KLINE, "1m")),
        ("BTCUSDT-1mo-2026-11.zip", ArchiveName("BTCUSDT", Kind.KLINE, "1M")),
        ("BTCUSDT-bookDepth-2026-11-25.zip", None),
        ("BTCUSDT-1m-2026-11-25.zip.CHECKSUM", None),
    ],
)
def test_what_archives_are_called(name: str, called: ArchiveName | None) -> None:
    assert ArchiveName.parse(name) == called


@pytest.mark.parametrize("unit", [1, 1000])
def test_a_days_trades_against_its_bars(tmp_path: Path, unit: int) -> None:
    pack(tmp_path / "BTCUSDT-trades-2026-11-26.zip", trade_rows(1, 400, unit))
    bars = [bar_row(0, 59, "29.5", unit), *(bar_row(m, 60, "30.0", unit) for m in range(1, 6))]
    pack(tmp_path / "BTCUSDT-1m-2026-11-26.zip", [*bars, bar_row(6, 41, "20.5", unit)])
    proof = prove(find([tmp_path]))
    assert proof.unreadable == []
    bars_of, trades = proof.accounts
    assert (trades.stream, trades.archive, trades.count, trades.missing) == (
        rec.TRADES,
        True,
        400,
        {},
    )
    assert (bars_of.stream, bars_of.count, bars_of.missing) == (rec.BARS, 7, {})
    assert trades.began == DAY_US + 10**6
    (found,) = proof.comparisons
    assert (found.minutes, found.mismatches) == (5, [])


def test_holes_and_differences_in_archives(tmp_path: Path) -> None:
    pack(tmp_path / "BTCUSDT-trades-2026-11-26.zip", trade_rows(1, 400, leave_out=90))
    bars = [*(bar_row(m, 60, "30.0") for m in (1, 2, 3)), bar_row(4, 61, "30.0")]
    pack(tmp_path / "BTCUSDT-1m-2026-11-26.zip", bars)
    proof = prove(find([tmp_path]))
    assert rec.holes(proof.accounts[1]) == [(90, 90, None)]
    (found,) = proof.comparisons
    assert found.minutes == 3
    assert [(row.trades, row.bar_trades) for row in found.mismatches] == [(60, 61)]


def test_aggregates(tmp_path: Path) -> None:
    rows = [
        f"{n},65000.1,1.00000000,{2 * n},{2 * n + 1},{DAY_US + n * 10**6},true,true"
        for n in (1, 2, 4)
    ]
    path = pack(tmp_path / "BTCUSDT-aggTrades-2026-11-26.zip", rows)
    found = rec.account(find([path]), rec.AGGS)
    assert rec.holes(found) == [(3, 3, None)]


def test_futures_have_a_line_of_names_and_are_a_venue_of_their_own(tmp_path: Path) -> None:
    rows = [row.rpartition(",")[0] for row in trade_rows(1, 10, 1000)]
    path = tmp_path / "BTCUSDT-trades-2026-11-26.csv"
    path.write_text("\n".join([TRADES_HEADER, *rows, ""]))
    found = rec.account(find([path]), venue=USDM)
    assert (found.count, found.ends) == (10, (1, 10))


def test_all_columns_can_be_read(tmp_path: Path) -> None:
    path = pack(tmp_path / "BTCUSDT-1m-2026-11-26.zip", [bar_row(0, 59, "29.5")])
    (piece,) = (piece for source in find([path]) for piece in source.pieces())
    assert piece.batch.schema == piece.table.schema
    row = piece.batch.to_pylist()[0]
    assert (row["trades"], str(row["volume"]), row["closed"]) == (59, "29.50000000", True)


def test_what_lies_in_a_recording_as_well_is_not_double(tmp_path: Path) -> None:
    pack(tmp_path / "BTCUSDT-trades-2026-11-26.zip", trade_rows(1, 10))
    rec.write(tmp_path / "set.jsonl", rec.trades(1, 10))
    assert [one.doubles for one in prove(find([tmp_path])).accounts] == [0, 0]


def test_a_checksum_is_compared(tmp_path: Path) -> None:
    path = pack(tmp_path / "BTCUSDT-trades-2026-11-26.zip", trade_rows(1, 10))
    beside = path.with_name(path.name + ".CHECKSUM")
    findings = Findings()
    for digest in (hashlib.sha256(path.read_bytes()).hexdigest(), "0" * 64, "none"):
        beside.write_text(f"{digest}  {path.name}\n")
        check_archives(find([path]), Digests(), findings)
    assert len(findings.changed) == len(findings.unreadable) == 1
    assert "another SHA-256" in findings.changed[0]
    assert "holds no SHA-256" in findings.unreadable[0]


@pytest.mark.parametrize("damage", ["cut", "text", "two", "not a number"])
def test_an_archive_that_is_none(tmp_path: Path, damage: str) -> None:
    path = pack(tmp_path / "BTCUSDT-trades-2026-11-26.zip", trade_rows(1, 1000))
    match damage:
        case "cut":
            path.write_bytes(path.read_bytes()[:-500])
        case "text":
            path.write_bytes(b"<html>not found</html>")
        case "two":
            with zipfile.ZipFile(path, "a") as packed:
                packed.writestr("second.csv", "1,2,3\n")
        case _:
            pack(path, ["1,x,0.5,1,1795651200000000,True,True"])
    archive = Archive(path, ArchiveName("BTCUSDT", Kind.TRADE, None))
    with pytest.raises(Unreadable, match="BTCUSDT-trades"):
        list(archive.pieces())


def test_an_empty_archive_has_no_rows(tmp_path: Path) -> None:
    path = pack(tmp_path / "BTCUSDT-trades-2026-11-26.zip", [])
    assert list(Archive(path, ArchiveName("BTCUSDT", Kind.TRADE, None)).pieces()) == []
