"""Standard error that never blocks: lines wait in a bounded queue, and a thread writes them.

A pipe that nobody reads, a terminal that is halted and a disk that hangs hold up the thread, and
not the program. What does not fit is dropped, counted, and told when the reader is back.
"""

from __future__ import annotations

import atexit
import io
import os
import select
import sys
import threading
from collections import deque
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

MAX_WAITING_BYTES = 256 << 10
"""Room for lines that wait for the reader."""
MAX_LINE = 64 << 10
"""Characters of a line that is not waited for to end."""
LAST_LINES_S = 0.5
"""How long the reader may take for the last lines, when the program ends."""


class _Waiting(NamedTuple):
    """What waits to be written.

    :ivar lines: how many lines of the program's it holds.
    :ivar tells: how many dropped lines it tells of.
    """

    data: bytes
    lines: int
    tells: int


class NeverBlocking(io.TextIOBase):
    """A text stream over a descriptor, which takes and drops whole lines.

    :param fd: where to write; None for nowhere.
    :ivar dropped: lines that were lost because the reader was too slow, or gone.
    :ivar tell_dropped: makes the line that says so many were.
    """

    def __init__(self, fd: int | None, encoding: str = "utf-8") -> None:
        super().__init__()
        self.dropped: int = 0
        self.tell_dropped: Callable[[int], str] = "k2trio: {} log lines were dropped\n".format
        self._fd = fd
        self._encoding = encoding
        self._waiting: deque[_Waiting] = deque()
        self._bytes = 0
        self._begun = ""
        """A line that has not ended yet."""
        self._untold = 0
        self._gone = False
        """Whether the last write failed; it is tried again with the next line."""
        self._changed = threading.Condition()
        if fd is not None:
            threading.Thread(
                target=self._run, args=(fd,), name="standard error", daemon=True
            ).start()

    def writable(self) -> bool:
        """It always is."""
        return True

    def isatty(self) -> bool:
        """Whether people look at it."""
        return self._fd is not None and os.isatty(self._fd)

    def fileno(self) -> int:
        """The descriptor."""
        if self._fd is None:
            raise OSError("standard error is closed")
        return self._fd

    def write(self, text: str, /) -> int:
        """Hand over text, of which whole lines go on; never waits for whoever reads them."""
        if self._fd is not None:
            with self._changed:
                self._begun += text
                if "\n" in text or len(self._begun) > MAX_LINE:
                    self._hand_over()
        return len(text)

    def drain(self, timeout_s: float = LAST_LINES_S) -> None:
        """Wait until all lines are written, for so long at most."""
        with self._changed:
            if self._begun:
                self._hand_over()
            self._changed.wait_for(
                lambda: self._gone or not (self._waiting or self._untold), timeout_s
            )

    def _hand_over(self) -> None:
        """Let the lines that are whole wait, and before them how many are missing; or drop them."""
        whole, end, rest = self._begun.rpartition("\n")
        text, self._begun = (whole + end, rest) if end else (rest, "")
        lines = text.count("\n") or 1
        self._gone = False
        self._changed.notify_all()
        full = self._bytes + len(text) > MAX_WAITING_BYTES
        told = self.tell_dropped(self._untold) if self._untold and not full else ""
        data = f"{told}{text}".encode(self._encoding, "backslashreplace")
        if full or self._bytes + len(data) > MAX_WAITING_BYTES:
            self.dropped += lines
            self._untold += lines
            return
        self._waiting.append(_Waiting(data, lines, tells=self._untold))
        self._bytes += len(data)
        self._untold = 0

    def _run(self, fd: int) -> None:
        while True:
            with self._changed:
                while self._gone or not (self._waiting or self._untold):
                    self._changed.wait()
                if not self._waiting:
                    told = self.tell_dropped(self._untold).encode(self._encoding)
                    self._waiting.append(_Waiting(told, lines=0, tells=self._untold))
                    self._bytes += len(told)
                    self._untold = 0
                next_one = self._waiting[0]
            written = _write(fd, next_one.data)
            with self._changed:
                self._waiting.popleft()
                self._bytes -= len(next_one.data)
                if not written:
                    self.dropped += next_one.lines
                    self._untold += next_one.lines + next_one.tells
                    self._gone = not self._waiting
                self._changed.notify_all()


def _write(fd: int, data: bytes) -> bool:
    """Write all of it, for as long as it takes; False if that cannot be done."""
    while data:
        try:
            data = data[os.write(fd, data) :]
        except BlockingIOError:  # whoever shares it made it so
            select.select([], [fd], [])
        except OSError:
            return False
    return True


def take() -> NeverBlocking:
    """Put such a stream in the place of ``sys.stderr``, for as long as the program runs.

    Descriptors 0 to 2 that the caller closed are opened on nothing: else the next file that is
    opened gets one of these numbers, and with it what is meant for standard error.
    """
    while (fd := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(fd)
    if sys.stderr is None:
        stream = NeverBlocking(None)
    else:
        sys.stderr.flush()
        stream = NeverBlocking(sys.stderr.fileno(), sys.stderr.encoding)
    sys.stderr = stream
    atexit.register(stream.drain)
    return stream


def drain(timeout_s: float) -> None:
    """Wait until all lines of this program are written, for so long at most."""
    if isinstance(sys.stderr, NeverBlocking):
        sys.stderr.drain(timeout_s)


def dropped_lines() -> int:
    """How many lines of this program's standard error were dropped."""
    return sys.stderr.dropped if isinstance(sys.stderr, NeverBlocking) else 0
