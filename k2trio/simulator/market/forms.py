"""How messages are written that may have to be made outside their stream, by product."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from . import futures_payloads, payloads

if TYPE_CHECKING:
    from collections.abc import Callable

    from .records import AggTrade, Trade


class Forms(NamedTuple):
    """Of one product; the last argument of each is the unit of times."""

    trade: Callable[[str, Trade, int], bytes]
    agg_trade: Callable[[str, AggTrade, int], bytes]
    depth: Callable[..., bytes]
    book_ticker: Callable[[str, int, tuple[int, int, int, int], int, int], bytes]


def _book_ticker(
    symbol: str, update_id: int, top: tuple[int, int, int, int], _time_us: int, unit: int
) -> bytes:
    return payloads.book_ticker(symbol, update_id, top, unit)


FORMS = {
    "spot": Forms(payloads.trade, payloads.agg_trade, payloads.depth, _book_ticker),
    "usdm": Forms(
        futures_payloads.trade,
        futures_payloads.agg_trade,
        futures_payloads.depth,
        futures_payloads.book_ticker,
    ),
}
