"""Scale: CPU time a message with 1, 8 and 64 lines, of 1024 streams each and of 1024 in all.

The second shows what lines cost by themselves, the first what lines and streams cost together. The
same number of messages comes each time, spread evenly over all streams. Every stream's first
message, which begins its books, comes before the measurement; so the figure is what a message costs
in a long run.

    python bench/scale.py [--sizes 1x1024,8x128,64x16,8x1024,64x1024] [--rounds 3]
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

from harness.clients import CHECKOUT, client_named, run_client, versions_of
from harness.load import Load, cores, load_server
from harness.market import many_streams
from harness.report import bars, caption, document, publish, table

SIZES = "1x1024,8x128,64x16,8x1024,64x1024"
RUN_BOUND_S = 300.0


class Size(NamedTuple):
    """So many lines, with so many streams each."""

    lines: int
    streams: int

    @classmethod
    def parse(cls, text: str) -> Size:
        """From ``8x1024``."""
        lines, _, streams = text.partition("x")
        return cls(int(lines), int(streams))

    def __str__(self) -> str:
        return f"{self.lines} {'line' if self.lines == 1 else 'lines'} x {self.streams} streams"


def measure(load: Load, size: Size, options: argparse.Namespace) -> dict[str, Any]:
    """One run."""
    client = client_named("k2trio feed events")
    streams = many_streams(size.lines * size.streams)
    measured = max(1, options.messages // len(streams)) * len(streams)
    per_line = (len(streams) + measured) // size.lines
    load.prepare(
        mode="subscribed", count=per_line, streams=size.streams, connections=size.lines
    )  # fmt: skip
    with tempfile.NamedTemporaryFile("w", suffix=".streams") as names:
        names.write("/".join(streams))
        names.flush()
        result = run_client(
            client, load.url, [f"@{names.name}"], len(streams) + measured,
            cpu=cores()[0], ca=load.ca, checkout=options.checkout,
            arguments=[
                "--warm-up", str(len(streams)), "--streams-per-connection", str(size.streams)
            ],
            bound_s=RUN_BOUND_S,
        )  # fmt: skip
    if result["missing"]:
        raise SystemExit(f"{size}: {result['missing']} messages never came")
    return {
        "cpu_us_per_message": result["cpu_s"] / result["messages"] * 1e6,
        "highest_mib": max(kib for _, kib in result["memory_kib"]) / 1024,
        "messages": result["messages"],
    }


def main() -> None:
    """Command line of the benchmark."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sizes", default=SIZES, help="LINESxSTREAMS, streams per line")
    parser.add_argument("--messages", type=int, default=1_000_000, help="per run")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--checkout", type=Path, default=CHECKOUT, help="tree of k2trio to measure")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--plots", type=Path, metavar="FOLDER")
    parser.add_argument("--quick", action="store_true", help="2 sizes, one short round")
    options = parser.parse_args()
    if options.quick:
        options.sizes, options.rounds, options.messages = "1x256,4x64", 1, 50_000
    sizes = [Size.parse(size) for size in options.sizes.split(",")]
    found: dict[Size, list[dict[str, Any]]] = {size: [] for size in sizes}
    with load_server(cpu=cores()[1]) as load:
        for number in range(options.rounds):
            for size in sizes:
                found[size].append(measure(load, size, options))
            print(f"scale: round {number + 1} of {options.rounds}", file=sys.stderr)
    results = [
        {
            "lines": size.lines,
            "streams_per_line": size.streams,
            "messages_per_run": runs[0]["messages"],
            "cpu_us_per_message": statistics.median(run["cpu_us_per_message"] for run in runs),
            "ratio": statistics.median(
                run["cpu_us_per_message"] / first["cpu_us_per_message"]
                for run, first in zip(runs, found[sizes[0]], strict=True)
            ),
            "highest_mib": max(run["highest_mib"] for run in runs),
        }
        for size, runs in found.items()
    ]
    rows = [
        [
            str(size),
            f"{row['cpu_us_per_message']:.2f}",
            f"{row['ratio']:.2f}",
            f"{row['highest_mib']:.0f}",
        ]
        for size, row in zip(sizes, results, strict=True)
    ]
    print(table(["size", "CPU µs/msg", "÷ first row", "highest MiB"], rows))
    client = client_named("k2trio feed events")
    content = document(
        options.checkout, rounds=options.rounds, versions=versions_of(client), results=results
    )

    def draw(folder: Path) -> None:
        bars(
            folder / "scale.png",
            "CPU time a message by lines, and by streams a line",
            "CPU µs a message; shorter is better",
            [
                (
                    f"k2trio, {size}",
                    row["cpu_us_per_message"],
                    f"{row['cpu_us_per_message']:.2f} µs",
                )
                for size, row in zip(sizes, results, strict=True)
            ],
            caption(content),
        )

    publish(content, options, draw)


if __name__ == "__main__":
    main()
