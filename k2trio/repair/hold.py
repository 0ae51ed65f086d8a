"""How long the gaps of a stream are waited for before they are declared.

A gap has ``repair_hold`` from its opening, or from when the stream's repair last made progress: a
repair may take as long as it brings something. While REST is well and the stream merely waits for
its turn, or for a book that lags behind but moves, the clock stands still: that is not failing. It
stands still for ``PATIENCE_S`` of a gap's life at most, so output is never later than
``repair_hold`` and that together while nothing comes.

Pure: time comes in as an argument.
"""

from __future__ import annotations

import math
from collections import deque

PATIENCE_S = 60.0
"""One window of the venue's budget: by then all of it has been given out anew."""


class Hold:
    """The clock of the gaps of one stream.

    :param hold_s: how long a gap may be without progress.
    """

    def __init__(self, hold_s: float) -> None:
        self._hold_s = hold_s
        self._progress_at = -math.inf
        self._excused: deque[tuple[float, float]] = deque()
        self._waiting_since: float | None = None

    @property
    def waiting(self) -> bool:
        """Whether the stream waits for its turn."""
        return self._waiting_since is not None

    def progress(self, now: float) -> None:
        """The repair brought something: whatever is missing is waited for anew."""
        self._progress_at = now
        self._excused.clear()
        if self._waiting_since is not None:
            self._waiting_since = now

    def wait(self, now: float) -> None:
        """From now on the stream waits for its turn."""
        self._waiting_since = now

    def resume(self, now: float, *, excused: bool) -> None:
        """The wait is over, and counts against the gaps unless it is excused."""
        if excused and self._waiting_since is not None:
            self._excused.append((self._waiting_since, now))
        self._waiting_since = None

    def deadline(self, opened_at: float, *, excused: bool) -> float:
        """When a gap is to be declared, if nothing changes until then.

        Gaps must be asked about in the order of their opening.

        :param excused: whether a wait that is under way counts as one.
        """
        since = max(opened_at, self._progress_at)
        while self._excused and self._excused[0][1] <= since:
            self._excused.popleft()
        if excused and self._waiting_since is not None:
            stood_still_s = PATIENCE_S
        else:
            stood_still_s = sum(end - max(begin, since) for begin, end in self._excused)
        return since + self._hold_s + min(PATIENCE_S, stood_still_s)
