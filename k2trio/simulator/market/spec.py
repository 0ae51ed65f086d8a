"""What is fixed about a symbol: its name, its grid of prices and quantities, where it starts."""

from __future__ import annotations

import random
from dataclasses import dataclass

SCALE = 10**8
"""Prices and quantities are integers of this many parts; the wire has eight decimals."""

KNOWN_PRICES = {"BTC": 60_000 * SCALE, "ETH": 3_000 * SCALE, "BNB": 600 * SCALE}


@dataclass(frozen=True, slots=True)
class SymbolSpec:
    """What is fixed about a symbol; all amounts in units of 10⁻⁸.

    ``tick * step`` must be at least 10⁸ so that quote volumes are exact in eight decimals.
    """

    symbol: str
    price: int = 60_000 * SCALE
    tick: int = SCALE // 100
    step: int = SCALE // 100_000

    def __post_init__(self) -> None:
        if self.tick * self.step < SCALE:
            raise ValueError(f"{self.symbol}: tick * step is finer than eight decimals")
        if self.price < 1000 * self.tick or self.price % self.tick:
            raise ValueError(
                f"{self.symbol}: price must be a multiple of tick, and over 1000 of it"
            )


def default_spec(symbol: str, seed: int) -> SymbolSpec:
    """A plausible symbol; well-known ones have a familiar price."""
    price = KNOWN_PRICES.get(symbol[:3].upper())
    if price is None:
        price = random.Random(f"{seed}/{symbol}/price").randrange(10, 1000) * SCALE
    return SymbolSpec(symbol.upper(), price)
