"""The service manager that started this process, told things by systemd's protocol.

That is one datagram of ``NAME=value`` lines (sd_notify(3)). None of the libraries for it fits:
sdnotify is of 2017, systemd-python wants libsystemd's headers, systemd-watchdog's socket blocks.
"""

from __future__ import annotations

import os
import socket
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping


class Manager:
    """Who is told; where there is none, or it does not listen, nothing happens.

    :param environ: names its socket (``NOTIFY_SOCKET``), and how often it wants to hear of a
        process (``WATCHDOG_USEC``, ``WATCHDOG_PID``).
    :ivar listens: whether there is one.
    :ivar watchdog_s: after how long without ``WATCHDOG=1`` it takes us for hung (s); None: never.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        named = environ.get("NOTIFY_SOCKET", "")
        self._address = f"\0{named[1:]}" if named.startswith("@") else named
        self.listens: bool = self._address.startswith(("/", "\0"))
        self._socket: socket.socket | None = None
        self.watchdog_s: float | None = None
        if self.listens:
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            self._socket.setblocking(False)
            period = environ.get("WATCHDOG_USEC", "")
            if environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid()):
                self.watchdog_s = int(period) / 1e6 if period.isdecimal() else None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._socket is not None:
            self._socket.close()

    def tell(self, **fields: object) -> bool:
        """Send what has to be said, never waiting; returns whether it was taken."""
        if self._socket is None:
            return False
        lines = (f"{name}={' '.join(str(said).split())}" for name, said in fields.items())
        try:
            self._socket.sendto("\n".join(lines).encode(), self._address)
        except OSError:
            return False  # it is being restarted, or has no room: the next one will do
        return True

    @contextmanager
    def reloading(self) -> Generator[None]:
        """Say that what SIGHUP asks for is being done, and then that it is."""
        self.tell(RELOADING=1, MONOTONIC_USEC=time.monotonic_ns() // 1000)
        yield
        self.tell(READY=1)
