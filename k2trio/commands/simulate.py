"""``k2trio simulate``: the simulated exchange as a server, for tests of your own."""

from __future__ import annotations

import functools
from dataclasses import replace
from typing import Annotated

import trio
from pydantic import BeforeValidator, Field

from ..fields import OptionalProduct, Symbol  # noqa: TC001 - pydantic looks at them
from ..market.spot import SPOT
from ..simulator import serve
from ..simulator.faults.fault import refuse_unknown
from .options import split
from .run import EXIT_OK
from .serving import REST_NAME, ServeOptions, announce, configuration, explain


class SimulateOptions(ServeOptions):
    """Serve a simulated exchange. Prints one line per URL, then serves until a signal."""

    venue: str = Field("binance.com", min_length=1, description="What the venue is called.")
    product: OptionalProduct = Field(
        None, description="What is traded: spot, or usdm (USD-M futures); by default spot."
    )
    symbols: Annotated[tuple[Symbol, ...], BeforeValidator(split)] = Field(
        ("BTCUSDT", "ETHUSDT"), min_length=1, description="What is traded."
    )
    rate: float = Field(10, ge=0, le=1_000_000, description="Taker orders per second and symbol.")
    quotes: float = Field(1, ge=0, le=1000, description="Book changes per taker order.")
    seed: int = Field(0, ge=0, description="Decides everything that happens on the market.")
    strict_symbols: bool = Field(
        True, description="Refuse unknown symbols; the real exchange accepts them in silence."
    )


async def simulate(options: SimulateOptions) -> int:
    """Serve until cancelled.

    :raises ConfigError: for a busy port or a faults file that cannot be used.
    """
    names = {*options.endpoint_names, REST_NAME, options.venue}
    refuse = functools.partial(refuse_unknown, names=names, symbols=options.symbols)
    config = replace(
        configuration(options, options.venue, options.product or SPOT.product, refuse),
        symbols=options.symbols,
        seed=options.seed,
        rate=options.rate,
        quotes=options.quotes,
        strict_symbols=options.strict_symbols,
    )
    async with trio.open_nursery() as nursery:
        try:
            running = await nursery.start(serve, config)
        except OSError as error:
            raise explain(error, options) from error
        announce(options, running)
    return EXIT_OK
