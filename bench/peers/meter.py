"""What every adapter measures itself with, and its command line.

An adapter is a small program: it connects with its library's defaults, lets the library decode to
what it hands its users, counts, and prints one line of JSON. The first tenth of the messages (for
latency: the first second) warms up and does not count. The program ends at once after the last
message: how libraries close is no part of these figures.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import ssl
import threading
import time
from array import array
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

MARKS = 20
"""Into so many parts the run is cut: what was reached is known even if the rest never comes."""
STALL_S = 8.0
"""Without a part in this time the run is over, and its loss is told."""
FIRST_STALL_S = 30.0
"""The same before the first part: some libraries take seconds to subscribe."""
SAMPLE_S = 0.5
"""Between two looks at the memory."""


@dataclass(frozen=True)
class Options:
    """The command line of an adapter.

    :ivar url: scheme, host and port of the load server.
    :ivar streams: what to subscribe to.
    :ivar count: messages that will come.
    :ivar latency: take the time of each message, instead of counting.
    :ivar warm_up: messages that do not count.
    :ivar paced: messages come at a rate that the library can take with its own queue lengths.
    :ivar pause_s: for so long the consumer rests after warming up, while messages pile up.
    :ivar variant: of adapters that know several ways.
    :ivar product: whose streams they are: spot, or usdm (USD-M futures).
    :ivar streams_per_connection: for k2trio, which opens as many connections as that takes.
    """

    url: str
    streams: list[str]
    count: int
    latency: bool
    warm_up: int
    paced: bool
    pause_s: float
    variant: str
    product: str
    streams_per_connection: int
    ca: str | None

    @property
    def stream_url(self) -> str:
        """The URL of the combined streams."""
        route = "" if self.product == "spot" else "/public"
        return f"{self.url}{route}/stream?streams={'/'.join(self.streams)}"

    def ssl_context(self) -> ssl.SSLContext | None:
        """For ``wss``: the usual verification, with the server's authority."""
        return ssl.create_default_context(cafile=self.ca) if self.ca else None


def parse_options() -> Options:
    """Read the command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--url", required=True)
    parser.add_argument("--streams", required=True)
    parser.add_argument("--count", type=int, required=True)
    parser.add_argument("--latency", action="store_true")
    parser.add_argument("--warm-up", type=int)
    parser.add_argument("--paced", action="store_true")
    parser.add_argument("--pause", type=float, default=0.0)
    parser.add_argument("--variant", default="")
    parser.add_argument("--product", choices=("spot", "usdm"), default="spot")
    parser.add_argument("--streams-per-connection", type=int, default=1024)
    parser.add_argument("--ca")
    given = parser.parse_args()
    return Options(
        url=given.url,
        streams=_names(given.streams),
        count=given.count,
        latency=given.latency,
        warm_up=max(1, given.count // 10) if given.warm_up is None else given.warm_up,
        paced=given.paced,
        pause_s=given.pause,
        variant=given.variant,
        product=given.product,
        streams_per_connection=given.streams_per_connection,
        ca=given.ca,
    )


def _names(given: str) -> list[str]:
    """Streams in a list, or in a file (``@PATH``) where a command line could not hold them."""
    text = Path(given[1:]).read_text() if given.startswith("@") else given
    return text.split("/")


class Meter:
    """Counts messages, and watches the memory of the process.

    :ivar mark: when the adapter's own count gets here, it calls :meth:`reached`.
    """

    def __init__(self, options: Options) -> None:
        self._count = options.count
        # At a given rate the parts are of a second, as the warm-up is: in a run of minutes a
        # twentieth would take longer than a client is given until it counts as stalled.
        self._step = options.warm_up if options.paced else max(1, options.count // MARKS)
        self.mark = options.warm_up
        self._pause_s = options.pause_s
        self._patience_s = FIRST_STALL_S
        self._born = time.perf_counter()
        self._started: tuple[int, float, float] | None = None
        self._latest = (0, self._born, 0.0)
        self._memory: list[tuple[float, int]] = [(0.0, resident_kib())]
        threading.Thread(target=self._watch, daemon=True).start()

    def reached(self, count: int) -> int:
        """Note the time and give the next mark; after the last one, report and end."""
        self._latest = (count, time.perf_counter(), time.process_time())
        if self._started is None:
            self._started = self._latest
            self._patience_s = STALL_S + self._pause_s
        if count >= self._count:
            self._report()
        self.mark = min(self._count, count + self._step)
        return self.mark

    def rest_s(self) -> float:
        """How long the consumer should rest now: the pause, once, after warming up."""
        pause, self._pause_s = self._pause_s, 0.0
        return pause

    def _watch(self) -> None:
        while (now := time.perf_counter()) - self._latest[1] < self._patience_s:
            self._memory.append((round(now - self._born, 2), resident_kib()))
            time.sleep(SAMPLE_S)
        self._report()

    def _report(self) -> NoReturn:
        count, ended, cpu = self._latest
        first, started, cpu_before = self._started or self._latest
        end(
            {
                "messages": count - first,
                "wall_s": ended - started,
                "cpu_s": cpu - cpu_before,
                "missing": self._count - count,
                "memory_kib": self._memory,
            }
        )


class Latencies:
    """Times from when a message should have been sent until the handler has it, decoded."""

    def __init__(self, options: Options) -> None:
        self._values = array("q")
        self._count = options.count
        self._warm_up = self._mark = options.warm_up
        self._began = (0.0, 0.0)
        threading.Thread(target=self._watch, daemon=True).start()

    def take(self, scheduled_ns: int) -> None:
        """For each message, with the time that it carries."""
        values = self._values
        values.append(time.monotonic_ns() - scheduled_ns)
        if len(values) == self._mark:
            self._reached()

    def _reached(self) -> None:
        if len(self._values) == self._count:
            self._report()
        self._began = (time.process_time(), time.perf_counter())
        self._mark = self._count

    def _watch(self) -> None:
        before = -1
        while len(self._values) > before or not before:
            before = len(self._values)
            time.sleep(STALL_S)
        self._report()

    def _report(self) -> NoReturn:
        cpu, now = time.process_time(), time.perf_counter()
        values = sorted(self._values[self._warm_up :])
        end(
            {
                "messages": len(values),
                "missing": self._count - len(self._values),
                # Of a run that stalled at its end, most of the time was waiting for the rest.
                "core_share": (cpu - self._began[0]) / (now - self._began[1])
                if len(self._values) == self._count
                else None,
                "percentiles_us": {
                    name: values[min(len(values) - 1, int(len(values) * float(name) / 100))] / 1000
                    for name in PERCENTILES
                }
                if values
                else {},
                "max_us": values[-1] / 1000 if values else None,
            }
        )


PERCENTILES = ("1", "5", "10", "25", "50", "75", "90", "95", "99", "99.5", "99.9", "99.99")


def resident_kib() -> int:
    """Memory of this process, as the system counts it."""
    statm = Path("/proc/self/statm")
    if statm.is_file():
        return int(statm.read_text().split()[1]) * resource.getpagesize() // 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def end(result: dict[str, Any]) -> NoReturn:
    """Print the result and end, whatever the library is still doing."""
    os.write(1, b"\n" + json.dumps(result).encode() + b"\n")
    os._exit(0)
