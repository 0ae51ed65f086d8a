"""The program on real sockets, killed and stopped in mid-stream: what its outputs hold together."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from k2trio.continuity.state import load_state
from k2trio.settings import ENV_PREFIX

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

pytestmark = pytest.mark.slow

STREAMS = {"btcusdt@trade": "t", "btcusdt@aggTrade": "a"}
STATE_INTERVAL_S = 0.5
PATIENCE_S = 30.0


def python(*arguments: str, **options: Any) -> subprocess.Popen[str]:
    environment = {key: value for key, value in os.environ.items() if ENV_PREFIX not in key}
    return subprocess.Popen(  # noqa: S603 - our own command line
        [sys.executable, "-m", "k2trio", *arguments], text=True, env=environment, **options
    )


@pytest.fixture(scope="module")
def exchange() -> Generator[tuple[str, str]]:
    """WebSocket and REST URL of a simulated exchange in another process."""
    process = python("simulate", "--ports", "0", "--rest-port", "0", "--rate", "200",
                     "--symbols", "BTCUSDT", stdout=subprocess.PIPE)  # fmt: skip
    assert process.stdout is not None
    websocket = process.stdout.readline().split()[1]
    rest = process.stdout.readline().split()[1]
    yield websocket, rest
    process.terminate()
    process.wait(10)
    process.stdout.close()


class Run:
    """Places of one program's files, and its runs."""

    def __init__(self, exchange: tuple[str, str], folder: Path) -> None:
        self.exchange = exchange
        self.state, self.output = folder / "state.json", folder / "output.jsonl"
        self.errors = folder / "errors"

    @contextmanager
    def program(self, *more: str) -> Generator[subprocess.Popen[str]]:
        websocket, rest = self.exchange
        with self.errors.open("a") as errors:
            process = python(
                "run", "--websocket-url", websocket, "--failover-urls", "", "--rest-urls", rest,
                "--streams", ",".join(STREAMS), "--state", str(self.state),
                "--state-interval", str(STATE_INTERVAL_S), "--output", str(self.output),
                "--metrics-port", "0", *more, stderr=errors,
            )  # fmt: skip
        try:
            yield process
        finally:
            process.kill()
            process.wait(10)

    def size(self) -> int:
        return self.output.stat().st_size if self.output.exists() else 0

    def wait_for_more(self, process: subprocess.Popen[str], count: int) -> None:
        """Until so many bytes of output and a state file were written."""
        before, deadline = self.size(), time.monotonic() + PATIENCE_S
        while self.size() < before + count or not self.state.exists():
            assert process.poll() is None, self.errors.read_text()
            assert time.monotonic() < deadline, self.errors.read_text()
            time.sleep(0.01)

    def rows(self) -> list[dict[str, Any]]:
        """Whole lines of the output so far."""
        content = self.output.read_bytes()
        lines = content[: content.rfind(b"\n") + 1].splitlines()
        return [msgspec.json.decode(line) for line in lines]


def ids(rows: list[dict[str, Any]], stream: str) -> list[int]:
    return [row["data"][STREAMS[stream]] for row in rows if row["stream"] == stream]


@pytest.fixture
def run(exchange: tuple[str, str], tmp_path: Path) -> Run:
    return Run(exchange, tmp_path)


def assert_every_id(rows: list[dict[str, Any]]) -> Counter[tuple[str, int]]:
    """Nothing is declared missing, and every id is there; returns how often each one is."""
    assert not [row for row in rows if "data" not in row]
    counts: Counter[tuple[str, int]] = Counter()
    for stream in STREAMS:
        got = ids(rows, stream)
        assert len(got) > 500
        assert set(got) == set(range(min(got), max(got) + 1))
        counts.update((stream, number) for number in got)
    return counts


def test_killed_in_mid_stream_it_goes_on_without_a_loss_or_a_double(
    run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    """``kill -9`` three times; what the state file had not yet, the output itself tells."""
    pauses = (0.0, 1.7, 0.0, 1.0)
    """Seconds that a life goes on after its first output; the third ends before it has saved."""
    for life, pause_s in enumerate(pauses):
        last = life == len(pauses) - 1
        with run.program() as process:
            run.wait_for_more(process, 150_000)
            time.sleep(pause_s)
            process.send_signal(signal.SIGTERM if last else signal.SIGKILL)
            process.wait(10)
            assert (process.returncode == 0) == last
        time.sleep(0.3)
    rows = run.rows()
    counts = assert_every_id(rows)
    assert set(counts.values()) == {1}
    for stream in STREAMS:
        assert ids(rows, stream) == sorted(ids(rows, stream))
    with capsys.disabled():
        sys.stdout.write(
            f"\n  {len(pauses) - 1} times kill -9, state every {STATE_INTERVAL_S} s: {len(counts)} "
            "ids, 0 lost, 0 twice\n"
        )


def test_stopped_and_started_again_it_neither_loses_nor_repeats(run: Run) -> None:
    for _ in range(3):
        with run.program() as process:
            run.wait_for_more(process, 200_000)
            process.send_signal(signal.SIGTERM)
            assert process.wait(10) == 0
        time.sleep(0.3)
    rows = run.rows()
    counts = assert_every_id(rows)
    assert set(counts.values()) == {1}
    for stream in STREAMS:
        assert ids(rows, stream) == sorted(ids(rows, stream))
    assert {row["origin"] for row in rows} == {"live", "backfill"}
    # The file says exactly how far the output goes.
    positions = {row.stream: row.position for row in load_state(run.state)}
    assert positions == {stream: ids(rows, stream)[-1] for stream in STREAMS}


def test_a_torn_line_of_a_crash_is_cut_and_its_message_delivered_again(run: Run) -> None:
    with run.program() as process:
        run.wait_for_more(process, 200_000)
        process.kill()
        process.wait(10)
    with run.output.open("r+b") as file:
        file.truncate(run.size() - 20)
    with run.program() as process:
        run.wait_for_more(process, 200_000)
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
    assert_every_id(run.rows())


def test_a_torn_state_file_is_one_clear_line(run: Run) -> None:
    run.state.write_bytes(b'{"format":"k2trio-state-1","posi')
    with run.program() as process:
        assert process.wait(20) == 2
    (line,) = run.errors.read_text().splitlines()
    assert line.startswith(f"k2trio: {run.state} is not a whole k2trio state file")
    assert "Traceback" not in line


def test_a_state_file_whose_folder_is_gone_is_one_clear_line(run: Run) -> None:
    folder = run.state.parent / "here"
    folder.mkdir()
    run.state = folder / "state.json"
    with run.program("--log-level", "error") as process:
        run.wait_for_more(process, 50_000)
        folder.rename(folder.with_name("there"))
        assert process.wait(20) == 1
    text = run.errors.read_text()
    assert text == f"k2trio: cannot write the state file {run.state}: No such file or directory\n"
    # What was delivered until then is whole.
    assert_every_id(run.rows())
