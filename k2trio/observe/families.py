"""Every metric, once: its name, labels and meaning."""

from __future__ import annotations

from typing import Final

from ..errors import ReconnectReason
from .latency import BUCKETS
from .rows import (
    CounterRow,
    GaugeRow,
    HistogramRow,
    ScrapedCounterRow,
    ScrapedGaugeRow,
    ScrapedHistogramRow,
    Table,
)
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
WITNESSES = ("ticker", "partial", "snapshot")
STANDBYS = ("cold", "hot")
GAP_OUTCOMES = ("joined", "repaired", "declared")

SECONDS = (0.001, 0.005, 0.02, 0.1, 0.5, 2.0, 10.0, 60.0)
OUTAGES = (0.01, 0.1, 1.0, 5.0, 15.0, 60.0, 300.0, 1800.0)


class Families(Table):
    """The metrics of a feed. docs/reference/metrics.md lists them in this order."""

    connected: Final = GaugeRow(
        "k2_binance_connection_status",
        "1 while data can flow on every line of the feed, else 0.",
        ("symbols",),
    )
    received: Final = ScrapedCounterRow(
        "k2_binance_messages_received",
        "Data messages received, duplicates of a second connection included.",
        ("symbol",),
    )
    message_errors: Final = CounterRow(
        "k2_binance_message_errors",
        "Messages that were not understood and skipped.",
        ("error_type",),
        shown=MESSAGE_ERRORS,
    )
    reconnects: Final = CounterRow(
        "k2_binance_reconnects",
        "Reconnects, by what made them necessary.",
        ("reason",),
        shown=tuple(ReconnectReason),
    )
    connection_errors: Final = CounterRow(
        "k2_binance_connection_errors", "Failed attempts and lost connections.", ("error_type",)
    )
    last_message: Final = GaugeRow(
        "k2_binance_last_message_timestamp_seconds",
        "Unix time of the last data message.",
        ("symbols",),
    )
    reconnect_delay: Final = GaugeRow(
        "k2_binance_reconnect_delay_seconds",
        "Nominal backoff before the current or last retry.",
        ("symbols",),
    )
    attempts: Final = GaugeRow(
        "k2_binance_reconnect_attempts",
        "Retries since data last flowed for long enough to count.",
        ("line",),
    )
    attempts_limit: Final = GaugeRow(
        "k2_binance_reconnect_attempts_limit",
        "Retries in a row after which the feed gives up; +Inf: never.",
    )
    breaker_state: Final = GaugeRow(
        "k2_circuit_breaker_state", "0 closed, 1 open, 2 half-open.", ("name",)
    )
    rank: Final = GaugeRow(
        "k2_binance_endpoint_rank",
        "Place in the failover list; 0 is the first choice.",
        ("endpoint", "venue"),
    )
    in_use: Final = GaugeRow(
        "k2_binance_endpoint_in_use",
        "1 for the endpoint that carries the line.",
        ("line", "endpoint", "venue"),
    )
    dials: Final = CounterRow(
        "k2_binance_dials", "Connection attempts, whether they succeed or not.", ("endpoint",)
    )
    connects: Final = CounterRow("k2_binance_connects", "Successful upgrades.", ("endpoint",))
    handshake: Final = HistogramRow(
        "k2_binance_handshake_seconds", "DNS, TCP, TLS and upgrade together.", buckets=SECONDS
    )
    outage: Final = HistogramRow(
        "k2_binance_outage_seconds",
        "From the last message before a reconnect to the first one after it.",
        buckets=OUTAGES,
    )
    rotations: Final = CounterRow(
        "k2_binance_rotations",
        "Planned replacements of a connection.",
        ("reason",),
        shown=tuple(RotationReason),
    )
    duplicates: Final = CounterRow("k2_binance_duplicates", "Messages dropped as delivered before.")
    gaps: Final = CounterRow(
        "k2_binance_gaps",
        "Gaps in a stream's ids, by how they ended.",
        ("outcome",),
        shown=GAP_OUTCOMES,
    )
    repaired: Final = CounterRow("k2_binance_repaired_messages", "Messages that a repair brought.")
    held: Final = GaugeRow(
        "k2_binance_held_messages", "Messages that wait behind gaps under repair."
    )
    oldest_gap: Final = GaugeRow(
        "k2_binance_oldest_gap_seconds", "Age of the oldest gap that is open; 0 if none is."
    )
    repairs_waiting: Final = GaugeRow(
        "k2_binance_repairs_waiting", "REST requests that wait for weight of the venue's budget."
    )
    barren_streams: Final = GaugeRow(
        "k2_binance_barren_streams",
        "Streams of which everything that comes has been dropped for 10 s or longer.",
    )
    unknown_streams: Final = GaugeRow(
        "k2_binance_unknown_streams",
        "Streams of symbols that the exchange does not have: they will bring nothing.",
    )
    broken_books: Final = GaugeRow(
        "k2_binance_broken_books",
        "Depth streams that lack a snapshot, at first or since a gap was declared.",
    )
    book_audits: Final = CounterRow(
        "k2_binance_book_audits",
        "Books compared at equal update ids, by what with.",
        ("witness",),
        shown=WITNESSES,
    )
    book_differences: Final = CounterRow(
        "k2_binance_book_differences",
        "Books that were not as the exchange said, and got a new snapshot.",
        ("witness",),
        shown=(*WITNESSES, "update"),
    )
    unproven: Final = CounterRow(
        "k2_binance_unproven_seconds",
        "Stream-seconds for which messages without provable ids may be missing.",
    )
    dropped: Final = CounterRow(
        "k2_binance_dropped_messages", "Messages dropped, and declared, for a slow consumer."
    )
    line_first: Final = CounterRow(
        "k2_binance_line_first_messages", "Messages that this line brought first.", ("line",)
    )
    line_late: Final = CounterRow(
        "k2_binance_line_late_messages",
        "Messages that another line had brought before this one.",
        ("line",),
    )
    line_lost: Final = CounterRow(
        "k2_binance_line_lost_ids",
        "Ids that this line skipped, whoever else brought them.",
        ("line",),
    )
    ping: Final = HistogramRow(
        "k2_binance_ping_seconds", "Round trip of WebSocket pings of ours.", buckets=SECONDS
    )
    lag: Final = GaugeRow(
        "k2_binance_event_lag_seconds",
        "Receive time minus the exchange's event time, last message of the last batch.",
    )
    latency: Final = ScrapedHistogramRow(
        "k2_binance_latency_seconds",
        "How long each part of the way took, by batch: exchange (event time to read), network (half"
        " a ping's round trip), decode, queue (until handed out), handler (until the next ask).",
        ("part",),
        buckets=BUCKETS,
    )
    buffered: Final = GaugeRow(
        "k2_binance_buffered_messages", "Decoded messages that wait for the consumer."
    )
    buffer_limit: Final = GaugeRow(
        "k2_binance_buffer_limit_messages", "Decoded messages that may wait for the consumer."
    )
    blocked: Final = CounterRow(
        "k2_binance_consumer_blocked_seconds", "Time for which receiving waited for the consumer."
    )
    budget: Final = GaugeRow(
        "k2_binance_connect_budget_left",
        "Connection attempts that the venue admits in the current 5 minutes.",
        ("venue",),
    )
    rest_budget: Final = GaugeRow(
        "k2_binance_rest_budget_left",
        "REST weight that repairs may spend in the current minute.",
        ("venue",),
    )
    budget_unshared: Final = GaugeRow(
        "k2_binance_budget_unshared",
        "1 while the file of the shared budget cannot be used, and each process counts for itself.",
    )
    unsealed: Final = GaugeRow(
        "k2_binance_journals_unsealed",
        "1 while journals of a dataset cannot be sealed; they stay, and it is tried again.",
    )
    shard_owned: Final = ScrapedGaugeRow(
        "k2_binance_shard_owned",
        "1 for each shard of the log that this process writes, 0 for those of others.",
        ("shard",),
    )
    log_uncommitted: Final = ScrapedGaugeRow(
        "k2_binance_log_uncommitted",
        "Messages of a shard that were taken and are not committed to Kafka.",
        ("shard",),
    )
    log_lag: Final = ScrapedGaugeRow(
        "k2_binance_log_lag_seconds",
        "Age of the oldest of them; 0 if there are none.",
        ("shard",),
    )
    log_commit: Final = ScrapedGaugeRow(
        "k2_binance_log_commit_seconds",
        "How long the shard's last commit took, all attempts together.",
        ("shard",),
    )
    log_retries: Final = ScrapedCounterRow(
        "k2_binance_log_retries",
        "Attempts to commit that the brokers did not do, and that were made again.",
        ("shard",),
    )
    takeovers: Final = CounterRow(
        "k2_binance_takeovers",
        "Shards that this process was given and has begun to write, by STANDBY.",
        ("standby",),
        shown=STANDBYS,
    )
    takeover: Final = GaugeRow(
        "k2_binance_takeover_seconds",
        "How long the last of those took, from being given the shard until its first commit.",
    )
    takeover_at: Final = GaugeRow(
        "k2_binance_takeover_timestamp_seconds", "Unix time at which it was done; 0: none was."
    )
    hot_buffer: Final = GaugeRow(
        "k2_binance_hot_buffer_bytes", "Memory that STANDBY=hot uses for shards of others."
    )
    log_dropped: Final = ScrapedCounterRow(
        "k2_binance_log_lines_dropped",
        "Lines of the log that were dropped, since nobody read standard error fast enough.",
    )
    build: Final = GaugeRow(
        "k2_binance_build_info", "1, labelled with versions.", ("version", "python")
    )
