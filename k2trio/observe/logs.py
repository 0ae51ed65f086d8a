"""Structured logs on standard error: one event per transition, for people or for machines."""

from __future__ import annotations

import dataclasses
import functools
import logging
import os
import re
import sys
from typing import TYPE_CHECKING, Any, Literal, TextIO

import structlog

from . import transitions as on
from .stderr import NeverBlocking

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .transitions import Transition

MAX_TEXT = 500
"""Characters of one logged value."""
MAX_ITEMS = 20
"""Items of one logged list."""

_LEVELS: dict[type[Any], int] = {
    on.Dialing: logging.DEBUG,
    on.PingMeasured: logging.DEBUG,
    on.BecameStable: logging.INFO,
    on.Connected: logging.INFO,
    on.Flowing: logging.INFO,
    on.Rotating: logging.INFO,
    on.Rotated: logging.INFO,
    on.GivingUp: logging.ERROR,
    on.SubscriptionRefused: logging.ERROR,
}
_WORD = re.compile(r"(?<=[a-z])(?=[A-Z])")


def event_name(transition: Transition) -> str:
    """``ConnectionLost`` → ``connection_lost``."""
    return _WORD.sub("_", type(transition).__name__).lower()


class TransitionLog:
    """An observer that logs every transition with its context."""

    def __init__(self, logger: structlog.typing.FilteringBoundLogger) -> None:
        self._logger = logger

    def __call__(self, transition: Transition) -> None:
        level = _LEVELS.get(type(transition), logging.WARNING)
        if isinstance(transition, on.BreakerChanged) and transition.new != "open":
            level = logging.INFO
        context = {name: _bounded(value) for name, value in dataclasses.asdict(transition).items()}
        self._logger.log(level, event_name(transition), **context)


def _bounded(value: object) -> object:
    if isinstance(value, float):
        return round(value, 6)
    if isinstance(value, str) and len(value) > MAX_TEXT:
        return value[:MAX_TEXT] + "…"
    if isinstance(value, tuple):
        return list(value[:MAX_ITEMS])  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
    return value


def configure(
    level: str = "info", form: Literal["console", "json"] = "console", stream: TextIO | None = None
) -> None:
    """Set up structlog for the program; call once, before anything logs.

    Without a stream, logs go to standard error, which :func:`stderr.take` keeps from blocking.
    Libraries' own logs come through at WARNING and above: trio-websocket's DEBUG level prints
    request paths, and no library may decide what this program's logs look like.
    """
    out = sys.stderr if stream is None else stream
    renderer: structlog.typing.Processor
    if form == "json":
        renderer = structlog.processors.JSONRenderer(ensure_ascii=False)
    else:
        renderer = structlog.dev.ConsoleRenderer(
            colors=out.isatty() and not os.environ.get("NO_COLOR"),  # as no-color.org asks for
            sort_keys=False,
            exception_formatter=structlog.dev.plain_traceback,  # no locals: they may hold secrets
        )
    shared: list[structlog.typing.Processor] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    if stream is None and isinstance(sys.stderr, NeverBlocking):
        sys.stderr.tell_dropped = functools.partial(_dropped_line, [*shared, renderer])
    structlog.configure(
        processors=[*shared, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(
            logging.getLevelNamesMapping()[level.upper()]
        ),
        logger_factory=structlog.PrintLoggerFactory(out),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(out)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
            foreign_pre_chain=shared,
        )
    )
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)


def _dropped_line(processors: Sequence[structlog.typing.Processor], lines: int) -> str:
    """The line that stands for lines that were dropped, as the others are made."""
    made: Any = {"event": "log_lines_dropped", "lines": lines}
    for process in processors:
        made = process(None, "warning", made)
    return f"{made}\n"


def get_logger(**context: object) -> structlog.typing.FilteringBoundLogger:
    """A logger with the given context bound."""
    logger: structlog.typing.FilteringBoundLogger = structlog.get_logger(**context)
    return logger
