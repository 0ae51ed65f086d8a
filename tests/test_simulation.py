"""Every invariant, over many seeds; see ``simulation.py`` for what a seed decides."""

from __future__ import annotations

import dataclasses
from itertools import product
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from halves import quick_and_slow
from simulated.campaign import run_checked, run_seed
from simulated.invariants import check
from simulated.invariants.sent import what_was_sent_is_delivered_or_named
from simulated.invariants.silence import silence_is_not_kept, silence_is_not_stable
from simulated.plan import DRAWN, FUTURES_WEIGHT, PRODUCTS, make_plan
from simulated.run import live
from simulated.violation import Violation

from k2trio.continuity.items import Gap, Outage
from k2trio.market.payloads import Event
from k2trio.market.streams import by_route
from k2trio.observe import transitions as on
from k2trio.simulator import Fault, FaultKind

if TYPE_CHECKING:
    from simulated.plan import Plan
    from simulated.run import Run

HOURS = 0.6
SEEDS = range(200)
FUTURES_SEEDS = range(60)
"""The same where futures are traded."""
TAKEOVER_SEEDS = range(10)
"""Their logs change hands in any case."""
CALM_SEEDS = range(20)
FOUND = [
    (20402, 1.0, "usdm", False),  # a journal in which the clock was set back over midnight
    (22, 0.6, "spot", True),  # the same
    (57, 0.6, "spot", True),  # a short bar, repaired behind one that was held
    (88, 0.6, "spot", True),  # a dead line that vouched for another one's streams
    (202, 1.0, "spot", True),  # ids that began anew by two
    (203, 1.0, "spot", True),  # changes of venue of a log that is written in parts
    (310, 1.0, "spot", True),  # a takeover while the connection of the new owner was away
    (350, 1.0, "spot", True),  # ids that began anew and leapt while the log was elsewhere
    (392, 1.0, "spot", True),  # of numberings that began later nothing is asked
]
"""Seed, hours, product, and whether its log changes hands."""
CATALOGUE = [
    FaultKind.IDS_RESET,
    FaultKind.ABSURD_KEY,
    FaultKind.SHARED_ID,
    FaultKind.HALT,
    FaultKind.DEAD_STANDBY,
    FaultKind.LOST_STREAM,
    FaultKind.REPLACEMENT_DEAD,
    FaultKind.REST_KEY,
    FaultKind.REST_LAG,
    FaultKind.REST_HANG,
]
"""Kinds that are rare in a mixture, and so have seeds of their own."""
KINDS_AT_LEAST = 40
"""At least so many kinds of faults must occur in the seeds that CI runs."""


@pytest.mark.parametrize("seed", quick_and_slow(SEEDS))
def test_every_invariant_holds(seed: int) -> None:
    run_seed(seed, HOURS)


@pytest.mark.parametrize("seed", quick_and_slow(FUTURES_SEEDS))
def test_every_invariant_holds_of_futures(seed: int) -> None:
    run_seed(seed, HOURS, product="usdm")


def test_campaigns_draw_the_product_and_all_else_is_as_it_is_of_that_product() -> None:
    drawn = [make_plan(seed, HOURS, product=DRAWN) for seed in range(20)]
    assert {plan.product for plan in drawn} == {"spot", "usdm"}
    for plan in drawn:
        assert plan == make_plan(plan.seed, HOURS, product=plan.product)
    assert sum(plan == make_plan(plan.seed, HOURS) for plan in drawn) >= 5  # what seeds were before


def test_the_seeds_of_futures_come_on_either_route_and_on_both() -> None:
    plans = [make_plan(seed, HOURS, product="usdm") for seed in FUTURES_SEEDS]
    routes = {tuple(sorted(by_route(plan.streams, "usdm"))) for plan in plans}
    assert routes == {("market",), ("public",), ("market", "public")}
    assert {name.partition("@")[2] for plan in plans for name in plan.streams} >= {
        "aggTrade",
        "bookTicker",
        "depth@500ms",
        "markPrice",
        "kline_1m",
    }


@pytest.mark.parametrize("seed", quick_and_slow(TAKEOVER_SEEDS))
@pytest.mark.parametrize("product", PRODUCTS)
def test_every_invariant_holds_of_a_log_that_changes_hands(seed: int, product: str) -> None:
    run_seed(seed, HOURS, takeovers=True, product=product)


@pytest.mark.slow
@pytest.mark.parametrize(("seed", "hours", "product", "takeovers"), FOUND)
def test_what_seeds_have_found_stays_mended(
    seed: int, hours: float, product: str, takeovers: bool
) -> None:
    run_seed(seed, hours, product=product, takeovers=takeovers)


def test_the_seeds_take_over_cold_and_hot_and_in_every_way() -> None:
    drawn = [make_plan(seed, HOURS, takeovers=True).takeovers for seed in TAKEOVER_SEEDS]
    plans = [plan for plan in drawn if plan is not None]
    assert {plan.standby for plan in plans} == {"cold", "hot"}
    deeds = {one.deed for plan in plans for one in plan.handovers}
    assert deeds == {"kill", "end", "move", "lose"}


@pytest.mark.parametrize("seed", quick_and_slow(CALM_SEEDS))
def test_a_calm_exchange_causes_nothing_but_planned_rotation(seed: int) -> None:
    report = run_seed(seed, 3.0, faults=False)
    assert report.reconnects == 0
    assert report.missing == 0


def test_the_seeds_cover_the_catalogue() -> None:
    kinds = {fault.kind for seed in SEEDS for fault in make_plan(seed, HOURS).faults}
    assert len(kinds) >= KINDS_AT_LEAST, sorted(set(FaultKind) - kinds)


def test_the_same_seed_gives_the_same_trace() -> None:
    """The canary for Trio's private scheduling: every step of every task, twice the same."""
    first = run_seed(3, 0.5, trace=True)
    again = run_seed(3, 0.5, trace=True)
    other = run_seed(4, 0.5, trace=True)
    assert (first.trace, first.steps) == (again.trace, again.steps)
    assert first.trace != other.trace
    assert first.steps > 1000


TWO_ROUTES: dict[str, Any] = {
    "product": "usdm",
    "streams": ("btcusdt@aggTrade", "btcusdt@depth@500ms"),
    "rest_weight": FUTURES_WEIGHT,
}


def calm_plan(*faults: Fault, **values: Any) -> Plan:
    """Nothing goes wrong in it but what is given."""
    return dataclasses.replace(make_plan(0, 1.2, faults=False), faults=faults, **values)


def test_the_end_of_a_run_meets_no_fault_that_was_drawn_before_it() -> None:
    """One that waits armed for an attempt would meet a planned rotation there."""
    armed = Fault(at=10, endpoint="a", kind=FaultKind.BAD_ACCEPT, count=2)
    plan = calm_plan(armed, rotate_after=3600.0, redundancy=1, hours=1.05)
    assert run_checked(plan).rotations == 1


@pytest.mark.parametrize(("kind", "seed"), quick_and_slow(product(CATALOGUE, range(100, 106))))
def test_every_invariant_holds_where_one_kind_of_fault_is_frequent(
    kind: FaultKind, seed: int
) -> None:
    run_seed(seed, 1.0, kinds=[kind])


def test_a_violation_names_the_command_that_repeats_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def twice(run: Run) -> None:
        run.items.append(run.items[-1])
        check(run)

    monkeypatch.setattr("simulated.campaign.check", twice)
    with pytest.raises(Violation, match=r"--seed 5 --length 0\.6"):
        run_seed(5, HOURS)


def test_the_checks_see_a_lost_message() -> None:
    """A feed that swallowed one message would not pass."""
    run = live(make_plan(5, HOURS))
    check(run)
    del run.items[len(run.items) // 2]
    with pytest.raises(Violation, match="invariant 1"):
        check(run)


@pytest.mark.parametrize("kind", ["bookTicker", "ticker", "depth5", "kline_1m", "depth"])
def test_the_checks_see_what_was_sent_and_is_neither_delivered_nor_named(kind: str) -> None:
    stream = f"btcusdt@{kind}"
    run = live(calm_plan(streams=(stream,), rate=1.0))
    check(run)
    at = len(run.items) // 2
    while kind == "kline_1m" and not run.items[at].data.bar.closed:
        at += 1
    del run.items[at], run.times[at]
    with pytest.raises(Violation, match=r"invariant (1|16): .*" + stream):
        check(run)


@pytest.mark.parametrize("kind", ["depth", "trade"])
def test_the_checks_know_a_gap_that_is_read_after_ids_began_anew(kind: str) -> None:
    """It names ids of the numbering that it was declared in, and no others."""
    faults = [
        Fault(at=100, endpoint="*", kind=FaultKind.OUTAGE, duration=30),
        Fault(at=100, endpoint="first.rest0", kind=FaultKind.REST_REFUSED, duration=100),
        Fault(at=300, endpoint="*", kind=FaultKind.IDS_RESET, by=1_000_000),
    ]
    run = live(calm_plan(*faults, streams=(f"btcusdt@{kind}",), rate=1.0, redundancy=1))
    what_was_sent_is_delivered_or_named(run)
    # The consumer does not read for so long.
    run.times = [400.0 if 50 < at < 400 else at for at in run.times]
    what_was_sent_is_delivered_or_named(run)
    (gap,) = [item for item in run.items if isinstance(item, Gap) and item.reason != "reset"]
    place = run.items.index(gap)
    for wrong in (
        msgspec.structs.replace(gap, last=gap.last - 1),
        msgspec.structs.replace(gap, first=gap.first + 1),
    ):
        run.items[place] = wrong
        with pytest.raises(Violation, match="invariant 16"):
            what_was_sent_is_delivered_or_named(run)


@pytest.mark.parametrize(("by", "named"), [(17, False), (1_000, True)])
def test_ids_that_begin_anew_by_little_and_have_no_time_look_like_copies(
    by: int, named: bool
) -> None:
    """For some seconds: a limit that the documents tell."""
    anew = Fault(at=600.3, endpoint="a", kind=FaultKind.IDS_RESET, by=by)
    run = live(calm_plan(anew, streams=("btcusdt@bookTicker",), rate=1.0))
    check(run)
    assert any(isinstance(item, Outage) for item in run.items) == named


def test_of_two_trades_with_one_id_the_second_may_lie_in_the_gap_behind_them() -> None:
    twins = Fault(at=600, endpoint="a", kind=FaultKind.SHARED_ID)
    run = live(calm_plan(twins, streams=("btcusdt@aggTrade",), rate=1.0))
    what_was_sent_is_delivered_or_named(run)
    ids = [item.data.agg_id for item in run.items if isinstance(item, Event)]
    assert len(ids) == len(run.items)
    (second,) = [n for n in range(1, len(ids)) if ids[n] == ids[n - 1]]
    behind, missing = run.items[second + 1], ids[second] + 1
    gap = Gap(behind.venue, behind.stream, missing, missing, "not_repaired")
    del run.items[second], run.times[second]
    run.items[second] = gap
    what_was_sent_is_delivered_or_named(run)
    run.items[second] = behind
    with pytest.raises(Violation, match="of two trades"):
        what_was_sent_is_delivered_or_named(run)


def test_the_checks_see_late_output() -> None:
    run = live(calm_plan())
    check(run)
    run.times[len(run.times) // 2] += 20
    with pytest.raises(Violation, match="invariant 17"):
        check(run)


@pytest.mark.slow
@pytest.mark.parametrize("values", [{}, TWO_ROUTES], ids=["spot", "one of two routes"])
def test_the_checks_see_a_connection_that_is_called_stable_and_kept_in_silence(
    values: dict[str, Any],
) -> None:
    """As it would be if nobody looked for silence."""
    dead = Fault(at=0, endpoint="a", kind=FaultKind.SUBSCRIBE_DEAD)
    run = live(calm_plan(dead, redundancy=1, rate=1.0, **values))
    check(run)
    ((lost, line),) = [
        (at, what.line) for at, what in run.diary if isinstance(what, on.ConnectionLost)
    ]
    stable = on.BecameStable(line, "first.test:1097")
    run.diary.append((lost - 1, stable))
    with pytest.raises(Violation, match="invariant 18"):
        silence_is_not_stable(run)
    run.diary = [entry for entry in run.diary if entry[0] < lost - 1]
    with pytest.raises(Violation, match="invariant 19"):
        silence_is_not_kept(run)


@pytest.mark.slow
@pytest.mark.parametrize(("rate", "known"), [(1.0, False), (10.0, True)])
def test_of_a_rare_kind_no_more_is_asked_than_its_rhythm_tells(rate: float, known: bool) -> None:
    """A lone line loses its liquidations; the next rotation brings them back, and tells nothing."""
    rare = "!forceOrder@arr"
    lost = Fault(at=2000, endpoint="a", kind=FaultKind.LOST_STREAM, stream=rare)
    two: dict[str, Any] = TWO_ROUTES | {"streams": ("btcusdt@aggTrade", rare)}
    run = live(calm_plan(lost, redundancy=1, rate=rate, rotate_after=3600.0, **two))
    check(run)
    named = [item for item in run.items if isinstance(item, Outage) and item.stream == rare]
    assert bool(named) == known


def test_the_checks_see_another_venues_message() -> None:
    run = live(make_plan(5, HOURS))
    event = run.items[-1]
    run.items[-1] = msgspec.structs.replace(event, data=run.items[0].data)
    with pytest.raises(Violation, match="invariant"):
        check(run)
