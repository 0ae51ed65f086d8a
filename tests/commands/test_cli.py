"""The commands, as processes: what they print, how they end, and what they say when they cannot."""

from __future__ import annotations

import fcntl
import json
import signal
import socket
import subprocess
import sys
import termios
import time
import tomllib
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from processes import (
    COMMAND,
    FAST,
    LOGGED,
    SHUTDOWN_S,
    Simulator,
    environment,
    k2trio,
    lines_of,
    simulator,
    started,
    stop,
)

import k2trio as library

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.slow

AT_ONCE_S = 1.0
NOBODY = "ws://127.0.0.1:9/stream"


@pytest.fixture(scope="module")
def exchange() -> Iterator[Simulator]:
    with simulator("--rate", "50", "--seed", "1") as running:
        yield running


@pytest.fixture
def own_exchange() -> Iterator[Simulator]:
    """One that the test may break."""
    with simulator("--rate", "50", "--seed", "1") as running:
        yield running


@pytest.fixture
def busy_port() -> Iterator[int]:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        yield other.getsockname()[1]


def complaints(err: str) -> list[str]:
    """The lines of the program itself; no traceback may be among the others."""
    assert "Traceback" not in err, err
    assert "Warning" not in err, err
    return [line for line in err.splitlines() if line.startswith("k2trio: ")]


# -- run ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_run_writes_json_lines_until_a_signal_and_then_ends_in_order(
    exchange: Simulator, number: signal.Signals
) -> None:
    with started("run", **exchange.variables()) as process:
        lines = list(lines_of(process, 100))
        time.sleep(0.5)  # so that there is something to end in order
        end = stop(process, number)
    assert (end.code, complaints(end.err)) == (0, [])
    assert end.took_s < SHUTDOWN_S
    assert end.out.endswith(b"\n")
    items = [json.loads(line) for line in [*lines, *end.out.decode().splitlines()]]
    assert {tuple(item) for item in items} == {("venue", "stream", "received", "origin", "data")}
    for stream in ("btcusdt@trade", "ethusdt@trade"):
        ids = [item["data"]["t"] for item in items if item["stream"] == stream]
        assert len(ids) > 20
        assert ids == list(range(ids[0], ids[0] + len(ids)))


def test_without_a_command_it_runs(exchange: Simulator) -> None:
    with started("--streams", "btcusdt@aggTrade", **exchange.variables()) as process:
        (line,) = lines_of(process, 1)
        assert stop(process, signal.SIGTERM).code == 0
    assert json.loads(line)["data"]["e"] == "aggTrade"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_peer_that_went_silent_does_not_hold_up_the_end(
    own_exchange: Simulator, number: signal.Signals
) -> None:
    with started("run", **own_exchange.variables()) as process:
        list(lines_of(process, 10))
        own_exchange.break_now("half_open")
        time.sleep(0.5)
        end = stop(process, number)
    assert (end.code, complaints(end.err)) == (0, [])
    assert end.took_s < SHUTDOWN_S
    assert end.out.endswith(b"}\n")
    for line in end.out.splitlines():
        json.loads(line)


@pytest.mark.skipif(not hasattr(fcntl, "F_SETPIPE_SZ"), reason="needs a small pipe")
def test_a_reader_that_went_silent_does_not_hold_up_the_end(exchange: Simulator) -> None:
    with started("run", **exchange.variables()) as process:
        assert process.stdout is not None
        fcntl.fcntl(process.stdout, fcntl.F_SETPIPE_SZ, 4096)
        until(lambda: unread_bytes(process.stdout) > 0)
        time.sleep(0.5)
        process.send_signal(signal.SIGTERM)
        began = time.monotonic()
        process.wait(SHUTDOWN_S)
        assert time.monotonic() - began < SHUTDOWN_S
        _, err = process.communicate()
    (line,) = complaints(err.decode())
    assert process.returncode == 1
    assert line.endswith("reader was too slow")


def unread_bytes(pipe: object) -> int:
    return int.from_bytes(fcntl.ioctl(pipe, termios.FIONREAD, bytes(4)), sys.byteorder)  # type: ignore[call-overload]


def test_a_second_signal_ends_at_once(own_exchange: Simulator) -> None:
    variables = own_exchange.variables() | {"CLOSE_TIMEOUT": "30"}
    with started("run", **variables) as process:
        list(lines_of(process, 10))
        own_exchange.break_now("half_open")
        time.sleep(0.5)
        end = stop(process, signal.SIGINT, signal.SIGINT)
    assert end.code == -signal.SIGINT
    assert end.took_s < AT_ONCE_S
    assert "Traceback" not in end.err


def test_a_broken_connection_is_repaired_without_a_missing_or_doubled_line(
    own_exchange: Simulator,
) -> None:
    with started("run", **own_exchange.variables()) as process:
        lines = list(lines_of(process, 50))
        own_exchange.break_now("rst")
        lines += lines_of(process, 200)
        lines += stop(process, signal.SIGTERM).out.decode().splitlines()
    ids = [item["data"]["t"] for item in map(json.loads, lines) if item["stream"][:3] == "btc"]
    assert ids == list(range(ids[0], ids[0] + len(ids)))


def test_a_file_is_appended_to_and_ends_with_a_whole_line(
    exchange: Simulator, tmp_path: Path
) -> None:
    path = tmp_path / "out.jsonl"
    path.write_bytes(b'{"venue":"before"}\n{"venue":"torn')
    with started("run", "--output", str(path), **exchange.variables()) as process:
        until(lambda: path.stat().st_size > 10_000)
        assert stop(process, signal.SIGTERM).code == 0
    first, *rest = path.read_bytes().splitlines(keepends=True)
    assert first == b'{"venue":"before"}\n'
    assert all(json.loads(line)["stream"] for line in rest)
    assert rest[-1].endswith(b"\n")


def test_the_ledger_is_written_at_the_end(exchange: Simulator, tmp_path: Path) -> None:
    path = tmp_path / "coverage.json"
    with started("run", "--coverage", str(path), **exchange.variables()) as process:
        lines = list(lines_of(process, 50))
        end = stop(process, signal.SIGTERM)
        lines += end.out.decode().splitlines()
    ledger = {entry["stream"]: entry for entry in json.loads(path.read_text())}
    items = [json.loads(line) for line in lines]
    assert set(ledger) == {"btcusdt@trade", "ethusdt@trade"}
    for stream, entry in ledger.items():
        ids = [item["data"]["t"] for item in items if item["stream"] == stream]
        assert (entry["first"], entry["live"], entry["missing"]) == (ids[0], len(ids), 0)


def test_logs_are_json_lines_on_standard_error_if_asked(exchange: Simulator) -> None:
    variables = exchange.variables() | {"LOG_LEVEL": "debug"}
    with started("run", "--log-format", "json", **variables) as process:
        list(lines_of(process, 10))
        end = stop(process, signal.SIGTERM)
    events = [json.loads(line) for line in end.err.splitlines()]
    names = [event["event"] for event in events]
    assert "exporting" in names
    feed = ["dialing", "connected", "flowing", "stopping", "coverage", "closed"]
    assert [name for name in names if name != "exporting"] == feed
    connected = events[names.index("connected")]
    assert {"line", "endpoint", "url_index", "venue", "handshake_s"} <= set(connected)
    assert events[names.index("stopping")]["signal"] == "SIGTERM"
    assert all({"timestamp", "level"} <= set(event) for event in events)


def test_every_gap_of_the_output_is_in_the_log(own_exchange: Simulator) -> None:
    own_exchange.break_now("dropped", share=0.3, duration=3600)
    nobody = {"REST_URLS": "http://127.0.0.1:9", "REPAIR_HOLD": "0.2"}
    variables = {**own_exchange.variables(), **LOGGED, **nobody}
    with started("run", **variables) as process:
        out = [json.loads(line) for line in lines_of(process, 200)]
        ended = stop(process, signal.SIGTERM)
    out += [json.loads(line) for line in ended.out.splitlines()]
    log = [json.loads(line) for line in ended.err.splitlines()]
    told = [line for line in log if line["event"] == "gap_declared"]
    gaps = [line for line in out if "gap" in line]
    assert gaps
    assert sum(line["gaps"] for line in told) == len(gaps)
    assert len(told) < 10


def test_a_busy_metrics_port_is_one_line_that_names_it(exchange: Simulator, busy_port: int) -> None:
    end = k2trio("run", "--metrics-port", str(busy_port), **exchange.variables())
    (line,) = complaints(end.stderr)
    assert (end.returncode, end.stdout) == (2, "")
    assert line.startswith(f"k2trio: port {busy_port} on 127.0.0.1 is in use; ")
    assert "--metrics-port" in line


def test_giving_up_is_exit_code_1_and_one_line() -> None:
    variables = FAST | {"MAX_RECONNECT_ATTEMPTS": "2", "FAILOVER_URLS": ""}
    end = k2trio("run", "--websocket-url", NOBODY, **variables)
    (line,) = complaints(end.stderr)
    assert (end.returncode, end.stdout) == (1, "")
    assert line.startswith(
        "k2trio: gave up after 2 reconnect attempts; the last one failed with refused: "
    )


def test_what_happens_to_the_feed_is_told_once() -> None:
    """By the program's own log, and not by that of the library beside it."""
    variables = FAST | LOGGED | {"MAX_RECONNECT_ATTEMPTS": "1", "FAILOVER_URLS": ""}
    end = k2trio("run", "--websocket-url", NOBODY, **variables)
    for event in ("reconnecting", "giving_up"):
        (line,) = [line for line in end.stderr.splitlines() if event in line]
        assert json.loads(line)["event"] == event


def test_a_reader_that_leaves_is_exit_code_1_and_one_line(exchange: Simulator) -> None:
    with started("run", **exchange.variables()) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr is not None
        err = process.stderr.read().decode()
        process.wait(SHUTDOWN_S)
    assert process.returncode == 1
    assert complaints(err) == [
        "k2trio: cannot write to standard output: its reader has gone; "
        "nothing more can be delivered"
    ]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_exit_code_1_and_one_line(exchange: Simulator) -> None:
    end = k2trio("run", "--output", "/dev/full", **exchange.variables())
    (line,) = complaints(end.stderr)
    assert end.returncode == 1
    assert line.startswith("k2trio: cannot write to /dev/full: the disk is full; ")


def test_an_output_that_cannot_be_opened_is_exit_code_2_and_one_line(tmp_path: Path) -> None:
    end = k2trio("run", "--output", str(tmp_path / "none" / "out"), **FAST)
    (line,) = complaints(end.stderr)
    assert end.returncode == 2
    assert line.endswith("its directory does not exist; create it")


def test_a_tls_endpoint_works_with_its_authority_and_fails_without(tmp_path: Path) -> None:
    authority = tmp_path / "ca.pem"
    with simulator("--tls", "--ca-file", str(authority), "--rate", "50") as secure:
        assert secure.urls["a"].startswith("wss://127.0.0.1:")
        assert secure.urls["ca"] == str(authority)
        good = k2trio("check", "--ca-file", str(authority), **secure.variables())
        bad = k2trio("check", **secure.variables())
    works = [line for line in good.stdout.splitlines() if line.endswith(" works")]
    assert (good.returncode, len(works)) == (0, 2)
    assert bad.returncode == 1
    assert "tls: " in bad.stdout


# -- options and variables ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "variables", "expected"),
    [
        (
            [],
            {"RECONECT_DELAY": "1"},
            "K2_BINANCE_RECONECT_DELAY is not a setting of k2trio; "
            "did you mean K2_BINANCE_RECONNECT_DELAY?",
        ),
        (
            ["--reconect-delay", "1"],
            {},
            "--reconect-delay is not an option; did you mean --reconnect-delay?",
        ),
        (["--qqq"], {}, "--qqq is not an option; see python -m k2trio run --help"),
        (["--bogus"], {}, "--bogus is not an option; see python -m k2trio run --help"),
        (["simulate", "--ports", "abc"], {}, "--ports: must be a whole number (got 'abc')"),
        (["simulate", "--ports", ""], {}, "--ports: must name at least one"),
        (
            ["simulate", "--ports", ",".join("0" * 27)],
            {},
            "--ports: must be 26 at most",
        ),
        (["--symbols"], {}, "argument --symbols: expected one argument"),
        (
            ["--reconnect-delay", "soon"],
            {},
            "--reconnect-delay: must be a number (got 'soon')",
        ),
        (
            [],
            {"RECONNECT_DELAY": "soon"},
            "K2_BINANCE_RECONNECT_DELAY: must be a number (got 'soon')",
        ),
        (
            ["--reconnect-delay", "-1"],
            {},
            "--reconnect-delay: must be at least 0.01 (got '-1')",
        ),
        (
            ["--log-level", "loud"],
            {},
            "--log-level: must be 'debug', 'info', 'warning' or 'error' (got 'loud')",
        ),
        (
            ["--streams", "btcusdt@nothing"],
            {},
            "--streams: 'btcusdt@nothing' is not a stream of the exchange; known are trade, "
            "aggTrade, blockTrade, depth, depth@100ms, depth@1000ms, bookTicker, miniTicker, "
            "ticker, avgPrice, referencePrice, depth5/10/20, kline_<interval>, "
            "ticker_<1h|4h|1d>, !miniTicker@arr, !ticker_<window>@arr",
        ),
        (
            ["--websocket-url", "ws://example.com/stream"],
            {},
            "ws://example.com/stream is not encrypted; use wss:// or https://, "
            "or set ALLOW_INSECURE if you must",
        ),
        (
            ["--websocket-url", "wss://me:secret@example.com/stream"],
            {},
            "--websocket-url: the URL for 'example.com' must not hold a user name or password",
        ),
        (
            ["fly"],
            {},
            "'fly' is not a command; known are run, check, config, book, demo, seal, heal, verify, "
            "simulate, replay, ops",
        ),
    ],
)
def test_a_wrong_option_or_variable_is_exit_code_2_and_one_line(
    arguments: list[str], variables: dict[str, str], expected: str
) -> None:
    end = k2trio(*arguments, **variables)
    assert (end.returncode, end.stdout, end.stderr) == (2, "", f"k2trio: {expected}\n")


@pytest.mark.parametrize("command", ["run", "check"])
@pytest.mark.parametrize("content", [b"", b"no certificate", bytes(range(256))])
def test_a_ca_file_that_is_no_pem_is_exit_code_2_and_one_line(
    command: str, content: bytes, tmp_path: Path
) -> None:
    ca_file = tmp_path / "ca.pem"
    ca_file.write_bytes(content)
    end = k2trio(command, CA_FILE=str(ca_file), **FAST)
    (line,) = complaints(end.stderr)
    assert (end.returncode, end.stdout) == (2, "")
    assert line.startswith(f"k2trio: CA_FILE {ca_file} cannot be used: ")


@pytest.mark.parametrize("command", ["run", "check"])
def test_a_key_log_that_cannot_be_written_is_exit_code_2_and_one_line(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSLKEYLOGFILE", str(tmp_path / "missing" / "keys"))
    end = k2trio(command, **FAST)
    (line,) = complaints(end.stderr)
    assert (end.returncode, end.stdout) == (2, "")
    assert line.startswith("k2trio: cannot write to SSLKEYLOGFILE ")


def test_each_wrong_value_gets_a_line_of_its_own() -> None:
    end = k2trio("--stable-after", "x", RECOVERY_TIMEOUT="y")
    assert [line.split(":")[1].strip() for line in complaints(end.stderr)] == [
        "--stable-after",
        "K2_BINANCE_RECOVERY_TIMEOUT",
    ]
    assert end.returncode == 2


def test_an_option_wins_over_a_variable(exchange: Simulator) -> None:
    variables = exchange.variables() | {"STREAMS": "ethusdt@trade"}
    with started("run", "--streams=btcusdt@trade", **variables) as process:
        (line,) = lines_of(process, 1)
        stop(process, signal.SIGTERM)
    assert json.loads(line)["stream"] == "btcusdt@trade"


def test_a_variable_may_be_a_json_list(exchange: Simulator) -> None:
    variables = exchange.variables() | {"STREAMS": '["ethusdt@trade"]'}
    with started("run", **variables) as process:
        (line,) = lines_of(process, 1)
        stop(process, signal.SIGTERM)
    assert json.loads(line)["stream"] == "ethusdt@trade"


@pytest.mark.parametrize("command", ["run", "check", "demo", "simulate"])
def test_help_of_a_command_tells_its_options(command: str) -> None:
    end = k2trio(command, "--help")
    assert (end.returncode, end.stderr) == (0, "")
    assert end.stdout.startswith(f"usage: python -m k2trio {command} [OPTIONS]\n")
    port = "--rest-port PORT" if command == "simulate" else "--metrics-port PORT"
    assert port in end.stdout
    assert "tuple" not in end.stdout
    assert max(map(len, end.stdout.splitlines())) <= 100


def test_help_tells_the_commands() -> None:
    end = k2trio("--help")
    assert (end.returncode, end.stderr) == (0, "")
    for command in ("run", "check", "demo", "simulate", "replay", "ops"):
        assert f"\n  {command} " in end.stdout


def test_help_into_a_closed_pipe_is_no_traceback() -> None:
    with started("--help") as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.stderr is not None
        err = process.stderr.read().decode()
    assert complaints(err) == ["k2trio: cannot write to standard output: its reader has gone"]
    assert process.returncode == 1


def test_the_version_is_told() -> None:
    assert k2trio("--version").stdout == "k2trio 0.1.0\n"
    assert library.__version__ == version("k2trio") == "0.1.0"


def test_the_installed_command_is_the_same_program() -> None:
    """What pip makes of the entry point is such a script."""
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())
    module, _, function = project["project"]["scripts"]["k2trio"].partition(":")
    script = f"import sys; from {module} import {function}; sys.exit({function}())"
    for arguments in (["--version"], ["fly"]):
        end = subprocess.run(  # noqa: S603 - our own command
            [sys.executable, "-c", script, *arguments],
            capture_output=True, text=True, env=environment(), check=False,
        )  # fmt: skip
        plain = k2trio(*arguments)
        assert (end.returncode, end.stdout, end.stderr) == (
            plain.returncode, plain.stdout, plain.stderr,
        )  # fmt: skip


# -- check ----------------------------------------------------------------------------------------


def test_check_is_0_if_an_endpoint_works_and_names_what_is_wrong_with_the_others(
    exchange: Simulator,
) -> None:
    end = k2trio("check", **exchange.variables() | {"FAILOVER_URLS": NOBODY})
    assert (end.returncode, complaints(end.stderr)) == (0, [])
    rows = {line.split()[0]: line for line in end.stdout.splitlines() if line.startswith("ws")}
    assert rows[exchange.urls["a"]].endswith("works")
    assert "refused: " in rows[NOBODY]


def test_check_escapes_a_symbol_that_the_terminal_has_no_characters_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    streams = "币usdt@trade"
    end = k2trio("check", **FAST, WEBSOCKET_URL=NOBODY, FAILOVER_URLS="", STREAMS=streams)
    assert (end.returncode, len(complaints(end.stderr))) == (1, 1)
    assert end.stdout.splitlines()[0] == r"streams: \u5e01usdt@trade"


def test_check_is_1_if_none_works_with_a_line_for_each() -> None:
    urls = [NOBODY, "ws://127.0.0.1:10/stream"]
    end = k2trio("check", **FAST, WEBSOCKET_URL=urls[0], FAILOVER_URLS=urls[1])
    assert end.returncode == 1
    told = [line.removeprefix("k2trio: ").split(": ")[:2] for line in complaints(end.stderr)]
    assert told == [[url, "refused"] for url in urls]


def test_check_is_2_if_the_configuration_is_wrong() -> None:
    assert k2trio("check", "--symbols", "").returncode == 2


# -- simulate -------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_simulate_prints_its_urls_and_ends_at_a_signal(number: signal.Signals) -> None:
    with simulator() as running:
        assert list(running.urls) == ["a", "b", "rest"]
        end = stop(running.process, number)
    assert (end.code, end.out, complaints(end.err)) == (0, b"", [])
    assert end.took_s < SHUTDOWN_S


@pytest.mark.parametrize("option", ["--ports", "--rest-port"])
def test_simulate_names_a_busy_port(option: str, busy_port: int) -> None:
    ports = {"--ports": "0", "--rest-port": "0"} | {option: str(busy_port)}
    end = k2trio("simulate", *(word for pair in ports.items() for word in pair))
    assert (end.returncode, end.stdout) == (2, "")
    assert complaints(end.stderr) == [
        f"k2trio: port {busy_port} on 127.0.0.1 is in use; stop the other program, or choose "
        f"another port with {option}"
    ]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("[", "Input data was truncated"),
        ('[{"at": 1}]', "missing required field `endpoint`"),
        (
            '[{"at": 1, "endpoint": "a", "kind": "bored"}]',
            "'bored' is no kind of fault; known are refused, ",
        ),
        ('{"at": 1, "endpoint": "a", "kind": "rts"}', "did you mean rst? known are refused, "),
        ('[{"at": 1, "endpoint": "z", "kind": "rst"}]', "nothing is called 'z'; known are *, a, "),
        (
            '[{"at": 1, "endpoint": "a", "kind": "halt", "symbol": "DOGEUSDT"}]',
            "nothing is called 'DOGEUSDT'; known are BTCUSDT, ETHUSDT",
        ),
        ('[{"at": 1, "endpoint": "a", "kind": "rst", "x": 1}]', "unknown field `x`"),
        (None, "cannot be read: No such file or directory"),
    ],
)
def test_simulate_says_what_is_wrong_with_a_faults_file(
    content: str | None, expected: str, tmp_path: Path
) -> None:
    path = tmp_path / "faults.json"
    if content is not None:
        path.write_text(content)
    end = k2trio("simulate", "--ports", "0", "--rest-port", "0", "--faults", str(path))
    (line,) = complaints(end.stderr)
    assert (end.returncode, end.stdout) == (2, "")
    assert line.startswith(f"k2trio: --faults {path}")
    assert expected in line


def test_simulate_does_what_a_faults_file_says(tmp_path: Path) -> None:
    path = tmp_path / "faults.json"
    faults = [{"at": 0, "endpoint": "a", "kind": "http_status", "status": 451, "duration": 60}]
    path.write_text(json.dumps(faults))
    with simulator("--rate", "50", faults=path) as running:
        end = k2trio("check", **running.variables())
    assert "http_451" in end.stdout
    assert end.returncode == 0


def test_the_same_seed_makes_the_same_market() -> None:
    def first_id(seed: str) -> int:
        with simulator("--rate", "50", "--seed", seed) as running:
            until(lambda: running.truth()["symbols"]["BTCUSDT"]["trades"])
            found: int = running.truth()["symbols"]["BTCUSDT"]["trades"][0][0]
            return found

    assert first_id("1") == first_id("1")
    assert first_id("1") != first_id("2")


def test_the_process_is_quick_to_start() -> None:
    began = time.monotonic()
    subprocess.run([*COMMAND[:1], *COMMAND[-2:], "--version"], env=environment(), check=True)  # noqa: S603
    assert time.monotonic() - began < SHUTDOWN_S


def until(true: Callable[[], object]) -> None:
    """Wait for something outside."""
    end = time.monotonic() + 20
    while time.monotonic() < end:
        try:
            if true():
                return
        except FileNotFoundError:
            pass
        time.sleep(0.05)
    raise AssertionError("it never came")
