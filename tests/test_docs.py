"""The README tells what the code does."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path
from typing import Any

import pytest

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
    assert load_tables().filled(README) == README, "run python docs/tables.py"


def test_a_table_that_drifts_is_found() -> None:
    tables = load_tables()
    assert tables.filled(README.replace("`RECONNECT_DELAY` | `5`", "`RECONNECT_DELAY` | `6`")) == (
        README
    )
    with pytest.raises(ValueError, match="no place for the table 'metrics'"):
        tables.filled(README.replace("<!-- table: metrics -->", ""))


def test_every_setting_has_a_row_and_a_meaning() -> None:
    rows = dict(re.findall(r"^\| `([A-Z_]+)` \|.*\| (.+) \|$", README, re.MULTILINE))
    assert rows == {name.upper(): item.description for name, item in Settings.model_fields.items()}


def test_the_example_of_faults_is_one() -> None:
    (example,) = re.findall(r"```json\n(\[.+?\])\n```", README, re.DOTALL)
    assert len(parse_faults(example)) == 5


def test_every_option_in_an_example_exists() -> None:
    blocks = re.findall(r"```sh\n(.+?)```", README, re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines() if "-m k2trio" in line]
    known = {f"--{name.replace('_', '-')}" for name in Settings.model_fields}
    known |= {"--ports", "--rest-port", "--rate", "--faults", "--quiet", "--runbook-url"}
    used = {option for line in lines for option in re.findall(r"(--[a-z-]+)", line)}
    assert used <= known
    assert len(lines) >= 8


def test_the_python_example_runs_as_far_as_it_can_without_a_network() -> None:
    (example,) = re.findall(r"```python\n(.+?)```", README, re.DOTALL)
    body = example.replace("trio.run(main)", "")
    names: dict[str, Any] = {}
    exec(compile(body, "README", "exec"), names)  # noqa: S102 - our own text
    assert callable(names["main"])
    k2trio = sys.modules["k2trio"]
    for name in set(re.findall(r"k2trio\.([A-Za-z_]+)", body)):
        assert name in k2trio.__all__
