"""Datasets, iterated as the feed was that filled them."""

from __future__ import annotations

import datetime as dt
import resource
from typing import TYPE_CHECKING, Any

import pytest
from msgspec import structs
from recordings import EVERY_KIND, START_S, VENUE, seal, session, with_remarks, write_lines

import k2trio
from k2trio.continuity.items import Gap
from k2trio.dataset import sealed
from k2trio.market.payloads import Event
from k2trio.simulator import EPOCH_MS

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from k2trio.continuity.items import Item

HOUR = "20260101T00"
TRADES, BARS = "ethusdt@trade", "btcusdt@kline_1s"


async def read(*paths: Path, **options: Any) -> list[Item]:
    async with k2trio.open_recording(paths, **options) as recording:
        return [item async for item in recording]


def parquet(root: Path) -> list[Path]:
    return list(root.rglob("*.parquet"))


def rounded(items: Iterable[Item]) -> list[Item]:
    """With the times of remarks in microseconds, which is what tables hold."""
    found: list[Item] = []
    for item in items:
        if not isinstance(item, Event):
            times = {n: getattr(item, n) for n in ("since", "until")}
            item = structs.replace(
                item, **{n: None if t is None else round(t, 6) for n, t in times.items()}
            )
        found.append(item)
    return found


@pytest.fixture(params=[True, False], ids=["few rows at once", "many"])
def little(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param:
        monkeypatch.setattr(sealed, "READ_ROWS", 20)
        monkeypatch.setattr(sealed, "BUILT_ROWS", 3)


ITEMS = with_remarks(session())


@pytest.mark.usefixtures("little")
async def test_a_sealed_journal_comes_out_as_the_feed_delivered_it(tmp_path: Path) -> None:
    seal(tmp_path, ITEMS, f"{HOUR}-1")
    assert len(parquet(tmp_path)) > len(EVERY_KIND)
    assert rounded(await read(tmp_path)) == rounded(ITEMS)


@pytest.mark.usefixtures("little")
async def test_rows_that_are_not_in_the_order_of_delivery_are_put_into_it(tmp_path: Path) -> None:
    trades = session(5, [TRADES])
    again = [*trades[:60], *trades[30:]]  # as a crash lets them be delivered again
    seal(tmp_path, again, f"{HOUR}-1")
    assert await read(tmp_path) == again


async def test_journals_follow_each_other_sealed_or_not(tmp_path: Path) -> None:
    first, second, third = (session(2, begin_s=2.0 * n) for n in range(3))
    seal(tmp_path, first, f"{HOUR}-1")
    seal(tmp_path, second, f"{HOUR}-2")
    (tmp_path / "_journal").mkdir()
    write_lines(tmp_path / "_journal" / "20260101T01-1.jsonl", third)
    assert await read(tmp_path) == [*first, *second, *third]


async def test_journals_of_one_hour_are_told_by_their_time(tmp_path: Path) -> None:
    ours, theirs = session(3, [TRADES]), session(3, ["btcusdt@aggTrade"])
    seal(tmp_path, ours, f"{HOUR}-1")
    seal(tmp_path, theirs, f"{HOUR}-2")
    found = await read(tmp_path)
    assert [item for item in found if item.stream == TRADES] == ours
    assert [item for item in found if item.stream != TRADES] == theirs
    times = [item.received for item in found if isinstance(item, Event)]
    assert times == sorted(times)


async def test_some_streams_and_a_part_of_the_time(tmp_path: Path) -> None:
    seal(tmp_path, ITEMS, f"{HOUR}-1", rows=50)
    start, end = (dt.datetime.fromtimestamp(START_S + s, dt.UTC) for s in (1, 2))
    found = await read(tmp_path, start=start, end=end)
    plain = await read(write_lines(tmp_path.parent / "all.jsonl", ITEMS), start=start, end=end)
    assert [i for i in found if isinstance(i, Event)] == [i for i in plain if isinstance(i, Event)]
    chosen = [i for i in rounded(ITEMS) if i.stream == TRADES]
    assert any(isinstance(item, Gap) for item in chosen)
    assert rounded(await read(tmp_path, streams=[TRADES])) == chosen


async def test_hours_that_are_not_wanted_are_not_opened(tmp_path: Path) -> None:
    seal(tmp_path, session(2), "20260101T05-1")
    for path in parquet(tmp_path):
        path.write_bytes(b"broken")
    for hour, wanted in (("T00:00", "end"), ("T08:00", "start")):
        time = dt.datetime.fromisoformat(f"2026-01-01{hour}+00:00")
        assert await read(tmp_path, **{wanted: time}) == []
    with pytest.raises(k2trio.Unreadable, match="no whole Parquet file"):
        await read(tmp_path)


async def test_sealed_files_by_themselves(tmp_path: Path) -> None:
    seal(tmp_path, ITEMS, f"{HOUR}-1")
    paths = [p for p in parquet(tmp_path) if "kind=gap" not in str(p)]
    events = [item for item in rounded(ITEMS) if not isinstance(item, Gap)]
    assert rounded(await read(*paths)) == events


async def test_more_files_than_may_be_open_are_told_before_they_are(tmp_path: Path) -> None:
    seal(tmp_path, ITEMS, f"{HOUR}-1")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (70, hard))
    try:
        with pytest.raises(k2trio.ConfigError, match="ulimit -n"):
            await read(tmp_path)
        assert await read(tmp_path, streams=[TRADES])
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


# -- what was healed ------------------------------------------------------------------------------


def torn(stream: str, missing: Sequence[int], until: int | None = None) -> tuple[Any, ...]:
    """What a feed delivered that missed some messages, and these, as they were fetched later."""
    whole = [item for item in session(5, [stream]) if isinstance(item, Event)]
    lost = [structs.replace(whole[n], origin="backfill", received=2e9) for n in missing]
    keys = [item.data.trade_id for item in lost]
    last = keys[-1] if until is None else whole[until].data.trade_id
    gap = Gap(VENUE, stream, keys[0], last, "not_repaired", START_S, START_S + 1)
    before, after = whole[: missing[0]], whole[max(missing[-1], until or 0) + 1 :]
    return before, gap, lost, after


@pytest.mark.usefixtures("little")
async def test_what_was_healed_stands_where_its_gap_was(tmp_path: Path) -> None:
    before, gap, lost, after = torn(TRADES, range(40, 90))
    seal(tmp_path, [*before, gap, *after], f"{HOUR}-1")
    assert await read(tmp_path) == [*before, gap, *after]
    seal(tmp_path, lost[20:], "heal-20260102T000000-2")
    part = structs.replace(gap, last=lost[19].data.trade_id)
    assert await read(tmp_path) == [*before, part, *lost[20:], *after]
    seal(tmp_path, lost[:25], "heal-20260102T000000-1")  # some of it twice
    assert await read(tmp_path) == [*before, *lost, *after]
    # It is not a matter of when it was fetched.
    end = dt.datetime.fromtimestamp(START_S + 100, dt.UTC)
    assert await read(tmp_path, end=end) == [*before, *lost, *after]


async def test_what_healing_did_not_bring_stays_a_gap(tmp_path: Path) -> None:
    before, gap, lost, after = torn(TRADES, [40, 41, 44, 45], until=49)
    seal(tmp_path, [*before, gap, *after], f"{HOUR}-1")
    seal(tmp_path, lost, "heal-20260102T000000-1")
    ids = [item.data.trade_id for item in lost]
    assert await read(tmp_path) == [
        *before,
        *lost[:2],
        structs.replace(gap, first=ids[1] + 1, last=ids[2] - 1),
        *lost[2:],
        structs.replace(gap, first=ids[3] + 1),
        *after,
    ]


@pytest.mark.parametrize("companion", [False, True])
async def test_bars_are_healed_by_when_they_open(tmp_path: Path, companion: bool) -> None:
    closed = [
        item for item in session(8, [BARS]) if isinstance(item, Event) and item.data.bar.closed
    ]
    gap = Gap(VENUE, BARS, EPOCH_MS + 2000, EPOCH_MS + 5000, "venue_missing", None, None)
    lost = [structs.replace(bar, origin="backfill", received=2e9) for bar in closed[2:6]]
    rest = [*closed[:2], gap, *closed[6:]]
    brought = [lost[1], lost[3]]
    if companion:
        path = write_lines(tmp_path / "out.jsonl", rest)
        write_lines(tmp_path / "out.healed.jsonl", brought[::-1])
    else:
        path = tmp_path
        seal(tmp_path, rest, f"{HOUR}-1")
        seal(tmp_path, brought, "heal-20260102T000000-1")
    found = await read(path)
    gaps = [
        (item.first - EPOCH_MS, item.last - EPOCH_MS) for item in found if isinstance(item, Gap)
    ]
    assert gaps == [(2000, 2000), (4000, 4000)]
    opens = [item.data.bar.open_time - EPOCH_MS for item in found if isinstance(item, Event)]
    assert opens == [0, 1000, 3000, 5000, 6000, 7000]


@pytest.mark.usefixtures("little")
@pytest.mark.parametrize("form", ["sealed", "interrupted", "companion"])
async def test_what_was_fetched_for_a_hole_that_nobody_named_stands_there(
    tmp_path: Path, form: str
) -> None:
    before, _, lost, after = torn(TRADES, range(40, 90))
    path = tmp_path
    if form == "companion":
        path = write_lines(tmp_path / "out.jsonl", [*before, *after])
        write_lines(tmp_path / "out.healed.jsonl", lost[10:])
    else:
        seal(tmp_path, [*before, *after], f"{HOUR}-1")
        assert await read(path) == [*before, *after]
        if form == "sealed":
            seal(tmp_path, lost[10:], "heal-20260102T000000-1")
        else:
            (tmp_path / "_journal").mkdir()
            write_lines(tmp_path / "_journal" / "heal-20260102T000000-1.jsonl", lost[10:])
    # Of the rest nobody says that it is missing, and so does the recording not.
    assert await read(path) == [*before, *lost[10:], *after]


async def test_healed_lines_lie_beside_their_file(tmp_path: Path) -> None:
    before, gap, lost, after = torn(TRADES, range(40, 60))
    path = write_lines(tmp_path / "out.jsonl", [*before, gap, *after])
    write_lines(tmp_path / "out.healed.jsonl", lost)
    for where in (path, tmp_path):
        assert await read(where) == [*before, *lost, *after]


async def test_a_reset_is_no_hole_to_be_filled(tmp_path: Path) -> None:
    before, gap, lost, after = torn(TRADES, range(40, 60))
    gap = structs.replace(gap, reason="reset")
    seal(tmp_path, [*before, gap, *after], f"{HOUR}-1")
    seal(tmp_path, lost, "heal-20260102T000000-1")
    assert await read(tmp_path) == [*before, gap, *after]
