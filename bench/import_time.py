"""What an import costs: milliseconds of CPU time, and how many modules it brings.

Each import is the first of a fresh interpreter, with bytecode in place; the figures are the least
of some runs, since everything else a machine does only adds to them. Trio is what every program
of ours has anyway.

    python bench/import_time.py [--runs 20] [--checkout PATH] [--json FILE] [--quick]
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

from harness.report import document, table, write_json

IMPORTS = {
    "Trio": "trio",
    "the library": "k2trio",
    "the program": "k2trio.commands.main",
    "the simulator": "k2trio.simulator",
}
MEASURE = """
import sys, time
before, begun, cpu = len(sys.modules), time.perf_counter(), time.process_time()
import {module}
print(time.process_time() - cpu, time.perf_counter() - begun, len(sys.modules) - before)
"""


def measure(module: str, runs: int, checkout: Path) -> dict[str, float]:
    """The least of so many runs, after one that may have to compile."""
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": ""}
    found: list[list[float]] = []
    for _ in range(runs + 1):
        done = subprocess.run(
            [sys.executable, "-c", MEASURE.format(module=module)],
            cwd=checkout, env=environment, capture_output=True, text=True, check=True,
        )  # fmt: skip
        found.append([float(figure) for figure in done.stdout.split()])
    cpu, wall, modules = (min(figures) for figures in zip(*found[1:], strict=True))
    return {"cpu_ms": round(cpu * 1000), "wall_ms": round(wall * 1000), "modules": int(modules)}


def main() -> None:
    """Command line of the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--checkout", type=Path, default=Path(__file__).parents[1])
    parser.add_argument("--json", type=Path)
    parser.add_argument("--quick", action="store_true", help="three runs")
    options = parser.parse_args()
    runs = 3 if options.quick else options.runs
    found = {name: measure(module, runs, options.checkout) for name, module in IMPORTS.items()}
    print(
        table(
            ["import of", "CPU ms", "wall ms", "modules"],
            [[f"{name} (`{IMPORTS[name]}`)", *(f"{figure:g}" for figure in figures.values())]
             for name, figures in found.items()],
        )
    )  # fmt: skip
    if options.json is not None:
        write_json(options.json, document(options.checkout, runs=runs, imports=found))


if __name__ == "__main__":
    main()
