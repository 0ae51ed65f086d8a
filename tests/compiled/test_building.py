"""The core is built where a compiler is there, and told to be missing where not."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from world import open_world

from k2trio.client import opening
from k2trio.observe.transitions import NotCompiled

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
CORE = "k2trio/compiled/_core."


def built(tmp_path: Path, **variables: str) -> tuple[str, set[str], str]:
    """Name and members of a wheel, and what building it said."""
    done = subprocess.run(  # noqa: S603 - our own
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)],
        cwd=ROOT, check=True, capture_output=True, text=True, timeout=300,
        env={**os.environ, **variables},
    )  # fmt: skip
    (wheel,) = tmp_path.glob("*.whl")
    return wheel.name, set(zipfile.ZipFile(wheel).namelist()), done.stdout + done.stderr


@pytest.mark.skipif(shutil.which("cc") is None, reason="there is no C compiler")
def test_a_wheel_has_the_core_and_is_of_this_machine(tmp_path: Path) -> None:
    name, members, _ = built(tmp_path)
    assert f"cp{sys.version_info.major}{sys.version_info.minor}" in name
    assert any(member.startswith(CORE) and member.endswith(".so") for member in members)
    assert any(member.endswith(".dist-info/sboms/k2trio.cdx.json") for member in members)


@pytest.mark.parametrize(
    ("variables", "told"),
    [
        ({"CC": "no-such-compiler", "CXX": "no-such-compiler"}, "k2trio will be slower"),
        ({"K2TRIO_PURE": "1"}, ""),
    ],
)
def test_without_a_compiler_a_wheel_is_pure(
    tmp_path: Path, variables: dict[str, str], told: str
) -> None:
    name, members, said = built(tmp_path, **variables)
    assert name.endswith("-none-any.whl")
    assert not any(member.endswith((".so", ".pyd")) for member in members)
    assert "k2trio/compiled/__init__.py" in members
    assert told in said


async def test_a_feed_says_that_it_does_without(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opening, "why_not", "nobody built it")
    async with open_world() as world:
        assert [what.why for _, what in world.of(NotCompiled)] == ["nobody built it"]


@pytest.mark.parametrize(("value", "pure"), [("1", True), ("0", False), ("", False)])
def test_a_variable_leaves_it_out(value: str, pure: bool) -> None:
    script = "from k2trio.compiled import why_not; print(why_not)"
    done = subprocess.run(  # noqa: S603 - our own
        [sys.executable, "-c", script], capture_output=True, text=True, check=True,
        env={**os.environ, "K2TRIO_PURE": value},
    )  # fmt: skip
    assert (done.stdout.strip() == "K2TRIO_PURE is set") == pure
