"""Another program of the same address: it shares the budgets, and the exchange counts it too."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import trio

from k2trio.policy.budget import Budget
from k2trio.policy.failover import CONNECT_WINDOW_S, CONNECTS_PER_WINDOW
from k2trio.sharing.sharing import DIALS, LOOK_S, WEIGHT, Sharing

from .plan import FULL_WISH

if TYPE_CHECKING:
    from k2trio.sharing.stores import Memory
    from k2trio.simulator import Exchange
    from k2trio.simulator.rest.quota import Quota

    from .plan import Plan

PAUSE_S = 20.0
"""Between two things that it does, in the mean."""


async def live_beside(
    ledger: Memory, plan: Plan, exchange: Exchange, quota: Quota, client: str
) -> None:
    """Dial and ask a venue now and then, when it is the turn; until cancelled.

    :raises Exception: what the exchange refuses with.
    """
    rng = random.Random(f"neighbour/{plan.seed}/{exchange.venue}")
    sharing = Sharing(ledger, lambda _: None)
    dials = Budget(CONNECTS_PER_WINDOW, CONNECT_WINDOW_S)
    weight = Budget(min(FULL_WISH, plan.rest_weight), enforced=plan.rest_weight)
    for what, budget in ((DIALS, dials), (WEIGHT, weight)):
        host = f"{exchange.venue}.test"
        sharing.join(what, host, f"https://{host}", budget, lambda _: None)
    while True:
        await trio.sleep(rng.expovariate(1 / PAUSE_S))
        budget = rng.choice([dials, weight])
        wish = budget.wish(1 if budget is dials else rng.choice([2, 4, 5, 25]), trio.current_time())
        await sharing.settle()
        while wish.spent is None:
            await trio.sleep(LOOK_S)
            await sharing.settle()
        if budget is dials:
            exchange._venue.admission.admit(client)
        else:
            account = quota.account(client, exchange.now_us())
            quota.charge(account, wish.weight, exchange.now_us())
