"""Nothing that the exchange says of a market is thrown away, but for what is named and reasoned."""

from __future__ import annotations

import functools

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from kept import STREAMS, lost_of

from k2trio.market.decoder import Decoder
from k2trio.market.payloads import PAYLOADS, Event, frame_of
from k2trio.market.streams import TABLE, parse_stream
from k2trio.market.units import MS, US
from k2trio.simulator import Market


@functools.cache
def told(unit: int) -> list[Event]:
    """What the simulated exchange says within minutes, of every kind."""
    market = Market(["BTCUSDT", "ETHUSDT"], seed=3, rate=4)
    for stream in STREAMS:
        market.watch(stream)
    messages = market.advance(market.start_us + 400_000_000)
    frames = [frame_of(message.stream, message.render(unit)) for message in messages]
    decoder = Decoder("venue", unit=MS if unit == 1000 else US)
    events, control = decoder.decode(frames, market.now_us / 1e6)
    assert control == []
    return events


@pytest.mark.parametrize("unit", [1000, 1], ids=["ms", "us"])
def test_every_value_that_the_simulator_sends_lands_in_a_field(unit: int) -> None:
    events = told(unit)
    assert {parse_stream(event.stream).kind for event in events} == set(TABLE) == set(PAYLOADS)
    assert [lost for event in events if (lost := lost_of(event))] == []


@given(st.data())
def test_a_value_that_no_field_takes_is_noticed(data: st.DataObject) -> None:
    event = data.draw(st.sampled_from([e for e in told(1000) if not e.stream.startswith("!")]))
    key = data.draw(st.sampled_from(["Z", "zz", "é"]))
    payload = msgspec.json.decode(event.raw) | {key: 1}
    frame = frame_of(event.stream, msgspec.json.encode(payload))
    (again,), _ = Decoder("venue").decode([frame], 1.0)
    assert again.data == event.data
    assert lost_of(again) == {key: 1}


def test_a_bar_names_its_trades() -> None:
    bars = [event.data.bar for event in told(1000) if event.stream == "btcusdt@kline_1m"]
    traded = [bar for bar in bars if bar.trades]
    assert traded
    for bar in traded:
        assert bar.last_trade_id - bar.first_trade_id + 1 == bar.trades


def test_a_window_says_when_it_begins_and_ends_and_which_trades_are_in_it() -> None:
    tickers = [event.data for event in told(1000) if event.stream == "btcusdt@ticker_1h"]
    for ticker in tickers:
        assert ticker.open_time % 60_000 == 0
        assert 3_600_000 <= ticker.close_time - ticker.open_time < 3_660_000
        assert ticker.last_trade_id - ticker.first_trade_id + 1 == ticker.trades
    whole = [event.data for event in told(1000) if event.stream == "btcusdt@ticker"]
    trades = {e.data.trade_id: e.data for e in told(1000) if e.stream == "btcusdt@trade"}
    assert len(whole) > 100
    for ticker in whole[1:]:
        assert ticker.last_quantity == trades[ticker.last_trade_id].quantity
        assert ticker.last == trades[ticker.last_trade_id].price
