"""What the commands have in common that serve an exchange: ports, limits, faults."""

from __future__ import annotations

import errno
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
from pydantic import BeforeValidator, Field

from ..errors import ConfigError
from ..extras import require
from ..simulator import EndpointConfig, Fault, RestConfig, ServeConfig, load_faults
from ..simulator.rest.quota import limits_of as rest_limits_of
from ..simulator.serving.gate import listen
from ..simulator.venue.limits import limits_of
from .options import Options, flag, split
from .terminal import put_line

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ..simulator import Running

ENDPOINT_NAMES = "abcdefghijklmnopqrstuvwxyz"
REST_NAME = "rest"

Port = Annotated[int, Field(ge=0, le=65535)]


class ServeOptions(Options):
    """Where to serve, what the exchange enforces, and what goes wrong."""

    host: str = Field("127.0.0.1", description="Address to listen on.")
    ports: Annotated[tuple[Port, ...], BeforeValidator(split)] = Field(
        (9443,),
        min_length=1,
        max_length=len(ENDPOINT_NAMES),
        description="One WebSocket endpoint per port; 0 picks a free one. They are named a, b, …",
    )
    rest_port: int = Field(9080, ge=0, le=65535, description="Port of REST, plain HTTP.")
    tls: bool = Field(False, description="Serve wss:// with a certificate made for this run.")
    ca_file: Path = Field(
        Path("k2trio-simulator-ca.pem"),
        description="With --tls: where to write the authority that clients must trust.",
    )
    faults: Path | None = Field(
        None, description="JSON file of what goes wrong, and when; docs/reference/faults.md."
    )
    lifetime: float = Field(86_400, gt=0, description="A connection is closed after this time (s).")
    ping_interval: float | None = Field(
        None,
        gt=0,
        description="The exchange pings this often (s); by default as where the product is traded: "
        "20, of futures 180.",
    )
    pong_timeout: float | None = Field(
        None, gt=0, description="A ping must be answered in this time (s); by default 60, or 600."
    )
    message_limit: int | None = Field(
        None, ge=1, description="Client messages a second and connection; by default 5, or 10."
    )
    stream_limit: int = Field(1024, ge=1, description="Streams of one connection.")
    connect_limit: int = Field(300, ge=1, description="Connects of one client in 5 minutes.")
    weight_limit: int | None = Field(
        None,
        ge=1,
        description="Request weight of one REST client a minute; by default 6000, or 2400.",
    )

    @property
    def endpoint_names(self) -> str:
        """One letter a port."""
        return ENDPOINT_NAMES[: len(self.ports)]


def configuration(
    options: ServeOptions, venue: str, product: str, refuse: Callable[[Sequence[Fault]], None]
) -> ServeConfig:
    """What to serve, as far as these options say it.

    :param product: whose limits hold where none are given.
    :param refuse: raises ValueError for faults that cannot be meant.
    :raises ConfigError: for a faults file that cannot be used, and for a missing extra.
    """
    if options.tls:
        require("trustme", "certificates", "--tls")
    usual, of_rest = limits_of(product), rest_limits_of(product)
    return ServeConfig(
        endpoints=tuple(
            EndpointConfig(name, venue, port, options.tls)
            for name, port in zip(options.endpoint_names, options.ports, strict=True)
        ),
        rest=(RestConfig(REST_NAME, venue, options.rest_port),),
        faults=_faults(options.faults, refuse),
        product=product,
        limits=replace(
            usual,
            client_messages_per_s=options.message_limit or usual.client_messages_per_s,
            streams=options.stream_limit,
            connects=options.connect_limit,
            ping_interval_s=options.ping_interval or usual.ping_interval_s,
            pong_timeout_s=options.pong_timeout or usual.pong_timeout_s,
            lifetime_s=options.lifetime,
        ),
        rest_limits=replace(
            of_rest, weight_per_minute=options.weight_limit or of_rest.weight_per_minute
        ),
        host=options.host,
        ca_path=options.ca_file if options.tls else None,
    )


def _faults(path: Path | None, refuse: Callable[[Sequence[Fault]], None]) -> tuple[Fault, ...]:
    if path is None:
        return ()
    try:
        faults = load_faults(path)
    except OSError as error:
        raise ConfigError(f"--faults {path} cannot be read: {error.strerror or error}") from error
    except msgspec.DecodeError as error:
        raise ConfigError(f"--faults {path}: {error}") from error
    try:
        refuse(faults)
    except ValueError as error:
        raise ConfigError(f"--faults {path}: {error}") from error
    return tuple(faults)


def explain(error: OSError, options: ServeOptions) -> ConfigError:
    """Name the port and the option: the error itself tells neither."""
    if error.errno == errno.EADDRINUSE:
        for name, port in [*(("ports", port) for port in options.ports),
                           ("rest_port", options.rest_port)]:  # fmt: skip
            try:
                listen(options.host, port).close()
            except OSError:
                return ConfigError(
                    f"port {port} on {options.host} is in use; stop the other program, or choose "
                    f"another port with {flag(name)}"
                )
    return ConfigError(f"cannot listen on {options.host}: {error.strerror or error}; see --host")


def announce(options: ServeOptions, running: Running) -> None:
    """One line a URL, on standard output."""
    for name, url in running.websocket_urls.items():
        put_line(f"{name} {url}/stream")
    for name, url in running.rest_urls.items():
        put_line(f"{name} {url}")
    if options.tls:
        put_line(f"ca {options.ca_file.resolve()}")
