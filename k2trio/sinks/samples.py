"""What a sample of a book looks like as one JSON line.

A line is ``{"venue","stream","book":{"symbol","time","late","state","problem","update_id","age",
"bids","asks"}}``, and for samples that were not taken ``{"venue","stream","book_missed":{"symbol",
"first","last","count"}}``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from ..book.order_book import BookState
from ..market.payloads import Level

if TYPE_CHECKING:
    from ..book.order_book import OrderBook
    from ..book.standing import Standing

_encode = msgspec.json.Encoder().encode


class _Sample(msgspec.Struct):
    """Times are seconds; ``late``: after ``time``, ``age``: since the book's last update."""

    symbol: str
    time: float
    late: float
    state: BookState
    problem: str | None
    update_id: int | None
    age: float | None
    bids: list[Level]
    asks: list[Level]


class _Missed(msgspec.Struct):
    symbol: str
    first: float
    last: float
    count: int


class _SampleLine(msgspec.Struct):
    venue: str | None
    stream: str
    book: _Sample


class _MissedLine(msgspec.Struct):
    venue: str | None
    stream: str
    book_missed: _Missed


def encode_sample(
    book: OrderBook, standing: Standing, *, time: float, late_s: float, levels: int
) -> bytes:
    """A sample of a book as a line, newline included.

    Of levels behind which there may be unknown ones, none is told.

    :param time: what it is the sample of (Unix time).
    :param late_s: how long after that it is taken.
    """
    age = standing.age_s
    sample = _Sample(
        book.symbol,
        time,
        round(late_s, 6),
        standing.state,
        standing.problem,
        book.last_update_id,
        None if age is None else round(age, 6),
        book.bids(min(levels, book.known_bids)),
        book.asks(min(levels, book.known_asks)),
    )
    return _encode(_SampleLine(book.venue, book.stream, sample)) + b"\n"


def encode_missed(book: OrderBook, first: float, last: float, count: int) -> bytes:
    """A line that tells of samples that were not taken.

    :param first: the time of the first of them (Unix time).
    :param last: the same of the last.
    """
    missed = _Missed(book.symbol, first, last, count)
    return _encode(_MissedLine(book.venue, book.stream, missed)) + b"\n"
