"""The unit of systemd: it is valid, confined, and fits the program and the settings beside it."""

from __future__ import annotations

import configparser
import re
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from deployed import DEPLOY

from k2trio.commands.attending import BEATS, STATUS_S
from k2trio.commands.main import COMMANDS
from k2trio.loading import load_settings
from k2trio.settings import ENV_PREFIX, Settings

if TYPE_CHECKING:
    from pathlib import Path

UNIT = DEPLOY / "k2trio.service"
SETTINGS = DEPLOY / "k2trio.toml"
EXPOSURE = 2.0
"""At most, of 10, as systemd-analyze reckons; a unit without any confinement has 9.6."""
ENDS_WITHIN_S = 5
OF_EACH_PROCESS = 200 << 20

needs_systemd = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="needs systemd-analyze"
)


def service() -> configparser.SectionProxy:
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str  # type: ignore[method-assign, assignment]
    unit.read_string(UNIT.read_text())
    return unit["Service"]


def analyzed(tmp_path: Path, text: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """What systemd says of a unit of that text."""
    unit = tmp_path / UNIT.name
    unit.write_text(re.sub(r"(?m)^ExecStart=\S+", f"ExecStart={sys.executable}", text))
    return subprocess.run(  # noqa: S603
        ["systemd-analyze", *arguments, str(unit)],  # noqa: S607
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


@needs_systemd
def test_systemd_knows_every_line_of_it(tmp_path: Path) -> None:
    end = analyzed(tmp_path, UNIT.read_text(), "verify")
    if "Failed to" in end.stderr and UNIT.name not in end.stderr:
        pytest.skip(f"systemd-analyze does not work here: {end.stderr.strip()}")
    assert (end.returncode, end.stderr) == (0, "")
    slip = UNIT.read_text().replace("StateDirectory=", "StateDirectry=")
    assert "StateDirectry" in analyzed(tmp_path, slip, "verify").stderr


@needs_systemd
def test_it_is_as_confined_as_it_can_be(tmp_path: Path) -> None:
    threshold = ("security", "--offline=true", f"--threshold={int(EXPOSURE * 10)}", "--no-pager")
    end = analyzed(tmp_path, UNIT.read_text(), *threshold)
    assert end.returncode == 0, end.stdout + end.stderr
    loose = UNIT.read_text().replace("ProtectSystem=strict", "").replace("SystemCallFilter=", "#")
    assert analyzed(tmp_path, loose, *threshold).returncode != 0


def test_it_starts_a_command_that_there_is_with_the_file_that_lies_beside() -> None:
    program, command, option, path = service()["ExecStart"].split()
    assert program.rpartition("/")[2] == "k2trio"
    assert command in COMMANDS
    assert option == "--config"
    assert path.rpartition("/")[2] == SETTINGS.name
    assert path in SETTINGS.read_text()


def test_its_settings_are_valid_and_write_only_where_it_may(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv(f"{ENV_PREFIX}SHARED_BUDGET", raising=False)  # that of the tests
    settings = load_settings(config=SETTINGS)
    runtime = service()["RuntimeDirectory"]
    assert str(settings.shared_budget).startswith(f"/run/{runtime}/")
    assert service()["WorkingDirectory"] == f"%S/{service()['StateDirectory']}"
    files = [target.path for target in settings.targets] + [settings.state, settings.coverage]
    assert all(path is not None and not path.is_absolute() for path in files)
    assert settings.max_reconnect_attempts == 0
    assert settings.model_fields_set > {"symbols", "output", "state"}


def test_its_memory_holds_all_that_may_wait() -> None:
    settings = load_settings(config=SETTINGS)
    assert service()["MemoryMax"] == "1G"
    assert OF_EACH_PROCESS + 2 * settings.max_decoded_bytes <= 1 << 30


def test_its_times_leave_room_for_what_the_program_promises() -> None:
    assert service()["Type"] == "notify"
    assert float(service()["TimeoutStopSec"]) > ENDS_WITHIN_S
    watchdog_s = float(service()["WatchdogSec"])
    assert watchdog_s > BEATS * STATUS_S, "one that is late is not yet one that is missed"


def test_what_it_says_of_secrets_names_settings() -> None:
    named = re.findall(
        rf"^#Environment={ENV_PREFIX}(\w+)=%d/(\S+)$", UNIT.read_text(), re.MULTILINE
    )
    credentials = re.findall(r"^#LoadCredential=(\S+):/etc/", UNIT.read_text(), re.MULTILINE)
    assert [name for _, name in named] == credentials
    assert {name.lower() for name, _ in named} <= set(Settings.model_fields)
    assert len(named) == 2
