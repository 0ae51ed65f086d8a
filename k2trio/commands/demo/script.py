"""The bad day of the demo: which faults, when, and the settings that make it fit into a minute.

A day is written as if for 60 s, and every time in it is scaled to the length that was asked for; so
are the settings and the exchange's own intervals: what takes the product a minute by default takes
2 s here. One time is not scaled, and the day pauses for it: see :data:`PAUSE_S`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ...proxies import DIRECT
from ...repair.staleness import IN_FLIGHT_S
from ...settings import Settings
from ...simulator import EndpointConfig, Fault, FaultKind, Limits, RestConfig, ServeConfig

if TYPE_CHECKING:
    from pydantic_settings import BaseSettings, PydanticBaseSettingsSource

    from ...simulator import Running

DAY_S = 60.0
"""Length of the day as it is written below."""
PAUSE_AT = 18
PAUSE_S = IN_FLIGHT_S
"""After the silence that begins at :data:`PAUSE_AT`: so long the feed waits whether news that REST
has comes after all, before it takes a silent connection for dead."""
SYMBOLS = ("BTCUSDT", "ETHUSDT")
STREAMS = tuple(f"{symbol.lower()}@trade" for symbol in SYMBOLS)
ENDPOINTS = ("a", "b")
VENUE = "demo"
ORDERS_PER_S = 40.0
"""Taker orders per second and symbol; each makes one trade or a few."""
ALL = "*"
ROTATION = "rotation"
REPAIR = "repair"
GAP = "gap"


@dataclass(frozen=True)
class Step:
    """One fault of the day.

    :ivar name: what the exchange does.
    :ivar noticed_as: what the feed must see of it: error types, or one of
        :data:`ROTATION`, :data:`REPAIR` and :data:`GAP`.
    :ivar faults: at the same moment; their ``at`` is relative to the start of the day.
    """

    name: str
    noticed_as: frozenset[str]
    faults: tuple[Fault, ...]

    @property
    def at(self) -> float:
        """Seconds after the start of the day."""
        return self.faults[0].at


def unit_of(seconds: float) -> float:
    """What one second of the day as it is written takes in a day of that length."""
    return (seconds - PAUSE_S) / DAY_S


def bad_day(seconds: float) -> list[Step]:
    """The faults of a day of that length, in order."""
    unit = unit_of(seconds)

    def step(
        at: float, name: str, noticed_as: str, *faults: tuple[FaultKind, dict[str, Any]]
    ) -> Step:
        begins = at * unit + (PAUSE_S if at > PAUSE_AT else 0)
        return Step(
            name,
            frozenset({noticed_as}),
            tuple(
                Fault(at=begins, endpoint=ALL, kind=kind, **parameters)
                for kind, parameters in faults
            ),
        )

    kind = FaultKind
    return [
        step(4, "connection dropped (FIN)", "dropped", (kind.FIN, {})),
        step(11, "connection reset (RST)", "reset", (kind.RST, {})),
        step(PAUSE_AT, "data stops, pings go on", "stale_data", (kind.STALL, {})),
        step(
            25,
            "reset, then 429 with Retry-After",
            "http_429",
            (kind.HTTP_STATUS, {"status": 429, "count": 1, "retry_after": math.ceil(2 * unit)}),
            (kind.RST, {}),
        ),
        step(
            32,
            "dropped, then all dials refused",
            "refused",
            (kind.REFUSED, {"duration": 3 * unit}),
            (kind.FIN, {}),
        ),
        step(42, "half-open: not a byte any more", "stale_transport", (kind.HALF_OPEN, {})),
        step(47, "closed by the exchange (1001)", "dropped", (kind.CLOSE, {"code": 1001})),
        step(50.5, "serverShutdown announced", ROTATION,
             (kind.SERVER_SHUTDOWN, {"duration": 2.5 * unit})),
        step(54, "every second message left out", REPAIR,
             (kind.DROPPED, {"duration": 0.5 * unit, "share": 0.5})),
        step(55.5, "all left out, and REST does not answer", GAP,
             (kind.DROPPED, {"duration": 0.3 * unit}),
             (kind.REST_STATUS, {"duration": 2.5 * unit, "status": 503})),
    ]  # fmt: skip


class DemoSettings(Settings):
    """Settings that look at no environment: the demo is the same everywhere."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """What is given in code, and nothing else."""
        return (init_settings,)


def make_settings(
    seconds: float, running: Running, *, metrics_host: str, metrics_port: int
) -> Settings:
    """Settings of the feed for a day of that length."""
    unit = unit_of(seconds)
    urls = [f"{running.websocket_urls[name]}/stream" for name in ENDPOINTS]
    values: dict[str, Any] = {
        "websocket_url": urls[0],
        "failover_urls": tuple(urls[1:]),
        "streams": STREAMS,
        "reconnect_delay": 0.25 * unit,
        "max_reconnect_delay": 2 * unit,
        "max_reconnect_attempts": 0,
        "stable_after": 0.5 * unit,
        "handshake_timeout": 2 * unit,
        "close_timeout": 0.5 * unit,
        "health_check_interval": 0.5 * unit,
        "health_check_timeout": 2 * unit,
        "transport_timeout": 1.5 * unit,
        "failure_threshold": 3,
        "recovery_timeout": 2 * unit,
        "rotation_overlap": 2 * unit,
        "rest_urls": tuple(running.rest_urls.values()),
        "repair_hold": 2 * unit,
        "metrics_host": metrics_host,
        "metrics_port": metrics_port,
        "proxy": DIRECT,
    }
    return DemoSettings(**values)


def make_exchange(seconds: float, seed: int) -> ServeConfig:
    """The exchange: one venue with two endpoints, on free ports of this machine."""
    unit = unit_of(seconds)
    return ServeConfig(
        endpoints=tuple(EndpointConfig(name, VENUE) for name in ENDPOINTS),
        rest=(RestConfig(venue=VENUE),),
        symbols=SYMBOLS,
        seed=seed,
        rate=ORDERS_PER_S,
        limits=Limits(
            ping_interval_s=0.5 * unit,
            pong_timeout_s=5 * unit,
            client_messages_per_s=math.ceil(5 / min(unit, 1)),
        ),
    )


def explain(settings: Settings) -> str:
    """What was made shorter, in one sentence."""
    return (
        f"shortened to fit: silence is noticed after {settings.transport_timeout:.2g} s without a "
        f"byte (45 by default), or {settings.health_check_timeout:.2g} s without data although "
        f"REST has some (60; then {PAUSE_S:g} s for what may be on its way, as always); "
        f"retries wait {settings.reconnect_delay:.2g} s doubling to "
        f"{settings.max_reconnect_delay:.2g} s (5 to 60); a breaker opens after "
        f"{settings.failure_threshold} failures for {settings.recovery_timeout:.2g} s (30); "
        f"data must flow {settings.stable_after:.2g} s to count (5)"
    )
