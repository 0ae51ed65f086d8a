"""Who is dialled next, and when: the exact series, the rotation, the freezes and the budget."""

from __future__ import annotations

import math
import random
from typing import TYPE_CHECKING, Any

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from k2trio.errors import ConnectionFailed, DialError, Dropped, GaveUp, HandshakeRefused
from k2trio.policy.breaker import CircuitBreaker, State
from k2trio.policy.failover import (
    CONNECT_WINDOW_S,
    CONNECTS_PER_WINDOW,
    RECHECK_S,
    Dial,
    Endpoint,
    Endpoints,
    Retries,
)
from k2trio.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trio.testing import MockClock

INF = math.inf
URLS = ("wss://a.test:1/stream", "wss://a.test:2/stream", "wss://b.test/stream")
"""Two endpoints of one venue and one of another."""
REFUSED = DialError("refused")


class Setting:
    """A failover list and one line's schedule."""

    def __init__(self, urls: Sequence[str] = URLS, seed: int = 1, **values: Any) -> None:
        given_values: dict[str, Any] = {
            "websocket_url": urls[0],
            "failover_urls": urls[1:],
            "reconnect_jitter": 0,
            "max_reconnect_attempts": 0,
            "enable_circuit_breaker": False,
            **values,
        }
        self.settings = Settings(**given_values)
        self.endpoints = Endpoints(
            [Endpoint.from_url(url, index, self.breaker) for index, url in enumerate(urls)],
            self.settings.recovery_timeout,
        )
        self.retries = Retries(self.endpoints, self.settings, random.Random(seed))

    def breaker(self, name: str) -> CircuitBreaker:
        return CircuitBreaker(
            name,
            failure_threshold=self.settings.failure_threshold,
            recovery_timeout=self.settings.recovery_timeout,
            enabled=self.settings.enable_circuit_breaker,
        )

    def __getitem__(self, index: int) -> Endpoint:
        return self.endpoints.all[index]

    def fail(
        self, endpoint: Endpoint, error: ConnectionFailed = REFUSED, *, stable: bool = False
    ) -> Dial:
        """What follows a failure at this moment."""
        now = trio.current_time()
        if stable:
            self.retries.stable()
        endpoint.breaker.record_failure(error)
        self.endpoints.failed(endpoint, now)
        self.retries.failed(endpoint, error, stable=stable)
        return self.retries.next(now)

    def open(self, index: int) -> None:
        self[index].breaker.record_failure(HandshakeRefused(451))
        assert self[index].breaker.state is State.OPEN


# -- when -----------------------------------------------------------------------------------------


async def test_the_delays_double_up_to_their_bound(autojump_clock: MockClock) -> None:
    world = Setting()
    dial = world.retries.first(trio.current_time())
    assert (dial.at, dial.attempt, dial.delay_s) == (trio.current_time(), 0, 0)
    delays = []
    for attempt in range(1, 9):
        failed_at = trio.current_time()
        dial = world.fail(dial.endpoint)
        assert dial.attempt == attempt
        assert dial.at - failed_at == pytest.approx(dial.delay_s)
        delays.append(dial.delay_s)
        await trio.sleep_until(dial.at)
    assert delays == [5, 10, 20, 40, 60, 60, 60, 60]


async def test_the_first_retry_after_a_stable_connection_is_immediate(
    autojump_clock: MockClock,
) -> None:
    world = Setting()
    dial = world.fail(world.fail(world[0]).endpoint)
    assert (dial.attempt, dial.delay_s) == (2, 10)
    dial = world.fail(dial.endpoint, stable=True)
    assert (dial.at, dial.attempt, dial.delay_s) == (trio.current_time(), 1, 0)
    assert [world.fail(dial.endpoint).delay_s for _ in range(3)] == [5, 10, 20]


async def test_an_opened_socket_resets_nothing(autojump_clock: MockClock) -> None:
    """Only ``stable()`` does: a connection that was up and was lost before that is a failure."""
    world = Setting(max_reconnect_attempts=4)
    lost = Dropped("closed after one message")
    assert [world.fail(world[0], lost).delay_s for _ in range(4)] == [5, 10, 20, 40]
    with pytest.raises(GaveUp):
        world.fail(world[0], lost)


def test_no_number_of_failures_breaks_the_arithmetic() -> None:
    world = Setting(reconnect_delay=0.5, max_reconnect_delay=7)
    delays = [world.retries.nominal_delay(n) for n in (0, 1, 2, 3, 4, 5, 10_000_000)]
    assert delays == [0, 0.5, 1, 2, 4, 7, 7]


@given(st.integers(0, 2**32), st.floats(0, 0.5), st.integers(1, 8))
def test_jitter_stays_within_its_share_and_never_halves_the_delay(
    seed: int, jitter: float, failures: int
) -> None:
    world = Setting(seed=seed, reconnect_jitter=jitter)
    for _ in range(failures):
        world.retries.failed(world[0], REFUSED, stable=False)
    dial = world.retries.next(1000.0)
    wait = dial.at - 1000
    assert dial.delay_s == world.retries.nominal_delay(failures)
    assert abs(wait - dial.delay_s) <= jitter * dial.delay_s + 1e-9
    assert wait >= dial.delay_s / 2 - 1e-9


def test_jitter_is_used_both_ways_and_differs_between_clients() -> None:
    waits = []
    for seed in range(200):
        world = Setting(seed=seed, reconnect_jitter=0.2)
        world.retries.failed(world[0], REFUSED, stable=False)
        waits.append(world.retries.next(0.0).at)
    assert 4 <= min(waits) < 4.1
    assert 5.9 < max(waits) <= 6
    assert len(set(waits)) == 200


@pytest.mark.parametrize("limit", [1, 2, 10])
async def test_it_gives_up_after_exactly_so_many_retries(
    limit: int, autojump_clock: MockClock
) -> None:
    world = Setting(max_reconnect_attempts=limit)
    for attempt in range(1, limit + 1):
        assert world.fail(world[0]).attempt == attempt
    last = Dropped("the last straw")
    with pytest.raises(GaveUp, match=f"after {limit} reconnect attempts.*last straw") as gave_up:
        world.fail(world[0], last)
    assert (gave_up.value.attempts, gave_up.value.last_failure) == (limit, last)
    assert gave_up.value.__cause__ is last


async def test_stable_gives_all_retries_back(autojump_clock: MockClock) -> None:
    world = Setting(max_reconnect_attempts=3)
    for _ in range(50):
        for _ in range(3):
            world.fail(world[0])
        world.retries.stable()


async def test_zero_means_never_give_up(autojump_clock: MockClock) -> None:
    world = Setting(max_reconnect_attempts=0)
    for _ in range(10_000):
        dial = world.fail(world[0])
    assert (dial.attempt, dial.delay_s) == (10_000, 60)


# -- who ------------------------------------------------------------------------------------------


async def test_each_failure_moves_on_to_the_next_in_the_list(autojump_clock: MockClock) -> None:
    world = Setting()
    dial = world.retries.first(trio.current_time())
    visited = []
    for _ in range(7):
        visited.append(dial.endpoint.index)
        dial = world.fail(dial.endpoint)
    assert visited == [0, 1, 2, 0, 1, 2, 0]


async def test_after_a_stable_connection_too(autojump_clock: MockClock) -> None:
    world = Setting()
    assert world.fail(world[1], stable=True).endpoint is world[2]
    assert world.fail(world[2], stable=True).endpoint is world[0]


async def test_a_single_endpoint_is_retried(autojump_clock: MockClock) -> None:
    world = Setting(URLS[:1])
    assert [world.fail(world[0]).endpoint.index for _ in range(3)] == [0, 0, 0]


async def test_open_breakers_are_passed_over(autojump_clock: MockClock) -> None:
    world = Setting(enable_circuit_breaker=True)
    world.open(1)
    dial = world.fail(world[0])
    assert (dial.endpoint, dial.delay_s) == (world[2], 5)
    assert world.fail(world[2]).endpoint is world[0]


async def test_a_breaker_that_will_admit_by_then_is_not_passed_over(
    autojump_clock: MockClock,
) -> None:
    world = Setting(enable_circuit_breaker=True, recovery_timeout=5)
    world.open(1)
    assert world.fail(world[0]).endpoint is world[1]


async def test_with_all_breakers_open_it_sleeps_until_the_first_may_be_probed(
    autojump_clock: MockClock,
) -> None:
    world = Setting(enable_circuit_breaker=True)
    start = trio.current_time()
    for index in (1, 2):
        world.open(index)
        await trio.sleep(2)
    dial = world.fail(world[0], HandshakeRefused(403))
    assert (dial.endpoint, dial.at) == (world[1], start + 30)
    assert dial.delay_s == 5  # what the gauge shows is the nominal delay


async def test_while_only_a_foreign_probe_is_in_the_way_it_looks_again_soon(
    autojump_clock: MockClock,
) -> None:
    world = Setting(URLS[:1], enable_circuit_breaker=True)
    world.open(0)
    await trio.sleep(30)
    async with world[0].breaker:
        now = trio.current_time()
        assert world.endpoints.admitted_from(world[0], now) == INF
        dial = world.retries.refused(now, Dial(world[0], now, 3, 20))
        assert (dial.at, dial.attempt, dial.delay_s) == (now + RECHECK_S, 3, 20)


async def test_a_refused_plan_keeps_its_number_and_goes_elsewhere(
    autojump_clock: MockClock,
) -> None:
    world = Setting(enable_circuit_breaker=True)
    dial = world.fail(world[0])
    await trio.sleep_until(dial.at)
    world.open(1)  # another line's doing
    again = world.retries.refused(trio.current_time(), dial)
    assert (again.endpoint, again.at, again.attempt) == (world[2], dial.at, dial.attempt)


# -- freezes --------------------------------------------------------------------------------------


async def test_retry_after_freezes_the_venue_and_no_other(autojump_clock: MockClock) -> None:
    world = Setting()
    now = trio.current_time()
    world.endpoints.freeze("a.test", now + 120)
    admitted = [world.endpoints.admitted_from(endpoint, now) for endpoint in world.endpoints.all]
    assert admitted == [now + 120, now + 120, now]
    assert [world.fail(world[index]).endpoint.index for index in (0, 1, 2)] == [2, 2, 2]


async def test_with_one_venue_a_freeze_is_waited_for(autojump_clock: MockClock) -> None:
    world = Setting(URLS[:2])
    now = trio.current_time()
    world.endpoints.freeze("a.test", now + 120)
    dial = world.fail(world[0])
    assert (dial.endpoint, dial.at) == (world[1], now + 120)


async def test_a_shorter_freeze_does_not_end_a_longer_one(autojump_clock: MockClock) -> None:
    world = Setting()
    for until in (100.0, 300.0, 200.0):
        world.endpoints.freeze("a.test", until)
    assert world.endpoints.admitted_from(world[0], 50.0) == 300
    assert world.endpoints.admitted_from(world[0], 300.0) == 300
    assert world.endpoints.admitted_from(world[0], 301.0) == 301


# -- the connect budget ---------------------------------------------------------------------------


def test_the_budget_at_its_exact_edge() -> None:
    world = Setting()
    for number in range(CONNECTS_PER_WINDOW):
        now = 1000.0 + number / 10
        assert world.endpoints.admitted_from(world[0], now) == now
        assert world.endpoints.budget_left("a.test", now) == CONNECTS_PER_WINDOW - number
        world.endpoints.dialled(world[number % 2], now)
    full = 1000 + CONNECT_WINDOW_S
    for now in (1030.0, full - 0.001):
        for index in (0, 1):
            assert world.endpoints.admitted_from(world[index], now) == full
        assert world.endpoints.admitted_from(world[2], now) == now
        assert world.endpoints.budget_left("a.test", now) == 0
        assert world.endpoints.budget_left("b.test", now) == CONNECTS_PER_WINDOW
    assert world.endpoints.admitted_from(world[0], full) == full
    assert world.endpoints.budget_left("a.test", full) == 1
    world.endpoints.dialled(world[0], full)
    assert world.endpoints.admitted_from(world[0], full) == full + 0.1


@given(st.lists(st.integers(0, 3), min_size=301, max_size=700))
def test_no_window_ever_holds_more_than_the_budget(pauses: list[int]) -> None:
    world = Setting()
    now = 0.0
    dials: list[float] = []
    for pause in pauses:
        now = world.endpoints.admitted_from(world[0], now + pause / 4)
        world.endpoints.dialled(world[0], now)
        dials.append(now)
    for first, beyond in zip(dials, dials[CONNECTS_PER_WINDOW:], strict=False):
        assert beyond - first >= CONNECT_WINDOW_S


# -- fail-back ------------------------------------------------------------------------------------


async def test_fail_back_keeps_its_distance_from_the_last_failure(
    autojump_clock: MockClock,
) -> None:
    world = Setting(enable_circuit_breaker=True)
    start = trio.current_time()
    assert world.endpoints.fail_back_from(world[0], start) == INF
    world.fail(world[0])
    await trio.sleep(4)
    # The breaker is closed, one failure does not open it: the distance is kept all the same.
    assert world.endpoints.fail_back_from(world[1], trio.current_time()) == start + 30
    await trio.sleep(40)
    assert world.endpoints.fail_back_from(world[1], trio.current_time()) == start + 44


async def test_fail_back_waits_for_the_breaker_the_freeze_and_the_probe(
    autojump_clock: MockClock,
) -> None:
    world = Setting(enable_circuit_breaker=True)
    start = trio.current_time()
    world.open(0)
    assert world.endpoints.fail_back_from(world[2], start) == start + 30
    world.endpoints.freeze("a.test", start + 70)
    assert world.endpoints.fail_back_from(world[2], start) == start + 70
    await trio.sleep(80)
    async with world[0].breaker:
        assert world.endpoints.fail_back_from(world[2], start + 80) == start + 80 + RECHECK_S


def test_without_a_failure_fail_back_is_due_at_once() -> None:
    world = Setting()
    assert world.endpoints.fail_back_from(world[1], 5.0) == 5.0


# -- companions -----------------------------------------------------------------------------------


def test_companion_lines_start_on_different_endpoints_of_the_first_venue() -> None:
    world = Setting()
    orders = [[e.index for e in world.endpoints.order(place)] for place in range(3)]
    assert orders == [[0, 1, 2], [1, 0, 2], [0, 1, 2]]


async def test_an_endpoint_of_rank_none_is_used_only_where_there_is_no_other(
    autojump_clock: MockClock,
) -> None:
    world = Setting()
    ranks: dict[int, int | None] = {0: 1, 1: None, 2: 0}
    retries = Retries(
        world.endpoints, world.settings, random.Random(1), rank=lambda e: ranks[e.index]
    )
    assert retries.first(0.0).endpoint is world[2]
    ranks.update({0: None, 2: None})
    assert retries.first(0.0).endpoint is world[0]


# -- endpoints and venues -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "name", "host", "port", "secure", "path"),
    [
        ("wss://a.test:9443/stream", "a.test:9443", "a.test", 9443, True, "/stream"),
        ("wss://a.test/x/stream", "a.test:443", "a.test", 443, True, "/x/stream"),
        ("ws://127.0.0.1", "127.0.0.1:80", "127.0.0.1", 80, False, "/"),
        ("ws://[::1]:8/stream", "[::1]:8", "::1", 8, False, "/stream"),
        ("wss://A.Test/stream", "a.test:443", "a.test", 443, True, "/stream"),
    ],
)
def test_an_endpoint_from_its_url(
    url: str, name: str, host: str, port: int, secure: bool, path: str
) -> None:
    endpoint = Endpoint.from_url(url, 3, CircuitBreaker)
    assert (endpoint.name, endpoint.host, endpoint.port) == (name, host, port)
    assert (endpoint.secure, endpoint.path, endpoint.index) == (secure, path, 3)
    assert endpoint.breaker.name == name


def test_two_ports_of_one_host_are_one_venue() -> None:
    world = Setting()
    assert [endpoint.venue for endpoint in world.endpoints.all] == ["a.test", "a.test", "b.test"]


def test_an_endpoint_knows_its_url_its_venue_and_what_it_is_asked_for() -> None:
    url = "wss://stream.unknown.test:9443/stream"
    endpoint = Endpoint.from_url(url, 0, CircuitBreaker, "usdm")
    assert (endpoint.url, endpoint.venue) == (url, "stream.unknown.test-usdm")
    assert Endpoint.from_url(url, 0, CircuitBreaker).venue == "stream.unknown.test"
    assert endpoint.takes_long_urls


@pytest.mark.parametrize(
    ("url", "route", "path"),
    [
        ("wss://a.test/stream", "", "/stream"),
        ("wss://a.test/stream", "market", "/market/stream"),
        ("wss://a.test/x/stream", "market", "/x/market/stream"),
    ],
)
def test_a_route_goes_before_the_last_part_of_the_path(url: str, route: str, path: str) -> None:
    assert Endpoint.from_url(url, 0, CircuitBreaker).path_of(route) == path


def test_a_venue_that_is_postponed_is_dialled_later_and_no_other() -> None:
    world = Setting()
    world.endpoints.postpone("a.test", 20.0)
    assert [world.endpoints.admitted_from(one, 5.0) for one in world.endpoints.all] == [20, 20, 5]
    assert world.endpoints.admitted_from(world[0], 25.0) == 25.0
    world.endpoints.postpone("a.test", 10.0)
    assert world.endpoints.admitted_from(world[0], 5.0) == 10.0, "it may be its turn earlier"


def test_a_line_goes_back_to_the_endpoint_that_is_its_own_first() -> None:
    world = Setting()
    world.endpoints.failed(world[1], 2.0)
    assert world.endpoints.fail_back_from(world[2], 5.0, world[1]) == 32.0
    assert world.endpoints.fail_back_from(world[1], 5.0, world[1]) == INF
    assert world.endpoints.fail_back_from(world[0], 5.0, world[1]) == 32.0


def test_a_line_dials_in_its_own_order_and_the_lowest_rank_of_those_that_may_be_dialled() -> None:
    world = Setting()
    order = world.endpoints.order(1)
    retries = Retries(world.endpoints, world.settings, random.Random(1), order)
    assert [one.index for one in retries.order] == [1, 0, 2]
    assert retries.first(3.0) == Dial(world[1], 3.0, 0, 0)
    ranks = {0: 2, 1: 1, 2: 1}
    ranked = Retries(
        world.endpoints, world.settings, random.Random(1), rank=lambda one: ranks[one.index]
    )
    assert ranked.first(0.0).endpoint is world[1], "of two of a rank the first in order"
    world.endpoints.postpone("a.test", 20.0)
    assert ranked.first(0.0).endpoint is world[2]
    ranks[2] = 9
    assert ranked.first(0.0).endpoint is world[2], "sooner goes before rank"


async def test_a_retry_says_how_many_there_were_and_how_long_it_was_to_wait(
    autojump_clock: MockClock,
) -> None:
    world = Setting()
    start = trio.current_time()
    assert world.fail(world[0]) == Dial(world[1], start + 5, 1, 5)
    second = world.fail(world[1])
    assert second == Dial(world[2], start + 10, 2, 10)
    assert world.retries.refused(start + 1, second) == Dial(world[2], start + 1, 2, 10)
    assert world.fail(world[2], stable=True) == Dial(world[0], start, 1, 0)


async def test_who_gives_up_says_why(autojump_clock: MockClock) -> None:
    world = Setting(max_reconnect_attempts=1)
    world.fail(world[0])
    with pytest.raises(GaveUp) as gave_up:
        world.fail(world[1])
    assert gave_up.value.__cause__ is REFUSED
    assert "refused" in str(gave_up.value)
    untried = Setting(max_reconnect_attempts=1)
    untried.retries.next(0.0)
    with pytest.raises(GaveUp, match="no attempt was made"):
        untried.retries.next(0.0)
