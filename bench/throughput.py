"""Throughput: messages a second and CPU time a message, as the user of each library gets them.

The load server sends what it wrote in advance, from a core of its own; the client has another core.
Each round runs every client once, so that a slow minute of the machine hits all of them; figures
are medians over rounds, and ratios are taken within a round before the median. The first row shows
that the server is not the limit.

    python bench/throughput.py [--mode "trade,usdm depth"] [--tls both] [--segments both]

``--checkout PATH`` measures another tree of k2trio, ``--clients picows,k2trio`` some clients only.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from pathlib import Path
from typing import Any

from harness.clients import (
    CHECKOUT,
    Client,
    NotMeasuredError,
    clients,
    run_client,
    versions_of,
)
from harness.load import Load, cores, load_server
from harness.market import MODES, product_of
from harness.report import bars, caption, document, publish, table

SEGMENTS = {"coalesced": "coalesced", "frames": "one frame per segment"}
MOST_MESSAGES = {"trade": 2_000_000, "mixed": 1_000_000, "depth": 400_000, "usdm depth": 400_000}
"""What the server writes in advance at most."""
FIRST_LOOK = 10_000
"""Messages of the first run of a client, which tells how many make a run of the wished length."""
REFERENCES = ("k2trio feed events", "picows+uvloop+msgspec")


def measure(
    load: Load, rows: list[Client], mode: str, segments: str, options: argparse.Namespace
) -> dict[str, Any]:
    """One table: every client, so many rounds."""
    rounds: dict[str, list[dict[str, float]]] = {row.name: [] for row in rows}
    failures: dict[str, str] = {}
    counts: dict[str, int] = {}

    def run(row: Client, count: int) -> dict[str, Any]:
        traffic = row.traffic(mode)
        product = product_of(traffic)
        load.prepare(mode=traffic, count=count, segments=segments, streams=len(MODES[traffic]))
        result = run_client(
            row, load.url, MODES[traffic], count,
            cpu=cores()[0], ca=load.ca, checkout=options.checkout,
            arguments=() if product == "spot" else ("--product", product),
        )  # fmt: skip
        if not result["messages"]:
            raise NotMeasuredError("connected, but no message arrived")
        return result

    load.prepare(mode=mode, count=MOST_MESSAGES[mode] // (10 if options.quick else 1))
    for number in range(options.rounds + 1):
        for row in rows:
            if row.name in failures:
                continue
            try:
                if not number:
                    rate = _figures(run(row, FIRST_LOOK))["messages_per_s"]
                    most = MOST_MESSAGES[mode] // (10 if options.quick else 1)
                    counts[row.name] = max(FIRST_LOOK, min(most, int(rate * options.seconds)))
                else:
                    rounds[row.name].append(_figures(run(row, counts[row.name])))
            except NotMeasuredError as error:
                failures[row.name] = str(error)
        print(f"{mode}, {segments}: round {number} of {options.rounds}", file=sys.stderr)
    return {
        "mode": mode,
        "tls": load.ca is not None,
        "segments": segments,
        "clients": {
            row.name: _summary(row, rounds, counts.get(row.name, 0))
            for row in rows
            if row.name not in failures
        },
        "not_measured": failures,
    }


def _figures(result: dict[str, Any]) -> dict[str, float]:
    return {
        "messages_per_s": result["messages"] / result["wall_s"],
        "cpu_us": result["cpu_s"] / result["messages"] * 1e6,
        "missing": result["missing"],
    }


def _summary(row: Client, rounds: dict[str, list[dict[str, float]]], count: int) -> dict[str, Any]:
    own = rounds[row.name]
    rates = [run["messages_per_s"] for run in own]
    ratios = {
        f"ratio_to_{name}": statistics.median(
            rate / other["messages_per_s"] for rate, other in zip(rates, rounds[name], strict=True)
        )
        for name in REFERENCES
        if name in rounds and len(rounds[name]) == len(own)
    }
    return {
        "hands": row.hands,
        "messages_per_run": count,
        "messages_per_s": statistics.median(rates),
        "lowest": min(rates),
        "highest": max(rates),
        "cpu_us_per_message": statistics.median(run["cpu_us"] for run in own),
        "missing": sum(run["missing"] for run in own),
        **ratios,
    }


def heading(result: dict[str, Any]) -> str:
    """What a table is about."""
    return (
        f"{result['mode']}, {'TLS' if result['tls'] else 'plain'}, {SEGMENTS[result['segments']]}"
    )


def show(result: dict[str, Any]) -> str:
    """The table, for people."""
    ordered = sorted(result["clients"].items(), key=lambda item: -item[1]["messages_per_s"])
    lines = [
        [
            name + (f" ({int(row['missing'])} never came)" if row["missing"] else ""),
            f"{row['messages_per_s'] / 1000:,.0f} k",
            f"{row['cpu_us_per_message']:.2f}",
            *(
                f"{row[key]:.2f}" if (key := f"ratio_to_{reference}") in row else ""
                for reference in REFERENCES
            ),
            row["hands"],
        ]
        for name, row in ordered
    ]
    head = ["client", "msg/s", "CPU µs/msg", *(f"÷ {name}" for name in REFERENCES), "hands over"]
    text = f"### {heading(result)}\n\n{table(head, lines)}\n"
    for name, why in result["not_measured"].items():
        text += f"\nNot measured: {name}: {why}\n"
    return text


def plot(result: dict[str, Any], folder: Path, foot: str) -> None:
    """Bars, the floor left out: it would dwarf the rest, and is in the table."""
    mode, way = result["mode"].replace(" ", "-"), "tls" if result["tls"] else "plain"
    name = f"throughput-{mode}-{way}-{result['segments']}"
    rows = [
        (
            client,
            row["messages_per_s"],
            f"{row['messages_per_s'] / 1000:,.0f} k/s   {row['cpu_us_per_message']:.2f} µs",
        )
        for client, row in result["clients"].items()
        if not client.startswith("floor")
    ]
    bars(
        folder / f"{name}.png",
        f"Messages a second on one core: {heading(result)}",
        "messages a second (and CPU µs a message); longer is better",
        rows,
        foot,
    )


def main() -> None:
    """Command line of the benchmark."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--mode",
        default="trade,mixed,depth,usdm depth",
        help="comma list of trade,mixed,depth,usdm depth; the last is of USD-M futures",
    )
    parser.add_argument("--tls", choices=("no", "yes", "both"))
    parser.add_argument("--segments", choices=(*SEGMENTS, "both"))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.5, help="length of one run of a client")
    parser.add_argument("--clients", default="", help="comma list of parts of names")
    parser.add_argument("--checkout", type=Path, default=CHECKOUT, help="tree of k2trio to measure")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--plots", type=Path, metavar="FOLDER")
    parser.add_argument("--quick", action="store_true", help="one short round; plain, coalesced")
    options = parser.parse_args()
    modes = options.mode.split(",")
    if unknown := set(modes) - set(MOST_MESSAGES):
        parser.error(f"unknown mode {', '.join(unknown)}")
    if options.quick:
        options.rounds, options.seconds = 1, 0.2
        options.tls = options.tls or "no"
        options.segments = options.segments or "coalesced"
    rows = [row for row in clients(options.clients) if row.throughput]
    wanted = tuple(SEGMENTS) if options.segments in (None, "both") else (options.segments,)
    results = []
    for tls in {"no": (False,), "yes": (True,), "both": (False, True)}[options.tls or "both"]:
        with load_server(tls=tls, cpu=cores()[1]) as load:
            for mode in modes:
                able = [row for row in rows if row.can(mode)]
                for segments in wanted:
                    results.append(measure(load, able, mode, segments, options))
                    print(show(results[-1]), flush=True)
    measured = {name for result in results for name in result["clients"]}
    content = document(
        options.checkout,
        rounds=options.rounds,
        seconds=options.seconds,
        versions={row.name: versions_of(row) for row in rows if row.name in measured},
        results=results,
    )

    def draw(folder: Path) -> None:
        for result in results:
            plot(result, folder, caption(content))

    publish(content, options, draw)


if __name__ == "__main__":
    main()
