"""The dataset: journaling, sealing and proving, rows a second of one core's time; bytes a row.

Beside what one would write instead: a line of ``json.dumps`` for each message, and a table of
pyarrow each 100,000. Every piece of work runs in a process of its own, on the same trades of five
symbols; rounds are interleaved. Making the trades does not count.

Then the feed's latency at 5,000 messages a second while another journal is sealed, again and again,
beside that of a feed that only writes, and of one that writes nothing: as ``latency.py`` measures
it. With two cores, of which client and server have one each, sealing has to share theirs.

    python bench/dataset.py [--rows 4000000] [--rounds 3] [--seconds 20]
    python bench/dataset.py --hour           # besides: an hour at 5,000 messages a second, at once

cryptofeed is not in the tables: its release has no backend that writes files.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from harness.clients import CHECKOUT, PEERS, Client
from harness.report import document, publish, table
from latency import SHOWN, measure

WORKS = {
    "k2trio, journal": "journal",
    "k2trio, journal with zstd": "compressed",
    "k2trio, seal": "seal",
    "k2trio, verify sealed hours": "verify-sealed",
    "k2trio, verify JSON lines": "verify-lines",
    "json.dumps, a line each": "json-dumps",
    "pyarrow, a table each 100,000": "plain-pyarrow",
}
WRITERS = frozenset({"journal", "compressed", "seal", "json-dumps", "plain-pyarrow"})
"""Those of which the bytes a row are of interest."""
LATENCY_ROWS = [
    Client(f"k2trio, {name}", "dataset_client.py", "typed events, gap-free", variant=variant)
    for name, variant in {
        "writing nothing": "discard",
        "writing a journal": "alone",
        "the same while sealing": "sealing",
    }.items()
]
OF_AN_HOUR = ("k2trio, journal", "k2trio, seal", "k2trio, verify sealed hours")
RATE = 5_000
HOUR_ROWS = 3600 * RATE
WORK_BOUND_S = 3600.0


def work(name: str, folder: Path, rows: int, checkout: Path) -> dict[str, Any]:
    """One piece of work, in a process of its own."""
    done = subprocess.run(
        [sys.executable, str(PEERS / "dataset_work.py"), name, str(folder), str(rows)],
        capture_output=True, text=True, check=False, timeout=WORK_BOUND_S,
        env={**os.environ, "PYTHONPATH": str(checkout)},
    )  # fmt: skip
    if done.returncode:
        raise SystemExit(f"{name}: {done.stderr.strip()}")
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def all_works(
    rows: int, options: argparse.Namespace, works: dict[str, str] = WORKS
) -> dict[str, dict[str, Any]]:
    """Each piece of work, once, in the order in which one needs the other."""
    results: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for title, task in works.items():
            results[title] = work(task, folder, rows, options.checkout)
            if task == "journal" and "verify-lines" in works.values():
                (journal,) = (folder / "set" / "_journal").glob("*.jsonl")
                shutil.copy(journal, folder / "copy.jsonl")
    return results


def works_table(rounds: list[dict[str, dict[str, Any]]]) -> str:
    """Medians over the rounds."""

    def median(title: str, figure: str) -> float:
        return statistics.median(results[title][figure] for results in rounds)

    lines_bytes = median("k2trio, journal", "bytes_per_row")
    lines: list[list[str]] = []
    for title, task in WORKS.items():
        if title not in rounds[0]:
            continue
        size = median(title, "bytes_per_row")
        lines.append(
            [
                title,
                f"{median(title, 'rows_per_cpu_s'):,.0f}",
                f"{size:.1f}" if task in WRITERS else "",
                f"1/{lines_bytes / size:.1f}" if task in WRITERS else "",
                f"{median(title, 'peak_rss_mb'):,.0f}",
            ]
        )
    head = ["work", "rows per CPU second", "bytes a row", "of JSON lines", "peak MB"]
    return table(head, lines)


def latencies(options: argparse.Namespace) -> dict[str, Any]:
    """The feed beside sealing."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        work("journal", folder, options.rows, options.checkout)
        (journal,) = (folder / "set" / "_journal").glob("*.jsonl")
        os.environ["K2TRIO_BENCH_JOURNAL"] = str(journal)
        options.tls = False
        return measure(RATE, LATENCY_ROWS, options)


def latency_table(result: dict[str, Any]) -> str:
    """The table of the feed's latencies."""
    lines = [
        [name, *(f"{row['percentiles_us'][share]:,.0f}" for share in SHOWN)]
        for name, row in result["clients"].items()
    ]
    text = table(["client", *(f"p{share} µs" for share in SHOWN)], lines)
    for name, why in result["not_measured"].items():
        text += f"\nNot measured: {name}: {why}\n"
    return text


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=4_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=20, help="length of a run of the feed")
    parser.add_argument("--hour", action="store_true", help="journal, seal and verify 18 M rows")
    parser.add_argument("--checkout", type=Path, default=CHECKOUT, help="tree of k2trio to measure")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--quick", action="store_true", help="one short round")
    options = parser.parse_args()
    if options.quick:
        options.rows, options.rounds, options.seconds = 50_000, 1, 1.0
    rounds = [all_works(options.rows, options) for _ in range(options.rounds)]
    print(works_table(rounds), end="\n\n", flush=True)
    beside = latencies(options)
    print(latency_table(beside), end="\n\n", flush=True)
    hour = None
    if options.hour:
        hour = all_works(HOUR_ROWS, options, {title: WORKS[title] for title in OF_AN_HOUR})
        print(works_table([hour]), end="\n\n", flush=True)
    content = document(
        options.checkout, rows=options.rows, rounds=rounds, latency=beside, hour=hour
    )
    options.plots = None
    publish(content, options, lambda _: None)


if __name__ == "__main__":
    main()
