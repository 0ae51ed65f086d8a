"""The metrics: named and labelled as promised, moved by what they stand for, bounded in labels."""

from __future__ import annotations

import dataclasses
import math
import os
import sys
import typing
from typing import Any

import pytest
import trio
from prometheus_client import generate_latest
from world import SUBJECT, fault, name, open_world

from k2trio.continuity.items import Outage
from k2trio.errors import ReconnectReason
from k2trio.market.decoder import Decoder
from k2trio.market.payloads import Event
from k2trio.observe import transitions as on
from k2trio.observe.families import Families
from k2trio.observe.losses import told_by
from k2trio.observe.metrics import Metrics
from k2trio.observe.standing import ShardStanding
from k2trio.observe.stderr import NeverBlocking

SYMBOLS = "BTCUSDT,ETHUSDT"
VALUES: dict[str, Any] = {
    "str": "x",
    "int": 1,
    "float": 1.5,
    "bool": True,
    "float | None": 1.5,
    "int | None": 1,
    "tuple[str, ...]": ("x",),
    "RotationReason": on.RotationReason.LIFETIME,
}


def make() -> Metrics:
    return Metrics(["BTCUSDT", "ETHUSDT"], version="1.2.3")


def value(metrics: Metrics, sample: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(sample, labels)


def transition(kind: type[Any], **values: Any) -> Any:
    """A transition with the given fields; the others hold anything."""
    fields = {field.name: VALUES[str(field.type)] for field in dataclasses.fields(kind)}
    usual = {"line": "0", "venue": "v"}
    given = {key: item for key, item in usual.items() if key in fields}
    return kind(**{**fields, **given, **values})


def event(stream: str, received: float = 1_700_000_000.5) -> Event:
    symbol = stream.partition("@")[0].upper()
    raw = b'{"e":"trade","E":1700000000123,"s":"%b","t":1,"p":"1","q":"1","T":1,"m":true}'
    payload = b'{"stream":"%b","data":%b}' % (stream.encode(), raw % symbol.encode())
    events, _ = Decoder("v").decode([payload], received)
    return events[0]


# -- names and labels -----------------------------------------------------------------------------

REQUIRED: list[tuple[str, dict[str, str]]] = [
    ("k2_binance_connection_status", {"symbols": SYMBOLS}),
    ("k2_binance_messages_received_total", {"symbol": "BTCUSDT"}),
    ("k2_binance_messages_received_total", {"symbol": "ETHUSDT"}),
    ("k2_binance_message_errors_total", {"error_type": "bad_json"}),
    *(("k2_binance_reconnects_total", {"reason": reason.value}) for reason in ReconnectReason),
    ("k2_binance_connection_errors_total", {"error_type": "refused"}),
    ("k2_binance_last_message_timestamp_seconds", {"symbols": SYMBOLS}),
    ("k2_binance_reconnect_delay_seconds", {"symbols": SYMBOLS}),
    ("k2_circuit_breaker_state", {"name": "host:1"}),
]
"""What monitoring of this client relies on."""


def test_the_reasons_of_reconnects_are_the_documented_ones() -> None:
    assert {reason.value for reason in ReconnectReason} == {
        "connection_closed",
        "websocket_error",
        "unexpected_error",
        "health_check_timeout",
    }


@pytest.mark.parametrize(("sample", "labels"), REQUIRED, ids=str)
def test_required_metrics_exist_with_exactly_these_labels(
    sample: str, labels: dict[str, str]
) -> None:
    metrics = make()
    metrics.add_breaker("host:1")
    metrics.observe(transition(on.MalformedMessage, error_type="bad_json"))
    metrics.observe(transition(on.DialFailed, error_type="refused"))
    assert value(metrics, sample, **labels) is not None


def test_what_must_be_seen_before_anything_happens_is_zero_from_the_start() -> None:
    metrics = make()
    metrics.add_breaker("host:1")
    assert value(metrics, "k2_binance_connection_status", symbols=SYMBOLS) == 0
    assert value(metrics, "k2_binance_reconnect_delay_seconds", symbols=SYMBOLS) == 0
    assert value(metrics, "k2_binance_last_message_timestamp_seconds", symbols=SYMBOLS) == 0
    assert value(metrics, "k2_circuit_breaker_state", name="host:1") == 0
    for symbol in ("BTCUSDT", "ETHUSDT", "other"):
        assert value(metrics, "k2_binance_messages_received_total", symbol=symbol) == 0
    for reason in ReconnectReason:
        assert value(metrics, "k2_binance_reconnects_total", reason=reason.value) == 0


def test_what_an_alert_counts_has_a_zero_from_the_start() -> None:
    metrics = make()
    metrics.add_endpoint("host:1", "v", 0)
    for error_type in ("bad_json", "bad_payload", "wrong_symbol", "unknown_stream"):
        assert value(metrics, "k2_binance_message_errors_total", error_type=error_type) == 0
    for outcome in ("joined", "repaired", "declared"):
        assert value(metrics, "k2_binance_gaps_total", outcome=outcome) == 0
    for reason in on.RotationReason:
        assert value(metrics, "k2_binance_rotations_total", reason=reason.value) == 0
    for sample in ("k2_binance_dials_total", "k2_binance_connects_total"):
        assert value(metrics, sample, endpoint="host:1") == 0


def test_lines_of_the_log_that_were_dropped_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    metrics = make()
    assert value(metrics, "k2_binance_log_lines_dropped_total") == 0
    read, write = os.pipe()
    os.close(read)
    stream = NeverBlocking(write)
    monkeypatch.setattr(sys, "stderr", stream)
    stream.write("lost\n")
    stream.drain(10)
    assert value(metrics, "k2_binance_log_lines_dropped_total") == 1
    os.close(write)


def test_the_build_is_shown() -> None:
    assert b'k2_binance_build_info{python="' in generate_latest(make().registry)
    assert b'version="1.2.3"} 1.0' in generate_latest(make().registry)


def test_every_metric_has_a_text_that_explains_it() -> None:
    for family in make().registry.collect():
        assert family.name.startswith(("k2_binance_", "k2_circuit_breaker_"))
        assert family.documentation.endswith(".")


def test_what_is_exported_is_what_the_table_declares() -> None:
    declared = [(row.name, row.kind, row.meaning) for row in Families.rows()]
    families = make().registry.collect()
    assert [(it.name, it.type, it.documentation) for it in families] == declared


def test_a_table_without_a_registry_has_rows_but_no_metrics() -> None:
    assert Families.duplicates.name == "k2_binance_duplicates"
    with pytest.raises(AttributeError, match="k2_binance_duplicates is not registered"):
        _ = Families.__new__(Families).duplicates


# -- movements ------------------------------------------------------------------------------------

BREAKER = "k2_circuit_breaker_state"
MOVED: list[tuple[Any, str, dict[str, str], float]] = [
    (transition(on.Connected, endpoint="e"), "k2_binance_connects_total", {"endpoint": "e"}, 1),
    (transition(on.Connected, handshake_s=0.3), "k2_binance_handshake_seconds_sum", {}, 0.3),
    (transition(on.Flowing, outage_s=2.5), "k2_binance_outage_seconds_sum", {}, 2.5),
    (transition(on.Flowing, outage_s=None), "k2_binance_outage_seconds_count", {}, 0),
    (
        transition(on.Flowing, endpoint="e"),
        "k2_binance_endpoint_in_use",
        {"line": "0", "endpoint": "e", "venue": "v"},
        1,
    ),
    (
        transition(on.ConnectionLost, error_type="reset"),
        "k2_binance_connection_errors_total",
        {"error_type": "reset"},
        1,
    ),
    (
        transition(on.DialFailed, error_type="tls"),
        "k2_binance_connection_errors_total",
        {"error_type": "tls"},
        1,
    ),
    (
        transition(on.Reconnecting, reason="connection_closed"),
        "k2_binance_reconnects_total",
        {"reason": "connection_closed"},
        1,
    ),
    (
        transition(on.Reconnecting, delay_s=40.0, wait_s=37.0),
        "k2_binance_reconnect_delay_seconds",
        {"symbols": SYMBOLS},
        40,
    ),
    (transition(on.Dialing, endpoint="e"), "k2_binance_dials_total", {"endpoint": "e"}, 1),
    (transition(on.Dialing, attempt=3), "k2_binance_reconnect_attempts", {"line": "0"}, 0),
    (transition(on.Reconnecting, attempt=3), "k2_binance_reconnect_attempts", {"line": "0"}, 3),
    (
        transition(on.Rotated, reason=on.RotationReason.FAIL_BACK),
        "k2_binance_rotations_total",
        {"reason": "fail_back"},
        1,
    ),
    (transition(on.BreakerChanged, name="b", new="open"), BREAKER, {"name": "b"}, 1),
    (transition(on.BreakerChanged, name="b", new="half_open"), BREAKER, {"name": "b"}, 2),
    (transition(on.BreakerChanged, name="b", new="closed"), BREAKER, {"name": "b"}, 0),
    (
        transition(on.MalformedMessage, error_type="bad_json"),
        "k2_binance_message_errors_total",
        {"error_type": "bad_json"},
        1,
    ),
    (
        transition(on.MalformedMessage, error_type="bad_json", messages=3),
        "k2_binance_message_errors_total",
        {"error_type": "bad_json"},
        3,
    ),
    (
        transition(on.OutageDeclared, unproven_s=2.5),
        "k2_binance_unproven_seconds_total",
        {},
        2.5,
    ),
    (
        transition(on.SubscriptionRefused),
        "k2_binance_message_errors_total",
        {"error_type": "subscription_refused"},
        1,
    ),
    (transition(on.PingMeasured, round_trip_s=0.25), "k2_binance_ping_seconds_sum", {}, 0.25),
]  # fmt: skip


@pytest.mark.parametrize(
    ("what", "sample", "labels", "expected"), MOVED, ids=[f"{m[1]}-{m[3]}" for m in MOVED]
)
def test_a_transition_moves_its_metric(
    what: Any, sample: str, labels: dict[str, str], expected: float
) -> None:
    metrics = make()
    metrics.observe(what)
    assert value(metrics, sample, **labels) == expected


@pytest.mark.parametrize("kind", typing.get_args(on.Transition), ids=lambda kind: kind.__name__)
def test_every_transition_is_taken(kind: type[Any]) -> None:
    new = {"new": "open"} if kind is on.BreakerChanged else {}
    make().observe(transition(kind, **new))


def test_what_was_received_is_summed_by_symbol_at_each_scrape() -> None:
    metrics = make()
    sample = "k2_binance_messages_received_total"
    assert [value(metrics, sample, symbol=name) for name in ("BTCUSDT", "ETHUSDT", "other")] == [
        0, 0, 0
    ]  # fmt: skip
    counts: list[tuple[str | None, int]] = [("BTCUSDT", 2), ("ETHUSDT", 1), ("BTCUSDT", 3)]
    metrics.watch_received(lambda: counts)
    assert value(metrics, sample, symbol="BTCUSDT") == 5
    assert value(metrics, sample, symbol="ETHUSDT") == 1
    counts[0] = ("BTCUSDT", 10)
    assert value(metrics, sample, symbol="BTCUSDT") == 13


def test_a_batch_notes_duplicates_time_and_lag() -> None:
    metrics = make()
    metrics.received(1_700_000_000.0, 0.377, duplicates=2)
    metrics.received(1_700_000_000.5, None, duplicates=0)  # of a kind that tells no time
    assert value(metrics, "k2_binance_duplicates_total") == 2
    last = value(metrics, "k2_binance_last_message_timestamp_seconds", symbols=SYMBOLS)
    assert last == 1_700_000_000.5
    assert value(metrics, "k2_binance_event_lag_seconds") == pytest.approx(0.377)


def test_connection_status_follows_the_feed() -> None:
    metrics = make()
    states = iter([True, False, True])
    metrics.watch_connected(lambda: next(states))
    for connected in (1, 0, 1):
        assert value(metrics, "k2_binance_connection_status", symbols=SYMBOLS) == connected


def test_counts_that_the_feed_reports() -> None:
    metrics = make()
    metrics.gap("declared")
    metrics.consumer_blocked(1.5)
    assert value(metrics, "k2_binance_gaps_total", outcome="declared") == 1
    assert value(metrics, "k2_binance_consumer_blocked_seconds_total") == 1.5


def test_the_retries_start_anew_when_a_line_is_stable() -> None:
    metrics = make()
    metrics.observe(transition(on.Reconnecting, attempt=3))
    metrics.observe(transition(on.Connected))
    metrics.observe(transition(on.Flowing))
    assert value(metrics, "k2_binance_reconnect_attempts", line="0") == 3
    metrics.observe(transition(on.BecameStable))
    assert value(metrics, "k2_binance_reconnect_attempts", line="0") == 0


@pytest.mark.parametrize(("retries", "expected"), [(10, 10), (0, math.inf)])
def test_what_the_settings_allow_is_shown(retries: int, expected: float) -> None:
    metrics = make()
    metrics.set_limits(retries, 65_536)
    assert value(metrics, "k2_binance_reconnect_attempts_limit") == expected
    assert value(metrics, "k2_binance_buffer_limit_messages") == 65_536


def test_what_changes_by_itself_is_asked_for_at_each_scrape() -> None:
    metrics = make()
    sizes = iter([7, 8, 9])
    metrics.watch_buffer(lambda: next(sizes))
    metrics.watch_budget("v", lambda: 299)
    assert value(metrics, "k2_binance_connect_budget_left", venue="v") == 299
    first = value(metrics, "k2_binance_buffered_messages")
    assert value(metrics, "k2_binance_buffered_messages") != first


# -- the log --------------------------------------------------------------------------------------


def test_a_run_without_kafka_has_no_shards() -> None:
    metrics = make()
    for sample in ("k2_binance_shard_owned", "k2_binance_log_lag_seconds"):
        assert value(metrics, sample, shard="0") is None
    assert value(metrics, "k2_binance_takeovers_total", standby="cold") == 0
    assert value(metrics, "k2_binance_takeover_timestamp_seconds") == 0
    assert value(metrics, "k2_binance_hot_buffer_bytes") == 0


def test_shards_are_shown_as_they_stand_at_each_scrape() -> None:
    metrics = make()
    shards = [ShardStanding(0, True, 70, 0.25, 0.012, 3), ShardStanding(1, False)]
    metrics.watch_log(lambda: shards)
    for sample, own, other in (
        ("k2_binance_shard_owned", 1, 0),
        ("k2_binance_log_uncommitted", 70, 0),
        ("k2_binance_log_lag_seconds", 0.25, 0),
        ("k2_binance_log_commit_seconds", 0.012, None),
        ("k2_binance_log_retries_total", 3, 0),
    ):
        assert value(metrics, sample, shard="0") == own
        assert value(metrics, sample, shard="1") == other
    shards[:] = [ShardStanding(0, False), ShardStanding(1, True, commit_s=0.5)]
    assert value(metrics, "k2_binance_shard_owned", shard="0") == 0
    assert value(metrics, "k2_binance_log_commit_seconds", shard="0") is None
    assert value(metrics, "k2_binance_log_commit_seconds", shard="1") == 0.5


def test_takeovers_are_counted_and_the_last_one_is_told() -> None:
    metrics = make()
    metrics.took_over("hot", 0.75, 1_700_000_000.5)
    metrics.took_over("cold", 2.5, 1_700_000_009.5)
    assert value(metrics, "k2_binance_takeovers_total", standby="hot") == 1
    assert value(metrics, "k2_binance_takeovers_total", standby="cold") == 1
    assert value(metrics, "k2_binance_takeover_seconds") == 2.5
    assert value(metrics, "k2_binance_takeover_timestamp_seconds") == 1_700_000_009.5


def test_the_memory_of_a_hot_standby_is_asked_for_at_each_scrape() -> None:
    metrics = make()
    sizes = iter([7, 8])
    metrics.watch_hot_buffer(lambda: next(sizes))
    assert value(metrics, "k2_binance_hot_buffer_bytes") == 7
    assert value(metrics, "k2_binance_hot_buffer_bytes") == 8


# -- the endpoint in use --------------------------------------------------------------------------


def flowing(endpoint: str, line: str = "0") -> Any:
    return transition(on.Flowing, line=line, endpoint=endpoint)


def rotated(endpoint: str, to: str) -> Any:
    return transition(on.Rotated, endpoint=endpoint, to_endpoint=to)


LOST_A = transition(on.ConnectionLost, endpoint="a", carrying=True)
IN_USE: dict[str, tuple[list[Any], set[str]]] = {
    "the first": ([flowing("a")], {"a"}),
    "lost": ([flowing("a"), LOST_A], set()),
    "failed over": ([flowing("a"), LOST_A, flowing("b")], {"b"}),
    "a failed dial took nothing": (
        [flowing("a"), transition(on.DialFailed, endpoint="a")],
        {"a"},
    ),
    "while rotating": ([flowing("a"), flowing("b")], {"a", "b"}),
    "rotated": ([flowing("a"), flowing("b"), rotated("a", "b")], {"b"}),
    "rotated on the spot": ([flowing("a"), flowing("a"), rotated("a", "a")], {"a"}),
    "rotated away from a lost one": (
        [
            flowing("a"),
            flowing("b"),
            transition(on.ConnectionLost, endpoint="a", carrying=False),
            rotated("a", "b"),
        ],
        {"b"},
    ),
    "rotation failed": (
        [
            flowing("a"),
            flowing("b"),
            transition(on.ConnectionLost, endpoint="b", carrying=False),
            transition(on.RotationFailed, endpoint="a", to_endpoint="b"),
        ],
        {"a"},
    ),
    "rotation on the spot failed": (
        [
            flowing("a"),
            transition(on.DialFailed, endpoint="a"),
            transition(on.RotationFailed, endpoint="a", to_endpoint="a"),
        ],
        {"a"},
    ),
    "both lost": (
        [flowing("a"), flowing("b"), transition(on.ConnectionLost, endpoint="b", carrying=True)],
        set(),
    ),
    "another line is another matter": ([flowing("a"), flowing("c", line="1"), LOST_A], set()),
}


@pytest.mark.parametrize(("happened", "expected"), IN_USE.values(), ids=IN_USE)
def test_the_endpoint_in_use_is_the_one_that_carries(
    happened: list[Any], expected: set[str]
) -> None:
    metrics = make()
    for what in happened:
        metrics.observe(what)
    in_use = {
        endpoint
        for endpoint in "abc"
        if value(metrics, "k2_binance_endpoint_in_use", line="0", endpoint=endpoint, venue="v")
    }
    assert in_use == expected


# -- bounds ---------------------------------------------------------------------------------------


def series(metrics: Metrics) -> int:
    return len(generate_latest(metrics.registry).splitlines())


def test_what_the_exchange_sends_makes_no_labels() -> None:
    metrics = make()
    before = series(metrics)
    metrics.watch_received(lambda: ((f"X{number}USDT", 1) for number in range(100)))
    assert value(metrics, "k2_binance_messages_received_total", symbol="other") == 100
    assert series(metrics) == before


def test_each_metric_can_be_asked_for_by_the_names_of_its_samples() -> None:
    metrics = make()
    metrics.add_breaker("b")
    metrics.line_delivered("0", 1, 1)
    whole = {sample.name for family in metrics.registry.collect() for sample in family.samples}
    assert "k2_binance_messages_received_total" in whole
    for sample in whole:
        text = generate_latest(metrics.registry.restricted_registry([sample])).decode()
        assert sample in {line.partition("{")[0].partition(" ")[0] for line in text.splitlines()}


def test_an_all_market_stream_belongs_to_no_symbol() -> None:
    metrics = make()
    metrics.watch_received(lambda: [(None, 7)])
    assert value(metrics, "k2_binance_messages_received_total", symbol="other") == 7


def test_http_statuses_that_do_not_exist_share_a_label() -> None:
    metrics = make()
    before = series(metrics)
    for status in range(1000):
        metrics.observe(transition(on.DialFailed, error_type=f"http_{status:03}"))
    for status in (403, 418, 429, 451, 503):
        sample = "k2_binance_connection_errors_total"
        assert value(metrics, sample, error_type=f"http_{status}") == 1
    others = value(metrics, "k2_binance_connection_errors_total", error_type="http_other")
    assert others is not None
    assert others > 900
    assert series(metrics) < before + 200


# -- against a whole feed -------------------------------------------------------------------------


async def test_the_metrics_of_a_run_tell_what_happened(autojump_clock: Any) -> None:
    async with open_world([fault(20.0, "rst")]) as world:
        await trio.sleep(60)
        got = sum(1 for _, item in world.items if isinstance(item, Event))
        duplicates = world.metric("k2_binance_duplicates_total") or 0
        received = world.metric("k2_binance_messages_received_total", symbol="BTCUSDT")
        assert received == got + duplicates
        assert world.metric("k2_binance_connection_status", symbols="BTCUSDT") == 1
        for reason in ReconnectReason:
            expected = sum(what.reason == reason for _, what in world.of(on.Reconnecting))
            assert world.metric("k2_binance_reconnects_total", reason=reason.value) == expected
        assert len(world.of(on.ConnectionLost)) == 1
        for endpoint in ("a", "b"):
            in_use = world.metric(
                "k2_binance_endpoint_in_use", line="0", endpoint=name(endpoint), venue="venue.test"
            )
            carries = world.feed.status().lines[0].endpoint == name(endpoint)
            assert bool(in_use) == carries
        last = world.metric("k2_binance_last_message_timestamp_seconds", symbols="BTCUSDT")
        newest = [item for _, item in world.items if isinstance(item, Event)][-1]
        assert (last, newest.stream) == (newest.received, SUBJECT)


async def test_nothing_is_connected_or_in_use_once_the_feed_was_left(autojump_clock: Any) -> None:
    async with open_world(settings={"redundancy": 2}) as world:
        await trio.sleep(20)
        in_use = [{"line": f"0{letter}", "endpoint": name(endpoint), "venue": "venue.test"}
                  for letter, endpoint in ("aa", "bb")]  # fmt: skip
        assert world.metric("k2_binance_connection_status", symbols="BTCUSDT") == 1
        assert [world.metric("k2_binance_endpoint_in_use", **one) for one in in_use] == [1, 1]
    assert world.metric("k2_binance_connection_status", symbols="BTCUSDT") == 0
    assert [world.metric("k2_binance_endpoint_in_use", **one) for one in in_use] == [0, 0]
    assert not world.feed.status().connected
    assert [what.endpoint for _, what in world.of(on.Closed)] == [name("a"), name("b")]


async def test_the_failover_list_is_shown_before_anything_is_dialled(autojump_clock: Any) -> None:
    async with open_world([]) as world:
        for rank, endpoint in enumerate("ab"):
            labels = {"endpoint": name(endpoint), "venue": "venue.test"}
            assert world.metric("k2_binance_endpoint_rank", **labels) == rank
        await trio.sleep(20)
        assert world.metric("k2_binance_dials_total", endpoint=name("a")) == 1
        assert world.metric("k2_binance_dials_total", endpoint=name("b")) == 0


async def test_the_retries_of_an_outage_count_up_to_its_end(autojump_clock: Any) -> None:
    async with open_world([fault(20.0, "outage", "*", duration=30.0)]) as world:
        await trio.sleep(45)
        tried = world.metric("k2_binance_reconnect_attempts", line="0")
        assert tried == world.of(on.Reconnecting)[-1][1].attempt >= 2
        await trio.sleep(115)
        assert world.metric("k2_binance_reconnect_attempts", line="0") == 0


async def test_output_that_waits_behind_gaps_is_a_problem_while_it_does(
    autojump_clock: Any,
) -> None:
    """REST is down, and messages keep being lost: late by one hold, and not ready."""
    faults = [
        fault(20.0, "dropped", duration=60.0, share=0.03),
        fault(20.0, "rest_refused", "venue", duration=90.0),
    ]
    async with open_world(faults, rate=67.0) as world:
        await trio.sleep(19)
        assert world.feed.status().problems == ()
        await trio.sleep(16)
        for _ in range(40):
            await trio.sleep(1)
            age = world.metric("k2_binance_oldest_gap_seconds")
            assert age is not None
            assert 5 < age <= 10
            assert world.feed.status().problems == (f"messages wait behind a gap for {age:.1f} s",)
        await trio.sleep(40)
        assert world.feed.status().problems == ()


async def test_repairs_that_wait_for_weight_are_counted(autojump_clock: Any) -> None:
    faults = [fault(20.0, "dropped", duration=20.0, share=0.2)]
    settings = {"rest_weight_limit": 100, "streams": ["btcusdt@trade", "ethusdt@trade"]}
    async with open_world(faults, rate=50.0, settings=settings) as world:
        await trio.sleep(19)
        assert world.metric("k2_binance_repairs_waiting") == 0
        await trio.sleep(11)
        assert world.metric("k2_binance_repairs_waiting") == 2
        await trio.sleep(170)
        assert world.metric("k2_binance_repairs_waiting") == 0


def test_time_without_proof_is_none_where_the_wall_clock_was_set_back() -> None:
    metrics = make()
    for until in (102.5, 100.0 - 3600):
        for told in told_by([Outage("v", "btcusdt@bookTicker", 100.0, until)]):
            metrics.observe(told)
    assert value(metrics, "k2_binance_unproven_seconds_total") == 2.5


async def test_a_gap_that_rest_does_not_close_shows_its_age(autojump_clock: Any) -> None:
    faults = [
        fault(20.0, "dropped", duration=1.0),
        fault(20.0, "rest_refused", "venue", duration=30.0),
    ]
    async with open_world(faults, rate=10.0) as world:
        await trio.sleep(19)
        assert world.metric("k2_binance_oldest_gap_seconds") == 0
        await trio.sleep(7)
        age = world.metric("k2_binance_oldest_gap_seconds")
        assert age is not None
        assert 4 < age < 6
        await trio.sleep(14)
        assert world.metric("k2_binance_oldest_gap_seconds") == 0
        assert world.metric("k2_binance_gaps_total", outcome="declared")
