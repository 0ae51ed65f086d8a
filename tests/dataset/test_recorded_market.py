"""What a venue is told of a recording: entries, and what REST can answer out of them."""

from __future__ import annotations

import json

import pytest
from recordings import MS, US, event_of, session

from k2trio.commands.replay.entries import entry_of
from k2trio.market.payloads import Event, Kline
from k2trio.market.streams import Kind, parse_stream
from k2trio.simulator import EPOCH_MS, Truth
from k2trio.simulator.market.records import AggTrade, Trade
from k2trio.simulator.recorded import market as recorded
from k2trio.simulator.recorded.market import RecordedMarket

TRADES, AGGREGATES, BARS = "btcusdt@trade", "btcusdt@aggTrade", "btcusdt@kline_1s"
LATER_MS = 60_000
EPOCH_US = EPOCH_MS * 1000


def trade(trade_id: int, price: str = "1.50000000") -> Event:
    raw = json.dumps({"e": "trade", "E": EPOCH_MS, "s": "BTCUSDT", "t": trade_id, "p": price,
                      "q": "2.00000000", "T": EPOCH_MS + trade_id, "m": True})  # fmt: skip
    return event_of(TRADES, raw.encode(), EPOCH_MS / 1000)


def aggregate(agg_id: int, quantity: str = "2.00000000") -> Event:
    raw = json.dumps({"e": "aggTrade", "E": EPOCH_MS, "s": "BTCUSDT", "a": agg_id,
                      "p": "1.50000000", "q": quantity, "f": 1, "l": 2, "T": EPOCH_MS,
                      "m": False})  # fmt: skip
    return event_of(AGGREGATES, raw.encode(), EPOCH_MS / 1000)


def told(*events: Event) -> RecordedMarket:
    """A market on which these have happened, one a millisecond."""
    market = RecordedMarket(EPOCH_US)
    market.add(entry_of(event, EPOCH_US + 1000 * n) for n, event in enumerate(events))
    market.end()
    truth = Truth(market)
    truth.watch(TRADES)
    messages = market.advance(EPOCH_US + 10**9)
    assert [message.render(MS) for message in messages] == [event.raw for event in events]
    assert market.is_over
    assert truth.summary()["symbols"] is not None
    return market


def test_trades_can_be_had_by_id_and_their_ids_are_known() -> None:
    symbol = told(*map(trade, [5, 6, 7, 11, 12])).symbols["BTCUSDT"]
    assert symbol.trades.get(6) == Trade(6, 150_000_000, 200_000_000, EPOCH_US + 6000, True)
    assert symbol.trade_ids.ranges == [[5, 7], [11, 12]]


def test_ids_that_begin_anew_leave_no_history() -> None:
    symbol = told(*map(trade, [500, 501, 3, 4])).symbols["BTCUSDT"]
    assert [record.id for record in symbol.trades.records] == [3, 4]
    assert symbol.trade_ids.ranges == [[500, 501], [3, 4]]


def test_what_two_programs_recorded_is_known_once() -> None:
    symbol = told(*map(trade, [1, 2, 3, 2, 3, 4])).symbols["BTCUSDT"]
    assert [record.id for record in symbol.trades.records] == [1, 2, 3, 4]
    assert symbol.trade_ids.ranges == [[1, 4]]


def test_aggregates_that_share_an_id_are_both_there() -> None:
    symbol = told(aggregate(8), aggregate(9), aggregate(9, "3.00000000")).symbols["BTCUSDT"]
    assert [record.quantity for record in symbol.agg_trades.records][1:] == [2 * 10**8, 3 * 10**8]
    assert symbol.shared_ids == [9]


def test_an_amount_that_rest_cannot_hold_is_told_on_the_stream_alone() -> None:
    symbol = told(trade(1, "0.123456789"), trade(2)).symbols["BTCUSDT"]
    assert [record.id for record in symbol.trades.records] == [2]


@pytest.mark.parametrize("unit", [MS, US])
@pytest.mark.parametrize("later_ms", [0, LATER_MS])
def test_messages_and_records_have_the_time_that_is_wanted(unit: int, later_ms: int) -> None:
    """Whatever unit they were recorded in, and however much later they are to be."""
    seen: set[Kind] = set()
    for event in session(3, [TRADES, AGGREGATES, BARS], unit=unit):
        assert isinstance(event, Event)
        entry, data = entry_of(event, 1, later_ms), event.data
        assert entry.message is not None
        seen.add(parse_stream(event.stream).kind)
        for wanted in (MS, US):
            row = json.loads(entry.message.render(wanted))
            per_ms = 1000 // wanted
            if isinstance(data, Kline):
                open_ms = data.bar.open_time * unit // 1000 + later_ms
                bar = row["k"]
                assert (bar["t"], bar["T"]) == (open_ms * per_ms, (open_ms + 1000) * per_ms - 1)
                assert entry.message.closed_bar_ms == (open_ms if data.bar.closed else None)
                assert entry.message.first == data.event_time * unit // 1000 + later_ms
            else:
                time_us = data.trade_time * unit + later_ms * 1000
                assert row["T"] == row["E"] == time_us // wanted
                assert isinstance(entry.record, Trade | AggTrade)
                assert entry.record.time_us == time_us
    assert len(seen) == 3


def test_what_lies_ready_is_bounded_and_room_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorded, "AHEAD", 3)
    told_of_room: list[int] = []
    market = RecordedMarket(EPOCH_US, on_room=lambda: told_of_room.append(1))
    market.add(entry_of(trade(n), EPOCH_US + n) for n in range(4))
    assert not market.has_room
    market.advance(EPOCH_US, 1)
    assert (market.has_room, told_of_room) == (False, [])
    market.advance(EPOCH_US + 1, 1)
    assert (market.has_room, told_of_room) == (True, [1])
    assert not market.is_over
    assert market.now_us == EPOCH_US + 1
    market.advance(EPOCH_US + 10**6)
    assert market.now_us == EPOCH_US + 3  # what happens until then is not known yet


def test_any_name_may_be_one_of_the_recording_but_nonsense() -> None:
    market = RecordedMarket(EPOCH_US)
    assert market.symbol("SOLUSDT") is market.symbol("SOLUSDT") is not None
    assert market.symbol("sol/usdt") is None
    assert market.symbol("solusdt") is None


def test_symbols_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorded, "MAX_SYMBOLS", 2)
    market = RecordedMarket(EPOCH_US)
    assert [market.symbol(name) is None for name in ("A", "B", "C", "A")] == [
        False,
        False,
        True,
        False,
    ]


def test_a_snapshot_is_known_from_the_start_and_told_to_nobody() -> None:
    snapshot = session(1, ["btcusdt@depth@100ms"])[0]
    assert isinstance(snapshot, Event)
    market = RecordedMarket(EPOCH_US)
    market.add([entry_of(snapshot, EPOCH_US + 5)])
    assert market.symbols["BTCUSDT"].has_book
    assert market.advance(EPOCH_US + 10) == []
