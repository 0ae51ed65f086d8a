"""What is tried before a run begins: everything that could only fail after hours else."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

from .. import files
from ..continuity.state import load_state
from ..errors import ConfigError
from ..repair.hosts import BackfillError
from ..repair.listing import untraded
from ..targets import Form
from ..web import exporter
from ..wire.tls import make_ssl_context
from .ledger import try_coverage

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ..settings import Settings


def refuse_shared_files(settings: Settings) -> None:
    """Files of ours must not be those that the caller has directed the program's text into.

    :raises ConfigError: naming the first that is.
    """
    named = [("OUTPUT", target.file) for target in settings.targets]
    named += [("STATE", settings.state), ("COVERAGE", settings.coverage)]
    used = any(target.form is Form.STANDARD_OUTPUT for target in settings.targets)
    for stream, fd in (("output", 1), ("error", 2)) if used else (("error", 2),):
        status = os.fstat(fd)
        for name, path in named:
            if path is None or not stat.S_ISREG(status.st_mode) or not path.exists():
                continue
            if os.path.samestat(path.stat(), status):
                raise ConfigError(f"{name} {path} is what standard {stream} goes to; name another")


def said_twice(settings: Settings) -> str | None:
    """Which of SYMBOLS and STREAMS counts, where both were given."""
    if settings.streams and "symbols" in settings.model_fields_set:
        return "SYMBOLS and STREAMS are both given: STREAMS counts, SYMBOLS is not used"
    return None


def try_files(settings: Settings) -> list[str]:
    """One line for each of the state and the coverage file that could not be written."""
    problems: list[str] = []
    for attempt, path in ((try_state, settings.state), (try_coverage, settings.coverage)):
        if path is not None:
            try:
                attempt(path)
            except ConfigError as error:
                problems.append(str(error))
    return problems


def try_state(path: Path) -> None:
    """Find out whether a state file can be read and replaced.

    :raises ConfigError: naming the file and the cause.
    """
    load_state(path)
    try:
        files.try_lock(path, f"the state file {path}")
        files.try_to_replace(path)
    except OSError as error:
        raise ConfigError(f"cannot write the state file {path}: {files.why(error)}") from error


def usable_port(host: str, port: int, *, asked_for: bool) -> int:
    """The port, or a free one where it is busy and was not asked for.

    :raises ConfigError: if it was asked for, and is busy.
    """
    try:
        exporter.open_socket(host, port, "--metrics-port or --metrics-host").close()
    except ConfigError:
        if asked_for:
            raise
        return 0
    return port


async def refuse_untraded(settings: Settings, warn: Callable[..., object]) -> None:
    """Ask the first venue whether it trades what is to be subscribed to.

    :param warn: is told if it does not answer, as an event with its context.
    :raises ConfigError: one line for each symbol that it does not.
    """
    try:
        problems = await untraded(settings, verify=make_ssl_context(settings))
    except BackfillError as error:
        warn("symbols_not_checked", detail=str(error))
    else:
        if problems:
            raise ConfigError("\n".join(problems.values()))
