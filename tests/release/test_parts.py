"""What a release says of what it is made of: the parts list, licences, version, changelog."""

from __future__ import annotations

import importlib.util
import json
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

import k2trio

ROOT = Path(__file__).parents[2]
ACCEPTED = frozenset({
    "0BSD", "Apache Software License", "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "CC0-1.0",
    "MIT", "MIT-0", "PSF-2.0", "Zlib",
})  # fmt: skip
"""None of which says anything of the code that uses a package."""


def load_sbom() -> Any:
    spec = importlib.util.spec_from_file_location("sbom", ROOT / "release" / "sbom.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def parts() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((ROOT / "k2trio.cdx.json").read_text())
    return found


def test_the_parts_list_has_all_that_is_required_and_is_of_this_version() -> None:
    sbom = load_sbom()
    found, wanted = parts(), sbom.wanted()
    assert found["metadata"]["component"]["version"] == k2trio.__version__ == sbom.version()
    names = {sbom.canonical(one["name"]) for one in found["components"]}
    direct = {sbom.canonical(one) for extra in wanted.values() for one in extra}
    assert direct <= names, "run nox -s sbom"
    (row,) = [row for row in found["dependencies"] if row["ref"] == "root-component"]
    assert {sbom.canonical(ref.partition("=")[0]) for ref in row["dependsOn"]} == direct
    assert sbom.users(found).keys() == {one["bom-ref"] for one in found["components"]}


def test_the_page_of_licences_is_that_of_the_parts_list() -> None:
    sbom = load_sbom()
    assert sbom.PAGE.read_text() == sbom.page(parts()), "run nox -s sbom"


def test_what_only_an_extra_wants_is_not_always_there() -> None:
    sbom = load_sbom()
    found, wanted = parts(), sbom.wanted()
    brought = {ref.partition("==")[0].lower(): extras for ref, extras in sbom.users(found).items()}
    plain = {sbom.canonical(one) for one in wanted.pop("")}
    for extra, requirements in wanted.items():
        for name in {sbom.canonical(one) for one in requirements} - plain:
            assert extra in brought[name]
            assert "" not in brought[name], name


def test_an_extra_of_another_package_brings_nothing() -> None:
    sbom = load_sbom()
    names = ["Hypercorn", "uvloop", "h11", "tomli"]
    found: dict[str, Any] = {
        "components": [{"name": name, "bom-ref": f"{name}==1"} for name in names],
        "dependencies": [
            {"ref": "Hypercorn==1", "dependsOn": ["h11==1", "tomli==1", "uvloop==1"]},
            {"ref": "uvloop==1", "dependsOn": ["h11==1"]},
            {"ref": "root-component", "dependsOn": ["Hypercorn==1", "uvloop==1"]},
        ],
    }
    conditional = [
        "tomli; python_version < '3.11'",
        "uvloop>=0.18; (os_name == 'a') and extra=='b'",
    ]
    requirements = {"hypercorn": ["h11", *conditional], "uvloop": ["h11; extra == 'x'"]}
    sbom.drop_extras(found, requirements | {"h11": [], "tomli": []})
    assert found["dependencies"] == [
        {"ref": "Hypercorn==1", "dependsOn": ["h11==1", "tomli==1"]},
        {"ref": "uvloop==1"},
        {"ref": "root-component", "dependsOn": ["Hypercorn==1", "uvloop==1"]},
    ]
    with pytest.raises(NotImplementedError, match=r"h11\[a\]"):
        sbom.drop_extras(found, requirements | {"h11": [], "tomli": ["h11[a]"]})


def test_every_licence_is_one_that_is_accepted() -> None:
    sbom = load_sbom()
    for one in parts()["components"]:
        said = re.split(r" AND | OR |, ", sbom.licence(one).replace("(", "").replace(")", ""))
        assert set(said) <= ACCEPTED, one["name"]


def test_requirements_are_compared_by_their_names_alone() -> None:
    canonical = load_sbom().canonical
    assert (
        canonical("Typing_Extensions>=4.12")
        == canonical("typing-extensions")
        == ("typing-extensions")
    )
    assert canonical("moto[s3,server]>=5") == "moto"
    assert canonical("uvloop>=0.21; sys_platform != 'win32'") == "uvloop"


def test_fragments_of_the_changelog_are_of_known_kinds_and_its_place_is_marked() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["towncrier"]
    kinds = {one["directory"] for one in settings["type"]}
    text = (ROOT / settings["filename"]).read_text()
    assert text.count(settings["start_string"]) == 1
    fragments = [path for path in (ROOT / settings["directory"]).glob("*") if path.name[0] != "."]
    for path in fragments:
        assert re.fullmatch(rf"(\+[\w-]+|\d+)\.({'|'.join(kinds)})\.md", path.name), path.name
        assert path.read_text().strip(), path.name
