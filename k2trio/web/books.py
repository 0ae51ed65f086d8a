"""What the status says of the books that the program keeps."""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING

from ..book.order_book import BookState
from ..observe import report

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..book.order_book import OrderBook
    from ..book.standing import Standing
    from ..market.payloads import Level


def most_doubtful(rows: Sequence[tuple[OrderBook, Standing]]) -> list[tuple[OrderBook, Standing]]:
    """As many as are shown, by symbol; if there are more, those that are not live first."""
    if len(rows) > report.MAX_ROWS:
        rows = heapq.nsmallest(
            report.MAX_ROWS,
            rows,
            key=lambda row: (row[1].state is BookState.LIVE, row[0].symbol),
        )
    return sorted(rows, key=lambda row: row[0].symbol)


def book_report(book: OrderBook, standing: Standing) -> report.BookReport:
    """The row of one book."""
    spread, verdict = book.spread, standing.verdict
    audit = None
    if verdict is not None and standing.judged_s is not None:
        audit = report.AuditReport(verdict.witness, verdict.equal, standing.judged_s)
    return report.BookReport(
        symbol=book.symbol,
        stream=book.stream,
        venue=book.venue,
        state=standing.state.value,
        problem=standing.problem,
        bid=_level(book.best_bid),
        ask=_level(book.best_ask),
        spread=None if spread is None else f"{spread:f}",
        update_id=book.last_update_id,
        age_s=standing.age_s,
        known=min(book.known_bids, book.known_asks),
        audit=audit,
    )


def _level(level: Level | None) -> report.LevelReport | None:
    return None if level is None else report.LevelReport(level.price, level.quantity)
