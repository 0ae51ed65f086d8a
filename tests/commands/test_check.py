"""`check` tries all that a run needs, finds each thing that is broken, and changes nothing."""

from __future__ import annotations

import re
import signal
import socket
import stat
from typing import TYPE_CHECKING

import pytest
from processes import FAST, Simulator, k2trio, lines_of, simulator, started, stop

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from subprocess import CompletedProcess

pytestmark = pytest.mark.slow

DEAD_REST = "http://127.0.0.1:9"


@pytest.fixture(scope="module")
def exchange() -> Iterator[Simulator]:
    with simulator("--rate", "100", "--seed", "1", "--no-strict-symbols") as running:
        yield running


def rows(end: CompletedProcess[str], heading: str) -> dict[str, list[str]]:
    """First column → the others, of the table that begins with that heading."""
    lines = end.stdout.splitlines()
    start = next(n for n, line in enumerate(lines) if line.startswith(heading))
    table = lines[start + 1 : lines.index("", start) if "" in lines[start:] else None]
    return {line.split()[0]: line.split()[1:] for line in table}


def problems(end: CompletedProcess[str]) -> list[str]:
    lines = end.stderr.splitlines()
    assert all(line.startswith("k2trio: ") for line in lines), end.stderr
    return [line.removeprefix("k2trio: ") for line in lines]


def test_a_sound_set_up_is_0_and_leaves_no_trace(exchange: Simulator, tmp_path: Path) -> None:
    names = ("output", "state", "coverage")
    (tmp_path / "output").write_bytes(b'{"venue":"v"}\n{"venue":"to')
    files = [f"--{name}={tmp_path / name}" for name in names]
    end = k2trio("check", *files, **exchange.variables())
    assert (end.returncode, problems(end)) == (0, [])
    assert [row[-3:] for name, row in rows(end, "here").items() if name in names] == [
        ["can", "be", "written"]
    ] * 3
    assert rows(end, "REST host")[exchange.urls["rest"]][-1] == "answers"
    assert [path.name for path in tmp_path.iterdir()] == ["output"]
    assert (tmp_path / "output").read_bytes() == b'{"venue":"v"}\n{"venue":"to'


def test_each_setting_is_shown_with_where_it_came_from(exchange: Simulator) -> None:
    variables = exchange.variables() | {"SYMBOLS": "BTCUSDT"}
    end = k2trio("check", "--repair-hold", "7", "--symbols=ETHUSDT", **variables)
    found = rows(end, "setting")
    assert found["REPAIR_HOLD"] == ["7", "--repair-hold"]
    assert found["SYMBOLS"] == ["ETHUSDT", "--symbols"]
    assert found["METRICS_PORT"] == ["0", "K2_BINANCE_METRICS_PORT"]
    assert found["FAILOVER_URLS"] == [exchange.urls["b"], "K2_BINANCE_FAILOVER_URLS"]
    assert found["ROTATE_AFTER"] == ["82800", "default"]
    assert found["OUTPUT"] == ["-", "default"]


def test_a_dead_rest_host_is_1_and_one_line(exchange: Simulator) -> None:
    end = k2trio("check", **exchange.variables() | {"REST_URLS": DEAD_REST})
    (line,) = problems(end)
    assert end.returncode == 1
    assert line.startswith(f"{DEAD_REST}/api/v3/time: ")
    assert line.endswith("; gaps cannot be repaired")
    assert rows(end, "endpoint")[exchange.urls["a"]][-1] == "works"


def test_of_several_rest_hosts_one_is_enough(exchange: Simulator) -> None:
    urls = f"{DEAD_REST},{exchange.urls['rest']}"
    end = k2trio("check", **exchange.variables() | {"REST_URLS": urls})
    assert (end.returncode, problems(end)) == (0, [])
    assert rows(end, "REST host")[DEAD_REST][-1] != "answers"


def test_a_rest_host_that_no_endpoint_would_ever_use_is_told(exchange: Simulator) -> None:
    urls = f"http://127.0.0.2:9,{exchange.urls['rest']}"
    end = k2trio("check", **exchange.variables() | {"REST_URLS": urls})
    (line,) = problems(end)
    assert end.returncode == 1
    assert line.startswith("http://127.0.0.2:9 of REST_URLS is never asked: ")


def test_the_routes_are_measured_for_as_long_as_asked(exchange: Simulator) -> None:
    dead = "127.0.0.1:9"
    variables = exchange.variables() | {"FAILOVER_URLS": f"{exchange.urls['b']},ws://{dead}/stream"}
    end = k2trio("check", "--latency", "2", **variables)
    assert (end.returncode, problems(end)) == (0, [])
    found = rows(end, "route to")
    for name in ("a", "b"):
        connect, tls, upgrade, *spreads, messages, result = found[host_of(exchange.urls[name])]
        assert (tls, result) == ("-", "measured")
        assert all(float(step) >= 0 for step in (connect, upgrade))
        ping, slow_ping, lag, slow_lag = map(float, spreads)
        assert 0 < ping <= slow_ping < 2000
        assert -50 < lag <= slow_lag < 2000  # the simulator's clock is this machine's
        assert int(messages) > 50
    assert found[dead][:8] == ["-"] * 7 + ["0"]
    assert found[dead][8] == "refused:"
    (clock,) = [line for line in end.stdout.splitlines() if line.startswith("clock of")]
    ahead, within = (float(part) for part in re.findall(r"([0-9.]+) ms", clock))
    assert ahead <= within + 5


def test_where_rest_does_not_answer_the_lag_is_said_to_be_uncertain(exchange: Simulator) -> None:
    end = k2trio("check", "--latency", "0.5", **exchange.variables() | {"REST_URLS": DEAD_REST})
    assert end.returncode == 1
    assert "clock of 127.0.0.1: not known, so lags may be wrong by any time: " in end.stdout
    assert rows(end, "route to")[host_of(exchange.urls["a"])][-1] == "measured"


def host_of(url: str) -> str:
    return url.split("/")[2]


def test_an_unknown_symbol_is_named_and_keeps_nothing_else_from_being_tried(
    exchange: Simulator,
) -> None:
    for streams in ("btcusd@trade,btcusdt@trade", "btcusd@trade"):
        end = k2trio("check", "--streams", streams, **exchange.variables())
        assert end.returncode == 2
        assert problems(end) == ["BTCUSD is not a symbol of 127.0.0.1; did you mean BTCUSDT?"]
        assert rows(end, "endpoint")[exchange.urls["a"]][-1] == "works"


@pytest.mark.parametrize("name", ["output", "state", "coverage"])
@pytest.mark.parametrize("where", ["missing", "read-only", "directory"])
def test_a_file_that_cannot_be_written_is_2_and_one_line(
    name: str, where: str, exchange: Simulator, tmp_path: Path
) -> None:
    folder = tmp_path / "none" if where == "missing" else tmp_path
    if where == "read-only":
        folder = read_only(tmp_path)
    path = folder if where == "directory" else folder / "file"
    end = k2trio("check", f"--{name}", str(path), **exchange.variables())
    (line,) = problems(end)
    assert end.returncode == 2
    assert str(path) in line


def read_only(folder: Path) -> Path:
    """A folder that may not be written to, by root neither."""
    folder.chmod(stat.S_IRUSR | stat.S_IXUSR)
    try:
        (folder / "probe").touch()
    except OSError:
        return folder
    return type(folder)("/sys")


def test_a_busy_metrics_port_is_2_and_one_line(exchange: Simulator) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        end = k2trio("check", "--metrics-port", str(port), **exchange.variables())
    (line,) = problems(end)
    assert end.returncode == 2
    assert line.startswith(f"port {port} on 127.0.0.1 is in use; ")


def test_files_of_a_program_that_runs_are_told_and_not_disturbed(
    exchange: Simulator, tmp_path: Path
) -> None:
    files = [f"--{name}={tmp_path / name}" for name in ("output", "state")]
    with started("run", *files, "--coverage=/dev/null", **exchange.variables()) as process:
        while not (tmp_path / "state").exists():
            assert process.poll() is None
        end = k2trio("check", *files, **exchange.variables())
        assert stop(process, signal.SIGTERM).code == 0
    assert end.returncode == 2
    assert [line.partition(" is in use")[0] for line in problems(end)] == [
        f"the output {tmp_path / 'output'}",
        f"the state file {tmp_path / 'state'}",
    ]


def test_everything_that_is_wrong_is_told_at_once(exchange: Simulator, tmp_path: Path) -> None:
    wrong = [f"--{name}={tmp_path}/none/{name}" for name in ("output", "state", "coverage")]
    end = k2trio("check", *wrong, "--streams", "btcusd@trade", **FAST,
                 WEBSOCKET_URL="ws://127.0.0.1:9/stream", FAILOVER_URLS="",
                 REST_URLS=exchange.urls["rest"])  # fmt: skip
    assert (end.returncode, len(problems(end))) == (2, 5)


def test_symbols_beside_streams_are_said_not_to_count(exchange: Simulator) -> None:
    says = "SYMBOLS and STREAMS are both given: STREAMS counts, SYMBOLS is not used"
    both = ["--symbols", "ETHUSDT", "--streams", "btcusdt@trade"]
    assert says in k2trio("check", *both, **exchange.variables()).stdout
    assert says not in k2trio("check", *both[2:], **exchange.variables()).stdout
    with started("run", *both, **exchange.variables() | {"LOG_LEVEL": "warning"}) as process:
        list(lines_of(process, 1))
        assert says in stop(process, signal.SIGTERM).err
