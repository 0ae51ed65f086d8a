"""Times in milliseconds and in microseconds: told apart, converted, and said aloud."""

from __future__ import annotations

import functools

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from kept import STREAMS

from k2trio.market.control import OtherUnit
from k2trio.market.decoder import Decoder
from k2trio.market.payloads import frame_of
from k2trio.market.units import (
    MOST_LOOKS,
    MS,
    US,
    US_FROM,
    TimeUnit,
    UnitWatch,
    convert,
    frame_in_unit,
    unit_near,
)
from k2trio.simulator import Market

NOW_S = 1_800_000_000.0
TRADES = "btcusdt@trade"
QUOTE = frame_of("btcusdt@bookTicker", b'{"u":1,"s":"BTCUSDT","b":"1","B":"2","a":"3","A":"4"}')


def trade(time: object, number: int = 1) -> bytes:
    said = {"e": "trade", "E": time, "s": "BTCUSDT", "t": number, "p": "1", "q": "2", "T": time}
    return frame_of(TRADES, msgspec.json.encode(said | {"m": True, "M": True}))


@functools.cache
def told() -> list[tuple[bytes, bytes]]:
    """Frames of every kind, as the exchange sends them in ms and in µs."""
    market = Market(["BTCUSDT", "ETHUSDT"], seed=5, rate=4)
    for stream in STREAMS:
        market.watch(stream)
    return [
        (
            frame_of(message.stream, message.render(1000)),
            frame_of(message.stream, message.render(1)),
        )
        for message in market.advance(market.start_us + 200_000_000)
    ]


def test_a_frame_in_another_unit_is_what_the_exchange_would_have_sent() -> None:
    assert len(told()) > 2000
    for coarse, fine in told():
        assert frame_in_unit(fine, US, MS) == coarse


def test_what_was_told_in_ms_has_zeros_for_what_is_finer() -> None:
    for coarse, _ in told():
        converted = frame_in_unit(coarse, MS, US)
        assert frame_in_unit(converted, US, MS) == coarse


def test_a_bar_lasts_until_the_next_one_in_either_unit() -> None:
    bars = [
        msgspec.json.decode(frame_in_unit(coarse, MS, US))["data"]["k"]
        for coarse, _ in told()
        if coarse.startswith(b'{"stream":"btcusdt@kline_1m"')
    ]
    assert {bar["T"] + 1 - bar["t"] for bar in bars} == {60_000_000}


@pytest.mark.parametrize(
    "frame",
    [
        b"garbage",
        b"{}",
        b'{"result":null,"id":1}',
        b'{"stream":"nonsense","data":{"E":1}}',
        b'{"stream":"btcusdt@trade","data":[1]}',
        b'{"stream":"btcusdt@trade","data":{}}',
        b'{"stream":"btcusdt@trade","data":null}',
        b'{"stream":"btcusdt@kline_1m","data":{"E":1,"k":7}}',
        trade("1800000000000"),
        trade(None),
        b'{"stream":"btcusdt@trade","data":' + b"[" * 5000,
    ],
)
def test_what_cannot_be_converted_is_left_to_the_decoder(frame: bytes) -> None:
    assert frame_in_unit(frame, MS, US) == frame


@pytest.mark.parametrize(
    ("time", "ms", "us"),
    [
        (1_700_000_000_123, 1_700_000_000_123, 1_700_000_000_123_000),
        (1_700_000_000_123_456, 1_700_000_000_123, 1_700_000_000_123_456),
        (US_FROM - 1, US_FROM - 1, (US_FROM - 1) * 1000),
        (US_FROM, US_FROM // 1000, US_FROM),
    ],
)
def test_a_time_of_any_day_is_told_in_either_unit(time: int, ms: int, us: int) -> None:
    assert (MS.of(time), US.of(time)) == (ms, us)


@given(st.floats(0.8e9, 4e9), st.sampled_from([MS, US]), st.floats(-3600, 3600))
def test_a_time_of_now_tells_its_unit(received: float, unit: TimeUnit, off_s: float) -> None:
    assert unit_near(int((received + off_s) * unit.per_second), received) is unit


@pytest.mark.parametrize("time", [0, -1, 7, 10**12, 3 * 10**12, 10**14, 10**18, 2**63 - 1])
def test_an_absurd_time_tells_nothing(time: int) -> None:
    assert unit_near(time, NOW_S) is None


@pytest.mark.parametrize("announced", [[], [TRADES]], ids=["learnt", "announced"])
@pytest.mark.parametrize(("asked", "sent"), [(US, MS), (MS, US), (MS, MS), (US, US)])
def test_every_time_is_in_the_unit_that_was_asked_for(
    asked: TimeUnit, sent: TimeUnit, announced: list[str]
) -> None:
    decoder = Decoder("v", unit=asked)
    decoder.expect(announced)
    times = [int(NOW_S * sent.per_second) + n * sent.per_ms for n in range(4)]
    first, remarks = decoder.decode([trade(times[0], 1), trade(times[1], 2)], NOW_S)
    assert remarks == ([] if asked is sent else [OtherUnit(sent.word)])
    more, remarks = decoder.decode([trade(times[2], 3)], NOW_S)
    assert remarks == []  # once is enough
    last, remarks = decoder.decode([b"garbage", trade(times[3], 4)], NOW_S)
    assert [type(remark).__name__ for remark in remarks] == ["Malformed"]
    events = [*first, *more, *last]
    assert {event.received for event in events} == {NOW_S}
    assert [event.data.trade_time for event in events] == [convert(t, sent, asked) for t in times]
    assert [msgspec.json.decode(event.raw)["T"] for event in events] == [
        event.data.trade_time for event in events
    ]


def test_an_absurd_time_at_first_does_not_decide() -> None:
    decoder = Decoder("v", unit=US)
    absurd, now_ms = 3 * 10**12, int(NOW_S * 1000)
    events, remarks = decoder.decode([trade(absurd)], NOW_S)
    assert (events[0].data.trade_time, remarks) == (absurd, [])
    events, remarks = decoder.decode([trade(now_ms)], NOW_S)
    assert (events[0].data.trade_time, remarks) == (now_ms * 1000, [OtherUnit("MILLISECOND")])


def test_a_clock_that_is_wrong_by_decades_leaves_the_times_as_they_are() -> None:
    decoder = Decoder("v", unit=US)
    time = int(NOW_S * US.per_second)
    for number in range(2 * MOST_LOOKS):
        events, remarks = decoder.decode([trade(time, number)], received=1.0)
        assert (events[0].data.trade_time, remarks) == (time, [])


def test_what_is_not_known_to_differ_is_left_as_it_is() -> None:
    assert UnitWatch(US).converted(trade(7)) == trade(7)


@pytest.mark.parametrize("absurd", [MOST_LOOKS - 1, MOST_LOOKS])
def test_after_so_many_absurd_times_the_unit_is_believed(absurd: int) -> None:
    decoder = Decoder("v", unit=US)
    decoder.decode([trade(7, number) for number in range(absurd)], NOW_S)
    now_ms = int(NOW_S * 1000)
    events, remarks = decoder.decode([trade(now_ms, absurd)], NOW_S)
    believed = absurd == MOST_LOOKS
    assert events[0].data.trade_time == (now_ms if believed else now_ms * 1000)
    assert remarks == ([] if believed else [OtherUnit("MILLISECOND")])


def test_a_unit_that_is_known_is_not_asked_for_again() -> None:
    decoder = Decoder("v", unit=US)
    now_ms = int(NOW_S * 1000)
    decoder.decode([trade(now_ms * 1000, 1)], NOW_S)
    events, remarks = decoder.decode([trade(now_ms, 2)], NOW_S)
    assert (events[0].data.trade_time, remarks) == (now_ms, [])


@pytest.mark.parametrize(
    ("before", "beside"),
    [([], []), ([QUOTE], []), ([], [QUOTE])],
    ids=["alone", "behind a quote", "beside a quote"],
)
@pytest.mark.parametrize("name", [TRADES, "BTCUSDT@trade"], ids=["learnt", "never learnt"])
def test_a_stream_with_times_that_comes_unannounced_is_converted_at_once(
    name: str, before: list[bytes], beside: list[bytes]
) -> None:
    decoder = Decoder("v", unit=US)
    now_ms = int(NOW_S * 1000)
    first = trade(now_ms).replace(TRADES.encode(), name.encode())
    assert decoder.decode(before, NOW_S)[1] == []
    (event, *_), remarks = decoder.decode([first, *beside], NOW_S)
    assert (event.stream, event.data.trade_time) == (TRADES, now_ms * 1000)
    assert remarks == [OtherUnit("MILLISECOND")]


def test_kinds_without_times_do_not_hinder_those_with() -> None:
    decoder = Decoder("v", unit=US)
    decoder.expect(["btcusdt@bookTicker"])
    for _ in range(2 * MOST_LOOKS):
        assert decoder.decode([QUOTE], NOW_S)[1] == []
    decoder.expect([TRADES])
    events, remarks = decoder.decode([QUOTE, trade(int(NOW_S * 1000))], NOW_S)
    assert remarks == [OtherUnit("MILLISECOND")]
    assert events[1].data.trade_time == int(NOW_S * US.per_second)
