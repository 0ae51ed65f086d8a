"""The README tells what the code does."""

from __future__ import annotations

import importlib.util
import itertools
import re
import sys
from pathlib import Path
from typing import Any, get_args

import pytest
import trio
from world import open_world

from k2trio.commands.book.lines import COLUMNS
from k2trio.commands.check import CheckSettings
from k2trio.commands.options import flag
from k2trio.commands.replay import ReplayOptions
from k2trio.continuity.items import GapReason
from k2trio.market.payloads import Origin
from k2trio.observe.transitions import ConnectionLost, DialFailed
from k2trio.settings import Settings
from k2trio.simulator import parse_faults

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def load_tables() -> Any:
    spec = importlib.util.spec_from_file_location("tables", ROOT / "docs" / "tables.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_tables_are_those_of_the_code() -> None:
    tables = load_tables()
    for document in tables.TABLES:
        text = document.read_text()
        assert tables.filled(text, document) == text, "run python docs/tables.py"


def test_a_table_that_drifts_is_found() -> None:
    tables = load_tables()
    assert tables.filled(README.replace("`RECONNECT_DELAY` | `5`", "`RECONNECT_DELAY` | `6`")) == (
        README
    )
    with pytest.raises(ValueError, match="has no place for the table 'metrics'"):
        tables.filled(README.replace("<!-- table: metrics -->", ""))


def test_every_setting_has_a_row_and_a_meaning() -> None:
    rows = dict(re.findall(r"^\| `([A-Z_]+)` \|.*\| (.+) \|$", README, re.MULTILINE))
    assert rows == {name.upper(): item.description for name, item in Settings.model_fields.items()}


def test_the_example_of_faults_is_one() -> None:
    (example,) = re.findall(r"```json\n(\[.+?\])\n```", README, re.DOTALL)
    assert len(parse_faults(example)) == 6


def test_every_kind_of_line_and_every_reason_is_documented() -> None:
    (example,) = re.findall(r"writes one JSON line.+?```json\n(.+?)```", README, re.DOTALL)
    every = {"data", "gap", "outage", "venue_changed", "book", "book_missed"}
    kinds = {key for line in example.splitlines() for key in every if f'"{key}":' in line}
    assert kinds == every
    table = README.partition("| `reason` |")[2].partition("\n\n")[0]
    assert set(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)) == set(get_args(GapReason))
    (origins,) = re.findall(r"^`origin` is (.+?)\. A `gap`", README, re.MULTILINE)
    assert set(re.findall(r"`(\w+)`", origins)) == set(get_args(Origin))


async def test_every_fault_of_the_example_is_seen_by_a_client_that_runs(
    autojump_clock: object,
) -> None:
    (example,) = re.findall(r"```json\n(\[.+?\])\n```", README, re.DOTALL)
    faults = parse_faults(example)
    async with open_world(faults, endpoints=("a", "b"), rate=20) as world:
        began_at = trio.current_time()
        await trio.sleep(faults[-1].at + 60)
        seen = [at for at, _ in [*world.of(ConnectionLost), *world.of(DialFailed)]]
        seen += [at for at, item in world.items if getattr(item, "origin", "") != "live"]
    seen = [at - began_at for at in seen]
    # One waits for the next dial, which the one after it makes necessary.
    starts = [one.at for one in faults if one.kind != "http_status"]
    for start, end in itertools.pairwise([*starts, starts[-1] + 60]):
        assert any(start <= at < end for at in seen), start
    assert [what.error_type for _, what in world.of(DialFailed)].count("http_429") == 1


def test_the_columns_of_plain_books_are_documented() -> None:
    assert f"`{' '.join(COLUMNS)}`" in README


def test_every_option_in_an_example_exists() -> None:
    blocks = re.findall(r"```sh\n(.+?)```", README, re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines() if "-m k2trio" in line]
    known = {f"--{name.replace('_', '-')}" for name in CheckSettings.model_fields}
    known |= set(map(flag, ReplayOptions.model_fields))
    known |= {"--ports", "--rest-port", "--rate", "--faults", "--quiet", "--runbook-url"}
    used = {option for line in lines for option in re.findall(r"(--[a-z-]+)", line)}
    assert used <= known
    assert len(lines) >= 8


@pytest.mark.parametrize("example", re.findall(r"```python\n(.+?)```", README, re.DOTALL))
def test_python_examples_run_as_far_as_they_can_without_a_network(example: str) -> None:
    body = re.sub(r"\n\n\n\S*main\S*\n$", "\n", example)  # without the call at its end
    names: dict[str, Any] = {}
    exec(compile(body, "README", "exec"), names)  # noqa: S102 - our own text
    assert callable(names["main"])
    k2trio = sys.modules["k2trio"]
    for name in set(re.findall(r"k2trio\.([A-Za-z_]+)", body)):
        assert name in k2trio.__all__
