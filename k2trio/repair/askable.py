"""Which silences a venue can be asked about, by kind of stream, and what is known of the others."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..market.streams import Kind

if TYPE_CHECKING:
    from ..continuity.track import Track

BY_ID = frozenset(
    {
        Kind.TRADE,
        Kind.AGG_TRADE,
        Kind.BLOCK_TRADE,
        Kind.DEPTH,
        Kind.BOOK_TICKER,
        Kind.PARTIAL_DEPTH,
    }
)
"""Kinds whose key is an id that REST knows."""
_BY_TIME = frozenset({Kind.KLINE, Kind.MINI_TICKER, Kind.TICKER, Kind.WINDOW_TICKER})
"""Kinds that speak of trades: a trade after their last message is news."""
PERIODIC = frozenset({Kind.AVG_PRICE, Kind.ALL_MINI_TICKERS, Kind.ALL_WINDOW_TICKERS})
"""Kinds that no venue can be asked about, and that speak every second whatever happens."""
RARE = frozenset({Kind.BLOCK_TRADE, Kind.REFERENCE_PRICE})
"""Kinds that may have nothing to say for hours."""


def can_be_asked_about(track: Track) -> bool:
    """Whether a venue can tell what is newest: of block trades only by one that it told before."""
    kind = track.stream.kind
    if kind is Kind.BLOCK_TRADE:
        return track.next is not None
    return kind in BY_ID or kind in _BY_TIME
