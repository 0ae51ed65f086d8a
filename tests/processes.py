"""Runs the program as its users do: as a process, with an environment of its own."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any

import httpx2

from k2trio.settings import ENV_PREFIX

if TYPE_CHECKING:
    import signal
    from collections.abc import Generator, Iterator
    from pathlib import Path

PATIENCE_S = 30.0
"""How long any one step may take before the test fails."""
SHUTDOWN_S = 5.0

FAST = {
    "RECONNECT_DELAY": "0.05",
    "MAX_RECONNECT_DELAY": "0.2",
    "METRICS_PORT": "0",
    "LOG_LEVEL": "error",
}
"""Settings that make a test short."""
LOGGED = {"LOG_LEVEL": "info", "LOG_FORMAT": "json"}
"""Settings that let a test read the program's log."""

COMMAND = (sys.executable, "-X", "dev", "-W", "error", "-m", "k2trio")


def environment(**variables: str) -> dict[str, str]:
    """This process's environment with other settings."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith(ENV_PREFIX)}
    return plain | {f"{ENV_PREFIX}{name}": value for name, value in variables.items()}


def k2trio(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    return _ended([*COMMAND, *arguments], variables)


def python(text: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a program of Python to its end."""
    return _ended([sys.executable, "-c", text], variables)


def _ended(command: list[str], variables: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # noqa: S603 - our own command
        command,
        env=environment(**variables),
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )


@contextlib.contextmanager
def started(
    *arguments: str, stdout: int | IO[bytes] = subprocess.PIPE, **variables: str
) -> Generator[subprocess.Popen[bytes]]:
    """Start a command; it is killed at the end if it still runs."""
    with subprocess.Popen(  # noqa: S603 - our own command
        [*COMMAND, *arguments],
        env=environment(**variables),
        stdout=stdout,
        stderr=subprocess.PIPE,
        bufsize=0,  # else what readline has buffered is lost to communicate
    ) as process:
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()


def lines_of(process: subprocess.Popen[bytes], count: int) -> Iterator[str]:
    """The next lines of its standard output; fewer at its end."""
    assert process.stdout is not None
    for _ in range(count):
        line = process.stdout.readline()
        if not line:
            return
        yield line.decode()


def exporter_url(process: subprocess.Popen[bytes]) -> str:
    """Where the program serves its status; needs ``LOGGED`` among its settings."""
    assert process.stderr is not None
    while line := process.stderr.readline():
        event = json.loads(line)
        if event["event"] == "exporting":
            return str(event["page"])
    raise AssertionError("the program ended")


@dataclass
class Ended:
    """How a process ended after a signal."""

    code: int
    took_s: float
    out: bytes
    err: str


def stop(process: subprocess.Popen[bytes], *signals: signal.Signals, pause_s: float = 0.3) -> Ended:
    """Send the signals and wait for the end; the time counts from the last one."""
    for number, one in enumerate(signals):
        if number:
            time.sleep(pause_s)
        process.send_signal(one)
    sent = time.monotonic()
    out, err = process.communicate(timeout=PATIENCE_S)
    return Ended(process.returncode, time.monotonic() - sent, out, err.decode())


@dataclass
class Simulator:
    """A running ``k2trio simulate``."""

    urls: dict[str, str]
    process: subprocess.Popen[bytes]

    def break_now(self, kind: str, endpoint: str = "*", **parameters: object) -> None:
        """Let a fault begin."""
        fault = {"at": 0, "endpoint": endpoint, "kind": kind, **parameters}
        httpx2.post(
            f"{self.urls['rest']}/simulator/faults", json=[fault], trust_env=False
        ).raise_for_status()

    def truth(self) -> Any:
        """What it emitted, and what its clients did."""
        return httpx2.get(f"{self.urls['rest']}/simulator/truth", trust_env=False).json()

    def variables(self, *endpoints: str) -> dict[str, str]:
        """Settings of a client of it."""
        first, *rest = [self.urls[name] for name in endpoints or ("a", "b")]
        return {
            **FAST,
            "WEBSOCKET_URL": first,
            "FAILOVER_URLS": ",".join(rest),
            "REST_URLS": self.urls["rest"],
        }


@contextlib.contextmanager
def simulator(*arguments: str, faults: Path | None = None) -> Generator[Simulator]:
    """Start the simulated exchange with two endpoints on free ports."""
    given = ["--ports", "0,0", "--rest-port", "0", *arguments]
    if faults is not None:
        given += ["--faults", str(faults)]
    with started("simulate", *given) as process:
        urls: dict[str, str] = {}
        for line in lines_of(process, 4 if "--tls" in arguments else 3):
            name, _, url = line.strip().partition(" ")
            urls[name] = url
        yield Simulator(urls, process)
