"""What to serve on real sockets: endpoints, REST sides, and the market behind them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..market.market import HISTORY

if TYPE_CHECKING:
    from pathlib import Path

    from ..faults.fault import Fault
    from ..market.spec import SymbolSpec
    from ..rest.quota import RestLimits
    from ..venue.limits import Limits

VENUE = "binance.com"


@dataclass(frozen=True, slots=True)
class EndpointConfig:
    """One WebSocket endpoint.

    :param name: what faults call it by.
    :param port: 0: any free one.
    :param tls: serve ``wss://`` with a certificate of the run's own authority.
    """

    name: str
    venue: str = VENUE
    port: int = 0
    tls: bool = False


@dataclass(frozen=True, slots=True)
class RestConfig:
    """The REST side of one venue, plain HTTP; see :class:`EndpointConfig`."""

    name: str = "rest"
    venue: str = VENUE
    port: int = 0


@dataclass(frozen=True, slots=True)
class ServeConfig:
    """What :func:`.server.serve` serves.

    :param rate: taker orders per second and symbol, see :class:`.market.Market`.
    :param faults: with ``at`` relative to the start.
    :param ca_path: where to write the certificate authority (PEM) that clients must trust.
    :param start_ms: simulated time at the start; None: the wall clock's.
    :param product: what is traded; where no limits are given, its own count.
    """

    endpoints: tuple[EndpointConfig, ...] = (EndpointConfig("primary"),)
    rest: tuple[RestConfig, ...] = (RestConfig(),)
    symbols: tuple[str | SymbolSpec, ...] = ("BTCUSDT", "ETHUSDT")
    seed: int = 0
    rate: float = 10.0
    quotes: float = 1.0
    history: int = HISTORY
    faults: tuple[Fault, ...] = ()
    limits: Limits | None = None
    rest_limits: RestLimits | None = None
    strict_symbols: bool = True
    tick_s: float = 0.01
    record: tuple[str, ...] = ()
    host: str = "127.0.0.1"
    ca_path: Path | None = None
    start_ms: int | None = None
    product: str = "spot"

    @property
    def names(self) -> set[str]:
        """What faults may be meant for."""
        places: tuple[EndpointConfig | RestConfig, ...] = (*self.endpoints, *self.rest)
        return {name for place in places for name in (place.name, place.venue)}

    @property
    def symbol_names(self) -> set[str]:
        """What is traded."""
        return {name.upper() if isinstance(name, str) else name.symbol for name in self.symbols}
