"""The clients of ``peers.toml``: their environments, and how one of them is run."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tomllib
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.market import product_of

if TYPE_CHECKING:
    from collections.abc import Sequence

BENCH = Path(__file__).resolve().parent.parent
PEERS = BENCH / "peers"
ENVIRONMENTS = BENCH / ".venvs"
CHECKOUT = BENCH.parent
INSTALL_BOUND_S = 900.0
RUN_BOUND_S = 120.0
CARGO = "Cargo.toml"
READY = "bench-packages.json"
"""Written into an environment when it is complete: what was asked for."""


class NotMeasuredError(Exception):
    """Why a client has no figure."""


@dataclass(frozen=True)
class Client:
    """One row of the tables.

    :ivar environment: its name in ``peers.toml``; empty: the interpreter of the bench.
    :ivar adapter: file in ``peers/``; or a crate there, by its ``Cargo.toml``.
    :ivar hands: what the library hands its user.
    :ivar modes: what it can do; empty: everything.
    :ivar cannot: ``plain`` or ``tls`` → why it cannot be measured so.
    :ivar stands_in: mode → the traffic that it gets instead.
    :ivar futures: whether it can take those of USD-M futures, too.
    :ivar throughput: whether it is part of the throughput benchmark.
    :ivar latency: whether it is part of the latency benchmark.
    :ivar memory: whether it is part of the memory benchmark.
    :ivar pausable: whether its consumer can rest while the library goes on.
    """

    name: str
    adapter: str
    hands: str
    environment: str = ""
    variant: str = ""
    modes: tuple[str, ...] = ()
    cannot: dict[str, str] = field(default_factory=dict)
    stands_in: dict[str, str] = field(default_factory=dict)
    futures: bool = False
    throughput: bool = True
    latency: bool = False
    memory: bool = False
    pausable: bool = False

    def can(self, mode: str) -> bool:
        """Whether it takes part in a mode."""
        if product_of(mode) != "spot":
            return self.futures
        return not self.modes or mode in self.modes

    def traffic(self, mode: str) -> str:
        """What the load server sends to it in a mode."""
        return self.stands_in.get(mode, mode)

    @property
    def ours(self) -> bool:
        """Whether it is k2trio."""
        return self.name.startswith("k2trio")

    @property
    def in_rust(self) -> bool:
        """Whether it is a program that cargo builds."""
        return Path(self.adapter).name == CARGO


@cache
def _table() -> dict[str, Any]:
    return tomllib.loads((BENCH / "peers.toml").read_text())


def clients(only: str = "") -> list[Client]:
    """All clients, or those whose name holds one of the comma-separated words."""
    rows = [Client(**{**row, "modes": tuple(row.get("modes", ()))}) for row in _table()["clients"]]
    return named(rows, only)


def named(rows: Sequence[Client], only: str) -> list[Client]:
    """Those of the clients whose name holds one of the comma-separated words, or all."""
    words = [word.strip() for word in only.split(",") if word.strip()]
    found = [row for row in rows if not words or any(word in row.name for word in words)]
    if not found:
        raise SystemExit(f"no client is called {only!r}; known are: "
                         + ", ".join(row.name for row in rows))  # fmt: skip
    return found


def client_named(name: str) -> Client:
    """The client of exactly that name."""
    return next(row for row in clients() if row.name == name)


def command_of(client: Client) -> list[str]:
    """What starts a client; its environment or program is made if it is missing.

    :raises NotMeasuredError: if that fails.
    """
    if client.in_rust:
        return [str(_built(PEERS / client.adapter))]
    return [python_of(client), str(PEERS / client.adapter)]


@cache
def _cargo() -> str:
    found = shutil.which("cargo") or shutil.which(Path.home() / ".cargo" / "bin" / "cargo")
    if found is None:
        raise NotMeasuredError("needs cargo, which is not here")
    return found


@cache
def _built(manifest: Path) -> Path:
    """The program of a crate. Cargo knows whether there is anything to build."""
    name = manifest.parent.name
    home, log = ENVIRONMENTS / name, ENVIRONMENTS / f"{name}.log"
    ENVIRONMENTS.mkdir(exist_ok=True)
    command = [_cargo(), "build", "--release", "--manifest-path", str(manifest),
               "--target-dir", str(home)]  # fmt: skip
    print(f"building {name} …", file=sys.stderr, flush=True)
    with log.open("w") as output:
        try:
            subprocess.run(
                command, check=True, stdout=output, stderr=output, timeout=INSTALL_BOUND_S
            )
        except (OSError, subprocess.SubprocessError) as error:
            raise NotMeasuredError(f"does not build, see {log.name}") from error
    package = tomllib.loads(manifest.read_text())["package"]
    return home / "release" / str(package["name"])


def python_of(client: Client) -> str:
    """The interpreter that runs a client; its environment is made if it is missing.

    :raises NotMeasuredError: if that fails.
    """
    if not client.environment:
        return sys.executable
    wanted = _table()["environments"][client.environment]
    home = ENVIRONMENTS / client.environment
    python = home / "bin" / "python"
    ready = home / READY
    if ready.is_file() and json.loads(ready.read_text()) == wanted:
        return str(python)
    print(f"installing {client.environment} …", file=sys.stderr, flush=True)
    log = ENVIRONMENTS / f"{client.environment}.log"
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir(parents=True)
    base = _interpreter(wanted.get("python", ""))
    with log.open("w") as output:
        for command in (
            [base, "-m", "venv", str(home)],
            [str(python), "-m", "pip", "install", *wanted["packages"]],
        ):
            try:
                subprocess.run(
                    command, check=True, stdout=output, stderr=output, timeout=INSTALL_BOUND_S
                )
            except (OSError, subprocess.SubprocessError) as error:
                raise NotMeasuredError(f"does not install, see {log.name}") from error
    ready.write_text(json.dumps(wanted))
    return str(python)


def _interpreter(version: str) -> str:
    """A base interpreter of that version; by default the one below ours."""
    if not version:
        return str(Path(sys.executable).resolve())
    pyenv = sorted(Path.home().glob(f".pyenv/versions/{version}.*/bin/python"))
    found = str(pyenv[-1]) if pyenv else shutil.which(f"python{version}")
    if found is None:
        raise NotMeasuredError(f"needs Python {version}, which is not here")
    return found


def versions_of(client: Client) -> dict[str, str]:
    """Interpreter (or compiler) and packages that a client ran with."""
    if client.in_rust:
        return _rust_versions(PEERS / client.adapter)
    wanted = ["k2trio", "trio", "trio-websocket", "msgspec"]
    if client.environment:
        packages = _table()["environments"][client.environment]["packages"]
        wanted = [package.partition("==")[0].partition("[")[0] for package in packages]
    elif not client.ours:
        wanted = []
    script = (
        "import json, platform, sys\nfrom importlib.metadata import version\n"
        "print(json.dumps({'python': platform.python_version()}"
        " | {name: version(name) for name in sys.argv[1:]}))"
    )
    if client.ours and client.variant != "pure":
        script += "\nfrom k2trio.compiled import core; print('compiled' if core else 'pure')"
    done = subprocess.run(
        [python_of(client), "-c", script, *wanted], capture_output=True, text=True, check=True
    )
    told, *core = done.stdout.splitlines()
    return dict(json.loads(told)) | ({"core": core[0]} if core else {})


def _rust_versions(manifest: Path) -> dict[str, str]:
    locked = tomllib.loads(manifest.with_name("Cargo.lock").read_text())["package"]
    wanted = tomllib.loads(manifest.read_text())["dependencies"]
    cargo = subprocess.run([_cargo(), "--version"], capture_output=True, text=True, check=True)
    return {"cargo": cargo.stdout.split()[1]} | {
        package["name"]: package["version"] for package in locked if package["name"] in wanted
    }


def run_client(
    client: Client,
    url: str,
    streams: Sequence[str],
    count: int,
    *,
    cpu: int | None,
    ca: Path | None,
    checkout: Path = CHECKOUT,
    arguments: Sequence[str] = (),
    bound_s: float = RUN_BOUND_S,
) -> dict[str, Any]:
    """Let a client read from the load server, on the given core; what it reports.

    :param streams: names, or one name ``@PATH`` of a file that holds them.
    :param checkout: the tree of k2trio that is measured.
    :raises NotMeasuredError: if it fails.
    """
    if why := client.cannot.get("plain" if ca is None else "tls"):
        raise NotMeasuredError(why)
    command = [
        *command_of(client), "--url", url, "--count", str(count),
        "--streams", "/".join(streams), "--variant", client.variant, *arguments,
    ]  # fmt: skip
    if ca is not None:
        command += ["--ca", str(ca)]
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=bound_s,
            env=client_environment(checkout, ca),
            preexec_fn=lambda: pin(cpu),
        )
    except subprocess.TimeoutExpired:
        raise NotMeasuredError(f"no result within {bound_s:g} s") from None
    lines = done.stdout.strip().splitlines()
    try:
        result = dict(json.loads(lines[-1]))
    except (IndexError, ValueError):
        said = (done.stderr or done.stdout).strip().splitlines() or ["nothing was said"]
        raise NotMeasuredError(f"failed: {said[-1][:200]}") from None
    return result


def client_environment(checkout: Path, ca: Path | None) -> dict[str, str]:
    """Variables of a client's process: the tree of k2trio, and the authority to trust."""
    variables = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("K2_BINANCE_", "PYTHON"))
    }
    variables["PYTHONPATH"] = str(checkout)
    variables["PYTHONSAFEPATH"] = ""
    if ca is not None:
        variables["SSL_CERT_FILE"] = variables["WEBSOCKET_CLIENT_CA_BUNDLE"] = str(ca)
    return variables


def pin(cpu: int | None) -> None:
    """Keep this process on one core; ``load.cores`` gives None where that cannot be done."""
    if cpu is not None:
        os.sched_setaffinity(0, {cpu})
