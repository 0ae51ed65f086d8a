"""What a dataset holds behind a state file: in journals, and in what was made of them since."""

from __future__ import annotations

from typing import TYPE_CHECKING

from recording import (
    BARS,
    MINUTE_MS,
    START_MS,
    START_S,
    TRADES,
    VENUE,
    bar,
    gap,
    sealed,
    trade,
    trades,
    write,
)

from k2trio.continuity.positions import Position
from k2trio.dataset.sealing import seal_all
from k2trio.dataset.sink import ParquetSink
from k2trio.dataset.tails import BACK_S, SealedTail
from k2trio.market.units import MS

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

    from k2trio.continuity.items import Item

BEGIN = {
    (VENUE, TRADES): Position(VENUE, TRADES, 300, START_MS + 300_000),
    (VENUE, BARS): Position(VENUE, BARS, START_MS + 5 * MINUTE_MS),
}
TAIL: list[Item] = [
    *trades(290, 309), bar(4, 60, "1"), trade(310), gap(311, 315), *trades(316, 320),
    bar(5, 60, "1"), bar(6, 1, "1", closed=False),
]  # fmt: skip
"""What a run wrote before it was killed."""


async def beyond(root: Path, target: str | None = None, journal: Path | None = None) -> list[int]:
    with ParquetSink(target or str(root), journal, now=lambda: START_S + 400.0) as sink:
        found = await sink.beyond(BEGIN, MS)
    assert found.keys() == BEGIN.keys()
    return [
        found[VENUE, TRADES].position,
        (found[VENUE, BARS].position - START_MS) // MINUTE_MS,
    ]


async def test_a_journal_that_a_kill_left_is_read_back(tmp_path: Path) -> None:
    journals = tmp_path / "_journal"
    write(journals / "20261126T07-1.jsonl", trades(1, 200))
    path = write(journals / "20261126T08-1.jsonl", [*trades(201, 289), *TAIL])
    with path.open("ab") as file:
        file.write(b'{"venue":"bin')
    # Another collector has begun one.
    write(journals / "20261126T08-2.jsonl", [])
    assert await beyond(tmp_path) == [320, 6]


async def test_over_the_edge_of_an_hour_both_journals_are(tmp_path: Path) -> None:
    journals = tmp_path / "_journal"
    write(journals / "20261126T07-1.jsonl", [*trades(201, 289), *TAIL[:22]])
    write(journals / "20261126T08-1.jsonl", TAIL[22:])
    assert await beyond(tmp_path) == [320, 6]


async def test_what_was_sealed_meanwhile_is_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By hand, or by another collector of the dataset, at its hour's edge."""
    sealed(tmp_path, [*trades(1, 289), *TAIL])
    assert list((tmp_path / "_journal").iterdir()) == []
    assert await beyond(tmp_path) == [320, 6]
    read: list[int] = []
    monkeypatch.setattr(
        SealedTail,
        "read",
        lambda self, _span, _wanted: (read.append(self._wanted.start), (0, ()))[1],
    )
    assert await beyond(tmp_path) == [300, 5]
    assert read == [START_S + 300 - BACK_S], "an hour is not gone through for a second"


async def test_partly_sealed_it_is_one_course(tmp_path: Path) -> None:
    sealed(tmp_path, [*trades(1, 289), *TAIL[:22]])
    write(tmp_path / "_journal" / "20261126T09-1.jsonl", TAIL[22:])
    assert await beyond(tmp_path) == [320, 6]


async def test_ids_that_nothing_names_end_it(tmp_path: Path) -> None:
    items = [item for item in TAIL if item != trade(305)]
    write(tmp_path / "_journal" / "20261126T08-1.jsonl", items)
    assert await beyond(tmp_path) == [304, 6]
    for outcome in seal_all(tmp_path, tmp_path / "_journal", "tests"):
        assert outcome.problem is None
    assert await beyond(tmp_path) == [304, 6]


async def test_a_bucket_is_not_asked(tmp_path: Path) -> None:
    """It may not answer: what is known of it are the journals."""
    bucket = "s3://bucket/prefix?endpoint_override=localhost:1"
    assert await beyond(tmp_path, bucket, tmp_path / "journals") == [300, 5]
    write(tmp_path / "journals" / "20261126T08-1.jsonl", [*trades(201, 289), *TAIL])
    assert await beyond(tmp_path, bucket, tmp_path / "journals") == [320, 6]


async def test_a_broken_seal_is_told_and_nothing_is_taken_from_it(tmp_path: Path) -> None:
    sealed(tmp_path, [*trades(1, 289), *TAIL])
    (seal,) = (tmp_path / "_sealed").iterdir()
    seal.write_text("{")
    told: list[str] = []
    with ParquetSink(str(tmp_path), None, lambda event, **_: told.append(event)) as sink:
        assert await sink.beyond(BEGIN, MS) == BEGIN
    assert told == ["output_not_read_back"]
