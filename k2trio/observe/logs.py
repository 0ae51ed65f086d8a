"""Structured logs on standard error, for people or for machines: the log of the program."""

from __future__ import annotations

import functools
import logging
import os
import sys
from typing import TYPE_CHECKING, Any, Literal, TextIO

import structlog
import trio

from .stderr import NeverBlocking
from .telling import TransitionLog

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence


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


def transition_log(
    logger: structlog.typing.FilteringBoundLogger,
    clock: Callable[[], float] = trio.current_time,
) -> TransitionLog:
    """An observer that logs every transition with its context as fields."""

    def tell(level: int, event: str, context: Mapping[str, object]) -> None:
        logger.log(level, event, **context)

    return TransitionLog(tell, clock)
