"""The best levels, however they are told: by a stream, or as the top of a book from REST."""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from .payloads import PartialDepth

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .payloads import BookTicker
    from .streams import Stream

Side: TypeAlias = tuple[tuple[str, str], ...]
"""Prices with what is wanted or offered there, the best first; equal where the numbers are."""


class Quote(NamedTuple):
    """The best bids and asks, as many as a stream tells of."""

    bids: Side
    asks: Side


def quote_of(stream: Stream, data: BookTicker | PartialDepth) -> Quote:
    """What a stream says by a message, or would say of a book from REST."""
    if isinstance(data, PartialDepth):
        most = stream.levels or 1
        bids, asks = data.bids[:most], data.asks[:most]
        return Quote(_side(map(_level, bids)), _side(map(_level, asks)))
    return Quote(_side([(data.bid, data.bid_quantity)]), _side([(data.ask, data.ask_quantity)]))


_level = operator.attrgetter("price", "quantity")


def _side(levels: Iterable[tuple[str, str]]) -> Side:
    """Nothing at all is told as a level of zeros, or as none."""
    told = ((_shortest(price), _shortest(quantity)) for price, quantity in levels)
    return tuple((price, quantity) for price, quantity in told if quantity != "0")


def _shortest(number: str) -> str:
    """A decimal without the zeros that it may end with: how many there are is up to the teller."""
    return number.rstrip("0").removesuffix(".") if "." in number else number
