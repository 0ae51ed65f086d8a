"""Mutation tests of the wings that decide: does a test notice when a line of them is another one?

mutmut changes one thing at a time (``pyproject.toml`` tells what, and which tests judge it), and
here its results are counted. ``nox -s mutation`` takes all three wings; this one wing, and a file::

    nox -s mutation -- policy continuity/arbiter.py

A mutant that lives is either a test that is missing, or one that nothing could tell from the code
as it is: why is written down in ``tests/survivors/``, by wing. What lives and is not explained
there is told, with the line that would explain it, and the exit code is 1.

What it made stays in ``mutants/``: ``mutmut browse`` shows each mutant that lived.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tomllib
from collections import Counter, defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

WINGS = ["continuity", "market", "policy"]
SURVIVORS = Path(__file__).with_name("survivors")
KILLED = ["killed", "timeout"]
"""What mutmut says of a mutant that a test has noticed: it failed, or did not end."""
RESULT = re.compile(
    r"\s*(?P<name>k2trio\.(?P<wing>\w+)\.(?P<module>\w+)\.(?P<function>\S+)"
    r"__mutmut_\d+): (?P<status>.+)"
)
ARROW = " → "


class Mutant(NamedTuple):
    """One change, and what became of it.

    :ivar name: as mutmut has it.
    :ivar file: in ``k2trio/``, such as ``policy/breaker.py``.
    :ivar function: what was changed, such as ``CircuitBreaker.call``.
    :ivar status: ``killed``, ``survived``, ``no tests``, …
    """

    name: str
    file: str
    function: str
    status: str

    @property
    def lives(self) -> bool:
        """Whether no test has noticed it."""
        return self.status not in KILLED


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the mutants of what is asked, and tell the score."""
    parser = argparse.ArgumentParser(description="Run the mutants of wings or files.")
    parser.add_argument("of", nargs="*", default=WINGS, help="policy, continuity/arbiter.py, …")
    parser.add_argument("--children", type=int, default=2, help="mutants at a time")
    options = parser.parse_args(arguments)
    # A test that has changed would not be noticed: mutmut keeps who covers what.
    shutil.rmtree("mutants", ignore_errors=True)
    mutmut("run", "--max-children", str(options.children), *patterns(options.of))
    judged = list(mutants(mutmut("results", "--all", "true", stdout=subprocess.PIPE).stdout))
    changes = {mutant: change(mutant) for mutant in judged if mutant.lives}
    known = explained()
    sys.stdout.writelines(f"{line}\n" for line in told(judged, changes, known))
    return 0 if known.keys() >= set(changes.values()) else 1


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


def mutants(results: str) -> Iterator[Mutant]:
    """Those that were run, of what ``mutmut results`` tells."""
    for line in results.splitlines():
        match = RESULT.fullmatch(line)
        if match is not None and match["status"] != "not checked":
            # A function is called ``x_name``, a method ``xǁClassǁname``.
            function = match["function"].removeprefix("x_").removeprefix("xǁ").replace("ǁ", ".")
            file = f"{match['wing']}/{match['module']}.py"
            yield Mutant(match["name"], file, function, match["status"])


def change(mutant: Mutant) -> str:
    """The line that says what was changed: where, what it was and what it is; blanks are single."""
    shown = mutmut("show", mutant.name, stdout=subprocess.PIPE).stdout.splitlines()
    # Behind the heading of the difference.
    lines = shown[1 + next(at for at, line in enumerate(shown) if line.startswith("@@")) :]
    was, now = (
        " ".join(" ".join(line[1:].split()) for line in lines if line.startswith(sign))
        for sign in "-+"
    )
    return f"{mutant.file} {mutant.function}: {was}{ARROW}{now}"


def explained() -> dict[str, str]:
    """By the change, why no test can notice it."""
    reasons: dict[str, str] = {}
    for path in sorted(SURVIVORS.glob("*.toml")):
        for group in tomllib.loads(path.read_text())["explained"]:
            reasons |= {f"{path.stem}/{line}": group["why"] for line in group["mutants"]}
    return reasons


def told(
    judged: Sequence[Mutant], changes: dict[Mutant, str], known: dict[str, str]
) -> Iterator[str]:
    """What is to be explained, what need not be, and the score of files, of wings, and of all."""
    counts: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for mutant in judged:
        status = mutant.status
        if mutant.lives and changes[mutant] in known:
            status += ", explained"
        elif mutant.lives:
            yield f"{status}, not explained: {mutant.name}"
            yield f"    {changes[mutant]}"
        for name in (mutant.file, f"{mutant.file.partition('/')[0]}/", "all"):
            counts[name][status] += 1
    files = {mutant.file for mutant in judged}
    for line in known.keys() - changes.values():
        if line.partition(" ")[0] in files:
            yield f"explained, but killed or gone: {line}"
    for name, count in sorted(counts.items()):
        killed, total = sum(count[status] for status in KILLED), count.total()
        each = "; ".join(f"{n} {status}" for status, n in sorted(count.items()))
        yield f"{name:30} {killed:5} of {total:5} killed, {killed / total:6.1%}  ({each})"


if __name__ == "__main__":
    sys.exit(main())
