"""What processes of one address may spend, and who of them is next; pure, in a time of its own."""

from __future__ import annotations

import random

import msgspec
import pytest

from k2trio.policy.budget import BOOKS_LEAVE, SECONDS_PER_WEIGHT, Budget, Counted, Wish
from k2trio.policy.ledger import (
    ABSENT_S,
    LONGEST_FREEZE_S,
    Account,
    Entry,
    Queue,
    Terms,
    Waiting,
    expire,
    settle,
)

TERMS = Terms(1000, 60.0, 6000)


class Process:
    """One process, its budget, and how far the ledger's clock is ahead of its own."""

    def __init__(self, account: Account, name: str, terms: Terms = TERMS, ahead_s: float = 0.0):
        self.account, self.name, self.terms, self.ahead_s = account, name, terms, ahead_s
        self.budget = Budget(*terms)

    def wish(self, weight: int, at: float, leaves: float = 0.0) -> Wish:
        return self.budget.wish(weight, at - self.ahead_s, leaves)

    def settle(self, at: float) -> list[Wish]:
        """What comes true."""
        now = at - self.ahead_s
        told = self.budget.report(now)
        view = settle(self.account, self.name, self.terms, told, at, self.ahead_s)
        return self.budget.learn(told, view, now)

    def left(self, at: float) -> int:
        return self.budget.left(at - self.ahead_s)


def processes(*names: str, terms: Terms = TERMS) -> list[Process]:
    account = Account()
    return [Process(account, name, terms) for name in names]


def test_what_one_has_spent_another_can_not() -> None:
    one, other = processes("one", "other")
    one.wish(750, 0.5)
    one.settle(0.5)
    large, small = other.wish(251, 3.0), other.wish(4, 3.0)
    assert other.settle(3.0) == [small]
    assert other.left(3.0) == 1000 - 750 - 4
    assert other.settle(60.4) == []
    assert other.settle(60.5) == [large]


def test_six_use_the_whole_budget_and_no_window_ever_has_more() -> None:
    rng = random.Random(1)
    account = Account()
    crowd = [Process(account, str(n), ahead_s=rng.uniform(-1e6, 1e6)) for n in range(6)]
    spent: list[tuple[float, int]] = []
    now = 0.0
    while now < 250.0:
        one = rng.choice(crowd)
        if one.budget.waiting < 20:
            one.wish(rng.choice([2, 4, 5, 25, 50]), now)
        spent += [(now, wish.weight) for wish in one.settle(now)]
        now += rng.expovariate(6)
    for at, _ in spent:
        assert sum(weight for when, weight in spent if at <= when < at + 60) <= 1000
    assert sum(weight for when, weight in spent if when < 240) >= 0.9 * 4 * 1000


def test_one_that_wants_a_page_does_not_wait_for_one_that_wants_400_snapshots() -> None:
    greedy, modest = processes("greedy", "modest")
    for _ in range(400):
        greedy.wish(50, 0.0, BOOKS_LEAVE)
    assert len(greedy.settle(0.0)) == 16
    page = modest.wish(4, 1.0)
    assert modest.settle(1.0) == [page]


def test_of_two_that_want_the_same_the_one_that_had_less_is_next() -> None:
    """Also where the other one looks first, the moment that there is anything."""
    greedy, modest = processes("greedy", "modest")
    for _ in range(400):
        greedy.wish(50, 0.0, BOOKS_LEAVE)
    assert len(greedy.settle(0.0)) == 16
    book = modest.wish(50, 1.0, BOOKS_LEAVE)
    assert modest.settle(59.0) == []
    assert len(greedy.settle(60.1)) == 15
    assert modest.settle(60.2) == [book]


def test_of_two_that_had_nothing_the_one_that_asked_first_is_next() -> None:
    spent, first, second = processes("spent", "first", "second", terms=Terms(40, 60.0, 6000))
    for weight, at in ((10, 0.0), (20, 10.0)):
        spent.wish(weight, at)
        spent.settle(at)
    wish = first.wish(20, 50.0)
    second.wish(20, 50.0 + SECONDS_PER_WEIGHT / 2)
    assert first.settle(59.0) == []
    assert second.settle(60.0) == [], "the weight that is free now is the other's"
    assert first.settle(60.1) == [wish]


def test_two_that_want_much_get_the_same() -> None:
    first, second = processes("first", "second")
    for one in (first, second):
        for _ in range(400):
            one.wish(50, 0.0, BOOKS_LEAVE)
    had = [0, 0]
    for look in range(4 * 600):
        for number, one in enumerate((first, second)):
            had[number] += len(one.settle(look / 4 + number / 10))
    assert sum(had) > 150
    assert abs(had[0] - had[1]) <= 16


def test_nobody_waits_for_one_that_has_ended_but_what_it_spent_counts() -> None:
    killed, other, third = processes("killed", "other", "third")
    third.wish(1000, 0.0)
    third.settle(0.0)
    for at, one in ((1.0, killed), (2.0, other)):
        for _ in range(16):
            one.wish(50, at)
    assert other.settle(59.8) == []
    assert killed.settle(59.9) == []  # its last word
    assert len(other.settle(60.1)) == 2  # the rest is left to one that may come back in a moment
    assert len(other.settle(59.9 + ABSENT_S)) == 14

    spent, left = processes("spent", "left")
    spent.wish(900, 0.0)
    spent.settle(0.0)
    left.settle(50.0)
    assert left.left(50.0) == 100
    left.settle(60.0)
    assert left.left(60.0) == 1000


def test_what_was_decided_and_not_heard_of_is_not_spent() -> None:
    one, other = processes("one", "other")
    wish = one.wish(900, 0.0)
    settle(one.account, one.name, TERMS, one.budget.report(0.0), 0.0)  # a disk that is too slow
    big = other.wish(800, 0.1)
    assert other.settle(0.1) == []
    one.budget.give_back(wish)
    one.settle(0.2)
    assert other.settle(0.3) == [big]


def test_a_ban_that_one_meets_stops_all_for_its_time() -> None:
    one, other = processes("one", "other")
    other.ahead_s = 12345.0
    one.budget.freeze(120.0)
    one.settle(1.0)
    wish = other.wish(4, 1.0)
    for at in (1.1, 60.0, 119.9):
        one.settle(at)
        assert other.settle(at) == []
    assert other.settle(120.1) == [wish]
    assert one.account.frozen is None


def test_a_ban_does_not_grow_by_being_told() -> None:
    one, other = processes("one", "other")
    other.ahead_s = 0.3e-3  # two clocks are never read at the same moment
    one.budget.freeze(LONGEST_FREEZE_S)
    for step in range(1000):
        one.settle(step / 10)
        other.settle(step / 10)
    assert one.account.frozen is not None
    assert one.account.frozen[1] == LONGEST_FREEZE_S


def test_entries_of_another_boot_are_dropped() -> None:
    before = Process(Account(), "before")
    before.wish(1000, 900_000.0)
    before.settle(900_000.0)
    before.wish(4, 900_001.0)
    before.settle(900_001.0)
    before.budget.freeze(950_000.0)
    before.budget.counted(6000, 900_001.0)
    before.settle(900_002.0)
    after = Process(before.account, "after")
    wish = after.wish(1000, 30.0)
    assert after.settle(30.0) == [wish]
    assert list(after.account.spent) == ["after"]


def test_what_the_exchange_has_counted_holds_for_all_and_what_is_spent_since_adds_to_it() -> None:
    one, other = processes("one", "other", terms=Terms(3000, 60.0, 6000))
    one.budget.counted(4490, 10.0)
    one.settle(10.0)
    for _ in range(10):
        other.wish(4, 11.0)
    assert len(other.settle(11.0)) == 3  # half of what is not ours is kept free: until 4500
    assert other.settle(69.9) == []
    assert len(other.settle(70.1)) == 7


def test_an_account_is_small_and_survives_being_written() -> None:
    account = Account()
    crowd = [Process(account, f"{n:012x}", Terms(6000, 60.0, 6000)) for n in range(6)]
    for step in range(200):
        for one in crowd:
            one.wish(5, step / 4)
            one.settle(step / 4)
    data = msgspec.json.encode(account)
    assert len(data) < 20_000
    assert msgspec.json.decode(data, type=Account) == account


# -- what the ledger holds ------------------------------------------------------------------------


def test_an_account_tells_who_has_spent_what_and_who_waits_for_what() -> None:
    one, other = processes("one", "other")
    one.ahead_s = 500.0
    assert one.account.empty
    one.wish(750, 1.0)
    one.settle(2.0)
    assert one.account.spent == {"one": [Entry(2.0, 750, 0)]}
    assert one.account.had == {"one": (2.0, 750.0)}
    assert one.account.queues == {}
    assert not one.account.empty
    large, _small = one.wish(251, 3.0, 0.2), one.wish(4, 3.5)
    one.settle(4.0)
    assert one.account.queues == {"one": Queue(4.0, [Waiting(3.0, 251, 0.2)])}
    assert one.account.spent == {"one": [Entry(2.0, 750, 0), Entry(4.0, 4, 0)]}
    one.budget.give_back(large)
    one.settle(5.0)
    assert one.account.queues == {}
    other.settle(200.0)
    assert one.account.spent == {}


def test_who_settles_is_told_of_others_in_its_own_time() -> None:
    account = Account()
    one, other = Process(account, "one", ahead_s=100.0), Process(account, "other", ahead_s=-70.0)
    one.wish(300, 10.0)
    one.settle(10.0)
    one.budget.counted(400, 11.0 - 100.0)
    one.budget.freeze(30.0 - 100.0)
    one.settle(11.0)
    view = settle(account, "other", TERMS, other.budget.report(90.0), 20.0, -70.0)
    assert [(spent.at, spent.weight, spent.overtaken) for spent in view.others] == [(80.0, 300, 0)]
    assert view.frozen_until == 100.0
    assert view.counted == Counted(81.0, 400, 0)
    assert view.granted == []


def test_what_was_spent_since_the_exchange_counted_is_added_whoever_spent_it() -> None:
    one, other = processes("one", "other")
    one.wish(100, 1.0)
    one.settle(1.0)
    one.budget.counted(150, 5.0)
    one.settle(5.0)
    other.wish(30, 6.0)
    other.settle(6.0)
    view = settle(one.account, "one", TERMS, one.budget.report(7.0), 7.0)
    assert view.counted == Counted(5.0, 150, 30)
    one.settle(8.0)
    assert one.left(8.0) == 1000 - 130
    one.wish(40, 9.0)
    one.settle(9.0)
    one.budget.counted(220, 9.0)
    one.settle(9.0)
    view = settle(one.account, "one", TERMS, one.budget.report(9.0), 9.0)
    assert view.counted == Counted(9.0, 220, 0), "the answer came after what it was asked for"


def test_the_latest_that_the_exchange_said_holds() -> None:
    one, other = processes("one", "other")
    for process, used, at in ((one, 100, 5.0), (other, 300, 7.0), (one, 50, 6.0)):
        process.budget.counted(used, at)
        process.settle(8.0)
    assert one.account.counted == (7.0, 300)
    one.settle(66.9)
    assert one.account.counted == (7.0, 300)
    other.settle(67.0)
    assert one.account.counted is None


def test_what_is_spent_within_a_step_is_one_entry_for_as_long_as_the_last_of_it() -> None:
    (one,) = processes("one")
    for at in (10.0, 10.4, 10.9, 11.0):
        one.wish(4, at)
        one.settle(at)
    assert one.account.spent == {"one": [Entry(10.9, 12, 0), Entry(11.0, 4, 0)]}


def test_what_has_overtaken_others_is_told_to_all() -> None:
    spent, one, other = processes("spent", "one", "other")
    spent.wish(900, 0.0)
    spent.settle(0.0)
    one.wish(500, 1.0)
    one.settle(50.9)
    wish = other.wish(20, 50.0)
    assert other.settle(51.0) == [wish]
    assert wish.overtook
    assert one.account.spent["other"] == [Entry(51.0, 20, 20)]
    assert other.settle(52.0) == []
    assert one.account.spent["other"] == [Entry(51.0, 20, 20)], "also when it tells so again"
    view = settle(one.account, "one", TERMS, one.budget.report(52.0), 52.0)
    assert [(spent.weight, spent.overtaken) for spent in view.others] == [(900, 0), (20, 20)]


def test_what_a_process_has_had_counts_half_after_each_window() -> None:
    (one,) = processes("one")
    one.wish(800, 0.0)
    one.settle(0.0)
    one.wish(100, 60.0)
    one.settle(60.0)
    assert one.account.had == {"one": (60.0, 500.0)}
    one.settle(60.0 + 60.0 * 8.9)
    assert one.account.had == {"one": (60.0, 500.0)}
    one.settle(60.0 + 60.0 * 9)  # not even 1 is left
    assert one.account.had == {}


@pytest.mark.parametrize(
    ("at", "left"),
    [(1.0, 1), (1.0 + 60.0 - 0.1, 1), (61.0, 0), (-1.0 + 1.0, 1), (-0.1, 0)],
    ids=["now", "within the window", "behind it", "a little ahead", "of another time"],
)
def test_how_long_an_entry_counts(at: float, left: int) -> None:
    account = Account(spent={"one": [Entry(1.0, 4, 0)]})
    expire(account, at, 60.0)
    assert len(account.spent) == left


def test_what_of_a_process_is_over_is_dropped_and_what_is_not_stays() -> None:
    young = Entry(50.0, 4, 1)
    account = Account(
        spent={"old": [Entry(1.0, 4, 0)], "both": [Entry(1.0, 4, 0), young]},
        queues={
            "gone": Queue(67.9, []),
            "here": Queue(68.1, []),
            "a little ahead": Queue(71.0, []),
            "of another time": Queue(71.1, []),
        },
        had={"of another time": (71.1, 900.0), "here": (71.0, 900.0), "nothing": (10.0, 2.0)},
        frozen=(50.0, 71.0),
        counted=(71.0, 5),
    )
    expire(account, 70.0, 60.0)
    assert account == Account(
        spent={"both": [young]},
        queues={"here": Queue(68.1, []), "a little ahead": Queue(71.0, [])},
        had={"here": (71.0, 900.0)},
        frozen=(50.0, 71.0),
        counted=(71.0, 5),
    )


@pytest.mark.parametrize(
    ("frozen", "stays"),
    [
        ((50.0, 70.1), True),
        ((50.0, 70.0), False),
        ((71.0, 72.0), True),
        ((71.1, 72.0), False),
        ((50.0, 50.0 + LONGEST_FREEZE_S), True),
        ((50.0, 50.1 + LONGEST_FREEZE_S), False),
    ],
)
def test_a_ban_of_another_time_is_none(frozen: tuple[float, float], stays: bool) -> None:
    account = Account(frozen=frozen)
    expire(account, 70.0)
    assert (account.frozen == frozen) == stays
    assert account.empty != stays


def test_a_ban_is_no_longer_than_the_longest_that_there_is() -> None:
    (one,) = processes("one")
    one.budget.freeze(10.0 + 2 * LONGEST_FREEZE_S)
    one.settle(10.0)
    assert one.account.frozen == (10.0, 10.0 + LONGEST_FREEZE_S)


def test_a_longer_ban_takes_the_place_of_a_shorter_one() -> None:
    one, other = processes("one", "other")
    one.budget.freeze(20.0)
    one.settle(1.0)
    other.budget.freeze(30.0)
    other.settle(2.0)
    assert one.account.frozen == (2.0, 30.0)
    one.settle(3.0)
    other.settle(4.0)
    assert one.account.frozen == (2.0, 30.0)
