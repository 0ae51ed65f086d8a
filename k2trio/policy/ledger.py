"""What all processes of one address have spent, and who of them is next; pure.

The exchange limits dials and request weight by address. So every process enters what it spends in
one ledger, and may spend what the entries of all leave of the limit: none has a share of its own,
and one alone may have all of it. An *account* is one limit of one venue, as seen from one address.

*Turns.* Wishes of all processes stand in one queue (``budget.py``), each due later by what its
process has had of late: that counts half after each window, for who has had all of one window would
else be as good as new when the next begins. So of two that want much each gets half, and who wants
little is next. What stands in front and could be paid is left for its owner, who looks again in a
moment; who does not look again for ``ABSENT_S`` has ended or stopped, and nobody waits for it.

*Crashes.* A process that is killed has spent what it has spent, as the exchange counts it too. Its
entries expire with the window, and its wishes after ``ABSENT_S``.

*Time* is that of the ledger (``Clock`` of its store), the same for all who share it. Entries of the
future are of another time (of another boot of the machine): they are dropped.
"""

from __future__ import annotations

from itertools import groupby
from typing import NamedTuple

import msgspec

from .budget import Budget, Counted, Report, View, Wish
from .tally import Spent

ABSENT_S = 2.0
"""Whose wishes were not told again for so long is not waited for."""
STEPS = 60
"""Entries of one process in a window; what is spent within one step is one entry."""
LONGEST_WINDOW_S = 600.0
"""Longer than the window of any account; older entries are of no use to anybody."""
LONGEST_FREEZE_S = 3 * 86_400.0
"""The longest ban that the exchange documents."""
AHEAD_S = 1.0
"""Entries that are further ahead than this are of another time."""
NOTHING = 1.0
"""Who has had no more than this of late has had nothing."""
SAME_S = 0.01
"""Times that are no further apart are one, told through two clocks."""


class Entry(NamedTuple):
    """What was spent in one step; ``at`` is the time of the last of it."""

    at: float
    weight: int
    overtaken: int


class Waiting(NamedTuple):
    """A wish that waits."""

    asked_at: float
    weight: int
    leaves: float


class Queue(msgspec.Struct, array_like=True):
    """What one process waits for; ``seen_at`` is when it said so."""

    seen_at: float
    wishes: list[Waiting]


class Account(msgspec.Struct):
    """One limit of one venue.

    :ivar spent: process → its entries.
    :ivar queues: process → what it waits for.
    :ivar had: process → until when what it has had is reckoned, and how much is left of that.
    :ivar frozen: since when, and until when, the venue wants nothing.
    :ivar counted: when the exchange said how much it had counted, and how much.
    """

    spent: dict[str, list[Entry]] = {}
    queues: dict[str, Queue] = {}
    had: dict[str, tuple[float, float]] = {}
    frozen: tuple[float, float] | None = None
    counted: tuple[float, int] | None = None

    @property
    def empty(self) -> bool:
        """Whether it says nothing."""
        return not (self.spent or self.queues or self.had or self.frozen or self.counted)


State = dict[str, Account]
"""Name → account."""


class Terms(NamedTuple):
    """What is allowed; see :class:`~k2trio.policy.budget.Budget`."""

    limit: int
    window_s: float
    enforced: int


def settle(
    account: Account, process: str, terms: Terms, report: Report, now: float, ahead_s: float = 0.0
) -> View:
    """Enter what a process tells, and decide which of its wishes come true.

    :param now: the time of the ledger.
    :param ahead_s: how far that is ahead of the process's, of which are report and view.
    """
    own = [Spent(one.at + ahead_s, one.weight, one.overtaken) for one in report.own]
    _enter(account, process, _steps(own, terms.window_s), report, now, ahead_s)
    expire(account, now, terms.window_s)

    had = {
        owner: weight * 0.5 ** ((now - at) / terms.window_s)
        for owner, (at, weight) in account.had.items()
    }
    others = [
        Spent(*entry) for owner, rows in account.spent.items() if owner != process for entry in rows
    ]
    budget = Budget(terms.limit, terms.window_s, terms.enforced)
    if account.frozen is not None:
        budget.freeze(account.frozen[1])
    budget.load(own, others, _counted(account))
    for owner, queue in account.queues.items():
        for wish in queue.wishes:
            budget.add(Wish(wish.weight, wish.asked_at, wish.leaves, had.get(owner, 0.0)))
    handicap = had.get(process, 0.0)
    ours = {
        budget.add(Wish(wish.weight, wish.asked_at + ahead_s, wish.leaves, handicap)): wish
        for wish in report.wishes
    }
    admitted = [one for one in budget.admit(now) if one in ours]
    granted = [(ours.pop(one), one.weight if one.overtook else 0) for one in admitted]
    if granted:
        spent = [*own, *(Spent(now, wish.weight, overtaken) for wish, overtaken in granted)]
        account.spent[process] = _steps(spent, terms.window_s)
        account.had[process] = now, handicap + sum(wish.weight for wish, _ in granted)
    if ours:
        rows = [Waiting(one.asked_at, one.weight, one.leaves) for one in ours]
        account.queues[process] = Queue(now, rows)
    counted = _counted(account)
    return View(
        granted,
        [Spent(one.at - ahead_s, one.weight, one.overtaken) for one in others],
        budget.frozen_until - ahead_s,
        None if counted is None else counted._replace(at=counted.at - ahead_s),
    )


def _enter(
    account: Account,
    process: str,
    spent: list[Entry],
    report: Report,
    now: float,
    ahead_s: float,
) -> None:
    """Put what a process tells in the place of what it told before."""
    account.queues.pop(process, None)
    account.spent.pop(process, None)
    if spent:
        account.spent[process] = spent
    until = min(report.frozen_until + ahead_s, now + LONGEST_FREEZE_S)
    known_until = now if account.frozen is None else account.frozen[1]
    if until > known_until + SAME_S:
        account.frozen = now, until
    if report.counted is not None:
        at = report.counted.at + ahead_s
        if account.counted is None or at > account.counted[0] + SAME_S:
            account.counted = at, report.counted.used


def expire(account: Account, now: float, window_s: float = LONGEST_WINDOW_S) -> None:
    """Drop what is over, and what is of another time."""
    latest = now + AHEAD_S
    for owner, rows in list(account.spent.items()):
        if left := [one for one in rows if now - window_s < one.at <= latest]:
            account.spent[owner] = left
        else:
            del account.spent[owner]
    for owner, (at, weight) in list(account.had.items()):
        if not (at <= latest and weight * 0.5 ** ((now - at) / window_s) > NOTHING):
            del account.had[owner]
    for owner, queue in list(account.queues.items()):
        if not now - ABSENT_S < queue.seen_at <= latest:
            del account.queues[owner]
    if account.frozen is not None:
        since, until = account.frozen
        if not (since <= latest and now < until <= since + LONGEST_FREEZE_S):
            account.frozen = None
    if account.counted is not None and not now - window_s < account.counted[0] <= latest:
        account.counted = None


def _counted(account: Account) -> Counted | None:
    """What the exchange counted, and what has been spent since."""
    if account.counted is None:
        return None
    at, used = account.counted
    since = sum(one.weight for rows in account.spent.values() for one in rows if one.at > at)
    return Counted(at, used, since)


def _steps(spent: list[Spent], window_s: float) -> list[Entry]:
    """Entries of what was spent; each counts for as long as the last of it does."""
    entries: list[Entry] = []
    for _, group in groupby(spent, key=lambda one: one.at * STEPS // window_s):
        same = list(group)
        weight = sum(one.weight for one in same)
        if weight:
            entries.append(Entry(same[-1].at, weight, sum(one.overtaken for one in same)))
    return entries
