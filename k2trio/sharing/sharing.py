"""What this process and others spend, and may spend: its budgets, joined to a ledger.

Each budget that joins is settled with the others (``policy/ledger.py``) before anything of it is
spent, and every ``REFRESH_S`` besides, so that what others did is known here. A file may be on a
disk that is stuck: it is used in a thread, and not waited for longer than ``TIMEOUT_S``. While it
cannot be used each process counts for itself, as one that shares nothing does, and says so once.
"""

from __future__ import annotations

import math
import secrets
from typing import TYPE_CHECKING

import trio

from .. import files
from ..loopback import is_loopback
from ..observe.transitions import BudgetSharing, FrozenByAnother
from ..policy.ledger import Account, State, Terms, settle
from ..proxies import Proxies
from ..wire.tunnel import usable_proxies
from .stores import Attempt, LedgerError, SharedFile, default_file

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..observe.transitions import Observer, Transition
    from ..policy.budget import Budget, Report, View, Wish
    from ..settings import Settings
    from .stores import Store

TIMEOUT_S = 1.0
"""How long the file is waited for."""
RETRY_S = 30.0
"""How long a file that could not be used is left alone."""
REFRESH_S = 1.0
"""How often it is looked at what others did, if nothing else leads there."""
LOOK_S = 0.25
"""How soon who waits for its turn looks again: what others give back, nobody tells."""
DIALS, WEIGHT = "dials", "weight"
"""What accounts are of."""


class Member:
    """A budget that is shared, and who is told which of its wishes came true."""

    def __init__(self, budget: Budget, venue: str, grant: Callable[[list[Wish]], None]) -> None:
        self.budget = budget
        self.venue = venue
        self.grant = grant

    @property
    def terms(self) -> Terms:
        """What is allowed."""
        return Terms(self.budget.limit, self.budget.window_s, self.budget.enforced)


class Sharing:
    """The budgets of one feed, joined to a ledger.

    :param proxies: which proxy leads where; the exchange counts by the address that it sees, so
        what goes by a proxy is an account of its own.
    :param loopback: whether venues on this machine are shared too. By default they are not: they
        are simulators or relays of one's own, which have nothing in common but the address.
    :ivar problem: why nothing is shared at present; empty if it is.
    """

    def __init__(
        self, store: Store, emit: Observer, proxies: Proxies | None = None, *, loopback: bool = True
    ) -> None:
        self.problem: str = ""
        self._store = store
        self._emit = emit
        self._proxies = Proxies() if proxies is None else proxies
        self._loopback = loopback
        self._process = secrets.token_hex(6)
        self._members: dict[str, Member] = {}
        self._lock = trio.Lock()
        self._limiter = trio.CapacityLimiter(1)
        self._asked = self._served = 0
        self._works: bool | None = None
        self._news = trio.Event()
        self._retry_at = -math.inf

    def join(
        self, what: str, venue: str, url: str, budget: Budget, grant: Callable[[list[Wish]], None]
    ) -> bool:
        """Share a budget of a venue from now on, if it is one to be shared.

        :param url: one of the venue's that the budget is for.
        :param grant: told which wishes came true.
        """
        if not self._loopback and is_loopback(venue):
            return False
        proxy = self._proxies.of(url)
        via = "" if proxy is None else f" via {proxy}"
        self._members[f"{venue} {what}{via}"] = Member(budget, venue, grant)
        return True

    async def settle(self) -> bool:
        """Tell the others what was spent and is wished for, and learn the same of them.

        :returns: whether that was possible; else each counts for itself.
        """
        self._asked += 1
        mine = self._asked
        async with self._lock:
            if self._served < mine:  # else another's turn has settled this one's too
                self._served = self._asked
                self._works = await self._try()
        return bool(self._works)

    async def run(self) -> None:
        """Learn what others do, until cancelled."""
        while True:
            self._news = trio.Event()
            await self.settle()
            with trio.move_on_after(REFRESH_S):
                await self._news.wait()

    def hurry(self) -> None:
        """Tell the others at once: the venue wants nothing for a while."""
        self._news.set()

    async def _try(self) -> bool:
        now = trio.current_time()
        if not self._members or now < self._retry_at:
            return False
        if self._limiter.borrowed_tokens:
            self._fails(LedgerError("its disk has not answered yet"))
            return False
        told = {name: member.budget.report(now) for name, member in self._members.items()}
        try:
            views = await self._exchange(told, self._store.clock() - now)
        except (LedgerError, OSError) as error:
            self._fails(error)
            return False
        if self.problem or self._works is None:
            self.problem = ""
            self._emit(BudgetSharing(self._store.name, ""))
        for name, view in views.items():
            self._learn(self._members[name], told[name], view)
        return True

    async def _exchange(self, told: dict[str, Report], ahead_s: float) -> dict[str, View]:
        terms = {name: self._members[name].terms for name in told}

        def act(state: State, now: float) -> dict[str, View]:
            return {
                name: settle(
                    state.setdefault(name, Account()),
                    self._process,
                    terms[name],
                    report,
                    now,
                    ahead_s,
                )
                for name, report in told.items()
            }

        attempt = Attempt()
        if not self._store.blocks:
            return self._store.change(act, attempt)
        # Shielded, as others wait for what comes of it; bounded by a second.
        with trio.CancelScope(shield=True, deadline=trio.current_time() + TIMEOUT_S):
            return await trio.to_thread.run_sync(
                self._store.change, act, attempt, abandon_on_cancel=True, limiter=self._limiter
            )
        attempt.abandoned = True
        raise LedgerError(f"it was not ready within {TIMEOUT_S:g} s: its disk, or another process")

    def _learn(self, member: Member, told: Report, view: View) -> None:
        now = trio.current_time()
        frozen_until = member.budget.frozen_until
        member.grant(member.budget.learn(told, view, now))
        if view.frozen_until > now and frozen_until <= now:
            self._emit(FrozenByAnother(member.venue, view.frozen_until - now))

    def _fails(self, error: LedgerError | OSError) -> None:
        self._retry_at = trio.current_time() + RETRY_S
        why = files.why(error) if isinstance(error, OSError) else str(error)
        if not self.problem:
            self._emit(BudgetSharing(self._store.name, why))
        self.problem = why


def _ignore(transition: Transition) -> None:
    """For a question or two nobody is told."""


def open_sharing(settings: Settings, emit: Observer = _ignore) -> Sharing | None:
    """The sharing that the settings ask for; None for none."""
    proxies = usable_proxies(settings, ())
    match settings.shared_budget:
        case "off":
            return None
        case "auto":
            store = default_file()
            return None if store is None else Sharing(store, emit, proxies, loopback=False)
        case path:
            return Sharing(SharedFile(path), emit, proxies)
