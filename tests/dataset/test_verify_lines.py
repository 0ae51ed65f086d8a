"""Every kind of fault in files of JSON lines is found, and nothing is that is none."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import msgspec
import pytest
import recording as rec
import zstandard

from k2trio.dataset.catalogue import find
from k2trio.dataset.linesfile import LinesFile
from k2trio.dataset.proof.clocks import ClockJump
from k2trio.dataset.proof.numbering import Sum
from k2trio.dataset.proof.proof import prove
from k2trio.dataset.proof.report import stream_report
from k2trio.market.payloads import BlockTrade
from k2trio.sinks.lines import encode_lines

if TYPE_CHECKING:
    from pathlib import Path

    from k2trio.continuity.items import Item
    from k2trio.dataset.proof.account import Account


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "set.jsonl"


def proven(path: Path, items: list[Item], stream: str = rec.TRADES) -> Account:
    return rec.account(find([rec.write(path, items)]), stream)


def test_what_is_whole_is_told_so(path: Path) -> None:
    found = proven(path, [*rec.trades(1, 500)])
    assert (found.count, found.ends) == (500, (1, 500))
    assert (found.missing, found.doubles, found.disorder, found.clocks.count) == ({}, 0, 0, 0)


def test_a_hole_that_nobody_declared(path: Path) -> None:
    found = proven(path, [*rec.trades(1, 10), *rec.trades(14, 20)])
    assert rec.holes(found) == [(11, 13, None)]
    (hole,) = found.numberings[0].holes
    # The times of its neighbours, in microseconds.
    assert (hole.before, hole.after) == ((rec.START_S + 10) * 10**6, (rec.START_S + 14) * 10**6)


def test_a_hole_that_was_declared_in_part(path: Path) -> None:
    found = proven(path, [*rec.trades(1, 10), rec.gap(11, 12), *rec.trades(14, 20)])
    assert rec.holes(found) == [(11, 12, "not_repaired"), (13, 13, None)]
    assert found.missing == {"not_repaired": Sum(1, 2), None: Sum(1, 1)}


def test_gaps_at_the_ends_of_a_file_are_holes_too(path: Path) -> None:
    items = [rec.gap(1, 3, "resume_limit"), *rec.trades(4, 9), rec.gap(10, 12, "shutdown")]
    assert rec.holes(proven(path, items)) == [(1, 3, "resume_limit"), (10, 12, "shutdown")]


def test_what_was_declared_and_is_there_is_no_hole(path: Path) -> None:
    items = [*rec.trades(1, 10), rec.gap(11, 13), *rec.trades(14, 20), *rec.trades(11, 13)]
    found = proven(path, items)
    assert rec.holes(found) == []
    assert found.doubles == 0


def test_doubles(path: Path) -> None:
    found = proven(path, [*rec.trades(1, 20), *rec.trades(16, 30), rec.trade(3)])
    assert (found.doubles, found.double_ranges) == (6, [(16, 20), (3, 3)])
    assert found.disorder == 0


def test_disorder(path: Path) -> None:
    events = rec.trades(1, 20)
    events[4], events[5] = events[5], events[4]
    events.append(events.pop(10))
    found = proven(path, [*events])
    assert (found.disorder, found.doubles, rec.holes(found)) == (2, 0, [])


def test_what_stands_before_a_line_that_is_none_counts(path: Path) -> None:
    rec.write(path, rec.trades(1, 5))
    with path.open("ab") as file:
        file.write(b"garbage\n")
    proof = prove([LinesFile(path)])
    (line,) = proof.unreadable
    assert line.startswith(f"{path}, after 5 lines: 'garbage' is no line of ours")
    assert proof.accounts[0].count == 5


def test_disorder_from_one_chunk_to_the_next(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("k2trio.dataset.linesfile.CHUNK_BYTES", 2000)
    found = proven(path, [*rec.trades(101, 150), *rec.trades(1, 100), *rec.trades(151, 160)])
    assert (found.disorder > 0, found.doubles, rec.holes(found)) == (True, 0, [])


def test_the_exchanges_time_going_back(path: Path) -> None:
    events = [*rec.trades(1, 10), *(rec.trade(n, n - 100, late=100.01) for n in range(11, 20))]
    (jump,) = proven(path, [*events]).clocks.jumps
    assert jump.whose == "exchange"
    assert jump.by_s == -99


@pytest.mark.parametrize("by_s", [-7.0, 90.0])
def test_our_clock_being_set(path: Path, by_s: float) -> None:
    events = [*rec.trades(1, 10), *(rec.trade(n, late=by_s) for n in range(11, 20))]
    (jump,) = proven(path, [*events]).clocks.jumps
    assert jump.whose == "receipt"
    assert jump.at == round((rec.START_S + 11 + by_s) * 10**6)
    assert jump.by_s == pytest.approx(by_s - 0.01, abs=1e-5)


def test_our_clock_going_back_where_the_exchange_tells_no_time(path: Path) -> None:
    items = [rec.quote(1, 1.0), rec.quote(2, 100.0), rec.quote(3, 90.0), rec.quote(4, 91.0)]
    assert proven(path, [*items], rec.QUOTES).clocks.jumps == [
        ClockJump("receipt", (rec.START_S + 90) * 10**6, -10.0)
    ]


def test_a_market_that_is_quiet_for_hours_sets_no_clock(path: Path) -> None:
    assert proven(path, [rec.trade(1, 0), rec.trade(2, 40_000)]).clocks.count == 0


def test_repaired_messages_set_no_clock(path: Path) -> None:
    repaired = [rec.trade(n, late=3000, origin="backfill") for n in range(4, 8)]
    found = proven(path, [*rec.trades(1, 3), *repaired, *rec.trades(8, 9)])
    assert (found.clocks.count, rec.holes(found)) == (0, [])


def test_ids_of_two_numberings_are_never_compared(path: Path) -> None:
    old = [*rec.trades(1001, 1050), *rec.trades(1053, 1060)]
    new = [rec.trade(n, 2000 + n) for n in range(1040, 1070)]
    found = proven(path, [*old, rec.reset(1061, 3040), *new, rec.gap(1070, 1071, "shutdown")])
    assert (found.doubles, found.disorder) == (0, 0)
    assert rec.holes(found) == [(1051, 1052, None), (1070, 1071, "shutdown")]
    assert [len(numbering.runs.ranges) for numbering in found.numberings] == [2, 1]


def test_a_numbering_goes_on_in_the_next_file(tmp_path: Path) -> None:
    rec.write(tmp_path / "set.jsonl.1", [*rec.trades(1001, 1050), rec.reset(1051, 3001)])
    rec.write(tmp_path / "set.jsonl", [rec.trade(n, 3000 + n) for n in range(1, 20)])
    # In whatever order they are named.
    found = rec.account(find([tmp_path / "set.jsonl", tmp_path / "set.jsonl.1"]))
    assert rec.holes(found) == []
    assert [int(n.runs.ranges.first[0]) for n in found.numberings] == [1001, 1]


def test_two_venues_are_two_streams(path: Path) -> None:
    other = [rec.trade(n, venue="binance.us") for n in range(500, 520)]
    change = rec.changed(rec.VENUE, "binance.us", 500)
    path = rec.write(path, [*rec.trades(1, 10), change, *other])
    assert rec.holes(rec.account(find([path]))) == []
    assert rec.account(find([path]), venue="binance.us").ends == (500, 519)


def test_two_aggregates_of_one_id_are_no_doubles(path: Path) -> None:
    items = [rec.aggregate(1, 1, 2), rec.aggregate(2, 3, 4), rec.aggregate(2, 5, 5)]
    found = proven(path, [*items, rec.aggregate(3, 6, 9)], rec.AGGS)
    assert (found.doubles, rec.holes(found)) == (0, [])
    assert proven(path, [*items, items[2]], rec.AGGS).doubles == 1


def test_an_aggregate_that_shares_its_id_is_missing_until_it_is_there(path: Path) -> None:
    shared = rec.gap(2, 2, "shared_id", rec.AGGS)
    items = [rec.aggregate(1, 1, 2), shared, rec.aggregate(2, 5, 5), rec.aggregate(3, 6, 9)]
    assert rec.holes(proven(path, [*items], rec.AGGS)) == [(2, 2, "shared_id")]
    healed = [*items, rec.aggregate(2, 3, 4, at=9)]
    assert rec.holes(proven(path, healed, rec.AGGS)) == []


def test_block_trades_leave_ids_out(path: Path) -> None:
    stream = "btcusdt@blockTrade"

    def block(number: int) -> Item:
        time = rec.START_MS + number
        data = BlockTrade(time, "BTCUSDT", number, "1", "1", time, False)
        return rec.event(data, stream, number / 1000 + 0.01)

    found = proven(path, [block(1), block(5), rec.gap(6, 8, stream=stream), block(9)], stream)
    assert rec.holes(found) == [(6, 8, "not_repaired")]


def test_updates_of_a_book_join_a_snapshot(path: Path) -> None:
    items = [rec.diff(1, 5, 1), rec.snapshot(5, 1.5), rec.diff(6, 9, 2), rec.diff(10, 10, 3)]
    found = proven(path, [*items], rec.DIFFS)
    assert (rec.holes(found), found.doubles, found.disorder, found.snapshots) == ([], 0, 0, 1)


def test_a_snapshot_stands_for_updates_that_are_declared(path: Path) -> None:
    gap = rec.gap(6, 20, "snapshot", rec.DIFFS)
    items = [rec.diff(1, 5, 1), gap, rec.snapshot(20, 1.5), rec.diff(18, 25, 2)]
    found = proven(path, [*items], rec.DIFFS)
    # The update that joins it begins before it, and brings some of them.
    assert rec.holes(found) == [(6, 17, "snapshot")]
    assert found.doubles == 0


def test_an_update_of_a_book_that_is_contained_in_another_is_double(path: Path) -> None:
    items = [rec.diff(1, 5, 1), rec.diff(6, 9, 2), rec.diff(7, 8, 3), rec.diff(10, 12, 4)]
    assert proven(path, [*items], rec.DIFFS).double_ranges == [(7, 8)]


def test_keys_that_only_grow(path: Path) -> None:
    events = [rec.quote(n * 7, n) for n in range(1, 50)]
    events[10:12] = events[11], events[10]
    items = [*events[:30], rec.outage(29, 31.5), *events[30:], events[-1]]
    found = proven(path, [*items], rec.QUOTES)
    assert (found.doubles, found.disorder) == (1, 1)
    assert (found.outage_count, found.outage_us) == (1, 2_500_000)
    assert (found.ends, found.missing) == ((7, 343), {})


def test_bars_that_did_not_close(path: Path) -> None:
    bars = [rec.bar(minute, 1, "1") for minute in range(30)]
    stream = rec.BARS
    begin = rec.START_MS + 12 * rec.MINUTE_MS
    items = [*bars[:5], rec.bar(5, 1, "1", closed=False), *bars[8:12]]
    items += [rec.gap(begin, begin + 2 * rec.MINUTE_MS, stream=stream), *bars[15:], bars[20]]
    found = proven(path, [*items], stream)
    assert found.missing == {None: Sum(1, 3), "not_repaired": Sum(1, 3)}
    assert found.doubles == 1


def test_a_bar_that_opens_late_after_a_halt_leaves_no_hole(path: Path) -> None:
    kline = rec.bar(3, 1, "1").data
    opened = msgspec.structs.replace(kline.bar, open_time=kline.bar.open_time + 20_000)
    late = rec.event(msgspec.structs.replace(kline, bar=opened), rec.BARS, 241)
    bars = [rec.bar(1, 1, "1"), rec.bar(2, 1, "1"), late, rec.bar(4, 1, "1")]
    assert rec.holes(proven(path, [*bars], rec.BARS)) == []
    # It ended on the grid, so the next one began there.
    found = proven(path, [*bars[:3], rec.bar(5, 1, "1")], rec.BARS)
    assert found.missing == {None: Sum(1, 1)}


def test_a_minute_with_half_of_an_id_is_not_compared(path: Path) -> None:
    """One of two aggregates that share an id is named: no hole of ids, but trades are missing."""
    aggregates = [rec.aggregate(n, 2 * n, 2 * n + 1, at=12 * n) for n in range(30)]
    halves = [(one.data.first_trade_id, one.data.last_trade_id) for one in aggregates]
    bars = [
        rec.bar(minute, 10, "5", (halves[5 * minute][0], halves[5 * minute + 4][1]))
        for minute in range(6)
    ]
    shared = rec.gap(12, 12, "shared_id", rec.AGGS, 12 * 12 + 0.01, 12 * 13 + 0.01)
    half = rec.aggregate(12, 25, 25, at=12 * 12 + 6)
    items = [*aggregates[:12], shared, half, *aggregates[13:], *bars]
    (found,) = prove(find([rec.write(path, items)])).comparisons
    assert (found.minutes, found.mismatches) == (3, [])
    items.remove(shared)
    (found,) = prove(find([rec.write(path, items)])).comparisons
    assert [wrong.minute for wrong in found.mismatches] == [(rec.START_S + 120) * 10**6]


def test_trades_are_compared_with_bars(path: Path) -> None:
    events = rec.trades(1, 400)
    bars = rec.bars_of(events)
    proof = prove(find([rec.write(path, [*events, *bars])]))
    (found,) = proof.comparisons
    assert (found.minutes, found.mismatches) == (5, [])  # those at the ends are not whole


@pytest.mark.parametrize("ids", [True, False])
def test_a_minute_that_differs_is_told_with_both_figures(path: Path, *, ids: bool) -> None:
    events = rec.trades(1, 400)
    bars = rec.bars_of(events, ids=ids)
    events[150] = rec.trade(151, quantity="0.50000001")
    proof = prove(find([rec.write(path, [*events, *bars])]))
    ((mismatch,),) = (one.mismatches for one in proof.comparisons)
    assert mismatch.minute == (rec.START_S + 120) * 10**6
    assert (mismatch.volume, mismatch.bar_volume) == (3_000_000_001, 3_000_000_000)
    assert (mismatch.trades, mismatch.bar_trades) == (60, 60)


def test_volumes_of_more_than_64_bits_are_exact(path: Path) -> None:
    events = [rec.trade(n, quantity="900000000000.00000001") for n in range(1, 400)]
    good = prove(find([rec.write(path, [*events, rec.bar(2, 60, "54000000000000.00000060")])]))
    bad = prove(find([rec.write(path, [*events, rec.bar(2, 60, "54000000000000.00000061")])]))
    assert [len(one.mismatches) for one in (*good.comparisons, *bad.comparisons)] == [0, 1]


def test_minutes_with_a_hole_are_not_compared(path: Path) -> None:
    events = rec.trades(1, 400)
    bars = rec.bars_of(events)
    proof = prove(find([rec.write(path, [*events[:130], *events[135:], *bars])]))
    (found,) = proof.comparisons
    assert (found.minutes, found.mismatches) == (4, [])


def test_a_trade_that_is_there_twice_counts_once_against_bars(path: Path) -> None:
    events = rec.trades(1, 400)
    proof = prove(find([rec.write(path, [*events, *rec.bars_of(events), events[200]])]))
    assert [one.mismatches for one in proof.comparisons] == [[]]


def test_aggregates_are_compared_with_bars(path: Path) -> None:
    events = rec.trades(1, 400)
    aggregates = [rec.aggregate(n, 2 * n, 2 * n + 1, at=2 * n) for n in range(1, 200)]
    proof = prove(find([rec.write(path, [*aggregates, *rec.bars_of(events)])]))
    (found,) = proof.comparisons
    assert (found.minutes, found.mismatches) == (5, [])
    short = [
        rec.aggregate(62, 125, 125, at=124) if n == 61 else one for n, one in enumerate(aggregates)
    ]
    proof = prove(find([rec.write(path, [*short, *rec.bars_of(events)])]))
    ((mismatch,),) = (one.mismatches for one in proof.comparisons)
    assert (mismatch.trades, mismatch.bar_trades) == (59, 60)


def test_messages_that_no_column_holds_count_by_their_ids(path: Path) -> None:
    odd = rec.trade(11, price="1.123456789")
    found = proven(path, [*rec.trades(1, 10), odd, *rec.trades(12, 20)])
    assert (rec.holes(found), found.count, found.odd) == ([], 20, 0)


def test_minutes_whose_volume_no_column_holds_are_not_compared(path: Path) -> None:
    events = rec.trades(1, 400)
    bars = rec.bars_of(events)
    events[150] = rec.trade(151, quantity="0.500000001")
    proof = prove(find([rec.write(path, [*events, *bars])]))
    assert rec.holes(next(one for one in proof.accounts if one.stream == rec.TRADES)) == []
    (found,) = proof.comparisons
    assert (found.minutes, found.mismatches) == (4, [])


def test_what_is_not_what_its_stream_carries_is_counted(path: Path) -> None:
    rec.write(path, [*rec.trades(1, 10)])
    with path.open("ab") as file:
        head = b'{"venue":"binance.com","stream":"btcusdt@trade","received":1795680011.5,'
        file.write(head + b'"origin":"live","data":{"e":"trade","t":"none"}}\n')
    found = rec.account(find([path]))
    assert (found.count, found.odd) == (11, 1)


def test_a_torn_last_line_is_told_and_is_no_fault(path: Path) -> None:
    rec.write(path, [*rec.trades(1, 10)])
    whole = path.read_bytes()
    path.write_bytes(whole[:-20])
    proof = prove(find([path]))
    assert proof.unreadable == []
    assert list(proof.torn) == [str(path)]
    assert proof.accounts[0].count == 9


def test_one_bad_file_does_not_hide_the_rest(tmp_path: Path) -> None:
    rec.write(tmp_path / "a.jsonl", [*rec.trades(1, 10)])
    (tmp_path / "b.jsonl").write_bytes(b"something else\n")
    rec.write(tmp_path / "c.jsonl", [*rec.trades(11, 20)])
    proof = prove(find([tmp_path]))
    assert len(proof.unreadable) == 1
    assert "b.jsonl" in proof.unreadable[0]
    assert rec.holes(proof.accounts[0]) == []


def test_what_was_healed_lies_beside(tmp_path: Path) -> None:
    gone = [*rec.trades(1, 10), rec.gap(11, 13), *rec.trades(14, 20)]
    path = rec.write(tmp_path / "set.jsonl", [*gone, rec.reset(21, 100), rec.trade(11, 101)])
    assert rec.holes(rec.account(find([path]))) == [(11, 13, "not_repaired")]
    # Fetched before the venue began anew, so these are ids of the first numbering.
    healed = [rec.trade(n, late=50 - n, origin="backfill") for n in (11, 12)]
    rec.write(tmp_path / "set.healed.jsonl", [*healed, rec.gap(13, 13, "venue_missing", until=14)])
    found = rec.account(find([path]))
    assert rec.holes(found) == [(13, 13, "venue_missing")]
    assert (found.doubles, found.disorder) == (0, 0)
    assert rec.account(find([tmp_path])).count == found.count


def test_compressed_lines(tmp_path: Path) -> None:
    lines = rec.write(tmp_path / "x.jsonl", [*rec.trades(1, 10), *rec.trades(12, 400)])
    packed = tmp_path / "set" / "x.jsonl.zst"
    packed.parent.mkdir()
    packed.write_bytes(zstandard.compress(lines.read_bytes()))
    assert rec.holes(rec.account(find([packed.parent]))) == [(11, 11, None)]


GARBAGE = ("-1", "9223372036854775807", "9223372036854775808", "1e308", "null", "253402300800000")


@pytest.mark.parametrize("garbage", GARBAGE)
def test_no_number_breaks_a_proof(path: Path, garbage: str) -> None:
    """Each number of each kind of line is replaced in turn."""
    lines = encode_lines([
        rec.trade(5), rec.aggregate(5, 7, 9), rec.diff(5, 6, 5), rec.snapshot(6, 5),
        rec.quote(5, 5), rec.bar(5, 1, "1", (5, 6)), rec.gap(6, 7, since=1.5, until=2.5),
        rec.gap(rec.START_MS, rec.START_MS, stream=rec.BARS), rec.outage(5, 6),
    ]).splitlines()  # fmt: skip
    for line in lines:
        text = line.decode()
        for number in re.finditer(r"(?<=[:\[])\d+(\.\d+)?(?=[,}\]])", text):
            broken = text[: number.start()] + garbage + text[number.end() :]
            path.write_text(f"{text}\n{broken}\n")
            proof = prove(find([path]))
            read = sum(account.count for account in proof.accounts)
            assert read or proof.unreadable or b'"gap"' in line or b'"outage"' in line
            assert all(stream_report(account) for account in proof.accounts)
