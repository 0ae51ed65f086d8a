"""The best prices, however they are told: by a stream, or as the top of a book from REST."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .payloads import BookTicker, Level, PartialDepth


class Quote(NamedTuple):
    """Best bid and ask with what is wanted and offered there; equal where the numbers are."""

    bid: str
    bid_quantity: str
    ask: str
    ask_quantity: str


def quote_of_ticker(data: BookTicker) -> Quote:
    """What a book ticker says."""
    return Quote(*map(_shortest, (data.bid, data.bid_quantity, data.ask, data.ask_quantity)))


def quote_of_book(book: PartialDepth) -> Quote:
    """The same of a book; a side without levels is zero, as the exchange writes it."""
    return Quote(*_best(book.bids), *_best(book.asks))


def _best(side: Sequence[Level]) -> tuple[str, str]:
    return (_shortest(side[0].price), _shortest(side[0].quantity)) if side else ("0", "0")


def _shortest(number: str) -> str:
    """A decimal without the zeros that it may end with: how many there are is up to the teller."""
    return number.rstrip("0").removesuffix(".") if "." in number else number
