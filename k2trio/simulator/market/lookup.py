"""A trade of any kind by its id, as the stream told it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from k2trio.market.streams import Kind, parse_stream

from . import payloads
from .contract import symbol_of
from .forms import FORMS

if TYPE_CHECKING:
    from .contract import VenueMarket


def payload_of(
    market: VenueMarket, name: str, order_key: int, unit: int = payloads.MILLISECOND
) -> bytes | None:
    """The payload of a trade of any kind by id, if history still has it."""
    stream, forms = parse_stream(name, market.product), FORMS[market.product]
    symbol = symbol_of(market, stream)
    code = symbol.name
    match stream.kind:
        case Kind.TRADE if trade := symbol.trades.get(order_key):
            return forms.trade(code, trade, unit)
        case Kind.AGG_TRADE if agg := symbol.agg_trades.get(order_key):
            return forms.agg_trade(code, agg, unit)
        case Kind.BLOCK_TRADE if block := symbol.block_trades.get(order_key):
            return payloads.block_trade(code, block, unit)
        case _:
            return None
