"""Order books: updates of 20 levels, and reading the best 20 a side, beside other libraries' books.

Each library gets the same snapshot and the same updates, decoded already as it wants them, in a
process of its own; rounds are interleaved. Some sort when they are read and not before: so what
counts is an update with the read that follows it, as a strategy or a screen does it.

    python bench/book.py [--levels 1000,5000] [--rounds 5] [--clients order-book,k2trio]
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from harness.clients import CHECKOUT, PEERS, Client, NotMeasuredError, python_of, versions_of
from harness.report import bars, caption, document, publish, table

MID, TICKS = 6_425_000, 100
"""The price in ticks, and ticks in a unit of the quote asset."""
LEVELS_OF_UPDATE = 20
RUN_BOUND_S = 600.0
LIBRARIES = (
    "k2trio",
    "order-book",
    "sortedcontainers",
    "ccxt",
    "python-binance",
    "unicorn-binance-local-depth-cache",
)


def client_of(library: str) -> Client:
    """How a library is run."""
    environment = "" if library == "k2trio" else "books"
    return Client(library, "books.py", "levels", environment)


def price(ticks: int) -> str:
    """As the exchange writes it."""
    return f"{ticks // TICKS}.{ticks % TICKS:02d}000000"


def traffic(levels: int, updates: int) -> dict[str, Any]:
    """A snapshot of so many levels a side, and updates near the best prices, a quarter removals."""
    rng = random.Random(levels)

    def quantity() -> str:
        return f"{rng.randint(0, 9)}.{rng.randint(1, 99_999):05d}000"

    def changes(sign: int) -> list[list[str]]:
        away = [1 + min(levels - 10, int(rng.expovariate(1 / 60))) for _ in range(10)]
        return [
            [price(MID + sign * ticks), "0.00000000" if rng.random() < 0.25 else quantity()]
            for ticks in away
        ]

    sides = {
        name: [[price(MID + sign * (1 + n)), quantity()] for n in range(levels)]
        for name, sign in (("bids", -1), ("asks", 1))
    }
    return {
        "snapshot": {"lastUpdateId": 0, **sides},
        "updates": [
            {"E": n, "s": "BTCUSDT", "U": n, "u": n, "b": changes(-1), "a": changes(1)}
            for n in range(1, updates + 1)
        ],
    }


def measure(levels: int, libraries: list[str], options: argparse.Namespace) -> dict[str, Any]:
    """One table."""
    rounds: dict[str, list[dict[str, Any]]] = {library: [] for library in libraries}
    failures: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "traffic.json")
        file.write_text(json.dumps(traffic(levels, 900 if options.quick else 9_000)))
        for _ in range(options.rounds):
            for library in libraries:
                if library in failures:
                    continue
                try:
                    rounds[library].append(run(library, file, options.checkout))
                except NotMeasuredError as error:
                    failures[library] = str(error)
    best = {tuple(rows[0]["best"]) for rows in rounds.values() if rows}
    if len(best) > 1:
        raise SystemExit(f"the books differ: {best}")
    figures = {
        library: {
            name: statistics.median(row[name] for row in rows)
            for name in ("update_us", "both_us", "read_us", "memory_kb")
        }
        for library, rows in rounds.items()
        if rows
    }
    return {"levels": levels, "figures": figures, "failures": failures}


def run(library: str, file: Path, checkout: Path) -> dict[str, Any]:
    """One run of a library."""
    client = client_of(library)
    environment = {**os.environ, "PYTHONPATH": str(checkout)} if client.ours else dict(os.environ)
    done = subprocess.run(
        [python_of(client), str(PEERS / client.adapter), library, str(file)],
        capture_output=True, text=True, check=False, timeout=RUN_BOUND_S, env=environment,
    )  # fmt: skip
    if done.returncode:
        raise NotMeasuredError(done.stderr.strip().splitlines()[-1])
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def show(result: dict[str, Any]) -> None:
    """Print one table."""
    ours = result["figures"].get("k2trio")
    print(f"\n{result['levels']} levels a side, updates of {LEVELS_OF_UPDATE} levels\n")
    rows = [
        [
            library,
            f"{figures['both_us']:.1f}",
            f"{figures['both_us'] / ours['both_us']:.1f}" if ours else "",
            f"{1e6 / figures['both_us']:,.0f}",
            f"{figures['update_us']:.1f}",
            f"{figures['read_us']:.1f}",
            f"{figures['memory_kb'] / 1024:.1f}",
        ]
        for library, figures in result["figures"].items()
    ]
    rows += [[library, why, *[""] * 5] for library, why in result["failures"].items()]
    heads = ["book", "update and read µs", "÷ k2trio", "a second", "update µs", "read 2x20 µs",
             "MB a book"]  # fmt: skip
    print(table(heads, rows))


def main() -> None:
    """Command line of the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--levels", default="1000,5000")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--clients", default="", help="parts of names; by default all")
    parser.add_argument("--checkout", type=Path, default=CHECKOUT)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--plots", type=Path)
    parser.add_argument("--quick", action="store_true", help="one round, few updates")
    options = parser.parse_args()
    if options.quick:
        options.rounds = 1
    words = [word for word in options.clients.split(",") if word]
    libraries = [name for name in LIBRARIES if not words or any(word in name for word in words)]
    results = [measure(int(levels), libraries, options) for levels in options.levels.split(",")]
    for result in results:
        show(result)
    measured = [name for name in libraries if name in results[0]["figures"]]
    content = document(
        options.checkout,
        rounds=options.rounds,
        results=results,
        versions={name: versions_of(client_of(name)) for name in measured},
    )

    def draw(folder: Path) -> None:
        for result in results:
            levels = result["levels"]
            bars(
                folder / f"book-{levels}.png",
                f"Order book of {levels} levels a side: update of 20 levels, then read the best 20",
                "µs of CPU time, less is better",
                [(name, row["both_us"], f"{row['both_us']:.1f} µs")
                 for name, row in result["figures"].items()],
                caption(content),
            )  # fmt: skip

    publish(content, options, draw)


if __name__ == "__main__":
    sys.exit(main())
