"""How the demo looks: a live screen on a terminal, lines in a pipe, and the tables of the end."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

import trio
from rich.console import Group
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from ..terminal import columns, put_line, put_rich, put_wrapped, wrapped
from .script import GAP, REPAIR, ROTATION

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from rich.console import RenderableType

    from ...client.feed import Feed
    from .score import Account, Outcome, Score

REFRESH_S = 0.25
LINES_SHOWN = 16
WIDE = 110
"""Columns from which on the table of faults says as what each was noticed."""
FACTS_HEIGHT = 7
BORDER = 2
"""Of a panel, on two sides together, and the space beside it."""
STATUS_LINES = 12
"""Lines about the message rate that a plain run prints, evenly spaced."""
STYLES = {"FAULT": "bold red", "fault": "red", "gap": "yellow", "rate": "dim", "feed": ""}


class Rate:
    """Messages a second since the last look."""

    def __init__(self) -> None:
        self._before: tuple[float, int] = (0.0, 0)

    def look(self, now: float, messages: int) -> float:
        """The rate since the last call."""
        then, count = self._before
        self._before = now, messages
        return (messages - count) / (now - then) if now > then else 0.0


class Screen:
    """The running demo; :meth:`say` takes lines, :meth:`run` keeps it up to date."""

    def __init__(self, seconds: float, *, plain: bool) -> None:
        self._seconds = seconds
        self._plain = plain
        self._lines: deque[tuple[float, str, str]] = deque(maxlen=LINES_SHOWN)

    def say(self, at: float, kind: str, text: str) -> None:
        """Show one line."""
        if self._plain:
            put_wrapped(text, first=f"{at:7.2f} s  {kind:<5}  ")
        else:
            self._lines.append((at, kind, text))

    async def run(self, score: Score, feed: Feed) -> None:
        """Show how the feed does, until cancelled."""
        await (self._run_plain if self._plain else self._run_live)(score, feed)

    async def _run_plain(self, score: Score, feed: Feed) -> None:
        rate = Rate()
        while True:
            await trio.sleep(self._seconds / STATUS_LINES)
            per_s = rate.look(score.now, score.messages)
            self.say(
                score.now,
                "rate",
                f"{per_s:.0f} messages/s from {score.endpoint}; delivered {score.messages}, "
                f"missing {score.missing}; breakers {_breakers(score)}",
            )

    async def _run_live(self, score: Score, feed: Feed) -> None:
        rate = Rate()
        with Live(auto_refresh=False, transient=True) as live:
            while True:
                per_s = rate.look(score.now, score.messages)
                size = live.console.size
                page = self._page(score, feed, per_s, size.width, size.height)
                live.update(page, refresh=True)
                await trio.sleep(REFRESH_S)

    def _page(
        self, score: Score, feed: Feed, per_s: float, width: int, height: int
    ) -> RenderableType:
        status = feed.status()
        facts = Table.grid(padding=(0, 2))
        facts.add_column(style="dim")
        facts.add_column()
        connected = "[green]connected[/]" if status.connected else "[red]not connected[/]"
        facts.add_row("time", f"{score.now:.1f} of {self._seconds:g} s")
        facts.add_row("endpoint", f"{score.endpoint}  {connected}")
        facts.add_row("breakers", _breakers(score))
        facts.add_row("messages", f"{score.messages}  ({per_s:.0f}/s)")
        facts.add_row("missing", str(score.missing))
        facts.add_row("reconnects", _counts(score.reconnects))
        facts.add_row("rotations", _counts(score.rotations))
        shown = max(1, min(LINES_SHOWN, height - FACTS_HEIGHT - 2 * BORDER - 1))
        lines = [
            (line, STYLES.get(kind, ""))
            for at, kind, text in self._lines
            for line in wrapped(text, width - 2 * BORDER, first=f"{at:6.2f} s  {kind:<5}  ")
        ]
        story = Text("\n").join(Text(line, style) for line, style in lines[-shown:])
        return Group(
            Panel(facts, title="k2trio demo", title_align="left"),
            Panel(story, title="what happens", title_align="left", height=shown + BORDER),
        )


def _breakers(score: Score) -> str:
    return ", ".join(f"{name} {state}" for name, state in score.breakers.items())


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.items()) or "none"


def show_summary(score: Score) -> None:
    """Print the tables of the end."""
    begun = [outcome for outcome in score.outcomes if outcome.began_at is not None]
    put_line()
    put_rich(_outcome_table(begun, lambda at: at - score.started_at), columns())
    put_line()
    accounts = score.accounts()
    put_rich(_account_table(accounts), columns())
    put_line()
    put_wrapped(f"reconnects: {_counts(score.reconnects)}")
    put_wrapped(f"rotations: {_counts(score.rotations)}")
    for account in accounts:
        for fault in account.faulty[:5]:
            put_wrapped(f"WRONG: {account.stream}: {fault}")
    put_line()
    put_wrapped(sum_of(accounts))


def sum_of(accounts: Sequence[Account]) -> str:
    """The accounts of all streams in one sentence."""
    emitted, live, repaired, missing = (
        sum(numbers)
        for numbers in zip(
            *((one.spanned, one.live, one.repaired, one.missing) for one in accounts), strict=True
        )
    )
    good = all(account.adds_up for account in accounts)
    return (
        f"{emitted:,} emitted {'=' if good else '≠'} {live:,} delivered live + {repaired:,} "
        f"repaired + {missing:,} declared missing; "
        + ("nothing lost in silence" if good else "the numbers do not add up")
    )


def _outcome_table(outcomes: Sequence[Outcome], since_start: Callable[[float], float]) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("at s", justify="right")
    table.add_column("fault")
    wide = columns() >= WIDE
    if wide:
        table.add_column("noticed as", no_wrap=True)
    for heading in ("noticed after s", "first data after s", "no data for s"):
        table.add_column(heading, justify="right", max_width=8)
    table.add_column("missing", justify="right")
    table.add_column("repaired", justify="right")
    for outcome in outcomes:
        began = outcome.began_at
        table.add_row(
            "-" if began is None else f"{since_start(began):.1f}",
            outcome.step.name,
            *([", ".join(sorted(outcome.step.noticed_as))] if wide else []),
            _after(began, outcome.noticed_at),
            _flowing(outcome),
            _outage(outcome),
            str(outcome.missing),
            str(outcome.repaired),
        )
    return table


def _after(began: float | None, then: float | None) -> str:
    return "never" if began is None or then is None else f"{then - began:.3f}"


def _flowing(outcome: Outcome) -> str:
    if outcome.step.noticed_as & {GAP, REPAIR} and outcome.flowing_at is not None:
        return "flows on"
    return _after(outcome.began_at, outcome.flowing_at)


def _outage(outcome: Outcome) -> str:
    if outcome.step.noticed_as & {ROTATION, GAP, REPAIR} and outcome.flowing_at is not None:
        return "none"
    return "-" if outcome.outage_s is None else f"{outcome.outage_s:.3f}"


def _account_table(accounts: Sequence[Account]) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("stream", no_wrap=True)
    for heading in ("emitted", "before first", "live", "repaired", "missing", "after last"):
        table.add_column(heading, justify="right")
    table.add_column("adds up")
    for account in accounts:
        table.add_row(
            account.stream,
            str(account.emitted),
            str(account.before),
            str(account.live),
            str(account.repaired),
            str(account.missing),
            str(account.after),
            "yes" if account.adds_up else "NO",
        )
    return table
