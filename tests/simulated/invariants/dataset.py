"""Of the dataset: what is recorded and sealed of a run is all of it, and its proof is true."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from k2trio.continuity.items import Gap
from k2trio.dataset.catalogue import find
from k2trio.dataset.delivered import delivered
from k2trio.dataset.proof.proof import prove
from k2trio.dataset.sealing import seal_all
from k2trio.dataset.wanted import Wanted
from k2trio.market.payloads import Event
from k2trio.sinks.lines import encode_lines

from ..run import START_S
from ..violation import demand

if TYPE_CHECKING:
    from k2trio.continuity.items import Item
    from k2trio.dataset.proof.minutes import Mismatch
    from k2trio.dataset.proof.proof import Proof

    from ..run import Run

MINUTE_S = 60.0


def a_recording_is_proven(run: Run) -> None:
    """22: a recording is what was delivered, and proven to be; sealed or not, in its order."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        journals = folder / "_journal"
        journals.mkdir()
        journal = journals / "20260101T00-1.jsonl"
        journal.write_bytes(encode_lines(run.items))
        _check(run, prove(find([folder])), "the journal")
        (outcome,) = seal_all(folder, journals, "a simulated run")
        demand(outcome.problem is None, 22, f"it cannot be sealed: {outcome.problem}")
        _check(run, prove(find([folder])), "what was sealed")
        told = [
            item
            for items in delivered([str(folder)], Wanted(unit=run.settings.unit))
            for item in items
        ]
        demand(
            list(map(_said, told)) == list(map(_said, run.items)), 22, "it is read back otherwise"
        )


def _said(item: Item) -> tuple[object, ...]:
    """What has to come back exactly; of remarks the times come back as microseconds."""
    if isinstance(item, Event):
        return item.venue, item.stream, item.data, item.origin, item.received_ns
    if isinstance(item, Gap):
        return item.venue, item.stream, item.first, item.last, item.reason
    return item.venue, item.stream, type(item)


def _check(run: Run, proof: Proof, what: str) -> None:
    demand(not proof.unreadable, 22, f"{what} cannot be read: {proof.unreadable}")
    delivered: dict[tuple[str, str], int] = {}
    for item in run.items:
        key = item.venue, item.stream
        delivered[key] = delivered.get(key, 0) + isinstance(item, Event)
    found = {(account.venue, account.stream): account for account in proof.accounts}
    demand(
        {key: account.count for key, account in found.items()} == delivered,
        22,
        f"{what} has other messages than were delivered",
    )
    for (venue, stream), account in found.items():
        of = f"{what} of {stream} at {venue}"
        # One with a false key may be believed; the next true one then reaches back behind it.
        told = run.truth(venue).absurd
        false = sum(message.stream == stream for message in told)
        demand(account.doubles <= false, 22, f"{of}: {account.doubles} doubles")
        demand(not account.disorder, 22, f"{of}: {account.disorder} out of order")
        unnamed = account.missing.get(None)
        demand(unnamed is None or not unnamed.ids, 22, f"{of}: nobody named {unnamed}")
    for comparison in proof.comparisons:
        mismatches = [one for one in comparison.mismatches if not _began_anew(run, one)]
        demand(not mismatches, 22, f"{what}: {mismatches[:3]}")


def _began_anew(run: Run, mismatch: Mismatch) -> bool:
    """Whether ids began anew in that minute, in which they may have come to where they were while
    nobody heard: nothing tells then.
    """
    since = mismatch.minute / 1e6 - START_S
    return any(
        since <= at < since + MINUTE_S
        for exchange in run.exchanges.values()
        for at in exchange.truth.renumbered
    )
