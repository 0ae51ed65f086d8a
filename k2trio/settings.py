"""Every knob of k2trio: its unit, bound, default and ``K2_BINANCE_*`` variable, in one model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self, cast

from pydantic import Field, model_validator

from . import files
from .config_file import ConfigFile
from .feed_settings import ENV_PREFIX, FeedSettings, product_defaults
from .fields import (
    GroupName,
    OptionalFile,
    OptionalPeriod,
    Outputs,
    ProxyURL,
    WholeMilliseconds,
)
from .market.booked import refuse_bookless
from .market.products import DIALECTS
from .market.units import MS, UNITS, TimeUnit
from .proxies import read_proxy_file
from .rotation import Rotation, parse_period, refuse_finished_names
from .targets import Target, check_outputs, parse_target
from .urls import endpoint_key, product_by, refuse_others, refuse_unencrypted

if TYPE_CHECKING:
    from pydantic_settings import BaseSettings, PydanticBaseSettingsSource

    from .market.dialect import Dialect

__all__ = ["ENV_PREFIX", "Settings"]


class Settings(FeedSettings):
    """Read from keywords, then ``K2_BINANCE_*`` variables, then a file, then these defaults.

    Times are seconds and sizes are bytes unless a field says otherwise.
    """

    config: OptionalFile = Field(
        default=None,
        description="TOML file of settings, for what neither options nor variables give.",
    )

    output: Outputs = Field(
        default=("-",),
        description="Where messages go, one or several: a file, one JSON line per message;"
        " FILE.jsonl.zst, the same compressed; parquet:FOLDER or parquet:s3://BUCKET/PREFIX;"
        " kafka://HOST:PORT/TOPIC; -: standard output.",
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
    kafka_properties: OptionalFile = Field(
        default=None,
        description="File of librdkafka properties (name=value lines) for a kafka:// output: TLS,"
        " SASL, tuning.",
    )
    kafka_commit_interval: float = Field(
        default=0.1,
        ge=0.001,
        le=10,
        description="How often (s) what was written to Kafka is committed, with its positions.",
    )
    kafka_commit_records: int = Field(
        default=20_000, ge=1, le=500_000, description="Records of a transaction, at most."
    )
    kafka_buffer_bytes: int = Field(
        default=64 << 20,
        ge=1 << 20,
        le=1 << 36,
        description="Memory (bytes) for what Kafka has not committed yet, of each shard; then"
        " OVERFLOW decides.",
    )
    group: GroupName = Field(
        default="k2trio",
        description="Name of the processes that write to Kafka together, and of what they remember"
        " there: GROUP.positions.",
    )
    shards: int = Field(
        default=0,
        ge=0,
        le=1024,
        description="Into how many parts the processes of GROUP divide the streams, by symbol;"
        " 0 = this process writes all.",
    )
    standby: Literal["cold", "hot"] = Field(
        default="cold",
        description="Shards of others: cold: take them over by dial and REST; hot: read them too,"
        " and take them over out of memory.",
    )
    hot_buffer: float = Field(
        default=60, gt=0, le=3600, description="What STANDBY=hot keeps of others' shards (s)."
    )
    hot_buffer_bytes: int = Field(
        default=128 << 20, ge=1 << 20, le=1 << 36, description="The same in bytes, at most."
    )
    kafka_session_timeout: float = Field(
        default=10,
        ge=1,
        le=300,
        description="Silence (s) of a process after which Kafka gives its shards to others.",
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
    proxy_file: OptionalFile = Field(
        default=None,
        description="File whose one line is the URL of PROXY, for one with a password.",
    )
    allow_insecure: bool = Field(
        default=False, description="Allow ws:// to hosts other than this machine (no encryption)."
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Where values come from: the first that has one wins."""
        return init_settings, env_settings, ConfigFile(settings_cls, Settings.model_fields)

    @model_validator(mode="before")
    @classmethod
    def _proxy_of_file(cls, given: Any) -> Any:
        """Read the proxy's URL where a file has it."""
        if not isinstance(given, dict):
            return given
        values = cast("dict[str, Any]", given)
        path = values.get("proxy_file")
        if not path or not isinstance(path, str | Path):
            return values
        if values.get("proxy"):
            raise ValueError("PROXY and PROXY_FILE are both given; set one of them to nothing")
        return {**values, "proxy": read_proxy_file(path)}

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
        self._check_product()
        if not self.allow_insecure:
            refuse_unencrypted([*self.endpoint_urls, *self.rest_urls])
        if self.ca_file is not None and not self.ca_file.is_file():
            raise ValueError(f"CA_FILE {self.ca_file} is not a file")
        check_outputs(self.targets, self.journal, self.book_levels, self.shards)
        self._check_files()
        if self.book_levels:
            refuse_bookless(self.stream_names, self.book_levels, self.depth_snapshot_levels)
        return self

    def _check_product(self) -> None:
        """The exchange's products differ in what they have to offer."""
        dialect = self.dialect
        refuse_others(self.endpoint_urls, dialect)
        if self.unit is not MS and not dialect.tells_units:
            raise ValueError(f"TIME_UNIT must be ms: {dialect.title} has no other")
        most = dialect.rest.depths[0][0]
        if self.depth_snapshot_levels > most:
            raise ValueError(f"DEPTH_SNAPSHOT_LEVELS must be at most {most} for {dialect.title}")
        most = dialect.rest.weight_per_minute
        if self.rest_weight_limit > most:
            raise ValueError(f"REST_WEIGHT_LIMIT must be at most {most} for {dialect.title}")
        for name, value in product_defaults(dialect.product).items():
            tells_product = name == "websocket_url" and self.product is None
            if getattr(self, name) == value and not tells_product:
                self.model_fields_set.discard(name)  # nobody has said so

    def _check_files(self) -> None:
        """No file may be spoilt by another one that is written."""
        fields = ("state", "coverage", "ca_file", "journal", "kafka_properties", "config",
                  "proxy_file")  # fmt: skip
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
    def dialect(self) -> Dialect:
        """What PRODUCT, or the first endpoint, stands for."""
        return DIALECTS[product_by(self.product, self.websocket_url)]

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
        dialect = self.dialect
        kinds = dialect.default_book_kinds if self.book_levels else dialect.default_kinds
        names = (f"{symbol.lower()}@{kind}" for symbol in self.symbols for kind in kinds)
        return tuple(dict.fromkeys(self.streams or names))
