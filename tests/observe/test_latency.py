"""Latencies by part: what is measured, what of it is remembered, and how it is counted."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, generate_latest

from k2trio.observe import transitions as on
from k2trio.observe.latency import BUCKETS, FOLD, MOST, WINDOW_S, Meter, Spread
from k2trio.observe.metrics import Metrics


class Clock:
    """A clock that is set."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def queue(meter: Meter, clock: Clock, *seconds: float) -> None:
    """Batches that waited so long, handed out now."""
    for waited in seconds:
        meter.handed_out(clock.now - waited)


def test_nothing_measured_is_nothing_told(clock: Clock) -> None:
    latency = Meter(clock).recent()
    parts = (latency.exchange, latency.network, latency.decode, latency.queue, latency.handler)
    assert parts == (None,) * 5


def test_each_part_has_its_own_measure(clock: Clock) -> None:
    meter = Meter(clock)
    meter.decoded(clock.now, 0.125, 0.25)
    meter.observe(on.PingMeasured("0", "h", 0.5))
    queue(meter, clock, 2.0)
    clock.now += 4.0
    meter.asked()
    latency = meter.recent()
    assert latency.exchange == Spread(1, 0.125, 0.125, 0.125)
    assert latency.network == Spread(1, 0.25, 0.25, 0.25)
    assert latency.decode == Spread(1, 0.25, 0.25, 0.25)
    assert latency.queue == Spread(1, 2.0, 2.0, 2.0)
    assert latency.handler == Spread(1, 4.0, 4.0, 4.0)


def test_who_asks_twice_handled_one_batch(clock: Clock) -> None:
    meter = Meter(clock)
    meter.asked()
    queue(meter, clock, 0.0)
    for _ in range(3):
        clock.now += 1
        meter.asked()
    assert meter.recent().handler == Spread(1, 1.0, 1.0, 1.0)


def test_a_kind_that_tells_no_time_has_no_way_from_the_exchange(clock: Clock) -> None:
    meter = Meter(clock)
    meter.decoded(clock.now, None, 0.25)
    assert meter.recent().exchange is None
    assert meter.recent().decode is not None


def test_median_and_percentile(clock: Clock) -> None:
    meter = Meter(clock)
    queue(meter, clock, *[n / 100 for n in range(101)])
    spread = meter.recent().queue
    assert spread is not None
    assert (spread.count, spread.max_s) == (101, pytest.approx(1.0))
    assert (spread.p50_s, spread.p99_s) == (pytest.approx(0.5), pytest.approx(0.99))


def test_the_longest_is_known_of_more_than_percentiles_are_made_of(clock: Clock) -> None:
    meter = Meter(clock)
    queue(meter, clock, 9.0, *[0.5] * (3 * MOST))
    spread = meter.recent().queue
    assert spread == Spread(3 * MOST + 1, 0.5, 0.5, 9.0)


@pytest.mark.parametrize(
    ("later", "told"), [(0.0, 8.0), (WINDOW_S - 1, 8.0), (WINDOW_S, 8.0), (2 * WINDOW_S, 1.0)]
)
def test_what_is_older_than_two_windows_is_forgotten(
    clock: Clock, later: float, told: float
) -> None:
    meter = Meter(clock)
    queue(meter, clock, 8.0)
    clock.now += later
    queue(meter, clock, 1.0)
    spread = meter.recent().queue
    assert spread is not None
    assert spread.max_s == told


def test_nothing_new_for_long_is_nothing_of_late(clock: Clock) -> None:
    meter = Meter(clock)
    queue(meter, clock, 8.0)
    clock.now += 2 * WINDOW_S
    assert meter.recent().queue is None


def test_memory_is_bounded_though_nobody_asks_and_nobody_consumes(clock: Clock) -> None:
    meter = Meter(clock)
    for _ in range(3 * FOLD):
        meter.decoded(clock.now, 0.0, 0.0)
        queue(meter, clock, 0.0)
        meter.asked()
    assert all(len(samples.fresh) <= FOLD for samples in meter._samples.values())


@given(st.lists(st.floats(-1, 20), max_size=50), st.lists(st.floats(0, 20), max_size=50))
def test_the_histogram_counts_everything_since_the_start(
    lags: list[float], times: list[float]
) -> None:
    clock = Clock()
    meter = Meter(clock)
    for lag in lags:
        meter.decoded(clock.now, lag, 0.0)
        clock.now += 10  # whatever becomes of the windows
    for took in times:
        meter.decoded(clock.now, None, took)
    registry = CollectorRegistry()
    metrics = Metrics(["BTCUSDT"], registry=registry)
    metrics.watch_latency(meter.histograms)

    def count(part: str, **labels: str) -> float | None:
        name = f"k2_binance_latency_seconds_{'bucket' if labels else 'count'}"
        return registry.get_sample_value(name, {"part": part, **labels})

    assert count("exchange") == len(lags)
    assert count("decode") == len(lags) + len(times)
    assert registry.get_sample_value(
        "k2_binance_latency_seconds_sum", {"part": "exchange"}
    ) == pytest.approx(sum(lags))
    for bound in BUCKETS:
        assert count("exchange", le=str(bound)) == sum(lag <= bound for lag in lags)
    assert count("exchange", le="+Inf") == len(lags)
    assert b'k2_binance_latency_seconds_bucket{le="5e-05",part="decode"}' in generate_latest(
        registry
    )
