"""What makes a run repeat, step by step.

The deterministic scheduling of Trio is private to it, so Trio's version is pinned for the tests,
and ``test_simulation.py`` has a canary that a seed gives the same trace twice.
"""

from __future__ import annotations

import contextlib
import gc
import hashlib
import itertools
import random
import struct
import types
from typing import TYPE_CHECKING

import trio
import trio._core._run as trio_run
import trio_websocket
import wsproto.frame_protocol
import wsproto.utilities

from k2trio.client import suspend

if TYPE_CHECKING:
    from collections.abc import Iterator


class Trace(trio.abc.Instrument):
    """Hash of every step of every task: (virtual time, serial of the task, its name)."""

    def __init__(self) -> None:
        self.hash = hashlib.blake2b(digest_size=16)
        self.steps = 0
        self._base: int | None = None

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        """Add a step."""
        if self._base is None:
            self._base = task._counter
        self.steps += 1
        self.hash.update(struct.pack("<dq", trio.current_time(), task._counter - self._base))
        self.hash.update(task.name.encode())


@contextlib.contextmanager
def deterministic(seed: int) -> Iterator[None]:
    """Make a Trio run repeat: scheduler order, masks, nonces, ping payloads, finalizers."""
    saved = (
        trio_run._ALLOW_DETERMINISTIC_SCHEDULING,
        trio_run._r.getstate(),
        random.getstate(),
        wsproto.utilities.os,
        wsproto.frame_protocol.os,
        suspend.SUSPEND_CHECK_S,
    )
    try:
        trio_run._ALLOW_DETERMINISTIC_SCHEDULING = True
        trio_run._r.seed(seed)
        random.seed(seed)
        fake = types.SimpleNamespace(urandom=random.Random(seed).randbytes)
        wsproto.utilities.os = wsproto.frame_protocol.os = fake
        trio_websocket.WebSocketConnection.CONNECTION_ID = itertools.count()
        # Looking for a suspend every 5 s would be most of what a quiet hour does.
        suspend.SUSPEND_CHECK_S = 60.0
        gc.collect()
        gc.disable()
        yield
    finally:
        gc.enable()
        trio_run._ALLOW_DETERMINISTIC_SCHEDULING = saved[0]
        trio_run._r.setstate(saved[1])
        random.setstate(saved[2])
        wsproto.utilities.os, wsproto.frame_protocol.os, suspend.SUSPEND_CHECK_S = saved[3:]
