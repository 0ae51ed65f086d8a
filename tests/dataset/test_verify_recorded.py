"""Real traffic of the exchange, written as the feed writes it, is proven whole.

Needs ``K2TRIO_RECORDED``; see ``test_recorded.py``.
"""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import msgspec
import pytest
import recording as rec

from k2trio.dataset.catalogue import find
from k2trio.dataset.proof.proof import Proof, prove
from k2trio.market.decoder import Decoder
from k2trio.market.payloads import Event
from k2trio.market.streams import Kind

FOLDER = os.environ.get("K2TRIO_RECORDED")
pytestmark = pytest.mark.skipif(
    not FOLDER, reason="K2TRIO_RECORDED does not name the folder of recorded exchange traffic"
)


class _Line(msgspec.Struct):
    received: float
    frame: msgspec.Raw


@pytest.fixture(scope="module")
def events() -> list[Event]:
    text = (Path(FOLDER or "") / "spot.frames.jsonl").read_bytes()
    lines = [msgspec.json.decode(line, type=_Line) for line in text.splitlines()]
    decoder = Decoder(rec.VENUE)
    return [
        event
        for line in lines
        for event in decoder.decode([bytes(line.frame)], line.received)[0]
        if isinstance(event, Event)
    ]


def proven(folder: Path, events: list[Event]) -> tuple[Proof, Proof]:
    """Of lines, and of the same sealed."""
    lines = prove(find([rec.write(folder / "lines" / "set.jsonl", events)]))
    return lines, prove(find([rec.sealed(folder / "set", events)]))


def test_what_was_recorded_of_the_real_exchange_is_whole(
    tmp_path: Path, events: list[Event]
) -> None:
    for proof in proven(tmp_path, events):
        kinds = {account.kind for account in proof.accounts}
        assert kinds >= {Kind.DEPTH, Kind.BOOK_TICKER, Kind.AGG_TRADE, Kind.KLINE}
        assert sum(account.count for account in proof.accounts) == len(events)
        for account in proof.accounts:
            assert (account.missing, account.doubles, account.odd) == ({}, 0, 0), account.stream
            assert (account.disorder, account.clocks.count) == (0, 0), account.stream


def test_a_message_that_is_left_out_is_missed(tmp_path: Path, events: list[Event]) -> None:
    counts = Counter(event.stream for event in events if "@depth" in event.stream)
    ((busiest, _),) = counts.most_common(1)
    gone = [event for event in events if event.stream == busiest][counts[busiest] // 2]
    left = [event for event in events if event is not gone]
    for proof in proven(tmp_path, left):
        (found,) = [one for one in proof.accounts if one.stream == gone.stream]
        assert rec.holes(found) == [(gone.data.first_update_id, gone.data.last_update_id, None)]
