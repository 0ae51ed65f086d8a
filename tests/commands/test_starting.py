"""What `run` tries before it begins, and what it tells of itself then."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import structlog
import trio
from processes import LOGGED, Simulator, environment, k2trio, lines_of, simulator, started, stop
from world import fault, open_world

from k2trio.commands.starting import try_state
from k2trio.commands.summary import INTERVAL_S, sum_up
from k2trio.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.slow

NOBODY = "http://127.0.0.1:9"
UNKNOWN = "k2trio: BTCUSD is not a symbol of 127.0.0.1; did you mean BTCUSDT?\n"


@pytest.fixture(scope="module")
def exchange() -> Iterator[Simulator]:
    with simulator("--rate", "100", "--seed", "1", "--no-strict-symbols") as running:
        yield running


@pytest.fixture
def read_only(tmp_path: Path) -> Path:
    """A folder that nobody may write to, not even root."""
    if os.geteuid():
        tmp_path.chmod(0o500)
        return tmp_path
    return Path("/sys")


def events(err: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in err.splitlines()]


# -- symbols --------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["run", "check"])
def test_a_symbol_that_the_venue_does_not_have_is_exit_code_2_and_one_line(
    exchange: Simulator, command: str
) -> None:
    end = k2trio(command, "--symbols", "BTCUSDT,BTCUSD", **exchange.variables())
    assert (end.returncode, end.stderr) == (2, UNKNOWN)


def test_each_of_several_has_its_line_also_with_an_output(
    exchange: Simulator, tmp_path: Path
) -> None:
    streams = "btcusd@depth,ethusd@trade,btcusdt@trade"
    end = k2trio("run", "--streams", streams, "--output", str(tmp_path / "out"),
                 **exchange.variables())  # fmt: skip
    assert end.returncode == 2
    assert [line.split()[1] for line in end.stderr.splitlines()] == ["BTCUSD", "ETHUSD"]


def test_where_rest_does_not_answer_the_start_goes_on_with_a_warning(exchange: Simulator) -> None:
    variables = exchange.variables() | LOGGED | {"REST_URLS": NOBODY}
    with started("run", **variables) as process:
        assert len(list(lines_of(process, 10))) == 10
        end = stop(process, signal.SIGTERM)
    (warning,) = [event for event in events(end.err) if event["event"] == "symbols_not_checked"]
    assert warning["level"] == "warning"
    assert NOBODY in warning["detail"]


# -- files ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["output", "state", "coverage"])
@pytest.mark.parametrize("where", ["missing", "read_only", "directory"])
def test_a_file_that_cannot_be_written_is_exit_code_2_and_one_line_at_the_start(
    name: str, where: str, exchange: Simulator, tmp_path: Path, read_only: Path
) -> None:
    folder = {"missing": tmp_path / "none", "read_only": read_only, "directory": tmp_path}[where]
    path = folder if where == "directory" else folder / "file"
    end = k2trio("run", f"--{name}", str(path), **exchange.variables())
    (line,) = end.stderr.splitlines()
    assert (end.returncode, end.stdout) == (2, "")
    assert line.startswith("k2trio: cannot ") or "is not a regular file; " in line
    assert str(path) in line
    assert list(tmp_path.iterdir()) == []


def test_every_unusable_file_has_its_line(exchange: Simulator, tmp_path: Path) -> None:
    wrong = [f"--{name}={tmp_path}/none/{name}" for name in ("state", "coverage")]
    end = k2trio("run", *wrong, **exchange.variables())
    assert (end.returncode, len(end.stderr.splitlines())) == (2, 2)


def test_a_state_file_that_is_there_is_tried_and_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    path.write_text('{"format":"k2trio-state-1","positions":[]}')
    try_state(path)
    assert path.read_text() == '{"format":"k2trio-state-1","positions":[]}'
    assert list(tmp_path.iterdir()) == [path]
    path.write_text("torn")
    with pytest.raises(ConfigError, match="is not a whole k2trio state file"):
        try_state(path)


# -- signs of life --------------------------------------------------------------------------------


def test_with_an_output_the_log_tells_what_was_started(exchange: Simulator, tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    with started("run", "--output", str(path), **exchange.variables() | LOGGED) as process:
        assert process.stderr is not None
        seen = [
            json.loads(process.stderr.readline()) for _ in ("exporting", "started", "connected")
        ]
        assert stop(process, signal.SIGTERM).code == 0
    (told,) = [event for event in seen if event["event"] == "started"]
    ports = [exchange.urls[name].removeprefix("ws://").partition("/")[0] for name in "ab"]
    assert (told["version"], told["output"], told["endpoints"]) == ("0.1.0", str(path), ports)
    assert (told["streams"], told["named"]) == (2, ["btcusdt@trade", "ethusdt@trade"])


async def test_the_log_sums_up_at_every_interval(autojump_clock: object) -> None:
    rest_is_away = fault(0, "rest_status", "venue", status=503, duration=1000)
    holes = fault(INTERVAL_S + 20, "dropped", share=0.5, duration=5)
    async with (
        open_world([rest_is_away, holes], rate=10) as world,
        trio.open_nursery() as nursery,
    ):
        with structlog.testing.capture_logs() as logged:
            nursery.start_soon(sum_up, world.feed)
            await trio.sleep(2 * INTERVAL_S + 1)
        nursery.cancel_scope.cancel()
    first, second = logged
    (row,) = world.feed.coverage()
    assert {first["event"], second["event"]} == {"summary"}
    assert first["missing"] == 0
    assert second["missing"] == row.missing > 10
    assert first["delivered"] < second["delivered"] <= row.live
    assert first["messages_per_s"] == pytest.approx(first["delivered"] / INTERVAL_S, rel=0.05)
    since = second["delivered"] - first["delivered"]
    assert second["messages_per_s"] == pytest.approx(since / INTERVAL_S, rel=0.05)


def test_a_log_on_a_terminal_has_colours_unless_they_are_unwanted(tmp_path: Path) -> None:
    import pty
    import subprocess

    from processes import COMMAND

    def logged(**more: str) -> bytes:
        ours, theirs = pty.openpty()
        try:
            variables = environment(WEBSOCKET_URL="ws://127.0.0.1:9/stream", FAILOVER_URLS="",
                                    MAX_RECONNECT_ATTEMPTS="1", METRICS_PORT="0",
                                    RECONNECT_DELAY="0.01", REST_URLS=NOBODY)  # fmt: skip
            variables.pop("NO_COLOR", None)
            subprocess.run(  # noqa: S603 - our own command
                [*COMMAND, "run"], env=variables | more, stderr=theirs, stdout=subprocess.DEVNULL,
                check=False, timeout=30,
            )  # fmt: skip
            return os.read(ours, 1 << 16)
        finally:
            os.close(ours)
            os.close(theirs)

    assert b"\x1b[" in logged()
    assert b"\x1b[" in logged(NO_COLOR="")
    assert b"\x1b[" not in logged(NO_COLOR="1")
