"""A sealing that is killed anywhere: nothing is missing or there twice, then and afterwards."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from journaled import (
    ID,
    NOON,
    WRITER,
    Row,
    everything,
    gap,
    journal,
    journaled,
    leftovers,
    line,
    remark,
    trade,
)
from processes import PATIENCE_S, environment

from k2trio.dataset.sealing import seal_all

if TYPE_CHECKING:
    from collections.abc import Sequence

pytestmark = pytest.mark.slow

TORN = trade(9)[:40]


def lines() -> list[str]:
    """A journal of which several files are made, with a torn last line."""
    return [
        trade(1, 3600 * 12 - 1),
        trade(2, 3600 * 12),
        gap("btcusdt@trade", 3, 3, "reset"),
        trade(1, 3600 * 12 + 1),
        trade(1, symbol="ETHUSDT"),
        remark("btcusdt@avgPrice", "outage", since=NOON, until=NOON + 1),
        line("btcusdt@trade", {"p": "none"}),
        TORN,
    ]


def contents(root: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()
    }


class Kills:
    """What a kill at each step has left, and what should be there."""

    def __init__(self, folder: Path) -> None:
        template, undisturbed = folder / "template", folder / "undisturbed"
        self.expected: Sequence[Row] = journaled(journal(template, lines()))
        shutil.copytree(template, undisturbed)
        (outcome,) = seal_all(undisturbed, undisturbed / "_journal", WRITER)
        assert outcome.seal is not None
        self.whole = contents(undisturbed)
        done = subprocess.run(  # noqa: S603 - our own script
            [sys.executable, str(Path(__file__).with_name("killed.py")), template, folder / "cut"],
            env=environment(),
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            timeout=4 * PATIENCE_S,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        self.steps = done.stdout.splitlines()
        self.roots = [folder / "cut" / str(n + 1) for n in range(len(self.steps))]


@pytest.fixture(scope="module")
def kills(tmp_path_factory: pytest.TempPathFactory) -> Kills:
    return Kills(tmp_path_factory.mktemp("killed"))


def test_kills_fell_on_every_step(kills: Kills) -> None:
    renamed = [step for step in kills.steps if step.startswith("replace")]
    parts = [name for name in kills.whole if name.endswith(".parquet")]
    assert len(parts) == 6
    assert len(renamed) == len(parts) + 2  # the plan, and the seal
    assert kills.steps.count(f"replace .{ID}.json.new") == 1
    removed = [step for step in kills.steps if step.startswith("unlink")]
    assert removed[-2:] == [f"unlink {ID}.jsonl", f"unlink {ID}.plan"]
    assert len([step for step in kills.steps if step == "write "]) >= 2 * len(parts)
    states = {tuple(sorted(contents(root))) for root in kills.roots}
    assert len(states) >= 2 * len(parts)


def test_at_every_step_all_is_there_once(kills: Kills) -> None:
    for root, step in zip(kills.roots, kills.steps, strict=True):
        assert everything(root) == kills.expected, f"{root.name}: {step}"


def test_the_next_sealing_ends_as_an_undisturbed_one(kills: Kills) -> None:
    for root, step in zip(kills.roots, kills.steps, strict=True):
        again = root.with_name(f"{root.name}-again")
        shutil.copytree(root, again)
        for outcome in seal_all(again, again / "_journal", WRITER):
            assert outcome.problem is None, f"{root.name}: {step}"
        assert contents(again) == kills.whole, f"{root.name}: {step}"
        assert everything(again) == kills.expected
        assert leftovers(again) == []


def test_files_of_an_earlier_attempt_that_the_next_one_does_not_make_are_gone(
    tmp_path: Path,
) -> None:
    """As when the program was updated in between, and now makes other files of the same journal."""
    path = journal(tmp_path, lines())
    expected = journaled(path)
    stale = tmp_path / f"venue=x/kind=trade/symbol=OLD/date=2025-11-26/{ID}.trade.parquet"
    stale.parent.mkdir(parents=True)
    for leftover in (stale, stale.with_name(f".{stale.name}.new")):
        leftover.write_bytes(b"half")
    plan = path.with_name(f"{ID}.plan")
    plan.write_text(f'["{stale.relative_to(tmp_path)}"]')
    assert everything(tmp_path) == expected
    (outcome,) = seal_all(tmp_path, path.parent, WRITER)
    assert outcome.problem is None
    assert everything(tmp_path) == expected
    assert leftovers(tmp_path) == []
    assert not stale.exists()
