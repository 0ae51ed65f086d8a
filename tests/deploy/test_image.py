"""The image of the collector, as far as it can be told without Docker."""

from __future__ import annotations

import fnmatch
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from typing import TYPE_CHECKING

import pytest
import trio
from deployed import DEPLOY, ROOT, image_variables, instructions, pod
from exported import serving
from packaging.requirements import Requirement

from k2trio.compiled import why_not
from k2trio.loading import check_environment, load_settings
from k2trio.settings import ENV_PREFIX

if TYPE_CHECKING:
    from pathlib import Path


pytestmark = pytest.mark.slow


def of(name: str) -> list[str]:
    """The arguments of all instructions of a name."""
    return [text for instruction, text in instructions() if instruction == name]


def copied() -> list[str]:
    """What the image takes from the repository."""
    return [
        source
        for text in of("COPY")
        if not text.startswith("--from")
        for source in text.split()[:-1]
    ]


def test_the_package_can_be_built_of_what_is_copied(tmp_path: Path) -> None:
    for name in copied():
        source = ROOT / name
        (tmp_path / name).parent.mkdir(exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, tmp_path / name)
        else:
            shutil.copy(source, tmp_path / name)
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel"],
        cwd=tmp_path, check=True, capture_output=True, timeout=120,
    )  # fmt: skip
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert {"k2trio/web/page/page.js", "k2trio/kafka/sink.py"} <= set(names)
    entry = next(name for name in names if name.endswith("entry_points.txt"))
    (program,) = json.loads(of("ENTRYPOINT")[0])
    assert f"{program} = " in zipfile.ZipFile(wheel).read(entry).decode()


def test_the_context_has_what_is_copied_and_nothing_else() -> None:
    lines = (DEPLOY / "Dockerfile.dockerignore").read_text().split()
    assert lines[0] == "*"
    assert sorted(line[1:] for line in lines if line.startswith("!")) == sorted(copied())
    assert any(fnmatch.fnmatch("k2trio/__pycache__", line) for line in lines[1:])


def locked(name: str) -> dict[str, str]:
    """Package → version, of a file of locked requirements; each has to have hashes."""
    text = (DEPLOY / name).read_text()
    found = re.findall(r"^([\w.-]+)==(\S+) \\\n    --hash=sha256:[0-9a-f]{64}", text, re.MULTILINE)
    assert len(found) == len(re.findall(r"^[\w.-]+==", text, re.MULTILINE))
    return dict(found)


def test_what_is_installed_is_locked_and_has_the_extra_that_kafka_needs() -> None:
    first, second = [text for text in of("RUN") if "pip install" in text]
    assert first.count("pip install --no-cache-dir --require-hashes") == 2
    assert second.count("--no-deps") == 2  # nothing that is not locked
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text())
    project = pyproject["project"]
    wanted = [*project["dependencies"], *project["optional-dependencies"]["kafka"]]
    for name, requirements in (
        ("requirements.txt", wanted),
        ("build-requirements.txt", pyproject["build-system"]["requires"]),
    ):
        assert f"--requirement deploy/{name}" in first
        versions = locked(name)
        for one in map(Requirement, requirements):
            assert one.specifier.contains(versions[one.name]), f"{one}: run nox -s locks"


def test_an_image_without_the_compiled_core_is_refused() -> None:
    *_, last = [text for text in of("RUN") if "why_not" in text]
    (script,) = re.findall(r'python -I -c "(.+?)"', last)
    codes = {
        pure: subprocess.run(  # noqa: S603
            [sys.executable, "-c", script], env={**os.environ, "K2TRIO_PURE": pure},
            capture_output=True, timeout=30, check=False,
        ).returncode
        for pure in ("0", "1")
    }  # fmt: skip
    assert codes["1"] != 0
    assert codes["0"] == (0 if why_not == "" else 1)


def test_the_program_is_process_1_and_gets_the_signals() -> None:
    assert json.loads(of("ENTRYPOINT")[0]) == ["k2trio"]  # no shell between
    assert json.loads(of("CMD")[0]) == ["run"]
    assert of("STOPSIGNAL") == ["SIGTERM"]


def test_it_runs_as_the_ordinary_user_that_kubernetes_expects() -> None:
    (user,) = of("USER")
    wanted = pod()["securityContext"]
    assert user == f"{wanted['runAsUser']}:{wanted['runAsGroup']}"
    assert any(f"--uid {wanted['runAsUser']} " in text for text in of("RUN"))
    order = [name for name, _ in instructions()]
    assert order.index("USER") > max(at for at, name in enumerate(order) if name == "RUN")


def test_its_variables_are_settings_and_its_port_is_theirs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in image_variables().items():
        if name.startswith(ENV_PREFIX):
            monkeypatch.setenv(name, value)
    check_environment()
    settings = load_settings()
    assert of("EXPOSE") == [str(settings.metrics_port)]
    assert settings.log_format == "json"


def test_both_stages_have_the_same_python_of_a_version_that_is_supported() -> None:
    arguments = dict(text.split("=") for text in of("ARG"))
    bases = [arguments[text.partition(" AS ")[0].strip("${}")] for text in of("FROM")]
    # The first has a compiler, the one that is shipped has not.
    assert [base.replace("-slim-", "-") for base in bases] == [bases[0]] * len(bases)
    (version,) = re.findall(r"^python:(3\.\d+)-slim-", bases[-1])
    assert f'"Programming Language :: Python :: {version}"' in (ROOT / "pyproject.toml").read_text()


async def test_its_health_is_what_readyz_says() -> None:
    (text,) = of("HEALTHCHECK")
    command = json.loads(text.partition(" CMD ")[2])
    assert command[0] == "python"
    command[0] = sys.executable

    def healthy(url: str) -> bool:
        variables = {
            **os.environ,
            "K2_BINANCE_METRICS_PORT": url.rpartition(":")[2],
            "http_proxy": "http://127.0.0.1:1",
        }
        end = subprocess.run(  # noqa: S603
            command, env=variables, capture_output=True, timeout=30, check=False
        )
        return end.returncode == 0

    async with serving() as url:
        assert await trio.to_thread.run_sync(healthy, url)
    async with serving(problems=["line 0 is not connected"]) as url:
        assert not await trio.to_thread.run_sync(healthy, url)
    assert not await trio.to_thread.run_sync(healthy, url), "nobody answers"
