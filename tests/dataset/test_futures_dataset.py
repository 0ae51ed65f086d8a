"""Futures in a dataset: their tables, rows that become messages again, and the proof of chains."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
import recording as rec
from documents import EXAMPLES

from k2trio.continuity.items import Gap
from k2trio.dataset.catalogue import find
from k2trio.dataset.columns import pieces
from k2trio.dataset.proof.proof import prove
from k2trio.dataset.rebuilding import items_of
from k2trio.dataset.schema import OTHER, table_of
from k2trio.market.decoder import Decoder
from k2trio.market.payloads import DepthSnapshot, Event, Level, frame_of
from k2trio.market.streams import Kind, stream_of
from k2trio.market.units import MS
from k2trio.sinks.lines import encode_lines
from k2trio.sinks.parsing import decode_lines

if TYPE_CHECKING:
    from collections.abc import Iterator

    from k2trio.continuity.items import Item

FOLDER = os.environ.get("K2TRIO_RECORDED")
recorded = pytest.mark.skipif(
    not FOLDER, reason="K2TRIO_RECORDED does not name the folder of recorded exchange traffic"
)
VENUE = "binance.com-usdm"
UNTABLED = {Kind.COMPOSITE_INDEX, Kind.CONTRACT_INFO, Kind.TRADING_SESSION}
"""Kinds that no table has: their payloads are kept as they came."""


def event_of(name: str, raw: bytes) -> Event[Any]:
    (event,), _ = Decoder(VENUE).decode([frame_of(name, raw)], 1.7e9)
    return event


def through_tables(items: Sequence[Item]) -> list[Item]:
    """Items that were written, made columns of, and made of these again; in their order."""
    placed = [
        one for piece in pieces(decode_lines(encode_lines(items))) for one in items_of(piece, MS)
    ]
    return [item for _, item in sorted(placed, key=lambda one: one.sequence)]


@pytest.mark.parametrize("name", EXAMPLES)
def test_every_kind_goes_into_its_table_and_comes_out_the_same(name: str) -> None:
    event = event_of(name, EXAMPLES[name])
    stream = stream_of(VENUE, name)
    (piece,) = pieces(decode_lines(encode_lines([event])))
    assert piece.table is table_of(stream)
    assert (piece.table is OTHER) == (stream.kind in UNTABLED)
    (again,) = through_tables([event])
    assert isinstance(again, Event)
    assert _numbers(again.data) == _numbers(event.data)
    assert (again.stream, again.venue, again.received) == (name, VENUE, event.received)


def _numbers(data: Any) -> Any:
    """A payload with its decimals as numbers: a table does not keep how many zeros they end in."""
    if isinstance(data, dict):
        return {key: _numbers(value) for key, value in data.items()}
    if isinstance(data, list):
        return [_numbers(value) for value in data]
    if isinstance(data, str):
        try:
            return float(data)
        except ValueError:
            return data
    if isinstance(data, int | float) or data is None:
        return data
    if isinstance(data, Sequence):  # levels that are made when they are touched
        return _numbers(list(data))
    if isinstance(data, Level):
        return _numbers([data.price, data.quantity])
    said = {item.name: getattr(data, item.name) for item in msgspec.structs.fields(data)}
    return _numbers(said)


def test_updates_among_snapshots_keep_their_chain(tmp_path: Path) -> None:
    raw = b'{"lastUpdateId":155,"bids":[["0.0024","10"]],"asks":[]}'
    data = msgspec.json.decode(raw, type=DepthSnapshot)
    name = "btcusdt@depth"
    snapshot: Event[Any] = Event(data, name, VENUE, 1.7e9, frame_of(name, raw), "snapshot")
    items: list[Item] = [snapshot, event_of(name, EXAMPLES[name])]
    again = through_tables(items)
    assert [_numbers(item.data) for item in again] == [_numbers(item.data) for item in items]  # type: ignore[union-attr]


MINUTE_MS = 60_000
ONE_TRADE = (
    b'{"e":"aggTrade","E":%(ms)d,"s":"BTCUSDT","a":%(n)d,"p":"1","q":"1","f":%(n)d,"l":%(n)d,'
    b'"T":%(ms)d,"m":true}'
)
BAR_OF_THREE = (
    b'{"e":"kline","E":%(ms)d,"s":"BTCUSDT","k":{"t":%(ms)d,"T":%(ms)d,"s":"BTCUSDT","i":"1m",'
    b'"f":1,"L":3,"o":"1","c":"1","h":"1","l":"1","v":"3","n":3,"x":true,"q":"3","V":"1","Q":"1",'
    b'"B":"0"}}'
)

# -- proof -----------------------------------------------------------------------------------------


def chain(numbers: Sequence[int]) -> list[Event[Any]]:
    """Updates ``10 n + 5 … 10 n + 8`` behind one that ended with ``10 (n - 1) + 8``."""
    return [
        event_of(
            "btcusdt@depth",
            b'{"e":"depthUpdate","E":%d,"T":%d,"s":"BTCUSDT","U":%d,"u":%d,"pu":%d,"b":[],"a":[]}'
            % (1_700_000_000_000 + n, 1_700_000_000_000 + n, 10 * n + 5, 10 * n + 8, 10 * n - 2),
        )
        for n in numbers
    ]


def proofs(folder: Path, items: Sequence[Item]) -> Iterator[Any]:
    """Of lines, and of the same sealed: the only account."""
    for path in (
        rec.write(folder / "lines" / "set.jsonl", items),
        rec.sealed(folder / "set", items),
    ):
        (account,) = prove(find([path])).accounts
        yield account


def test_a_chain_is_proven_whole(tmp_path: Path) -> None:
    for account in proofs(tmp_path, chain(range(1, 50))):
        assert (account.count, account.missing, account.provable) == (49, {}, True)


def test_an_update_that_is_missing_shows_by_the_one_behind_it(tmp_path: Path) -> None:
    for account in proofs(tmp_path, chain([*range(1, 20), *range(21, 50)])):
        assert rec.holes(account) == [(199, 208, None)]


def test_an_update_that_is_missing_and_named_is_declared(tmp_path: Path) -> None:
    gap = Gap(VENUE, "btcusdt@depth", 199, 208, "not_repairable", 1.7e9, 1.7e9)
    for account in proofs(tmp_path, [*chain(range(1, 20)), gap, *chain(range(21, 50))]):
        assert rec.holes(account) == [(199, 208, "not_repairable")]


@pytest.mark.parametrize("venue", [VENUE, "binance.com-testnet-usdm", "my.host-usdm"])
def test_aggregates_of_no_venue_of_futures_are_held_against_bars(
    tmp_path: Path, venue: str
) -> None:
    """Trades of liquidations are in none, so nothing is wrong where a bar has more of them."""
    aggs, bars = [
        [
            msgspec.structs.replace(event_of(f"btcusdt@{kind}", raw % at), venue=venue)
            for at in ({b"n": n, b"ms": MINUTE_MS * (28_333_333 + n)} for n in range(1, 10))
        ]
        for kind, raw in (("aggTrade", ONE_TRADE), ("kline_1m", BAR_OF_THREE))
    ]
    proof = prove(find([rec.write(tmp_path / "set.jsonl", [*aggs, *bars])]))
    assert [account.count for account in proof.accounts] == [9, 9]
    assert proof.comparisons == []


@recorded
def test_what_was_recorded_of_the_real_exchange_is_whole(tmp_path: Path) -> None:
    lines = (Path(FOLDER or "") / "usdm.frames.jsonl").read_bytes().splitlines()
    rows = [msgspec.json.decode(line) for line in lines]
    decoder = Decoder(VENUE)
    events = [
        event
        for row in rows
        for event in decoder.decode([msgspec.json.encode(row["frame"])], row["received"])[0]
    ]
    again = through_tables(events)
    assert [_numbers(item.data) for item in again] == [_numbers(item.data) for item in events]  # type: ignore[union-attr]
    for path in (
        rec.write(tmp_path / "lines" / "set.jsonl", events),
        rec.sealed(tmp_path / "set", events),
    ):
        proof = prove(find([path]))
        assert sum(account.count for account in proof.accounts) == len(events)
        for account in proof.accounts:
            assert (account.missing, account.doubles, account.odd) == ({}, 0, 0), account.stream
