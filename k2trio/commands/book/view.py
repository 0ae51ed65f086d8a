"""What is shown of a book: taken at one moment, for all ways to show it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from .numbers import trimmed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ...book.order_book import OrderBook
    from ...book.standing import Standing
    from ...market.payloads import Level


@dataclass(frozen=True, slots=True)
class View:
    """A book and its standing.

    :ivar bids: the best levels, the best first; none behind which there may be unknown ones.
    :ivar asks: the same.
    :ivar imbalance: of the levels that are shown, from -1 to 1.
    :ivar known: how many levels a side are known, or that all are.
    """

    symbol: str
    venue: str | None
    standing: Standing
    update_id: int | None
    bids: Sequence[Level]
    asks: Sequence[Level]
    spread: str | None
    mid: str | None
    imbalance: float | None
    known: str


def view_of(book: OrderBook, standing: Standing, levels: int) -> View:
    """Look at a book."""
    spread, mid = book.spread, book.mid
    known_bids, known_asks = book.known_bids, book.known_asks
    shown = min(levels, max(known_bids, known_asks))
    imbalance = book.imbalance(shown)
    return View(
        symbol=book.symbol,
        venue=book.venue,
        standing=standing,
        update_id=book.last_update_id,
        bids=book.bids(min(levels, known_bids)),
        asks=book.asks(min(levels, known_asks)),
        spread=None if spread is None else trimmed(f"{spread:f}"),
        mid=None if mid is None else trimmed(f"{mid:f}"),
        imbalance=None if imbalance is None else float(imbalance),
        known="all" if book.whole else str(min(known_bids, known_asks)),
    )
