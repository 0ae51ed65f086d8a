"""The knobs of a feed: connections, repair, memory. Those of outputs are in ``settings.py``."""

from __future__ import annotations

from typing import Any, ClassVar, Literal, cast

from pydantic import Field, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from .fields import (
    AutoFile,
    OptionalFile,
    OptionalProduct,
    RestURLs,
    StreamNames,
    Symbols,
    WebSocketURL,
    WebSocketURLs,
)
from .market.products import DIALECTS
from .market.spot import SPOT
from .market.streams import MAX_STREAMS_PER_CONNECTION
from .urls import product_by

ENV_PREFIX = "K2_BINANCE_"


class FeedSettings(BaseSettings):
    """What a feed needs to know; see :class:`~k2trio.settings.Settings`."""

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

    product: OptionalProduct = Field(
        default=None,
        description="What is traded: spot, or usdm (USD-M futures); by default what WEBSOCKET_URL"
        " is known for. It decides on the defaults of endpoints, streams and REST.",
    )
    websocket_url: WebSocketURL = Field(
        default=SPOT.websocket_url,
        description="First endpoint of the failover list.",
    )
    failover_urls: WebSocketURLs = Field(
        default=SPOT.failover_urls,
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
        default=SPOT.rest.default_limit,
        ge=100,
        le=SPOT.rest.weight_per_minute,
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

    @model_validator(mode="before")
    @classmethod
    def _by_product(cls, given: Any) -> Any:
        """Give what depends on the product its default, where it is not spot."""
        if not isinstance(given, dict):
            return given
        named = cast("dict[str, Any]", given)
        product = named.get("product") or None
        if not isinstance(product, str | None):
            return named  # of the wrong type: the model says so
        product = product_by(product, str(named.get("websocket_url") or ""))
        return {**product_defaults(product), **named}


def product_defaults(product: str) -> dict[str, Any]:
    """What stands for settings that are not given, where that is not as for spot."""
    dialect = DIALECTS.get(product, SPOT)
    if dialect is SPOT:
        return {}
    return {
        "websocket_url": dialect.websocket_url,
        "failover_urls": dialect.failover_urls,
        "rest_weight_limit": dialect.rest.default_limit,
    }
