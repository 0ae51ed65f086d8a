"""A run into a file as a guest of uvloop, and without it: the same in every respect."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
import trio.lowlevel
from processes import (
    LOGGED,
    PATIENCE_S,
    SHUTDOWN_S,
    Simulator,
    environment,
    python,
    simulator,
    stop,
)

from k2trio.commands.hosted import pays, run_hosted
from k2trio.errors import SinkError
from k2trio.loading import load_settings

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator
    from pathlib import Path

pytestmark = pytest.mark.slow

pytest.importorskip("uvloop")

WAYS = {
    "guest": "import sys",
    "trio": "import sys; sys.modules['uvloop'] = None",  # as if it were not installed
}
AT_ONCE_S = 2.0


@pytest.fixture(scope="module")
def exchange() -> Iterator[Simulator]:
    with simulator("--rate", "100", "--symbols", "BTCUSDT") as running:
        yield running


@contextmanager
def running(way: str, exchange: Simulator, output: Path) -> Generator[subprocess.Popen[bytes]]:
    """``k2trio run`` with or without uvloop, when it writes."""
    variables = exchange.variables() | LOGGED | {"SYMBOLS": "BTCUSDT", "OUTPUT": str(output)}
    code = f"{WAYS[way]}; from k2trio.commands.main import main; sys.exit(main(['run']))"
    with subprocess.Popen(  # noqa: S603 - our own command
        [sys.executable, "-c", code],
        env=environment(**variables),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        try:
            grown(output, 0)
            yield process
        finally:
            if process.poll() is None:
                process.kill()


def grown(output: Path, size: int) -> int:
    """Wait until a file is there and larger; returns how large."""
    end = time.monotonic() + PATIENCE_S
    while not (output.exists() and output.stat().st_size > size):
        assert time.monotonic() < end, "nothing is written"
        time.sleep(0.05)
    return output.stat().st_size


def assert_whole(*outputs: Path) -> None:
    lines = [line for output in outputs for line in output.read_text().splitlines()]
    ids = [json.loads(line)["data"]["t"] for line in lines]
    assert ids == list(range(ids[0], ids[0] + len(ids)))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("way", WAYS)
def test_it_ends_in_order_at_a_signal(
    way: str, number: signal.Signals, exchange: Simulator, tmp_path: Path
) -> None:
    output = tmp_path / "out.jsonl"
    with running(way, exchange, output) as process:
        grown(output, output.stat().st_size)
        end = stop(process, number)
    assert end.code == 0, end.err
    assert end.took_s < SHUTDOWN_S
    events = [json.loads(line) for line in end.err.splitlines()]
    assert {"started", "stopping"} <= {event["event"] for event in events}
    (started,) = (event for event in events if event["event"] == "started")
    assert started["loop"] == ("uvloop" if way == "guest" else "trio")
    assert_whole(output)


@pytest.mark.parametrize("way", WAYS)
def test_a_file_that_is_moved_away_is_followed_by_another(
    way: str, exchange: Simulator, tmp_path: Path
) -> None:
    output, moved = tmp_path / "out.jsonl", tmp_path / "moved.jsonl"
    with running(way, exchange, output) as process:
        output.rename(moved)
        process.send_signal(signal.SIGHUP)
        grown(output, 0)
        assert stop(process, signal.SIGTERM).code == 0
    assert_whole(moved, output)


@pytest.mark.parametrize("way", WAYS)
def test_a_second_signal_ends_it_at_once(way: str, tmp_path: Path) -> None:
    output = tmp_path / "out.jsonl"
    with (
        simulator("--rate", "100", "--symbols", "BTCUSDT") as own,
        running(way, own, output) as process,
    ):
        own.break_now("half_open")
        time.sleep(0.5)
        end = stop(process, signal.SIGINT, signal.SIGINT, pause_s=0.1)
    assert end.code in (-signal.SIGINT, 0), end.err
    assert end.took_s < AT_ONCE_S
    assert "Traceback" not in end.err


def test_it_returns_and_raises_as_a_run_of_trio_does() -> None:
    async def double(number: int) -> int:
        await trio.lowlevel.checkpoint()
        return 2 * number

    async def fail() -> None:
        async with trio.open_nursery():
            raise SinkError("full")

    assert run_hosted(double, 21) == 42
    with pytest.raises(BaseExceptionGroup) as caught:
        run_hosted(fail)
    assert caught.group_contains(SinkError)


INTERRUPTED = """
import os, signal, trio
from k2trio.commands.hosted import run_hosted

async def main():
    try:
        os.kill(os.getpid(), signal.SIGINT)
        await trio.sleep(30)
    finally:
        with trio.CancelScope(shield=True):
            await trio.sleep(0.1)
        print("finished")

try:
    {run}(main)
except BaseException as error:
    print(type(error).__name__, signal.getsignal(signal.SIGINT) is signal.default_int_handler)
"""


@pytest.mark.parametrize("run", ["trio.run", "run_hosted"])
def test_a_ctrl_c_that_nobody_receives_ends_it_as_a_run_of_trio(run: str) -> None:
    end = python(INTERRUPTED.format(run=run))
    assert (end.stdout, end.stderr) == ("finished\nKeyboardInterrupt True\n", "")


@pytest.mark.parametrize(
    ("output", "more", "paid"),
    [
        ("out.jsonl", {}, True),
        ("parquet:market", {}, True),
        ("-", {}, False),
        ("out.jsonl.zst", {}, False),
        ("out.jsonl,other.jsonl", {}, False),
        ("out.jsonl", {"coverage": "ledger.json"}, False),
        ("out.jsonl", {"book_levels": 20}, False),
    ],
)
def test_it_is_a_guest_where_nothing_waits_for_a_message(
    output: str, more: dict[str, object], paid: bool
) -> None:
    assert pays(load_settings(output=output.split(","), **more)) == paid
