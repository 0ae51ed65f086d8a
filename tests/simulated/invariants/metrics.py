"""What the client shows of itself is what was."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from k2trio.market.payloads import Event
from k2trio.observe import transitions as on

from ..violation import demand

if TYPE_CHECKING:
    from ..run import Run

ACCEPTED = {"accepted", "flapping", "subscribe_dead", "replacement_dead"}
"""Outcomes, as the exchange has them, of attempts that a client sees succeed."""


def metrics_are_true(run: Run) -> None:
    """8: metrics equal the truth of the run."""
    reasons = Counter(what.reason for _, what in run.diary if isinstance(what, on.Reconnecting))
    for reason, count in reasons.items():
        shown = run.sample("k2_binance_reconnects_total", reason)
        demand(shown == count, 8, f"reconnects {reason}: shown {shown}, true {count}")
    connects = Counter(what.endpoint for _, what in run.diary if isinstance(what, on.Connected))
    for endpoint, count in connects.items():
        shown = run.sample("k2_binance_connects_total", endpoint)
        demand(shown == count, 8, f"connects {endpoint}: shown {shown}, true {count}")
    repaired = sum(isinstance(item, Event) and item.origin == "backfill" for item in run.items)
    shown = run.sample("k2_binance_repaired_messages_total")
    dropped = run.sample("k2_binance_dropped_messages_total")
    demand(shown - dropped <= repaired <= shown, 8, f"repaired: shown {shown}, true {repaired}")
    opened = {(what.endpoint, at) for at, what in run.diary if isinstance(what, on.Connected)}
    accepted = sum(
        attempt.outcome in ACCEPTED
        for exchange in run.exchanges.values()
        for attempt in exchange.truth.attempts
    )
    demand(len(opened) <= accepted, 8, f"{len(opened)} connects, but {accepted} were accepted")


def connected_is_true(run: Run) -> None:
    """9: the status is 1 only while data can flow."""
    demand(not run.counted["lost_while_connected"], 9, "connected, though the line had just failed")
