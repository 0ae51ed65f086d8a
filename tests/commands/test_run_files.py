"""The program's files as its users meet them: locks, moves, full disks, unread logs."""

from __future__ import annotations

import fcntl
import json
import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path
from subprocess import PIPE
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import httpx2
import pytest
from processes import (
    COMMAND,
    LOGGED,
    PATIENCE_S,
    SHUTDOWN_S,
    Simulator,
    environment,
    exporter_url,
    k2trio,
    lines_of,
    simulator,
    started,
    stop,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator

pytestmark = pytest.mark.slow

STREAM = "btcusdt@trade"


@pytest.fixture(scope="module")
def exchange() -> Iterator[Simulator]:
    with simulator("--rate", "100", "--seed", "1") as running:
        yield running


def until(true: Callable[[], object]) -> None:
    """Wait for something outside."""
    end = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.02)


def size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def ids(*contents: bytes) -> list[int]:
    rows = [json.loads(line) for content in contents for line in content.splitlines()]
    assert [row for row in rows if "data" not in row] == []
    return [row["data"]["t"] for row in rows if row["stream"] == STREAM]


def assert_without_a_hole(numbers: Iterable[int]) -> None:
    got = list(numbers)
    assert len(got) > 10
    assert got == list(range(got[0], got[-1] + 1))


@contextmanager
def in_shell(
    script: str, *arguments: str, stderr: int | None = None, **variables: str
) -> Generator[subprocess.Popen[bytes]]:
    """The program, started as ``$@`` of a shell script; it is killed at the end if it runs."""
    with subprocess.Popen(  # noqa: S603 - our own command
        ["/bin/sh", "-c", script, "sh", *COMMAND, "run", *arguments],
        env=environment(**variables),
        stdout=subprocess.PIPE,
        stderr=stderr,
        bufsize=0,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


# -- two programs ---------------------------------------------------------------------------------


@pytest.mark.parametrize("shared", ["output", "state"])
def test_a_file_of_another_program_is_one_line_and_exit_code_2(
    exchange: Simulator, tmp_path: Path, shared: str
) -> None:
    files = {name: tmp_path / name for name in ("output", "state", "other")}

    def arguments(other: str) -> list[str]:
        chosen = {name: files[name if name == shared else other] for name in ("output", "state")}
        return [word for name, path in chosen.items() for word in (f"--{name}", str(path))]

    mine = ["--output", str(files["output"]), "--state", str(files["state"])]
    with started("run", *mine, **exchange.variables()) as process:
        until(lambda: size(files["output"]) and size(files["state"]))
        end = k2trio("run", *arguments("other"), **exchange.variables())
        assert (end.returncode, end.stdout) == (2, "")
        what = "the output" if shared == "output" else "the state file"
        assert end.stderr == (
            f"k2trio: {what} {files[shared]} is in use by another program; "
            "stop that one, or choose another file\n"
        )
        assert stop(process, signal.SIGTERM).code == 0
    assert_without_a_hole(ids(files["output"].read_bytes()))
    # After kill -9 nothing has to be tidied up.
    with started("run", *mine, **exchange.variables()) as process:
        until(lambda: size(files["state"]))
        process.kill()
        process.wait(PATIENCE_S)
    with started("run", *mine, **exchange.variables()) as process:
        before = size(files["output"])
        until(lambda: size(files["output"]) > before)
        assert stop(process, signal.SIGTERM).code == 0


def test_one_file_for_two_purposes_is_one_line_and_exit_code_2(
    exchange: Simulator, tmp_path: Path
) -> None:
    path = tmp_path / "out.jsonl"
    path.write_bytes(b'{"venue":"precious"}\n')
    (tmp_path / "link").symlink_to(path)
    for arguments in (
        ["--coverage", str(path)],
        ["--coverage", str(tmp_path / "link")],
        ["--state", str(tmp_path / "." / "out.jsonl")],
    ):
        end = k2trio("run", "--output", str(path), *arguments, **exchange.variables())
        assert (end.returncode, end.stdout, end.stderr.count("\n")) == (2, "", 1)
        assert "are both" in end.stderr
    with path.open("ab") as file:
        for arguments in (["--coverage", str(path)], ["--coverage", "/dev/stdout"]):
            with started("run", *arguments, stdout=file, **exchange.variables()) as process:
                _, err = process.communicate(timeout=PATIENCE_S)
            assert process.returncode == 2
            assert err.decode().endswith("is what standard output goes to; name another\n")
    assert path.read_bytes() == b'{"venue":"precious"}\n'


# -- full, moved ----------------------------------------------------------------------------------


def test_a_full_disk_under_standard_output_leaves_whole_lines_and_says_so(
    exchange: Simulator, tmp_path: Path
) -> None:
    path, errors = tmp_path / "out.jsonl", tmp_path / "errors"
    script = f'ulimit -f 40; exec "$@" > {path} 2> {errors}'
    with in_shell(script, **exchange.variables()) as process:
        assert process.wait(PATIENCE_S) == 1
    (line,) = errors.read_text().splitlines()
    assert line.startswith("k2trio: cannot write to standard output: it may not grow further; ")
    assert line.endswith("; it ends with a whole line")
    assert path.stat().st_size > 15_000
    assert_without_a_hole(ids(path.read_bytes()))


@pytest.mark.parametrize("signalled", [True, False], ids=["SIGHUP", "no signal"])
def test_an_output_that_was_moved_away_is_opened_anew(
    exchange: Simulator, tmp_path: Path, signalled: bool
) -> None:
    path, moved = tmp_path / "out.jsonl", tmp_path / "out.jsonl-yesterday"
    variables = exchange.variables() | LOGGED
    with started("run", "--output", str(path), **variables) as process:
        until(lambda: size(path) > 5_000)
        path.rename(moved)
        if signalled:
            process.send_signal(signal.SIGHUP)
        until(lambda: size(path) > 5_000)
        end = stop(process, signal.SIGTERM)
    assert end.code == 0
    assert '"event": "output_reopened"' in end.err
    assert_without_a_hole(ids(moved.read_bytes(), path.read_bytes()))


@pytest.fixture
def heeding_hangups() -> Generator[None]:
    """A program inherits what its parent ignores; and a parent may run under nohup."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.mark.usefixtures("heeding_hangups")
def test_without_an_output_file_sighup_ends_in_order_unless_it_is_ignored(
    exchange: Simulator,
) -> None:
    with started("run", **exchange.variables()) as process:
        list(lines_of(process, 10))
        assert stop(process, signal.SIGHUP).code == 0
    with in_shell('trap "" HUP; exec "$@"', **exchange.variables()) as process:
        list(lines_of(process, 10))
        process.send_signal(signal.SIGHUP)
        assert len(list(lines_of(process, 100))) == 100
        assert stop_plainly(process) == 0


def stop_plainly(process: subprocess.Popen[bytes]) -> int:
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=PATIENCE_S)
    return process.returncode


# -- standard error -------------------------------------------------------------------------------


@pytest.mark.skipif(not hasattr(fcntl, "F_SETPIPE_SZ"), reason="needs a small pipe")
def test_standard_error_that_nobody_reads_stops_neither_the_feed_nor_its_end(
    tmp_path: Path,
) -> None:
    path = tmp_path / "out.jsonl"
    with simulator("--rate", "100", "--seed", "1") as exchange:
        variables = exchange.variables() | LOGGED | {"LOG_LEVEL": "debug"}
        with started("run", "--output", str(path), **variables) as process:
            assert process.stderr is not None
            fcntl.fcntl(process.stderr, fcntl.F_SETPIPE_SZ, 4096)
            for _ in range(15):  # each makes half a dozen lines
                exchange.break_now("rst")
                time.sleep(0.3)
            before = size(path)
            until(lambda: size(path) > before + 5_000)
            process.send_signal(signal.SIGTERM)
            assert process.wait(SHUTDOWN_S) == 0
    due = None
    for row in map(json.loads, path.read_bytes().splitlines()):
        if row["stream"] == STREAM:  # repairs may be under way at the end
            first, last = (row["gap"]["first"], row["gap"]["last"]) if "gap" in row else (
                row["data"]["t"], row["data"]["t"])  # fmt: skip
            assert due in (None, first)
            due = last + 1


def test_the_last_line_waits_for_nobody(tmp_path: Path) -> None:
    """Standard error is full from the start, and what ends the program cannot be told."""
    read, write = os.pipe()
    os.set_blocking(write, False)
    try:
        while os.write(write, bytes(4096)):
            pass
    except BlockingIOError:
        os.set_blocking(write, True)
    for wrong in (["--qqq"], ["--output", str(tmp_path / "none" / "out")]):
        with in_shell('exec "$@"', *wrong, stderr=write) as process:
            assert process.wait(PATIENCE_S) in (1, 2)
    os.close(read)
    os.close(write)


def test_standard_error_that_is_closed_at_the_start_takes_no_data(
    exchange: Simulator, tmp_path: Path
) -> None:
    """Nor does any file get its number, into which then would go what is meant for it."""
    path = tmp_path / "out.jsonl"
    arguments = ["--output", str(path)]
    variables = exchange.variables() | LOGGED
    with in_shell('exec "$@" 2>&- <&-', *arguments, **variables) as process:
        until(lambda: size(path) > 20_000)
        for fd in (0, 2):
            assert Path(f"/proc/{process.pid}/fd/{fd}").readlink() == Path(os.devnull)
        process.send_signal(signal.SIGTERM)
        assert process.wait(SHUTDOWN_S) == 0
    assert_without_a_hole(ids(path.read_bytes()))


# -- few descriptors ------------------------------------------------------------------------------


@pytest.mark.skipif(sys.platform != "linux", reason="needs prlimit")
def test_a_state_that_cannot_be_saved_for_a_while_is_told_and_ends_nothing(
    exchange: Simulator, tmp_path: Path
) -> None:
    path, state = tmp_path / "out.jsonl", tmp_path / "state.json"
    variables = exchange.variables() | LOGGED | {"STATE_INTERVAL": "0.2"}
    with started("run", "--output", str(path), "--state", str(state), **variables) as process:
        page = exporter_url(process)
        until(lambda: size(state))
        client = httpx2.Client(trust_env=False)  # one connection that is there already
        assert client.get(f"{page}/readyz").status_code == 200
        before = resource.prlimit(process.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(process.pid, resource.RLIMIT_NOFILE, (3, before[1]))
        until(lambda: "the state file is not written" in client.get(f"{page}/readyz").text)
        resource.prlimit(process.pid, resource.RLIMIT_NOFILE, before)
        until(lambda: client.get(f"{page}/readyz").status_code == 200)
        client.close()
        end = stop(process, signal.SIGTERM)
    assert end.code == 0
    assert '"event": "state_not_saved"' in end.err
    assert_without_a_hole(ids(path.read_bytes()))
    positions = {
        row["stream"]: row["position"] for row in json.loads(state.read_text())["positions"]
    }
    assert positions[STREAM] == ids(path.read_bytes())[-1]


def test_idle_clients_of_the_exporter_leave_the_feed_its_descriptors(
    exchange: Simulator, tmp_path: Path
) -> None:
    path, state = tmp_path / "out.jsonl", tmp_path / "state.json"
    arguments = ["--output", str(path), "--state", str(state)]
    few = 'ulimit -n 128; exec "$@"'
    variables = exchange.variables() | LOGGED
    with ExitStack() as clients, in_shell(few, *arguments, stderr=PIPE, **variables) as process:
        where = urlsplit(exporter_url(process))
        for _ in range(300):
            clients.enter_context(socket.create_connection((where.hostname, where.port), 5))
        before = size(path)
        time.sleep(3)
        assert process.poll() is None
        assert size(path) > before
        end = stop(process, signal.SIGTERM)
    assert end.code == 0
    assert "state_not_saved" not in end.err
    assert_without_a_hole(ids(path.read_bytes()))


# -- process 1 ------------------------------------------------------------------------------------


def container() -> list[str]:
    """How to start a command as process 1 of a name space of its own."""
    command = ["unshare", "--pid", "--fork", "--kill-child"]
    if shutil.which("unshare") is None:
        pytest.skip("no unshare here")
    if subprocess.run([*command, "true"], check=False).returncode:  # noqa: S603 - its own check
        pytest.skip("no name spaces for processes here")
    return command


def test_as_process_1_a_second_signal_ends_at_once_too(tmp_path: Path) -> None:
    """The kernel lets no default action of a signal end it."""
    prefix = container()
    path = tmp_path / "out.jsonl"
    with simulator("--rate", "100", "--seed", "1") as exchange:
        variables = exchange.variables() | {"CLOSE_TIMEOUT": "30"}
        with subprocess.Popen(  # noqa: S603 - our own command
            [*prefix, *COMMAND, "run", "--output", str(path)], env=environment(**variables)
        ) as outer:
            until(lambda: size(path) > 1000)
            exchange.break_now("half_open")
            time.sleep(0.5)
            (inner,) = Path(f"/proc/{outer.pid}/task/{outer.pid}/children").read_text().split()
            os.kill(int(inner), signal.SIGTERM)
            time.sleep(0.5)
            assert outer.poll() is None
            os.kill(int(inner), signal.SIGTERM)
            assert outer.wait(1.0) == 128 + signal.SIGTERM


def test_the_state_is_nobody_elses(exchange: Simulator, tmp_path: Path) -> None:
    state: Any = tmp_path / "state.json"
    with started("run", "--state", str(state), **exchange.variables()) as process:
        list(lines_of(process, 10))
        until(lambda: size(state))
        stop(process, signal.SIGTERM)
    assert {file.name: file.stat().st_mode & 0o777 for file in tmp_path.iterdir()} == {
        "state.json": 0o600,
        ".state.json.lock": 0o600,
    }
