"""What the feed delivers is told as it is: no undeclared hole, no double, no disorder."""

from __future__ import annotations

import shutil
from collections import Counter
from typing import TYPE_CHECKING

import pytest
import recording as rec
from halves import quick_and_slow
from simulated.plan import make_plan
from simulated.run import live

from k2trio.continuity.items import Gap
from k2trio.dataset.catalogue import find
from k2trio.dataset.proof.proof import prove
from k2trio.simulator import FaultKind

if TYPE_CHECKING:
    from pathlib import Path

    from simulated.plan import Plan

    from k2trio.continuity.items import Item
    from k2trio.dataset.proof.account import Account
    from k2trio.dataset.proof.proof import Proof

HOURS = 0.6
RENUMBERED = [FaultKind.IDS_RESET, FaultKind.ABSURD_KEY, FaultKind.SHARED_ID, FaultKind.HALT]
SEEDS = [*((seed, ()) for seed in range(30)), *((seed, tuple(RENUMBERED)) for seed in range(10))]


@pytest.mark.parametrize(("seed", "kinds"), quick_and_slow(SEEDS))
def test_no_set_of_ours_cries_wolf(tmp_path: Path, seed: int, kinds: tuple[FaultKind, ...]) -> None:
    plan = make_plan(seed, HOURS, kinds=kinds)
    items = live(plan).items
    lines = prove(find([rec.write(tmp_path / "lines" / "set.jsonl", items)]))
    parts = [items[: len(items) // 2], items[len(items) // 2 :]]
    dataset = prove(find([rec.sealed(tmp_path / "set", *filter(None, parts))]))
    for proof in (lines, dataset):
        demand_truth(plan, items, proof)
    shutil.rmtree(tmp_path)


def demand_truth(plan: Plan, items: list[Item], proof: Proof) -> None:
    assert (proof.unreadable, proof.torn) == ([], {})
    for account in proof.accounts:
        gaps = [
            item
            for item in items
            if isinstance(item, Gap)
            and (item.venue, item.stream) == (account.venue, account.stream)
        ]
        demand_gaps(account, gaps)
        assert (account.doubles, account.disorder, account.odd) == (0, 0, 0)
        if not plan.wall_jumps:
            assert account.clocks.count == 0
    for comparison in proof.comparisons:
        assert comparison.mismatches == []


def demand_gaps(account: Account, gaps: list[Gap]) -> None:
    assert len(account.numberings) - 1 == sum(gap.reason == "reset" for gap in gaps)
    missing = {reason: sums.ids for reason, sums in account.missing.items()}
    assert None not in missing
    declared: Counter[str] = Counter()
    for gap in gaps:
        if gap.reason != "reset":
            declared[gap.reason] += gap.last - gap.first + 1
    if account.bars is None:
        assert missing == dict(declared)
    else:
        assert missing.keys() == declared.keys()
