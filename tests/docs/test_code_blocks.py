"""Every block of Python and shell in the documents is run, or says why not and still parses."""

from __future__ import annotations

import ast
import asyncio
import contextlib
import importlib.util
import inspect
import re
import shlex
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import trio
from pages import DOCS, OTHERS, PAGES, README, ROOT, Block, blocks
from processes import PATIENCE_S, simulator
from shell import BASH, bash, with_free_ports
from world import fault, open_world

import k2trio
from k2trio.commands.options import parse
from k2trio.dataset.rotated import JOURNAL
from k2trio.dataset.sealing import seal_all
from k2trio.sinks.lines import encode_lines

if TYPE_CHECKING:
    from collections.abc import Generator

    from processes import Simulator

pytestmark = pytest.mark.slow

TUTORIAL = DOCS / "tutorial.md"
PYTHON = [block for page in (README, *PAGES, *OTHERS) for block in blocks(page, "python")]
SHELL = [block for page in (README, *PAGES, *OTHERS) for block in blocks(page, "sh")]
PRINTED = 3
"""So many times an example prints before it has shown that it works."""
MARKS = {"not run", "run by", "run until", "run as", "file", "test command"}
TOP_LEVEL_AWAIT = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT


class EnoughPrintedError(Exception):
    """Ends an example that would go on for ever."""


def run_here(block: Block) -> bool:
    """Whether it is these tests that run it, and not as a part of a page."""
    return (
        block.document not in OTHERS
        and block.document != TUTORIAL
        and not block.marks.keys() & {"not run", "run by", "test command"}
    )


# -- Python ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def exchange() -> Generator[Simulator]:
    with simulator("--rate", "100") as running:
        yield running


@pytest.fixture(scope="module")
def futures() -> Generator[Simulator]:
    with simulator("--rate", "100", "--product", "usdm") as running:
        yield running


async def recorded() -> list[k2trio.Item]:
    """What a feed brought in a minute with a gap."""
    streams = ["btcusdt@trade", "btcusdt@bookTicker"]
    faults = [
        fault(20, "dropped", share=0.5, duration=1.0),
        fault(20, "rest_refused", "venue.rest", duration=30.0),
    ]
    settings = {"streams": streams, "repair_hold": 1, "shared_budget": "off"}
    async with open_world(faults, rate=20, settings=settings) as world:
        await trio.sleep(60)
    return [item for _, item in world.items]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the files are that examples speak of."""
    folder = tmp_path_factory.mktemp("documents")
    lines = encode_lines(trio.run(recorded, clock=trio.testing.MockClock(autojump_threshold=0)))
    (folder / "trades.jsonl").write_bytes(lines)
    journals = folder / "market" / JOURNAL
    journals.mkdir(parents=True)
    (journals / "20260101T00-1.jsonl").write_bytes(lines)
    (outcome,) = seal_all(folder / "market", journals, "a test")
    assert outcome.seal is not None
    (faults,) = blocks(DOCS / "howto" / "simulator.md", "json")
    (folder / "bad-day.json").write_text(faults.text)
    return folder


@pytest.mark.parametrize("block", PYTHON, ids=str)
def test_python_is_python_and_names_what_is_public(block: Block) -> None:
    compile(block.text, str(block), "exec", TOP_LEVEL_AWAIT)
    for name in re.findall(r"\bk2trio\.([A-Za-z_]+)", block.text):
        assert name in k2trio.__all__


@pytest.mark.parametrize("block", [*filter(run_here, PYTHON)], ids=str)
def test_python_runs(
    block: Block, request: pytest.FixtureRequest, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    running = request.getfixturevalue("futures" if "futures" in block.text else "exchange")
    for name, value in running.variables().items():
        monkeypatch.setenv(f"K2_BINANCE_{name}", value)
    monkeypatch.chdir(folder)
    printed: list[tuple[object, ...]] = []

    def show(*values: object) -> None:
        printed.append(values)
        if len(printed) == PRINTED:
            raise EnoughPrintedError

    code = compile(block.text, str(block), "exec", TOP_LEVEL_AWAIT)
    names: dict[str, Any] = {"print": show, "__name__": "__main__"}
    with ended(EnoughPrintedError):
        outcome = eval(code, names)  # noqa: S307 - our own text
        if inspect.iscoroutine(outcome):
            asyncio.run(until_done(outcome))
    assert printed or "print(" not in block.text


async def until_done(outcome: Any) -> None:
    await asyncio.wait_for(outcome, PATIENCE_S)


@contextlib.contextmanager
def ended(kind: type[Exception]) -> Generator[None]:
    """Swallow an exception of this kind, alone or in groups of nothing else."""
    try:
        yield
    except* kind:
        pass


# -- Shell ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def commands() -> Any:
    """Each command's model and layout."""
    spec = importlib.util.spec_from_file_location("tables", DOCS / "tables.py")
    assert spec is not None
    assert spec.loader is not None
    tables = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tables)
    return tables.COMMANDS


def simple_commands(script: str) -> Generator[list[str]]:
    """The words of each command of a script."""
    script = re.sub(r"(?:^|(?<=\s))#.*", "", script.replace("\\\n", " "), flags=re.MULTILINE)
    words = shlex.shlex(script, posix=True, punctuation_chars="();<>|&\n")
    words.whitespace, words.commenters = " \t", ""
    words.whitespace_split = True
    command: list[str] = []
    for word in words:
        if set(word) <= set("();|&\n"):
            yield command
            command = []
        else:
            command.append(word)
    yield command


def arguments_of(command: list[str]) -> list[str] | None:
    """What is given to k2trio; None for other programs."""
    if ">" in command:
        command = command[: command.index(">")]
    for number, word in enumerate(command):
        if Path(word).name.startswith("python") and command[number + 1 :][:2] == ["-m", "k2trio"]:
            return command[number + 3 :]
    return command[1:] if command[:1] == ["k2trio"] else None


@pytest.mark.parametrize("block", SHELL, ids=str)
def test_shell_is_shell_and_its_options_exist(
    block: Block, commands: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    checked = subprocess.run(  # noqa: S603 - our own text
        [BASH, "-n"], input=block.text, text=True, capture_output=True, check=False
    )
    assert (checked.returncode, checked.stderr) == (0, "")
    for command in simple_commands(block.text):
        if command[:1] == ["export"]:
            for name, _, value in (word.partition("=") for word in command[1:]):
                if name.startswith("K2_BINANCE_"):
                    monkeypatch.setenv(name, value)
        if (arguments := arguments_of(command)) is not None:
            understood(arguments, commands)


def understood(arguments: list[str], commands: Any) -> None:
    """Read a command line as the program does."""
    named = bool(arguments) and not arguments[0].startswith("-")
    name, rest = (arguments[0], arguments[1:]) if named else ("run", arguments)
    model, layout = commands[name]
    if name in {"seal", "ops"} and rest and not rest[0].startswith("-"):
        rest = rest[1:]  # a word of its own, which is no option
    parse(model, name, rest, layout)


def test_a_wrong_option_is_found(commands: Any) -> None:
    (*_, wrong) = simple_commands("cd x && timeout 9 .venv/bin/python -m k2trio run --symbol A # B")
    assert arguments_of(wrong) == ["run", "--symbol", "A"]
    with pytest.raises(k2trio.ConfigError, match="--symbol is not an option"):
        understood(["run", "--symbol", "A"], commands)


@pytest.mark.parametrize("block", [*filter(run_here, SHELL)], ids=str)
def test_shell_runs(block: Block, exchange: Simulator, folder: Path) -> None:
    script = with_free_ports()(block.text)
    with bash(script, folder, **exchange.variables() | {"LOG_LEVEL": "info"}) as process:
        if until := block.marks.get("run until"):
            assert process.stdout is not None
            assert any(until in line for line in process.stdout)
        else:
            told, _ = process.communicate(timeout=PATIENCE_S)
            assert process.returncode == 0, told


# -- The whole ------------------------------------------------------------------------------------


def test_marks_are_such_and_say_what_is_true() -> None:
    for block in PYTHON + SHELL + blocks(TUTORIAL, "json"):
        assert block.marks.keys() <= MARKS, block
        for kind in ("not run", "run by", "run until"):
            assert block.marks.get(kind, kind), f"{block} does not say why"
        if by := block.marks.get("run by"):
            name = block.document.relative_to(DOCS).as_posix()
            assert name in (ROOT / by).read_text(), f"{by} does not run {block}"
