"""The live screen: the ladders of all books, and below them how the feed does."""

from __future__ import annotations

import math
from collections import deque
from typing import TYPE_CHECKING

import trio
from rich.console import Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from ..terminal import wrapped
from .ladder import ASCII, UNICODE, Ladder, flowing
from .view import view_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rich.console import Console, RenderableType

    from ...client.books import FeedBooks
    from ...client.feed import Feed
    from ...client.health import FeedStatus
    from .view import View

LADDER_COLUMNS = 40
"""A ladder wants so many; as many ladders stand beside each other as have room."""
LADDER_ROWS = 7
"""So many rows it has at least: with its border a level a side, the spread, and two facts."""
MAX_TOLD = 3
"""Lines about what happened of late."""


class Screen:
    """What is to be seen; :meth:`page` makes the picture, :meth:`run` keeps it up to date.

    :param levels: a side, at most.
    :ivar page_url: of the status page, once it is known.
    """

    def __init__(self, levels: int, *, ascii_only: bool = False) -> None:
        self.page_url = ""
        self._levels = levels
        self._glyphs = ASCII if ascii_only else UNICODE
        self._ladders: dict[str, Ladder] = {}
        self._told: deque[str] = deque(maxlen=MAX_TOLD)

    def tell(self, _level: int, event: str, context: Mapping[str, object]) -> None:
        """Take what happened to the feed."""
        why = context.get("detail") or context.get("reason") or ""
        where = context.get("stream") or context.get("endpoint") or ""
        self._told.append(" ".join(filter(None, [event.replace("_", " "), str(where), str(why)])))

    async def run(self, console: Console, feed: Feed, books: FeedBooks, interval_s: float) -> None:
        """Show the books, until cancelled."""
        with Live(console=console, auto_refresh=False) as live:
            while True:
                size = live.console.size
                views = [view_of(*row, self._levels) for row in books.standings()]
                page = self.page(views, feed.status(), size.width, size.height - 1)
                live.update(page, refresh=True)
                await trio.sleep(interval_s)

    def page(
        self, views: Sequence[View], status: FeedStatus, width: int, height: int
    ) -> RenderableType:
        """The picture, so wide and so high."""
        beside = max(1, min(len(views), width // LADDER_COLUMNS))
        spare = max(0, height - LADDER_ROWS)
        below = self._below(status, width)[:spare]
        above = math.ceil(len(views) / beside)
        if above > (height - len(below)) // LADDER_ROWS:
            above = max(1, (height - len(below) - 1) // LADDER_ROWS)
            more = f"and {len(views) - beside * above} more"
            below = [Text(more, "yellow"), *below][:spare]
        room = height - len(below)
        grid = Table.grid()
        for first in range(0, beside * above, beside):
            row = views[first : first + beside]
            grid.add_row(
                *(
                    self._ladder(view.symbol).panel(view, width // beside, room // above)
                    for view in row
                )
            )
        return Group(grid, *below)

    def _ladder(self, symbol: str) -> Ladder:
        return self._ladders.setdefault(symbol, Ladder(self._glyphs))

    def _below(self, status: FeedStatus, width: int) -> list[Text]:
        lines = [
            Text(line, "red") for problem in status.problems for line in wrapped(problem, width)
        ]
        places = [f"on {line.endpoint}" for line in status.lines if line.endpoint is not None]
        facts = [
            "connected" if status.connected else "NOT CONNECTED",
            *dict.fromkeys(places),
            self.page_url,
            "Ctrl-C ends",
        ]
        lines += [Text(line, "dim") for line in flowing(facts, f" {self._glyphs.dot} ", width)]
        told = [line for text in self._told for line in wrapped(text, width)[:2]]
        return lines + [Text(line, "dim") for line in told[-MAX_TOLD:]]
