"""Every knob of k2trio: its unit, bound, default and ``K2_BINANCE_*`` variable, in one model."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal, Self, cast

from pydantic import Field, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from . import files
from .fields import (
    AutoFile,
    OptionalFile,
    OptionalPeriod,
    Outputs,
    ProxyURL,
    RestURLs,
    StreamNames,
    Symbols,
    WebSocketURL,
    WebSocketURLs,
    WholeMilliseconds,
)
from .market.booked import refuse_bookless
from .market.streams import MAX_STREAMS_PER_CONNECTION
from .market.units import UNITS, TimeUnit
from .rotation import Rotation, parse_period, refuse_finished_names
from .targets import Target, check_outputs, parse_target
from .urls import endpoint_key, refuse_unencrypted

if TYPE_CHECKING:
    from pathlib import Path

ENV_PREFIX = "K2_BINANCE_"


class Settings(BaseSettings):
    """Read from keyword arguments, then ``K2_BINANCE_*`` variables, then these defaults.

    Times are seconds and sizes are bytes unless a field says otherwise.
    """

    model_config: ClassVar[SettingsConfigDict] = SettingsConfigDict(
        env_prefix=ENV_PREFIX,
        extra="forbid",
        frozen=True,
        validate_default=True,
        hide_input_in_errors=True,  # a URL may hold a password, also where it is refused for it
        cli_kebab_case=True,
        cli_implicit_flags=True,
        cli_hide_none_type=True,
        cli_avoid_json=True,
    )

    websocket_url: WebSocketURL = Field(
        default="wss://stream.binance.com:9443/stream",
        description="First endpoint of the failover list.",
    )
    failover_urls: WebSocketURLs = Field(
        default=(
            "wss://stream.binance.com:443/stream",
            "wss://data-stream.binance.vision/stream",
            "wss://stream.binance.us:9443/stream",
        ),
        description="Further endpoints, in order of preference. Another host may be another venue.",
    )
    symbols: Symbols = Field(
        default=("BTCUSDT", "ETHUSDT"),
        description="Symbols whose trades to stream (and books, with BOOK_LEVELS); see STREAMS.",
    )
    streams: StreamNames = Field(
        default=(),
        description="Exact stream names, e.g. btcusdt@aggTrade; replaces SYMBOLS when given.",
    )

    time_unit: Literal["ms", "us"] = Field(
        default="ms",
        description="Unit of the exchange's times. Where one tells ms only, us end in three zeros.",
    )

    reconnect_delay: float = Field(
        default=5,
        ge=0.01,
        le=3600,
        description="Delay before the first retry (s); doubles each time.",
    )
    max_reconnect_delay: float = Field(
        default=60, ge=0.01, le=86400, description="Longest delay between retries (s)."
    )
    reconnect_jitter: float = Field(
        default=0.2, ge=0, le=0.5, description="Random share of the delay, both ways (0.2 = ±20 %)."
    )
    max_reconnect_attempts: int = Field(
        default=10,
        ge=0,
        le=1_000_000,
        description="Failed retries in a row before giving up; 0 = never.",
    )
    stable_after: float = Field(
        default=5,
        ge=0,
        le=3600,
        description="Data must flow this long (s) before a connection counts.",
    )
    handshake_timeout: float = Field(
        default=10,
        gt=0,
        le=300,
        description="Bound (s) on DNS, TCP, proxy, TLS and upgrade together.",
    )
    close_timeout: float = Field(
        default=2, gt=0, le=60, description="Bound (s) on the closing handshake."
    )

    health_check_interval: float = Field(
        default=30, gt=0, le=3600, description="Silence (s) after which the peer is pinged."
    )
    health_check_timeout: float = Field(
        default=60,
        ge=0,
        le=86400,
        description="Longest time (s) without a data message; 0 disables.",
    )
    transport_timeout: float = Field(
        default=45, gt=0, le=86400, description="Longest time (s) without any byte, pings included."
    )

    enable_circuit_breaker: bool = Field(
        default=True, description="Let each endpoint's circuit breaker refuse attempts."
    )
    failure_threshold: int = Field(
        default=3, ge=1, le=1000, description="Consecutive failures that open a breaker."
    )
    success_threshold: int = Field(
        default=2, ge=1, le=1000, description="Half-open successes that close a breaker."
    )
    recovery_timeout: float = Field(
        default=30,
        gt=0,
        le=86400,
        description="Time (s) a breaker stays open before it admits a probe.",
    )

    redundancy: int = Field(
        default=1,
        ge=1,
        le=2,
        description="Lines per set of streams; 2 is hot standby on two endpoints of a venue.",
    )
    rest_urls: RestURLs = Field(
        default=(), description="REST hosts for repair; by default the venue's own public ones."
    )
    rest_weight_limit: int = Field(
        default=3000,
        ge=100,
        le=6000,
        description="REST weight a minute that repairs may use, per venue; together with those who"
        " share the budget.",
    )
    shared_budget: AutoFile = Field(
        default="auto",
        description="File by which processes share the exchange's limits of their address:"
        " dials and REST weight; auto: one for this user on this machine; off: no sharing.",
    )
    repair_hold: float = Field(
        default=10,
        ge=0,
        le=3600,
        description="Time (s) without progress after which a gap is declared; what waits for its"
        " turn at REST gets up to 60 s more.",
    )
    repair_concurrency: int = Field(
        default=4, ge=1, le=64, description="Streams that are repaired at the same time."
    )
    depth_snapshot_levels: int = Field(
        default=1000,
        ge=0,
        le=5000,
        description="Levels a side of the snapshots by which books begin and are healed, if the"
        " REST budget has them for all books; 0 = no snapshots.",
    )
    book_audit_interval: float = Field(
        default=300,
        ge=0,
        le=86400,
        description="How often (s) each book that is kept is compared with a second snapshot;"
        " 0 = never.",
    )
    overflow: Literal["block", "drop"] = Field(
        default="block", description="A slow consumer: make the sender wait, or drop and declare."
    )
    state: OptionalFile = Field(
        default=None,
        description="File that remembers the last delivered ids, to resume after a restart.",
    )
    state_interval: float = Field(
        default=1, gt=0, le=3600, description="How often (s) the state file is written."
    )
    resume_limit: int = Field(
        default=100_000,
        ge=0,
        le=10_000_000,
        description="Ids per stream that a restart may go back.",
    )
    coverage: OptionalFile = Field(
        default=None,
        description="File for the ledger of ids (JSON), written every minute and at exit.",
    )

    rotate_after: float = Field(
        default=82_800,
        gt=0,
        le=86_400,
        description="Age (s) at which a connection is replaced (23 h).",
    )
    rotation_overlap: float = Field(
        default=10,
        gt=0,
        le=300,
        description="Longest time (s) that old and new connection run together.",
    )
    arbitration_hold: float = Field(
        default=0.2,
        ge=0,
        le=60,
        description="Time (s) a gap waits for another connection to fill it.",
    )
    max_held_messages: int = Field(
        default=100_000, ge=1, le=1 << 26, description="Messages held per stream behind a gap."
    )
    list_subscriptions_interval: float = Field(
        default=0,
        ge=0,
        le=86400,
        description="Compare subscriptions with the server's this often (s); 0 = off.",
    )

    max_message_bytes: int = Field(
        default=1 << 20,
        ge=1024,
        le=1 << 30,
        description="Largest message accepted from the exchange.",
    )
    max_buffered_bytes: int = Field(
        default=64 << 20,
        ge=1 << 16,
        le=1 << 36,
        description="Received but unread bytes kept per connection before TCP pushes back.",
    )
    max_buffered_messages: int = Field(
        default=65_536, ge=1, le=1 << 26, description="Decoded messages kept for a slow consumer."
    )
    max_decoded_bytes: int = Field(
        default=128 << 20,
        ge=1 << 20,
        le=1 << 40,
        description="Memory (bytes) for decoded messages that wait for a slow consumer, and as much"
        " again for those behind gaps.",
    )
    busy_poll: float = Field(
        default=0,
        ge=0,
        le=1,
        description="Time (s) after each read for which the socket is asked again and again instead"
        " of waited for: lower latency for a core of its own. 0 = off.",
    )
    streams_per_connection: int = Field(
        default=MAX_STREAMS_PER_CONNECTION,
        ge=1,
        le=MAX_STREAMS_PER_CONNECTION,
        description="Streams that one connection carries; more streams make more connections.",
    )

    output: Outputs = Field(
        default=("-",),
        description="Where messages go, one or several: a file, one JSON line per message;"
        " FILE.jsonl.zst, the same compressed; parquet:FOLDER or parquet:s3://BUCKET/PREFIX;"
        " -: standard output.",
    )
    output_rotate: OptionalPeriod = Field(
        default=None,
        description="Start a new file at each multiple of this time (UTC), as 15m, 1h or 1d; the"
        " old one gets the time it began.",
    )
    output_rotate_bytes: int = Field(
        default=0,
        ge=0,
        le=1 << 50,
        description="Start a new file at this size; the old one gets a number.",
    )
    output_keep: int = Field(
        default=0,
        ge=0,
        le=1_000_000,
        description="Finished files of each output that stay, the newest ones; 0 = all.",
    )
    journal: OptionalFile = Field(
        default=None, description="Folder for what a parquet:s3:// output has not sealed yet."
    )
    book_levels: int = Field(
        default=0,
        ge=0,
        le=5000,
        description="Levels a side of book samples in the output; 0 = off.",
    )
    book_interval: WholeMilliseconds = Field(
        default=1, ge=0.01, le=86400, description="Time (s) between samples, on the clock's grid."
    )
    metrics_host: str = Field(default="127.0.0.1", description="Address of the metrics exporter.")
    metrics_port: int = Field(
        default=9090, ge=0, le=65535, description="Its port; 0 picks a free one."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="Lowest level that is logged."
    )
    log_format: Literal["console", "json"] = Field(
        default="console", description="Logs for people or for machines."
    )
    ca_file: OptionalFile = Field(
        default=None, description="PEM file with further certificate authorities to trust."
    )
    proxy: ProxyURL = Field(
        default=None,
        description="Proxy for all connections: http://, https:// or socks5://, as in"
        " http://user:password@host:3128; direct: none. By default the environment's.",
    )
    allow_insecure: bool = Field(
        default=False, description="Allow ws:// to hosts other than this machine (no encryption)."
    )

    @model_validator(mode="after")
    def _check_together(self) -> Self:
        if self.max_reconnect_delay < self.reconnect_delay:
            raise ValueError("MAX_RECONNECT_DELAY must be at least RECONNECT_DELAY")
        if not self.streams and not self.symbols:
            raise ValueError("name at least one of SYMBOLS or STREAMS")
        if self.health_check_timeout and self.health_check_interval > self.health_check_timeout:
            raise ValueError("HEALTH_CHECK_INTERVAL must not exceed HEALTH_CHECK_TIMEOUT")
        if len(set(map(endpoint_key, self.endpoint_urls))) != len(self.endpoint_urls):
            raise ValueError("WEBSOCKET_URL and FAILOVER_URLS name a host and port twice")
        if not self.allow_insecure:
            refuse_unencrypted([*self.endpoint_urls, *self.rest_urls])
        if self.ca_file is not None and not self.ca_file.is_file():
            raise ValueError(f"CA_FILE {self.ca_file} is not a file")
        check_outputs(self.targets, self.journal, self.book_levels)
        self._check_files()
        if self.book_levels:
            refuse_bookless(self.stream_names, self.book_levels, self.depth_snapshot_levels)
        return self

    def _check_files(self) -> None:
        """No file may be spoilt by another one that is written."""
        fields = ("state", "coverage", "ca_file", "journal")
        given = {name.upper(): getattr(self, name) for name in fields}
        named: dict[str, Path] = {name: path for name, path in given.items() if path is not None}
        if not isinstance(self.shared_budget, str):
            named["SHARED_BUDGET"] = self.shared_budget
        if self.state is not None:
            named["the lock of STATE"] = files.lock_name(self.state)
        outputs = [target.path for target in self.targets if target.path is not None]
        files.refuse_clashes([*(("OUTPUT", path) for path in outputs), *named.items()])
        appended = [target.file for target in self.targets if target.file is not None]
        refuse_finished_names(self.rotation, appended, named)

    @property
    def endpoint_urls(self) -> tuple[str, ...]:
        """The failover list, first choice first."""
        return (self.websocket_url, *self.failover_urls)

    @property
    def unit(self) -> TimeUnit:
        """What TIME_UNIT stands for."""
        return UNITS[self.time_unit]

    @property
    def targets(self) -> tuple[Target, ...]:
        """What OUTPUT stands for."""
        return tuple(map(parse_target, cast("tuple[str, ...]", self.output)))

    @property
    def rotation(self) -> Rotation:
        """When files of OUTPUT are finished."""
        period_s = 0 if self.output_rotate is None else parse_period(self.output_rotate)
        return Rotation(self.output_rotate_bytes, period_s, self.output_keep)

    @property
    def stream_names(self) -> tuple[str, ...]:
        """The streams to open: STREAMS, or the trades of each symbol, and its book if wanted."""
        kinds = ("trade", "depth@100ms") if self.book_levels else ("trade",)
        names = (f"{symbol.lower()}@{kind}" for symbol in self.symbols for kind in kinds)
        return tuple(dict.fromkeys(self.streams or names))
