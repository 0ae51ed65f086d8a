"""The reference tells what the code does."""

from __future__ import annotations

import importlib.util
import itertools
import re
from typing import Any, get_args

import pytest
import trio
from pages import DOCS, README, blocks
from world import open_world

import k2trio
from k2trio.commands.book.lines import COLUMNS
from k2trio.commands.main import COMMANDS
from k2trio.continuity.items import GapReason
from k2trio.market.payloads import Origin
from k2trio.observe.transitions import ConnectionLost, DialFailed
from k2trio.settings import Settings
from k2trio.simulator import parse_faults

REFERENCE = DOCS / "reference"
SETTINGS = (REFERENCE / "settings.md").read_text()
LINES = (REFERENCE / "json-lines.md").read_text()
(FAULTS,) = (block.text for block in blocks(DOCS / "howto" / "simulator.md", "json"))


@pytest.fixture(scope="module")
def tables() -> Any:
    spec = importlib.util.spec_from_file_location("tables", DOCS / "tables.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_tables_are_those_of_the_code(tables: Any) -> None:
    for document in tables.TABLES:
        text = document.read_text()
        assert tables.filled(text, document) == text, "run python docs/tables.py"


def test_a_table_that_drifts_is_found(tables: Any) -> None:
    page = REFERENCE / "settings.md"
    drifted = SETTINGS.replace("`RECONNECT_DELAY` | `5`", "`RECONNECT_DELAY` | `6`")
    assert drifted != SETTINGS
    assert tables.filled(drifted, page) == SETTINGS
    with pytest.raises(ValueError, match="has no place for the table 'settings'"):
        tables.filled(SETTINGS.replace("<!-- table: settings -->", ""), page)


def test_every_setting_has_a_row_and_a_meaning() -> None:
    rows = dict(re.findall(r"^\| `([A-Z_]+)` \|.*\| (.+) \|$", SETTINGS, re.MULTILINE))
    assert rows == {name.upper(): item.description for name, item in Settings.model_fields.items()}


def test_every_command_is_told_with_its_options(tables: Any) -> None:
    headings = re.findall(r"^## (\w+)$", (REFERENCE / "commands.md").read_text(), re.MULTILINE)
    assert sorted(headings) == sorted(COMMANDS) == sorted(tables.COMMANDS)


def test_every_public_name_is_told_once() -> None:
    page = (REFERENCE / "library.md").read_text()
    told = re.findall(r"^\.\. auto\w+:: (\w+)(?:\(.*\))?$", page, re.MULTILINE)
    modules = {"aio", "futures", "streams", "sync"}
    assert sorted(told) == sorted(set(k2trio.__all__) - modules - {"__version__", "transitions"})
    assert set(re.findall(r"^\.\. automodule:: k2trio\.(\w+)$", page, re.MULTILINE)) == modules
    assert "`k2trio.__version__`" in page
    assert "`k2trio.transitions`" in page


def test_the_readme_is_short() -> None:
    assert len(README.read_text().splitlines()) <= 150


def test_the_moving_picture_is_one_that_any_page_may_show() -> None:
    picture = (DOCS / "demo.svg").read_text()
    assert len(picture) < 300_000
    assert "@keyframes" in picture
    assert not re.search(r"<script|<foreignObject|https?://(?!www\.w3\.org/)", picture)


def test_the_example_of_faults_is_one() -> None:
    assert len(parse_faults(FAULTS)) == 6


def test_every_kind_of_line_and_every_reason_is_documented() -> None:
    (example,) = re.findall(r"writes one JSON line.+?```json\n(.+?)```", LINES, re.DOTALL)
    every = {"data", "gap", "outage", "venue_changed", "book", "book_missed"}
    kinds = {key for line in example.splitlines() for key in every if f'"{key}":' in line}
    assert kinds == every
    table = LINES.partition("| `reason` |")[2].partition("\n\n")[0]
    assert set(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)) == set(get_args(GapReason))
    (origins,) = re.findall(r"^`origin` is (.+?)\. A `gap`", LINES, re.MULTILINE)
    assert set(re.findall(r"`(\w+)`", origins)) == set(get_args(Origin))


async def test_every_fault_of_the_example_is_seen_by_a_client_that_runs(
    autojump_clock: object,
) -> None:
    faults = parse_faults(FAULTS)
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
    assert f"`{' '.join(COLUMNS)}`" in (REFERENCE / "commands.md").read_text()
