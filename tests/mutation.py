"""Mutation tests of the wings that decide: does a test notice when a line of them is another one?

mutmut changes one thing at a time (``pyproject.toml`` tells what, and which tests judge it), and
here its results are counted. ``nox -s mutation`` takes all three wings; this one wing, and a file::

    nox -s mutation -- policy continuity/arbiter.py

What it made stays in ``mutants/``: ``mutmut browse`` shows each mutant that lived.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
from collections import Counter, defaultdict
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

WINGS = ["continuity", "market", "policy"]
KILLED = ["killed", "timeout"]
"""What mutmut says of a mutant that a test has noticed: it failed, or did not end."""
RESULT = re.compile(r"\s*k2trio\.(?P<wing>\w+)\.(?P<module>\w+)\.(?P<mutant>\S+): (?P<status>.+)")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the mutants of what is asked, and tell the score."""
    parser = argparse.ArgumentParser(description="Run the mutants of wings or files.")
    parser.add_argument("of", nargs="*", default=WINGS, help="policy, continuity/arbiter.py, …")
    parser.add_argument("--children", type=int, default=2, help="mutants at a time")
    options = parser.parse_args(arguments)
    # A test that has changed would not be noticed: mutmut keeps who covers what.
    shutil.rmtree("mutants", ignore_errors=True)
    mutmut("run", "--max-children", str(options.children), *patterns(options.of))
    results = mutmut("results", "--all", "true", stdout=subprocess.PIPE).stdout
    sys.stdout.writelines(f"{line}\n" for line in told(results.splitlines()))
    return 0


def mutmut(*arguments: str, stdout: int | None = None) -> subprocess.CompletedProcess[str]:
    """Run the program of that name."""
    program = Path(sys.executable).with_name("mutmut")
    if not program.exists():
        sys.exit("mutmut is not installed: nox -s mutation brings it")
    command = [str(program), *arguments]
    done = subprocess.run(command, check=False, stdout=stdout, text=True)  # noqa: S603 - our own
    if done.returncode:
        sys.exit(f"mutmut {arguments[0]} failed, as told above: exit code {done.returncode}")
    return done


def patterns(of: Iterable[str]) -> list[str]:
    """The names of mutants, as mutmut takes them, of wings and files in ``k2trio/``."""
    return [f"k2trio.{name.removesuffix('.py').replace('/', '.')}.*" for name in of]


def told(results: Iterable[str]) -> Iterable[str]:
    """Those that lived, and the score of each file, of each wing, and of all."""
    counts: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for line in results:
        if (match := RESULT.fullmatch(line)) is None or match["status"] == "not checked":
            continue
        for name in (f"{match['wing']}/{match['module']}.py", f"{match['wing']}/", "all"):
            counts[name][match["status"]] += 1
        if match["status"] not in KILLED:
            yield line.strip()
    for name, count in sorted(counts.items()):
        killed, total = sum(count[status] for status in KILLED), count.total()
        others = ", ".join(f"{n} {status}" for status, n in sorted(count.items()))
        yield f"{name:30} {killed:5} of {total:5} killed, {killed / total:6.1%}  ({others})"


if __name__ == "__main__":
    sys.exit(main())
