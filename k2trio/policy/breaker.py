"""A three-state circuit breaker that owns the cancel scopes of the attempts it admits.

The states and what moves between them::

    CLOSED    -- failure_threshold consecutive failures -->  OPEN
    OPEN      -- recovery_timeout seconds pass ----------->  HALF_OPEN (at the next attempt)
    HALF_OPEN -- success_threshold successes ------------->  CLOSED
    HALF_OPEN -- one failure ----------------------------->  OPEN, with the whole wait anew

In HALF_OPEN one attempt at a time is admitted, the *probe*, and it has a deadline: an endpoint that
neither works nor fails must not hold the probe's place for ever. When the breaker opens, attempts
still under way are cancelled: they would only find out later what is already known.

What counts is told by the caller. A connection that lives long reports each further success with
:meth:`CircuitBreaker.record_success`, so that a healthy probe closes the breaker by itself. Late
news change nothing: a success or failure told while OPEN comes from an attempt of before.

``TRANSITIONS`` is the whole behaviour; a pair that is not in it leaves the state as it is.
"""

from __future__ import annotations

import enum
import math
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TYPE_CHECKING, Any, TypeVar, TypeVarTuple

import trio

from ..errors import AttemptTimeout, CircuitOpen, ConnectionFailed, K2Error, leaves

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable
    from types import TracebackType

_T = TypeVar("_T")
_Ts = TypeVarTuple("_Ts")


class State(enum.IntEnum):
    """Breaker state; the value is what the gauge ``k2_circuit_breaker_state`` shows."""

    CLOSED = 0
    OPEN = 1
    HALF_OPEN = 2


class Signal(enum.Enum):
    """What can happen to a breaker."""

    THRESHOLD_OF_FAILURES = "failures"
    TRIPPED = "tripped"
    COOLED_DOWN = "cooled_down"
    THRESHOLD_OF_SUCCESSES = "successes"


TRANSITIONS: dict[tuple[State, Signal], State] = {
    (State.CLOSED, Signal.THRESHOLD_OF_FAILURES): State.OPEN,
    (State.CLOSED, Signal.TRIPPED): State.OPEN,
    (State.OPEN, Signal.COOLED_DOWN): State.HALF_OPEN,
    (State.HALF_OPEN, Signal.THRESHOLD_OF_FAILURES): State.OPEN,
    (State.HALF_OPEN, Signal.TRIPPED): State.OPEN,
    (State.HALF_OPEN, Signal.THRESHOLD_OF_SUCCESSES): State.CLOSED,
}


class _Attempt:
    """One attempt under way; ``withdrawn`` when the breaker opened meanwhile."""

    def __init__(self, deadline: float) -> None:
        self.scope = trio.CancelScope(deadline=deadline)
        self.withdrawn = False

    def withdraw(self) -> None:
        self.withdrawn = True
        self.scope.cancel()


class CircuitBreaker:
    """Guards attempts on one endpoint.

    Use as ``async with breaker:`` or ``await breaker.call(fn, *args)``; leaving the block without
    an error is a success, leaving it with one of ``failures`` (or a group of nothing else) is a
    failure, and anything else (a cancellation, a bug, the refusal of a breaker) is neither.

    :param name: label of the metric and of errors.
    :param failure_threshold: consecutive failures that open it.
    :param success_threshold: successes in HALF_OPEN that close it.
    :param recovery_timeout: seconds it stays open.
    :param probe_timeout: seconds a half-open attempt may take.
    :param enabled: False admits everything and never changes state.
    :param failures: the exceptions that count as failures.
    :param on_change: called with (breaker, old state, cause) after each change of state.
    """

    def __init__(
        self,
        name: str,
        *,
        failure_threshold: int = 3,
        success_threshold: int = 2,
        recovery_timeout: float = 30,
        probe_timeout: float = math.inf,
        enabled: bool = True,
        failures: tuple[type[Exception], ...] = (K2Error, OSError),
        on_change: Callable[[CircuitBreaker, State, Signal], None] | None = None,
    ) -> None:
        self.name = name
        self.state: State = State.CLOSED
        self.enabled = enabled
        self.retry_at: float = -math.inf
        """When OPEN: the time from which a probe is admitted."""
        self._failure_threshold = failure_threshold
        self._success_threshold = success_threshold
        self._recovery_timeout = recovery_timeout
        self._probe_timeout = probe_timeout
        self._failure_kinds = failures
        self._on_change = on_change
        self._failures = self._successes = 0
        self._cooldown_factor = 1.0
        self._probe: _Attempt | None = None
        self._attempts: dict[_Attempt, None] = {}  # a dict: ordered, so runs repeat
        self._entered: dict[trio.lowlevel.Task, list[AbstractAsyncContextManager[None]]] = {}

    def __repr__(self) -> str:
        return f"<CircuitBreaker {self.name} {self.state.name}>"

    def admits(self, now: float) -> bool:
        """Whether an attempt would be let through at the given time."""
        if not self.enabled or self.state is State.CLOSED:
            return True
        if self.state is State.OPEN:
            return now >= self.retry_at
        return self._probe is None

    def admits_from(self, now: float) -> float:
        """The earliest time not before ``now`` at which an attempt may be admitted.

        Infinite while a probe is under way: its outcome decides, not the clock.
        """
        if self.admits(now):
            return now
        return self.retry_at if self.state is State.OPEN else math.inf

    def record_success(self) -> None:
        """Count a success."""
        self._failures = 0
        self._cooldown_factor = 1.0
        if self.state is State.HALF_OPEN:
            self._successes += 1
            if self._successes >= self._success_threshold:
                self._apply(Signal.THRESHOLD_OF_SUCCESSES)

    def record_failure(self, error: Exception | None = None) -> None:
        """Count a failure; one that ``trips`` (see :class:`ConnectionFailed`) opens at once."""
        self._failures += 1
        signal = Signal.THRESHOLD_OF_FAILURES
        if isinstance(error, ConnectionFailed):
            self._cooldown_factor = max(self._cooldown_factor, error.cooldown_factor)
            if error.trips:
                signal = Signal.TRIPPED
        if (
            signal is Signal.TRIPPED
            or self.state is State.HALF_OPEN
            or self._failures >= self._failure_threshold
        ):
            self._apply(signal)

    def _apply(self, signal: Signal) -> None:
        new = TRANSITIONS.get((self.state, signal))
        if new is None or not self.enabled:
            return
        old, self.state = self.state, new
        if new is State.OPEN:
            cooldown = self._recovery_timeout * self._cooldown_factor
            self.retry_at = trio.current_time() + cooldown
            for attempt in self._attempts:
                attempt.withdraw()
        self._failures = self._successes = 0
        self._cooldown_factor = 1.0
        if self._on_change is not None:
            self._on_change(self, old, signal)

    @asynccontextmanager
    async def attempt(self) -> AsyncGenerator[None]:
        """Guard one attempt.

        :raises CircuitOpen: if it is not admitted, or was cancelled as the breaker opened.
        :raises AttemptTimeout: if it was the probe and overran its deadline.
        """
        now = trio.current_time()
        if not self.admits(now):
            raise CircuitOpen(self.name, self.admits_from(now))
        if self.state is State.OPEN:
            self._apply(Signal.COOLED_DOWN)
        probe = self.enabled and self.state is State.HALF_OPEN
        attempt = _Attempt(now + self._probe_timeout if probe else math.inf)
        if probe:
            self._probe = attempt
        self._attempts[attempt] = None
        try:
            with attempt.scope:
                yield
        except (Exception, BaseExceptionGroup) as error:
            self._end(attempt)
            if (failure := self._failure_in(error)) and not attempt.withdrawn:
                self.record_failure(failure)
            raise
        finally:
            self._end(attempt)
        if attempt.withdrawn:
            if attempt.scope.cancelled_caught:
                raise CircuitOpen(self.name, self.admits_from(trio.current_time()))
        elif not attempt.scope.cancelled_caught:
            self.record_success()
        else:
            overrun = AttemptTimeout(f"no proof of life within {self._probe_timeout:g} s")
            self.record_failure(overrun)
            raise overrun

    def _end(self, attempt: _Attempt) -> None:
        # Before the outcome is recorded: an attempt must not be cancelled by its own failure.
        self._attempts.pop(attempt, None)
        # A withdrawn probe may take its time to clean up; by then another one may have begun.
        if self._probe is attempt:
            self._probe = None

    def _failure_in(self, error: BaseException) -> Exception | None:
        """The failure that an exception means, or None if it means something else."""
        failure: Exception | None = None
        for leaf in leaves(error):
            if not isinstance(leaf, self._failure_kinds) or isinstance(leaf, CircuitOpen):
                return None
            if failure is None or getattr(leaf, "trips", False):
                failure = leaf
        return failure

    async def call(self, fn: Callable[[*_Ts], Awaitable[_T]], *args: *_Ts) -> _T:
        """Run ``await fn(*args)`` as one guarded attempt and return its result."""
        async with self.attempt():
            return await fn(*args)

    async def __aenter__(self) -> None:
        guard = self.attempt()
        await guard.__aenter__()
        self._entered.setdefault(trio.lowlevel.current_task(), []).append(guard)

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> Any:
        task = trio.lowlevel.current_task()
        guards = self._entered[task]
        guard = guards.pop()
        if not guards:
            del self._entered[task]
        return await guard.__aexit__(kind, error, trace)
