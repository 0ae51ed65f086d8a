"""How a ladder looks: asks above, bids below, and beside them what can be said of the book."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.panel import Panel
from rich.text import Text

from ...book.order_book import BookState
from ..terminal import wrapped
from .numbers import Column

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ...market.payloads import Level
    from .view import View

BORDER_COLUMNS, BORDER_ROWS = 4, 2
"""Of a panel, with the space beside its text."""
LEAST_ROWS = 3
"""Inside of it: a level a side, and the spread."""
MIN_BAR_COLUMNS = 4
STATES = {BookState.LIVE: "green", BookState.UNPROVEN: "bold red", BookState.EMPTY: "yellow"}


@dataclass(frozen=True)
class Glyphs:
    """What pictures are made of: where the terminal has nothing but ASCII, of that."""

    blocks: str
    """The parts of a bar's last column, and the whole column as the last one."""
    rest: str
    dot: str


UNICODE = Glyphs("▏▎▍▌▋▊▉█", "░", "·")
ASCII = Glyphs("#", ".", "|")


class Ladder:
    """The ladder of one book, which remembers how wide its numbers were."""

    def __init__(self, glyphs: Glyphs = UNICODE) -> None:
        self._glyphs = glyphs
        self._prices, self._quantities = Column(), Column()

    def panel(self, view: View, width: int, height: int) -> Panel:
        """The picture, with as many levels as fit in."""
        inner = width - BORDER_COLUMNS
        live = view.standing.state is BookState.LIVE
        room = height - BORDER_ROWS - LEAST_ROWS
        above = wrapped(view.standing.problem or "", inner)[:room]
        below = [self._balance(view, inner), *self._facts(view, inner)][: room - len(above)]
        levels = 1 + (room - len(above) - len(below)) // 2
        asks, bids = view.asks[:levels], view.bids[:levels]
        rows = self._rows([*reversed(asks), *bids], inner)
        lines = [
            *(Text(line, "bold red") for line in above),
            *(Text(row, "red" if live else "dim") for row in rows[: len(asks)]),
            self._middle(view, inner),
            *(Text(row, "green" if live else "dim") for row in rows[len(asks) :]),
            *below,
        ]
        dot, state = self._glyphs.dot, view.standing.state
        title = Text(f" {dot} ").join(
            [
                Text(view.symbol, "bold"),
                Text(state.value, STATES[state]),
                *([] if view.venue is None else [Text(view.venue)]),
            ]
        )
        return Panel(
            Text("\n", no_wrap=True, overflow="ellipsis").join(lines),
            title=title,
            title_align="left",
            width=width,
            border_style="" if live else "red" if state is BookState.UNPROVEN else "yellow",
        )

    def _rows(self, levels: Sequence[Level], width: int) -> list[str]:
        if not levels:
            return []
        prices = self._prices.take([level.price for level in levels])
        quantities = self._quantities.take([level.quantity for level in levels])
        numbers = list(zip(_aligned(prices), _aligned(quantities), strict=True))
        room = width - sum(map(len, numbers[0])) - 4
        most = max(float(level.quantity) for level in levels)
        return [
            f"{price}  {quantity}  {self._bar(float(level.quantity) / (most or 1), room)}".rstrip()
            for level, (price, quantity) in zip(levels, numbers, strict=True)
        ]

    def _bar(self, share: float, width: int) -> str:
        """A bar of at least one part, so that a level that is there has one."""
        if width < MIN_BAR_COLUMNS:
            return ""
        blocks = self._glyphs.blocks
        whole, part = divmod(max(1, round(share * width * len(blocks))), len(blocks))
        return blocks[-1] * whole + (blocks[part - 1] if part else "")

    def _middle(self, view: View, width: int) -> Text:
        if view.spread is None or view.mid is None:
            return Text("no spread: a side is empty"[:width], "dim")
        return Text(f"spread {view.spread}  mid {view.mid}", "bold")

    def _balance(self, view: View, width: int) -> Text:
        if view.imbalance is None:
            return Text("imbalance unknown", "dim")
        text = Text(f"imbalance {view.imbalance:+.2f}  ")
        room = width - len(text)
        if room >= MIN_BAR_COLUMNS:
            bids = round((1 + view.imbalance) / 2 * room)
            text.append(self._glyphs.blocks[-1] * bids, "green")
            text.append(self._glyphs.rest * (room - bids), "red")
        return text

    def _facts(self, view: View, width: int) -> list[Text]:
        standing = view.standing
        facts = [
            "no update yet" if view.update_id is None else f"update {view.update_id}",
            "" if standing.age_s is None else f"{ago(standing.age_s)} ago",
            "all levels known" if view.known == "all" else f"{view.known} levels known",
            "no audit",
        ]
        style = "dim"
        if standing.verdict is not None and standing.judged_s is not None:
            agrees = "as the" if standing.verdict.equal else "NOT as the"
            since = ago(standing.judged_s)
            facts[-1] = f"audit: {agrees} {standing.verdict.witness} says, {since} ago"
            style = "dim" if standing.verdict.equal else "bold red"
        lines = flowing(filter(None, facts), f" {self._glyphs.dot} ", width)
        return [Text(line, "dim") for line in lines[:-1]] + [Text(lines[-1], style)]


def flowing(parts: Iterable[str], between: str, width: int) -> list[str]:
    """Parts beside each other as far as they fit, and else on further lines."""
    lines: list[str] = []
    for part in parts:
        if lines and len(lines[-1]) + len(between) + len(part) <= width:
            lines[-1] += between + part
        else:
            lines += wrapped(part, width)
    return lines


def ago(seconds: float) -> str:
    """A time for people."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 600:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 36_000 else f"{seconds / 3600:.0f} h"


def _aligned(numbers: Sequence[str]) -> list[str]:
    width = max(map(len, numbers))
    return [number.rjust(width) for number in numbers]
