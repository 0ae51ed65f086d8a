"""The circuit breaker: every row of its table, exact times, and the guard that owns attempts."""

from __future__ import annotations

import math
from contextlib import AsyncExitStack, nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
import trio
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule
from trio.testing import MockClock, wait_all_tasks_blocked

from k2trio.errors import (
    POLICY_VIOLATION,
    AttemptTimeout,
    CircuitOpen,
    DialError,
    Dropped,
    HandshakeRefused,
    SinkError,
)
from k2trio.policy.breaker import TRANSITIONS, CircuitBreaker, Signal, State

if TYPE_CHECKING:
    from collections.abc import Callable

INF = math.inf


def make(**values: Any) -> CircuitBreaker:
    return CircuitBreaker("endpoint", **values)


def opened(**values: Any) -> CircuitBreaker:
    """A breaker that opened now."""
    breaker = make(**values)
    for _ in range(values.get("failure_threshold", 3)):
        breaker.record_failure(DialError("refused"))
    assert breaker.state is State.OPEN
    return breaker


async def half_opened(**values: Any) -> CircuitBreaker:
    """A breaker in HALF_OPEN without a probe under way."""
    breaker = opened(**values)
    await trio.sleep_until(breaker.retry_at)
    with pytest.raises(ValueError, match="bug"):
        await fail_with(breaker, ValueError("bug"))
    assert breaker.state is State.HALF_OPEN
    return breaker


async def fail_with(breaker: CircuitBreaker, error: BaseException) -> None:
    async with breaker:
        raise error


async def succeed(breaker: CircuitBreaker) -> None:
    async with breaker:
        await trio.lowlevel.checkpoint()


# -- the table ------------------------------------------------------------------------------------


def in_state(state: State, changes: list[Any]) -> CircuitBreaker:
    breaker = make(on_change=lambda who, old, cause: changes.append((old, cause, who.state)))
    breaker.state = state
    return breaker


@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize("signal", Signal)
async def test_every_pair_of_state_and_signal(
    state: State, signal: Signal, autojump_clock: MockClock
) -> None:
    changes: list[Any] = []
    breaker = in_state(state, changes)
    breaker._apply(signal)
    new = TRANSITIONS.get((state, signal))
    assert breaker.state is (state if new is None else new)
    assert changes == ([] if new is None else [(state, signal, new)])


def test_the_table_is_the_documented_one() -> None:
    closed, opened_, half = State
    assert set(TRANSITIONS.items()) == {
        ((closed, Signal.THRESHOLD_OF_FAILURES), opened_),
        ((closed, Signal.TRIPPED), opened_),
        ((opened_, Signal.COOLED_DOWN), half),
        ((half, Signal.THRESHOLD_OF_FAILURES), opened_),
        ((half, Signal.TRIPPED), opened_),
        ((half, Signal.THRESHOLD_OF_SUCCESSES), closed),
    }
    assert [state.value for state in State] == [0, 1, 2]


async def test_three_failures_open_it_for_thirty_seconds_and_two_successes_close_it(
    autojump_clock: MockClock,
) -> None:
    diary: list[Any] = []
    breaker = make(on_change=lambda who, *_: diary.append((trio.current_time(), who.state)))
    start = trio.current_time()
    for _ in range(3):
        assert breaker.admits(trio.current_time())
        with pytest.raises(DialError):
            await fail_with(breaker, DialError("refused"))
        await trio.sleep(1)
    opened_at = start + 2
    assert breaker.retry_at == opened_at + 30
    with pytest.raises(CircuitOpen) as refusal:
        await succeed(breaker)
    assert refusal.value.retry_at == opened_at + 30
    await trio.sleep_until(opened_at + 29.999)
    assert not breaker.admits(trio.current_time())
    assert breaker.admits_from(trio.current_time()) == opened_at + 30
    await trio.sleep_until(opened_at + 30)
    assert breaker.admits(trio.current_time())
    assert breaker.state is State.OPEN  # only an attempt makes it half-open
    await succeed(breaker)
    assert breaker.state is State.HALF_OPEN
    await trio.sleep(7)
    await succeed(breaker)
    assert diary == [
        (opened_at, State.OPEN),
        (opened_at + 30, State.HALF_OPEN),
        (opened_at + 37, State.CLOSED),
    ]


async def test_one_failure_in_half_open_opens_it_with_the_whole_wait_anew(
    autojump_clock: MockClock,
) -> None:
    breaker = await half_opened()
    breaker.record_success()
    await trio.sleep(11)
    with pytest.raises(DialError):
        await fail_with(breaker, DialError("refused"))
    assert breaker.state is State.OPEN
    assert breaker.retry_at == trio.current_time() + 30
    # The success before it is forgotten.
    await trio.sleep(30)
    await succeed(breaker)
    assert breaker.state is State.HALF_OPEN


async def test_only_consecutive_failures_count(autojump_clock: MockClock) -> None:
    breaker = make()
    for _ in range(10):
        breaker.record_failure()
        breaker.record_failure()
        breaker.record_success()
    assert breaker.state is State.CLOSED


async def test_after_it_closed_the_count_of_failures_starts_anew(
    autojump_clock: MockClock,
) -> None:
    breaker = await half_opened()
    await succeed(breaker)
    await succeed(breaker)
    breaker.record_failure()
    breaker.record_failure()
    assert breaker.state is State.CLOSED
    breaker.record_failure()
    assert breaker.state is State.OPEN


@pytest.mark.parametrize("thresholds", [(1, 1), (2, 3), (5, 1)])
async def test_thresholds(thresholds: tuple[int, int], autojump_clock: MockClock) -> None:
    failures, successes = thresholds
    breaker = opened(failure_threshold=failures, success_threshold=successes)
    await trio.sleep(30)
    for _ in range(successes):
        assert breaker.state is not State.CLOSED
        await succeed(breaker)
    assert breaker.state is State.CLOSED


@pytest.mark.parametrize("status", [403, 451])
async def test_a_refusal_by_law_or_firewall_opens_it_at_once(
    status: int, autojump_clock: MockClock
) -> None:
    breaker = make()
    with pytest.raises(HandshakeRefused):
        await fail_with(breaker, HandshakeRefused(status))
    assert breaker.state is State.OPEN
    assert breaker.retry_at == trio.current_time() + 30


@pytest.mark.parametrize("status", [418, 429, 500, 503])
async def test_other_refusals_count_as_one_failure(status: int, autojump_clock: MockClock) -> None:
    breaker = make()
    breaker.record_failure(HandshakeRefused(status))
    assert breaker.state is State.CLOSED


async def test_a_policy_close_doubles_the_cooldown_once(autojump_clock: MockClock) -> None:
    breaker = make()
    breaker.record_failure(Dropped("policy", POLICY_VIOLATION))
    breaker.record_failure()
    breaker.record_failure()
    assert breaker.retry_at == trio.current_time() + 60
    await trio.sleep(60)
    with pytest.raises(DialError):
        await fail_with(breaker, DialError("refused"))
    assert breaker.retry_at == trio.current_time() + 30


async def test_a_success_forgets_the_policy_close(autojump_clock: MockClock) -> None:
    breaker = make()
    breaker.record_failure(Dropped("policy", POLICY_VIOLATION))
    breaker.record_success()
    for _ in range(3):
        breaker.record_failure()
    assert breaker.retry_at == trio.current_time() + 30


async def test_late_news_while_open_change_nothing(autojump_clock: MockClock) -> None:
    breaker = opened()
    retry_at = breaker.retry_at
    await trio.sleep(10)
    for _ in range(5):
        breaker.record_success()
        breaker.record_failure(HandshakeRefused(451))
        breaker.record_failure(Dropped("policy", POLICY_VIOLATION))
    assert (breaker.state, breaker.retry_at) == (State.OPEN, retry_at)
    await trio.sleep_until(retry_at)
    await succeed(breaker)
    assert breaker.state is State.HALF_OPEN
    breaker.record_failure()
    assert breaker.retry_at == trio.current_time() + 30


async def test_disabled_it_admits_everything_and_never_changes(autojump_clock: MockClock) -> None:
    breaker = make(enabled=False, probe_timeout=1)
    for _ in range(10):
        with pytest.raises(HandshakeRefused):
            await fail_with(breaker, HandshakeRefused(451))
    assert breaker.state is State.CLOSED
    assert breaker.admits_from(3.0) == 3.0
    async with breaker, breaker:
        await trio.sleep(100)


def test_its_repr_says_what_it_is() -> None:
    assert repr(make()) == "<CircuitBreaker endpoint CLOSED>"


# -- what counts ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "counts"),
    [
        (DialError("x"), True),
        (ConnectionResetError(), True),
        (SinkError("x"), True),
        (ValueError("bug"), False),
        (KeyboardInterrupt(), False),
        (CircuitOpen("another", 1.0), False),
        (ExceptionGroup("g", [DialError("x")]), True),
        (ExceptionGroup("g", [ExceptionGroup("h", [DialError("x"), OSError()])]), True),
        (ExceptionGroup("g", [DialError("x"), ValueError("bug")]), False),
        (BaseExceptionGroup("g", [DialError("x"), KeyboardInterrupt()]), False),
    ],
    ids=repr,
)
async def test_failures_count_and_bugs_do_not(
    error: BaseException, counts: bool, autojump_clock: MockClock
) -> None:
    breaker = make(failure_threshold=1)
    with pytest.raises(type(error)) as raised:
        await fail_with(breaker, error)
    assert raised.value is error
    assert breaker.state is (State.OPEN if counts else State.CLOSED)


async def test_in_a_group_the_failure_that_trips_decides(autojump_clock: MockClock) -> None:
    breaker = make()
    with pytest.raises(ExceptionGroup):
        await fail_with(breaker, ExceptionGroup("g", [DialError("x"), HandshakeRefused(403)]))
    assert breaker.state is State.OPEN
    breaker = make()
    with pytest.raises(ExceptionGroup):
        await fail_with(breaker, ExceptionGroup("g", [HandshakeRefused(403), OSError("x")]))
    assert breaker.state is State.OPEN


async def test_a_bug_is_no_success_either(autojump_clock: MockClock) -> None:
    breaker = make()
    breaker.record_failure()
    breaker.record_failure()
    with pytest.raises(ValueError, match="bug"):
        await fail_with(breaker, ValueError("bug"))
    breaker.record_failure()
    assert breaker.state is State.OPEN


async def test_the_kinds_of_failure_can_be_chosen(autojump_clock: MockClock) -> None:
    breaker = make(failure_threshold=1, failures=(LookupError,))
    with pytest.raises(DialError):
        await fail_with(breaker, DialError("x"))
    assert breaker.state is State.CLOSED
    with pytest.raises(KeyError):
        await fail_with(breaker, KeyError("x"))
    assert breaker.state is State.OPEN


async def test_call_returns_the_result_and_counts(autojump_clock: MockClock) -> None:
    breaker = make(failure_threshold=1)

    async def work(left: int, right: int) -> int:
        await trio.sleep(1)
        if not right:
            raise DialError("refused")
        return left + right

    assert await breaker.call(work, 2, 3) == 5
    with pytest.raises(DialError):
        await breaker.call(work, 2, 0)
    with pytest.raises(CircuitOpen):
        await breaker.call(work, 2, 3)


@pytest.mark.parametrize("state", [State.CLOSED, State.HALF_OPEN])
async def test_an_outer_cancellation_counts_as_neither(
    state: State, autojump_clock: MockClock
) -> None:
    breaker = make(failure_threshold=2) if state is State.CLOSED else await half_opened()
    breaker.record_success()
    breaker.record_failure() if state is State.CLOSED else None
    with trio.move_on_after(1) as outer:
        async with breaker:
            await trio.sleep_forever()
    assert outer.cancelled_caught
    assert breaker.state is state
    if state is State.CLOSED:
        breaker.record_failure()  # the count stood at one, neither reset nor raised
        assert breaker.state is State.OPEN
    else:
        await succeed(breaker)
        assert breaker.state is State.CLOSED


# -- the probe ------------------------------------------------------------------------------------


async def test_one_probe_at_a_time(autojump_clock: MockClock) -> None:
    breaker = opened()
    await trio.sleep(30)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(breaker.call, trio.sleep, 5)
        await wait_all_tasks_blocked()
        assert not breaker.admits(trio.current_time())
        assert breaker.admits_from(trio.current_time()) == INF
        with pytest.raises(CircuitOpen) as refusal:
            await succeed(breaker)
        assert refusal.value.retry_at == INF
    assert breaker.admits(trio.current_time())


async def test_of_many_waiting_tasks_exactly_one_probes(autojump_clock: MockClock) -> None:
    breaker = opened()
    outcomes: list[str] = []

    async def attempt() -> None:
        await trio.sleep_until(breaker.retry_at)
        try:
            await breaker.call(trio.sleep, 1)
        except CircuitOpen:
            outcomes.append("refused")
        else:
            outcomes.append("probed")

    async with trio.open_nursery() as nursery:
        for _ in range(20):
            nursery.start_soon(attempt)
    assert sorted(outcomes) == ["probed"] + ["refused"] * 19


async def test_a_probe_has_exactly_its_deadline(autojump_clock: MockClock) -> None:
    breaker = opened(probe_timeout=12)
    await trio.sleep(30)
    started = trio.current_time()
    with pytest.raises(AttemptTimeout, match="12 s"):
        await breaker.call(trio.sleep_forever)
    assert trio.current_time() == started + 12
    assert breaker.state is State.OPEN
    assert breaker.retry_at == started + 12 + 30


async def test_a_probe_that_ends_just_in_time_is_a_success(autojump_clock: MockClock) -> None:
    breaker = opened(probe_timeout=12, success_threshold=1)
    await trio.sleep(30)
    await breaker.call(trio.sleep, 11.999)
    assert breaker.state is State.CLOSED


async def test_an_attempt_in_closed_has_no_deadline(autojump_clock: MockClock) -> None:
    await make(probe_timeout=12).call(trio.sleep, 10_000)


async def test_a_cancelled_or_crashed_probe_makes_room_for_the_next(
    autojump_clock: MockClock,
) -> None:
    breaker = await half_opened()
    with trio.move_on_after(1):
        await breaker.call(trio.sleep_forever)
    await succeed(breaker)
    with pytest.raises(ValueError, match="bug"):
        await fail_with(breaker, ValueError("bug"))
    await succeed(breaker)
    assert breaker.state is State.CLOSED


async def test_an_outer_cancellation_at_the_probes_deadline_is_the_outer_one(
    autojump_clock: MockClock,
) -> None:
    breaker = opened(probe_timeout=5)
    await trio.sleep(30)
    with trio.move_on_after(5) as outer:
        await breaker.call(trio.sleep_forever)
    assert outer.cancelled_caught
    assert breaker.state is State.HALF_OPEN


async def test_an_error_raised_as_the_deadline_cancels_is_one_failure(
    autojump_clock: MockClock,
) -> None:
    breaker = opened(probe_timeout=5)
    await trio.sleep(30)

    async def work() -> None:
        try:
            await trio.sleep_forever()
        finally:
            raise DialError("while cleaning up")

    with pytest.raises(DialError):
        await breaker.call(work)
    assert breaker.retry_at == trio.current_time() + 30


# -- attempts under way when it opens -------------------------------------------------------------


async def test_attempts_under_way_are_cancelled_when_it_opens(autojump_clock: MockClock) -> None:
    breaker = make()
    ended: list[tuple[float, float]] = []

    async def attempt() -> None:
        with pytest.raises(CircuitOpen) as refusal:
            await breaker.call(trio.sleep_forever)
        ended.append((trio.current_time(), refusal.value.retry_at))

    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(attempt)
        await trio.sleep(7)
        now = trio.current_time()
        with pytest.raises(HandshakeRefused):
            await fail_with(breaker, HandshakeRefused(451))
    assert ended == [(now, now + 30)] * 3


async def test_the_failing_attempt_keeps_its_own_error(autojump_clock: MockClock) -> None:
    breaker = make(failure_threshold=1)
    with pytest.raises(DialError):
        await fail_with(breaker, DialError("mine"))
    await trio.lowlevel.checkpoint()  # and is not cancelled afterwards


async def test_a_failure_keeps_its_traceback() -> None:
    async def dial() -> None:
        raise DialError("here")

    with pytest.raises(DialError) as failure:
        async with make():
            await dial()
    assert failure.traceback[-1].name == "dial"


async def test_what_others_report_may_close_it_while_a_probe_is_under_way(
    autojump_clock: MockClock,
) -> None:
    breaker = await half_opened(success_threshold=1)
    async with breaker:
        assert not breaker.admits(trio.current_time())
        breaker.record_success()
        assert breaker.admits(trio.current_time())


async def test_a_withdrawn_probe_is_no_timeout_however_long_it_cleans_up(
    autojump_clock: MockClock,
) -> None:
    breaker = opened(probe_timeout=5, recovery_timeout=30)
    await trio.sleep(30)

    async def slow_to_leave() -> None:
        try:
            await trio.sleep_forever()
        finally:
            with trio.CancelScope(shield=True):
                await trio.sleep(20)

    async def probe() -> None:
        with pytest.raises(CircuitOpen):
            await breaker.call(slow_to_leave)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(probe)
        await trio.sleep(1)
        breaker.record_failure()  # another connection on this endpoint dropped
        retry_at = breaker.retry_at
    assert (breaker.state, breaker.retry_at) == (State.OPEN, retry_at)


@pytest.mark.parametrize("late", [None, DialError("late")], ids=["success", "failure"])
async def test_a_withdrawn_probe_leaves_the_next_one_alone(
    late: Exception | None, autojump_clock: MockClock
) -> None:
    breaker = opened(recovery_timeout=2, success_threshold=1)
    await trio.sleep(2)

    async def slow_to_leave() -> None:
        try:
            await trio.sleep_forever()
        except trio.Cancelled:
            with trio.CancelScope(shield=True):
                await trio.sleep(5)
            if late:
                raise late from None

    async def first_probe() -> None:
        with nullcontext() if late is None else pytest.raises(DialError, match="late"):
            await breaker.call(slow_to_leave)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(first_probe)
        await trio.sleep(1)
        breaker.record_failure()
        await trio.sleep(2)
        nursery.start_soon(breaker.call, trio.sleep, 10)  # the second probe
        await trio.sleep(4)  # the first one is gone by now, the second one is not
        assert breaker.state is State.HALF_OPEN
        assert not breaker.admits(trio.current_time())
    assert breaker.state is State.CLOSED


async def test_work_that_ends_although_cancelled_keeps_its_result(
    autojump_clock: MockClock,
) -> None:
    breaker = make()

    async def stubborn() -> str:
        with trio.CancelScope(shield=True):
            await trio.sleep(5)
        return "done"

    results: list[str] = []

    async def attempt() -> None:
        results.append(await breaker.call(stubborn))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(attempt)
        await trio.sleep(1)
        breaker.record_failure(HandshakeRefused(451))
    assert results == ["done"]
    assert breaker.state is State.OPEN


async def test_several_tasks_and_nesting_share_one_breaker(autojump_clock: MockClock) -> None:
    breaker = make()

    async def attempt(seconds: float) -> None:
        async with breaker:
            await trio.sleep(seconds)
            async with breaker:
                await trio.sleep(seconds)

    async with trio.open_nursery() as nursery:
        for number in range(10):
            nursery.start_soon(attempt, number % 4)
    assert not breaker._entered
    assert not breaker._attempts


async def test_a_nested_probe_is_refused_and_that_refusal_is_no_failure(
    autojump_clock: MockClock,
) -> None:
    breaker = await half_opened()
    with pytest.raises(CircuitOpen):
        async with breaker, breaker:
            raise AssertionError
    assert breaker.state is State.HALF_OPEN
    assert not breaker._entered


async def test_two_breakers_on_one_stack(autojump_clock: MockClock) -> None:
    first, second = make(failure_threshold=1), make(failure_threshold=1)

    async def use_both() -> None:
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(first)
            await stack.enter_async_context(second)
            raise DialError("both")

    with pytest.raises(DialError):
        await use_both()
    assert first.state is second.state is State.OPEN


# -- against a model ------------------------------------------------------------------------------

FAILURE_THRESHOLD, SUCCESS_THRESHOLD, RECOVERY, PROBE = 3, 2, 30, 10
FAILURES: dict[str, Callable[[], Exception]] = {
    "refused": partial(DialError, "refused"),
    "forbidden": partial(HandshakeRefused, 403),
    "policy": partial(Dropped, "policy", POLICY_VIOLATION),
}


class Model:
    """The breaker again, as naive as can be."""

    def __init__(self) -> None:
        self.now = 0
        self.state = State.CLOSED
        self.retry_at: float = -INF
        self.failures = self.successes = 0
        self.factor = 1
        self.running: dict[int, float] = {}
        """Attempt → its deadline; the probe is the one that has one."""
        self.ended: dict[int, str] = {}

    @property
    def probe(self) -> int | None:
        return next((number for number, end in self.running.items() if end < INF), None)

    def admits(self) -> bool:
        if self.state is State.HALF_OPEN:
            return self.probe is None
        return self.state is State.CLOSED or self.now >= self.retry_at

    def begin(self, number: int) -> None:
        if not self.admits():
            self.ended[number] = "CircuitOpen"
            return
        if self.state is State.OPEN:
            self._enter(State.HALF_OPEN)
        half = self.state is State.HALF_OPEN
        self.running[number] = self.now + PROBE if half else INF

    def end(self, number: int, outcome: str) -> None:
        del self.running[number]
        self.ended[number] = outcome
        if outcome == "done":
            self.succeed()
        elif outcome in FAILURES:
            self.fail(outcome)

    def advance(self, seconds: int) -> None:
        target = self.now + seconds
        probe = self.probe
        if probe is not None and self.running[probe] <= target:
            self.now = int(self.running[probe])
            del self.running[probe]
            self.ended[probe] = "AttemptTimeout"
            self.fail("refused")
        self.now = target

    def succeed(self) -> None:
        if self.state is State.OPEN:
            return
        self.failures, self.factor = 0, 1
        self.successes += self.state is State.HALF_OPEN
        if self.successes == SUCCESS_THRESHOLD:
            self._enter(State.CLOSED)

    def fail(self, how: str) -> None:
        if self.state is State.OPEN:
            return
        self.failures += 1
        if how == "policy":
            self.factor = 2
        half = self.state is State.HALF_OPEN
        if half or how == "forbidden" or self.failures == FAILURE_THRESHOLD:
            self.retry_at = self.now + RECOVERY * self.factor
            self.ended |= dict.fromkeys(self.running, "CircuitOpen")
            self.running.clear()
            self._enter(State.OPEN)

    def _enter(self, state: State) -> None:
        self.state, self.failures, self.successes, self.factor = state, 0, 0, 1


class BreakerMachine(RuleBasedStateMachine):
    """Writes a script while the model runs; at the end the breaker plays it in virtual time."""

    def __init__(self) -> None:
        super().__init__()
        self.model = Model()
        self.script: list[tuple[tuple[Any, ...], tuple[Any, ...]]] = []
        self.attempts = 0

    def note(self, *step: Any) -> None:
        model = self.model
        seen = (model.state, model.retry_at, model.admits(), dict(model.ended), set(model.running))
        self.script.append((step, seen))

    @rule()
    def begin(self) -> None:
        self.model.begin(self.attempts)
        self.note("begin", self.attempts)
        self.attempts += 1

    @precondition(lambda self: self.model.running)
    @rule(data=st.data(), outcome=st.sampled_from(["done", "bug", "cancelled", *FAILURES]))
    def end(self, data: st.DataObject, outcome: str) -> None:
        number = data.draw(st.sampled_from(sorted(self.model.running)))
        self.model.end(number, outcome)
        self.note("end", number, outcome)

    @rule(seconds=st.sampled_from([0, 1, 9, 10, 29, 30, 31, 60]))
    def advance(self, seconds: int) -> None:
        self.model.advance(seconds)
        self.note("advance", seconds)

    @rule()
    def succeed(self) -> None:
        self.model.succeed()
        self.note("succeed")

    @rule(how=st.sampled_from(sorted(FAILURES)))
    def fail(self, how: str) -> None:
        self.model.fail(how)
        self.note("fail", how)

    def teardown(self) -> None:
        trio.run(self.replay, clock=MockClock(autojump_threshold=0))

    async def replay(self) -> None:
        start = trio.current_time()
        breaker = make(
            failure_threshold=FAILURE_THRESHOLD,
            success_threshold=SUCCESS_THRESHOLD,
            recovery_timeout=RECOVERY,
            probe_timeout=PROBE,
        )
        ended: dict[int, str] = {}
        running: dict[int, tuple[trio.CancelScope, trio.Event, list[str]]] = {}

        async def attempt(number: int) -> None:
            scope, told, orders = trio.CancelScope(), trio.Event(), []
            running[number] = scope, told, orders
            outcome = "cancelled"
            with scope:
                try:
                    async with breaker:
                        await told.wait()
                        if orders[0] == "bug":
                            raise LookupError
                        if orders[0] in FAILURES:
                            raise FAILURES[orders[0]]()
                    outcome = "done"
                except (AttemptTimeout, CircuitOpen) as error:
                    outcome = type(error).__name__
                except (LookupError, DialError, HandshakeRefused, Dropped):
                    outcome = orders[0]
            del running[number]
            ended[number] = outcome

        async with trio.open_nursery() as nursery:
            for step, seen in self.script:
                match step:
                    case ("begin", number):
                        nursery.start_soon(attempt, number)
                    case ("end", number, "cancelled"):
                        running[number][0].cancel()
                    case ("end", number, outcome):
                        running[number][2].append(outcome)
                        running[number][1].set()
                    case ("advance", seconds):
                        await trio.sleep(seconds)
                    case ("succeed",):
                        breaker.record_success()
                    case ("fail", how):
                        breaker.record_failure(FAILURES[how]())
                await wait_all_tasks_blocked()
                state = breaker.state, breaker.retry_at - start, breaker.admits(trio.current_time())
                assert (*state, ended, set(running)) == seen, step
            nursery.cancel_scope.cancel()


TestBreakerAgainstModel = BreakerMachine.TestCase
TestBreakerAgainstModel.settings = hypothesis_settings(
    max_examples=hypothesis_settings().max_examples * 3 // 2, stateful_step_count=30, deadline=None
)
