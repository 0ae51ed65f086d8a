"""Who may ask next: order, headroom, overtaking, and the size of a snapshot; pure."""

from __future__ import annotations

import random

import pytest

from k2trio.policy.budget import BOOKS_LEAVE, WEIGHT_WINDOW_S, Budget, Wish


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
