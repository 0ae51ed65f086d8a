"""What a recording tells a venue, one thing after the other."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from ..market.bars import Bar
from ..market.records import AggTrade, Trade

if TYPE_CHECKING:
    from ..market.message import Message


class Levels(NamedTuple):
    """Levels of a book as (price, quantity), in units of 10⁻⁸.

    :ivar first: the first update that they contain; None: they are the whole book.
    :ivar last: the last one.
    """

    first: int | None
    last: int
    bids: list[tuple[int, int]]
    asks: list[tuple[int, int]]


Record: TypeAlias = Trade | AggTrade | Bar | Levels
"""What REST can tell of a message."""


class Entry(NamedTuple):
    """One thing that happened.

    :ivar due_us: when; microseconds since 1970, never before that of the entry in front of it.
    :ivar stream: exact stream name.
    :ivar message: what was told on the stream; None for what only REST told.
    :ivar record: what REST can tell of it from now on, if anything.
    """

    due_us: int
    stream: str
    message: Message | None
    record: Record | None
