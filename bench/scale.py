"""Scale: 1, 8 and 64 lines of 1024 streams each; CPU time a message must stay flat.

k2trio opens a line for every 1024 streams by itself. The same number of messages comes each time,
spread evenly over all streams. Every stream's first message, which begins its books, comes before
the measurement; so the figure is what a message costs in a long run.

    python bench/scale.py [--lines 1,8,64] [--rounds 3]
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

from harness.clients import CHECKOUT, clients, run_client, versions_of
from harness.load import Load, cores, load_server
from harness.market import many_streams
from harness.report import bars, caption, document, publish, table

STREAMS_PER_LINE = 1024
RUN_BOUND_S = 300.0


def measure(load: Load, lines: int, options: argparse.Namespace) -> dict[str, Any]:
    """One run with so many lines."""
    (client,) = clients("k2trio feed events")
    streams = many_streams(lines * STREAMS_PER_LINE)
    measured = max(1, options.messages // len(streams)) * len(streams)
    per_line = (len(streams) + measured) // lines
    load.prepare(
        mode="subscribed", count=per_line, streams=STREAMS_PER_LINE, connections=lines
    )  # fmt: skip
    with tempfile.NamedTemporaryFile("w", suffix=".streams") as names:
        names.write("/".join(streams))
        names.flush()
        result = run_client(
            client, load.url, [f"@{names.name}"], len(streams) + measured,
            cpu=cores()[0], ca=load.ca, checkout=options.checkout,
            arguments=["--warm-up", str(len(streams))], bound_s=RUN_BOUND_S,
        )  # fmt: skip
    if result["missing"]:
        raise SystemExit(f"{lines} lines: {result['missing']} messages never came")
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
    parser.add_argument("--lines", default="1,8,64")
    parser.add_argument("--messages", type=int, default=1_000_000, help="per run")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--checkout", type=Path, default=CHECKOUT, help="tree of k2trio to measure")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--plots", type=Path, metavar="FOLDER")
    parser.add_argument("--quick", action="store_true", help="1 and 4 lines, one short round")
    options = parser.parse_args()
    if options.quick:
        options.lines, options.rounds, options.messages = "1,4", 1, 50_000
    sizes = [int(lines) for lines in options.lines.split(",")]
    found: dict[int, list[dict[str, Any]]] = {lines: [] for lines in sizes}
    with load_server(cpu=cores()[1]) as load:
        for number in range(options.rounds):
            for lines in sizes:
                found[lines].append(measure(load, lines, options))
            print(f"scale: round {number + 1} of {options.rounds}", file=sys.stderr)
    results = [
        {
            "lines": lines,
            "streams": lines * STREAMS_PER_LINE,
            "messages_per_run": runs[0]["messages"],
            "cpu_us_per_message": statistics.median(run["cpu_us_per_message"] for run in runs),
            "ratio": statistics.median(
                run["cpu_us_per_message"] / first["cpu_us_per_message"]
                for run, first in zip(runs, found[sizes[0]], strict=True)
            ),
            "highest_mib": max(run["highest_mib"] for run in runs),
        }
        for lines, runs in found.items()
    ]
    rows = [
        [
            f"{row['lines']} x {STREAMS_PER_LINE} streams",
            f"{row['cpu_us_per_message']:.2f}",
            f"{row['ratio']:.2f}",
            f"{row['highest_mib']:.0f}",
        ]
        for row in results
    ]
    print(table(["lines", "CPU µs/msg", f"÷ {sizes[0]} line", "highest MiB"], rows))
    (client,) = clients("k2trio feed events")
    content = document(
        options.checkout, rounds=options.rounds, versions=versions_of(client), results=results
    )

    def draw(folder: Path) -> None:
        bars(
            folder / "scale.png",
            "CPU time a message does not depend on the number of lines",
            "CPU µs a message; shorter is better",
            [
                (
                    f"k2trio, {row['lines']} x {STREAMS_PER_LINE} streams",
                    row["cpu_us_per_message"],
                    f"{row['cpu_us_per_message']:.2f} µs",
                )
                for row in results
            ],
            caption(content),
        )

    publish(content, options, draw)


if __name__ == "__main__":
    main()
