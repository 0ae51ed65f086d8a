"""What a log says of transitions: in which words, how loud, and what recurs as sums.

The words have two ways out: the program's own log (``logs.py``), and for whoever uses the library
the standard one, ``logging.getLogger("k2trio")``, as text.
"""

from __future__ import annotations

import dataclasses
import logging
import re
from collections.abc import Callable, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import trio

from . import transitions as on
from .repetition import Repetition

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterable

    from .repetition import Sum
    from .transitions import Transition

LOGGER = "k2trio"
"""The logger of the library."""
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
    on.NotCompiled: logging.INFO,
    on.Flowing: logging.INFO,
    on.Rotating: logging.INFO,
    on.Rotated: logging.INFO,
    on.Repaired: logging.INFO,
    on.GivingUp: logging.ERROR,
    on.SubscriptionRefused: logging.ERROR,
}
_PLAIN = re.compile(r"[\w.:/@+-]+", re.ASCII)
"""Text that reads well without quotes, and cannot forge a line."""
_WORD = re.compile(r"(?<=[a-z])(?=[A-Z])")


def event_name(transition: Transition) -> str:
    """``ConnectionLost`` → ``connection_lost``."""
    return _WORD.sub("_", type(transition).__name__).lower()


Tell: TypeAlias = Callable[[int, str, Mapping[str, object]], None]
"""Takes a level of :mod:`logging`, what happened, and with what."""


class TransitionLog:
    """An observer that logs every transition with its context; those that recur as sums.

    :param tell: writes it down.
    :param clock: seconds; what recurs is told once in :data:`repetition.REPEAT_S` of them.
    """

    def __init__(self, tell: Tell, clock: Callable[[], float] = trio.current_time) -> None:
        self._tell = tell
        self._clock = clock
        self._repetition = Repetition()
        self._recurs = trio.Event()

    def __call__(self, transition: Transition) -> None:
        if isinstance(transition, on.Recurring):
            self._recurs.set()
            self._log_sums(self._repetition.add(transition, self._clock()))
        else:
            self._log(transition, dataclasses.asdict(transition))

    @asynccontextmanager
    async def summing_up(self) -> AsyncGenerator[None]:
        """Log each sum when its time is over, and at the end of the block what is left."""
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self.sum_up)
                yield
                nursery.cancel_scope.cancel()
        finally:
            self.close()

    async def sum_up(self) -> None:
        """Log each sum when its time is over."""
        while True:
            await self._recurs.wait()
            while self._repetition.lasts:
                await trio.sleep(SUM_CHECK_S)
                self._log_sums(self._repetition.due(self._clock()))
            self._recurs = trio.Event()

    def close(self) -> None:
        """Log what is left of the sums, at the end."""
        self._log_sums(self._repetition.rest(self._clock()))

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
        if isinstance(transition, on.BudgetSharing) and not transition.problem:
            level = logging.INFO
        if isinstance(transition, on.GapDeclared) and transition.reason == "snapshot":
            level = logging.INFO
        bounded = {name: _bounded(value) for name, value in context.items()}
        self._tell(level, event_name(transition), bounded)


def _bounded(value: object) -> object:
    if isinstance(value, float):
        return round(value, 6)
    if isinstance(value, str) and len(value) > MAX_TEXT:
        return value[:MAX_TEXT] + "…"
    if isinstance(value, tuple):
        return list(value[:MAX_ITEMS])  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
    return value


def tell_logging(level: int, event: str, context: Mapping[str, object]) -> None:
    """Write to the library's logger: ``connection_lost line=0 detail='close frame 1001' …``."""
    logger = logging.getLogger(LOGGER)
    if logger.isEnabledFor(level):
        fields = " ".join(f"{name}={_shown(value)}" for name, value in context.items())
        logger.log(level, "%s %s", event, fields)


def _shown(value: object) -> str:
    if isinstance(value, str):
        return value if _PLAIN.fullmatch(value) else repr(value)
    return str(value)
