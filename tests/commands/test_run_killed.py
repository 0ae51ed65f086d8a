"""A run that is killed in mid-traffic: ``verify`` finds nothing twice in any form of output."""

from __future__ import annotations

import json
import signal
import sys
import time
from typing import TYPE_CHECKING

import pytest
from processes import LOGGED, PATIENCE_S, Simulator, k2trio, simulator, started, stop

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = pytest.mark.slow

STREAMS = "btcusdt@trade,btcusdt@aggTrade,btcusdt@kline_1s,ethusdt@trade,ethusdt@kline_1m"
FORMS = {
    "lines": ["out.jsonl"],
    "frames": ["out.jsonl.zst"],
    "dataset": ["parquet:set"],
    "two": ["out.jsonl.zst", "parquet:set"],
    "three, one of them to standard output": ["-", "out.jsonl", "out.jsonl.zst"],
    "rotated": ["out.jsonl"],
}
KILLS = 3
SURELY = ("lines", "dataset", "rotated")
"""Forms in which more is found after every kill than the state file says: of frames one may not be
written yet, and what went to standard output nobody can look at."""
LAG_S = 3.0
"""Between two writes of the state file: so much of it was twice in the files."""


@pytest.fixture(scope="module")
def exchange() -> Iterator[Simulator]:
    with simulator("--rate", "200", "--seed", "1", "--symbols", "BTCUSDT,ETHUSDT") as running:
        yield running


def until(true: Callable[[], object], process: subprocess.Popen[bytes]) -> None:
    """Wait for something outside."""
    end = time.monotonic() + PATIENCE_S
    while not true():
        assert process.poll() is None
        assert time.monotonic() < end, "it never came"
        time.sleep(0.02)


def written(folder: Path) -> int:
    """Bytes of all outputs."""
    ours = (path for path in folder.rglob("*") if ".jsonl" in path.name)
    return sum(path.stat().st_size for path in ours if path.exists())


@pytest.mark.parametrize("form", FORMS)
def test_nothing_is_there_twice(
    exchange: Simulator,
    tmp_path: Path,
    form: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    state = tmp_path / "state.json"
    more = ["--output-rotate-bytes", "100000"] if form == "rotated" else []
    arguments = [word for output in FORMS[form] for word in ("--output", output)]
    arguments += ["--state", state.name, "--state-interval", str(LAG_S), *more]
    variables = exchange.variables() | {"STREAMS": STREAMS} | LOGGED
    resumed = 0
    for life in range(KILLS + 1):
        before, saved = written(tmp_path), state.exists()
        with (
            (tmp_path / "printed").open("ab") as printed,
            started("run", *arguments, stdout=printed, **variables) as process,
        ):
            until(lambda: written(tmp_path) > before + 40_000 and state.exists(), process)  # noqa: B023
            # The first has a state file just now, which lags behind in a second or two.
            time.sleep(0.3 if saved else LAG_S / 2)
            last = life == KILLS
            end = stop(process, signal.SIGTERM if last else signal.SIGKILL)
            assert (end.code == 0) == last
        events = [json.loads(line) for line in end.err.splitlines()]
        resumed += sum(one["event"] == "resumed_behind_state" for one in events)
    for output in {name.removeprefix("parquet:") for name in FORMS[form]} - {"-"}:
        path = tmp_path if form == "rotated" else tmp_path / output
        done = k2trio("verify", "--json", str(path))
        report = json.loads(done.stdout)
        assert done.returncode == 0, done.stdout
        found = {one["stream"]: one["messages"] for one in report["streams"]}
        assert sorted(found) == sorted(STREAMS.split(","))
        with capsys.disabled():
            sys.stdout.write(
                f"\n  {form}: {KILLS} times kill -9, resumed {resumed} times: {found}\n"
            )
    assert resumed == KILLS or form not in SURELY
