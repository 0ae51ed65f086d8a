"""The README's tables of settings, metrics and venues, out of the code that defines them.

``python docs/tables.py`` writes them into the README; a test fails while they differ.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from k2trio.market.venues import VENUES
from k2trio.observe.families import Families
from k2trio.settings import ENV_PREFIX, Settings

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pydantic.fields import FieldInfo

README = Path(__file__).parents[1] / "README.md"
BOUND_SIGNS = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}


def settings_table() -> str:
    """One row per setting: variable, default, bounds, meaning."""
    rows = [
        f"| `{name.upper()}` | {_default(item)} | {_bounds(item)} | {item.description} |"
        for name, item in Settings.model_fields.items()
    ]
    return "\n".join(
        [f"| `{ENV_PREFIX}…` | default | bounds | meaning |", "|---|---|---|---|", *rows]
    )


def _default(item: FieldInfo) -> str:
    value: Any = item.default
    if value is None or value == ():
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return _codes(value)
    return f"`{value}`"


def _bounds(item: FieldInfo) -> str:
    found = [
        f"{sign} {getattr(rule, name):g}" if isinstance(getattr(rule, name), float)
        else f"{sign} {getattr(rule, name)}"
        for rule in item.metadata
        for name, sign in BOUND_SIGNS.items()
        if hasattr(rule, name)
    ]  # fmt: skip
    return ", ".join(found)


def metrics_table() -> str:
    """One row per metric: name as scraped, labels, type, meaning."""
    rows: list[str] = []
    for row in Families.rows():
        name = row.name + ("_total" if row.kind == "counter" else "")
        labels = ", ".join(f"`{label}`" for label in row.labels)
        rows.append(f"| `{name}` | {labels} | {row.kind} | {row.meaning} |")
    return "\n".join(["| metric | labels | type | meaning |", "|---|---|---|---|", *rows])


def venues_table() -> str:
    """One row per known venue: its name, and where it is reached."""
    rows = [
        f"| `{venue.name}` | {_codes(venue.streams)} | {_codes(venue.rest)} |" for venue in VENUES
    ]
    return "\n".join(["| venue | WebSocket hosts | REST hosts |", "|---|---|---|", *rows])


def _codes(parts: Iterable[str]) -> str:
    return "<br>".join(f"`{part}`" for part in parts)


TABLES = {"settings": settings_table, "metrics": metrics_table, "venues": venues_table}


def filled(text: str) -> str:
    """The README with its tables as the code has them now."""
    for name, make in TABLES.items():
        begin, end = f"<!-- table: {name} -->", "<!-- end -->"
        before, found, rest = text.partition(begin)
        _, closed, after = rest.partition(end)
        if not (found and closed):
            raise ValueError(f"the README has no place for the table {name!r}")
        text = f"{before}{begin}\n\n{make()}\n\n{end}{after}"
    return text


if __name__ == "__main__":
    README.write_text(filled(README.read_text()))
    sys.stdout.write(f"{README.name} is up to date\n")
