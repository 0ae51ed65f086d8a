"""The package stays a house that can be seen: short modules, each with a sentence of its own."""

from __future__ import annotations

import ast
import statistics
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "k2trio"
MAX_LINES = 400
MAX_MEDIAN_LINES = 150


def modules() -> dict[str, str]:
    """Path within the package → source."""
    return {
        str(path.relative_to(PACKAGE)): path.read_text(encoding="utf-8")
        for path in PACKAGE.rglob("*.py")
    }


def test_no_module_is_too_long_to_have_one_concept() -> None:
    lengths = {name: len(source.splitlines()) for name, source in modules().items()}
    assert {name: length for name, length in lengths.items() if length > MAX_LINES} == {}
    assert statistics.median(lengths.values()) <= MAX_MEDIAN_LINES


def test_every_module_says_in_one_sentence_what_it_is_for() -> None:
    silent = [
        name
        for name, source in modules().items()
        if not (ast.get_docstring(ast.parse(source)) or "").partition("\n")[0].endswith((".", "?"))
    ]
    assert silent == []


STARTS = {"processes": {"k2trio", "python", "started", "simulator"}, "kafkanode": {"KafkaNode"}}
"""Helpers of the tests that start a program, by their module."""


def test_what_starts_a_program_is_in_the_slow_half() -> None:
    quick = []
    for path in Path(__file__).parent.rglob("test_*.py"):
        source = path.read_text(encoding="utf-8")
        imports = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.ImportFrom)]
        starts = any(
            {alias.name for alias in node.names} & STARTS.get(node.module or "", set())
            for node in imports
        )
        if starts and "pytest.mark.slow" not in source:
            quick.append(path.name)
    assert quick == []
