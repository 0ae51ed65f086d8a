"""What is written down of mutants that live speaks of the code as it is."""

import ast
from pathlib import Path

import pytest
from mutation import ARROW, explained

import k2trio

EXPLAINED = explained()


def functions(file: str) -> dict[str, str]:
    """The source of each function of a file, by its name within it, in one line."""
    text = (Path(k2trio.__file__).parent / file).read_text()
    found: dict[str, str] = {}
    for node in ast.parse(text).body:
        inner = {f"{node.name}.": node.body} if isinstance(node, ast.ClassDef) else {"": [node]}
        for prefix, body in inner.items():
            for one in body:
                if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef):
                    source = ast.get_source_segment(text, one) or ""
                    found[prefix + one.name] = " ".join(source.split())
    return found


@pytest.mark.parametrize("file", sorted({line.partition(" ")[0] for line in EXPLAINED}))
def test_what_is_explained_is_still_there(file: str) -> None:
    sources = functions(file)
    for line in EXPLAINED:
        if line.startswith(f"{file} "):
            where, _, was = line.partition(ARROW)[0].partition(": ")
            assert was in sources[where.split()[1]], line


def test_every_reason_is_a_sentence() -> None:
    assert all(why[:1].isupper() and why.endswith(".") for why in EXPLAINED.values())
