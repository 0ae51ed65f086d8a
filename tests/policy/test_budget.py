"""Who may ask next: order, headroom, overtaking, and the size of a snapshot; pure."""

from __future__ import annotations

import math
import random
from typing import Any

import pytest

from k2trio.policy.budget import (
    BOOKS_LEAVE,
    SHOWN_WISHES,
    WEIGHT_WINDOW_S,
    Budget,
    Counted,
    View,
    Wish,
)
from k2trio.policy.tally import Spent


def spend(budget: Budget, weight: int, now: float, times: int = 1, leaves: float = 0.0) -> None:
    """Wishes that come true at once."""
    for _ in range(times):
        wish = budget.wish(weight, now, leaves)
        assert budget.admit(now) == [wish]


def test_what_can_be_paid_is_admitted_at_once_and_what_cannot_when_weight_is_free_again() -> None:
    budget = Budget(1000)
    spend(budget, 4, 0.0, 250)
    wish = budget.wish(4, 1.0)
    assert budget.admit(1.0) == []
    assert budget.next_look(1.0) == 60.0
    assert budget.admit(59.9) == []
    assert budget.admit(60.0) == [wish]
    assert budget.waiting == 0


def test_of_wishes_of_one_time_the_cheap_ones_go_first_and_of_one_weight_the_old_ones() -> None:
    budget = Budget(100)
    spend(budget, 4, 0.0, 25)
    old_book, book = budget.wish(50, 1.0), budget.wish(50, 2.0)
    page, trades = budget.wish(4, 2.0), budget.wish(25, 2.0)
    admitted: list[Wish] = []
    now = 2.0
    while budget.waiting:
        now = budget.next_look(now)
        admitted += budget.admit(now)
    assert admitted == [page, trades, old_book, book]


def test_a_dear_wish_that_has_waited_for_long_goes_before_a_cheap_one() -> None:
    budget = Budget(100)
    spend(budget, 4, 0.0, 25)
    book, page = budget.wish(50, 1.0), budget.wish(4, 6.0)
    assert book.due_at < page.due_at
    assert budget.admit(60.0) == [book, page]


def test_requests_for_books_and_dear_pages_leave_headroom_to_others() -> None:
    budget = Budget(3000)
    for _ in range(1000):
        budget.wish(5, 0.0, BOOKS_LEAVE)
    assert len(budget.admit(0.0)) == 480  # four fifths
    for _ in range(30):
        budget.wish(25, 1.0)
    assert len(budget.admit(1.0)) == 12  # nine tenths
    spend(budget, 4, 2.0, 75)
    assert budget.admit(59.0) == []


def test_however_many_books_wait_there_is_room_for_pages_in_every_minute() -> None:
    budget, now = Budget(3000), 0.0
    for _ in range(2000):
        budget.wish(5, now, BOOKS_LEAVE)
    for _ in range(4):
        books = [wish for wish in budget.admit(now) if wish.leaves == BOOKS_LEAVE]
        assert sum(wish.weight for wish in books) <= 2400
        for step in range(6):
            spend(budget, 25, now + 10 * step)
        now += 60.0


def test_a_dear_wish_is_overtaken_for_a_fifth_of_the_budget_and_then_no_more() -> None:
    """Four pages a second leave a book nothing of a budget of 1000, for ever."""
    budget = Budget(1000)
    admitted_at: dict[Wish, float] = {}
    book: Wish | None = None
    for step in range(1200):
        now = step / 4
        page = budget.wish(4, now)
        if step == 360:
            book = budget.wish(250, now)
        admitted_at |= dict.fromkeys(budget.admit(now), now)
        if book is None or now < 115:  # where the book stands in the queue
            assert admitted_at[page] == now
    assert book is not None
    assert 115 < admitted_at[book] < 115 + WEIGHT_WINDOW_S
    overtook = [wish for wish, at in admitted_at.items() if wish.overtook]
    assert sum(wish.weight for wish in overtook) >= 200


@pytest.mark.parametrize("seed", range(20))
def test_no_window_ever_has_more_than_the_limit_and_no_wish_is_forgotten(seed: int) -> None:
    rng = random.Random(seed)
    budget, spent, now = Budget(1000), list[tuple[float, int]](), 0.0
    made = 0
    while now < 600 or budget.waiting:
        if now < 600 and rng.random() < 0.7:
            wish = budget.wish(rng.choice([2, 4, 5, 25, 50, 250]), now)
            made += 1
            if rng.random() < 0.1:
                budget.give_back(wish)
                made -= 1
        spent += [(now, wish.weight) for wish in budget.admit(now)]
        now += rng.choice([0.0, 0.1, 1.0, 7.3])
    assert len(spent) == made
    for at, _ in spent:
        assert sum(w for when, w in spent if at <= when < at + WEIGHT_WINDOW_S) <= 1000


def test_what_is_given_back_can_be_spent_by_others() -> None:
    budget = Budget(100)
    spend(budget, 4, 0.0, 15)
    unused = budget.wish(25, 0.0)
    assert budget.admit(0.0) == [unused]
    other, withdrawn = budget.wish(25, 1.0), budget.wish(25, 2.0)
    assert budget.admit(2.0) == []
    budget.give_back(withdrawn)
    budget.give_back(unused)
    assert budget.admit(2.0) == [other]
    assert budget.waiting == 0


def test_nothing_is_admitted_while_the_venue_wants_no_requests() -> None:
    budget = Budget(100)
    budget.freeze(17.0)
    budget.freeze(5.0)
    wish = budget.wish(4, 1.0)
    assert (budget.admit(16.9), budget.next_look(1.0)) == ([], 17.0)
    assert budget.admit(17.0) == [wish]


@pytest.mark.parametrize(
    ("books", "levels"),
    [(1, 5000), (9, 5000), (10, 1000), (40, 1000), (48, 1000), (49, 500), (96, 500), (97, 100),
     (1000, 100)],
)  # fmt: skip
def test_a_snapshot_is_as_deep_as_all_books_could_have_it_from_one_budget(
    books: int, levels: int
) -> None:
    assert Budget(3000).levels(books, 0.0)[0] == levels


@pytest.mark.parametrize(
    ("spent", "levels"),
    [(2150, 5000), (2151, 1000), (2350, 1000), (2351, 500), (2375, 500), (2376, 100), (3000, 100)],
)
def test_a_snapshot_is_no_deeper_than_what_is_left_can_pay(spent: int, levels: int) -> None:
    budget = Budget(3000)
    spend(budget, 1, 0.0, spent)
    assert budget.levels(1, 0.0)[0] == levels


def test_the_less_is_left_the_longer_gaps_are_collected() -> None:
    budget = Budget(3000)
    waits: list[float] = []
    for _ in range(4):
        waits.append(budget.collecting_s(0.0))
        spend(budget, 5, 0.0, 150)
    waits.append(budget.collecting_s(0.0))
    assert waits == [0.0, 0.0, 0.0, 1.25, 2.5]
    assert budget.collecting_s(60.0) == 0.0


# -- how deep a snapshot is -----------------------------------------------------------------------


def test_a_snapshot_is_told_with_its_weight_and_is_no_deeper_than_wanted() -> None:
    budget = Budget(3000)
    assert budget.levels(1, 0.0) == (5000, 250)
    assert budget.levels(1, 0.0, most=700) == (700, 50), "it weighs what the next larger does"
    assert budget.levels(1, 0.0, most=1000) == (1000, 50)
    assert budget.levels(1000, 0.0, most=700) == (100, 5)
    assert budget.levels(1000, 0.0, most=50) == (50, 5)
    assert budget.levels(0, 0.0, most=100) == (100, 5)
    assert Budget(500).levels(1, 0.0) == (5000, 250)


def test_a_snapshot_is_measured_by_what_is_spent_within_the_window() -> None:
    budget = Budget(3000)
    spend(budget, 1, 0.0, 3000)
    assert budget.levels(1, 59.9) == (100, 5)
    assert budget.levels(1, 60.0) == (5000, 250)


def test_a_snapshot_is_measured_by_what_the_exchange_has_counted() -> None:
    budget = Budget(6000, enforced=6000)
    budget.counted(5975, 0.0)
    assert budget.levels(1, 59.9) == (500, 25)
    assert budget.levels(1, 60.0) == (5000, 250), "what was counted then is over"


# -- what is left, and when -----------------------------------------------------------------------


def test_a_wish_that_is_heavier_than_the_budget_is_paid_by_all_of_it() -> None:
    budget = Budget(100)
    heavy = budget.wish(250, 0.0)
    assert budget.admit(0.0) == [heavy]
    assert budget.collecting_s(0.0) == 2.5
    assert (budget.left(0.0), budget.left(60.0)) == (0, 100)


def test_so_much_can_be_paid_when_enough_has_left_the_window() -> None:
    budget = Budget(100)
    spend(budget, 60, 0.0)
    spend(budget, 30, 10.0)
    wanted = [(10, 20.0), (11, 60.0), (70, 60.0), (71, 70.0), (100, 70.0)]
    for weight, at in wanted:
        assert budget.payable_from(weight, 20.0) == at, weight
    assert budget.payable_from(50, 65.0) == 65.0
    assert budget.payable_from(101, 20.0) == 20.0, "there is no better time for it"
    budget.freeze(67.0)
    assert [budget.payable_from(weight, 20.0) for weight, _ in wanted] == [67.0] * 3 + [70.0] * 2
    assert budget.left(20.0) == 10, "to ask changes nothing"


def test_what_is_given_back_is_given_back_once() -> None:
    budget = Budget(100)
    spend(budget, 50, 0.0)
    wish = budget.wish(40, 0.0)
    budget.admit(0.0)
    for _ in range(2):
        budget.give_back(wish)
        assert budget.left(1.0) == 50
    never = budget.wish(60, 1.0)
    budget.give_back(never)
    budget.give_back(never)
    assert (budget.waiting, budget.left(1.0)) == (0, 50)


def test_what_is_given_back_had_not_overtaken_anybody() -> None:
    budget = Budget(100)
    spend(budget, 4, 0.0, 20)
    budget.wish(50, 1.0)
    overtaking = budget.wish(20, 20.0)
    assert budget.admit(20.0) == [overtaking]
    assert overtaking.overtook
    budget.give_back(overtaking)
    again = budget.wish(20, 21.0)
    assert budget.admit(21.0) == [again]


def test_the_lightest_wish_that_can_overtake_is_said_to_have() -> None:
    budget = Budget(100)
    spend(budget, 4, 0.0, 20)
    dear = budget.wish(50, 1.0)
    lightest = budget.wish(1, 20.0)
    assert budget.admit(20.0) == [lightest]
    assert lightest.overtook
    other = Budget(100)
    wish = other.wish(1, 20.0)
    assert other.learn(other.report(20.0), view((wish, 1)), 20.0) == [wish]
    assert (wish.overtook, dear.overtook) == (True, False)


def test_what_orders_the_queue_and_how_wishes_look() -> None:
    budget = Budget(100)
    wish = budget.wish(50, 1.0)
    assert wish.due_at == 6.0
    assert Wish(50, 1.0, handicap=20.0).due_at == 8.0
    assert Wish(50, 1.0).leaves == 0.0
    assert repr(wish) == "<Wish for 50 at 1>"
    assert repr(budget) == "<Budget 0 of 100 spent, 1 waiting>"
    assert (wish.leaves, budget.wish(4, 1.0).leaves) == (0.1, 0.0)
    assert budget.wish(25, 1.0).leaves == 0.1
    assert budget.wish(24, 1.0).leaves == 0.0
    assert budget.wish(25, 1.0, 0.2).leaves == 0.2


def test_a_wish_comes_true_with_what_it_cost_and_at_whose_expense() -> None:
    budget = Budget(1000)
    wish = budget.wish(4, 0.0)
    assert (wish.spent, wish.overtook) == (None, False)
    budget.admit(3.0)
    assert wish.spent is not None
    assert (wish.spent.at, wish.spent.weight, wish.spent.overtaken) == (3.0, 4, 0)
    assert not wish.overtook
    budget.spend(at_once := Wish(1, 3.0), 3.0)
    assert not at_once.overtook, "it was never in the queue"


# -- what the exchange has counted ----------------------------------------------------------------


def test_what_the_exchange_has_counted_leaves_what_it_enforces() -> None:
    budget = Budget(3000, enforced=6000)
    assert budget.left(0.0) == 3000
    budget.counted(4000, 0.0)
    assert budget.left(1.0) == 2000
    spend(budget, 100, 1.0)
    assert budget.left(1.0) == 1900
    assert budget.left(59.9) == 1900
    assert budget.left(60.0) == 2900, "what was counted then is over, and what was spent is not"
    budget.counted(6500, 60.0)
    assert budget.left(60.0) == 0


@pytest.mark.parametrize(
    ("limit", "used", "weight", "admitted"),
    [
        (3000, 4500, 4, True),
        (3000, 4501, 4, False),
        (3001, 4501, 4, True),
        (3001, 4502, 4, False),
        (6000, 5996, 4, True),
        (6000, 5997, 4, False),
        (6000, 6000, 4, False),
    ],
)
def test_what_the_exchange_has_counted_stops_who_would_exceed_it(
    limit: int, used: int, weight: int, admitted: bool
) -> None:
    budget = Budget(limit, enforced=6000)
    budget.counted(used, 0.0)
    wish = budget.wish(weight, 1.0)
    assert budget.admit(1.0) == [wish] * admitted
    if not admitted:
        assert budget.next_look(1.0) == 60.0
        assert budget.admit(60.0) == [wish]


def test_when_to_look_again() -> None:
    budget = Budget(100)
    assert budget.next_look(0.0) == math.inf
    spend(budget, 60, 10.0)
    assert budget.next_look(10.0) == 70.0
    budget.counted(50, 5.0)
    assert budget.next_look(10.0) == 65.0
    assert budget.next_look(65.0) == 70.0, "what was counted is over"
    budget.freeze(80.0)
    assert (budget.next_look(10.0), budget.next_look(80.0)) == (80.0, 70.0)


# -- with other processes -------------------------------------------------------------------------


def view(*granted: tuple[Wish, int], **values: Any) -> View:
    """What others decided; by default nothing but the wishes that are granted."""
    told: dict[str, Any] = {"others": [], "frozen_until": 0.0, "counted": None, **values}
    return View(list(granted), **told)


def test_what_a_budget_tells_others() -> None:
    budget = Budget(1000)
    spend(budget, 4, 1.0)
    spend(budget, 800, 3.0)
    cheap = [budget.wish(5, 4.0, BOOKS_LEAVE) for _ in range(SHOWN_WISHES + 1)]
    dear = budget.wish(250, 4.0)
    budget.freeze(9.0)
    budget.counted(7, 5.0)
    told = budget.report(5.0)
    assert [(one.at, one.weight, one.overtaken) for one in told.own] == [(1.0, 4, 0), (3.0, 800, 0)]
    assert told.wishes == [*cheap[:SHOWN_WISHES], dear]
    assert (told.frozen_until, told.counted) == (9.0, Counted(5.0, 7))
    told.own[0].weight = 0
    assert budget.left(5.0) == 1000 - 804, "others have a copy"
    assert [one.at for one in budget.report(62.0).own] == [3.0]


def test_what_a_budget_learns_of_others_counts_as_its_own() -> None:
    budget = Budget(1000)
    wish, other = budget.wish(50, 1.0), budget.wish(60, 1.0)
    told = budget.report(1.0)
    others = [Spent(30.0, 100, 20), Spent(0.0, 200, 10)]
    learnt = view((wish, 50), others=others, frozen_until=3.0)
    assert budget.learn(told, learnt, 2.0) == [wish]
    assert wish.spent is not None
    assert (wish.spent.at, wish.spent.weight, wish.spent.overtaken) == (2.0, 50, 50)
    assert (wish.overtook, budget.waiting) == (True, 1)
    assert budget.left(2.0) == 1000 - 350
    assert budget.next_look(2.0) == 3.0
    assert budget.next_look(3.0) == 60.0
    assert budget.left(60.0) == 1000 - 150
    assert repr(budget) == "<Budget 150 of 1000 spent, 1 waiting>"
    granted = view((other, 0))
    assert budget.learn(budget.report(70.0), granted, 70.0) == [other]
    assert not other.overtook
    assert budget.left(70.0) == 1000 - 60, "what others had spent is told anew each time"


def test_a_wish_that_was_given_up_meanwhile_is_not_granted() -> None:
    budget = Budget(1000)
    wish = budget.wish(50, 1.0)
    told = budget.report(1.0)
    budget.give_back(wish)
    assert budget.learn(told, view((wish, 0)), 2.0) == []
    assert budget.left(2.0) == 1000


def test_a_ban_that_this_process_knows_of_is_not_shortened_by_others() -> None:
    budget = Budget(1000)
    budget.freeze(50.0)
    budget.learn(budget.report(1.0), view(frozen_until=20.0), 1.0)
    assert budget.frozen_until == 50.0


def test_what_the_exchange_said_since_is_not_replaced_by_what_it_said_to_others_before() -> None:
    budget = Budget(1000)
    told = budget.report(1.0)
    budget.learn(told, view(counted=Counted(1.0, 400)), 1.5)
    assert budget.left(2.0) == 600
    told = budget.report(2.0)
    budget.counted(700, 2.5)
    budget.learn(told, view(counted=Counted(1.0, 400)), 3.0)
    assert budget.left(3.0) == 300


def test_who_has_had_its_reserve_leaves_as_much_to_others() -> None:
    budget = Budget(1000)
    budget.reserve = 0.2
    spend(budget, 199, 0.0)
    assert (budget.leaving, budget.payable_from(801, 0.0)) == (0.0, 0.0)
    spend(budget, 1, 0.0)
    assert budget.leaving == 0.2
    assert budget.payable_from(600, 0.0) == 0.0
    assert budget.payable_from(601, 0.0) == 60.0


def test_a_budget_begins_with_what_was_spent_before() -> None:
    budget = Budget(1000)
    budget.load([Spent(0.0, 100)], [Spent(1.0, 200, 200)], Counted(2.0, 300, 10))
    assert budget.left(2.0) == 690
    budget.wish(750, -100.0)
    budget.wish(4, 2.0)
    assert budget.admit(2.0) == [], "a fifth has been overtaken already"
    assert [budget.payable_from(weight, 2.0) for weight in (700, 701, 801)] == [2.0, 60.0, 61.0]
    budget.load([Spent(1.0, 200)], [Spent(0.0, 100)], None)
    assert budget.payable_from(750, 2.0) == 60.0, "what others spent is free again before"
    budget.load([Spent(0.0, 100, 30)], [], None)
    assert [one.overtaken for one in budget.report(2.0).own] == [30]
    assert budget.collecting_s(2.0) == 0.0
    budget.load([Spent(0.0, 375)], [Spent(0.0, 375)], None)
    assert budget.collecting_s(2.0) == 1.25
