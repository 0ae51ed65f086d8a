"""Which files paths lead to, and in which order they were written."""

from __future__ import annotations

import random
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import recording as rec

from k2trio.dataset.catalogue import find, survey
from k2trio.dataset.proof.timeline import batches

if TYPE_CHECKING:
    from k2trio.dataset.linesfile import Source

NUMBERED = ["set.jsonl.1", "set.jsonl.2", "set.jsonl.10", "set.jsonl"]
TIMED = [
    "set.jsonl.20261126T080000Z",
    "set.jsonl.20261126T080000Z.2",
    "set.jsonl.20261126T080000Z.10",
    "set.jsonl.20261126T090000Z",
    "set.jsonl",
]
COMPRESSED = ["set.jsonl.1.zst", "set.jsonl.2.zst", "set.jsonl.zst"]


def order(sources: list[Source]) -> list[str]:
    return [Path(source.name).name for batch in batches(sources) for source in batch.sources]


@pytest.mark.parametrize("names", [NUMBERED, TIMED, COMPRESSED])
def test_rotated_files_are_read_from_the_oldest_to_the_newest(
    tmp_path: Path, names: list[str]
) -> None:
    for name in names:
        rec.write(tmp_path / name, [rec.trade(1)])  # all began at once, so only names tell
    mixed = [tmp_path / name for name in names]
    random.Random(1).shuffle(mixed)
    assert order(find(mixed)) == names
    assert order(find([tmp_path])) == names


def test_files_of_several_names_are_read_as_they_began(tmp_path: Path) -> None:
    for name, first in (("b.jsonl.1", 1), ("b.jsonl", 10), ("a.jsonl", 20)):
        rec.write(tmp_path / name, [rec.gap(1, 2), rec.trade(first)])
    assert order(find([tmp_path])) == ["b.jsonl.1", "b.jsonl", "a.jsonl"]


def test_what_was_healed_comes_last(tmp_path: Path) -> None:
    rec.write(tmp_path / "a.healed.jsonl", [rec.trade(1)])
    rec.write(tmp_path / "a.jsonl", [rec.trade(10)])
    assert order(find([tmp_path / "a.jsonl"])) == ["a.jsonl", "a.healed.jsonl"]
    assert [source.healed for source in find([tmp_path])] == [False, True]


def test_what_is_being_written_aside_is_no_recording(tmp_path: Path) -> None:
    rec.write(tmp_path / "a.jsonl", [rec.trade(1)])
    rec.write(tmp_path / ".a.jsonl.0123456789abcdef.new", [rec.trade(2)])
    rec.write(tmp_path / "notes.txt", [rec.trade(3)])
    assert order(find([tmp_path])) == ["a.jsonl"]


def test_each_dataset_in_a_folder_has_its_own_journals_and_seals(tmp_path: Path) -> None:
    for name, first in (("one", 1), ("two", 11)):
        root = rec.sealed(tmp_path / "sets" / name, rec.trades(first, first + 4))
        rec.write(root / "_journal" / "20261126T10-1.jsonl", rec.trades(first + 5, first + 9))
    found = survey([tmp_path])
    assert [Path(dataset.root).name for dataset in found.datasets] == ["one", "two"]
    assert all(dataset.seals and dataset.journals for dataset in found.datasets)
    assert rec.holes(rec.account(found.sources)) == []
    assert rec.account(found.sources).count == 20


def test_each_file_counts_once_however_often_it_is_named(tmp_path: Path) -> None:
    path = rec.write(tmp_path / "a.jsonl", [rec.trade(1)])
    assert order(find([path, tmp_path, path])) == ["a.jsonl"]


def test_journals_beside_an_object_store_are_named_by_their_folder(tmp_path: Path) -> None:
    folder = tmp_path / "_journal"
    rec.write(folder / "20261126T09-2.jsonl", [rec.trade(2)])
    rec.write(folder / "20261126T08-1.jsonl", [rec.trade(3)])
    assert order(find([folder])) == ["20261126T08-1.jsonl", "20261126T09-2.jsonl"]
