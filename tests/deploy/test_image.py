"""The image of the collector, as far as it can be told without Docker."""

from __future__ import annotations

import fnmatch
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from typing import TYPE_CHECKING

import trio
from deployed import DEPLOY, ROOT, image_variables, instructions, pod
from exported import serving

from k2trio.loading import check_environment, load_settings
from k2trio.settings import ENV_PREFIX

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


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


def test_the_installation_has_the_extra_that_kafka_needs() -> None:
    (install,) = [text for text in of("RUN") if "pip install" in text]
    assert "--no-cache-dir" in install
    assert '".[kafka]"' in install
    assert re.search(r"^kafka = ", (ROOT / "pyproject.toml").read_text(), re.MULTILINE)


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
    bases = [text.partition(" AS ")[0] for text in of("FROM")]
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
