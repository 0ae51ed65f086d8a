"""The commands: ``python -m k2trio [run | check | demo | simulate]``."""

from __future__ import annotations

import functools
import sys
from argparse import ArgumentParser  # noqa: TC003
from importlib.metadata import version
from typing import TYPE_CHECKING, TypeVar

from pydantic import ValidationError
from pydantic_settings import BaseSettings, CliApp, CliSettingsSource, SettingsError

from . import logs
from .errors import ConfigError
from .program import EXIT_OK, EXIT_USAGE, run, run_until_signalled
from .settings import Settings, check_environment, describe

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

USAGE = """\
usage: python -m k2trio [COMMAND] [OPTIONS]

commands:
  run       stream market data as JSON lines (the default)
  check     validate the configuration and try every endpoint
  demo      watch the feed survive a bad day of a simulated exchange; needs no network
  simulate  serve the simulated exchange, for tests of your own

Each command tells its options with --help. Every option of run and check is also an
environment variable: --reconnect-delay is K2_BINANCE_RECONNECT_DELAY.
"""

_Options = TypeVar("_Options", bound=BaseSettings)


def parse(options: type[_Options], command: str, arguments: Sequence[str]) -> _Options:
    """Read a command's options from the command line and, where it has them, the environment.

    :raises ConfigError: one line per wrong option.
    :raises SystemExit: for ``--help`` and unknown options.
    """
    source: CliSettingsSource[ArgumentParser] = CliSettingsSource(
        options,
        cli_prog_name=f"python -m k2trio {command}",
        cli_exit_on_error=True,
    )
    try:
        parsed = CliApp.run(options, cli_args=list(arguments), cli_settings_source=source)
    except ValidationError as error:
        raise ConfigError(describe(error)) from error
    except SettingsError as error:
        raise ConfigError(str(error)) from error
    return parsed


def _run(arguments: Sequence[str]) -> int:
    settings = parse(Settings, "run", arguments)
    check_environment()
    logs.configure(settings)
    return run_until_signalled(functools.partial(run, settings))


def _check(arguments: Sequence[str]) -> int:
    from .check import check

    settings = parse(Settings, "check", arguments)
    check_environment()
    logs.configure(settings)
    return run_until_signalled(functools.partial(check, settings))


COMMANDS: dict[str, Callable[[Sequence[str]], int]] = {
    "run": _run,
    "check": _check,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code: 0 done, 1 failed, 2 could not start."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if arguments[:1] in (["-h"], ["--help"], ["help"]):
        sys.stdout.write(USAGE)
        return EXIT_OK
    if arguments[:1] == ["--version"]:
        sys.stdout.write(f"k2trio {version('k2trio')}\n")
        return EXIT_OK
    name = "run" if not arguments or arguments[0].startswith("-") else arguments[0]
    command = COMMANDS.get(name)
    if command is None:
        sys.stderr.write(f"k2trio: {name!r} is not a command\n\n{USAGE}")
        return EXIT_USAGE
    try:
        return command(arguments[1:] if arguments[:1] == [name] else arguments)
    except ConfigError as error:
        for line in str(error).splitlines():
            sys.stderr.write(f"k2trio: {line}\n")
        return EXIT_USAGE


if __name__ == "__main__":
    sys.exit(main())
