"""``k2trio simulate``: the simulated exchange as a server, for tests of your own."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import trio
from pydantic import BeforeValidator, Field

from ..errors import ConfigError
from ..extras import require
from ..fields import Symbol  # noqa: TC001 - pydantic looks at it
from ..simulator import EndpointConfig, Fault, Limits, RestConfig, ServeConfig, load_faults, serve
from ..simulator.faults.fault import refuse_unknown
from ..simulator.serving.gate import listen
from .options import Options, flag, split
from .run import EXIT_OK
from .terminal import put_line

if TYPE_CHECKING:
    from collections.abc import Collection

    from ..simulator import Running

ENDPOINT_NAMES = "abcdefghijklmnopqrstuvwxyz"
REST_NAME = "rest"

Port = Annotated[int, Field(ge=0, le=65535)]


class SimulateOptions(Options):
    """Serve a simulated exchange. Prints one line per URL, then serves until a signal."""

    host: str = Field("127.0.0.1", description="Address to listen on.")
    ports: Annotated[tuple[Port, ...], BeforeValidator(split)] = Field(
        (9443,),
        min_length=1,
        max_length=len(ENDPOINT_NAMES),
        description="One WebSocket endpoint per port; 0 picks a free one. They are named a, b, …",
    )
    rest_port: int = Field(9080, ge=0, le=65535, description="Port of REST, plain HTTP.")
    venue: str = Field("binance.com", min_length=1, description="What the venue is called.")
    symbols: Annotated[tuple[Symbol, ...], BeforeValidator(split)] = Field(
        ("BTCUSDT", "ETHUSDT"), min_length=1, description="What is traded."
    )
    rate: float = Field(10, ge=0, le=1_000_000, description="Taker orders per second and symbol.")
    quotes: float = Field(1, ge=0, le=1000, description="Book changes per taker order.")
    seed: int = Field(0, ge=0, description="Decides everything that happens on the market.")
    tls: bool = Field(False, description="Serve wss:// with a certificate made for this run.")
    ca_file: Path = Field(
        Path("k2trio-simulator-ca.pem"),
        description="With --tls: where to write the authority that clients must trust.",
    )
    faults: Path | None = Field(
        None, description="JSON file of what goes wrong, and when; see the README."
    )
    lifetime: float = Field(86_400, gt=0, description="A connection is closed after this time (s).")
    ping_interval: float = Field(20, gt=0, description="The exchange pings this often (s).")
    pong_timeout: float = Field(60, gt=0, description="A ping must be answered in this time (s).")
    message_limit: int = Field(5, ge=1, description="Client messages a second and connection.")
    stream_limit: int = Field(1024, ge=1, description="Streams of one connection.")
    connect_limit: int = Field(300, ge=1, description="Connects of one client in 5 minutes.")
    strict_symbols: bool = Field(
        True, description="Refuse unknown symbols; the real exchange accepts them in silence."
    )


async def simulate(options: SimulateOptions) -> int:
    """Serve until cancelled.

    :raises ConfigError: for a busy port or a faults file that cannot be used.
    """
    if options.tls:
        require("trustme", "certificates", "--tls")
    config = _configuration(options)
    async with trio.open_nursery() as nursery:
        try:
            running = await nursery.start(serve, config)
        except OSError as error:
            raise _explain(error, options) from error
        _announce(options, running)
    return EXIT_OK


def _configuration(options: SimulateOptions) -> ServeConfig:
    names = ENDPOINT_NAMES[: len(options.ports)]
    return ServeConfig(
        endpoints=tuple(
            EndpointConfig(name, options.venue, port, options.tls)
            for name, port in zip(names, options.ports, strict=True)
        ),
        rest=(RestConfig(REST_NAME, options.venue, options.rest_port),),
        symbols=options.symbols,
        seed=options.seed,
        rate=options.rate,
        quotes=options.quotes,
        faults=_faults(options.faults, {*names, REST_NAME, options.venue}, options.symbols),
        limits=Limits(
            client_messages_per_s=options.message_limit,
            streams=options.stream_limit,
            connects=options.connect_limit,
            ping_interval_s=options.ping_interval,
            pong_timeout_s=options.pong_timeout,
            lifetime_s=options.lifetime,
        ),
        strict_symbols=options.strict_symbols,
        host=options.host,
        ca_path=options.ca_file if options.tls else None,
    )


def _faults(
    path: Path | None, names: Collection[str], symbols: Collection[str]
) -> tuple[Fault, ...]:
    if path is None:
        return ()
    try:
        faults = load_faults(path)
    except OSError as error:
        raise ConfigError(f"--faults {path} cannot be read: {error.strerror or error}") from error
    except msgspec.DecodeError as error:
        raise ConfigError(f"--faults {path}: {error}") from error
    try:
        refuse_unknown(faults, names, symbols)
    except ValueError as error:
        raise ConfigError(f"--faults {path}: {error}") from error
    return tuple(faults)


def _explain(error: OSError, options: SimulateOptions) -> ConfigError:
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


def _announce(options: SimulateOptions, running: Running) -> None:
    for name, url in running.websocket_urls.items():
        put_line(f"{name} {url}/stream")
    for name, url in running.rest_urls.items():
        put_line(f"{name} {url}")
    if options.tls:
        put_line(f"ca {options.ca_file.resolve()}")
