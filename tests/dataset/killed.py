"""Seals copies of a dataset in processes of which each is killed one call to the system later.

    python killed.py TEMPLATE FOLDER

``FOLDER/<n>`` is the dataset as the kill right before the n-th call left it; a write was done by
half, and of the many of a file two are tried. The last one was not killed. Each line that is
printed names a call.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
from pathlib import Path
from typing import Any

from journaled import WRITER

from k2trio.dataset.sealing import seal_all

STEPS = ("open", "write", "fsync", "mkdir", "replace", "unlink")
WRITES = {0, 1, 10}
"""Which writes in a row are tried, beside all that is none."""


def seal_and_die(root: Path, at: int) -> None:
    """Seal, and be killed at a call; to be run in a process of its own."""
    calls = writes = 0

    def stopped(name: str) -> Any:
        call = getattr(os, name)

        def step(*arguments: Any, **more: Any) -> Any:
            nonlocal calls, writes
            writes = writes + 1 if name == "write" else 0
            if writes in WRITES:
                calls += 1
            if calls == at:
                if name == "write":
                    fd, data = arguments
                    call(fd, memoryview(data)[: len(memoryview(data)) // 2])
                path = arguments[0]
                print(name, path.name if isinstance(path, Path) else "", flush=True)  # noqa: T201
                os.kill(os.getpid(), signal.SIGKILL)
            return call(*arguments, **more)

        return step

    for name in STEPS:
        setattr(os, name, stopped(name))
    (outcome,) = seal_all(root, root / "_journal", WRITER)
    os._exit(0 if outcome.seal is not None else 1)


def main(template: Path, folder: Path) -> int:
    """Kill at every call there is."""
    at = 0
    while True:
        at += 1
        shutil.copytree(template, folder / str(at))
        child = os.fork()
        if child == 0:
            seal_and_die(folder / str(at), at)
        _, status = os.waitpid(child, 0)
        if status != signal.SIGKILL:
            return os.waitstatus_to_exitcode(status)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2])))
