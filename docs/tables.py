"""The tables of the documents, out of the code that defines what they tell.

``python docs/tables.py`` writes them into the README and the pages of the reference; a test fails
while they differ.
"""

from __future__ import annotations

import argparse
import ast
import dataclasses
import functools
import inspect
import itertools
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, get_args

from k2trio.commands import book, check, config, demo, heal, ops, replay, seal, simulate, verify
from k2trio.commands.options import BY_FIELD, Layout, flag, make_parser
from k2trio.dataset.schema import DECIMAL, LEVELS, TIME
from k2trio.dataset.schema import TABLES as DATASET_TABLES
from k2trio.market.kinds import Kind, Repair, Rule
from k2trio.market.products import DIALECTS
from k2trio.market.venues import VENUES
from k2trio.observe.families import Families
from k2trio.observe.transitions import Transition
from k2trio.settings import ENV_PREFIX, Settings
from k2trio.simulator.faults import kinds
from k2trio.simulator.faults.fault import Fault

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from pydantic import BaseModel
    from pydantic.fields import FieldInfo

    from k2trio.dataset.schema import Column
    from k2trio.market.dialect import Dialect

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
REFERENCE = ROOT / "docs" / "reference"
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


COMMANDS: dict[str, tuple[type[BaseModel], Layout]] = {
    "run": (Settings, BY_FIELD),
    "check": (check.CheckSettings, BY_FIELD),
    "config": (config.ConfigSettings, BY_FIELD),
    "book": (book.BookSettings, book.LAYOUT),
    "demo": (demo.DemoOptions, BY_FIELD),
    "seal": (seal.SealOptions, BY_FIELD),
    "heal": (heal.HealSettings, heal.LAYOUT),
    "verify": (verify.VerifyOptions, verify.LAYOUT),
    "simulate": (simulate.SimulateOptions, BY_FIELD),
    "replay": (replay.ReplayOptions, replay.LAYOUT),
    "ops": (ops.OpsOptions, BY_FIELD),
}
"""What each command's line is made of."""
FEW_SETTINGS = 12
"""Of a command that takes some settings of ``run``, so many are named one by one."""


def options_table(command: str) -> str:
    """One row per option of a command's own, and which settings of ``run`` it takes besides."""
    model, layout = COMMANDS[command]
    rows: list[str] = []
    shared: list[str] = []
    inherited = Settings.model_fields.keys() - model.__annotations__.keys()
    if not issubclass(model, Settings):
        inherited = set()
    for action in make_parser(model, command, layout)._actions:  # noqa: SLF001 - argparse shows them to none
        if isinstance(action, argparse._HelpAction):  # noqa: SLF001 - the same
            continue
        if action.dest in inherited and action.option_strings:
            shared.append(f"`{action.option_strings[0]}`")
            continue
        about, default = _told(str(action.help))
        rows.append(f"| {_usage(action)} | {default} | {about} |")
    table = "\n".join(["| option | default | meaning |", "|---|---|---|", *rows])
    if not shared:
        return table
    if len(shared) <= FEW_SETTINGS:
        return f"{table}\n\nBesides, as in [the settings](settings.md): {', '.join(shared)}."
    left_out = [f"`{flag(name)}`" for name in Settings.model_fields if name in layout.left_out]
    but = f" but {', '.join(left_out)}" if left_out else ""
    return f"{table}\n\nBesides, all [settings](settings.md){but}."


def _usage(action: argparse.Action) -> str:
    if not action.option_strings:
        return f"`{action.metavar} …`"
    names = ", ".join(f"`{name}`" for name in action.option_strings)
    value = "" if action.nargs == 0 else f" {action.metavar}".replace("|", "\\|")
    return f"{names}{value}"


def _told(text: str) -> tuple[str, str]:
    """``Its port. [9090]`` → what it means, and the default as code."""
    about, bracket, default = text.replace("%%", "%").rpartition(" [")
    if not bracket or not default.endswith("]"):
        return text.replace("%%", "%"), ""
    return about, f"`{default[:-1]}`"


def transitions_table() -> str:
    """One row per transition: its name, its fields, and what has happened."""
    rows: list[str] = []
    for one in sorted(get_args(Transition), key=lambda one: str(one.__name__)):
        fields = ", ".join(f"`{field.name}`" for field in dataclasses.fields(one))
        about = " ".join((inspect.getdoc(one) or "").split()).replace("``", "`")
        rows.append(f"| `{one.__name__}` | {fields} | {about} |")
    return "\n".join(["| transition | fields | what happened |", "|---|---|---|", *rows])


def faults_table() -> str:
    """One row per kind of fault: what it hits, and what its name does not say."""
    said = _sentences_of_members(kinds.FaultKind)
    rows = [
        f"| `{kind}` | {kinds.SCOPE[kind].value} | {said.get(kind.name, '')} |"
        for kind in kinds.FaultKind
    ]
    return "\n".join(["| `kind` | hits | |", "|---|---|---|", *rows])


def _sentences_of_members(kind: type[Any]) -> dict[str, str]:
    """The strings that stand under members of an enumeration."""
    (definition,) = ast.parse(inspect.getsource(kind)).body
    body = definition.body if isinstance(definition, ast.ClassDef) else []
    found: dict[str, str] = {}
    for pair in itertools.pairwise(body):
        match pair:
            case (
                ast.Assign(targets=[ast.Name(id=name)]),
                ast.Expr(value=ast.Constant(value=str(text))),
            ):
                found[name] = _markdown(text)
            case _:
                pass
    return found


def fault_fields_table() -> str:
    """One row per field of a fault."""
    about = re.findall(r":param (\w+): (.+?)(?=:param|\Z)", inspect.getdoc(Fault) or "", re.DOTALL)
    rows = [f"| `{name}` | {_markdown(text)} |" for name, text in about]
    return "\n".join(["| field | meaning |", "|---|---|", *rows])


def _markdown(text: str) -> str:
    """A docstring in one line, its code as Markdown has it."""
    text = re.sub(r":\w+:`[.~]*(?:\w+\.)*(\w+)`", r"``\1``", " ".join(text.split()))
    return text.replace("``", "`")


def guarantees_table() -> str:
    """One row per promise: which streams have it."""
    said = dict(LESS)
    streams: dict[tuple[str, str], dict[str, list[str]]] = {}
    for dialect in DIALECTS.values():
        for kind, order in dialect.orders.items():
            proven = said.get(kind, PROVEN[order.rule])
            of = streams.setdefault((proven, REPAIRED[order.repair]), {})
            name = (
                "all others" if order.rule is Rule.INCREASING and kind not in said else f"`{kind}`"
            )
            if name not in of.setdefault(dialect.product, []):
                of[dialect.product].append(name)
    rows = [
        f"| {proven} | {repaired or 'nothing'} | {', '.join(of.get('spot', []))} |"
        f" {', '.join(of.get('usdm', []))} |"
        for (proven, repaired), of in streams.items()
    ]
    head = "| what is proven | what REST repairs | of spot | of USD-M futures |"
    return "\n".join([head, "|---|---|---|---|", *rows])


Table: TypeAlias = "Callable[[], str]"

TABLES: dict[Path, dict[str, Table]] = {
    README: {"guarantees": guarantees_table},
    REFERENCE / "settings.md": {"settings": settings_table},
    REFERENCE / "metrics.md": {"metrics": metrics_table},
    REFERENCE / "streams.md": {"kinds": kinds_table, "venues": venues_table},
    REFERENCE / "dataset.md": {"dataset": dataset_table},
    REFERENCE / "transitions.md": {"transitions": transitions_table},
    REFERENCE / "faults.md": {"faults": faults_table, "fault fields": fault_fields_table},
    REFERENCE / "commands.md": {
        f"options {name}": functools.partial(options_table, name)
        for name in COMMANDS
        if name != "run"
    },
}


def filled(text: str, document: Path) -> str:
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
