"""Every metric, once: its name, labels and meaning, and which transition moves it."""

from __future__ import annotations

import platform
from http import HTTPStatus
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.metrics_core import CounterMetricFamily
from prometheus_client.registry import Collector

from ..policy.breaker import State
from . import transitions as on

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from ..market.payloads import Event

OTHER = "other"
"""Label for symbols that were not configured: what the exchange sends must not make labels."""

MESSAGE_ERRORS = (
    "bad_json",
    "bad_payload",
    "unknown_stream",
    "unknown_event",
    "subscription_refused",
)
GAP_OUTCOMES = ("joined", "repaired", "declared")

_HTTP_ERRORS = frozenset(f"http_{status.value}" for status in HTTPStatus)

SECONDS = (0.001, 0.005, 0.02, 0.1, 0.5, 2.0, 10.0, 60.0)
OUTAGES = (0.01, 0.1, 1.0, 5.0, 15.0, 60.0, 300.0, 1800.0)


class Metrics:
    """The feed's metrics in one registry; :meth:`observe` is an observer of transitions.

    :param symbols: the configured symbols; they bound the label sets.
    :param registry: where to register; a fresh one by default.
    """

    def __init__(
        self,
        symbols: Sequence[str],
        *,
        version: str = "",
        registry: CollectorRegistry | None = None,
    ) -> None:
        self.registry = registry = CollectorRegistry() if registry is None else registry
        label = ",".join(symbols)
        self._connected = Gauge(
            "k2_binance_connection_status",
            "1 while data can flow on every line of the feed, else 0.",
            ["symbols"],
            registry=registry,
        ).labels(label)
        self._received = _Received(symbols)
        registry.register(self._received)
        self._message_errors = Counter(
            "k2_binance_message_errors",
            "Messages that were not understood and skipped.",
            ["error_type"],
            registry=registry,
        )
        self._reconnects = Counter(
            "k2_binance_reconnects",
            "Reconnects, by what made them necessary.",
            ["reason"],
            registry=registry,
        )
        self._connection_errors = Counter(
            "k2_binance_connection_errors",
            "Failed attempts and lost connections.",
            ["error_type"],
            registry=registry,
        )
        self._last_message = Gauge(
            "k2_binance_last_message_timestamp_seconds",
            "Unix time of the last data message.",
            ["symbols"],
            registry=registry,
        ).labels(label)
        self._reconnect_delay = Gauge(
            "k2_binance_reconnect_delay_seconds",
            "Nominal backoff before the current or last retry.",
            ["symbols"],
            registry=registry,
        ).labels(label)
        self._attempts = Gauge(
            "k2_binance_reconnect_attempts",
            "Retries since data last flowed for long enough to count.",
            ["line"],
            registry=registry,
        )
        self._attempts_limit = Gauge(
            "k2_binance_reconnect_attempts_limit",
            "Retries in a row after which the feed gives up; +Inf: never.",
            registry=registry,
        )
        self._breaker_state = Gauge(
            "k2_circuit_breaker_state",
            "0 closed, 1 open, 2 half-open.",
            ["name"],
            registry=registry,
        )
        self._rank = Gauge(
            "k2_binance_endpoint_rank",
            "Place in the failover list; 0 is the first choice.",
            ["endpoint", "venue"],
            registry=registry,
        )
        self._in_use = Gauge(
            "k2_binance_endpoint_in_use",
            "1 for the endpoint that carries the line.",
            ["line", "endpoint", "venue"],
            registry=registry,
        )
        self._dials = Counter(
            "k2_binance_dials",
            "Connection attempts, whether they succeed or not.",
            ["endpoint"],
            registry=registry,
        )
        self._connects = Counter(
            "k2_binance_connects", "Successful upgrades.", ["endpoint"], registry=registry
        )
        self._handshake = Histogram(
            "k2_binance_handshake_seconds",
            "DNS, TCP, TLS and upgrade together.",
            buckets=SECONDS,
            registry=registry,
        )
        self._outage = Histogram(
            "k2_binance_outage_seconds",
            "From the last message before a reconnect to the first one after it.",
            buckets=OUTAGES,
            registry=registry,
        )
        self._rotations = Counter(
            "k2_binance_rotations",
            "Planned replacements of a connection.",
            ["reason"],
            registry=registry,
        )
        self._duplicates = Counter(
            "k2_binance_duplicates", "Messages dropped as delivered before.", registry=registry
        )
        self._gaps = Counter(
            "k2_binance_gaps",
            "Gaps in a stream's ids, by how they ended.",
            ["outcome"],
            registry=registry,
        )
        self._repaired = Counter(
            "k2_binance_repaired_messages", "Messages that a repair brought.", registry=registry
        )
        self._held = Gauge(
            "k2_binance_held_messages",
            "Messages that wait behind gaps under repair.",
            registry=registry,
        )
        self._oldest_gap = Gauge(
            "k2_binance_oldest_gap_seconds",
            "Age of the oldest gap that is open; 0 if none is.",
            registry=registry,
        )
        self._unproven = Counter(
            "k2_binance_unproven_seconds",
            "Stream-seconds for which messages without provable ids may be missing.",
            registry=registry,
        )
        self._dropped = Counter(
            "k2_binance_dropped_messages",
            "Messages dropped, and declared, for a slow consumer.",
            registry=registry,
        )
        self._line_first = Counter(
            "k2_binance_line_first_messages",
            "Messages that this line brought first.",
            ["line"],
            registry=registry,
        )
        self._line_late = Counter(
            "k2_binance_line_late_messages",
            "Messages that another line had brought before this one.",
            ["line"],
            registry=registry,
        )
        self._line_lost = Counter(
            "k2_binance_line_lost_ids",
            "Ids that this line skipped, whoever else brought them.",
            ["line"],
            registry=registry,
        )
        self._ping = Histogram(
            "k2_binance_ping_seconds",
            "Round trip of WebSocket pings of ours.",
            buckets=SECONDS,
            registry=registry,
        )
        self._lag = Gauge(
            "k2_binance_event_lag_seconds",
            "Receive time minus the exchange's event time, last message of the last batch.",
            registry=registry,
        )
        self._buffered = Gauge(
            "k2_binance_buffered_messages",
            "Decoded messages that wait for the consumer.",
            registry=registry,
        )
        self._buffer_limit = Gauge(
            "k2_binance_buffer_limit_messages",
            "Decoded messages that may wait for the consumer.",
            registry=registry,
        )
        self._blocked = Counter(
            "k2_binance_consumer_blocked_seconds",
            "Time for which receiving waited for the consumer.",
            registry=registry,
        )
        self._budget = Gauge(
            "k2_binance_connect_budget_left",
            "Connection attempts that the venue admits in the current 5 minutes.",
            ["venue"],
            registry=registry,
        )
        Gauge(
            "k2_binance_build_info",
            "1, labelled with versions.",
            ["version", "python"],
            registry=registry,
        ).labels(version, platform.python_version()).set(1)
        for reason in ("connection_closed", "websocket_error", "unexpected_error",
                       "health_check_timeout"):  # fmt: skip
            self._reconnects.labels(reason)
        # What counts from the start is shown from the start, so that the first one is an increase.
        for error_type in MESSAGE_ERRORS:
            self._message_errors.labels(error_type)
        for outcome in GAP_OUTCOMES:
            self._gaps.labels(outcome)
        for rotation in on.RotationReason:
            self._rotations.labels(rotation)
        self._connected.set(0)
        self._reconnect_delay.set(0)
        # Batches come thousands of times as often as scrapes, so these two are set by the latter.
        self._last_received = self._lag_s = 0.0
        self._last_message.set_function(lambda: self._last_received)
        self._lag.set_function(lambda: self._lag_s)
        self._carriers: dict[str, dict[str, str]] = {}
        """Line → the endpoints in use by it, each with its venue."""

    def add_breaker(self, name: str) -> None:
        """Show a breaker from its start, not only after its first change."""
        self._breaker_state.labels(name).set(State.CLOSED)

    def add_endpoint(self, name: str, venue: str, rank: int) -> None:
        """Show an endpoint of the failover list, before it is ever dialled."""
        self._rank.labels(name, venue).set(rank)
        self._dials.labels(name)
        self._connects.labels(name)

    def set_limits(self, retries: int, buffered: int) -> None:
        """Show what the settings allow: retries in a row (0: any), and a backlog in messages."""
        self._attempts_limit.set(retries or float("inf"))
        self._buffer_limit.set(buffered)

    def watch_budget(self, venue: str, left: Callable[[], int]) -> None:
        """Show the venue's connect budget; ``left`` is called at each scrape."""
        self._budget.labels(venue).set_function(left)

    def watch_buffer(self, size: Callable[[], int]) -> None:
        """Show the consumer's backlog; ``size`` is called at each scrape."""
        self._buffered.set_function(size)

    def watch_connected(self, connected: Callable[[], bool]) -> None:
        """Show whether data can flow on every line; ``connected`` is called at each scrape."""
        self._connected.set_function(connected)

    def watch_received(self, counts: Callable[[], Iterable[tuple[str | None, int]]]) -> None:
        """Show what was received; at a scrape, ``counts`` gives symbol and messages per stream."""
        self._received.counts = counts

    def received(self, last: Event, duplicates: int) -> None:
        """Note a batch of data messages.

        :param last: the last one of them.
        :param duplicates: how many of them were duplicates.
        """
        self._last_received = last.received
        event_time = getattr(last.data, "event_time", None)
        if event_time:
            self._lag_s = last.received - event_time / 1000
        if duplicates:
            self._duplicates.inc(duplicates)

    def repaired(self) -> None:
        """Count a message that a repair brought."""
        self._repaired.inc()

    def line_delivered(self, line: str, first: int, late: int) -> None:
        """Count messages that a line brought before the others, and after them."""
        self._line_first.labels(line).inc(first)
        self._line_late.labels(line).inc(late)

    def line_lost(self, line: str, ids: int) -> None:
        """Count ids that a line skipped, whoever else brought them."""
        self._line_lost.labels(line).inc(ids)

    def unproven(self, seconds: float) -> None:
        """Add time in which messages without provable ids may have been lost."""
        self._unproven.inc(seconds)

    def dropped(self, messages: int) -> None:
        """Count messages dropped for a slow consumer."""
        self._dropped.inc(messages)

    def watch_held(self, size: Callable[[], int]) -> None:
        """Show how many messages wait behind gaps; ``size`` is called at each scrape."""
        self._held.set_function(size)

    def watch_oldest_gap(self, age_s: Callable[[], float]) -> None:
        """Show for how long the oldest gap has been open; ``age_s`` is called at each scrape."""
        self._oldest_gap.set_function(age_s)

    def gap(self, outcome: str) -> None:
        """Count a gap that ended: repaired, joined by another connection, or declared."""
        self._gaps.labels(outcome).inc()

    def consumer_blocked(self, seconds: float) -> None:
        """Add time for which receiving waited for the consumer."""
        self._blocked.inc(seconds)

    def observe(self, transition: on.Transition) -> None:
        """Move the metrics that a transition concerns."""
        match transition:
            case on.Dialing():
                self._dials.labels(transition.endpoint).inc()
                self._attempts.labels(transition.line)
            case on.Connected():
                self._connects.labels(transition.endpoint).inc()
                self._handshake.observe(transition.handshake_s)
            case on.Flowing():
                self._use(transition.line, transition.endpoint, transition.venue)
                if transition.outage_s is not None:
                    self._outage.observe(transition.outage_s)
            case on.BecameStable():
                self._attempts.labels(transition.line).set(0)
            case on.ConnectionLost():
                self._count_connection_error(transition.error_type)
                if transition.carrying:
                    self._keep_in_use(transition.line, None)
            case on.DialFailed():
                self._count_connection_error(transition.error_type)
            case on.Reconnecting():
                self._reconnects.labels(transition.reason).inc()
                self._reconnect_delay.set(transition.delay_s)
                self._attempts.labels(transition.line).set(transition.attempt)
            case on.Rotated():
                self._rotations.labels(transition.reason).inc()
                self._keep_in_use(transition.line, transition.to_endpoint)
            case on.RotationFailed():
                self._keep_in_use(transition.line, transition.endpoint)
            case on.BreakerChanged():
                self._breaker_state.labels(transition.name).set(State[transition.new.upper()])
            case on.MalformedMessage():
                self._message_errors.labels(transition.error_type).inc()
            case on.SubscriptionRefused():
                self._message_errors.labels("subscription_refused").inc()
            case on.PingMeasured():
                self._ping.observe(transition.round_trip_s)
            case _:
                pass

    def _count_connection_error(self, error_type: str) -> None:
        # A status is the peer's choice of three digits: only the registered ones make labels.
        if error_type.startswith("http_") and error_type not in _HTTP_ERRORS:
            error_type = f"http_{OTHER}"
        self._connection_errors.labels(error_type).inc()

    def _use(self, line: str, endpoint: str, venue: str) -> None:
        # During a rotation a line uses two endpoints, or one of them twice.
        self._carriers.setdefault(line, {})[endpoint] = venue
        self._in_use.labels(line, endpoint, venue).set(1)

    def _keep_in_use(self, line: str, kept: str | None) -> None:
        """Of the line's endpoints in use, leave at most the given one."""
        carriers = self._carriers.get(line, {})
        for endpoint in [name for name in carriers if name != kept]:
            self._in_use.labels(line, endpoint, carriers.pop(endpoint)).set(0)


class _Received(Collector):
    """Messages received per symbol, summed up at each scrape.

    The feed counts them per stream anyway. To move a counter for each message, or for each stream
    of a batch, would be the dearest step of all where a batch is of many streams.
    """

    def __init__(self, symbols: Sequence[str]) -> None:
        self._symbols = (*symbols, OTHER)
        self.counts: Callable[[], Iterable[tuple[str | None, int]]] = tuple

    def collect(self) -> Iterable[CounterMetricFamily]:
        total = dict.fromkeys(self._symbols, 0)  # shown from the start, so that rates have a zero
        for symbol, count in self.counts():
            # An all-market stream has no symbol; others may never have been configured.
            total[symbol if symbol is not None and symbol in total else OTHER] += count
        family = CounterMetricFamily(
            "k2_binance_messages_received",
            "Data messages received, duplicates of a second connection included.",
            labels=["symbol"],
        )
        for symbol, count in total.items():
            family.add_metric([symbol], count)
        return [family]
