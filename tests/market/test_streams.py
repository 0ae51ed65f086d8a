"""Stream names: every documented one is understood, nothing else is, and lists are sharded."""

from __future__ import annotations

from contextlib import suppress
from urllib.parse import unquote, urlsplit

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from k2trio.errors import ConfigError, UnknownStreamError
from k2trio.market.streams import (
    KLINE_INTERVALS_MS,
    MAX_STREAMS_PER_CONNECTION,
    TABLE,
    Kind,
    Repair,
    Rule,
    Stream,
    parse_stream,
    parse_symbol,
    shard,
    symbols_of,
)
from k2trio.wire.upgrade import stream_target

INTERVALS = [
    *("1s", "1m", "3m", "5m", "15m", "30m", "1h", "2h", "4h", "6h", "8h", "12h", "1d", "3d"),
    *("1w", "1M"),
]

NAMES: dict[str, Stream] = {
    stream.name: stream
    for stream in [
        Stream("btcusdt@trade", Kind.TRADE, "BTCUSDT"),
        Stream("btcusdt@aggTrade", Kind.AGG_TRADE, "BTCUSDT"),
        Stream("btcusdt@blockTrade", Kind.BLOCK_TRADE, "BTCUSDT"),
        Stream("btcusdt@depth", Kind.DEPTH, "BTCUSDT"),
        Stream("btcusdt@depth@100ms", Kind.DEPTH, "BTCUSDT"),
        Stream("btcusdt@depth@1000ms", Kind.DEPTH, "BTCUSDT"),
        *(
            Stream(f"btcusdt@depth{levels}{speed}", Kind.PARTIAL_DEPTH, "BTCUSDT", levels=levels)
            for levels in (5, 10, 20)
            for speed in ("", "@100ms", "@1000ms")
        ),
        Stream("btcusdt@bookTicker", Kind.BOOK_TICKER, "BTCUSDT"),
        *(
            Stream(f"btcusdt@kline_{interval}{offset}", Kind.KLINE, "BTCUSDT", interval=interval)
            for interval in INTERVALS
            for offset in ("", "@+08:00")
        ),
        Stream("btcusdt@miniTicker", Kind.MINI_TICKER, "BTCUSDT"),
        Stream("!miniTicker@arr", Kind.ALL_MINI_TICKERS, None),
        Stream("btcusdt@ticker", Kind.TICKER, "BTCUSDT"),
        *(
            Stream(f"btcusdt@ticker_{window}", Kind.WINDOW_TICKER, "BTCUSDT", interval=window)
            for window in ("1h", "4h", "1d")
        ),
        *(
            Stream(f"!ticker_{window}@arr", Kind.ALL_WINDOW_TICKERS, None, interval=window)
            for window in ("1h", "4h", "1d")
        ),
        Stream("btcusdt@avgPrice", Kind.AVG_PRICE, "BTCUSDT"),
        Stream("btcusdt@referencePrice", Kind.REFERENCE_PRICE, "BTCUSDT"),
        Stream("1000satsusdt@trade", Kind.TRADE, "1000SATSUSDT"),
        Stream("币安人生usdt@trade", Kind.TRADE, "币安人生USDT"),
    ]
}


def test_every_kind_has_a_name_a_key_and_a_rule() -> None:
    assert {stream.kind for stream in NAMES.values()} == set(TABLE)


@pytest.mark.parametrize("name", NAMES)
def test_documented_names(name: str) -> None:
    assert parse_stream(name) == NAMES[name]
    assert parse_stream(name).order is TABLE[NAMES[name].kind]


@pytest.mark.parametrize("name", [name for name in NAMES if not name.startswith("!")])
def test_the_case_of_the_symbol_is_folded_and_that_of_the_rest_is_not(name: str) -> None:
    symbol, _, rest = name.partition("@")
    assert parse_stream(f"{symbol.upper()}@{rest}") == NAMES[name]
    if rest.swapcase() != "kline_1M".swapcase():
        with pytest.raises(UnknownStreamError):
            parse_stream(f"{symbol}@{rest.swapcase()}")


def test_the_table_says_what_can_be_proven_and_repaired() -> None:
    contiguous = {kind for kind, order in TABLE.items() if order.rule is Rule.CONTIGUOUS}
    assert contiguous == {Kind.TRADE, Kind.AGG_TRADE, Kind.BLOCK_TRADE, Kind.DEPTH}
    assert {kind: (order.first, order.last) for kind, order in TABLE.items()} == {
        Kind.TRADE: ("t", "t"),
        Kind.AGG_TRADE: ("a", "a"),
        Kind.BLOCK_TRADE: ("t", "t"),
        Kind.DEPTH: ("U", "u"),
        Kind.PARTIAL_DEPTH: ("lastUpdateId", "lastUpdateId"),
        Kind.BOOK_TICKER: ("u", "u"),
        Kind.REFERENCE_PRICE: ("t", "t"),
        **dict.fromkeys(
            [
                Kind.KLINE,
                Kind.MINI_TICKER,
                Kind.ALL_MINI_TICKERS,
                Kind.TICKER,
                Kind.WINDOW_TICKER,
                Kind.ALL_WINDOW_TICKERS,
                Kind.AVG_PRICE,
            ],
            ("E", "E"),
        ),
    }
    repairs = {
        kind: order.repair for kind, order in TABLE.items() if order.repair is not Repair.NONE
    }
    assert repairs == {
        Kind.TRADE: Repair.HISTORICAL_TRADES,
        Kind.AGG_TRADE: Repair.AGG_TRADES,
        Kind.BLOCK_TRADE: Repair.HISTORICAL_BLOCK_TRADES,
        Kind.KLINE: Repair.KLINES,
        Kind.DEPTH: Repair.SNAPSHOT,
    }


def test_kline_intervals() -> None:
    assert list(KLINE_INTERVALS_MS) == INTERVALS
    lengths = list(KLINE_INTERVALS_MS.values())
    assert lengths[:3] == [1_000, 60_000, 180_000]
    assert lengths[-1] is None
    assert sorted(length or 10**12 for length in lengths) == [n or 10**12 for n in lengths]


HOSTILE = [
    "",
    "@",
    "@trade",
    "btcusdt",
    "btcusdt@",
    "btcusdt@trades",
    "btcusdt@trade@arr",
    "btcusdt@trade ",
    " btcusdt@trade",
    "btc usdt@trade",
    "btcusdt@trade\n",
    "btc\nusdt@trade",
    "btc\x00usdt@trade",
    "btc\x1b[2Jusdt@trade",
    "btc\x7fusdt@trade",
    "btc\u202eusdt@trade",
    "btc\u200busdt@trade",
    "btc\ud800usdt@trade",
    "btc/usdt@trade",
    "../../etc/passwd@trade",
    "btc?x=1@trade",
    "btc&usdt@trade",
    "btc=usdt@trade",
    "btc#usdt@trade",
    "btc%2fusdt@trade",
    'btc"usdt@trade',
    "btc\\usdt@trade",
    "btc,eth@trade",
    "straße@trade",
    "x" * 41 + "@trade",
    "x" * 1_000_000 + "@trade",
    "btcusdt@" + "x" * 1_000_000,
    "!ticker@arr",
    "!ticker_2h@arr",
    "!miniTicker",
    "!miniTicker@ARR",
    "!bookTicker",
    "btcusdt@depth15",
    "btcusdt@depth5@10ms",
    "btcusdt@depth@50ms",
    "btcusdt@kline",
    "btcusdt@kline_2m",
    "btcusdt@kline_1m@+09:00",
    "btcusdt@kline_1m@+\u0660\u0668:\u0660\u0660",
    "btcusdt@ticker_1w",
    "btcusdt@TRADE",
]


@pytest.mark.parametrize("name", HOSTILE, ids=range(len(HOSTILE)))
def test_anything_else_is_refused_with_a_short_printable_reason(name: str) -> None:
    with pytest.raises(UnknownStreamError) as error:
        parse_stream(name)
    assert isinstance(error.value, ConfigError)
    assert str(error.value).isprintable()
    assert len(str(error.value)) < 700


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("btcusdt@trade", "'btcusdt@trade' is not a symbol; name streams in STREAMS"),
        ("b@" + "x" * 99, f"'b@{'x' * 78}' is not a symbol; name streams in STREAMS"),
        ("BTC-USDT", "'BTC-USDT' is not a symbol; did you mean BTCUSDT?"),
        ("btc&usdt", "'btc&usdt' is not a symbol; write it like 'BTCUSDT'"),
        ("x" * 99, f"'{'x' * 80}' is not a symbol; write it like 'BTCUSDT'"),
    ],
)
def test_what_is_no_symbol_is_refused_and_what_to_write_is_said(name: str, said: str) -> None:
    with pytest.raises(UnknownStreamError) as error:
        parse_symbol(name)
    assert str(error.value) == said


def test_the_symbols_of_streams_are_told_once_and_in_order() -> None:
    names = ["ethusdt@trade", "!miniTicker@arr", "btcusdt@trade", "ETHUSDT@depth", "!bookTicker"]
    assert symbols_of(names) == ["ETHUSDT", "BTCUSDT"]


@given(st.text(min_size=1, max_size=45), st.sampled_from(["trade", "kline_1M", "depth5@100ms"]))
def test_what_is_accepted_is_stable_and_safe_in_a_url(symbol: str, rest: str) -> None:
    try:
        stream = parse_stream(f"{symbol}@{rest}")
    except UnknownStreamError:
        assume(not symbol.isascii() or not symbol.isalnum() or len(symbol) > 40)
        return
    assert parse_stream(stream.name) == stream
    assert stream.symbol is not None
    assert parse_stream(f"{stream.symbol}@{rest}") == stream
    target, left = stream_target("/stream", [stream.name, "btcusdt@trade"])
    assert left == ()
    assert target.isascii()
    assert unquote(urlsplit(target).query) == f"streams={stream.name}/btcusdt@trade"


@given(st.text())
def test_any_text_is_a_stream_or_refused(name: str) -> None:
    with suppress(UnknownStreamError):
        assert parse_stream(name).name


def test_shards_hold_what_a_connection_may_carry_in_order() -> None:
    names = [f"s{number}@trade" for number in range(2500)]
    shards = shard(names)
    assert [len(part) for part in shards] == [1024, 1024, 452]
    assert [name for part in shards for name in part] == names
    assert MAX_STREAMS_PER_CONNECTION == 1024


@pytest.mark.parametrize(
    ("names", "size", "expected"),
    [
        ([], 3, []),
        (["a"], 3, [["a"]]),
        (["a", "b", "c"], 3, [["a", "b", "c"]]),
        (["a", "b", "c", "d"], 3, [["a", "b", "c"], ["d"]]),
        (["a", "b", "a", "c", "b"], 2, [["a", "b"], ["c"]]),
    ],
)
def test_a_stream_is_carried_once(names: list[str], size: int, expected: list[list[str]]) -> None:
    assert shard(names, size) == expected
