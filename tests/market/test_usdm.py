"""The dialect of USD-M futures: its names, orders, routes and venues, beside those of spot."""

from __future__ import annotations

import pytest
from documents import EXAMPLES

from k2trio.errors import UnknownStreamError
from k2trio.market import decoder as d
from k2trio.market.decoder import Decoder, decode_payload
from k2trio.market.keys import key_getters, time_getter
from k2trio.market.payloads import frame_of, payload_of
from k2trio.market.products import DIALECTS
from k2trio.market.streams import (
    Kind,
    Repair,
    Rule,
    any_stream,
    by_route,
    parse_stream,
    parse_symbol,
    stream_of,
)
from k2trio.market.units import MS, US, frame_in_unit
from k2trio.market.usdm import USDM
from k2trio.market.venues import dialect_of, product_of, rest_of, venue_of

PUBLIC = [
    "!bookTicker",
    "btcusdt@bookTicker",
    "btcusdt@depth",
    "btcusdt@depth@100ms",
    "btcusdt@depth@250ms",
    "btcusdt@depth@500ms",
    "btcusdt@depth20@500ms",
    "btcusdt@rpiDepth@500ms",
    "btcusdt@trade",
]
MARKET = [
    "!assetIndex@arr",
    "!contractInfo",
    "!forceOrder@arr",
    "!markPrice@arr",
    "!markPrice@arr@1s",
    "!miniTicker@arr",
    "!ticker@arr",
    "btcusd_perp@aggTrade",
    "btcusdt@aggTrade",
    "btcusdt@assetIndex",
    "btcusdt@compositeIndex",
    "btcusdt@forceOrder",
    "btcusdt@kline_1m",
    "btcusdt@markPrice",
    "btcusdt@markPrice@1s",
    "btcusdt@miniTicker",
    "btcusdt@ticker",
    "btcusdt_260925@kline_1M",
    "btcusdt_perpetual@continuousKline_1m",
    "tradingSession",
]


def test_every_kind_has_a_name_an_order_a_payload_and_a_route() -> None:
    kinds = {parse_stream(name, "usdm").kind for name in (*PUBLIC, *MARKET)}
    assert kinds == set(USDM.orders) == set(USDM.routes)
    for kind in kinds:
        assert payload_of(kind, "usdm")
        assert key_getters(kind, "usdm")
        assert time_getter(kind, "usdm")


def test_names_are_parted_by_route() -> None:
    assert by_route([*PUBLIC, *MARKET], "usdm") == {"public": PUBLIC, "market": MARKET}
    assert by_route(["btcusdt@trade", "!miniTicker@arr"]) == {
        "": ["btcusdt@trade", "!miniTicker@arr"]
    }


@pytest.mark.parametrize("name", ["btcusdt@kline_1s", "btcusdt@depth@1000ms", "btcusdt@avgPrice"])
def test_what_only_spot_has_is_refused_and_said(name: str) -> None:
    with pytest.raises(UnknownStreamError, match="of USD-M futures; spot has it, at PRODUCT=spot"):
        parse_stream(name, "usdm")
    assert any_stream(name) == parse_stream(name)


@pytest.mark.parametrize("name", ["btcusdt@markPrice", "!forceOrder@arr", "tradingSession"])
def test_what_only_futures_have_is_refused_by_spot_and_said(name: str) -> None:
    with pytest.raises(UnknownStreamError, match="of spot; USD-M futures has it, at PRODUCT=usdm"):
        parse_stream(name)
    assert any_stream(name).product == "usdm"


def test_what_no_product_has_is_refused() -> None:
    with pytest.raises(UnknownStreamError, match=r"^'btcusdt@nothing' is not a stream"):
        any_stream("btcusdt@nothing")


def test_a_contract_with_a_date_is_a_symbol_of_futures_only() -> None:
    assert parse_symbol("btcusdt_260925", "usdm") == "BTCUSDT_260925"
    with pytest.raises(UnknownStreamError):
        parse_symbol("btcusdt_260925")


def test_what_can_be_proven_and_repaired() -> None:
    assert {kind: order.rule for kind, order in USDM.orders.items() if order.rule.proves} == {
        Kind.AGG_TRADE: Rule.CONTIGUOUS,
        Kind.DEPTH: Rule.CHAINED,
        Kind.RPI_DEPTH: Rule.CHAINED,
    }
    repairs = {kind: order.repair for kind, order in USDM.orders.items()}
    assert {kind: how for kind, how in repairs.items() if how is not Repair.NONE} == {
        Kind.AGG_TRADE: Repair.AGG_TRADES,
        Kind.DEPTH: Repair.SNAPSHOT,
        Kind.KLINE: Repair.KLINES,
    }
    assert set(USDM.rest.history) == {Repair.AGG_TRADES, Repair.KLINES}


@pytest.mark.parametrize(
    ("host", "product", "venue"),
    [
        ("fstream.binance.com", "usdm", "binance.com-usdm"),
        ("fapi.binance.com", "spot", "binance.com-usdm"),  # a known host is what it is
        ("stream.binance.com", "usdm", "binance.com"),
        ("127.0.0.1", "spot", "127.0.0.1"),
        ("127.0.0.1", "usdm", "127.0.0.1-usdm"),
        ("mock-usdm", "spot", "mock-usdm-spot"),
    ],
)
def test_each_product_of_a_host_is_a_venue_of_its_own(host: str, product: str, venue: str) -> None:
    assert venue_of(host, product) == venue
    known = product_of(host)
    assert dialect_of(venue).product == (product if known is None else known)


def test_every_venue_speaks_the_dialect_that_its_product_says() -> None:
    for dialect in DIALECTS.values():
        for venue in dialect.venues:
            assert dialect_of(venue.name) is dialect
            assert rest_of(venue.name) == venue.rest


def test_one_name_is_two_streams_at_two_venues() -> None:
    spot, futures = (stream_of(v, "btcusdt@depth") for v in ("binance.com", "binance.com-usdm"))
    assert spot.name == futures.name
    assert (spot.order.rule, futures.order.rule) == (Rule.CONTIGUOUS, Rule.CHAINED)


@pytest.mark.parametrize(
    ("wanted", "levels"), [(1, 5), (7, 10), (100, 100), (700, 1000), (5000, 1000)]
)
def test_rest_gives_books_of_certain_depths_only(wanted: int, levels: int) -> None:
    assert USDM.rest.levels(wanted) == levels


# -- payloads: the examples of the exchange's documents, and what became of them -------------------


@pytest.mark.parametrize("name", EXAMPLES)
def test_what_the_documents_show_is_decoded(name: str) -> None:
    frame = frame_of(name, EXAMPLES[name])
    (event,), control = Decoder("binance.com-usdm").decode([frame], 1.0)
    assert control == []
    assert event.raw == EXAMPLES[name]
    stream = parse_stream(name, "usdm")
    assert decode_payload(stream.kind, EXAMPLES[name], "usdm") == event.data
    first_of, last_of = key_getters(stream.kind, "usdm")
    assert first_of(event.data) <= last_of(event.data)


def test_an_update_covers_what_lies_behind_the_one_before() -> None:
    (event,), _ = Decoder("binance.com-usdm").decode(
        [frame_of("btcusdt@depth", EXAMPLES["btcusdt@depth"])], 1.0
    )
    first_of, last_of = key_getters(Kind.DEPTH, "usdm")
    assert (first_of(event.data), last_of(event.data)) == (150, 160)
    assert time_getter(Kind.DEPTH, "usdm")(event.data) == 123456788


@pytest.mark.parametrize("name", ["btcusdt@markPrice", "btcusdt@forceOrder", "btcusdt@depth5"])
def test_a_payload_of_another_symbol_is_noticed(name: str) -> None:
    frame = frame_of(name.replace("btc", "eth"), EXAMPLES[name])
    events, (malformed,) = Decoder("binance.com-usdm").decode([frame], 1.0)
    assert events == []
    assert malformed.error_type == "wrong_symbol"


def test_a_bar_of_another_interval_is_noticed() -> None:
    name = "btcusdt_perpetual@continuousKline_1m"
    frame = frame_of(name.replace("1m", "1h"), EXAMPLES[name])
    events, (malformed,) = Decoder("binance.com-usdm").decode([frame], 1.0)
    assert events == []
    assert malformed.error_type == "wrong_symbol"


def test_changes_of_a_book_are_never_taken_for_its_best_levels(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Either payload could be parsed as the other."""
    names = ["btcusdt@depth", "btcusdt@depth5"]
    frames = [frame_of(name, EXAMPLES[name]) for name in names]
    expected = [payload_of(parse_stream(name, "usdm").kind, "usdm") for name in names]
    for most in (d.MAX_TAGGED, 0):
        monkeypatch.setattr(d, "MAX_TAGGED", most)
        decoder = Decoder("binance.com-usdm")
        decoder.expect(names)
        events, control = decoder.decode(frames, 1.0)
        assert ([type(event.data) for event in events], control) == (expected, [])


@pytest.mark.parametrize(
    ("name", "coarse", "fine"),
    [
        ("btcusdt@markPrice", b'{"E":1000}', b'{"E":1250000}'),
        ("btcusdt@forceOrder", b'{"E":1000,"o":{"T":7}}', b'{"E":1250000,"o":{"T":257000}}'),
        ("!forceOrder@arr", b'{"E":1000,"o":{"T":7}}', b'{"E":1250000,"o":{"T":257000}}'),
    ],
)
def test_a_frame_is_told_in_another_unit_and_later(name: str, coarse: bytes, fine: bytes) -> None:
    frame = frame_of(name, coarse)
    told = frame_in_unit(frame, MS, US, later_ms=250, product="usdm")
    assert told == frame_of(name, fine)
    assert frame_in_unit(frame, MS, US, later_ms=250) == frame, "spot has no such stream"
