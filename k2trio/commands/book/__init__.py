"""``k2trio book``: order books as live ladders in the terminal, or as lines."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Literal

import trio
from pydantic import Field
from rich.console import Console

from ...client.books import FeedBooks
from ...fields import Symbols, WholeMilliseconds  # noqa: TC001 - pydantic looks at them
from ...observe import logs
from ...observe.telling import TransitionLog
from ...settings import Settings
from ...sinks.jsonl import JsonLines
from ..exported import exported_feed
from ..grid import Grid
from ..options import Layout
from ..run import EXIT_OK
from ..starting import refuse_untraded, usable_port
from .lines import heading, line_of
from .numbers import trimmed
from .screen import Screen
from .view import view_of

if TYPE_CHECKING:
    from collections.abc import Collection

    from .view import View

AUDITED, WITNESS = ("depth@100ms", "depth"), "bookTicker"
"""Books of depth updates are compared with the book ticker, at equal update ids."""
FILES = ("state", "coverage")
LAYOUT = Layout(
    words="symbols",
    left_out=frozenset(
        {
            *FILES,
            "streams",
            "output",
            "output_rotate",
            "output_rotate_bytes",
            "output_keep",
            "journal",
            "state_interval",
            "resume_limit",
            "book_levels",
            "book_interval",
        }
    ),
)
"""Settings of other commands, which write files, are no options here, and do not count."""


class BookSettings(Settings):
    """Show order books, live, with how far they can be believed. Ctrl-C ends.

    The options after --plain are those of run, and environment variables as there.
    """

    symbols: Symbols = Field(
        default=("BTCUSDT", "ETHUSDT"), min_length=1, description="Whose books to show."
    )

    stream: Literal["depth@100ms", "depth", "depth20@100ms", "depth20", "bookTicker"] = Field(
        default="depth@100ms",
        description="What books are made of; depth updates are compared with the book ticker.",
    )
    levels: int = Field(
        default=10, ge=1, le=1000, description="Levels a side, as far as there is room."
    )
    interval: WholeMilliseconds = Field(
        default=0.5, ge=0.1, le=3600, description="Time between two pictures, or lines (s)."
    )
    plain: bool = Field(
        default=False,
        description="Lines instead of a live screen; always so where output is no terminal.",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="warning", description="Lowest level that is logged, with --plain."
    )

    def of_feed(self, named: Collection[str]) -> Settings:
        """The settings of the feed that brings the books.

        :param named: the options that the command line names.
        """
        kinds = (self.stream, WITNESS) if self.stream in AUDITED else (self.stream,)
        symbols = [symbol.lower() for symbol in self.symbols]
        return self.model_copy(
            update={
                "streams": tuple(f"{symbol}@{kind}" for symbol in symbols for kind in kinds),
                **dict.fromkeys(FILES),
                "book_levels": 0,
                "depth_snapshot_levels": max(self.depth_snapshot_levels, self.levels),
                "metrics_port": usable_port(
                    self.metrics_host, self.metrics_port, asked_for="metrics_port" in named
                ),
            }
        )


async def book(options: BookSettings, named: Collection[str], *, plain: bool) -> int:
    """Show the books until told to stop.

    :param named: the options that the command line names.
    :param plain: lines instead of a live screen.
    :raises ConfigError: for a port or a symbol with which that cannot work.
    """
    log = logs.get_logger()
    settings = options.of_feed(named)
    await refuse_untraded(settings, log.warning)
    console = Console()
    plain = plain or console.is_dumb_terminal
    screen = Screen(options.levels, ascii_only=console.options.ascii_only)
    transitions = logs.transition_log(log) if plain else TransitionLog(screen.tell)
    async with (
        exported_feed(settings, observers=[transitions]) as (feed, url, reporter),
        transitions.summing_up(),
    ):
        reporter.books = books = FeedBooks(feed)
        began_at, messages = trio.current_time(), 0
        try:
            async with trio.open_nursery() as nursery:
                if plain:
                    nursery.start_soon(_write_lines, books, options)
                else:
                    screen.page_url = f"{url}/"
                    nursery.start_soon(screen.run, console, feed, books, options.interval)
                async for batch in feed.batches():
                    books.take(batch)
                    messages += len(batch)
        finally:
            told = _summary(books, trio.current_time() - began_at, messages)
            sys.stderr.write(f"k2trio: {told}\n")
    return EXIT_OK


async def _write_lines(books: FeedBooks, options: BookSettings) -> None:
    """Write a line a book at each multiple of the interval on the wall clock, for ever."""
    grid = Grid(options.interval, time.time())
    with JsonLines() as output:
        await output.append(f"{heading()}\n".encode(), 1)
        while True:
            await trio.sleep(grid.wait_s(time.time()))
            due = grid.look(time.time())
            if due is None or due.time is None:
                continue
            views = [view_of(*row, options.levels) for row in books.standings()]
            lines = "".join(f"{line_of(view, due.time)}\n" for view in views)
            await output.append(lines.encode(), len(views))


def _summary(books: FeedBooks, seconds: float, messages: int) -> str:
    """All of it in one line."""
    equal, differing = books.judged[True], books.judged[False]
    audits = f"{equal + differing} comparisons, {differing or 'none'} differed"
    ends = (_end(view_of(*row, 1)) for row in books.standings())
    return "; ".join([f"{messages} messages in {seconds:.1f} s", audits, *ends])


def _end(view: View) -> str:
    """How a book was at last."""
    at = f"{view.symbol} {view.standing.state.value}"
    if not (view.bids and view.asks):
        return at
    bid, ask = trimmed(view.bids[0].price), trimmed(view.asks[0].price)
    return f"{at} at update {view.update_id}: {bid} / {ask}"
