"""Latency: from when a message should have been sent until the handler has it, decoded.

The load server sends trades at fixed times, whatever the client does (an open loop), and writes the
*scheduled* time into each one. So a client that falls behind is charged for every message that had
to wait, and so is one that makes the server wait: no coordinated omission. Server and client have a
core each; the server spins between messages. The floor is a bare
blocking socket: what the machine needs to wake a process, and how late the server itself is. The
row with busy polling does not let itself be woken, and takes its whole core for that.

    python bench/latency.py [--rates 1000,5000,50000] [--seconds 10] [--rounds 3]

Rounds are interleaved over the clients; each percentile is the median over rounds.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.clients import CHECKOUT, Client, NotMeasuredError, clients, run_client, versions_of
from harness.load import cores, load_server
from harness.market import MODES
from harness.report import caption, document, publish, ranges, table

if TYPE_CHECKING:
    from collections.abc import Callable

SHOWN = ("50", "99", "99.9")
WARM_UP_S = 1.0
"""The first second does not count: connecting, first uses of everything."""


def measure(rate: int, rows: list[Client], options: argparse.Namespace) -> dict[str, Any]:
    """All clients at one rate."""
    warm_up = int(rate * WARM_UP_S)
    count = warm_up + int(rate * options.seconds)
    rounds: dict[str, list[dict[str, Any]]] = {row.name: [] for row in rows}
    failures: dict[str, str] = {}
    with load_server(tls=options.tls, cpu=cores()[1]) as load:
        for number in range(options.rounds):
            for row in rows:
                if row.name in failures:
                    continue
                load.prepare(mode="trade", count=count, rate=rate)
                try:
                    result = run_client(
                        row, load.url, MODES["trade"], count,
                        cpu=cores()[0], ca=load.ca, checkout=options.checkout,
                        arguments=["--latency", "--warm-up", str(warm_up)],
                    )  # fmt: skip
                    if not result["messages"]:
                        raise NotMeasuredError("connected, but no message arrived")
                    rounds[row.name].append(result)
                except NotMeasuredError as error:
                    failures[row.name] = str(error)
            print(f"{rate} messages/s: round {number + 1} of {options.rounds}", file=sys.stderr)
    return {
        "rate": rate,
        "messages_per_run": count - warm_up,
        "clients": {
            name: _summary(results) for name, results in rounds.items() if name not in failures
        },
        "not_measured": failures,
    }


def _summary(results: list[dict[str, Any]]) -> dict[str, Any]:
    shares = [result["core_share"] for result in results if result["core_share"] is not None]
    return {
        "percentiles_us": {
            name: statistics.median(result["percentiles_us"][name] for result in results)
            for name in results[0]["percentiles_us"]
        },
        "core_share": statistics.median(shares) if shares else None,
        "max_us": max(result["max_us"] for result in results),
        "p99_lowest_us": min(result["percentiles_us"]["99"] for result in results),
        "p99_highest_us": max(result["percentiles_us"]["99"] for result in results),
        "missing": sum(result["missing"] for result in results),
    }


def show(result: dict[str, Any]) -> str:
    """The table of one rate."""
    ordered = sorted(result["clients"].items(), key=lambda item: item[1]["percentiles_us"]["50"])
    lines = [
        [
            name + (f" ({row['missing']} never came)" if row["missing"] else ""),
            *(_microseconds(row["percentiles_us"][share]) for share in SHOWN),
            _microseconds(row["max_us"]),
            "?" if row["core_share"] is None else f"{row['core_share']:.0%}",
        ]
        for name, row in ordered
    ]
    head = ["client", *(f"p{share} µs" for share in SHOWN), "max µs", "of a core"]
    text = f"### {result['rate']:,} messages a second\n\n{table(head, lines)}\n"
    for name, why in result["not_measured"].items():
        text += f"\nNot measured: {name}: {why}\n"
    return text


def _microseconds(value: float) -> str:
    return f"{value:,.0f}"


def plot(result: dict[str, Any], path: Path, foot: str) -> None:
    """The shown percentiles of each client, on one scale."""
    ranges(
        path,
        f"Socket to handler at {result['rate']:,} messages a second",
        "µs after the message should have been sent; further left is better",
        [
            (name, [row["percentiles_us"][share] for share in SHOWN])
            for name, row in result["clients"].items()
        ],
        [f"p{share}" for share in SHOWN],
        foot,
    )


def run(name: str, about: str | None, rows_named: Callable[[str], list[Client]]) -> None:
    """Command line of a benchmark of latencies.

    :param name: what its plots are called.
    :param about: what it says of itself.
    :param rows_named: the clients whose names hold one of the comma-separated words, or all.
    """
    parser = argparse.ArgumentParser(
        description=about, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rates", default="1000,5000,50000", help="messages a second")
    parser.add_argument("--seconds", type=float, default=10, help="length of one run of a client")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--tls", action="store_true")
    parser.add_argument("--clients", default="", help="comma list of parts of names")
    parser.add_argument("--checkout", type=Path, default=CHECKOUT, help="tree of k2trio to measure")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--plots", type=Path, metavar="FOLDER")
    parser.add_argument("--quick", action="store_true", help="one short round")
    options = parser.parse_args()
    if options.quick:
        options.rounds, options.seconds = 1, 0.5
    rows = rows_named(options.clients)
    results = []
    for rate in map(int, options.rates.split(",")):
        results.append(measure(rate, rows, options))
        print(show(results[-1]), flush=True)
    measured = {name for result in results for name in result["clients"]}
    content = document(
        options.checkout,
        rounds=options.rounds,
        seconds=options.seconds,
        tls=options.tls,
        versions={row.name: versions_of(row) for row in rows if row.name in measured},
        results=results,
    )

    def draw(folder: Path) -> None:
        for result in results:
            plot(result, folder / f"{name}-{result['rate']}.png", caption(content))

    publish(content, options, draw)


if __name__ == "__main__":
    run("latency", __doc__, lambda only: [row for row in clients(only) if row.latency])
