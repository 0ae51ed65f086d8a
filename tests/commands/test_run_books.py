"""``run --book-levels`` as a process: samples among its lines, and its files as ever."""

from __future__ import annotations

import itertools
import json
import signal
import time
from typing import TYPE_CHECKING, Any

import httpx2
import pytest
from processes import (
    LOGGED,
    PATIENCE_S,
    Simulator,
    exporter_url,
    k2trio,
    lines_of,
    simulator,
    started,
    stop,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.slow

TRADES, DEPTH = "btcusdt@trade", "btcusdt@depth@100ms"
BOOKS = ["run", "--symbols", "BTCUSDT", "--book-levels", "5", "--book-interval", "0.2"]


@pytest.fixture(scope="module")
def exchange() -> Iterator[Simulator]:
    with simulator("--rate", "50", "--seed", "1") as running:
        yield running


def trades_of(rows: list[dict[str, Any]]) -> list[int]:
    return [row["data"]["t"] for row in rows if "data" in row]


def test_run_writes_trades_and_samples_of_the_book(exchange: Simulator) -> None:
    with started(*BOOKS, **exchange.variables() | LOGGED) as process:
        url = exporter_url(process)
        lines = list(lines_of(process, 200))
        status = httpx2.get(f"{url}/status", trust_env=False).json()
        end = stop(process, signal.SIGTERM)
    assert end.code == 0
    assert '"event": "sampling_books"' in end.err
    rows = [json.loads(line) for line in [*lines, *end.out.splitlines()]]
    assert {(row["stream"], "book" in row) for row in rows} == {(TRADES, False), (DEPTH, True)}
    trades = trades_of(rows)
    assert trades == list(range(trades[0], trades[0] + len(trades)))
    samples = [row["book"] for row in rows if "book" in row]
    ticks = [round(sample["time"] * 1000) for sample in samples]
    assert [tick % 200 for tick in ticks] == [0] * len(ticks)
    assert {after - before for before, after in itertools.pairwise(ticks)} == {200}
    last = samples[-1]
    assert (last["symbol"], last["state"], last["problem"]) == ("BTCUSDT", "live", None)
    assert len(last["bids"]) == len(last["asks"]) == 5
    assert float(last["bids"][0][0]) < float(last["asks"][0][0])
    assert 0 <= last["late"] < 1
    assert 0 <= last["age"] < 5
    assert [(book["symbol"], book["state"]) for book in status["books"]] == [("BTCUSDT", "live")]


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGKILL])
def test_a_restart_goes_on_where_the_messages_were(
    exchange: Simulator, tmp_path: Path, ending: signal.Signals
) -> None:
    output, state = tmp_path / "out.jsonl", tmp_path / "state.json"
    files = ["--output", str(output), "--state", str(state), "--state-interval", "0.2"]
    for _ in range(3):
        before = output.stat().st_size if output.exists() else 0
        with started(*BOOKS, *files, **exchange.variables()) as process:
            end = time.monotonic() + PATIENCE_S
            while not state.exists() or output.stat().st_size < before + 30_000:
                assert time.monotonic() < end, "it never came"
                time.sleep(0.05)
            process.send_signal(ending)
            process.wait(PATIENCE_S)
    content = output.read_bytes()
    rows = [json.loads(line) for line in content[: content.rfind(b"\n") + 1].splitlines()]
    trades = trades_of(rows)
    assert len(trades) > 100
    if ending is signal.SIGTERM:
        assert trades == list(range(trades[0], trades[0] + len(trades)))
    else:  # what the state file had not remembered comes again; nothing is missing
        assert set(trades) == set(range(trades[0], trades[-1] + 1))
    assert [row["gap"] for row in rows if "gap" in row and row["stream"] == TRADES] == []
    assert {row["book"]["state"] for row in rows if "book" in row} >= {"live"}


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--streams", "btcusdt@trade"], "BOOK_LEVELS wants books: add streams that carry them"),
        (["--book-interval", "0.0125"], "--book-interval: must be a whole number of milliseconds"),
    ],
)
def test_books_that_could_not_be_sampled_are_one_line_and_exit_code_2(
    exchange: Simulator, arguments: list[str], complaint: str
) -> None:
    end = k2trio("run", "--book-levels", "5", *arguments, **exchange.variables())
    assert (end.returncode, end.stdout, end.stderr.count("\n")) == (2, "", 1)
    assert complaint in end.stderr
