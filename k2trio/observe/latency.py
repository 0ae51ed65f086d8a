"""How long messages take on each part of their way: of late, and by histogram.

What can be measured of the way from the exchange to the consumer, of a batch (what one read of a
socket brought), in seconds:

``exchange``
    From when the exchange made the last message of the batch to when it was read. It depends on
    both clocks: where this machine's is wrong, it is wrong by as much, and may be negative.
``network``
    Half of the round trip of a WebSocket ping, which needs no clock of the exchange's. It is
    measured once a minute, and is part of the former.
``decode``
    From the read to when its messages are decoded.
``queue``
    From there to when the batch is handed to the consumer, what waits behind a gap left out. While
    the consumer is slow it waits here.
``handler``
    From there to when the consumer asks for the next batch.

A batch costs a few appends to lists. They are counted when a thousand have come, or when somebody
looks.
"""

from __future__ import annotations

import enum
import math
import statistics
from bisect import bisect_left
from collections import deque
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, NamedTuple

from .transitions import PingMeasured

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from .transitions import Transition

BUCKETS = (
    *(0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005),
    *(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0),
)
"""Upper bounds of the histograms (s): from what a decoder takes to what an operator looks into."""
WINDOW_S = 60.0
"""What :meth:`Meter.recent` looks back on: this long at least, and twice as long at most (s)."""
MOST = 1_000
"""Measurements of one window that percentiles are made of: the newest. To sort more of them every
second, for a page that somebody looks at, would hold up the messages."""
FOLD = 1_024
"""Measurements that are counted at once."""


class Part(enum.StrEnum):
    """A part of the way; see the module."""

    EXCHANGE = "exchange"
    NETWORK = "network"
    DECODE = "decode"
    QUEUE = "queue"
    HANDLER = "handler"


@dataclass(frozen=True, slots=True)
class Spread:
    """Measurements of one part; seconds.

    :ivar count: how many there were.
    :ivar p50_s: the median of the newest of them.
    :ivar p99_s: what one in a hundred of these exceeded.
    :ivar max_s: the longest of all.
    """

    count: int
    p50_s: float
    p99_s: float
    max_s: float


def spread_of(values: Sequence[float], count: int, longest: float) -> Spread:
    """The spread of measurements (s), of which at least one is known.

    :param values: those that percentiles are made of.
    """
    if len(values) == 1:
        return Spread(count, values[0], values[0], longest)
    percentiles = statistics.quantiles(values, n=100, method="inclusive")
    return Spread(count, percentiles[49], percentiles[98], longest)


@dataclass(frozen=True, slots=True)
class Latency:
    """How long each part of the way took of late; None where nothing was measured.

    Of all batches of the last one or two minutes; the percentiles of the newest thousand or two of
    them; ``network`` of pings. The module says what each part is. Times are seconds.
    """

    exchange: Spread | None
    network: Spread | None
    decode: Spread | None
    queue: Spread | None
    handler: Spread | None


class Histogram(NamedTuple):
    """Measurements since the start.

    :ivar counts: of those up to each bound of :data:`BUCKETS`, and last of all.
    :ivar sum_s: of all (s).
    """

    counts: Sequence[int]
    sum_s: float


NOTHING = {part.value: Histogram([0] * (len(BUCKETS) + 1), 0.0) for part in Part}
"""The histograms of a feed that has not begun."""


class _Window:
    """The measurements of one window."""

    def __init__(self) -> None:
        self.values: deque[float] = deque(maxlen=MOST)
        self.count = 0
        self.longest = -math.inf

    def add(self, seconds: Sequence[float]) -> None:
        self.values.extend(seconds)
        self.count += len(seconds)
        self.longest = max(self.longest, *seconds)


class _Samples:
    """The measurements of one part."""

    def __init__(self) -> None:
        self.fresh: list[float] = []
        self._before, self._recent = _Window(), _Window()
        self._counts = [0] * (len(BUCKETS) + 1)
        self._sum_s = 0.0

    def fold(self) -> None:
        """Count what is fresh."""
        if self.fresh:
            for seconds in self.fresh:
                self._counts[bisect_left(BUCKETS, seconds)] += 1
            self._sum_s += sum(self.fresh)
            self._recent.add(self.fresh)
            self.fresh.clear()

    def turn(self, windows: int) -> None:
        """Begin a new window, the given one after this."""
        self._before = self._recent if windows == 1 else _Window()
        self._recent = _Window()

    def spread(self) -> Spread | None:
        """What is known of this window and the one before."""
        both = self._before, self._recent
        values = [seconds for window in both for seconds in window.values]
        if not values:
            return None
        count = sum(window.count for window in both)
        return spread_of(values, count, max(window.longest for window in both))

    def histogram(self) -> Histogram:
        """All since the start."""
        self.fold()
        return Histogram(list(accumulate(self._counts)), self._sum_s)


class Meter:
    """Measures; see the module.

    :param clock: as :func:`trio.current_time`.
    :ivar clock: the same.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self.clock: Callable[[], float] = clock
        self._samples = {part: _Samples() for part in Part}
        self._exchange = self._samples[Part.EXCHANGE].fresh
        self._decode = self._samples[Part.DECODE].fresh
        self._queue = self._samples[Part.QUEUE].fresh
        self._handler = self._samples[Part.HANDLER].fresh
        self._handed_out_at: float | None = None
        self._window_ends = clock() + WINDOW_S

    def decoded(self, now: float, lag_s: float | None, took_s: float) -> None:
        """Note a batch that was decoded.

        :param lag_s: from when the exchange made its last message to the read, if that one tells.
        """
        if now >= self._window_ends or len(self._decode) >= FOLD:
            self._fold(now)
        if lag_s is not None:
            self._exchange.append(lag_s)
        self._decode.append(took_s)

    def handed_out(self, since: float | None) -> None:
        """Note a batch that the consumer got.

        :param since: when its messages were decoded; None for what never was a message.
        """
        self._handed_out_at = now = self.clock()
        if now >= self._window_ends or len(self._queue) >= FOLD:
            self._fold(now)
        if since is not None:
            self._queue.append(now - since)

    def asked(self) -> None:
        """Note that the consumer is done with the batch that it got."""
        if self._handed_out_at is not None:
            self._handler.append(self.clock() - self._handed_out_at)
            self._handed_out_at = None

    def handled(self, since: float | None, began: float) -> None:
        """Note a batch that a handler was called with, and is done with now.

        :param since: when its messages were decoded; None for what never was a message.
        :param began: when the handler was called.
        """
        now = self.clock()
        if now >= self._window_ends or len(self._handler) >= FOLD:
            self._fold(now)
        if since is not None:
            self._queue.append(began - since)
        self._handler.append(now - began)

    def observe(self, transition: Transition) -> None:
        """Take note of pings."""
        if isinstance(transition, PingMeasured):
            self._samples[Part.NETWORK].fresh.append(transition.round_trip_s / 2)

    def recent(self) -> Latency:
        """How long each part took of late."""
        self._fold(self.clock())
        return Latency(**{part.value: one.spread() for part, one in self._samples.items()})

    def histograms(self) -> Mapping[str, Histogram]:
        """How long each part took since the start, by its name."""
        return {part.value: samples.histogram() for part, samples in self._samples.items()}

    def _fold(self, now: float) -> None:
        """Count what is fresh, and begin a new window when it is time."""
        for samples in self._samples.values():
            samples.fold()
        if now >= self._window_ends:
            windows = int((now - self._window_ends) // WINDOW_S) + 1
            self._window_ends += windows * WINDOW_S
            for samples in self._samples.values():
                samples.turn(windows)
