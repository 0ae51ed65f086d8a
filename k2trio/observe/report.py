"""What ``/status`` and ``/trends`` say, as values; the published JSON Schema is made from them.

Every list is bounded, and says how many of its kind are not shown. Durations are seconds, points in
time are Unix time in seconds.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

MAX_ROWS = 100
"""Streams, lines, endpoints, outages, losses or sentences in one list of a report."""

Count = Annotated[int, Meta(ge=0)]
Seconds = Annotated[float, Meta(ge=0)]
Rate = Annotated[float, Meta(ge=0, description="Messages a second over `messages.window_s`.")]

State = Literal["starting", "ok", "degraded", "down"]
"""``starting``: no data yet, and no failure. ``down``: not ready, as ``/readyz`` says.
``degraded``: data flows, but something is not as it should be."""
LineState = Literal["waiting", "connecting", "connected", "streaming"]
BookState = Literal["empty", "live", "unproven"]
BreakerState = Literal["closed", "open", "half_open"]


class MessagesReport(msgspec.Struct, frozen=True):
    """All data messages together, those of a second connection included."""

    received: Count
    rate: Rate
    window_s: Annotated[Seconds, Meta(description="What rates are averaged over.")]
    silence_s: Annotated[
        Seconds | None, Meta(description="Since the last one; null before the first.")
    ]


class LineReport(msgspec.Struct, frozen=True):
    """One supervised succession of connections."""

    name: str
    state: LineState
    stable: Annotated[bool, Meta(description="Data has flowed for long enough to count.")]
    endpoint: Annotated[str | None, Meta(description="In use, or tried last.")]
    venue: str | None
    streams: Count
    connected_s: Annotated[Seconds | None, Meta(description="Age of the connection.")]
    silence_s: Annotated[Seconds | None, Meta(description="Since this connection's last message.")]
    retry_in_s: Annotated[Seconds | None, Meta(description="Until the next attempt.")]


class EndpointReport(msgspec.Struct, frozen=True):
    """One URL of the failover list, in order of preference."""

    name: Annotated[str, Meta(description="Host and port.")]
    venue: str
    lines: Annotated[list[str], Meta(description="The lines that it carries.")]
    breaker: BreakerState
    admits_in_s: Annotated[
        Seconds | None,
        Meta(description="Until it may be dialled; null while a probe decides that."),
    ]
    connect_budget_left: Annotated[
        Count, Meta(description="Attempts that the venue admits in the current 5 minutes.")
    ]


class OutageReport(msgspec.Struct, frozen=True):
    """A time in which a line brought nothing, because its connection had failed."""

    line: str
    began: Annotated[float, Meta(description="Unix time of the last message before.")]
    ended: Annotated[float | None, Meta(description="Null while it lasts.")]
    duration_s: Seconds
    reason: str
    error_type: str
    detail: str
    endpoint: Annotated[str, Meta(description="Where the connection failed.")]
    recovered_on: str | None
    attempts: Count


class LossReport(msgspec.Struct, frozen=True):
    """What a stream lost for one reason, or a repair brought it, with pauses under a minute."""

    kind: Literal["gap", "outage", "repair"]
    venue: str
    stream: str
    reason: Annotated[
        str,
        Meta(
            description="Of a gap. Of a repair `backfill` or `snapshot`, for what was brought; of "
            "an outage nothing."
        ),
    ]
    began: Annotated[float, Meta(description="Unix time at which the first was declared.")]
    ended: Annotated[float, Meta(description="Unix time at which the last was declared.")]
    count: Annotated[Count, Meta(description="Ranges of ids, outages, or messages brought.")]
    first: Annotated[int | None, Meta(description="Of a gap: the first id that is missing.")] = None
    last: Annotated[int | None, Meta(description="Of a gap: the last id that is missing.")] = None
    unproven_s: Annotated[Seconds | None, Meta(description="Of an outage.")] = None


class GapReport(msgspec.Struct, frozen=True):
    """Ids that will not be delivered, both inclusive; for klines open times."""

    first: int
    last: int
    reason: str


class CoverageReport(msgspec.Struct, frozen=True):
    """The ledger of all streams together."""

    live: Annotated[Count, Meta(description="Ids that came over a connection.")]
    repaired: Annotated[Count, Meta(description="Ids that REST brought.")]
    missing: Annotated[Count, Meta(description="Ids declared missing.")]
    gaps: Annotated[Count, Meta(description="Declared ranges that the ledger still lists.")]
    open_gaps: Annotated[Count, Meta(description="Streams that wait for a gap to close.")]
    duplicates: Count
    interruptions: Annotated[
        Count, Meta(description="Outages declared for streams without provable ids.")
    ]
    lost: Annotated[
        Count,
        Meta(description="Missing ids without those of books that have had a snapshot since."),
    ]


class StreamReport(msgspec.Struct, frozen=True):
    """One stream of one venue; the counts are those of :class:`CoverageReport`."""

    venue: Annotated[str | None, Meta(description="Null before the first message.")]
    stream: str
    symbol: str | None
    subscribed: bool
    received: Count = 0
    rate: Rate = 0.0
    silence_s: Seconds | None = None
    last: Annotated[int | None, Meta(description="The last id that was delivered or declared.")] = (
        None
    )
    live: Count = 0
    repaired: Count = 0
    missing: Count = 0
    gaps: Count = 0
    held: Annotated[Count, Meta(description="Messages that wait behind a gap.")] = 0
    duplicates: Count = 0
    interruptions: Count = 0
    last_gap: GapReport | None = None
    lost: Count = 0


class LevelReport(msgspec.Struct, frozen=True):
    """Price and quantity, as the exchange wrote them."""

    price: str
    quantity: str


class AuditReport(msgspec.Struct, frozen=True):
    """The last comparison of a book with another source, at one update id."""

    witness: Literal["ticker", "partial", "snapshot"]
    equal: bool
    ago_s: Seconds


class BookReport(msgspec.Struct, frozen=True):
    """The top of an order book that the program keeps."""

    symbol: str
    stream: Annotated[str, Meta(description="What it is made of.")]
    venue: Annotated[str | None, Meta(description="Null before the first message.")]
    state: BookState
    problem: Annotated[str | None, Meta(description="Why it is not live; null if it is.")]
    bid: LevelReport | None
    ask: LevelReport | None
    spread: Annotated[str | None, Meta(description="Best ask less best bid, exact.")]
    update_id: int | None
    age_s: Annotated[Seconds | None, Meta(description="Since its last update was received.")]
    known: Annotated[
        Count, Meta(description="Levels a side from the best on without unknown ones between.")
    ]
    audit: AuditReport | None


class ShardReport(msgspec.Struct, frozen=True):
    """One shard of the log, as this process sees it; of one of others only whose it is is known."""

    shard: Count
    owned: Annotated[bool, Meta(description="This process writes it.")]
    streams: Annotated[Count, Meta(description="Streams that belong to it.")]
    uncommitted: Annotated[Count, Meta(description="Messages that wait to be committed.")] = 0
    lag_s: Annotated[Seconds, Meta(description="Age of the oldest of them.")] = 0.0
    last_commit_s: Annotated[
        Seconds | None, Meta(description="How long the last commit took; null before the first.")
    ] = None


class TakeoverReport(msgspec.Struct, frozen=True):
    """A shard that this process was given and began to write."""

    at: Annotated[float, Meta(description="Unix time of its first commit.")]
    seconds: Annotated[Seconds, Meta(description="From being given the shard until then.")]
    shard: Count


class LogReport(msgspec.Struct, frozen=True):
    """What this process writes to Kafka, and what others of its group do."""

    group: str
    standby: Literal["cold", "hot"]
    shards: Annotated[
        list[ShardReport], Meta(description="Those of this process first if not all are shown.")
    ]
    last_takeover: Annotated[TakeoverReport | None, Meta(description="Null before the first.")]


class BufferReport(msgspec.Struct, frozen=True):
    """Messages on their way to the consumer."""

    waiting: Count
    limit: Count
    held: Annotated[Count, Meta(description="Messages that wait behind gaps under repair.")]


class LatencyReport(msgspec.Struct, frozen=True):
    """How long one part of a message's way took, over the last one or two minutes."""

    part: Annotated[
        Literal["exchange", "network", "decode", "queue", "handler"],
        Meta(
            description="`exchange`: event time to read, by two clocks, so it may be negative. "
            "`network`: half of a ping's round trip. `decode`: read to decoded. `queue`: until "
            "handed to the consumer. `handler`: until the consumer asks for more."
        ),
    ]
    count: Annotated[Count, Meta(description="Batches, or pings.")]
    p50_s: Annotated[float | None, Meta(description="Median; null where nothing was measured.")]
    p99_s: float | None
    max_s: float | None


class NotShown(msgspec.Struct, frozen=True):
    """How many of each kind the lists leave out."""

    lines: Count
    endpoints: Count
    streams: Count
    outages: Count
    losses: Count
    books: Count = 0
    shards: Count = 0


class Status(msgspec.Struct, frozen=True):
    """What a feed is doing, and what happened to it."""

    state: State
    problems: Annotated[list[str], Meta(description="Why it is not ready; empty if it is.")]
    warnings: Annotated[list[str], Meta(description="What else is not as it should be.")]
    at: Annotated[float, Meta(description="Unix time of this report.")]
    uptime_s: Seconds
    version: str
    messages: MessagesReport
    buffer: BufferReport
    lines: list[LineReport]
    endpoints: list[EndpointReport]
    reconnects: Annotated[dict[str, int], Meta(description="By reason.")]
    rotations: Annotated[dict[str, int], Meta(description="Planned replacements, by reason.")]
    outages: Annotated[list[OutageReport], Meta(description="Newest first.")]
    losses: Annotated[list[LossReport], Meta(description="Newest first.")]
    coverage: CoverageReport
    latency: Annotated[list[LatencyReport], Meta(description="In the order of the way.")]
    streams: Annotated[
        list[StreamReport], Meta(description="Those with trouble first if not all are shown.")
    ]
    not_shown: NotShown
    books: Annotated[
        list[BookReport],
        Meta(description="Those that the program keeps; not live ones first if not all are shown."),
    ] = []
    log: Annotated[
        LogReport | None, Meta(description="Null where the output is no Kafka with shards.")
    ] = None


class StreamTrend(msgspec.Struct, frozen=True):
    """The rates of one stream of one venue; fewer where it began later."""

    venue: str
    stream: str
    rates: Annotated[list[float], Meta(description="Messages a second in each step; newest last.")]


class TrendsReport(msgspec.Struct, frozen=True):
    """How the rates were of late."""

    at: Annotated[float, Meta(description="Unix time at which the last step ended.")]
    step_s: Seconds
    keep_s: Annotated[Seconds, Meta(description="How far back the rates go at most.")]
    rates: Annotated[list[float], Meta(description="All messages together.")]
    streams: Annotated[list[StreamTrend], Meta(description="Those that `/status` shows.")]
