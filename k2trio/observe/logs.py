"""Structured logs on standard error: one event per transition, for people or for machines."""

from __future__ import annotations

import dataclasses
import functools
import logging
import os
import re
import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Literal, TextIO, cast

import structlog
import trio

from . import transitions as on
from .repetition import Repetition
from .stderr import NeverBlocking

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterable, Sequence

    from .repetition import Sum
    from .transitions import Transition

MAX_TEXT = 500
"""Characters of one logged value."""
MAX_ITEMS = 20
"""Items of one logged list."""
SUM_CHECK_S = 1.0
"""How often to see whether the time of a sum is over."""

_LEVELS: dict[type[Any], int] = {
    on.Dialing: logging.DEBUG,
    on.PingMeasured: logging.DEBUG,
    on.BecameStable: logging.INFO,
    on.Closed: logging.INFO,
    on.Connected: logging.INFO,
    on.Flowing: logging.INFO,
    on.Rotating: logging.INFO,
    on.Rotated: logging.INFO,
    on.Repaired: logging.INFO,
    on.GivingUp: logging.ERROR,
    on.SubscriptionRefused: logging.ERROR,
}
_WORD = re.compile(r"(?<=[a-z])(?=[A-Z])")


def event_name(transition: Transition) -> str:
    """``ConnectionLost`` → ``connection_lost``."""
    return _WORD.sub("_", type(transition).__name__).lower()


class TransitionLog:
    """An observer that logs every transition with its context; those that recur as sums.

    :param clock: seconds; what recurs is told once in :data:`repetition.REPEAT_S` of them.
    """

    def __init__(
        self,
        logger: structlog.typing.FilteringBoundLogger,
        clock: Callable[[], float] = trio.current_time,
    ) -> None:
        self._logger = logger
        self._clock = clock
        self._repetition = Repetition()

    def __call__(self, transition: Transition) -> None:
        if isinstance(transition, on.Recurring):
            self._log_sums(self._repetition.add(transition, self._clock()))
        else:
            self._log(transition, dataclasses.asdict(transition))

    @asynccontextmanager
    async def summing_up(self) -> AsyncGenerator[None]:
        """Log each sum when its time is over, and at the end of the block what is left."""
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._sum_up)
                yield
                nursery.cancel_scope.cancel()
        finally:
            self._log_sums(self._repetition.rest(self._clock()))

    async def _sum_up(self) -> None:
        while True:
            await trio.sleep(SUM_CHECK_S)
            self._log_sums(self._repetition.due(self._clock()))

    def _log_sums(self, sums: Iterable[Sum]) -> None:
        for told in sums:
            transition = cast("Transition", told.transition)
            context: dict[str, Any] = dataclasses.asdict(transition)
            if told.kinds > 1:
                context = {told.transition.counted: told.count, "kinds": told.kinds}
            if told.over_s is not None:
                context["over_s"] = told.over_s
            self._log(transition, context)

    def _log(self, transition: Transition, context: dict[str, Any]) -> None:
        level = _LEVELS.get(type(transition), logging.WARNING)
        if isinstance(transition, on.BreakerChanged) and transition.new != "open":
            level = logging.INFO
        if isinstance(transition, on.GapDeclared) and transition.reason == "snapshot":
            level = logging.INFO
        bounded = {name: _bounded(value) for name, value in context.items()}
        self._logger.log(level, event_name(transition), **bounded)


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
