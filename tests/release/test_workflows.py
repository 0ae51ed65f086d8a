"""The workflows of the forge: pinned, with least permissions, of sessions that there are."""

from __future__ import annotations

import ast
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / ".github" / "workflows"
WORKFLOWS = sorted(FOLDER.glob("*.yml"))
PINNED = re.compile(r"uses: [\w.-]+/[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$")

pytestmark = pytest.mark.skipif(not WORKFLOWS, reason="a source distribution has no workflows")


def jobs(path: Path) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = yaml.safe_load(path.read_text())["jobs"]
    return found


def steps(path: Path) -> list[dict[str, Any]]:
    return [step for job in jobs(path).values() for step in job["steps"]]


def sessions() -> set[str]:
    """Those that noxfile.py defines."""
    tree = ast.parse((ROOT / "noxfile.py").read_text())
    return {
        node.name for node in tree.body if isinstance(node, ast.FunctionDef) and node.decorator_list
    }


def test_every_action_is_pinned_by_its_commit_and_tells_its_version() -> None:
    lines = [line for path in WORKFLOWS for line in path.read_text().splitlines()]
    uses = [line.strip().removeprefix("- ") for line in lines if "uses:" in line]
    assert [line for line in uses if not PINNED.match(line)] == []
    assert len(uses) >= 8
    pins = {line.partition("@")[0]: set[str]() for line in uses}
    for line in uses:
        pins[line.partition("@")[0]].add(line)
    assert all(len(one) == 1 for one in pins.values()), "one version of each"


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_a_job_may_do_only_what_it_says(path: Path) -> None:
    assert yaml.safe_load(path.read_text())["permissions"] == {}
    for name, job in jobs(path).items():
        wanted = {"id-token": "write"} if name == "publish" else {"contents": "read"}
        assert job["permissions"] == wanted, name
        assert job["timeout-minutes"] <= 60, name
    for step in steps(path):
        if "actions/checkout@" in step.get("uses", ""):
            assert step["with"] == {"persist-credentials": False}
    assert "secrets." not in path.read_text()


def test_only_a_tag_publishes_and_only_what_was_built_and_tried() -> None:
    path = FOLDER / "release.yml"
    triggers = yaml.safe_load(path.read_text())[True]  # YAML takes "on" for a truth value
    assert triggers == {"push": {"tags": ["v*"]}}
    publish = jobs(path)["publish"]
    assert set(publish["needs"]) == jobs(path).keys() - {"publish"}
    assert publish["environment"] == "pypi"
    assert publish["steps"][-1]["with"]["attestations"] is True


def test_the_sessions_that_are_run_are_those_of_nox() -> None:
    found = jobs(FOLDER / "ci.yml")
    named = set(found["check"]["strategy"]["matrix"]["session"])
    named |= set(re.findall(r"--session \"?([a-z]+)", "".join(map(str, map(steps, WORKFLOWS)))))
    assert named <= sessions(), named
    assert {"lint", "types", "pure", "tests", "build"} <= named


def test_every_python_that_is_supported_is_tested_and_gets_a_wheel() -> None:
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text())
    begin = "Programming Language :: Python :: "
    versions = [
        text.removeprefix(begin)
        for text in pyproject["project"]["classifiers"]
        if text.startswith(begin)
    ]
    assert jobs(FOLDER / "ci.yml")["tests"]["strategy"]["matrix"]["python"] == versions
    built = pyproject["tool"]["cibuildwheel"]["build"]
    assert built == [f"cp{version.replace('.', '')}-*" for version in versions]
