"""The ledger as a file: it is there after a kill, and never says more than the output holds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import pytest
import trio
from disk import Disk
from program import COVERAGE, TRADES, Place, gaps, ids
from world import fault

from k2trio.commands.ledger import INTERVAL_S, CoverageFile, try_coverage
from k2trio.errors import ConfigError, SinkError
from k2trio.sinks.jsonl import JsonLines

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path


@pytest.fixture
async def place(monkeypatch: pytest.MonkeyPatch, autojump_clock: Any) -> AsyncGenerator[Place]:
    rest_is_away = fault(0, "rest_status", "venue.rest", status=503, duration=1000)
    made = Place(monkeypatch, [rest_is_away, fault(30, "dropped", share=0.5, duration=1)])
    async with trio.open_nursery() as nursery:
        await nursery.start(made.network.run)
        yield made
        nursery.cancel_scope.cancel()


class Watched:
    """A disk; each ledger that appears on it is held against the output of that moment."""

    def __init__(self) -> None:
        self.disk = Disk()
        self.disk.changed = self.look
        self.times: list[float] = []
        self._known = b""

    def look(self) -> None:
        files = self.disk.files()
        if (ledger := files.get(COVERAGE, b"")) == self._known:
            return
        self._known = ledger
        self.times.append(trio.current_time())
        rows = {row["stream"]: row for row in msgspec.json.decode(ledger)}
        found = ids(files)[TRADES]
        assert (rows[TRADES]["first"], rows[TRADES]["last"]) == (found[0], found[-1])
        assert rows[TRADES]["live"] == len(found)
        declared = [tuple(row) for row in rows[TRADES]["missing_ranges"]]
        assert declared == gaps(files)


async def test_the_ledger_on_the_disk_is_that_of_the_output_at_every_interval(
    autojump_clock: Any, place: Place
) -> None:
    watched = Watched()
    began_at = trio.current_time()
    await place.run(watched.disk, 3.5 * INTERVAL_S, state=None)
    *regular, last = [at - began_at for at in watched.times]
    assert regular == pytest.approx([INTERVAL_S, 2 * INTERVAL_S, 3 * INTERVAL_S], abs=0.5)
    assert last == pytest.approx(3.5 * INTERVAL_S)


async def test_a_quiet_market_keeps_no_ledger_from_being_written(
    autojump_clock: Any, place: Place
) -> None:
    watched = Watched()
    with trio.move_on_after(INTERVAL_S + 1):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(place.run, watched.disk, 1e9)
            await trio.sleep(INTERVAL_S - 5)
            place.exchange.market.halt(60_000_000)
    assert watched.times[0] == pytest.approx(INTERVAL_S, abs=0.01)


async def test_a_ledger_waits_until_the_output_has_caught_up(
    autojump_clock: Any, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = JsonLines.write
    slow_from, slow_until = INTERVAL_S - 5, INTERVAL_S + 5

    async def write_slowly(sink: JsonLines, items: Any) -> None:
        if slow_from < trio.current_time() < slow_until:
            await trio.sleep(0.3)
        await write(sink, items)

    monkeypatch.setattr(JsonLines, "write", write_slowly)
    watched = Watched()
    await place.run(watched.disk, 1.5 * INTERVAL_S, state=None)
    assert watched.times[0] == pytest.approx(slow_until, abs=1)


async def test_a_ledger_that_cannot_be_written_is_told_and_tried_again(
    autojump_clock: Any, place: Place, tmp_path: Path
) -> None:
    told: list[tuple[str, dict[str, object]]] = []
    folder = tmp_path / "folder"
    file = CoverageFile(
        folder / "c",
        list,
        lambda: None,
        lambda event, **context: told.append((event, context)),
    )
    await file.keep()
    ((event, context),) = told
    assert event == "coverage_not_written"
    assert str(context["detail"]).endswith("its directory does not exist; create it")
    assert file.due_at == trio.current_time() + INTERVAL_S
    with pytest.raises(SinkError, match="its directory does not exist"):
        await file.write_at_last()
    folder.mkdir()
    await file.keep()
    assert (folder / "c").read_bytes() == b"[]\n"


def test_trying_leaves_nothing(tmp_path: Path) -> None:
    kept, new = tmp_path / "kept", tmp_path / "new"
    kept.write_bytes(b"before")
    dangling = tmp_path / "link"
    dangling.symlink_to(tmp_path / "to be made")
    for path in (kept, new, dangling, tmp_path / "link"):
        try_coverage(path)
    assert {file.name for file in tmp_path.iterdir()} == {"kept", "link"}
    assert kept.read_bytes() == b"before"
    for wrong in (tmp_path, tmp_path / "none" / "file", kept / "file"):
        with pytest.raises(ConfigError, match=f"cannot write the coverage file {wrong}: "):
            try_coverage(wrong)
