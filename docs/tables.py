"""The tables of the documents, out of the code that defines what they tell.

``python docs/tables.py`` writes them into the README and its neighbours; a test fails while they
differ.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from k2trio.dataset.schema import DECIMAL, LEVELS, TIME
from k2trio.dataset.schema import TABLES as DATASET_TABLES
from k2trio.market.kinds import Kind, Repair, Rule
from k2trio.market.products import DIALECTS
from k2trio.market.venues import VENUES
from k2trio.observe.families import Families
from k2trio.settings import ENV_PREFIX, Settings

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pydantic.fields import FieldInfo

    from k2trio.dataset.schema import Column
    from k2trio.market.dialect import Dialect

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
DATASET = ROOT / "docs" / "dataset.md"
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


PROVEN = {
    Rule.CONTIGUOUS: "every id: they are consecutive",
    Rule.CHAINED: "every message: each names the one before",
    Rule.INCREASING: "order only; an interruption is an `Outage`",
}
REPAIRED = {
    Repair.HISTORICAL_TRADES: "trades, by id",
    Repair.HISTORICAL_BLOCK_TRADES: "block trades, by id",
    Repair.AGG_TRADES: "aggregates, by id",
    Repair.KLINES: "closed bars, by time",
    Repair.SNAPSHOT: "by a snapshot",
    Repair.NONE: "",
}
LESS = {
    (Kind.KLINE, "every closed bar: they step by the interval"),
    (Kind.BLOCK_TRADE, "every id that REST lists"),
    (Kind.FORCED_ORDER, "nothing: the exchange tells one a second at most"),
    (Kind.ALL_FORCED_ORDERS, "nothing: the exchange tells one a second of a symbol at most"),
}
"""Kinds of which the rule alone does not say what is proven."""


def kinds_table() -> str:
    """One row per product and kind: its streams, what can be proven, and what repaired."""
    rows: list[str] = []
    for dialect in DIALECTS.values():
        for kind, order in dialect.orders.items():
            proven = dict(LESS).get(kind, PROVEN[order.rule])
            route = dialect.routes.get(kind, "")
            rows.append(
                f"| {dialect.product} | {_codes(_streams_of(dialect, kind))} |"
                f" {f'`/{route}`' if route else ''} | {proven} | {REPAIRED[order.repair]} |"
            )
    head = "| product | streams | route | what is proven | what REST repairs |"
    return "\n".join([head, "|---|---|---|---|---|", *rows])


def _streams_of(dialect: Dialect, kind: Kind) -> list[str]:
    """The names of a kind, with what they have many of as a word."""
    names = [f"…@{suffix}" for suffix, what in dialect.suffixes.items() if what.kind is kind]
    names += [name for name, what in dialect.whole.items() if what.kind is kind]
    words = {"kline_": "<interval>", "continuousKline_": "<interval>", "ticker_": "<window>"}
    for begin, word in words.items():
        names = [re.sub(rf"(@|!){begin}[^@]+", rf"\1{begin}{word}", name) for name in names]
    if kind is Kind.PARTIAL_DEPTH:
        names = [re.sub(r"depth\d+", "depth<levels>", name) for name in names]
    return list(dict.fromkeys(names))


def _codes(parts: Iterable[str]) -> str:
    return "<br>".join(f"`{part}`" for part in parts)


def dataset_table() -> str:
    """One row per table of a dataset: its ``kind`` and its own columns."""
    rows = [
        f"| `{table.name}` | {', '.join(map(_column, table.columns))} |"
        for table in DATASET_TABLES.values()
    ]
    return "\n".join(["| `kind` | columns |", "|---|---|", *rows])


def _column(column: Column) -> str:
    absent = ", may be null" if column.nullable else ""
    return f"`{column.name}` {_type(column.type)}{absent}"


def _type(type_: Any) -> str:
    names = {DECIMAL: "decimal", TIME: "time", LEVELS: "list of `price` and `quantity`"}
    if type_ in names:
        return names[type_]
    return "list of rows like those of one symbol" if "list" in str(type_) else str(type_)


TABLES = {
    README: {
        "settings": settings_table,
        "metrics": metrics_table,
        "venues": venues_table,
        "kinds": kinds_table,
    },
    DATASET: {"dataset": dataset_table},
}


def filled(text: str, document: Path = README) -> str:
    """A document with its tables as the code has them now."""
    for name, make in TABLES[document].items():
        begin, end = f"<!-- table: {name} -->", "<!-- end -->"
        before, found, rest = text.partition(begin)
        _, closed, after = rest.partition(end)
        if not (found and closed):
            raise ValueError(f"{document.name} has no place for the table {name!r}")
        text = f"{before}{begin}\n\n{make()}\n\n{end}{after}"
    return text


if __name__ == "__main__":
    for path in TABLES:
        path.write_text(filled(path.read_text(), path))
        sys.stdout.write(f"{path.name} is up to date\n")
