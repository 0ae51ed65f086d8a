"""Frames become typed events, exactly; whatever else arrives becomes one bounded remark."""

from __future__ import annotations

import json
import math
import re
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from k2trio.market import control as c
from k2trio.market import decoder as d
from k2trio.market import payloads as m
from k2trio.market.control import Malformed, Reply, ServerShutdown
from k2trio.market.decoder import Decoder
from k2trio.market.payloads import Event
from k2trio.market.streams import TABLE, parse_stream

SUBJECT = "btcusdt@trade"
DEPTH = "btcusdt@depth@100ms"
TRADE = (
    b'{"e":"trade","E":1700000000123,"s":"BTCUSDT","t":12345,"p":"0.00100000","q":"100.00",'
    b'"T":1700000000120,"m":true,"M":true}'
)

TICKER_ROW: dict[str, Any] = {
    "e": "24hrTicker",
    "E": 7,
    "s": "BTCUSDT",
    "p": "0.1",
    "P": "250.00",
    "w": "0.2",
    "x": "0.3",
    "c": "0.4",
    "Q": "10",
    "b": "0.5",
    "B": "11",
    "a": "0.6",
    "A": "12",
    "o": "0.7",
    "h": "0.8",
    "l": "0.9",
    "v": "13",
    "q": "14",
    "O": 1,
    "C": 2,
    "F": -1,
    "L": -1,
    "n": 15,
}
WINDOW_ROW = {k: v for k, v in TICKER_ROW.items() if k not in "xQbBaA"} | {"e": "4hTicker"}
MINI_ROW = {
    "e": "24hrMiniTicker",
    "E": 7,
    "s": "BTCUSDT",
    "c": "1",
    "o": "2",
    "h": "3",
    "l": "4",
    "v": "5",
    "q": "6",
}
MINI = m.MiniTicker(7, "BTCUSDT", "1", "2", "3", "4", "5", "6")
WINDOW = m.WindowTicker(
    "4hTicker",
    7,
    "BTCUSDT",
    *("0.1", "250.00", "0.2", "0.4", "0.7", "0.8", "0.9", "13", "14"),
    *(1, 2, -1, -1, 15),
)

KLINE: dict[str, Any] = {
    "e": "kline",
    "E": 9,
    "s": "BTCUSDT",
    "k": {
        "t": 1,
        "T": 2,
        "s": "BTCUSDT",
        "i": "1m",
        "f": -1,
        "L": -1,
        "o": "3",
        "c": "4",
        "h": "5",
        "l": "6",
        "v": "7",
        "n": 8,
        "x": True,
        "q": "9",
        "V": "10",
        "Q": "11",
        "B": "12",
    },
}

KINDS: list[tuple[str, Any, Any]] = [
    (
        SUBJECT,
        json.loads(TRADE),
        m.Trade(1700000000123, "BTCUSDT", 12345, "0.00100000", "100.00", 1700000000120, True),
    ),
    (
        "btcusdt@aggTrade",
        {
            "e": "aggTrade",
            "E": 1,
            "s": "BTCUSDT",
            "a": 5,
            "p": "2",
            "q": "3",
            "f": 100,
            "l": 105,
            "T": 4,
            "m": False,
            "M": True,
        },
        m.AggTrade(1, "BTCUSDT", 5, "2", "3", 100, 105, 4, False),
    ),
    (
        "btcusdt@blockTrade",
        {"e": "blockTrade", "E": 1, "s": "BTCUSDT", "t": 9, "p": "2", "q": "3", "T": 4, "m": True},
        m.BlockTrade(1, "BTCUSDT", 9, "2", "3", 4, True),
    ),
    (
        DEPTH,
        {
            "e": "depthUpdate",
            "E": 1,
            "s": "BTCUSDT",
            "U": 157,
            "u": 160,
            "b": [["0.0024", "10"]],
            "a": [["0.0026", "0.00000000"], ["0.0027", "1"]],
        },
        m.Depth(
            1,
            "BTCUSDT",
            157,
            160,
            [m.Level("0.0024", "10")],
            [m.Level("0.0026", "0.00000000"), m.Level("0.0027", "1")],
        ),
    ),
    (
        "btcusdt@depth5",
        {"lastUpdateId": 160, "bids": [["1", "2"]], "asks": []},
        m.PartialDepth(160, [m.Level("1", "2")], []),
    ),
    (
        "bnbusdt@bookTicker",
        {"u": 400900217, "s": "BNBUSDT", "b": "25.3", "B": "31", "a": "25.4", "A": "40"},
        m.BookTicker(400900217, "BNBUSDT", "25.3", "31", "25.4", "40"),
    ),
    (
        "btcusdt@kline_1m",
        KLINE,
        m.Kline(
            9,
            "BTCUSDT",
            m.Bar(
                *(1, 2, "BTCUSDT", "1m", "3", "4", "5", "6", "7", 8, True, "9", "10", "11", -1, -1)
            ),
        ),
    ),
    ("btcusdt@miniTicker", MINI_ROW, MINI),
    ("!miniTicker@arr", [MINI_ROW, MINI_ROW], [MINI, MINI]),
    (
        "btcusdt@ticker",
        TICKER_ROW,
        m.Ticker(
            7,
            "BTCUSDT",
            "0.1",
            "250.00",
            "0.2",
            "0.3",
            "0.4",
            "10",
            "0.5",
            "11",
            "0.6",
            "12",
            "0.7",
            "0.8",
            "0.9",
            "13",
            "14",
            *(1, 2, -1, -1, 15),
        ),
    ),
    ("btcusdt@ticker_4h", WINDOW_ROW, WINDOW),
    ("!ticker_4h@arr", [WINDOW_ROW], [WINDOW]),
    (
        "btcusdt@avgPrice",
        {"e": "avgPrice", "E": 1, "s": "BTCUSDT", "i": "5m", "w": "25776.86", "T": 2},
        m.AvgPrice(1, "BTCUSDT", "5m", "25776.86", 2),
    ),
    (
        "btcusdt@referencePrice",
        {"e": "referencePrice", "s": "BTCUSDT", "r": None, "t": 3},
        m.ReferencePrice("BTCUSDT", None, 3),
    ),
]


def compact(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


def frame(stream: str, raw: bytes) -> bytes:
    return b'{"stream":"' + stream.encode() + b'","data":' + raw + b"}"


def of(symbol: str, raw: bytes) -> bytes:
    """The payload, as if it were of another symbol."""
    return raw.replace(b"BTCUSDT", symbol.upper().encode())


GOOD = frame(SUBJECT, TRADE)


def warmed(*streams: str) -> Decoder:
    """A decoder that knows the streams, so that it takes the fast path for them."""
    decoder = Decoder("venue")
    payloads = {name: compact(payload) for name, payload, _ in KINDS}
    events, control = decoder.decode([frame(name, payloads[name]) for name in streams], 0.0)
    assert (len(events), control) == (len(streams), [])
    return decoder


def expecting(*streams: str) -> Decoder:
    """A decoder that was told of the streams, and has seen nothing yet."""
    decoder = Decoder("venue")
    decoder.expect(streams)
    return decoder


def decoders(*streams: str) -> list[Decoder]:
    """One that knows no stream, and for each way to parse one that knows these."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(d, "MAX_TAGGED", 0)
        untagged = warmed(*streams)
    return [Decoder("venue"), warmed(*streams), expecting(*streams), untagged]


def one(payload: bytes, decoder: Decoder | None = None) -> Event | c.Control:
    """What a single frame becomes: exactly one event or one remark."""
    events, control = (decoder or Decoder("venue")).decode([payload], 1.5)
    (found,) = [*events, *control]
    return found


# -- events ---------------------------------------------------------------------------------------


def test_every_kind_of_stream_is_covered() -> None:
    assert {parse_stream(name).kind for name, _, _ in KINDS} == set(TABLE)


@pytest.mark.parametrize(("stream", "payload", "expected"), KINDS, ids=[k[0] for k in KINDS])
def test_each_kind_decodes_to_its_exact_values_on_both_paths(
    stream: str, payload: Any, expected: Any
) -> None:
    raw = compact(payload)
    event = Event(expected, stream, "venue", 1.5, frame(stream, raw))
    decoder = Decoder("venue")
    assert one(frame(stream, raw), decoder) == event  # learns the stream
    assert one(frame(stream, raw), decoder) == event  # knows it
    assert d.decode_payload(parse_stream(stream).kind, raw) == expected


@pytest.mark.parametrize(("stream", "payload", "expected"), KINDS, ids=[k[0] for k in KINDS])
def test_fields_that_the_exchange_may_add_are_ignored(
    stream: str, payload: Any, expected: Any
) -> None:
    def widened(value: Any) -> Any:
        if isinstance(value, dict):
            return {"new": {"x": [1]}} | {k: widened(v) for k, v in value.items()} | {"zz": None}
        if isinstance(value, list) and value and isinstance(value[0], dict):
            return [widened(row) for row in value]
        return value

    raw = compact(widened(payload))
    for decoder in decoders(stream):
        event = one(frame(stream, raw), decoder)
        assert event == Event(expected, stream, "venue", 1.5, frame(stream, raw))
        assert event.raw == raw


def test_order_of_a_batch_is_kept_and_bad_payloads_do_not_spoil_it() -> None:
    def trade(number: int) -> bytes:
        return frame(SUBJECT, TRADE.replace(b"12345", b"%d" % number))

    batch = [
        trade(1),
        b"nonsense",
        trade(2),
        frame(SUBJECT, b"{}"),
        frame("btcusdt@depth5", b"[]"),
        trade(3),
        b'{"result":null,"id":4}',
        b"",
        trade(4),
    ]
    events, control = Decoder("venue").decode(batch, 1.0)
    assert [event.data.trade_id for event in events] == [1, 2, 3, 4]
    assert [getattr(item, "error_type", "reply") for item in control] == [
        "bad_json",
        "bad_payload",
        "bad_payload",
        "reply",
        "bad_json",
    ]


def test_a_non_ascii_stream_name_is_decoded_and_remembered() -> None:
    raw = TRADE.replace(b"BTCUSDT", "币安人生USDT".encode())
    decoder = Decoder("venue")
    for _ in range(2):
        event = one(frame("币安人生usdt@trade", raw), decoder)
        assert isinstance(event, Event)
        assert (event.stream, event.data.symbol) == ("币安人生usdt@trade", "币安人生USDT")
    escaped = frame("币安人生usdt@trade", raw).decode().encode("ascii", "backslashreplace")
    event = one(escaped, decoder)
    assert isinstance(event, Event)
    assert event.stream == "币安人生usdt@trade"


def test_an_upper_case_name_from_the_wire_is_the_same_stream_and_is_not_learnt() -> None:
    for decoder in decoders(SUBJECT):
        for name in ("BTCUSDT@trade", "bTcUsDt@trade"):
            event = one(frame(name, TRADE), decoder)
            assert isinstance(event, Event)
            assert event.stream == SUBJECT
        assert set(decoder._streams) <= {SUBJECT}


def test_what_is_expected_is_taken_at_once_and_what_is_not_is_asked_for() -> None:
    asked: list[str] = []
    decoder = Decoder("venue", lambda name: asked.append(name) or False)
    decoder.expect([SUBJECT])
    assert isinstance(one(GOOD, decoder), Event)
    other = frame("ethusdt@trade", of("ethusdt", TRADE))
    assert one(other, decoder) == Malformed("unknown_stream", "not subscribed", c.excerpt(other))
    decoder.expect(["ethusdt@trade"])
    assert isinstance(one(other, decoder), Event)
    assert asked == ["ethusdt@trade"]


def test_of_nothing_comes_nothing() -> None:
    assert Decoder("venue").decode([], 1.5) == ([], [])


def test_the_pure_path_tells_of_no_runs() -> None:
    decoder = Decoder("venue", pure=True)
    assert list(decoder.runs) == []
    decoder.expect([SUBJECT])
    decoder.decode([GOOD, GOOD], 1.5)
    assert list(decoder.runs) == []


@pytest.mark.parametrize(("stream", "payload", "expected"), KINDS, ids=[k[0] for k in KINDS])
def test_a_frame_in_the_usual_layout_never_takes_the_slow_path_again(
    stream: str, payload: Any, expected: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, *know = [*decoders(stream), *decoders(*(name for name, _, _ in KINDS))[1:]]
    monkeypatch.setattr(Decoder, "_decode_singly", None)
    for decoder in know:
        event = one(frame(stream, compact(payload)), decoder)
        assert isinstance(event, Event)
        assert event.data == expected


# -- unusual layouts ------------------------------------------------------------------------------

LAYOUTS: dict[str, bytes] = {
    "white space": b'{ "stream" : "btcusdt@trade" , "data" :\n' + TRADE + b"\r\n}\t",
    "space before data": b'{"stream":"btcusdt@trade","data": ' + TRADE + b"}",
    "space after data": b'{"stream":"btcusdt@trade","data":' + TRADE + b" }",
    "line break at the end": GOOD + b"\n",
    "data first": b'{"data":' + TRADE + b',"stream":"btcusdt@trade"}',
    "more after data": GOOD[:-1] + b',"extra":1}',
    "object after data": GOOD[:-1] + b',"extra":{}}',
    "list after data": GOOD[:-1] + b',"extra":[{}]}',
    "more before data": b'{"stream":"btcusdt@trade","extra":{"data":{}},"data":' + TRADE + b"}",
    "an id after data": GOOD[:-1] + b',"id":4}',
    "a text id after data": GOOD[:-1] + b',"id":"x"}',
    "an event type beside data": b'{"e":5,"E":1e30,' + GOOD[1:],
    "an error beside data": b'{"error":1,"code":"x",' + GOOD[1:],
    "data twice": frame(SUBJECT, b'{"e":1}')[:-1] + b',"data":' + TRADE + b"}",
    "stream twice": b'{"stream":"ethusdt@trade","stream":"btcusdt@trade","data":' + TRADE + b"}",
    "stream again after data": frame("ethusdt@trade", TRADE)[:-1] + b',"stream":"btcusdt@trade"}',
    "escaped name": b'{"stream":"btcusdt\\u0040trade","data":' + TRADE + b"}",
    "separator in a string": b'{"x":"\\",\\"data\\":","stream":"btcusdt@trade","data":'
    + TRADE
    + b"}",
}


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_other_layouts_give_the_same_event_and_the_same_raw_bytes(layout: bytes) -> None:
    for decoder in [*decoders(SUBJECT), *decoders(SUBJECT, DEPTH)]:
        event = one(layout, decoder)
        assert isinstance(event, Event)
        assert (event.stream, event.raw) == (SUBJECT, TRADE)
        assert event.data.trade_id == 12345


BROKEN: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "bad_json"),
    "truncated": (GOOD[:-1], "bad_json"),
    "truncated in the payload": (GOOD[:-20], "bad_json"),
    "trailing bytes": (GOOD + b"x", "bad_json"),
    "one brace too many": (GOOD + b"}", "bad_json"),
    "two frames in one": (GOOD + GOOD, "bad_json"),
    "a bracket for the brace": (GOOD[:-1] + b"]", "bad_json"),
    "payload twice": (GOOD[:-1] + b"," + TRADE + b"}", "bad_json"),
    "bad UTF-8": (GOOD.replace(b"0.00100000", b"\xff\xfe"), "bad_json"),
    "byte order mark": (b"\xef\xbb\xbf" + GOOD, "bad_json"),
    "line break in a string": (GOOD.replace(b"0.001", b"0\n001"), "bad_json"),
    "lone surrogate": (GOOD.replace(b"0.00100000", b"\\ud800"), "bad_json"),
    "deep": (frame(SUBJECT, b'{"e":' + b"[" * 100_000), "bad_json"),
    "deep and closed": (
        frame(SUBJECT, TRADE[:-1] + b',"x":' + b"[" * 50_000 + b"]" * 50_000 + b"}"),
        "bad_json",
    ),
    "null": (b"null", "bad_payload"),
    "array": (b"[" + GOOD + b"]", "bad_payload"),
    "number": (b"12", "bad_payload"),
    "no data": (b'{"stream":"btcusdt@trade"}', "bad_payload"),
    "null data": (frame(SUBJECT, b"null"), "bad_payload"),
    "array data": (frame(SUBJECT, b"[" + TRADE + b"]"), "bad_payload"),
    "number for a string": (GOOD.replace(b'"0.00100000"', b"0.001"), "bad_payload"),
    "string for an id": (GOOD.replace(b"12345", b'"12345"'), "bad_payload"),
    "fraction for an id": (GOOD.replace(b"12345", b"1.5"), "bad_payload"),
    "null for an id": (GOOD.replace(b"12345", b"null"), "bad_payload"),
    "negative id": (GOOD.replace(b"12345", b"-1"), "bad_payload"),
    "id of 64 bits and one": (GOOD.replace(b"12345", b"%d" % 2**63), "bad_payload"),
    "id of 400 digits": (GOOD.replace(b"12345", b"9" * 400), "bad_payload"),
    "id of 5000 digits": (GOOD.replace(b"12345", b"9" * 5000), "bad_payload"),
    "time of 400 digits": (GOOD.replace(b"1700000000123", b"9" * 400), "bad_payload"),
    "exponent": (GOOD.replace(b"12345", b"1e999"), "bad_payload"),
    "missing field": (GOOD.replace(b'"t"', b'"tt"'), "bad_payload"),
    "another event type": (GOOD.replace(b'"e":"trade"', b'"e":"aggTrade"'), "bad_payload"),
    "level of one": (
        frame("btcusdt@depth5", b'{"lastUpdateId":1,"bids":[["1"]],"asks":[]}'),
        "bad_payload",
    ),
    "level of numbers": (
        frame("btcusdt@depth5", b'{"lastUpdateId":1,"bids":[[1,2]],"asks":[]}'),
        "bad_payload",
    ),
    "unknown stream": (frame("btcusdt@nothing", TRADE), "unknown_stream"),
    "hostile stream": (frame("a/b?c@trade", TRADE), "unknown_stream"),
    "long stream": (frame("x" * 5000 + "@trade", TRADE), "unknown_stream"),
    "unknown event": (b'{"e":"news","E":1}', "unknown_event"),
    "empty object": (b"{}", "unknown_event"),
    "a reply without a result": (b'{"id":1}', "unknown_event"),
    "a payload without its frame": (TRADE, "unknown_event"),
    "a reply with a text id": (b'{"result":null,"id":"x"}', "bad_payload"),
    "stream is no string": (b'{"stream":1,"data":{}}', "bad_payload"),
}


@pytest.mark.parametrize(("payload", "error_type"), BROKEN.values(), ids=BROKEN)
def test_what_is_not_understood_is_one_printable_bounded_remark(
    payload: bytes, error_type: str
) -> None:
    for decoder in [*decoders(SUBJECT), *decoders(SUBJECT, DEPTH)]:
        events, control = decoder.decode([GOOD, payload, GOOD], 1.5)
        assert events == [one(GOOD)] * 2
        (remark,) = control
        assert isinstance(remark, Malformed)
        assert (remark.error_type, remark.excerpt) == (error_type, c.excerpt(payload))
        for text in (remark.excerpt, remark.detail):
            assert text.isprintable()
            assert len(text) <= c.MAX_TEXT
        assert remark.detail


DETAILS: dict[str, tuple[bytes, str]] = {
    "no data": (b'{"stream":"btcusdt@trade"}', "no data"),
    "an unknown stream": (frame("btcusdt@nothing", TRADE), "'btcusdt@nothing' is not a stream .*"),
    "a text for an id": (GOOD.replace(b"12345", b'"12345"'), r".*`int`.*`str`.*`\$\.t`"),
    "an unknown event": (b'{"e":"news","E":1}', "event type 'news'"),
    "a long unknown event": (b'{"e":"' + b"x" * 100 + b'"}', "event type 'x{40}'"),
}


@pytest.mark.parametrize(("payload", "detail"), DETAILS.values(), ids=DETAILS)
def test_a_remark_says_what_is_wrong(payload: bytes, detail: str) -> None:
    for decoder in decoders(SUBJECT):
        remark = one(payload, decoder)
        assert isinstance(remark, Malformed)
        assert re.fullmatch(detail, remark.detail)


MISPLACED: dict[str, tuple[str, bytes]] = {
    "a trade": (SUBJECT, of("ethusdt", TRADE)),
    "a trade of the stream beside it": ("ethusdt@trade", TRADE),
    "a trade whose symbol begins alike": (SUBJECT, of("btcusdtx", TRADE)),
    "a quote": ("btcusdt@bookTicker", b'{"u":1,"s":"ETHUSDT","b":"1","B":"1","a":"2","A":"1"}'),
    "the inner symbol of a bar": (
        "btcusdt@kline_1m",
        compact(KLINE | {"k": KLINE["k"] | {"s": "ETHUSDT"}}),
    ),
    "a bar of another interval": (
        "btcusdt@kline_1m",
        compact(KLINE | {"k": KLINE["k"] | {"i": "1h"}}),
    ),
    "a ticker of another window": ("btcusdt@ticker_1h", compact(WINDOW_ROW)),
    "tickers of another window": ("!ticker_1h@arr", compact([WINDOW_ROW])),
}
"""Whole payloads that stand in the frame of another stream."""


@pytest.mark.parametrize("beside", [(), ("ethusdt@depth5",)], ids=["alone", "with others"])
@pytest.mark.parametrize(("stream", "raw"), MISPLACED.values(), ids=MISPLACED)
def test_a_payload_of_another_stream_than_its_frame_is_malformed(
    stream: str, raw: bytes, beside: tuple[str, ...]
) -> None:
    knows = expecting(stream, SUBJECT, *beside)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(d, "MAX_TAGGED", 0)
        by_route = expecting(stream, SUBJECT, *beside)
    for decoder in (Decoder("venue"), knows, by_route, expecting(stream)):
        events, control = decoder.decode([GOOD, frame(stream, raw), GOOD], 1.5)
        assert events == [one(GOOD)] * 2
        (remark,) = control
        assert isinstance(remark, Malformed)
        assert (remark.error_type, remark.excerpt) == (
            "wrong_symbol",
            c.excerpt(frame(stream, raw)),
        )
        assert stream in remark.detail


def test_a_symbol_in_small_letters_is_the_same_symbol() -> None:
    """Only the stream's name is known for sure to be folded."""
    for decoder in decoders(SUBJECT):
        event = one(frame(SUBJECT, TRADE.replace(b"BTCUSDT", b"btcusdt")), decoder)
        assert isinstance(event, Event)


def test_what_else_stands_in_a_level_is_ignored() -> None:
    """Old payloads and forks of the exchange have a third element."""
    raw = b'{"lastUpdateId":1,"bids":[["1","2",[]],["3","4","5",{}]],"asks":[]}'
    for decoder in decoders("btcusdt@depth5"):
        event = one(frame("btcusdt@depth5", raw), decoder)
        assert isinstance(event, Event)
        assert event.data == m.PartialDepth(1, [m.Level("1", "2"), m.Level("3", "4")], [])
        assert event.raw == raw


@pytest.mark.parametrize("junk", [b"\x00\x1b[2J\r\n", b"\xff", "\u202e\u2028".encode()])
def test_remarks_cannot_forge_log_lines_or_drive_a_terminal(junk: bytes) -> None:
    remark = one(frame(SUBJECT, b'{"e":"' + junk * 300 + b'"}'))
    assert isinstance(remark, Malformed)
    reply = one(b'{"error":{"code":2,"msg":"\\u001b[2J\\n%s"},"id":1}' % (b"x" * 999))
    assert isinstance(reply, Reply)
    for text in (remark.excerpt, remark.detail, reply.message):
        assert text.isprintable()
        assert len(text) <= c.MAX_TEXT


def test_an_excerpt_shows_where_the_payload_began() -> None:
    assert c.excerpt(b"hello") == "hello"
    assert c.excerpt(b"a\nb\xff") == "a\\nb\\\\xff"
    assert len(c.excerpt(b"x" * 10_000)) == c.EXCERPT_BYTES


@given(st.floats(1e9, 4e9))
def test_the_receive_time_in_nanoseconds_is_the_same_time(received: float) -> None:
    event = Event(None, SUBJECT, "v", received, b"")
    assert isinstance(event.received_ns, int)
    assert event.received_ns / 10**9 == received
    later = Event(None, SUBJECT, "v", math.nextafter(received, math.inf), b"")
    assert later.received_ns >= event.received_ns


def test_the_table_of_streams_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(d, "MAX_KNOWN", 10)
    decoder = Decoder("venue")
    frames = [frame(f"s{n}usdt@trade", of(f"s{n}usdt", TRADE)) for n in range(50)]
    for _ in range(2):
        events, control = decoder.decode(frames, 1.0)
        assert (len(events), control) == (50, [])
    assert len(decoder._streams) == 10


@pytest.mark.parametrize("suffixes", [("trade",), ("trade", "aggTrade")], ids=["one", "two"])
def test_more_streams_than_have_types_of_their_own_give_the_same_events(
    suffixes: tuple[str, ...],
) -> None:
    payloads = {name.partition("@")[2]: compact(payload) for name, payload, _ in KINDS}
    names = [
        f"s{number}usdt@{suffixes[number % len(suffixes)]}" for number in range(d.MAX_TAGGED + 9)
    ]
    frames = [
        frame(name, of(symbol, payloads[suffix]))
        for name in names
        for symbol, _, suffix in [name.partition("@")]
    ]
    knows, learns = expecting(*names), Decoder("venue")
    expected = [one(payload) for payload in frames]
    for decoder in (knows, learns, learns):
        assert decoder.decode(frames, 1.5) == (expected, [])


# -- control --------------------------------------------------------------------------------------

CONTROL: dict[str, tuple[bytes, c.Control]] = {
    "shutdown, raw": (b'{"e":"serverShutdown","E":1770123456789}', ServerShutdown(1770123456789)),
    "shutdown, combined": (
        b'{"stream":"!serverShutdown","data":{"e":"serverShutdown","E":1770123456789}}',
        ServerShutdown(1770123456789),
    ),
    "success": (b'{"result":null,"id":3}', Reply(3, b"null")),
    "list": (b'{"result":["btcusdt@trade"],"id":3}', Reply(3, b'["btcusdt@trade"]')),
    "property": (b'{"result":true,"id":2}', Reply(2, b"true")),
    "null error": (b'{"result":null,"id":3,"error":null}', Reply(3, b"null")),
    "bare error": (b'{"code":2,"msg":"Invalid","id":3}', Reply(3, b"", 2, "Invalid")),
    "wrapped error": (
        b'{"error":{"code":1,"msg":"expected boolean"},"id":3}',
        Reply(3, b"", 1, "expected boolean"),
    ),
    "error of code 0": (b'{"code":0,"msg":"Unknown","id":1}', Reply(1, b"", 0, "Unknown")),
    "error without id": (b'{"code":3,"msg":"Invalid JSON"}', Reply(None, b"", 3, "Invalid JSON")),
    "error with a null id": (b'{"error":{"code":3,"msg":"?"},"id":null}', Reply(None, b"", 3, "?")),
    "wrapped error without a code": (b'{"error":{"msg":"no"},"id":3}', Reply(3, b"", -1, "no")),
    "bare error without a code": (b'{"msg":"no","id":3}', Reply(3, b"", -1, "no")),
}  # fmt: skip


@pytest.mark.parametrize(("payload", "expected"), CONTROL.values(), ids=CONTROL)
def test_control_messages(payload: bytes, expected: c.Control) -> None:
    assert one(payload) == expected
    assert one(payload, warmed(SUBJECT)) == expected


def test_a_shutdown_announcement_of_the_wrong_shape_is_malformed() -> None:
    remark = one(b'{"stream":"!serverShutdown","data":[]}')
    assert isinstance(remark, Malformed)
    assert remark.error_type == "bad_payload"


# -- properties -----------------------------------------------------------------------------------

FRAMES = [frame(name, compact(payload)) for name, payload, _ in KINDS] + [
    payload for payload, _ in CONTROL.values()
] + list(LAYOUTS.values())  # fmt: skip


def naive(payload: bytes) -> tuple[str, Any] | None:
    """Stream and payload of a frame as Python's own JSON parser sees them."""
    try:
        value = json.loads(payload)
    except (ValueError, RecursionError):
        return None
    if isinstance(value, dict) and isinstance(value.get("stream"), str) and "data" in value:
        return value["stream"], value["data"]
    return None


def check_any(payload: bytes) -> None:
    """Whatever the bytes are: both paths agree, and what is delivered is what stood there."""
    slow = one(payload)
    for decoder in [*decoders(*(name for name, _, _ in KINDS)), *decoders(SUBJECT)]:
        assert one(payload, decoder) == slow
    if isinstance(slow, Event):
        seen = naive(payload)
        assert seen is not None
        assert parse_stream(seen[0]).name == slow.stream
        assert json.loads(slow.raw) == seen[1]
        assert slow.raw == slow.raw.strip()
        assert slow.raw in payload
        assert msgspec.json.decode(slow.raw) is not None
    elif isinstance(slow, Malformed):
        assert slow.excerpt.isprintable()
        assert slow.detail.isprintable()


@given(st.binary(max_size=300))
def test_any_bytes_are_survived(payload: bytes) -> None:
    check_any(payload)


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """A valid frame after a few cuts, insertions, swaps and repetitions."""
    data = bytearray(draw(st.sampled_from(FRAMES)))
    pieces = [b'"', b"{", b"}", b"[", b"]", b",", b":", b" ", b"\n", b"\\", b'","data":', b"null",
              b'"stream":"btcusdt@trade"', b'"data":', TRADE, b"9" * 30, b"-", b"e5", b"\xff",
              b',"extra":1', b',"extra":{}', b',"id":"x"', b'"e":5,', b"\x00"]  # fmt: skip
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(data)))
        end = min(len(data), at + draw(st.integers(0, 12)))
        new = draw(st.sampled_from([b"", *pieces]) | st.binary(max_size=3))
        data[at:end] = new
    return bytes(data)


@settings(max_examples=4 * settings().max_examples)
@given(mutated())
def test_mutated_frames_are_survived_and_never_delivered_wrong(payload: bytes) -> None:
    try:
        payload.decode()
    except UnicodeDecodeError:
        # The frame layer lets none of these through; they must only be survived.
        for decoder in decoders(SUBJECT):
            assert one(payload, decoder) is not None
    else:
        check_any(payload)
