"""Sealed sets are proven as the lines that they were made of, and against their seals."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import pyarrow.fs as pafs
import pytest
import recording as rec
from moto.server import ThreadedMotoServer

from k2trio.dataset.catalogue import find, locate, survey
from k2trio.dataset.proof.digests import Digests
from k2trio.dataset.proof.manifest import manifest_of
from k2trio.dataset.proof.proof import prove
from k2trio.dataset.proof.report import comparison_report, stream_report
from k2trio.dataset.proof.sealed import Findings, check_seals
from k2trio.dataset.seals import Seal

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from k2trio.continuity.items import Item
    from k2trio.dataset.linesfile import Source


def told(sources: Sequence[Source]) -> list[object]:
    """All that a proof says."""
    proof = prove(sources)
    assert proof.unreadable == []
    return [
        *map(stream_report, proof.accounts),
        *map(comparison_report, proof.comparisons),
    ]


def checked(root: Path) -> Findings:
    findings = Findings()
    for dataset in survey([root]).datasets:
        check_seals(dataset, Digests(), findings)
    return findings


def everything() -> list[Item]:
    """All kinds of faults in one set."""
    events = rec.trades(1001, 1900)
    events[100], events[101] = events[101], events[100]
    bars = rec.bars_of(events)
    broken = rec.trade(1555, quantity="7")
    items: list[Item] = [*events[:300], *bars[:5], *events[310:500], rec.gap(1501, 1504)]
    items += [*events[504:554], broken, *events[555:], *events[700:720], *bars[8:]]
    items += [rec.trade(1901, late=100), rec.reset(1902, 2000)]
    items += [rec.trade(n, 2000 + n) for n in range(1700, 1800)]
    items += [rec.aggregate(1, 1, 2), rec.gap(2, 2, "shared_id", rec.AGGS), rec.aggregate(2, 5, 5)]
    items += [rec.diff(1, 5, 1), rec.gap(6, 9, "snapshot", rec.DIFFS), rec.snapshot(9, 2)]
    items += [
        rec.diff(10, 12, 3),
        rec.quote(5, 4),
        rec.outage(4, 6),
        rec.quote(9, 6),
        rec.quote(9, 6),
    ]
    return items


def test_a_sealed_set_is_told_as_the_lines_it_was_made_of(tmp_path: Path) -> None:
    items = everything()
    lines = told(find([rec.write(tmp_path / "lines" / "set.jsonl", items)]))
    root = rec.sealed(tmp_path / "set", items[:400], items[400:1000], items[1000:])
    assert told(find([root])) == lines
    assert checked(root).changed == checked(root).unreadable == []


def test_a_journal_that_is_not_sealed_yet_counts(tmp_path: Path) -> None:
    root = rec.sealed(tmp_path, rec.trades(1, 10), rec.trades(11, 20))
    rec.write(root / "_journal" / "20261126T11-1.jsonl", rec.trades(21, 30))
    found = rec.account(find([root]))
    assert (found.ends, rec.holes(found), found.doubles) == ((1, 30), [], 0)


def test_numberings_are_told_apart_across_hours_and_days(tmp_path: Path) -> None:
    day = 86_400 - rec.START_S % 86_400
    old = [rec.trade(n, day + n - 1010) for n in range(1001, 1021)]  # over midnight
    new = [rec.trade(n, day + n) for n in range(1005, 1030)]
    root = rec.sealed(
        tmp_path, [*old[:5]], [*old[5:], rec.reset(1021, day + 1005), *new[:10]], new[10:]
    )
    found = rec.account(find([root]))
    assert (found.doubles, found.disorder, rec.holes(found)) == (0, 0, [])
    assert [int(n.runs.ranges.first[0]) for n in found.numberings] == [1001, 1005]


def test_what_was_healed_counts_wherever_it_lies(tmp_path: Path) -> None:
    gone = [*rec.trades(1, 10), rec.gap(11, 13), *rec.trades(14, 20)]
    root = rec.sealed(tmp_path, gone, rec.trades(21, 30))
    healed = [rec.trade(n, late=5000, origin="backfill") for n in (11, 12)]
    heal(root, [*healed, rec.gap(13, 13, "venue_missing")])
    found = rec.account(find([root]))
    assert rec.holes(found) == [(13, 13, "venue_missing")]
    assert stream_report(found).complete
    assert (found.doubles, found.disorder, found.clocks.count) == (0, 0, 0)


def heal(root: Path, items: Sequence[Item]) -> None:
    """Seal what was fetched later, as a batch of its own."""
    aside = rec.sealed(root.with_name("aside"), items)
    for path in [path for path in aside.rglob("*") if path.is_file()]:
        name = Path(str(path.relative_to(aside)).replace("20261126T08-1", "heal-20261127-1"))
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(path.read_bytes())
    shutil.rmtree(aside)


def test_files_whose_seal_is_not_there_yet_do_not_count(tmp_path: Path) -> None:
    root = rec.sealed(tmp_path, rec.trades(1, 10), rec.trades(11, 20))
    (root / "_sealed" / "20261126T09-1.json").unlink()
    assert rec.account(find([root])).ends == (1, 10)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return rec.sealed(tmp_path / "set", rec.trades(1, 10), rec.trades(11, 20), rec.trades(21, 30))


def middle(root: Path) -> Path:
    """The file of the second hour."""
    (found,) = root.glob("venue=*/**/20261126T09-1.*")
    return found


def test_a_file_that_is_missing(root: Path) -> None:
    middle(root).unlink()
    (line,) = checked(root).unreadable
    assert "is missing" in line
    assert rec.holes(rec.account(find([root]))) == [(11, 20, None)]


def test_a_file_that_is_cut(root: Path) -> None:
    path = middle(root)
    path.write_bytes(path.read_bytes()[:-100])
    assert "bytes, and its seal says" in checked(root).changed[0]
    proof = prove(find([root]))
    assert len(proof.unreadable) == 1
    assert rec.holes(proof.accounts[0]) == [(11, 20, None)]


def test_a_file_with_a_bit_that_is_another(root: Path) -> None:
    path = middle(root)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    assert "another SHA-256" in checked(root).changed[0]


def test_a_seal_that_tells_something_else(root: Path) -> None:
    path = root / "_sealed" / "20261126T09-1.json"
    seal = msgspec.json.decode(path.read_bytes(), type=Seal)
    for change in ({"rows": 11}, {"first": 10}, {"last": 21}):
        part = msgspec.structs.replace(seal.files[0], **change)
        path.write_bytes(msgspec.json.encode(msgspec.structs.replace(seal, files=(part,))))
        assert "10 rows, 11 to 20, and its seal says" in checked(root).changed[0]


def test_a_file_that_no_seal_names(root: Path) -> None:
    path = middle(root)
    shutil.copy(path, path.with_name("20261126T09-1.more.parquet"))
    (line,) = checked(root).changed
    assert "is in no seal" in line


def test_a_seal_that_is_none(root: Path) -> None:
    (root / "_sealed" / "20261126T09-1.json").write_bytes(b"{")
    (line,) = checked(root).unreadable
    assert "is no seal of ours" in line


def test_one_sealed_file_by_its_name(root: Path) -> None:
    assert rec.account(find([middle(root)])).ends == (11, 20)


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """An object store of this test's own."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    there = f"scheme=http&endpoint_override={host}:{port}&allow_bucket_creation=true"
    url = f"s3://sets/binance?{there}"
    filesystem, _ = locate(url)
    filesystem.create_dir("sets")
    yield url
    server.stop()


def test_a_set_in_an_object_store(root: Path, bucket: str) -> None:
    pafs.copy_files(str(root), bucket, use_threads=False)
    surveyed = survey([bucket])
    found = rec.account(surveyed.sources)
    assert (found.ends, rec.holes(found)) == ((1, 30), [])
    findings = Findings()
    (dataset,) = surveyed.datasets
    check_seals(dataset, Digests(), findings)
    assert findings.unreadable == findings.changed == []
    digests = Digests()
    manifest = manifest_of(surveyed.sources, [dataset.root], [stream_report(found)], digests)
    assert {row.name for row in manifest.files} == {
        str(path.relative_to(root)) for path in root.rglob("*.parquet")
    }
    filesystem, prefix = locate(bucket)
    filesystem.delete_file(f"{prefix}/{middle(root).relative_to(root)}")
    check_seals(survey([bucket]).datasets[0], Digests(), findings)
    assert "is missing" in findings.unreadable[0]
