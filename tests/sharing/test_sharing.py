"""Budgets joined to a ledger: what feeds of one address do, and what is done without the file."""

from __future__ import annotations

import fcntl
import random
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
import trio
from rest import Rest, agg_rows, asked, status
from world import make_settings

from k2trio.client.opening import open_feed
from k2trio.market.streams import parse_stream
from k2trio.observe import transitions as on
from k2trio.observe.history import History
from k2trio.policy.budget import Budget
from k2trio.policy.failover import CONNECTS_PER_WINDOW
from k2trio.proxies import DIRECT, Proxies
from k2trio.repair.hosts import BackfillError
from k2trio.repair.rest import Backfill
from k2trio.sharing import sharing as module
from k2trio.sharing.dials import LAST_DIALS
from k2trio.sharing.sharing import REFRESH_S, Sharing, open_sharing
from k2trio.sharing.stores import Memory, SharedFile
from k2trio.simulator import (
    Exchange,
    FaultBoard,
    Limits,
    Market,
    MemoryNetwork,
    RestLimits,
    RestServer,
)
from k2trio.web.status import Reporter

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

    from k2trio.observe.transitions import Transition

VENUE = "venue.test"
URL = f"https://{VENUE}"
STREAMS = ["btcusdt@trade", "btcusdt@aggTrade", "btcusdt@depth"]
WEIGHT = 300
AGGS = parse_stream("btcusdt@aggTrade")


class Address:
    """One address: an exchange that counts by it, and feeds that run there."""

    def __init__(self, **limits: Any) -> None:
        board = FaultBoard()
        self.network = MemoryNetwork(board)
        market = Market(["BTCUSDT"], seed=1, rate=1)
        self.exchange = Exchange("venue", market, faults=board, limits=Limits(**limits))
        self.network.add(VENUE, 1, self.exchange, "a")
        self.rest = RestServer(self.exchange, "rest", RestLimits(weight_per_minute=WEIGHT))
        self.network.add_rest(VENUE, self.rest)
        self.diary: list[Transition] = []
        self._running = False

    @property
    def refusals(self) -> int:
        return self.exchange.truth.outcomes().get("http_429", 0) + self.rest.quota.refused

    @asynccontextmanager
    async def feeds(
        self, count: int, ledger: Memory | None, lines: int = len(STREAMS), **values: Any
    ) -> AsyncGenerator[list[Any]]:
        settings = make_settings(
            [f"wss://{VENUE}:1/stream"],
            rest_urls=[f"https://{VENUE}"],
            streams=STREAMS,
            streams_per_connection=len(STREAMS) // lines,
            reconnect_delay=0.1,
            max_reconnect_delay=0.1,
            max_reconnect_attempts=0,
            enable_circuit_breaker=False,
            rest_weight_limit=WEIGHT,
            **values,
        )
        opened: list[Any] = []

        async def run(number: int, task_status: Any) -> None:
            async with open_feed(
                settings=settings,
                dial=lambda endpoint: self.network.dial(endpoint.host, endpoint.port),
                rng=random.Random(number),
                observers=[self.diary.append],
                backfill_transport=self.network.rest_transport(),
                suspended=lambda: 0.0,
                ledger=ledger,
            ) as feed:
                opened.append(feed)
                task_status.started()
                async for _ in feed.batches():
                    pass

        async with trio.open_nursery() as nursery:
            if not self._running:
                self._running = True
                await nursery.start(self.network.run)
            for number in range(count):
                await nursery.start(run, number)
            yield opened
            nursery.cancel_scope.cancel()


@pytest.mark.slow
async def test_six_feeds_of_one_address_use_the_budget_and_are_never_refused(
    autojump_clock: Any,
) -> None:
    """Each connection lasts a second, so each feed alone would dial 900 times in 5 minutes."""
    address = Address(lifetime_s=1.0)
    async with address.feeds(6, Memory(), lines=1) as feeds:
        await trio.sleep(80)
        left = {feed.endpoints.budget_left(VENUE, trio.current_time()) for feed in feeds}
        assert left == {CONNECTS_PER_WINDOW * LAST_DIALS}
        await trio.sleep(300)
    assert address.refusals == 0
    dials = address.exchange.truth.outcomes()["accepted"]
    assert dials >= 0.9 * 2 * CONNECTS_PER_WINDOW  # of the windows that begin at 0 and at 300


async def test_dials_that_arrived_late_do_not_make_those_of_the_next_window_too_many(
    autojump_clock: Any,
) -> None:
    """The exchange counts what arrives, also of one feed alone."""
    address = Address(lifetime_s=0.1)
    address.network.latency_s = 0.2
    async with address.feeds(1, None):
        await trio.sleep(5)
        address.network.latency_s = 0.0
        await trio.sleep(305)
    assert address.exchange.truth.outcomes()["accepted"] > CONNECTS_PER_WINDOW
    assert address.refusals == 0


async def test_six_feeds_that_share_nothing_are_refused(autojump_clock: Any) -> None:
    address = Address(lifetime_s=1.0)
    async with address.feeds(6, None):
        await trio.sleep(60)
    assert address.refusals > 0


async def test_a_feed_that_flaps_leaves_others_the_dials_that_they_need(
    autojump_clock: Any,
) -> None:
    address, ledger = Address(lifetime_s=1.0), Memory()
    async with address.feeds(6, ledger):
        await trio.sleep(100)  # all that they may have is gone
        before = address.exchange.truth.outcomes()["accepted"]
        async with address.feeds(1, ledger):
            await trio.sleep(0.9)
        assert address.exchange.truth.outcomes()["accepted"] == before + len(STREAMS)


async def test_a_ban_that_one_feed_meets_stops_the_dials_of_all(autojump_clock: Any) -> None:
    address, ledger = Address(lifetime_s=5.0, connects=5), Memory()
    async with address.feeds(1, ledger):
        await trio.sleep(10)
        async with address.feeds(1, ledger):
            await trio.sleep(60)
    assert address.exchange.truth.outcomes() == {"accepted": 5, "http_429": 1}
    learnt = [what for what in address.diary if isinstance(what, on.FrozenByAnother)]
    assert [what.venue for what in learnt] == [VENUE]


def member(ledger: Any, emit: Any = lambda _: None) -> tuple[Sharing, Budget]:
    """A budget that is joined to a ledger."""
    sharing = Sharing(ledger, emit)
    budget = Budget(100)
    sharing.join("weight", VENUE, URL, budget, lambda _: None)
    return sharing, budget


def backfill(rest: Rest, ledger: Memory) -> Backfill:
    settings = make_settings(["wss://v.test:9/stream"], rest_urls=["https://v.test:1"])
    return Backfill(["v.test"], settings, transport=rest, sharing=Sharing(ledger, lambda _: None))


async def test_a_ban_that_one_meets_over_rest_stops_the_requests_of_all(
    autojump_clock: Any,
) -> None:
    ledger = Memory()
    banned = Rest(lambda _: status(418, Retry_After="120"))
    well = Rest(lambda request: agg_rows([asked(request)[0]]))
    one, other = backfill(banned, ledger), backfill(well, ledger)
    with pytest.raises(BackfillError):
        await one.page("v.test", AGGS, 1, 2)
    await one.aclose()
    await other.page("v.test", AGGS, 1, 2)
    assert well.times == [120]


async def test_what_was_turned_to_before_a_ban_is_not_sent_after_it(autojump_clock: Any) -> None:
    rest = Rest(lambda request: agg_rows([asked(request)[0]]))
    repair = backfill(rest, Memory())
    async with repair.turn("v.test", 4) as turn:
        repair.budget("v.test").freeze(trio.current_time() + 30)
        await repair.page("v.test", AGGS, 1, 2, turn)
    assert rest.times == [30]


# -- a file that cannot be used: real time --------------------------------------------------------


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RETRY_S", 0.2)
    monkeypatch.setattr(module, "TIMEOUT_S", 0.8)


async def test_a_file_that_another_holds_is_not_waited_for_and_used_again_when_it_is_free(
    tmp_path: Path, short: None
) -> None:
    told: list[on.BudgetSharing] = []
    path = tmp_path / "budget"
    sharing, budget = member(SharedFile(path), told.append)
    assert await sharing.settle()
    with path.open("r+b") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        began_at = trio.current_time()
        wish = budget.wish(4, began_at)
        assert not await sharing.settle()
        assert trio.current_time() - began_at < 2.0
        assert budget.admit(trio.current_time()) == [wish]  # each for itself
        for _ in range(3):
            await trio.sleep(0.25)
            began_at = trio.current_time()
            assert not await sharing.settle()
            # Its thread still waits: no second one, and nobody waits for that.
            assert trio.current_time() - began_at < module.TIMEOUT_S
        assert sharing.problem
    for _ in range(100):
        if await sharing.settle():
            break
        await trio.sleep(0.05)
    assert sharing.problem == ""
    assert [bool(what.problem) for what in told] == [False, True, False]
    another, mirror = member(SharedFile(path))
    assert await another.settle()
    assert mirror.left(trio.current_time()) == 96  # what was spent meanwhile is known


async def test_a_file_that_cannot_be_is_told_once_and_each_counts_for_itself(
    tmp_path: Path, short: None
) -> None:
    told: list[on.BudgetSharing] = []
    sharing, budget = member(SharedFile(tmp_path / "no" / "budget"), told.append)
    for _ in range(3):
        assert not await sharing.settle()
        await trio.sleep(0.25)
    assert [what.problem for what in told] == [sharing.problem]
    assert "directory does not exist" in sharing.problem
    budget.wish(60, trio.current_time())
    assert len(budget.admit(trio.current_time())) == 1


async def test_a_feed_whose_file_does_not_answer_delivers_and_says_so(
    tmp_path: Path, short: None
) -> None:
    path = tmp_path / "budget"
    sharing, _ = member(SharedFile(path))
    await sharing.settle()
    address = Address()
    with path.open("r+b") as held, trio.fail_after(10):
        fcntl.flock(held, fcntl.LOCK_EX)
        async with address.feeds(1, None, shared_budget=path) as feeds:
            await trio.sleep(2.5)
            assert any(isinstance(what, on.Flowing) for what in address.diary)
            told = [what for what in address.diary if isinstance(what, on.BudgetSharing)]
            assert [(what.path, bool(what.problem)) for what in told] == [(str(path), True)]
            assert feeds[0].metrics.registry.get_sample_value("k2_binance_budget_unshared") == 1
            report = Reporter(feeds[0], History(time.time), version="1").report()
            assert [text for text in report.warnings if "budgets are not shared" in text]


async def test_four_hundred_that_wait_at_once_settle_in_a_few_turns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    turns: list[int] = []
    change = SharedFile.change

    def counted(self: SharedFile, *args: Any) -> Any:
        turns.append(1)
        return change(self, *args)

    monkeypatch.setattr(SharedFile, "change", counted)
    sharing, _ = member(SharedFile(tmp_path / "budget"))
    async with trio.open_nursery() as nursery:
        for _ in range(400):
            nursery.start_soon(sharing.settle)
    assert len(turns) <= 2


def test_venues_on_this_machine_share_only_a_file_that_is_named(tmp_path: Path) -> None:
    """By default: two simulators have nothing in common but the address."""
    for shared, venue, joined in (
        ("auto", "127.0.0.1", False),
        ("auto", "localhost", False),
        ("auto", "binance.com", True),
        (tmp_path / "budget", "127.0.0.1", True),
    ):
        settings = make_settings(["wss://v.test:9/stream"], shared_budget=shared)

        async def main() -> bool:
            sharing = open_sharing(settings)  # noqa: B023 - run at once
            assert sharing is not None
            return sharing.join("dials", venue, URL, Budget(1), lambda _: None)  # noqa: B023

        assert trio.run(main) is joined


async def test_what_goes_by_a_proxy_is_counted_by_its_address(autojump_clock: Any) -> None:
    ledger = Memory()
    budgets: list[Budget] = []
    for proxy in (None, "http://name:secret@proxy.test:3128", "http://proxy.test:3128"):
        sharing, budget = Sharing(ledger, lambda _: None, Proxies(proxy or DIRECT)), Budget(100)
        sharing.join("weight", VENUE, URL, budget, lambda _: None)
        budget.wish(40, trio.current_time())
        await sharing.settle()
        budgets.append(budget)
    assert [budget.left(trio.current_time()) for budget in budgets] == [60, 60, 20]


async def test_what_others_do_is_known_within_a_second(autojump_clock: Any) -> None:
    ledger = Memory()
    one, spending = member(ledger)
    other, looking = member(ledger)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(other.run)
        spending.wish(40, trio.current_time())
        await one.settle()
        await trio.sleep(REFRESH_S)
        assert looking.left(trio.current_time()) == 60
        nursery.cancel_scope.cancel()
