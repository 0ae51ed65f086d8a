"""The bench's end of the load server: start it on a core of its own, tell it what to send."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from harness.clients import BENCH, pin

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True)
class Load:
    """A running load server.

    :ivar url: without a path.
    :ivar ca: the authority to trust, with TLS.
    """

    url: str
    ca: Path | None
    process: subprocess.Popen[str]

    def prepare(self, **plan: Any) -> None:
        """Tell it what the next clients get; see ``loadserver.Plan``."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(plan) + "\n")
        self.process.stdin.flush()
        _read(self.process.stdout)


@contextmanager
def load_server(*, tls: bool = False, cpu: int | None = None) -> Iterator[Load]:
    """Run the load server as long as the block lasts."""
    with tempfile.TemporaryDirectory() as directory:
        ca = Path(directory) / "ca.pem" if tls else None
        process = subprocess.Popen(
            [sys.executable, "-m", "harness.loadserver", *(("--tls", str(ca)) if ca else ())],
            cwd=BENCH,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            preexec_fn=lambda: pin(cpu),
        )
        try:
            port = _read(process.stdout)["port"]
            yield Load(f"{'wss' if tls else 'ws'}://127.0.0.1:{port}", ca, process)
        finally:
            process.kill()
            process.wait()


def cores() -> tuple[int | None, int | None]:
    """The client's core and the server's; None where there are not two."""
    available = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    return (available[0], available[1]) if len(available) > 1 else (None, None)


def _read(output: IO[str] | None) -> dict[str, Any]:
    assert output is not None
    line = output.readline()
    if not line:
        raise SystemExit("the load server has ended; what it said is above")
    return dict(json.loads(line))
