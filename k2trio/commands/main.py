"""The commands: ``python -m k2trio [run | check | book | demo | seal | heal | verify | …]``."""

from __future__ import annotations

import functools
import sys
from typing import TYPE_CHECKING, TypeVar

import trio

from .. import __version__
from ..errors import ConfigError, K2Error
from ..extras import require
from ..loading import check_environment
from ..observe import logs, stderr
from ..settings import Settings
from .hosted import pays, run_hosted
from .options import BY_FIELD, given, parse
from .run import EXIT_FAILED, EXIT_OK, EXIT_USAGE, run, run_until_signalled
from .terminal import put

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .options import Layout

USAGE = """\
usage: python -m k2trio [COMMAND] [OPTIONS]

commands:
  run       stream market data as JSON lines (the default)
  check     try everything that a run needs, and show the settings that count
  config    show the settings that count, or make a file of them: config --toml
  book      watch order books: book BTCUSDT
  demo      watch the feed survive a bad day of a simulated exchange; needs no network
  seal      make sealed Parquet of a dataset's journals: seal FOLDER
  heal      fetch what a dataset lacks, as far as the exchange has it: heal PATH
  verify    prove what recorded files hold, and what they lack: verify PATH…
  simulate  serve the simulated exchange, for tests of your own
  replay    serve a recording as an exchange: replay out.jsonl --speed 10
  ops       print alert rules, a dashboard, or the runbook: ops alerts|dashboard|runbook

Each command tells its options with --help. Every option of run is also an environment
variable, --reconnect-delay is K2_BINANCE_RECONNECT_DELAY, and a key of the TOML file that
--config names, reconnect_delay. An option wins over a variable, and that over the file.
"""


_Settings = TypeVar("_Settings", bound=Settings)


def _settings(
    command: str, arguments: Sequence[str], model: type[_Settings], layout: Layout = BY_FIELD
) -> _Settings:
    check_environment()
    settings = parse(model, command, arguments, layout)
    logs.configure(settings.log_level, settings.log_format)
    return settings


def _run(arguments: Sequence[str]) -> int:
    settings = _settings("run", arguments, Settings)
    run_trio = run_hosted if pays(settings) else trio.run
    return run_until_signalled(functools.partial(run, settings), run_trio=run_trio)


def _check(arguments: Sequence[str]) -> int:
    from .check import CheckSettings, check

    settings = _settings("check", arguments, CheckSettings)
    named = given(CheckSettings, "check", arguments)
    return run_until_signalled(functools.partial(check, settings, named))


def _config(arguments: Sequence[str]) -> int:
    from .config import ConfigSettings, show

    settings = _settings("config", arguments, ConfigSettings)
    show(settings, given(ConfigSettings, "config", arguments))
    return EXIT_OK


def _book(arguments: Sequence[str]) -> int:
    from .book import LAYOUT, BookSettings, book

    settings = _settings("book", arguments, BookSettings, LAYOUT)
    named = given(BookSettings, "book", arguments, LAYOUT)
    plain = settings.plain or not sys.stdout.isatty()
    return run_until_signalled(functools.partial(book, settings, named, plain=plain))


def _demo(arguments: Sequence[str]) -> int:
    from .demo import DemoOptions, demo

    options = parse(DemoOptions, "demo", arguments)
    logs.configure("warning")
    plain = options.plain or not sys.stdout.isatty()
    return run_until_signalled(functools.partial(demo, options, plain=plain))


def _seal(arguments: Sequence[str]) -> int:
    require("pyarrow", "parquet", "seal")
    from .seal import SealOptions, seal

    target = arguments[0] if arguments and not arguments[0].startswith("-") else ""
    options = parse(SealOptions, "seal PATH", arguments[1:] if target else arguments)
    return seal(target, options)


def _heal(arguments: Sequence[str]) -> int:
    require("pyarrow", "parquet", "heal")
    from .heal import LAYOUT, HealSettings, heal_all

    settings = _settings("heal", arguments, HealSettings, LAYOUT)
    return run_until_signalled(functools.partial(heal_all, settings), signalled=EXIT_FAILED)


def _verify(arguments: Sequence[str]) -> int:
    require("pyarrow", "parquet", "verify")
    from .verify import LAYOUT, VerifyOptions, verify

    return verify(parse(VerifyOptions, "verify", arguments, LAYOUT))


def _simulate(arguments: Sequence[str]) -> int:
    from .simulate import SimulateOptions, simulate

    options = parse(SimulateOptions, "simulate", arguments)
    logs.configure("warning")
    return run_until_signalled(functools.partial(simulate, options))


def _replay(arguments: Sequence[str]) -> int:
    from .replay import LAYOUT, ReplayOptions, replay

    options = parse(ReplayOptions, "replay", arguments, LAYOUT)
    logs.configure("warning")
    return run_until_signalled(functools.partial(replay, options))


def _ops(arguments: Sequence[str]) -> int:
    from .ops import FILES, OpsOptions, text_of

    name = arguments[0] if arguments and not arguments[0].startswith("-") else ""
    rest = arguments[1:] if name else arguments
    put(text_of(name, parse(OpsOptions, f"ops {'|'.join(FILES)}", rest)))
    return EXIT_OK


COMMANDS: dict[str, Callable[[Sequence[str]], int]] = {
    "run": _run,
    "check": _check,
    "config": _config,
    "book": _book,
    "demo": _demo,
    "seal": _seal,
    "heal": _heal,
    "verify": _verify,
    "simulate": _simulate,
    "replay": _replay,
    "ops": _ops,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code: 0 done, 1 failed, 2 could not start."""
    arguments = sys.argv[1:] if arguments is None else arguments
    stderr.take()
    try:
        return _dispatch(arguments)
    except K2Error as error:
        for line in str(error).splitlines():
            sys.stderr.write(f"k2trio: {line}\n")
        return EXIT_USAGE if isinstance(error, ConfigError) else EXIT_FAILED


def _dispatch(arguments: Sequence[str]) -> int:
    if arguments[:1] in (["-h"], ["--help"], ["help"]):
        put(USAGE)
        return EXIT_OK
    if arguments[:1] == ["--version"]:
        put(f"k2trio {__version__}\n")
        return EXIT_OK
    name = "run" if not arguments or arguments[0].startswith("-") else arguments[0]
    command = COMMANDS.get(name)
    if command is None:
        raise ConfigError(f"{name!r} is not a command; known are {', '.join(COMMANDS)}")
    return command(arguments[1:] if arguments[:1] == [name] else arguments)
