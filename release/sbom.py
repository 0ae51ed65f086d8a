"""The parts list of a release, and the page of licences that is made of it.

``python release/sbom.py PYTHON`` reads the environment of that interpreter by ``cyclonedx-py`` and
writes both; in it are k2trio's dependencies, with all extras, and nothing else. ``nox -s sbom``
makes such an environment. A test fails where the files do not fit ``pyproject.toml``.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

ROOT = Path(__file__).parents[1]
SBOM = ROOT / "k2trio.cdx.json"
"""Where hatchling takes it from, into the wheel (PEP 770)."""
PAGE = ROOT / "docs" / "reference" / "licences.md"
ROOT_REF = "root-component"
EXTRA_ONLY = re.compile(r";.*\bextra\s*==")
"""A requirement that a package has for one of its extras."""
TROVE = "License :: OSI Approved :: "

HEAD = (
    "# Licences\n\nk2trio is under the MIT licence, see its file LICENSE. It contains no code of"
    " others. What it is installed with, by itself or for an extra, as of this release:\n\n"
)
TAIL = (
    "\n\nThe table is made by `nox -s sbom` of the packages' own metadata. Each wheel has the same"
    " as a CycloneDX list, in `sboms/` of its `.dist-info`.\n"
)


def pyproject() -> dict[str, Any]:
    """The ``[project]`` of pyproject.toml."""
    found: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return found


def wanted() -> dict[str, list[str]]:
    """The requirements of a plain installation, by "", and those of each extra, by its name."""
    project = pyproject()
    return {"": project["dependencies"], **project["optional-dependencies"]}


def canonical(requirement: str) -> str:
    """The name in a requirement, as packages are compared."""
    name = re.split(r"[\s\[<>=!~;]", requirement, maxsplit=1)[0]
    return re.sub(r"[-_.]+", "-", name).lower()


def version() -> str:
    """The version of the package, from the one place that has it."""
    text = (ROOT / "k2trio" / "__init__.py").read_text()
    return re.findall(r'^__version__ = "(.+)"$', text, re.MULTILINE)[0]


def parts_list(python: str) -> dict[str, Any]:
    """What is installed beside an interpreter, as CycloneDX has it, with k2trio as its root."""
    done = subprocess.run(  # noqa: S603 - of our own environment
        ["cyclonedx-py", "environment", python, "--pyproject", "pyproject.toml",  # noqa: S607
         "--mc-type", "library", "--output-reproducible"],
        cwd=ROOT, check=True, capture_output=True, text=True,
    )  # fmt: skip
    found: dict[str, Any] = json.loads(done.stdout)
    whole = found["metadata"]["component"]
    whole |= {"version": version(), "purl": f"pkg:pypi/k2trio@{version()}"}
    drop_extras(found, requirements_in(python))
    direct = {canonical(one) for extra in wanted().values() for one in extra}
    for row in found["dependencies"]:
        if row["ref"] == ROOT_REF:
            row["dependsOn"] = sorted(
                one["bom-ref"] for one in found["components"] if canonical(one["name"]) in direct
            )
    for component in [*found["components"], *found["metadata"]["tools"]["components"]]:
        component.pop("externalReferences", None)  # links go stale, and a name is enough
    return found


def requirements_in(python: str) -> dict[str, list[str]]:
    """What each package beside an interpreter requires, by its own metadata."""
    script = (
        "import json; from importlib.metadata import distributions;"
        "print(json.dumps([(one.name, one.requires) for one in distributions()]))"
    )
    done = subprocess.run(  # noqa: S603 - of our own environment
        [python, "-I", "-c", script], check=True, capture_output=True, text=True
    )
    return {canonical(name): requires or [] for name, requires in json.loads(done.stdout)}


def drop_extras(found: dict[str, Any], requirements: Mapping[str, list[str]]) -> None:
    """Drop the edges that a package has for an extra of its own alone: nobody asks for one.

    cyclonedx has an edge to whatever is named in a requirement and is there, by another way maybe.
    """
    names = {one["bom-ref"]: canonical(one["name"]) for one in found["components"]}
    needed = {
        name: [one for one in requirements[name] if EXTRA_ONLY.search(one) is None]
        for name in names.values()
    }
    asking = [one for some in [*wanted().values(), *needed.values()] for one in some]
    if extras := [one for one in asking if "[" in one.partition(";")[0]]:
        raise NotImplementedError(f"{extras} ask for extras, of which the edges would have to stay")
    for row in found["dependencies"]:
        if row["ref"] in names:
            below = set(map(canonical, needed[names[row["ref"]]]))
            refs = [ref for ref in row.pop("dependsOn", []) if names[ref] in below]
            row |= {"dependsOn": refs} if refs else {}


def licence(component: dict[str, Any]) -> str:
    """What a package says of its licence: an SPDX expression, or else its own words."""
    said = [
        one.get("expression") or one["license"].get("id") or one["license"]["name"]
        for one in component.get("licenses", [])
    ]
    return ", ".join(text.removeprefix(TROVE) for text in said) or "?"


def users(found: dict[str, Any]) -> dict[str, list[str]]:
    """Per component's reference, the extras that bring it; "" is a plain installation."""
    below = {row["ref"]: row.get("dependsOn", []) for row in found["dependencies"]}
    refs = {canonical(one["name"]): one["bom-ref"] for one in found["components"]}
    brought: dict[str, list[str]] = {}
    for extra, requirements in wanted().items():
        todo = [refs[canonical(one)] for one in requirements]
        seen: set[str] = set()
        while todo:
            ref = todo.pop()
            if ref not in seen:
                seen.add(ref)
                todo += below.get(ref, [])
        for ref in seen:
            brought.setdefault(ref, []).append(extra)
    return brought


def page(found: dict[str, Any]) -> str:
    """The page of licences."""
    brought = users(found)
    rows = ["| package | version | licence | extras that need it |", "|---|---|---|---|"]
    for one in sorted(found["components"], key=lambda one: canonical(one["name"])):
        extras = _extras(brought[one["bom-ref"]])
        rows.append(f"| {one['name']} | {one['version']} | {licence(one)} | {extras} |")
    return HEAD + "\n".join(rows) + TAIL


def _extras(names: list[str]) -> str:
    return "none: always there" if "" in names else ", ".join(f"`{name}`" for name in names)


if __name__ == "__main__":
    parts = parts_list(sys.argv[1])
    SBOM.write_text(f"{json.dumps(parts, indent=1, sort_keys=True)}\n")
    PAGE.write_text(page(parts))
    sys.stdout.write(f"{SBOM.name} and {PAGE.name} tell of {len(parts['components'])} packages\n")
