"""Memory: at the start, after minutes of 5,000 messages a second, and while the consumer rests.

Resident memory as the system counts it, taken inside the client's process. The start is when the
program has its library loaded and is about to read. In the second table the consumer rests while
100,000 messages come: what a message costs that waits in the client, and what is lost. A library
that stops reading when nobody takes its messages leaves them to TCP, which is as good: the row then
shows little growth. Where messages come by callback there is no such state.

    python bench/memory.py [--minutes 5] [--rate 5000]
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from harness.clients import CHECKOUT, Client, NotMeasuredError, clients, run_client, versions_of
from harness.load import Load, cores, load_server
from harness.market import MODES
from harness.report import (
    OTHERS,
    OURS,
    bars,
    caption,
    document,
    figure,
    name_lines,
    publish,
    table,
)

BURST = 100_000
"""Messages that come while the consumer rests."""
BURST_RATE = 10_000
QUICK_BURST = 10_000
SPARE_S = 60.0
"""What a run may take beyond its planned time."""
MIB = 1024


def run(
    load: Load, row: Client, options: argparse.Namespace, rate: int, seconds: float, *how: str
) -> dict[str, Any]:
    """One client for some seconds at a rate; its first second warms up."""
    count = int(rate * seconds)
    load.prepare(mode="trade", count=count, rate=rate)
    return run_client(
        row, load.url, MODES["trade"], count,
        cpu=cores()[0], ca=load.ca, checkout=options.checkout,
        arguments=["--warm-up", str(rate), *how],
        bound_s=2 * seconds + SPARE_S,
    )  # fmt: skip


def steady(load: Load, row: Client, options: argparse.Namespace) -> dict[str, Any]:
    """Memory over minutes."""
    result = run(load, row, options, options.rate, 60 * options.minutes, "--paced")
    series = result["memory_kib"]
    half = series[len(series) // 2]
    hours = (series[-1][0] - half[0]) / 3600
    return {
        "start_mib": series[0][1] / MIB,
        "end_mib": series[-1][1] / MIB,
        "highest_mib": max(kib for _, kib in series) / MIB,
        "slope_mib_per_hour": (series[-1][1] - half[1]) / MIB / hours if hours else 0.0,
        "cpu_us_per_message": result["cpu_s"] / result["messages"] * 1e6,
        "missing": result["missing"],
        "series_mib": [(at, round(kib / MIB, 2)) for at, kib in series],
    }


def resting(load: Load, row: Client, options: argparse.Namespace) -> dict[str, Any]:
    """Memory while the consumer rests."""
    burst = QUICK_BURST if options.quick else BURST
    seconds = burst / BURST_RATE
    # A second to warm up, then the burst comes into the pause.
    result = run(load, row, options, BURST_RATE, 1 + seconds, "--pause", str(seconds + 1))
    series = result["memory_kib"]
    before = [kib for at, kib in series if at <= 1] or [series[0][1]]
    grown = (max(kib for _, kib in series) - before[-1]) / MIB
    return {
        "messages": burst,
        "grown_mib": grown,
        "mib_per_100k": grown * 100_000 / burst,
        "lost": result["missing"],
    }


def plot(results: dict[str, Any], rests: dict[str, Any], folder: Path, foot: str) -> None:
    """Memory over time, and the growth while the consumer rests."""
    chart = figure(folder / "memory.png", 4.5)
    if chart is None:
        return
    axes = chart.add_subplot()
    lines = []
    for name, row in results.items():
        ours = name.startswith("k2trio")
        times, values = zip(*row["series_mib"], strict=True)
        colour = OURS if ours else OTHERS
        axes.plot([at / 60 for at in times], values, color=colour, linewidth=2.2 if ours else 1.1)
        lines.append((times[-1] / 60, values[-1], name, ours))
    axes.set_ylim(bottom=0)
    axes.set_title("Resident memory (MiB, lower is better)", loc="left", fontweight="bold")
    axes.set_xlabel(f"minutes at a steady rate\n{foot}", fontsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    name_lines(axes, lines)
    chart.savefig(folder / "memory.png")
    print(f"wrote {folder / 'memory.png'}", file=sys.stderr)
    bars(
        folder / "memory-resting.png",
        "Growth while the consumer rests and 100,000 messages come",
        "MiB; shorter is better",
        [
            (
                name,
                row["mib_per_100k"],
                f"{row['mib_per_100k']:.1f} MiB" + (f", {row['lost']} lost" if row["lost"] else ""),
            )
            for name, row in rests.items()
        ],
        foot,
    )


def main() -> None:
    """Command line of the benchmark."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=5)
    parser.add_argument("--rate", type=int, default=5000)
    parser.add_argument("--clients", default="", help="comma list of parts of names")
    parser.add_argument("--checkout", type=Path, default=CHECKOUT, help="tree of k2trio to measure")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--plots", type=Path, metavar="FOLDER")
    parser.add_argument("--quick", action="store_true", help="seconds instead of minutes")
    options = parser.parse_args()
    if options.quick:
        options.minutes = 4 / 60
    rows = [row for row in clients(options.clients) if row.memory]
    results: dict[str, Any] = {}
    rests: dict[str, Any] = {}
    failures: dict[str, str] = {}
    with load_server(cpu=cores()[1]) as load:
        for row in rows:
            try:
                results[row.name] = steady(load, row, options)
                if row.pausable:
                    rests[row.name] = resting(load, row, options)
            except NotMeasuredError as error:
                failures[row.name] = str(error)
            print(f"memory: {row.name}", file=sys.stderr)
    lines = [
        [
            name,
            *(f"{found[key]:.1f}" for key in ("start_mib", "end_mib", "highest_mib")),
            f"{found['slope_mib_per_hour']:+.1f}",
        ]
        for name, found in sorted(results.items(), key=lambda item: item[1]["end_mib"])
    ]
    print(f"### {options.minutes:g} minutes at {options.rate:,} messages a second\n")
    head = ["client", "start MiB", "end MiB", "highest MiB", "second half, MiB/h"]
    print(table(head, lines))
    print(f"\n### The consumer rests while {BURST:,} messages come\n")
    lines = [
        [name, f"{found['mib_per_100k']:.1f}", str(found["lost"])] for name, found in rests.items()
    ]
    print(table(["client", "MiB per 100k", "lost"], lines))
    for name, why in failures.items():
        print(f"\nNot measured: {name}: {why}")
    content = document(
        options.checkout,
        minutes=options.minutes,
        rate=options.rate,
        versions={row.name: versions_of(row) for row in rows},
        steady=results,
        resting=rests,
        not_measured=failures,
    )

    def draw(folder: Path) -> None:
        plot(results, rests, folder, caption(content))

    publish(content, options, draw)


if __name__ == "__main__":
    main()
