"""Every metric, once: its name, labels and meaning."""

from __future__ import annotations

from ..errors import ReconnectReason
from .rows import CounterRow, GaugeRow, HistogramRow, ScrapedCounterRow, Table
from .transitions import RotationReason

MESSAGE_ERRORS = (
    "bad_json",
    "bad_payload",
    "wrong_symbol",
    "unknown_stream",
    "unknown_event",
    "stray",
    "contradiction",
    "subscription_refused",
)
GAP_OUTCOMES = ("joined", "repaired", "declared")

SECONDS = (0.001, 0.005, 0.02, 0.1, 0.5, 2.0, 10.0, 60.0)
OUTAGES = (0.01, 0.1, 1.0, 5.0, 15.0, 60.0, 300.0, 1800.0)


class Families(Table):
    """The metrics of a feed. The README lists them in this order."""

    connected = GaugeRow(
        "k2_binance_connection_status",
        "1 while data can flow on every line of the feed, else 0.",
        ("symbols",),
    )
    received = ScrapedCounterRow(
        "k2_binance_messages_received",
        "Data messages received, duplicates of a second connection included.",
        ("symbol",),
    )
    message_errors = CounterRow(
        "k2_binance_message_errors",
        "Messages that were not understood and skipped.",
        ("error_type",),
        shown=MESSAGE_ERRORS,
    )
    reconnects = CounterRow(
        "k2_binance_reconnects",
        "Reconnects, by what made them necessary.",
        ("reason",),
        shown=tuple(ReconnectReason),
    )
    connection_errors = CounterRow(
        "k2_binance_connection_errors", "Failed attempts and lost connections.", ("error_type",)
    )
    last_message = GaugeRow(
        "k2_binance_last_message_timestamp_seconds",
        "Unix time of the last data message.",
        ("symbols",),
    )
    reconnect_delay = GaugeRow(
        "k2_binance_reconnect_delay_seconds",
        "Nominal backoff before the current or last retry.",
        ("symbols",),
    )
    attempts = GaugeRow(
        "k2_binance_reconnect_attempts",
        "Retries since data last flowed for long enough to count.",
        ("line",),
    )
    attempts_limit = GaugeRow(
        "k2_binance_reconnect_attempts_limit",
        "Retries in a row after which the feed gives up; +Inf: never.",
    )
    breaker_state = GaugeRow(
        "k2_circuit_breaker_state", "0 closed, 1 open, 2 half-open.", ("name",)
    )
    rank = GaugeRow(
        "k2_binance_endpoint_rank",
        "Place in the failover list; 0 is the first choice.",
        ("endpoint", "venue"),
    )
    in_use = GaugeRow(
        "k2_binance_endpoint_in_use",
        "1 for the endpoint that carries the line.",
        ("line", "endpoint", "venue"),
    )
    dials = CounterRow(
        "k2_binance_dials", "Connection attempts, whether they succeed or not.", ("endpoint",)
    )
    connects = CounterRow("k2_binance_connects", "Successful upgrades.", ("endpoint",))
    handshake = HistogramRow(
        "k2_binance_handshake_seconds", "DNS, TCP, TLS and upgrade together.", buckets=SECONDS
    )
    outage = HistogramRow(
        "k2_binance_outage_seconds",
        "From the last message before a reconnect to the first one after it.",
        buckets=OUTAGES,
    )
    rotations = CounterRow(
        "k2_binance_rotations",
        "Planned replacements of a connection.",
        ("reason",),
        shown=tuple(RotationReason),
    )
    duplicates = CounterRow("k2_binance_duplicates", "Messages dropped as delivered before.")
    gaps = CounterRow(
        "k2_binance_gaps",
        "Gaps in a stream's ids, by how they ended.",
        ("outcome",),
        shown=GAP_OUTCOMES,
    )
    repaired = CounterRow("k2_binance_repaired_messages", "Messages that a repair brought.")
    held = GaugeRow("k2_binance_held_messages", "Messages that wait behind gaps under repair.")
    oldest_gap = GaugeRow(
        "k2_binance_oldest_gap_seconds", "Age of the oldest gap that is open; 0 if none is."
    )
    repairs_waiting = GaugeRow(
        "k2_binance_repairs_waiting", "REST requests that wait for weight of the venue's budget."
    )
    barren_streams = GaugeRow(
        "k2_binance_barren_streams",
        "Streams of which everything that comes has been dropped for 10 s or longer.",
    )
    unknown_streams = GaugeRow(
        "k2_binance_unknown_streams",
        "Streams of symbols that the exchange does not have: they will bring nothing.",
    )
    broken_books = GaugeRow(
        "k2_binance_broken_books",
        "Depth streams that lack a snapshot since a gap was declared.",
    )
    unproven = CounterRow(
        "k2_binance_unproven_seconds",
        "Stream-seconds for which messages without provable ids may be missing.",
    )
    dropped = CounterRow(
        "k2_binance_dropped_messages", "Messages dropped, and declared, for a slow consumer."
    )
    line_first = CounterRow(
        "k2_binance_line_first_messages", "Messages that this line brought first.", ("line",)
    )
    line_late = CounterRow(
        "k2_binance_line_late_messages",
        "Messages that another line had brought before this one.",
        ("line",),
    )
    line_lost = CounterRow(
        "k2_binance_line_lost_ids",
        "Ids that this line skipped, whoever else brought them.",
        ("line",),
    )
    ping = HistogramRow(
        "k2_binance_ping_seconds", "Round trip of WebSocket pings of ours.", buckets=SECONDS
    )
    lag = GaugeRow(
        "k2_binance_event_lag_seconds",
        "Receive time minus the exchange's event time, last message of the last batch.",
    )
    buffered = GaugeRow(
        "k2_binance_buffered_messages", "Decoded messages that wait for the consumer."
    )
    buffer_limit = GaugeRow(
        "k2_binance_buffer_limit_messages", "Decoded messages that may wait for the consumer."
    )
    blocked = CounterRow(
        "k2_binance_consumer_blocked_seconds", "Time for which receiving waited for the consumer."
    )
    budget = GaugeRow(
        "k2_binance_connect_budget_left",
        "Connection attempts that the venue admits in the current 5 minutes.",
        ("venue",),
    )
    log_dropped = ScrapedCounterRow(
        "k2_binance_log_lines_dropped",
        "Lines of the log that were dropped, since nobody read standard error fast enough.",
    )
    build = GaugeRow("k2_binance_build_info", "1, labelled with versions.", ("version", "python"))
