"""Scripts of the documents in bash, on ports that are free here."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from pages import ROOT
from processes import environment

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

BASH = shutil.which("bash") or "bash"


def with_free_ports() -> Callable[[str], str]:
    """Puts free ports in the place of those that the documents name."""
    named = ("9443", "9444", "9080")
    known = dict(zip(named, map(str, free_ports(len(named))), strict=True))

    def replaced(text: str) -> str:
        return re.sub(rf"\b({'|'.join(named)})\b", lambda port: known[port[0]], text)

    return replaced


def free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


@contextlib.contextmanager
def bash(script: str, cwd: Path, **variables: str) -> Generator[subprocess.Popen[str]]:
    """Run a script in a group of its own, which ends with the block; ``python`` is this one."""
    given = environment(**{"METRICS_PORT": "0", "SHARED_BUDGET": "off"} | variables)
    given["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{given['PATH']}"
    given["PYTHONPATH"] = os.pathsep.join([str(ROOT), given.get("PYTHONPATH", "")])
    with subprocess.Popen(  # noqa: S603 - our own text
        [BASH, "-euo", "pipefail", "-c", script],
        cwd=cwd,
        env=given,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            yield process
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
