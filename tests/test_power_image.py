"""A disk image whose power is cut: its copy holds what was on the disk at that moment, no more.

Only root can mount an image, and only where there are loop devices.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
from processes import PATIENCE_S, SHUTDOWN_S, simulator, started

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

pytestmark = pytest.mark.slow

STREAMS = {"btcusdt@trade": "t", "btcusdt@aggTrade": "a"}
IMAGE_BYTES = 32 << 20


def order(*words: str | Path) -> None:
    """Run a tool; skip the test where the system does not allow it."""
    done = subprocess.run([*map(str, words)], capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode:
        pytest.skip(f"{words[0]}: {done.stderr.strip()}")


@contextmanager
def mounted(image: Path, folder: Path) -> Generator[None]:
    folder.mkdir()
    order("mount", "-o", "loop", image, folder)
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)  # noqa: S603, S607


def ids(output: Path) -> dict[str, set[int]]:
    """Stream → ids in the whole lines of a file."""
    content = output.read_bytes()
    found: dict[str, set[int]] = {stream: set() for stream in STREAMS}
    for row in map(json.loads, content[: content.rfind(b"\n") + 1].splitlines()):
        found[row["stream"]].add(row["data"][STREAMS[row["stream"]]])
    return found


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a disk image")
@pytest.mark.skipif(shutil.which("mkfs.ext4") is None, reason="needs mkfs.ext4")
@pytest.mark.parametrize("rotate_bytes", [0, 60_000])
def test_what_was_remembered_when_the_power_was_cut_is_on_the_disk(
    tmp_path: Path, rotate_bytes: int
) -> None:
    image, copy = tmp_path / "disk.img", tmp_path / "copy.img"
    with image.open("wb") as file:
        file.truncate(IMAGE_BYTES)
    order("mkfs.ext4", "-q", image)
    first, second = tmp_path / "first", tmp_path / "second"

    def arguments(folder: Path) -> list[str]:
        chosen = {"output": folder / "out.jsonl", "state": folder / "state.json",
                  "streams": ",".join(STREAMS), "output-rotate-bytes": rotate_bytes}  # fmt: skip
        return [word for name, value in chosen.items() for word in (f"--{name}", str(value))]

    with simulator("--rate", "300", "--seed", "1", "--symbols", "BTCUSDT") as exchange:
        with mounted(image, first):
            with started("run", *arguments(first), **exchange.variables()) as process:
                wait_for(first / "state.json", process)
                time.sleep(3.3)  # in which the state is written three times
                process.kill()  # its last writes are in memory, and not on the disk
                process.wait(PATIENCE_S)
                shutil.copyfile(image, copy)
            began = {stream: min(got) for stream, got in all_ids(first).items()}
        with mounted(copy, second):
            rows = json.loads((second / "state.json").read_text())["positions"]
            remembered = {row["stream"]: row["position"] for row in rows}
            there = all_ids(second)
            for stream, position in remembered.items():
                assert set(range(began[stream], position + 1)) - there[stream] == set()
                assert position > began[stream] + 100
            with started("run", *arguments(second), **exchange.variables()) as process:
                wait_for_more(second, remembered)
                process.send_signal(signal.SIGTERM)
                assert process.wait(SHUTDOWN_S) == 0
            for stream, got in all_ids(second).items():
                assert set(range(began[stream], max(got) + 1)) == got
                assert max(got) > remembered[stream] + 100


def all_ids(folder: Path) -> dict[str, set[int]]:
    """Those of an output and its numbered parts."""
    found: dict[str, set[int]] = {stream: set() for stream in STREAMS}
    for part in folder.glob("out.jsonl*"):
        for stream, got in ids(part).items():
            found[stream] |= got
    return found


def wait_for(path: Path, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not path.exists():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)


def wait_for_more(folder: Path, remembered: dict[str, int]) -> None:
    """Until there is much that came after what was remembered."""
    deadline = time.monotonic() + PATIENCE_S
    while any(max(all_ids(folder)[name]) <= last + 150 for name, last in remembered.items()):
        assert time.monotonic() < deadline
        time.sleep(0.2)
