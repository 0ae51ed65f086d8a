"""The simulated market agrees with itself: ids, book, aggregates and bars."""

from __future__ import annotations

import json
import random
from decimal import Decimal
from typing import Any

import pytest

from k2trio.errors import UnknownStreamError
from k2trio.simulator import EPOCH_MS, Market, SymbolSpec
from k2trio.simulator.market.bars import bar_end_ms, bar_open_ms
from k2trio.simulator.market.lookup import payload_of

SEEDS = range(8)
HOUR_US = 3_600_000_000
KLINE_KEYS = "t T s i f L o c h l v n x q V Q B"


def run(market: Market, *streams: str, seconds: float) -> list[tuple[str, dict[str, Any]]]:
    for stream in streams:
        market.watch(stream)
    out = market.advance(market.now_us + round(seconds * 1e6))
    return [(message.stream, json.loads(message.render(1000))) for message in out]


@pytest.mark.parametrize("seed", SEEDS)
def test_ids_are_contiguous_and_aggregates_cover_their_trades(seed: int) -> None:
    market = Market(["BTCUSDT"], seed=seed, rate=20)
    trades: dict[int, dict[str, Any]] = {}
    aggregates: list[dict[str, Any]] = []
    for stream, payload in run(market, "btcusdt@trade", "btcusdt@aggTrade", seconds=120):
        if stream == "btcusdt@trade":
            trades[payload["t"]] = payload
        else:
            aggregates.append(payload)
    assert len(trades) > len(aggregates) > 1000
    assert list(trades) == list(range(min(trades), max(trades) + 1))
    next_aggregate, next_trade = aggregates[0]["a"], min(trades)
    for aggregate in aggregates:
        assert (aggregate["a"], aggregate["f"]) == (next_aggregate, next_trade)
        covered = [trades[number] for number in range(aggregate["f"], aggregate["l"] + 1)]
        assert sum(Decimal(trade["q"]) for trade in covered) == Decimal(aggregate["q"])
        assert {(trade["p"], trade["m"], trade["T"]) for trade in covered} == {
            (aggregate["p"], aggregate["m"], aggregate["T"])
        }
        next_aggregate, next_trade = aggregate["a"] + 1, aggregate["l"] + 1
    assert next_trade == max(trades) + 1


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("stream", ["btcusdt@depth", "btcusdt@depth@100ms"])
def test_replayed_depth_equals_the_book_and_its_top_equals_the_book_ticker(
    seed: int, stream: str
) -> None:
    market = Market(["BTCUSDT"], seed=seed, rate=5)
    market.advance(market.start_us + 10_000_000)
    symbol = market.symbols["BTCUSDT"]
    sides = {"b": dict(symbol.book.bids.quantities), "a": dict(symbol.book.asks.quantities)}
    last = symbol.update_id
    tickers: dict[int, dict[str, Any]] = {}
    compared = 0
    for name, payload in run(market, "btcusdt@bookTicker", stream, seconds=120):
        if name == "btcusdt@bookTicker":
            tickers[payload["u"]] = payload
            continue
        assert payload["U"] == last + 1
        assert payload["u"] >= payload["U"]
        last = payload["u"]
        for side in ("b", "a"):
            for price, quantity in payload[side]:
                key, amount = int(Decimal(price) * 10**8), int(Decimal(quantity) * 10**8)
                if amount:
                    sides[side][key] = amount
                else:
                    sides[side].pop(key, None)
        if ticker := tickers.get(last):
            compared += 1
            bid, ask = max(sides["b"]), min(sides["a"])
            assert bid < ask
            assert (Decimal(ticker["b"]), Decimal(ticker["a"])) == (
                Decimal(bid) / 10**8,
                Decimal(ask) / 10**8,
            )
            assert Decimal(ticker["B"]) == Decimal(sides["b"][bid]) / 10**8
            assert Decimal(ticker["A"]) == Decimal(sides["a"][ask]) / 10**8
    assert compared > 5


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("interval", ["1s", "1m", "3m"])
def test_closed_klines_add_up_their_trades(seed: int, interval: str) -> None:
    market = Market(["BTCUSDT"], seed=seed, rate=0.3)
    stream = f"btcusdt@kline_{interval}"
    trades: list[dict[str, Any]] = []
    closed: list[dict[str, Any]] = []
    for name, payload in run(market, "btcusdt@trade", stream, seconds=900):
        if name == "btcusdt@trade":
            trades.append(payload)
        elif payload["k"]["x"]:
            closed.append(payload["k"])
    length = {"1s": 1000, "1m": 60_000, "3m": 180_000}[interval]
    assert [bar["t"] for bar in closed] == [EPOCH_MS + n * length for n in range(len(closed))]
    assert len(closed) == 900_000 // length
    last = Decimal(60_000)
    for bar in closed:
        inside = [trade for trade in trades if bar["t"] <= trade["T"] <= bar["T"]]
        prices = [Decimal(trade["p"]) for trade in inside]
        if not inside:
            assert (bar["n"], bar["f"], bar["L"], bar["v"]) == (0, -1, -1, "0.00000000")
            assert {Decimal(bar[key]) for key in "ohlc"} == {last}
            continue
        assert (bar["n"], bar["f"], bar["L"]) == (len(inside), inside[0]["t"], inside[-1]["t"])
        assert [Decimal(bar[key]) for key in "ohlc"] == [
            prices[0],
            max(prices),
            min(prices),
            prices[-1],
        ]
        assert Decimal(bar["v"]) == sum(Decimal(trade["q"]) for trade in inside)
        assert Decimal(bar["q"]) == sum(Decimal(t["p"]) * Decimal(t["q"]) for t in inside)
        bought = [trade for trade in inside if not trade["m"]]
        assert Decimal(bar["V"]) == sum((Decimal(t["q"]) for t in bought), Decimal(0))
        last = prices[-1]


def test_the_same_seed_gives_the_same_trades_whatever_is_watched_and_however_time_advances() -> (
    None
):
    one = Market(seed=3, rate=10)
    other = Market(seed=3, rate=10)
    everything = [
        "btcusdt@depth",
        "!miniTicker@arr",
        "btcusdt@kline_1m",
        "btcusdt@bookTicker",
        "ethusdt@avgPrice",
    ]
    for stream in everything:
        other.watch(stream)
    one.advance(one.start_us + 60_000_000)
    rng = random.Random(1)
    while other.now_us < one.now_us:
        other.advance(min(one.now_us, other.now_us + rng.randrange(1, 500_000)))
    for name, symbol in one.symbols.items():
        assert symbol.trades.records == other.symbols[name].trades.records
        assert len(symbol.trades.records) > 400
        assert symbol.update_id == other.symbols[name].update_id


def test_other_seeds_give_other_trades() -> None:
    ids = {Market(["BTCUSDT"], seed=seed).symbols["BTCUSDT"].trade_ids.last for seed in SEEDS}
    assert len(ids) == len(SEEDS)


def test_the_rate_is_taker_orders_per_second() -> None:
    for rate in (0.1, 5, 500):
        market = Market(["BTCUSDT"], seed=1, rate=rate, history=10**6)
        seconds = 2000 / rate
        market.advance(market.start_us + round(seconds * 1e6))
        orders = len({trade.time_us for trade in market.symbols["BTCUSDT"].trades.records})
        assert orders == pytest.approx(2000, rel=0.1)


def test_a_quiet_market_says_nothing_and_can_be_woken() -> None:
    market = Market(["BTCUSDT"], rate=0)
    assert run(market, "btcusdt@trade", seconds=100) == []
    market.set_rate(10)
    assert len(run(market, seconds=100)) > 500


@pytest.mark.parametrize(
    ("stream", "keys"),
    [
        ("btcusdt@trade", "e E s t p q T m M"),
        ("btcusdt@aggTrade", "e E s a p q f l T m M"),
        ("btcusdt@blockTrade", "e E s t p q T m"),
        ("btcusdt@depth", "e E s U u b a"),
        ("btcusdt@depth5@100ms", "lastUpdateId bids asks"),
        ("btcusdt@bookTicker", "u s b B a A"),
        ("btcusdt@kline_1m", "e E s k"),
        ("btcusdt@kline_1h@+08:00", "e E s k"),
        ("btcusdt@miniTicker", "e E s c o h l v q"),
        ("btcusdt@ticker", "e E s p P w x c Q b B a A o h l v q O C F L n"),
        ("btcusdt@ticker_4h", "e E s p P w c o h l v q O C F L n"),
        ("btcusdt@avgPrice", "e E s i w T"),
        ("btcusdt@referencePrice", "e s r t"),
    ],
)
def test_payloads_have_exactly_the_keys_of_the_exchange(stream: str, keys: str) -> None:
    market = Market(["BTCUSDT"], rate=50)
    payloads = [payload for _, payload in run(market, stream, seconds=60)]
    assert payloads
    for payload in payloads:
        assert set(payload) == set(keys.split())
        if "k" in payload:
            assert set(payload["k"]) == set(KLINE_KEYS.split())


@pytest.mark.parametrize("stream", ["!miniTicker@arr", "!ticker_1h@arr"])
def test_all_market_streams_list_the_symbols_that_traded(stream: str) -> None:
    market = Market(["BTCUSDT", "ETHUSDT", "BNBUSDT"], rate=0.5)
    messages = run(market, stream, seconds=60)
    sizes = {len(payload) for _, payload in messages}
    assert sizes == {1, 2, 3}
    times = [payload[0]["E"] for _, payload in messages]
    assert times == sorted(set(times))
    assert all(time % 1000 == 0 for time in times)


@pytest.mark.parametrize(
    ("stream", "period_ms"),
    [("depth", 1000), ("depth@100ms", 100), ("kline_1s", 1000), ("kline_1m", 2000)],
)
def test_periodic_streams_keep_their_period(stream: str, period_ms: int) -> None:
    market = Market(["BTCUSDT"], rate=200)
    messages = run(market, f"btcusdt@{stream}", seconds=10)
    times = [payload["E"] for _, payload in messages]
    assert times == [EPOCH_MS + period_ms * n for n in range(1, 10_000 // period_ms + 1)]


def test_microsecond_payloads_have_microsecond_times() -> None:
    market = Market(["BTCUSDT"], rate=5)
    market.watch("btcusdt@trade")
    for message in market.advance(market.start_us + 5_000_000):
        fine, coarse = json.loads(message.render(1)), json.loads(message.render(1000))
        assert fine["T"] == message.time_us
        assert coarse["T"] == fine["T"] // 1000


def test_ids_can_jump_by_millions() -> None:
    market = Market(["BTCUSDT"], rate=10)
    run(market, "btcusdt@trade", seconds=10)
    market.jump_ids(5_000_000)
    run(market, seconds=10)
    (first, second) = market.symbols["BTCUSDT"].trade_ids.ranges
    assert second[0] - first[1] == 5_000_001


def test_an_id_that_was_skipped_is_not_shared() -> None:
    market = Market(["BTCUSDT"], rate=10)
    run(market, "btcusdt@aggTrade", seconds=2)
    market.jump_ids(1000)
    market.share_next_id()
    messages = run(market, seconds=2)
    ids = [payload["a"] for _, payload in messages]
    first, second = market.symbols["BTCUSDT"].agg_ids.ranges
    assert ids == list(range(second[0], second[1] + 1))
    assert second[0] - first[1] == 1001


def test_a_burst_makes_that_many_orders_at_once() -> None:
    market = Market(["BTCUSDT"], rate=0)
    market.watch("btcusdt@aggTrade")
    messages = market.burst(100)
    assert len(messages) >= 100
    assert {message.time_us for message in messages} == {market.now_us}


def test_payloads_can_be_had_again_by_id() -> None:
    market = Market(["BTCUSDT"], rate=10)
    market.watch("btcusdt@aggTrade")
    message = market.advance(market.start_us + 10_000_000)[-1]
    assert payload_of(market, "btcusdt@aggTrade", message.last) == message.render(1000)
    assert payload_of(market, "btcusdt@aggTrade", message.last + 1) is None


def test_history_is_bounded_and_keeps_the_newest() -> None:
    market = Market(["BTCUSDT"], rate=100, history=200)
    market.advance(market.start_us + 100_000_000)
    symbol = market.symbols["BTCUSDT"]
    for history, last in (
        (symbol.trades, symbol.trade_ids.last),
        (symbol.agg_trades, symbol.agg_ids.last),
    ):
        assert 200 <= len(history.records) < 400
        assert history.records[-1].id == last


def test_old_bars_and_new_bars_are_the_same_whenever_an_interval_is_first_asked_for() -> None:
    early, late = Market(["BTCUSDT"], rate=1), Market(["BTCUSDT"], rate=1)
    early.symbols["BTCUSDT"].bars.series("5m")
    for market in (early, late):
        market.advance(market.start_us + HOUR_US)
    spans = [
        list(market.symbols["BTCUSDT"].bars.between("5m", EPOCH_MS, EPOCH_MS + 3_600_000))
        for market in (early, late)
    ]
    assert spans[0] == spans[1]
    assert len(spans[0]) == 13


@pytest.mark.parametrize(
    ("interval", "time", "opens"),
    [
        ("1w", 1_767_225_600_000, 1_766_966_400_000),  # 2026-01-01 is in the week of 2025-12-29
        ("1M", 1_769_900_000_000, 1_767_225_600_000),
        ("1d", 1_767_300_000_000, 1_767_225_600_000),
    ],
)
def test_long_bars_open_as_the_calendar_says(interval: str, time: int, opens: int) -> None:
    assert bar_open_ms(interval, time) == opens
    assert bar_open_ms(interval, bar_end_ms(interval, opens) - 1) == opens


def test_zoned_days_open_at_local_midnight() -> None:
    assert bar_open_ms("1d", EPOCH_MS, 8 * 3_600_000) == EPOCH_MS - 8 * 3_600_000


@pytest.mark.parametrize("stream", ["dogeusdt@trade", "btcusdt@nonsense", "btcusdt"])
def test_unknown_streams_are_refused(stream: str) -> None:
    with pytest.raises(UnknownStreamError):
        Market(["BTCUSDT"]).watch(stream)


def test_a_symbol_must_have_exact_quote_volumes() -> None:
    with pytest.raises(ValueError, match="finer than eight decimals"):
        SymbolSpec("BTCUSDT", tick=1, step=1)
