"""What sealing makes of a journal: every value, in its order, where queries find it."""

from __future__ import annotations

import datetime
import hashlib
import json
import operator
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import duckdb
import msgspec
import polars
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from journaled import (
    ID,
    NOON,
    VENUE,
    WRITER,
    everything,
    gap,
    journal,
    journaled,
    leftovers,
    line,
    remark,
    trade,
)

from k2trio.dataset.catalogue import open_dataset
from k2trio.dataset.columns import pieces
from k2trio.dataset.schema import DECIMAL, LEVELS, MESSAGES, TIME, VERSION, VERSION_KEY
from k2trio.dataset.sealing import seal_all
from k2trio.dataset.seals import Seal, parse_seal, seal_path
from k2trio.market.payloads import PAYLOADS, DepthSnapshot
from k2trio.market.streams import TABLE, parse_stream
from k2trio.sinks.parsing import decode_lines

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

MS = 1_764_158_400_123
TICKER: dict[str, Any] = {
    "e": "24hrTicker", "E": MS, "s": "BTCUSDT", "p": "-94.99999800", "P": "-95.960", "w": "0.29",
    "x": "0.10", "c": "4.00000200", "Q": "200.00000000", "b": "4.0", "B": "431.0", "a": "4.000002",
    "A": "12.00000000", "o": "99.00000000", "h": "100.00000000", "l": "0.10000000",
    "v": "123456789012345678901234.12345678", "q": "15.30000000", "O": MS - 1, "C": MS, "F": -1,
    "L": -1, "n": 0,
}  # fmt: skip
WINDOW = {key: value for key, value in TICKER.items() if key not in "xQbBaA"} | {"e": "4hTicker"}
MINI: dict[str, Any] = {"e": "24hrMiniTicker", "E": MS, "s": "BTCUSDT", "c": "1.5", "o": "2",
                        "h": "3", "l": "0.00000001", "v": "5", "q": "6"}  # fmt: skip
BAR: dict[str, Any] = {
    "t": MS - 1000, "T": MS, "s": "BTCUSDT", "i": "1m", "f": 100, "L": 200, "o": "0.0010",
    "c": "0.0020", "h": "0.0025", "l": "0.0015", "v": "1000", "n": 100, "x": False, "q": "1.0000",
    "V": "500", "Q": "0.500", "B": "123456",
}  # fmt: skip
BAR_OF_US = {key: value for key, value in BAR.items() if key not in "VQfL"}
BOOK: dict[str, Any] = {"lastUpdateId": 7, "bids": [["1.00000001", "2"]], "asks": []}
KINDS: dict[str, list[Any]] = {
    "btcusdt@trade": [{"e": "trade", "E": MS + 1, "s": "BTCUSDT", "t": 12345, "p": "0.00100000",
                       "q": "100.5", "T": MS, "m": True, "M": True}],
    "btcusdt@aggTrade": [{"e": "aggTrade", "E": MS + 1, "s": "BTCUSDT", "a": 5, "p": "2", "q": "3",
                          "f": 100, "l": 105, "T": MS, "m": False, "M": True}],
    "btcusdt@blockTrade": [{"e": "blockTrade", "E": MS * 1000 + 7, "s": "BTCUSDT", "t": 9,
                            "p": "2", "q": "3", "T": MS * 1000 + 3, "m": True}],
    "btcusdt@depth@100ms": [{"e": "depthUpdate", "E": MS, "s": "BTCUSDT", "U": 157, "u": 160,
                             "b": [["0.0024", "10"]],
                             "a": [["0.0026", "0.00000000"], ["0.0027", "1"]]},
                            {"e": "depthUpdate", "E": MS, "s": "BTCUSDT", "U": 161, "u": 161,
                             "b": [], "a": []}],
    "btcusdt@depth5": [BOOK],
    "bnbusdt@bookTicker": [{"u": 400900217, "s": "BNBUSDT", "b": "25.35190000", "B": "31.21",
                            "a": "25.36520000", "A": "40.66000000"}],
    "btcusdt@kline_1m": [{"e": "kline", "E": MS, "s": "BTCUSDT", "k": BAR},
                         {"e": "kline", "E": MS + 1, "s": "BTCUSDT", "k": BAR_OF_US}],
    "btcusdt@miniTicker": [MINI],
    "!miniTicker@arr": [[MINI, {**MINI, "s": "ETHUSDT", "E": MS + 5}], []],
    "btcusdt@ticker": [TICKER],
    "btcusdt@ticker_4h": [WINDOW],
    "!ticker_4h@arr": [[WINDOW]],
    "btcusdt@avgPrice": [{"e": "avgPrice", "E": MS, "s": "BTCUSDT", "i": "5m",
                          "w": "25776.86000000", "T": MS - 7}],
    "btcusdt@referencePrice": [{"e": "referencePrice", "s": "BTCUSDT", "r": None, "t": MS},
                               {"e": "referencePrice", "s": "BTCUSDT", "r": "1.5", "t": MS + 1}],
}  # fmt: skip
"""Of every kind a stream, and what the exchange sends on it."""
EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)


def seal_one(root: Path) -> Seal:
    """Seal the only journal of a dataset, and see that nothing else is left."""
    (outcome,) = seal_all(root, root / "_journal", WRITER)
    assert outcome.problem is None
    assert outcome.seal is not None
    assert leftovers(root) == []
    assert list((root / "_journal").iterdir()) == []
    return outcome.seal


def sealed(root: Path, kind: str) -> list[dict[str, Any]]:
    """The rows of a table's sealed files, in their order."""
    files = sorted(root.glob(f"venue=*/kind={kind}/*/*/*.parquet"))
    return [row for file in files for row in pq.read_table(file, partitioning=None).to_pylist()]


def microseconds(time: datetime.datetime) -> int:
    return (time - EPOCH) // datetime.timedelta(microseconds=1)


def test_a_gap_that_tells_no_time_has_that_of_the_message_beside_it(tmp_path: Path) -> None:
    times = {"since": None, "until": None}
    first = remark("btcusdt@depth@100ms", "gap", first=3, last=9, reason="snapshot", **times)
    second = remark("btcusdt@trade", "gap", first=2, last=5, reason="shutdown", **times)
    journal(tmp_path, [first, trade(1, 60), second, trade(6, 120)])
    seal_one(tmp_path)
    made = {row["reason"]: microseconds(row["time"]) for row in sealed(tmp_path, "gap")}
    after = NOON * 10**6 + 60_004_000
    assert made == {"snapshot": after, "shutdown": after}


# -- values ---------------------------------------------------------------------------------------


def test_every_kind_of_stream_is_covered() -> None:
    assert {parse_stream(stream).kind for stream in KINDS} == set(TABLE)


def wanted(of: Any, value: Any) -> Any:
    """What a column of a type is to hold of what the exchange sent."""
    if value in (None, ""):
        return None
    if of == DECIMAL:
        return Decimal(value)
    if of == TIME:
        return value if value >= 10**14 else value * 1000
    if of == LEVELS:
        return [{"price": Decimal(level.price), "quantity": Decimal(level.quantity)}
                for level in value]  # fmt: skip
    return value


def held(value: Any) -> Any:
    """What a column holds, with times as integers."""
    if isinstance(value, datetime.datetime):
        return microseconds(value)
    return value


@pytest.mark.parametrize("stream", KINDS)
def test_every_value_of_every_kind_is_held_exactly(stream: str, tmp_path: Path) -> None:
    received = NOON + 0.623456
    payloads = KINDS[stream]
    journal(tmp_path, [line(stream, payload, received) for payload in payloads])
    assert seal_one(tmp_path).rows == len(payloads)
    table = MESSAGES[parse_stream(stream).kind]
    rows = sealed(tmp_path, table.name)
    assert [row["sequence"] for row in rows] == list(range(len(payloads)))
    kind = PAYLOADS[parse_stream(stream).kind]
    for row, raw in zip(rows, payloads, strict=True):
        payload = msgspec.convert(raw, kind)
        assert (row["stream"], row["origin"]) == (stream, "live")
        assert row["received_ns"] == NOON * 10**9 + round(received % 1 * 10**9)
        for column in table.columns:
            if column.of == "received":
                expected: Any = row["received_ns"] // 1000
            elif column.name == "tickers":
                continue
            elif isinstance(payload, list):
                told = (one.event_time * 1000 for one in payload)
                expected = max(told, default=row["received_ns"] // 1000)
            else:
                expected = wanted(column.type, operator.attrgetter(column.of)(payload))
            assert held(row[column.name]) == expected, column.name
        if isinstance(payload, list):
            for ticker, one in zip(row["tickers"], payload, strict=True):
                for item in table.schema.field("tickers").type.value_type:
                    value = getattr(one, item.name)
                    assert held(ticker[item.name]) == wanted(item.type, value), item.name


def test_the_snapshot_of_a_book_keeps_its_place_among_the_updates(tmp_path: Path) -> None:
    stream = "btcusdt@depth@100ms"
    before, after = KINDS[stream]
    snapshot = {"lastUpdateId": 160, "bids": [["1", "2"], ["0.5", "3"]], "asks": [["2", "1"]]}
    lines = [line(stream, before), line(stream, snapshot, NOON + 0.5, origin="snapshot"),
             line(stream, after)]  # fmt: skip
    journal(tmp_path, lines)
    seal_one(tmp_path)
    rows = sealed(tmp_path, "depth")
    assert [row["last_update_id"] for row in rows] == [160, 160, 161]
    assert [row["origin"] for row in rows] == ["live", "snapshot", "live"]
    told = msgspec.convert(snapshot, DepthSnapshot)
    assert rows[1]["first_update_id"] is None
    assert rows[1]["bids"] == wanted(LEVELS, told.bids)
    assert rows[1]["asks"] == wanted(LEVELS, told.asks)
    assert microseconds(rows[1]["time"]) == NOON * 10**6 + 500_000


def test_what_is_no_message_has_tables_of_its_own(tmp_path: Path) -> None:
    times = {"since": NOON + 1.5, "until": NOON + 2.25}
    path = journal(
        tmp_path,
        [
            remark("btcusdt@trade", "gap", first=3, last=9, reason="venue_missing", **times),
            trade(10),
            remark("btcusdt@avgPrice", "outage", **times),
            remark("btcusdt@trade", "venue_changed", previous="binance.us", **times),
            gap("btcusdt@aggTrade", 1, 2),
        ],
    )
    expected = journaled(path)
    assert seal_one(tmp_path).rows == 5
    assert everything(tmp_path) == expected
    gaps = sealed(tmp_path, "gap")
    assert [(g["stream"], g["first"], g["last"], g["reason"], g["sequence"]) for g in gaps] == [
        ("btcusdt@trade", 3, 9, "venue_missing", 0),
        ("btcusdt@aggTrade", 1, 2, "not_repaired", 4),
    ]
    assert microseconds(gaps[0]["since"]) == NOON * 10**6 + 1_500_000
    assert gaps[1]["since"] is None
    (outage,) = sealed(tmp_path, "outage")
    assert (outage["stream"], outage["sequence"]) == ("btcusdt@avgPrice", 2)
    (change,) = sealed(tmp_path, "venueChanged")
    assert (change["previous"], change["sequence"]) == ("binance.us", 3)


ODD: dict[str, tuple[str, Any]] = {
    "nine decimals": ("btcusdt@trade", {"p": "1.123456789"}),
    "no number": ("btcusdt@trade", {"p": "garbage"}),
    "an empty number": ("btcusdt@trade", {"q": ""}),
    "too large": ("btcusdt@trade", {"q": "1" + 31 * "0"}),
    "not a number": ("btcusdt@trade", {"p": "NaN"}),
    "a time before all": ("btcusdt@trade", {"T": -(2**63)}),
    "a text for an id": ("btcusdt@trade", {"t": "12"}),
    "a payload of another kind": ("btcusdt@trade", {"e": "aggTrade"}),
    "no object": ("btcusdt@trade", [1, "ü", None]),
    "a stream that nobody knows": ("btcusdt@sentiment", {"mood": "good"}),
    "a bar with garbage": ("btcusdt@kline_1m", {"e": "kline", "E": 1, "s": "BTCUSDT",
                                               "k": {**BAR, "v": "1e"}}),
    "a level with garbage": ("btcusdt@depth5", {**BOOK, "asks": [["1", "x"]]}),
}  # fmt: skip
"""What columns cannot hold exactly."""


@pytest.mark.parametrize("case", ODD)
def test_what_columns_cannot_hold_exactly_is_kept_as_it_came(case: str, tmp_path: Path) -> None:
    stream, changed = ODD[case]
    good = json.loads(trade(1))["data"]
    payload = (
        {**good, **changed} if stream == "btcusdt@trade" and changed != [1, "ü", None] else changed
    )
    journal(tmp_path, [trade(1), line(stream, payload), trade(3)])
    assert seal_one(tmp_path).rows == 3
    assert [row["trade_id"] for row in sealed(tmp_path, "trade")] == [1, 3]
    (odd,) = sealed(tmp_path, "other")
    assert odd["payload"] == json.dumps(payload, separators=(",", ":"), ensure_ascii=False)
    assert (odd["stream"], odd["sequence"], odd["origin"]) == (stream, 1, "live")
    assert odd["received_ns"] == NOON * 10**9 + 250_000_000


def test_a_decimal_is_held_whatever_way_it_is_written(tmp_path: Path) -> None:
    good = json.loads(trade(1))["data"]
    prices = ["1", "1.5", "0.00000001", "123456789.12345678", "-0.5", "1.10", "1.500000000"]
    lines = [line("btcusdt@trade", {**good, "t": n, "p": price}) for n, price in enumerate(prices)]
    journal(tmp_path, lines)
    seal_one(tmp_path)
    found = {row["sequence"]: row["price"] for row in sealed(tmp_path, "trade")}
    others = {row["sequence"] for row in sealed(tmp_path, "other")}
    assert others <= {6}  # more places than a column has, if only noughts
    assert found.keys() | others == set(range(len(prices)))
    for number, price in found.items():
        assert found[number] == Decimal(price)


def test_samples_of_books_are_not_dropped_silently(tmp_path: Path) -> None:
    path = journal(tmp_path, [trade(1), remark("btcusdt@depth", "book", symbol="BTCUSDT")])
    (outcome,) = seal_all(tmp_path, path.parent, WRITER)
    assert outcome.problem is not None
    assert outcome.problem.startswith(f"{path} has samples of books")
    assert path.exists()
    assert list(tmp_path.glob("venue=*")) == []


# -- order ----------------------------------------------------------------------------------------


def test_rows_are_in_the_order_of_their_ids_and_equal_ones_in_that_of_delivery(
    tmp_path: Path,
) -> None:
    journal(tmp_path, [trade(n, n) for n in (1, 2, 3, 2, 3, 4)])
    seal_one(tmp_path)
    rows = sealed(tmp_path, "trade")
    assert [(row["trade_id"], row["sequence"]) for row in rows] == [
        (1, 0), (2, 1), (2, 3), (3, 2), (3, 4), (4, 5)
    ]  # fmt: skip


def test_ids_that_began_anew_come_behind_those_of_the_old_numbering(tmp_path: Path) -> None:
    stream = "btcusdt@trade"
    again = [trade(1), trade(100), trade(2), gap(stream, 101, 101, "reset"), trade(1)]
    lines = [trade(100), trade(101), gap(stream, 102, 102, "reset"), *again, trade(5, symbol="AB")]
    expected = journaled(journal(tmp_path, lines))
    made = seal_one(tmp_path)
    assert everything(tmp_path) == expected
    rows = [row for row in sealed(tmp_path, "trade") if row["stream"] == stream]
    assert [(row["trade_id"], row["sequence"]) for row in rows] == [
        (100, 0), (101, 1), (1, 3), (2, 5), (100, 4), (1, 7)
    ]  # fmt: skip
    (part,) = [part for part in made.files if part.stream == stream]
    assert (part.first, part.last, part.rows) == (1, 101, 6)


def test_a_reset_counts_from_chunk_to_chunk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("k2trio.dataset.linesfile.CHUNK_BYTES", 300)
    lines = [trade(100), gap("btcusdt@trade", 101, 101, "reset"), *(trade(n) for n in (7, 8, 9))]
    journal(tmp_path, [*lines, trade(200)])
    seal_one(tmp_path)
    assert [row["trade_id"] for row in sealed(tmp_path, "trade")] == [100, 7, 8, 9, 200]


@pytest.mark.parametrize("held_bytes", [0, 3000, 1 << 30])
@pytest.mark.parametrize("order", ["straight", "again", "backwards", "shuffled"])
def test_more_rows_than_memory_come_out_the_same(
    held_bytes: int, order: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("k2trio.dataset.linesfile.CHUNK_BYTES", 2000)
    monkeypatch.setattr("k2trio.dataset.merging.MERGED_BYTES", 1500)
    monkeypatch.setattr("k2trio.dataset.spill.BLOCK_ROWS", 4)
    monkeypatch.setattr("k2trio.dataset.spill.HELD_BYTES", held_bytes)
    ids: Sequence[int] = {
        "straight": range(200),
        "again": [*range(150), *range(80, 200)],
        "backwards": range(200, 0, -1),
        "shuffled": [n * 37 % 200 for n in range(200)],
    }[order]
    path = journal(tmp_path, [trade(n, symbol=symbol) for n in ids for symbol in ("AB", "CD")])
    expected = journaled(path)
    seal_one(tmp_path)
    assert everything(tmp_path) == expected
    for file in tmp_path.glob("venue=*/kind=trade/*/*/*.parquet"):
        rows = pq.read_table(file, partitioning=None).select(["trade_id", "sequence"]).to_pylist()
        keys = [(row["trade_id"], row["sequence"]) for row in rows]
        assert keys == sorted(keys)


# -- places ---------------------------------------------------------------------------------------


def test_a_day_is_that_of_the_exchange_and_not_that_of_the_journal(tmp_path: Path) -> None:
    path = journal(tmp_path, [trade(n, 12 * 3600 + n - 2.5) for n in range(5)])
    expected = journaled(path)
    made = seal_one(tmp_path)
    assert [part.path for part in made.files] == [
        f"venue={VENUE}/kind=trade/symbol=BTCUSDT/date=2025-11-26/{ID}.trade.parquet",
        f"venue={VENUE}/kind=trade/symbol=BTCUSDT/date=2025-11-27/{ID}.trade.parquet",
    ]
    assert [part.rows for part in made.files] == [3, 2]
    assert everything(tmp_path) == expected


def test_a_symbol_may_be_of_any_script(tmp_path: Path) -> None:
    path = journal(tmp_path, [trade(1, symbol="币安人生USDT"), gap("币安人生usdt@trade", 2, 3)])
    expected = journaled(path)
    seal_one(tmp_path)
    assert everything(tmp_path) == expected
    assert {row[2] for row in expected} == {"币安人生usdt@trade"}
    files = f"'{tmp_path}/venue=*/kind=trade/*/*/*.parquet', hive_partitioning = true"
    query = f"SELECT symbol FROM read_parquet({files})"  # noqa: S608 - our own folder
    assert duckdb.sql(query).fetchall() == [("币安人生USDT",)]


def test_the_seal_and_the_footer_say_what_a_file_is(tmp_path: Path) -> None:
    journal(tmp_path, [trade(n, n) for n in range(5)])
    made = seal_one(tmp_path)
    written = (tmp_path / seal_path(ID)).read_bytes()
    assert parse_seal(written, "it") == made
    (part,) = made.files
    assert (part.venue, part.stream, part.kind) == (VENUE, "btcusdt@trade", "trade")
    assert (part.rows, part.first, part.last) == (5, 0, 4)
    content = (tmp_path / part.path).read_bytes()
    assert part.bytes == len(content)
    assert part.sha256 == hashlib.sha256(content).hexdigest()
    footer = pq.read_metadata(tmp_path / part.path).metadata
    assert {key: value.decode() for key, value in footer.items() if key.startswith(b"k2trio")} == {
        VERSION_KEY: str(VERSION),
        b"k2trio-venue": VENUE,
        b"k2trio-kind": "trade",
        b"k2trio-symbol": "BTCUSDT",
        b"k2trio-stream": "btcusdt@trade",
        b"k2trio-journal": ID,
        b"k2trio-writer": WRITER,
    }


def test_a_torn_last_line_is_not_sealed_and_told(tmp_path: Path) -> None:
    path = journal(tmp_path, [trade(1), trade(2), trade(3)[:50]])
    expected = journaled(path)
    made = seal_one(tmp_path)
    assert (made.rows, made.torn_bytes) == (2, 50)
    assert everything(tmp_path) == expected


@pytest.mark.parametrize("content", ["", trade(1)[:30]])
def test_a_journal_without_a_line_leaves_nothing(content: str, tmp_path: Path) -> None:
    path = journal(tmp_path, [content])
    (outcome,) = seal_all(tmp_path, path.parent, WRITER)
    assert (outcome.seal, outcome.problem, outcome.busy) == (None, None, False)
    assert list(tmp_path.rglob("*")) == [path.parent]


def test_a_journal_that_is_not_ours_stays_and_others_are_sealed(tmp_path: Path) -> None:
    wrong = journal(tmp_path, [trade(1), "rubbish\n", trade(2)])
    journal(tmp_path, [trade(3)], "20251126T13-7")
    first, second = seal_all(tmp_path, wrong.parent, WRITER)
    assert first.problem is not None
    assert str(wrong) in first.problem
    assert wrong.exists()
    assert second.seal is not None
    assert [row["trade_id"] for row in sealed(tmp_path, "trade")] == [3]


def test_journals_are_in_the_order_in_which_they_were_begun(tmp_path: Path) -> None:
    names = ["20251126T12-2", "20251126T12-10", "20251126T13-1"]
    for name in reversed(names):
        path = journal(tmp_path, [trade(1)], name)
    (path.parent / "notes.jsonl").write_text("")
    assert [o.journal.name for o in seal_all(tmp_path, path.parent, WRITER)] == [
        f"{name}.jsonl" for name in names
    ]


# -- queries --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def hour(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An hour of trades of two symbols, four a second, in row groups of a thousand."""
    root = tmp_path_factory.mktemp("hour")
    journal(root, [trade(n, n / 4, symbol) for n in range(14400) for symbol in ("AB", "CD")])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("k2trio.dataset.writing.GROUP_ROWS", 1000)
        seal_one(root)
    return root


def test_statistics_let_a_query_for_a_time_skip_row_groups_and_pages(hour: Path) -> None:
    file = pq.ParquetFile(next(hour.glob("venue=*/kind=trade/symbol=AB/*/*.parquet")))
    groups = [file.metadata.row_group(n) for n in range(file.metadata.num_row_groups)]
    assert len(groups) == 15
    start = EPOCH + datetime.timedelta(seconds=NOON + 1000)
    end = start + datetime.timedelta(seconds=10)
    names = {groups[0].column(n).path_in_schema: n for n in range(file.metadata.num_columns)}
    for name, count in (("time", 1), ("trade_id", 1), ("price", 15)):
        spans = [group.column(names[name]).statistics for group in groups]
        assert all(span.has_min_max for span in spans)
        if name == "time":
            hit = [span for span in spans if span.max >= start and span.min <= end]
        elif name == "trade_id":
            hit = [span for span in spans if span.max >= 4000 and span.min <= 4040]
        else:
            hit = [span for span in spans if span.max >= Decimal("90003.5") >= span.min]
        assert len(hit) <= count
    assert all(group.column(names["time"]).has_column_index for group in groups)
    (sorting,) = groups[0].sorting_columns
    assert sorting.column_index == names["trade_id"]


def test_duckdb_reads_the_folder_by_its_partitions(hour: Path) -> None:
    files = f"read_parquet('{hour}/venue=*/kind=trade/*/*/*.parquet', hive_partitioning = true)"
    query = f"""SELECT venue, symbol, date, count(*), min(trade_id), sum(quantity) FROM {files}
                WHERE symbol = 'CD' AND time BETWEEN '2025-11-26 12:10' AND '2025-11-26 12:19:59.9'
                GROUP BY ALL"""  # noqa: S608 - our own folder
    (row,) = duckdb.sql(query).fetchall()
    assert row == (VENUE, "CD", datetime.date(2025, 11, 26), 2400, 2400, Decimal("24.00000000"))


def test_polars_reads_the_folder_by_its_partitions(hour: Path) -> None:
    frame = polars.scan_parquet(f"{hour}/venue=*/kind=trade/*/*/*.parquet", hive_partitioning=True)
    start = datetime.datetime(2025, 11, 26, 12, 10, tzinfo=datetime.UTC)
    wanted = frame.filter(
        polars.col("symbol") == "AB",
        polars.col("time")
        .dt.replace_time_zone("UTC")
        .is_between(start, start + datetime.timedelta(minutes=10), closed="left"),
    )
    found = wanted.select("trade_id", "quantity", "venue").collect()
    assert found["trade_id"].to_list() == list(range(2400, 4800))
    assert found["quantity"].sum() == Decimal("24.00000000")
    assert set(found["venue"]) == {VENUE}


def test_the_dataset_reads_what_was_journaled(hour: Path) -> None:
    ids = {
        piece.stream: pc.unique(piece.batch.column("trade_id")).to_pylist()
        for source in open_dataset(hour).sources
        for piece in source.pieces(["trade_id"])
    }
    assert {stream: len(found) for stream, found in ids.items()} == {
        "ab@trade": 14400,
        "cd@trade": 14400,
    }


def test_a_line_is_a_message_or_a_remark() -> None:
    """Rows are told apart by a default that has to be the same object in every line."""
    lines = decode_lines((trade(1) + gap("btcusdt@trade", 1, 2)).encode())
    assert [one.is_message for one in lines] == [True, False]
    assert [piece.table.name for piece in pieces(lines)] == ["gap", "trade"]
